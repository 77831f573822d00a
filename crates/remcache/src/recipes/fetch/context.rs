//! What a key's item looks like to fetch, and taking the lease of it: the part that differs by protocol.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;

use super::lease::Lease;
use super::{Found, Loaded};
use crate::client::Client;
use crate::error::{Error, ErrorKind};
use crate::ops::builder::{Command, Kind};
use crate::proto::{Key, Protocol, Reply, Status, Ttl};
use crate::recipes::fetch::lookup::Look;
use crate::recipes::fetch::refresh_item as companion;
use crate::recipes::fetch::refresh_item::Companion;
use crate::recipes::fetch_policy::FetchPolicy;
use crate::recipes::ownership::Claim;
use crate::result::Item;
use crate::sentinel as marks;

/// A key, where it is, and how fresh its value has to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spot<'a> {
    pub(crate) client: &'a Client,
    pub(crate) key: &'a [u8],
    pub(crate) freshness: &'a FetchPolicy,
}

/// What is at a spot.
#[derive(Debug)]
pub(crate) enum Seen {
    /// A value, or that there is none, and whether it should be reloaded.
    Value(Item, Due),
    /// Nothing.
    Nothing,
    /// Somebody is loading; the CAS value of the lease.
    Leased(u64),
    /// A tombstone: nothing is to be stored.
    Buried,
    /// The cache could not be asked.
    Away,
}

/// Whether a value should be reloaded, and by whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    No,
    /// By this caller, says the server.
    Won,
    /// By another one, says the server.
    Lost,
    /// By whoever asks the server first.
    Open,
    /// By whoever changes the companion first: its CAS value, and the hash of the value.
    Companion {
        cas: u64,
        hash: u64,
    },
}

impl<'a> Spot<'a> {
    /// Looks, and leaves everything as it is.
    ///
    /// # Errors
    /// What the caller did wrong; that the cache is away is none.
    pub(crate) async fn look(self) -> Result<Seen, Error> {
        let seen = match self.client.protocol_of(self.key) {
            Some(Protocol::Binary | Protocol::Text) => self.look_beside().await,
            _ => match self.look_with_time().await {
                Err(error) if error.kind() == ErrorKind::Unsupported => self.look_beside().await,
                seen => seen,
            },
        };
        seen.and_then(|seen| self.require_cas(seen)).or_else(|error| self.away(error))
    }

    /// Refuses items without CAS values: nothing about them could be changed safely.
    fn require_cas(self, seen: Seen) -> Result<Seen, Error> {
        match &seen {
            Seen::Value(Item { cas, .. }, _) | Seen::Leased(cas) => {
                self.client.home(self.key).checked_cas(*cas).map(|_| seen)
            }
            Seen::Nothing | Seen::Buried | Seen::Away => Ok(seen),
        }
    }

    /// A cache that fails is away, unless it is the caller who is wrong.
    pub(crate) fn away(self, error: Error) -> Result<Seen, Error> {
        match error.kind() {
            ErrorKind::InvalidKey | ErrorKind::Unsupported => Err(error),
            ErrorKind::InvalidArguments => Err(Key::new(self.key).err().map_or(error, Error::from)),
            _ => Ok(Seen::Away),
        }
    }

    /// The meta protocol tells with the item how long it has left, and who is to reload it.
    async fn look_with_time(self) -> Result<Seen, Error> {
        let reply = Look::at(self).await;
        match reply.status {
            Status::NoError => Ok(self.seen_with_time(reply)),
            Status::KeyNotFound => Ok(Seen::Nothing),
            _ => Err(Error::from_reply(&reply, None)),
        }
    }

    /// What the reply to a look says that has found something.
    pub(crate) fn seen_with_time(self, reply: Reply) -> Seen {
        let Reply { value, flags, cas, info, .. } = reply;
        let info = info.unwrap_or_default();
        let left = match info.ttl_left {
            Some(Ttl::After(left)) => left,
            Some(Ttl::Expired) => Duration::ZERO,
            _ => Duration::MAX,
        };
        // That there is nothing is kept for a time of its own.
        let is_due = info.stale || flags != marks::ABSENT && left < self.freshness.due_below();
        let due = match (info.won, is_due, info.another_has_won) {
            (true, ..) => Due::Won,
            (_, false, _) => Due::No,
            (_, _, true) => Due::Lost,
            _ => Due::Open,
        };
        // Other clients have the server create the item of a lease, which is empty.
        let is_foreign_lease = value.is_empty() && flags == 0 && (info.won || info.another_has_won);
        if is_foreign_lease { Seen::Leased(cas) } else { seen(Item { value, flags, cas }, due) }
    }

    /// On the other protocols the companion tells it, which is asked for in the same write.
    async fn look_beside(self) -> Result<Seen, Error> {
        let (key, route) = (companion::key_of(self.client, self.key), companion::route(self.client, self.key));
        let beside = self.client.get(&key).routing_key(&route);
        let (item, beside) = both(self.client.get(self.key), beside).await;
        let Some(item) = item? else { return Ok(Seen::Nothing) };
        let due = match beside.ok().flatten().and_then(|item| Some((Companion::read(&item)?, item.cas))) {
            None => Due::No,
            Some((companion, cas)) => {
                let hash = companion::hash(item.flags, &item.value);
                if companion.is_due(hash) { Due::Companion { cas, hash } } else { Due::No }
            }
        };
        Ok(seen(item, due))
    }

    /// Takes the lease of a key that has no item; `None` if by now it has one.
    pub(crate) async fn lease(self) -> Result<Option<Lease>, Error> {
        // The server's seconds may begin at any time, and so end up to one early.
        let ttl = self.freshness.lease.saturating_add(Duration::from_secs(1));
        let claim = Claim::take(self.client, self.key, marks::LEASE, ttl).await?;
        Ok(claim.map(Lease::of_nothing))
    }

    /// The lease of another one who takes too long: who stores first by this CAS value is the one.
    pub(crate) fn take_over(self, cas: u64) -> Lease {
        Lease::of_nothing(self.claim(cas))
    }

    /// What a key's item is, as if it were held.
    pub(crate) fn claim(self, cas: u64) -> Claim {
        Claim::new(self.client.clone(), self.key.to_vec(), Bytes::new(), cas)
    }
}

/// Waits for two commands that are on their way at the same time.
async fn both<'c, K: Kind>(
    mut one: Command<'c, K>,
    mut other: Command<'c, K>,
) -> (Result<K::Output, Error>, Result<K::Output, Error>) {
    let (mut first, mut second) = (None, None);
    poll_fn(|cx| {
        for (command, outcome) in [(&mut one, &mut first), (&mut other, &mut second)] {
            if outcome.is_none()
                && let Poll::Ready(ready) = Pin::new(command).poll(cx)
            {
                *outcome = Some(ready);
            }
        }
        match (first.take(), second.take()) {
            (Some(one), Some(other)) => Poll::Ready((one, other)),
            unfinished => {
                (first, second) = unfinished;
                Poll::Pending
            }
        }
    })
    .await
}

fn seen(item: Item, due: Due) -> Seen {
    match item.flags {
        marks::LEASE => Seen::Leased(item.cas),
        marks::TOMBSTONE => Seen::Buried,
        _ => Seen::Value(item, due),
    }
}

/// What an item is to a caller: a value, or that there is none.
pub(crate) fn found(item: Item) -> Found {
    (item.flags != marks::ABSENT).then_some(Loaded { flags: item.flags, bytes: item.value })
}
