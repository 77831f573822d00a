//! Looks up the state of a key for `fetch` and acquires its lease: the protocol-specific part.

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
use crate::proto::{Protocol, Reply, Status, Ttl};
use crate::recipes::fetch::lookup::LookupGuard;
use crate::recipes::fetch::refresh_item;
use crate::recipes::fetch::refresh_item::RefreshItem;
use crate::recipes::fetch_policy::FetchPolicy;
use crate::recipes::ownership::OwnedItem;
use crate::result::Item;
use crate::sentinel;

/// A key, the client to ask, and the fetch policy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FetchContext<'a> {
    pub(crate) client: &'a Client,
    pub(crate) key: &'a [u8],
    pub(crate) freshness: &'a FetchPolicy,
}

/// Result of looking up a key.
#[derive(Debug)]
pub(crate) enum Lookup {
    /// A value or negative result, and whether it should be refreshed.
    Value(Item, RefreshRight),
    /// A miss.
    Nothing,
    /// Another client is loading the value; the CAS value of its lease.
    Leased(u64),
    /// A negative result where a value is required; its CAS value.
    Absent(u64),
    /// A tombstone: loaded values must not be stored.
    Tombstone,
    /// The server is unavailable.
    Unavailable,
}

/// Whether a value should be refreshed, and who has the right to do so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RefreshRight {
    No,
    /// The server assigned the refresh to this caller.
    Won,
    /// The server assigned the refresh to another client.
    Lost,
    /// The first client to ask the server for it.
    Open,
    /// The first client to change the refresh item: its CAS value, and the hash of the value.
    RefreshItem {
        cas: u64,
        hash: u64,
    },
}

impl<'a> FetchContext<'a> {
    /// Looks the key up without changing anything.
    ///
    /// # Errors
    /// Invalid use only; an unavailable cache is not an error.
    pub(crate) async fn look_up(self) -> Result<Lookup, Error> {
        let lookup = match self.client.protocol_of(self.key) {
            Some(Protocol::Binary | Protocol::Text) => self.look_up_with_refresh_item().await,
            _ => match self.look_up_meta().await {
                Err(error) if error.kind() == ErrorKind::Unsupported => self.look_up_with_refresh_item().await,
                lookup => lookup,
            },
        };
        lookup.and_then(|lookup| self.require_cas(lookup)).or_else(|error| self.unavailable_unless_usage_error(error))
    }

    /// Looks the key up again, unless its server is known to be down by now: a fetch asks it once.
    pub(crate) async fn look_up_again(self) -> Result<Lookup, Error> {
        match self.client.is_reachable(self.key) {
            true => self.look_up().await,
            false => Ok(Lookup::Unavailable),
        }
    }

    /// Rejects items without CAS values, which cannot be changed safely.
    fn require_cas(self, lookup: Lookup) -> Result<Lookup, Error> {
        match &lookup {
            Lookup::Value(Item { cas, .. }, _) | Lookup::Leased(cas) | Lookup::Absent(cas) => {
                self.client.primary(self.key).checked_cas(*cas).map(|_| lookup)
            }
            Lookup::Nothing | Lookup::Tombstone | Lookup::Unavailable => Ok(lookup),
        }
    }

    /// Treats a failure as an unavailable cache, unless it is a usage error.
    pub(crate) fn unavailable_unless_usage_error(self, error: Error) -> Result<Lookup, Error> {
        match error.kind() {
            ErrorKind::InvalidKey | ErrorKind::InvalidArguments | ErrorKind::Unsupported => Err(error),
            _ => Ok(Lookup::Unavailable),
        }
    }

    /// Looks the key up on the meta protocol, which returns the remaining TTL and the refresh right with the item.
    async fn look_up_meta(self) -> Result<Lookup, Error> {
        let reply = LookupGuard::new(self).await;
        match reply.status {
            Status::NoError => Ok(self.interpret_reply(reply)),
            Status::KeyNotFound => Ok(Lookup::Nothing),
            _ => Err(Error::from(&reply)),
        }
    }

    /// Interprets the reply to a successful meta get.
    pub(crate) fn interpret_reply(self, reply: Reply) -> Lookup {
        let Reply { value, flags, cas, info, .. } = reply;
        let info = info.unwrap_or_default();
        let left = match info.remaining_ttl {
            Some(Ttl::After(left)) => left,
            Some(Ttl::Expired) => Duration::ZERO,
            _ => Duration::MAX,
        };
        // Negative results have a TTL of their own, and no refresh time.
        let is_due = info.stale || flags != sentinel::ABSENT && left < self.freshness.due_below();
        let due = match (info.won, is_due, info.already_won) {
            (true, ..) => RefreshRight::Won,
            (_, false, _) => RefreshRight::No,
            (_, _, true) => RefreshRight::Lost,
            _ => RefreshRight::Open,
        };
        // Other clients create leases with `mg N`: the server creates an empty item.
        let is_foreign_lease = value.is_empty() && flags == 0 && (info.won || info.already_won);
        if is_foreign_lease { Lookup::Leased(cas) } else { self.classify(Item { value, flags, cas }, due) }
    }

    /// Looks the key up on the other protocols, together with its refresh item.
    async fn look_up_with_refresh_item(self) -> Result<Lookup, Error> {
        let (key, route) = (refresh_item::key_of(self.client, self.key), refresh_item::route(self.client, self.key));
        let refresh_item = self.client.get(&key).with_sentinels().routing_key(&route);
        let (item, refresh_item) = both(self.client.get(self.key).with_sentinels(), refresh_item).await;
        let Some(item) = item? else { return Ok(Lookup::Nothing) };
        let due = match refresh_item.ok().flatten().and_then(|item| Some((RefreshItem::read(&item)?, item.cas))) {
            None => RefreshRight::No,
            Some((refresh_item, cas)) => {
                let hash = refresh_item::hash(item.flags, &item.value);
                if refresh_item.is_due(hash) { RefreshRight::RefreshItem { cas, hash } } else { RefreshRight::No }
            }
        };
        Ok(self.classify(item, due))
    }

    fn classify(self, item: Item, due: RefreshRight) -> Lookup {
        match item.flags {
            sentinel::LEASE => Lookup::Leased(item.cas),
            sentinel::TOMBSTONE => Lookup::Tombstone,
            sentinel::ABSENT if self.freshness.requires_value => Lookup::Absent(item.cas),
            _ => Lookup::Value(item, due),
        }
    }

    /// Acquires the lease of a missing key; `None` if the key has an item by now.
    pub(crate) async fn lease(self) -> Result<Option<Lease>, Error> {
        // The server counts whole seconds and may expire the item up to one second early.
        let ttl = self.freshness.lease.saturating_add(Duration::from_secs(1));
        let owned = OwnedItem::take(self.client, self.key, sentinel::LEASE, ttl).await?;
        Ok(owned.map(Lease::for_absent))
    }

    /// Takes over an overdue lease: the first client to store by this CAS value wins.
    pub(crate) fn take_over(self, cas: u64) -> Lease {
        Lease::for_absent(self.owned(cas))
    }

    /// Wraps the key's item as owned under this CAS value.
    pub(crate) fn owned(self, cas: u64) -> OwnedItem {
        OwnedItem::new(self.client.clone(), self.key.to_vec(), Bytes::new(), cas)
    }
}

/// Runs two commands concurrently; the other is not sent if the first fails at once.
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
                let has_failed = ready.is_err();
                *outcome = Some(ready);
                if has_failed {
                    break;
                }
            }
        }
        match (first.take(), second.take()) {
            (Some(Err(error)), None) => Poll::Ready((Err(error.clone()), Err(error))),
            (Some(one), Some(other)) => Poll::Ready((one, other)),
            unfinished => {
                (first, second) = unfinished;
                Poll::Pending
            }
        }
    })
    .await
}

/// Converts an item into what the caller gets: a value or a negative result.
pub(crate) fn found(item: Item) -> Found {
    (item.flags != sentinel::ABSENT).then_some(Loaded { flags: item.flags, bytes: item.value })
}
