//! Storing items in a fleet, and select copies back.

use bytes::Bytes;
use remcache::{Client, Error, Reply, Request, Status, Ttl};

use super::request::{FinalReply, Requester};
use super::skip_reason::{SkipReason, Skipped};

/// Stores items in a fleet.
#[derive(Debug)]
pub(crate) struct ItemStore {
    requester: Requester,
    is_adding: bool,
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
    pub(crate) fn new(client: Client, is_adding: bool) -> Self {
        Self { requester: Requester::for_cluster(client), is_adding }
    }

    /// Stores items; an outcome for each. What is too large for its server is not sent.
    pub(crate) async fn store(&self, items: &[NewItem<'_>]) -> Vec<StoreResult> {
        let answers = self.requester.send(items.len(), |index| self.request(&items[index])).await;
        answers.iter().map(stored).collect()
    }

    fn request<'i>(&self, item: &NewItem<'i>) -> Request<'i> {
        let request = match self.is_adding {
            true => Request::add(item.key, item.value),
            false => Request::set(item.key, item.value),
        };
        request.flags(item.flags).ttl(item.ttl)
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
        Status::KeyExists => StoreResult::Skipped(SkipReason::KeyTracking.into()),
        Status::ValueTooLarge => StoreResult::Skipped(SkipReason::TooLarge.into()),
        _ => StoreResult::Skipped(Error::from(&answer.reply).into()),
    }
}

/// Why a request has no answer from its server, if so.
fn unless_answered(reply: &Reply) -> Option<Skipped> {
    let is_answer = matches!(reply.status, Status::NoError | Status::KeyNotFound | Status::KeyExists);
    (!is_answer).then(|| Error::from(reply).into())
}
