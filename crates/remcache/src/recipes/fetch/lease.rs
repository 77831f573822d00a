//! Leases: the right to load a key's value, how it is used and how it is released.

use std::time::Duration;

use super::{Found, Loaded};
use crate::client::Client;
use crate::error::{Error, ErrorKind};
use crate::ops::builder::condition;
use crate::ops::builder::kind::{FetchWithSentinels, Store};
use crate::proto::{MetaOptions, Protocol, Request, Status};
use crate::recipes::fetch::context::{FetchContext, RefreshRight};
use crate::recipes::fetch::refresh_item;
use crate::recipes::fetch::refresh_item::RefreshItem;
use crate::recipes::fetch_policy::FetchPolicy;
use crate::recipes::ownership::{ItemVersion, OwnedItem, removal};
use crate::result::WriteOutcome;
use crate::sentinel;

/// The right to load a key's value. Dropping it releases the lease without waiting.
#[derive(Debug)]
pub(crate) struct Lease {
    owned: OwnedItem,
    kind: LeaseKind,
}

#[derive(Clone, Copy, Debug)]
enum LeaseKind {
    /// The key has no value, but a placeholder item.
    Nothing,
    /// The key has a value, and the server assigned its refresh to this caller.
    Won,
    /// The key has a value with this hash; its refresh item was postponed. The duration is the item's TTL.
    RefreshItem(u64, Duration),
}

impl Lease {
    pub(crate) fn for_absent(owned: OwnedItem) -> Self {
        Self { owned, kind: LeaseKind::Nothing }
    }

    pub(crate) fn won(ctx: FetchContext<'_>, version: ItemVersion) -> Self {
        Self { owned: ctx.owned(version), kind: LeaseKind::Won }
    }

    /// Stores the value by another handle of its client.
    pub(crate) fn with_client(mut self, client: Client) -> Self {
        self.owned.client = client;
        self
    }

    /// Acquires the lease of a value that is due; `None` if another client has it.
    pub(crate) async fn acquire_due(
        ctx: FetchContext<'_>,
        version: ItemVersion,
        due: RefreshRight,
    ) -> Result<Option<Self>, Error> {
        match due {
            RefreshRight::No | RefreshRight::Lost => Ok(None),
            RefreshRight::Won => Ok(Some(Self::won(ctx, version))),
            RefreshRight::Open => {
                let recache = ctx.policy.due_below();
                let options = MetaOptions::new().without_value().recache(recache);
                let reply = ctx.pinned(&version).call(Request::get(ctx.key).meta(options)).await;
                let is_won = reply.info.as_ref().is_some_and(|info| info.won);
                match reply.status {
                    Status::NoError => Ok(is_won.then(|| Self::won(ctx, ItemVersion { cas: reply.cas, ..version }))),
                    Status::KeyNotFound => Ok(None),
                    _ => Err(Error::from(&reply)),
                }
            }
            RefreshRight::RefreshItem { cas: refresh_cas, hash } => {
                let later = RefreshItem::new(hash, ctx.policy.lease);
                let refresh_key = refresh_item::key_of(ctx.client, ctx.key);
                let request = later.request(&refresh_key, ctx.policy.stored_ttl()).cas(refresh_cas);
                let changed = ctx.pinned(&version).ask::<Store>(request).await?;
                let owned = changed.is_applied().then(|| ctx.owned(version));
                let kind = LeaseKind::RefreshItem(hash, ctx.policy.stored_ttl());
                Ok(owned.map(|owned| Self { owned, kind }))
            }
        }
    }

    /// Takes over the lease of a client that won the refresh but does not use it: the first client to
    /// change the item wins, and the change invalidates the other lease.
    pub(crate) async fn take_over_lost(ctx: FetchContext<'_>, version: ItemVersion) -> Result<Option<Self>, Error> {
        let pinned = ctx.pinned(&version);
        let reply = pinned.call(stale(ctx.key, version.cas)).await;
        if reply.status != Status::NoError {
            return Ok(None);
        }
        // The reply does not contain the new CAS value.
        match pinned.ask::<FetchWithSentinels>(Request::get(ctx.key)).await? {
            Some(item) if !sentinel::is_sentinel(item.flags) || item.flags == sentinel::ABSENT => {
                Ok(Some(Self::won(ctx, ItemVersion { cas: item.cas, ..version })))
            }
            _ => Ok(None),
        }
    }

    /// Stores the loaded value if the item has not changed; returns whether it was stored.
    pub(crate) async fn fill(mut self, found: &Found, policy: &FetchPolicy) -> bool {
        let stored = match self.store(found.as_ref(), policy).await {
            Ok(change) => {
                self.owned.disarm();
                change.is_applied()
            }
            Err(error) => {
                match error.kind() {
                    ErrorKind::ValueTooLarge | ErrorKind::OutOfMemory => {
                        tracing::warn!(%error, "could not store a loaded value");
                    }
                    _ => tracing::debug!(%error, "could not store a loaded value"),
                }
                false
            }
        };
        if let (true, Some(loaded)) = (stored, found) {
            self.store_refresh_item(loaded, policy);
        }
        stored
    }

    async fn store(&self, loaded: Option<&Loaded>, policy: &FetchPolicy) -> Result<WriteOutcome, Error> {
        let OwnedItem { client, key, cas, .. } = &self.owned;
        let key = &key[..];
        let set = match (loaded, policy.negative) {
            (Some(Loaded { flags, bytes }), _) => {
                Request::set(key, bytes).flags(*flags).ttl(policy.stored_ttl()).cas(*cas)
            }
            (None, Some(ttl)) => Request::set(key, "").flags(sentinel::ABSENT).ttl(ttl).cas(*cas),
            (None, None) => removal(key, *cas),
        };
        self.owned.ask::<Store>(client, set).await
    }

    /// Stores the refresh item on protocols that need one, without waiting: if it is lost, the value is
    /// not refreshed before it expires.
    fn store_refresh_item(&self, loaded: &Loaded, policy: &FetchPolicy) {
        let OwnedItem { client, key, .. } = &self.owned;
        // Values on a fallback are not refreshed ahead.
        let has_none = policy.due_below().is_zero() || self.owned.route.is_on_fallback;
        if has_none || client.protocol_of(key) == Some(Protocol::Meta) {
            return;
        }
        let refresh_item = RefreshItem::new(refresh_item::hash(loaded.flags, &loaded.bytes), policy.due_after());
        self.send_refresh_item(refresh_item, policy.stored_ttl());
    }

    fn send_refresh_item(&self, refresh_item: RefreshItem, ttl: Duration) {
        let refresh_key = refresh_item::key_of(&self.owned.client, &self.owned.key);
        self.owned.send_no_reply(refresh_item.request(&refresh_key, ttl));
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.owned.is_disarmed() {
            return;
        }
        match self.kind {
            // Dropping the owned item removes the placeholder.
            LeaseKind::Nothing => return,
            LeaseKind::Won => self.owned.send_no_reply(stale(&self.owned.key, self.owned.cas)),
            LeaseKind::RefreshItem(hash, ttl) => self.send_refresh_item(RefreshItem::due(hash), ttl),
        }
        self.owned.disarm();
    }
}

/// Builds the request that marks an item as stale by its CAS value: the next client to get it wins the refresh.
fn stale(key: &[u8], cas: u64) -> Request<'_> {
    Request::delete(key).cas(condition(cas)).meta(MetaOptions::new().stale())
}
