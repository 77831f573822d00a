//! Stores items in a cluster, and removes copies again.

use bytes::Bytes;
use remcache::proto::MetaOptions;
use remcache::{Client, Error, Reply, Request, ServerHandle, Status, Ttl};
use tokio::task::JoinSet;

use super::request::{FinalReply, OutageWait, Requester};
use super::skip_reason::{SkipReason, Skipped};
use crate::exit::{Exit, Failure};
use crate::stats;

/// Stores items in a cluster.
#[derive(Debug)]
pub(crate) struct ItemStore {
    client: Client,
    requester: Requester,
    add_only: bool,
}

/// An item to store; its key is without the client's namespace.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewItem<'i> {
    pub(crate) key: &'i [u8],
    pub(crate) value: &'i Bytes,
    pub(crate) flags: u32,
    pub(crate) ttl: Ttl,
}

/// The result of storing an item.
#[derive(Clone, Debug)]
pub(crate) enum StoreResult {
    /// It was stored, by this attempt or by an earlier one whose reply was lost.
    Stored,
    Skipped(Skipped),
}

impl StoreResult {
    /// Returns whether the server of the item did not answer.
    pub(crate) fn is_unanswered(&self) -> bool {
        matches!(self, Self::Skipped(skipped) if skipped.is_unanswered())
    }
}

impl ItemStore {
    /// Prepares to store items, with `add_only` without overwriting any. Fails unless every server answers.
    pub(crate) async fn open(client: Client, add_only: bool, wait: OutageWait) -> Result<Self, Failure> {
        probe(&client).await?;
        Ok(Self { requester: Requester::for_cluster(client.clone(), wait), client, add_only })
    }

    /// Returns whether a server did not answer for as long as the options allow.
    pub(crate) fn has_given_up(&self) -> bool {
        self.requester.has_given_up()
    }

    /// Stores items; returns a result for each. The library does not send items that are too large for their server.
    pub(crate) async fn store(&self, items: &[NewItem<'_>]) -> Vec<StoreResult> {
        let replies = self.requester.send(items.len(), |index| self.request(&items[index])).await;
        self.results(items, &replies).await
    }

    fn request<'i>(&self, item: &NewItem<'i>) -> Request<'i> {
        let request = match self.add_only {
            true => Request::add(item.key, item.value),
            false => Request::set(item.key, item.value),
        };
        request.flags(item.flags).ttl(item.ttl)
    }

    async fn results(&self, items: &[NewItem<'_>], replies: &[FinalReply]) -> Vec<StoreResult> {
        let mut existing = self.compare_existing(items, replies).await.into_iter();
        let result = |(item, reply): (&NewItem<'_>, &FinalReply)| match reply.reply.status {
            Status::NoError => StoreResult::Stored,
            Status::KeyExists => match (existing.next(), reply.maybe_executed) {
                // An earlier attempt stored it, and only its reply was lost.
                (Some(true), true) => StoreResult::Stored,
                (Some(true), false) => StoreResult::Skipped(SkipReason::Identical.into()),
                _ => StoreResult::Skipped(SkipReason::Kept.into()),
            },
            Status::ValueTooLarge => StoreResult::Skipped(SkipReason::TooLarge.into()),
            _ => StoreResult::Skipped(Skipped::from(Error::from(&reply.reply)).at(self.server_of(item.key))),
        };
        items.iter().zip(replies).map(result).collect()
    }

    /// Returns for each item that exists already whether the existing one is identical.
    async fn compare_existing(&self, items: &[NewItem<'_>], replies: &[FinalReply]) -> Vec<bool> {
        let exists = |reply: &FinalReply| reply.reply.status == Status::KeyExists;
        let existing: Vec<&NewItem<'_>> =
            items.iter().zip(replies).filter(|(_, reply)| exists(reply)).map(|(item, _)| item).collect();
        if existing.is_empty() {
            return Vec::new();
        }
        let found = self.get(&existing).await;
        existing.iter().zip(found).map(|(item, reply)| item.is_stored_as(&reply)).collect()
    }

    /// Gets what is stored under the keys of items, without counting as an access where the protocol allows it.
    async fn get(&self, items: &[&NewItem<'_>]) -> Vec<Reply> {
        let options = MetaOptions::new().no_bump();
        self.requester.get(items.len(), |index| items[index].key, &options).await
    }

    fn server_of(&self, key: &[u8]) -> Option<String> {
        Some(self.client.locate(key).ok()??.name().to_owned())
    }

    /// Deletes copies again, if they are still as they were stored; for each the reason if that failed.
    pub(crate) async fn undo(&self, items: &[NewItem<'_>]) -> Vec<Option<Skipped>> {
        let items: Vec<&NewItem<'_>> = items.iter().collect();
        let found = self.get(&items).await;
        let ours: Vec<bool> = items.iter().zip(&found).map(|(item, reply)| item.is_stored_as(reply)).collect();
        let deletable: Vec<usize> = (0..items.len()).filter(|&index| ours[index] && found[index].cas != 0).collect();
        let delete = |at: usize| Request::delete(items[deletable[at]].key).cas(found[deletable[at]].cas);
        let deleted = self.requester.send(deletable.len(), delete).await;
        let skipped = |index: usize, reply: &Reply| Some(no_answer(reply)?.at(self.server_of(items[index].key)));
        let mut outcomes: Vec<Option<Skipped>> =
            found.iter().enumerate().map(|(index, reply)| skipped(index, reply)).collect();
        for (index, reply) in deletable.into_iter().zip(deleted) {
            outcomes[index] = skipped(index, &reply.reply);
        }
        for (index, outcome) in outcomes.iter_mut().enumerate() {
            // Without CAS values (memcached -C) the delete could hit a newer item: an old copy does less harm.
            if ours[index] && found[index].cas == 0 {
                *outcome = Some(SkipReason::Changed.into());
            }
        }
        outcomes
    }
}

impl NewItem<'_> {
    /// Returns whether the reply to a get has this item's value and flags.
    fn is_stored_as(&self, reply: &Reply) -> bool {
        reply.is_ok() && reply.value == *self.value && reply.flags == self.flags
    }
}

/// Returns the error of a request that its server did not answer, if so.
fn no_answer(reply: &Reply) -> Option<Skipped> {
    let is_answer = matches!(reply.status, Status::NoError | Status::KeyNotFound | Status::KeyExists);
    (!is_answer).then(|| Error::from(reply).into())
}

/// Fails unless every server answers: then a long run fails at its beginning, before it has read the source.
async fn probe(client: &Client) -> Result<(), Failure> {
    let mut tasks = JoinSet::new();
    for (index, server) in client.servers().into_iter().enumerate() {
        tasks.spawn(async move {
            let error = server.noop().await.err();
            (index, error.map(|error| (server, error)))
        });
    }
    let mut probes = tasks.join_all().await;
    probes.sort_by_key(|(index, _)| *index);
    let failures: Vec<(ServerHandle, Error)> = probes.into_iter().filter_map(|(_, failure)| failure).collect();
    let Some((_, first)) = failures.first() else { return Ok(()) };
    if Exit::of(first) == Exit::Auth {
        return Err(first.clone().into());
    }
    let reasons: Vec<_> =
        failures.iter().map(|(server, error)| format!("{}: {}", server.name(), stats::reason(server, error))).collect();
    Err(Failure::Unreachable(format!("nothing was stored, because not all servers answer: {}", reasons.join("; "))))
}
