//! Storing items in a fleet, and select copies back.

use std::collections::HashMap;

use bytes::Bytes;
use remcache::{Client, Error, Reply, Request, Status, Ttl};

use super::request::{FinalReply, Requester};
use super::skip_reason::{SkipReason, Skipped};
use crate::{item_limit, stats};

/// Stores items in a fleet.
#[derive(Debug)]
pub(crate) struct ItemStore {
    client: Client,
    requester: Requester,
    is_adding: bool,
    /// What each server takes at most, key and value together.
    limits: HashMap<String, u64>,
    /// The smallest of them.
    limit: u64,
}

/// An item to store, with its key as the client's namespace knows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewItem<'i> {
    pub(crate) key: &'i [u8],
    pub(crate) value: &'i Bytes,
    pub(crate) flags: u32,
    pub(crate) ttl: Ttl,
}

/// What became of an item.
#[derive(Clone, Debug)]
pub(crate) enum StoreResult {
    /// It was stored: by this attempt, or by one before it whose reply was lost, as far as can be told.
    Stored,
    Skipped(Skipped),
}

impl ItemStore {
    /// A store that adds, and never overwrites, or one that sets.
    pub(crate) async fn open(client: Client, is_adding: bool) -> Self {
        let limits = limits(&client).await;
        let limit = limits.values().copied().min().unwrap_or(u64::MAX);
        Self { requester: Requester::for_cluster(client.clone()), client, is_adding, limits, limit }
    }

    /// Stores items; an outcome for each.
    pub(crate) async fn store(&self, items: &[NewItem<'_>]) -> Vec<StoreResult> {
        let fitting: Vec<&NewItem<'_>> = items.iter().filter(|item| self.has_room(item)).collect();
        let answers = self.requester.send(fitting.len(), |index| self.request(fitting[index])).await;
        let mut answers = answers.into_iter();
        let outcome = |item: &NewItem<'_>| match self.has_room(item) {
            true => {
                answers.next().map_or_else(|| StoreResult::Skipped(SkipReason::Failed.into()), |answer| stored(&answer))
            }
            false => StoreResult::Skipped(SkipReason::TooLarge.into()),
        };
        items.iter().map(outcome).collect()
    }

    fn request<'i>(&self, item: &NewItem<'i>) -> Request<'i> {
        let request = match self.is_adding {
            true => Request::add(item.key, item.value),
            false => Request::set(item.key, item.value),
        };
        request.flags(item.flags).ttl(item.ttl)
    }

    /// Whether the server of an item takes one of its size. An add that is too large would end the item
    /// that the server has (docs/protocol.md 4.3), so it is not tried.
    fn has_room(&self, item: &NewItem<'_>) -> bool {
        let size = item_limit::min_item_size(self.client.namespace(), item.key, item.value);
        if !self.is_adding || size <= self.limit {
            return true;
        }
        let server = self.client.locate(item.key).ok().flatten();
        let limit = server.and_then(|server| self.limits.get(server.name()));
        limit.is_none_or(|&limit| size <= limit)
    }

    /// Deletes copies that should not be there, if they are still as they were stored; for each why it
    /// could not be, if so.
    pub(crate) async fn undo(&self, items: &[NewItem<'_>]) -> Vec<Option<Skipped>> {
        let now = self.requester.send(items.len(), |index| Request::get(items[index].key)).await;
        let is_ours = |(item, answer): (&NewItem<'_>, &FinalReply)| {
            answer.reply.is_ok() && answer.reply.value == *item.value && answer.reply.flags == item.flags
        };
        let ours: Vec<bool> = items.iter().zip(&now).map(is_ours).collect();
        let deletable: Vec<usize> =
            (0..items.len()).filter(|&index| ours[index] && now[index].reply.cas != 0).collect();
        let delete = |at: usize| Request::delete(items[deletable[at]].key).cas(now[deletable[at]].reply.cas);
        let deleted = self.requester.send(deletable.len(), delete).await;
        let mut outcomes: Vec<Option<Skipped>> = now.iter().map(|answer| unless_answered(&answer.reply)).collect();
        for (index, answer) in deletable.into_iter().zip(deleted) {
            outcomes[index] = unless_answered(&answer.reply);
        }
        for (index, outcome) in outcomes.iter_mut().enumerate() {
            // Without CAS values (memcached -C) a newer one could be hit: better an old value than that.
            if ours[index] && now[index].reply.cas == 0 {
                *outcome = Some(SkipReason::Changed.into());
            }
        }
        outcomes
    }
}

fn stored(answer: &FinalReply) -> StoreResult {
    match answer.reply.status {
        Status::NoError => StoreResult::Stored,
        Status::KeyExists if answer.maybe_executed => StoreResult::Stored,
        Status::KeyExists => StoreResult::Skipped(SkipReason::Kept.into()),
        _ => StoreResult::Skipped(Error::from(&answer.reply).into()),
    }
}

/// Why a request has no answer from its server, if so.
fn unless_answered(reply: &Reply) -> Option<Skipped> {
    let is_answer = matches!(reply.status, Status::NoError | Status::KeyNotFound | Status::KeyExists);
    (!is_answer).then(|| Error::from(reply).into())
}

/// What each server takes at most; of those that do not tell nothing is known.
async fn limits(client: &Client) -> HashMap<String, u64> {
    let samples = stats::fetch_all(client, "settings").await.into_iter();
    let limit = |sample: stats::Snapshot| {
        let figures = sample.stats.ok()?;
        Some((sample.server.name().to_owned(), figures.number("item_size_max")?))
    };
    samples.filter_map(limit).collect()
}
