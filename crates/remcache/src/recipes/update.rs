//! Read-modify-write operations: compare-and-swap loops.

use std::time::Duration;

use bytes::Bytes;

use crate::client::Client;
use crate::error::{Error, ErrorKind};
use crate::observe;
use crate::observe::OperationName;
use crate::ops::builder::kind::{Delete, FetchWithSentinels, Store};
use crate::ops::pinned_route::PinnedRoute;
use crate::proto::{Request, Ttl};
use crate::recipes::builder::Recipe;
use crate::result::{Item, WriteOutcome};

/// Maximum attempts before the operation fails with a conflict.
pub(crate) const TRIES: u32 = 64;
/// Maximum delay before a retry.
const MAX_WAIT: Duration = Duration::from_millis(20);

impl Client {
    /// Updates a value atomically with a function.
    ///
    /// The function gets the item, or `None` on a miss, and may be called up to 64 times: again after each
    /// conflicting change. Its result is stored with the item's flags and this TTL; `None` deletes the
    /// item. Returns what is stored afterwards.
    ///
    /// With [replicas](crate::config::Config::replicas) or [failover](crate::config::Config::failover), only the
    /// key's primary server is read and changed: CAS values of different servers do not compare, and
    /// clients that disagree about which servers are down would undo each other's updates. Updates fail
    /// while that server is down; if it lost the item, the function gets `None` even if a replica has it.
    /// After a change the other replicas are deleted.
    ///
    /// A lease placeholder of [`Client::fetch`] counts as a miss, and is replaced.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = remcache_server::Server::start().await?;
    /// # let client = remcache::Client::new([server.address()])?;
    /// use remcache::{Item, Ttl};
    ///
    /// let longer = |item: Option<&Item>| Some([item.map_or(&b""[..], |item| &item.value), b"x"].concat().into());
    /// client.update("xs", Ttl::Never, longer).await?;
    /// let item = client.update("xs", Ttl::Never, longer).await?;
    /// assert_eq!(item.map(|item| item.value).as_deref(), Some(&b"xx"[..]));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] if other clients changed the item during each attempt; nothing was changed then.
    /// [`ErrorKind::Unsupported`] if the server has no CAS values (`memcached -C`). See [`ErrorKind`]: a change that
    /// may have been executed is not retried.
    ///
    /// # Cancel safety
    /// The change may have been executed.
    pub fn update<'a>(
        &self,
        key: impl AsRef<[u8]>,
        ttl: impl Into<Ttl>,
        change: impl FnMut(Option<&Item>) -> Option<Bytes> + Send + 'a,
    ) -> Recipe<'a, Option<Item>> {
        let ttl = ttl.into();
        Recipe::for_key(self, OperationName::Update, key, observe::done, move |client, key, _| async move {
            client.update_now(&key, ttl, change).await
        })
    }

    async fn update_now(
        &self,
        key: &[u8],
        ttl: Ttl,
        mut change: impl FnMut(Option<&Item>) -> Option<Bytes>,
    ) -> Result<Option<Item>, Error> {
        for attempt in 0..TRIES {
            wait_before_attempt(attempt).await;
            let primary = self.primary(key);
            let stored = primary.ask::<FetchWithSentinels>(Request::get(key)).await?;
            let item = stored.as_ref().filter(|item| !item.is_sentinel());
            let made = match (item, change(item)) {
                (None, None) => return Ok(None),
                (Some(item), None) => {
                    delete_unchanged(&primary, key, primary.checked_cas(item.cas)?).await?.map(|()| None)
                }
                (item, Some(value)) => {
                    let flags = item.map_or(0, |item| item.flags);
                    store_unchanged(&primary, key, stored.as_ref(), (flags, value), ttl).await?.map(Some)
                }
            };
            if let Some(stored) = made {
                return Ok(stored);
            }
        }
        Err(too_busy())
    }

    /// Fetches an item and deletes it; `None` is a miss.
    ///
    /// Concurrent changes are not lost: the item is deleted only if it is unchanged since the fetch. If several callers
    /// take the same item, only one gets it. With replicas or failover, the key's primary server decides, as for
    /// [`update`](Self::update). A lease placeholder of [`Client::fetch`] is deleted, so that the value being loaded is
    /// not stored, and counts as a miss.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = remcache_server::Server::start().await?;
    /// # let client = remcache::Client::new([server.address()])?;
    /// client.set("token", "once").await?;
    /// assert!(client.take("token").await?.is_some());
    /// assert!(client.take("token").await?.is_none());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] if the item was changed during each of 64 attempts; it still exists.
    /// [`ErrorKind::Unsupported`] if the server has no CAS values (`memcached -C`).
    /// After an error that [`may_have_executed`](Error::may_have_executed) the item may have been deleted.
    ///
    /// # Cancel safety
    /// The item may have been deleted.
    pub fn take(&self, key: impl AsRef<[u8]>) -> Recipe<'_, Option<Item>> {
        Recipe::for_key(self, OperationName::Take, key, observe::found, |client, key, _| async move {
            client.take_now(&key).await
        })
    }

    async fn take_now(&self, key: &[u8]) -> Result<Option<Item>, Error> {
        for attempt in 0..TRIES {
            wait_before_attempt(attempt).await;
            let primary = self.primary(key);
            let Some(item) = primary.ask::<FetchWithSentinels>(Request::get(key)).await? else { return Ok(None) };
            if delete_unchanged(&primary, key, primary.checked_cas(item.cas)?).await?.is_some() {
                return Ok(Some(item).filter(|item| !item.is_sentinel()));
            }
        }
        Err(too_busy())
    }

    /// Appends bytes to a value, or stores them with this TTL if there is no item.
    ///
    /// The TTL of an existing item is kept. Do not use it on keys that [`Client::fetch`] loads: appending to
    /// a lease placeholder does not yield a value.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = remcache_server::Server::start().await?;
    /// # let client = remcache::Client::new([server.address()])?;
    /// use std::time::Duration;
    ///
    /// client.append_or_create("log", "one ", Duration::from_secs(60)).await?;
    /// client.append_or_create("log", "two ", Duration::from_secs(60)).await?;
    /// assert_eq!(client.get("log").await?.map(|item| item.value).as_deref(), Some(&b"one two "[..]));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// See [`ErrorKind`]. Returns [`WriteOutcome::NotStored`] if the result would be too large.
    ///
    /// # Cancel safety
    /// The bytes may have been appended.
    pub fn append_or_create(
        &self,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
        ttl: impl Into<Ttl>,
    ) -> Recipe<'_, WriteOutcome> {
        let (value, ttl) = (Bytes::copy_from_slice(value.as_ref()), ttl.into());
        Recipe::for_key(self, OperationName::AppendOrCreate, key, observe::done, move |client, key, _| async move {
            client.append_or_create_now(&key, &value, ttl).await
        })
    }

    async fn append_or_create_now(&self, key: &[u8], value: &Bytes, ttl: Ttl) -> Result<WriteOutcome, Error> {
        // The item may disappear and reappear between the two commands. A result that is too large gets the
        // same reply, so limit this to two retries.
        for _ in 0..3 {
            let appended = self.append(key, value).await?;
            if appended != WriteOutcome::NotStored {
                return Ok(appended);
            }
            let added = self.add(key, value).ttl(ttl).await?;
            if added.is_applied() {
                return Ok(added);
            }
        }
        Ok(WriteOutcome::NotStored)
    }
}

/// Waits before a retry of a change by CAS value, with backoff and full jitter, so that other clients can make
/// progress.
pub(crate) async fn wait_before_attempt(attempt: u32) {
    if attempt == 0 {
        return;
    }
    let bound = Duration::from_micros(500).saturating_mul(attempt).min(MAX_WAIT);
    tokio::time::sleep(bound.mul_f64(fastrand::f64())).await;
}

/// Stores a value if the item is unchanged or still absent; `None` on conflict.
pub(crate) async fn store_unchanged(
    primary: &PinnedRoute<'_>,
    key: &[u8],
    item: Option<&Item>,
    (flags, value): (u32, Bytes),
    ttl: Ttl,
) -> Result<Option<Item>, Error> {
    let request = match item {
        Some(item) => Request::set(key, value.clone()).cas(primary.checked_cas(item.cas)?),
        None => {
            // An add needs no CAS value, but the next update would: fail consistently.
            primary.require_cas().await?;
            Request::add(key, value.clone())
        }
    };
    let change = primary.ask::<Store>(request.flags(flags).ttl(ttl)).await?;
    Ok(change.cas().map(|cas| Item { value, flags, cas }))
}

/// Deletes an item if its CAS value matches; `None` on conflict.
///
/// The text protocol has no conditional delete: the item is replaced by one that has expired.
pub(crate) async fn delete_unchanged(primary: &PinnedRoute<'_>, key: &[u8], cas: u64) -> Result<Option<()>, Error> {
    let change = match primary.ask::<Delete>(Request::delete(key).cas(cas)).await {
        Err(error) if error.kind() == ErrorKind::Unsupported => {
            primary.ask::<Store>(Request::set(key, "").ttl(Ttl::Expired).cas(cas)).await?
        }
        change => change?,
    };
    Ok(change.is_applied().then_some(()))
}

#[cold]
pub(crate) fn too_busy() -> Error {
    let text = format!("conflicting updates in all of {TRIES} attempts: try again later, or split the key");
    Error::new(ErrorKind::Conflict, text)
}
