//! The right to load a key's value: how it is used, and how it is given back.

use std::time::Duration;

use super::{Found, Loaded};
use crate::error::{Error, ErrorKind};
use crate::ops::builder::condition;
use crate::proto::{MetaOptions, Protocol, Request, Status, Ttl};
use crate::recipes::fetch::context::{Due, Spot};
use crate::recipes::fetch::refresh_item as companion;
use crate::recipes::fetch::refresh_item::Companion;
use crate::recipes::fetch_policy::FetchPolicy;
use crate::recipes::ownership::Claim;
use crate::result::WriteOutcome;
use crate::sentinel as marks;

/// The right to load a key's value. Dropping it gives it back, without waiting.
#[derive(Debug)]
pub(crate) struct Lease {
    claim: Claim,
    kind: Kind,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// There is no value, and a placeholder under the key.
    Nothing,
    /// There is a value, and the server has told this caller to reload it.
    Won,
    /// There is a value of this hash, whose companion says that it is due later; it is kept so long.
    Companion(u64, Duration),
}

impl Lease {
    pub(crate) fn of_nothing(claim: Claim) -> Self {
        Self { claim, kind: Kind::Nothing }
    }

    pub(crate) fn won(spot: Spot<'_>, cas: u64) -> Self {
        Self { claim: spot.claim(cas), kind: Kind::Won }
    }

    /// The lease of a value that is due, if nobody was faster; not of one that another has won.
    pub(crate) async fn of_due(spot: Spot<'_>, cas: u64, due: Due) -> Result<Option<Self>, Error> {
        match due {
            Due::No | Due::Lost => Ok(None),
            Due::Won => Ok(Some(Self::won(spot, cas))),
            Due::Open => {
                let recache = Some(spot.freshness.due_below());
                let options = MetaOptions { without_value: true, recache, ..MetaOptions::default() };
                let reply = spot.client.call(Request::get(spot.key).meta(options)).await;
                match reply.status {
                    Status::NoError => Ok(reply.info.is_some_and(|info| info.won).then(|| Self::won(spot, reply.cas))),
                    Status::KeyNotFound => Ok(None),
                    _ => Err(Error::from_reply(&reply, None)),
                }
            }
            Due::Companion { cas: beside, hash } => {
                let later = Companion::new(hash, spot.freshness.lease);
                let changed = later.store(spot.client, spot.key, spot.freshness.kept_for(), Some(beside)).await?;
                let claim = changed.is_applied().then(|| spot.claim(cas));
                let kind = Kind::Companion(hash, spot.freshness.kept_for());
                Ok(claim.map(|claim| Self { claim, kind }))
            }
        }
    }

    /// Takes the lease that another one won and does not use: whoever changes the item first is the
    /// one, and the change makes the other's too late.
    pub(crate) async fn of_lost(spot: Spot<'_>, cas: u64) -> Result<Option<Self>, Error> {
        let reply = spot.client.call(stale(spot.key, cas)).await;
        if reply.status != Status::NoError {
            return Ok(None);
        }
        // The reply does not tell the new CAS value.
        match spot.client.get(spot.key).await? {
            Some(item) if !marks::is_mark(item.flags) || item.flags == marks::ABSENT => {
                Ok(Some(Self::won(spot, item.cas)))
            }
            _ => Ok(None),
        }
    }

    /// Stores what was loaded, if nobody has changed the item since; whether that is so.
    pub(crate) async fn fill(mut self, found: &Found, freshness: &FetchPolicy) -> bool {
        let stored = match self.store(found.as_ref(), freshness).await {
            Ok(change) => {
                self.claim.settle();
                change.is_applied()
            }
            Err(error) => {
                match error.kind() {
                    ErrorKind::ValueTooLarge | ErrorKind::OutOfMemory => {
                        tracing::warn!(%error, "a value that was loaded is not stored");
                    }
                    _ => tracing::debug!(%error, "a value that was loaded is not stored"),
                }
                false
            }
        };
        if let (true, Some(loaded)) = (stored, found) {
            self.accompany(loaded, freshness);
        }
        stored
    }

    async fn store(&self, loaded: Option<&Loaded>, freshness: &FetchPolicy) -> Result<WriteOutcome, Error> {
        let Claim { client, key, cas, .. } = &self.claim;
        match (loaded, freshness.negative) {
            (Some(Loaded { flags, bytes }), _) => {
                client.set(key, bytes).flags(*flags).ttl(freshness.kept_for()).cas(*cas).await
            }
            (None, Some(ttl)) => client.set(key, "").flags(marks::ABSENT).ttl(ttl).cas(*cas).await,
            (None, None) => client.set(key, "").ttl(Ttl::Expired).cas(*cas).await,
        }
    }

    /// Says beside the value when it is due, where the protocol does not. Nobody waits for it: without it
    /// the value is not reloaded before it is gone.
    fn accompany(&self, loaded: &Loaded, freshness: &FetchPolicy) {
        let Claim { client, key, .. } = &self.claim;
        if freshness.due_below().is_zero() || client.protocol_of(key) == Some(Protocol::Meta) {
            return;
        }
        let companion = Companion::new(companion::hash(loaded.flags, &loaded.bytes), freshness.due_after());
        self.cast_companion(companion, freshness.kept_for());
    }

    fn cast_companion(&self, companion: Companion, ttl: Duration) {
        let Claim { client, key, .. } = &self.claim;
        let beside = companion::key_of(client, key);
        self.claim.cast_beside(companion.request(&beside, ttl), &companion::route(client, key));
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.claim.is_settled() {
            return;
        }
        match self.kind {
            // The claim removes the placeholder.
            Kind::Nothing => return,
            Kind::Won => self.claim.cast(stale(&self.claim.key, self.claim.cas)),
            Kind::Companion(hash, kept) => self.cast_companion(Companion::due(hash), kept),
        }
        self.claim.settle();
    }
}

/// The request that marks an item as stale, if its CAS value is this one: the next who asks wins it.
fn stale(key: &[u8], cas: u64) -> Request<'_> {
    Request::delete(key).cas(condition(cas)).meta(MetaOptions { stale: true, ..MetaOptions::default() })
}
