//! Reading what a server listed: values with flags and the time that is left.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use remcache::ServerHandle;
use remcache::proto::MetaOptions;
use remcache::proto::text::MetadumpItem;
use remcache::{Error, Reply, Request, Status, Ttl};

use super::list::is_expired;
use super::request::Requester;
use super::skip_reason::{SkipReason, Skipped};
use crate::selection;

/// Reads the items of one server.
#[derive(Debug)]
pub(crate) struct Fetcher {
    server: ServerHandle,
    requester: Requester,
    /// Whether the server is asked on the meta protocol, as far as is known.
    has_meta: AtomicBool,
}

/// An item as it was read.
#[derive(Clone, Debug)]
pub(crate) struct FetchedItem {
    /// The key, with its namespace.
    pub(crate) key: Bytes,
    pub(crate) value: Bytes,
    pub(crate) flags: u32,
    pub(crate) ttl: Ttl,
    cas: u64,
}

/// What has become of an item since it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SourceState {
    /// Nothing, as far as can be told: a server that cannot be asked tells of no change.
    Unchanged,
    Deleted,
    Modified,
}

impl Fetcher {
    pub(crate) fn new(server: ServerHandle) -> Self {
        Self { requester: Requester::for_server(server.clone()), server, has_meta: AtomicBool::new(true) }
    }

    pub(crate) fn server(&self) -> &ServerHandle {
        &self.server
    }

    /// Reads items that the server listed: each as it is now, or why not.
    pub(crate) async fn read(&self, items: &[MetadumpItem]) -> Vec<Result<FetchedItem, Skipped>> {
        let now = selection::now();
        let live: Vec<&MetadumpItem> = items.iter().filter(|item| !is_expired(item, now)).collect();
        let mut replies = self.fetch(&live).await.into_iter();
        let outcome = |item: &MetadumpItem| match is_expired(item, now) {
            true => Err(SkipReason::Expired.into()),
            false => replies.next().map_or_else(|| Err(SkipReason::Failed.into()), |reply| found(item, reply)),
        };
        items.iter().map(outcome).collect()
    }

    /// The meta protocol tells the time that is left and counts no access; on the others an item lives as
    /// long as it was listed to.
    async fn fetch(&self, items: &[&MetadumpItem]) -> Vec<Reply> {
        let options = MetaOptions { no_bump: true, return_ttl: true, ..MetaOptions::default() };
        self.get(items.len(), |index| &items[index].key, &options).await
    }

    /// What has become of items that were read a moment ago.
    pub(crate) async fn check(&self, items: &[&FetchedItem]) -> Vec<SourceState> {
        let options = MetaOptions { no_bump: true, without_value: true, ..MetaOptions::default() };
        let replies = self.get(items.len(), |index| &items[index].key, &options).await;
        let fresh = |(item, reply): (&&FetchedItem, Reply)| match reply.status {
            Status::KeyNotFound => SourceState::Deleted,
            // Without a CAS value a change cannot be told from none.
            Status::NoError if reply.cas == 0 || reply.cas != item.cas => SourceState::Modified,
            _ => SourceState::Unchanged,
        };
        items.iter().zip(replies).map(fresh).collect()
    }

    async fn get<'k>(
        &self,
        count: usize,
        key: impl Fn(usize) -> &'k Bytes + Sync,
        options: &MetaOptions,
    ) -> Vec<Reply> {
        if self.has_meta.load(Ordering::Relaxed) {
            let answers = self.requester.send(count, |index| Request::get(key(index)).meta(options.clone())).await;
            if !answers.iter().any(|answer| answer.reply.status == Status::Unsupported) {
                return answers.into_iter().map(|answer| answer.reply).collect();
            }
            self.has_meta.store(false, Ordering::Relaxed);
        }
        let answers = self.requester.send(count, |index| Request::get(key(index))).await;
        answers.into_iter().map(|answer| answer.reply).collect()
    }
}

fn found(item: &MetadumpItem, reply: Reply) -> Result<FetchedItem, Skipped> {
    match reply.status {
        Status::NoError => {}
        Status::KeyNotFound if is_expired(item, selection::now()) => return Err(SkipReason::Expired.into()),
        Status::KeyNotFound => return Err(SkipReason::Gone.into()),
        _ => return Err(Error::from(&reply).into()),
    }
    let info = reply.info.unwrap_or_default();
    let is_placeholder = reply.value.is_empty() && (info.another_has_won || info.won);
    if info.stale || is_placeholder {
        return Err(SkipReason::Stale.into());
    }
    match info.ttl_left.unwrap_or(item.expires) {
        Ttl::Expired => Err(SkipReason::Expired.into()),
        Ttl::After(left) if left.is_zero() => Err(SkipReason::Expired.into()),
        ttl => Ok(FetchedItem { key: item.key.clone(), value: reply.value, flags: reply.flags, ttl, cas: reply.cas }),
    }
}

impl FetchedItem {
    /// When it expires, in seconds of Unix time.
    pub(crate) fn expires(&self) -> Option<u64> {
        let at = match self.ttl {
            Ttl::At(at) => at,
            Ttl::After(left) => SystemTime::now() + left,
            _ => return None,
        };
        at.duration_since(UNIX_EPOCH).ok().as_ref().map(Duration::as_secs)
    }
}
