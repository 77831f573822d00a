//! `invalidate`: marks a value as stale instead of deleting it.

use std::time::{Duration, SystemTime};

use crate::client::Client;
use crate::error::{Error, ErrorKind};
use crate::observe;
use crate::observe::OperationName;
use crate::ops::builder::kind::{Delete, FetchWithSentinels, Inspect, Store, Unconditional};
use crate::ops::pinned_route::PinnedRoute;
use crate::proto::{MetaOptions, Protocol, Request, Ttl};
use crate::recipes::builder::Recipe;
use crate::recipes::fetch::refresh_item;
use crate::recipes::fetch::refresh_item::RefreshItem;
use crate::recipes::ownership::removal;
use crate::recipes::update::TRIES;
use crate::result::{UnconditionalOutcome, WriteOutcome};
use crate::sentinel;

impl Client {
    /// Marks a value as stale: [`fetch`](Client::fetch) returns it for at most `grace` while one caller's
    /// loader reloads it.
    ///
    /// Use it for values that changed at their source: callers do not wait, and fetches after the
    /// reload return the new value. Results of earlier loads are not stored. Returns
    /// [`NotFound`](WriteOutcome::NotFound) if there is no item. [`get`](Client::get) returns the old value until it
    /// is reloaded or expires.
    ///
    /// The meta protocol supports this directly. On the others the item is fetched and stored again to change
    /// its CAS value, and its refresh item is marked as due: see
    /// [how it works](crate::recipes#how-fetch-works-on-each-protocol).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = remcache_server::Server::start().await?;
    /// # let client = remcache::Client::new([server.address()])?;
    /// use std::time::Duration;
    ///
    /// client.set("page:7", "old").await?;
    /// assert!(client.invalidate("page:7", Duration::from_secs(30)).await?.is_applied());
    /// let load = || async { Ok::<_, remcache::Error>(Some("new")) };
    /// let page = client.fetch_optional("page:7", Duration::from_secs(60), load).await?;
    /// assert_eq!(page.as_deref(), Some(&b"old"[..])); // "new" after the reload
    /// # Ok(()) }
    /// ```
    ///
    /// With [replicas](crate::config::Config::replicas) or [failover](crate::config::Config::failover) the key's primary
    /// server decides, as for [`update`](Client::update).
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] if other clients changed the item during each of 64 attempts;
    /// [`ErrorKind::Unsupported`] if the server has no CAS values (`memcached -C`). See [`ErrorKind`].
    ///
    /// # Cancel safety
    /// The value may have been marked as stale. On the binary and text protocols its TTL may have been set to
    /// `grace` without that.
    pub fn invalidate(&self, key: impl AsRef<[u8]>, grace: Duration) -> Recipe<'_, UnconditionalOutcome> {
        Recipe::for_key(self, OperationName::Invalidate, key, observe::done, move |client, key, _| async move {
            client.invalidate_now(&key, grace).await.map(UnconditionalOutcome::from)
        })
    }

    async fn invalidate_now(&self, key: &[u8], grace: Duration) -> Result<WriteOutcome, Error> {
        match self.protocol_of(key) {
            Some(Protocol::Binary | Protocol::Text) => self.mark_due(key, grace).await,
            _ => match self.make_stale(key, grace).await {
                Err(error) if error.kind() == ErrorKind::Unsupported => self.mark_due(key, grace).await,
                change => change,
            },
        }
    }

    /// Marks the value as stale on the meta protocol; sentinels must not become stale values.
    async fn make_stale(&self, key: &[u8], grace: Duration) -> Result<WriteOutcome, Error> {
        let update_ttl = Ttl::from(grace).resolve(SystemTime::now);
        let primary = self.primary(key);
        for _ in 0..TRIES {
            let glance = MetaOptions::new().without_value().no_bump();
            let found = primary.ask::<Inspect>(Request::get(key).meta(glance)).await?;
            let Some(item) = found else { return Ok(WriteOutcome::NotFound) };
            let options = MetaOptions::new().stale().update_ttl(update_ttl);
            let cas = primary.checked_cas(item.cas)?;
            let request = Request::delete(key).cas(cas).meta(options);
            match change_unless_sentinel(&primary, key, item.flags, cas, request).await? {
                WriteOutcome::Exists => {}
                change => return Ok(change),
            }
        }
        Err(too_busy())
    }

    /// Stores the same value again on the other protocols, so that its new CAS value invalidates earlier
    /// loads, then marks it as due.
    async fn mark_due(&self, key: &[u8], grace: Duration) -> Result<WriteOutcome, Error> {
        let primary = self.primary(key);
        for _ in 0..TRIES {
            let found = primary.ask::<FetchWithSentinels>(Request::get(key)).await?;
            let Some(item) = found else { return Ok(WriteOutcome::NotFound) };
            let cas = primary.checked_cas(item.cas)?;
            let request = Request::set(key, &item.value).flags(item.flags).ttl(grace).cas(cas);
            match change_unless_sentinel(&primary, key, item.flags, cas, request).await? {
                WriteOutcome::Exists => {}
                change => {
                    if change.is_applied() && item.flags != sentinel::LEASE {
                        let hash = refresh_item::hash(item.flags, &item.value);
                        let refresh_key = refresh_item::key_of(self, key);
                        let request = RefreshItem::due(hash).request(&refresh_key, grace);
                        primary.ask::<Unconditional<Store>>(request).await?;
                    }
                    return Ok(change);
                }
            }
        }
        Err(too_busy())
    }
}

/// Sends a request that makes a value stale. A lease is removed, because its load may be outdated already; a
/// tombstone is kept.
async fn change_unless_sentinel(
    primary: &PinnedRoute<'_>,
    key: &[u8],
    flags: u32,
    cas: u64,
    request: Request<'_>,
) -> Result<WriteOutcome, Error> {
    let request = match flags {
        sentinel::TOMBSTONE => return Ok(WriteOutcome::NotFound),
        sentinel::LEASE => removal(key, cas),
        _ => request,
    };
    primary.ask::<Delete>(request).await
}

#[cold]
fn too_busy() -> Error {
    let text = format!("conflicting updates in all of {TRIES} attempts: delete the item instead");
    Error::new(ErrorKind::Conflict, text)
}
