//! Changes that take more than one command: by CAS values, until nobody came between.

use std::time::Duration;

use bytes::Bytes;

use crate::client::Client;
use crate::error::{Error, ErrorKind};
use crate::ops::builder::{Delete, Fetch, Store};
use crate::proto::{Request, Ttl};
use crate::result::{Item, WriteOutcome};
use crate::routing::primary::PrimaryRoute;

/// After so many tries a key is too busy for this.
const TRIES: u32 = 64;
/// The longest wait before another try, at random below it; others get their turn meanwhile.
const LONGEST_WAIT: Duration = Duration::from_millis(20);

impl Client {
    /// Changes a value to what a function makes of it, or nothing in between.
    ///
    /// The function is given the item, or `None` if there is none, and may be called several times:
    /// again whenever another change came first, 64 times at most. What it returns is stored with
    /// the item's flags and this time to live; `None` deletes. The result is what is stored then.
    ///
    /// With [copies](crate::config::Config::replicas) and [failover](crate::config::Config::failover) too, one server is
    /// asked and changed: the first of the key. CAS values of different servers do not compare, and two
    /// programs that disagree about who is away would undo each other's updates. While that server is
    /// away updates fail; if it has lost the item, the function is given `None`, whatever a copy has.
    /// After a change the other copies are deleted.
    ///
    /// A placeholder of [`Client::fetch`] is no item to the function, and is replaced.
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
    /// [`ErrorKind::Conflict`] if others were faster each time; nothing was changed then.
    /// [`ErrorKind::Unsupported`] if the server has no CAS values (`memcached -C`). See [`ErrorKind`]: a change
    /// that may have been made is not tried again.
    ///
    /// # Cancellation
    /// The change may have been made.
    pub async fn update(
        &self,
        key: impl AsRef<[u8]>,
        ttl: impl Into<Ttl>,
        mut change: impl FnMut(Option<&Item>) -> Option<Bytes>,
    ) -> Result<Option<Item>, Error> {
        let (key, ttl) = (key.as_ref(), ttl.into());
        for attempt in 0..TRIES {
            self.wait_before(attempt).await;
            let home = self.home(key);
            let stored = home.ask::<Fetch>(Request::get(key)).await?;
            let item = stored.as_ref().filter(|item| !item.is_mark());
            let made = match (item, change(item)) {
                (None, None) => return Ok(None),
                (Some(item), None) => delete_unchanged(&home, key, home.checked_cas(item.cas)?).await?.map(|()| None),
                (_, Some(value)) => store_unchanged(&home, key, stored.as_ref(), value, ttl).await?.map(Some),
            };
            if let Some(stored) = made {
                return Ok(stored);
            }
        }
        Err(too_busy())
    }

    /// Fetches an item and deletes it; `None` is a miss.
    ///
    /// What others append or store in between is not lost: the item is deleted only as it was
    /// fetched. Of several callers one gets the item. With copies or failover it is the first server of
    /// the key that has it to give, as for [`update`](Self::update). A placeholder of [`Client::fetch`] is
    /// deleted, so that what is being loaded is not stored any more, and is a miss.
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
    /// [`ErrorKind::Conflict`] if the item was changed between each of 64 tries; it is still there.
    /// [`ErrorKind::Unsupported`] if the server has no CAS values (`memcached -C`).
    /// After an error that [`may_have_executed`](Error::may_have_executed) it may be gone.
    ///
    /// # Cancellation
    /// The item may have been deleted.
    pub async fn take(&self, key: impl AsRef<[u8]>) -> Result<Option<Item>, Error> {
        let key = key.as_ref();
        for attempt in 0..TRIES {
            self.wait_before(attempt).await;
            let home = self.home(key);
            let Some(item) = home.ask::<Fetch>(Request::get(key)).await? else { return Ok(None) };
            if delete_unchanged(&home, key, home.checked_cas(item.cas)?).await?.is_some() {
                return Ok(Some(item).filter(|item| !item.is_mark()));
            }
        }
        Err(too_busy())
    }

    /// Puts bytes behind a value, or stores them with this time to live if there is none.
    ///
    /// The time to live of an item that is there stays as it is. A key that [`Client::fetch`] loads is
    /// none for this: bytes behind one of its placeholders are no value.
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
    /// See [`ErrorKind`]. [`WriteOutcome::NotStored`] says that the sum would be too large.
    ///
    /// # Cancellation
    /// The bytes may have been appended.
    pub async fn append_or_create(
        &self,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
        ttl: impl Into<Ttl>,
    ) -> Result<WriteOutcome, Error> {
        let (key, value, ttl) = (key.as_ref(), value.as_ref(), ttl.into());
        // The item may go and come between the two; a sum that is too large looks the same, so two
        // tries after the first must do.
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

    /// Lets others finish before another try: longer each time, and at random.
    async fn wait_before(&self, attempt: u32) {
        if attempt == 0 {
            return;
        }
        let bound = Duration::from_micros(500).saturating_mul(attempt).min(LONGEST_WAIT);
        tokio::time::sleep(bound.mul_f64(fastrand::f64())).await;
    }
}

/// Stores a value if the item is still this one, or still absent; `None` if it is not.
async fn store_unchanged(
    home: &PrimaryRoute<'_>,
    key: &[u8],
    item: Option<&Item>,
    value: Bytes,
    ttl: Ttl,
) -> Result<Option<Item>, Error> {
    let (flags, request) = match item {
        Some(item) => {
            // A placeholder of `fetch` becomes a value.
            let flags = if item.is_mark() { 0 } else { item.flags };
            (flags, Request::set(key, value.clone()).flags(flags).cas(home.checked_cas(item.cas)?))
        }
        None => {
            // An add needs no CAS value, but the next update would: so the first one fails too.
            home.require_cas().await?;
            (0, Request::add(key, value.clone()))
        }
    };
    let change = home.ask::<Store>(request.ttl(ttl)).await?;
    Ok(change.cas().map(|cas| Item { value, flags, cas }))
}

/// Deletes an item if its CAS value is this one; `None` if it is not.
///
/// The text protocol has no such delete, so there the item is replaced by one that is expired.
async fn delete_unchanged(home: &PrimaryRoute<'_>, key: &[u8], cas: u64) -> Result<Option<()>, Error> {
    let change = match home.ask::<Delete>(Request::delete(key).cas(cas)).await {
        Err(error) if error.kind() == ErrorKind::Unsupported => {
            home.ask::<Store>(Request::set(key, "").ttl(Ttl::Expired).cas(cas)).await?
        }
        change => change?,
    };
    Ok(change.is_applied().then_some(()))
}

#[cold]
fn too_busy() -> Error {
    let text = format!("others changed the item between each of {TRIES} tries: try later, or split the key");
    Error::new(ErrorKind::Conflict, text)
}
