//! Looks up the state of a key for `fetch` and acquires its lease: the protocol-specific part.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;

use super::lease::Lease;
use super::{Found, Loaded};
use crate::client::Client;
use crate::error::{Error, ErrorKind};
use crate::ops::builder::{Command, Kind, Located};
use crate::ops::pinned_route::PinnedRoute;
use crate::proto::{Protocol, Reply, Status, Ttl};
use crate::recipes::fetch::lookup::LookupGuard;
use crate::recipes::fetch::refresh_item;
use crate::recipes::fetch::refresh_item::RefreshItem;
use crate::recipes::fetch_policy::FetchPolicy;
use crate::recipes::ownership::{ItemVersion, OwnedItem};
use crate::result::Item;
use crate::sentinel;
use crate::server::Server;

/// A key, the client to ask, and the fetch policy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FetchContext<'a> {
    pub(crate) client: &'a Client,
    pub(crate) key: &'a [u8],
    pub(crate) policy: &'a FetchPolicy,
}

/// Result of looking up a key.
#[derive(Debug)]
pub(crate) enum Lookup {
    /// A value or negative result, and whether it should be refreshed.
    Value(Item, ItemVersion, RefreshRight),
    /// A miss.
    Nothing,
    /// Another client is loading the value; the version of its lease.
    Leased(ItemVersion),
    /// A negative result where a value is required.
    Absent(ItemVersion),
    /// A tombstone: loaded values must not be stored.
    Tombstone,
    /// The server is unavailable.
    Unavailable,
}

/// The right to refresh a value, if it is due.
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

    /// Looks the key up again, unless its server is now known to be down: a fetch sends it only one request.
    pub(crate) async fn look_up_again(self) -> Result<Lookup, Error> {
        match self.client.is_reachable(self.key) {
            true => self.look_up().await,
            false => Ok(Lookup::Unavailable),
        }
    }

    /// Rejects items without CAS values, which cannot be changed safely.
    fn require_cas(self, lookup: Lookup) -> Result<Lookup, Error> {
        match &lookup {
            Lookup::Value(_, version, _) | Lookup::Leased(version) | Lookup::Absent(version) if version.cas == 0 => {
                self.client.pinned(self.key, version.server.as_ref()).checked_cas(0).map(|_| lookup)
            }
            _ => Ok(lookup),
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
        let (reply, server) = LookupGuard::new(self).await;
        match reply.status {
            Status::NoError => Ok(self.interpret_reply(reply, server)),
            Status::KeyNotFound => Ok(Lookup::Nothing),
            _ => Err(Error::from(&reply)),
        }
    }

    /// Interprets the reply to a successful meta get.
    pub(crate) fn interpret_reply(self, reply: Reply, server: Option<Arc<Server>>) -> Lookup {
        let Reply { value, flags, cas, info, .. } = reply;
        let info = info.unwrap_or_default();
        let remaining = match info.remaining_ttl {
            Some(Ttl::After(remaining)) => remaining,
            Some(Ttl::Expired) => Duration::ZERO,
            _ => Duration::MAX,
        };
        // Negative results have a separate TTL, and no refresh time.
        let is_short = flags != sentinel::ABSENT && remaining < self.policy.due_below();
        // On a fallback the TTL is capped, which would make each new value due immediately.
        let is_due = info.stale || is_short && !self.client.pinned(self.key, server.as_ref()).is_on_fallback();
        let due = match (info.won, is_due, info.already_won) {
            (true, ..) => RefreshRight::Won,
            (_, false, _) => RefreshRight::No,
            (_, _, true) => RefreshRight::Lost,
            _ => RefreshRight::Open,
        };
        // Other clients create leases with `mg N`: the server creates an empty item.
        let is_foreign_lease = value.is_empty() && flags == 0 && (info.won || info.already_won);
        match is_foreign_lease {
            true => Lookup::Leased(ItemVersion { cas, server }),
            false => self.classify(Item { value, flags, cas }, server, due),
        }
    }

    /// Looks the key up on the other protocols, together with its refresh item.
    async fn look_up_with_refresh_item(self) -> Result<Lookup, Error> {
        let (key, route) = (refresh_item::key_of(self.client, self.key), refresh_item::route(self.client, self.key));
        let refresh_item = self.client.get(&key).with_sentinels().routing_key(&route);
        let (found, refresh_item) = both(self.client.get(self.key).with_sentinels(), refresh_item).await;
        let (item, server) = found;
        let Some(item) = item? else { return Ok(Lookup::Nothing) };
        let due = match refresh_item {
            // On another server the refresh item may belong to an earlier outage.
            (Ok(Some(refresh_item)), at) if is_same(server.as_ref(), at.as_ref()) => {
                RefreshItem::read(&refresh_item).map(|read| (read, refresh_item.cas))
            }
            _ => None,
        };
        let due = due.map_or(RefreshRight::No, |(refresh_item, cas)| {
            let hash = refresh_item::hash(item.flags, &item.value);
            if refresh_item.is_due(hash) { RefreshRight::RefreshItem { cas, hash } } else { RefreshRight::No }
        });
        Ok(self.classify(item, server, due))
    }

    fn classify(self, item: Item, server: Option<Arc<Server>>, due: RefreshRight) -> Lookup {
        let version = ItemVersion { cas: item.cas, server };
        match item.flags {
            sentinel::LEASE => Lookup::Leased(version),
            sentinel::TOMBSTONE => Lookup::Tombstone,
            sentinel::ABSENT if self.policy.requires_value => Lookup::Absent(version),
            _ => Lookup::Value(item, version, due),
        }
    }

    /// Acquires the lease of a missing key; `None` if the key has an item by now.
    pub(crate) async fn lease(self) -> Result<Option<Lease>, Error> {
        // The server counts whole seconds and may expire the item up to one second early.
        let ttl = self.policy.lease.saturating_add(Duration::from_secs(1));
        let owned = OwnedItem::take(self.client, self.key, sentinel::LEASE, ttl).await?;
        Ok(owned.map(Lease::for_absent))
    }

    /// Takes over an overdue lease: the first client to store by this CAS value wins.
    pub(crate) fn take_over(self, version: ItemVersion) -> Lease {
        Lease::for_absent(self.owned(version))
    }

    /// Wraps the key's item as owned under its CAS value.
    pub(crate) fn owned(self, version: ItemVersion) -> OwnedItem {
        OwnedItem::new(self.client.clone(), self.key.to_vec(), Bytes::new(), version)
    }

    /// Returns the route to the server that has this version of the key's item.
    pub(crate) fn pinned(self, version: &ItemVersion) -> PinnedRoute<'a> {
        self.client.pinned(self.key, version.server.as_ref())
    }
}

/// Returns whether two items were found at the same server.
fn is_same(one: Option<&Arc<Server>>, other: Option<&Arc<Server>>) -> bool {
    one.zip(other).is_some_and(|(one, other)| Arc::ptr_eq(one, other))
}

/// Runs two commands concurrently; the second is not sent if the first fails immediately.
async fn both<K: Kind>(one: Command<'_, K>, other: Command<'_, K>) -> (Located<K::Output>, Located<K::Output>) {
    let (mut one, mut other) = (pin!(one.located()), pin!(other.located()));
    let (mut first, mut second) = (None, None);
    poll_fn(|cx| {
        for (command, outcome) in [(one.as_mut(), &mut first), (other.as_mut(), &mut second)] {
            if outcome.is_none()
                && let Poll::Ready(ready) = command.poll(cx)
            {
                let has_failed = ready.0.is_err();
                *outcome = Some(ready);
                if has_failed {
                    break;
                }
            }
        }
        match (first.take(), second.take()) {
            (Some((Err(error), server)), None) => Poll::Ready(((Err(error.clone()), server), (Err(error), None))),
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
