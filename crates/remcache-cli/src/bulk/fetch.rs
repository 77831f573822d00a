//! Fetches listed items: values with flags and time to live.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use remcache::proto::MetaOptions;
use remcache::proto::text::MetadumpItem;
use remcache::{Error, Reply, ServerHandle, Status, Ttl};

use super::list::is_expired;
use super::request::{OutageWait, Requester};
use super::skip_reason::{SkipReason, Skipped};
use crate::selection;

/// Fetches items of one server.
#[derive(Debug)]
pub(crate) struct Fetcher {
    server: ServerHandle,
    requester: Requester,
}

/// An item that was fetched.
#[derive(Clone, Debug)]
pub(crate) struct FetchedItem {
    /// The key, with its namespace.
    pub(crate) key: Bytes,
    pub(crate) value: Bytes,
    pub(crate) flags: u32,
    pub(crate) ttl: Ttl,
    cas: u64,
}

/// The state of an item in the source after it was fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SourceState {
    /// Nothing, as far as is known: if the server does not answer, a change is not noticed.
    Unchanged,
    Deleted,
    Modified,
}

impl Fetcher {
    pub(crate) fn new(server: ServerHandle, wait: OutageWait) -> Self {
        Self { requester: Requester::for_server(server.clone(), wait), server }
    }

    pub(crate) fn server(&self) -> &ServerHandle {
        &self.server
    }

    /// Fetches listed items: each as it is now, or the reason why it is skipped.
    pub(crate) async fn fetch(&self, items: &[MetadumpItem]) -> Vec<Result<FetchedItem, Skipped>> {
        let now = selection::now();
        let live: Vec<&MetadumpItem> = items.iter().filter(|item| !is_expired(item, now)).collect();
        let mut replies = self.get(&live).await.into_iter();
        let outcome = |item: &MetadumpItem| match is_expired(item, now) {
            true => Err(SkipReason::Expired.into()),
            false => replies.next().map_or_else(|| Err(SkipReason::Failed.into()), |reply| fetched(item, reply)),
        };
        items.iter().map(outcome).collect()
    }

    /// Gets items with their TTLs, without changing the time of the last access, if the protocol is meta; with the
    /// others the TTL is that of the list.
    async fn get(&self, items: &[&MetadumpItem]) -> Vec<Reply> {
        let options = MetaOptions::new().no_bump().return_ttl();
        self.requester.get(items.len(), |index| &items[index].key, &options).await
    }

    /// Checks what happened to items since they were fetched.
    pub(crate) async fn recheck(&self, items: &[&FetchedItem]) -> Vec<SourceState> {
        let options = MetaOptions::new().no_bump().without_value();
        let replies = self.requester.get(items.len(), |index| &items[index].key, &options).await;
        items.iter().zip(replies).map(|(item, reply)| item.compare(&reply)).collect()
    }
}

fn fetched(item: &MetadumpItem, reply: Reply) -> Result<FetchedItem, Skipped> {
    match reply.status {
        Status::NoError => {}
        Status::KeyNotFound if is_expired(item, selection::now()) => return Err(SkipReason::Expired.into()),
        Status::KeyNotFound => return Err(SkipReason::Gone.into()),
        _ => return Err(Error::from(&reply).into()),
    }
    let info = reply.info.unwrap_or_default();
    let is_placeholder = reply.value.is_empty() && (info.already_won || info.won);
    if info.stale || is_placeholder {
        return Err(SkipReason::Stale.into());
    }
    match info.remaining_ttl.unwrap_or(item.expires) {
        Ttl::Expired => Err(SkipReason::Expired.into()),
        Ttl::After(ttl) if ttl.is_zero() => Err(SkipReason::Expired.into()),
        ttl => Ok(FetchedItem { key: item.key.clone(), value: reply.value, flags: reply.flags, ttl, cas: reply.cas }),
    }
}

impl FetchedItem {
    /// Returns when it expires, in seconds since the Unix epoch.
    pub(crate) fn expires(&self) -> Option<u64> {
        let at = match self.ttl {
            Ttl::At(at) => at,
            Ttl::After(ttl) => SystemTime::now() + ttl,
            _ => return None,
        };
        at.duration_since(UNIX_EPOCH).ok().as_ref().map(Duration::as_secs)
    }

    /// Returns the state of the item according to a later reply.
    fn compare(&self, reply: &Reply) -> SourceState {
        match reply.status {
            Status::KeyNotFound => SourceState::Deleted,
            // Without a CAS value it is unknown whether the item has changed.
            Status::NoError if reply.cas == 0 || reply.cas != self.cas => SourceState::Modified,
            _ => SourceState::Unchanged,
        }
    }
}
