//! `invalidate`: a value that is stale instead of gone.

use std::time::{Duration, SystemTime};

use crate::client::Client;
use crate::error::{Error, ErrorKind};
use crate::ops::builder::{Command, Delete, Inspect};
use crate::proto::{MetaOptions, Protocol, Request, Ttl};
use crate::recipes::fetch::refresh_item as companion;
use crate::recipes::fetch::refresh_item::Companion;
use crate::recipes::ownership::removal;
use crate::result::WriteOutcome;
use crate::sentinel as marks;

/// After so many tries a key is too busy for this.
const TRIES: u32 = 64;

impl Client {
    /// Makes a value stale: [`fetch`](Client::fetch) shows it for so long at most, while one caller's
    /// loader reloads it.
    ///
    /// It is for values that changed at their source: nobody waits, and none who fetches later than the
    /// reload gets the old one. A load that began before is not stored. Without an item the change is
    /// [`NotFound`](WriteOutcome::NotFound). What [`get`](Client::get) gives stays as it is until the value is
    /// reloaded or gone.
    ///
    /// The meta protocol has a word for it. On the others the item is fetched and stored again, so that its
    /// CAS value changes, and its companion says that it is due: see
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
    /// let page = client.fetch("page:7", Duration::from_secs(60), load).await?;
    /// assert_eq!(page.as_deref(), Some(&b"old"[..])); // and "new" once it is loaded
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] if others changed the item between each of 64 tries;
    /// [`ErrorKind::Unsupported`] if the server has no CAS values (`memcached -C`). See [`ErrorKind`].
    ///
    /// # Cancellation
    /// The value may be stale. On the binary and text protocols its time to live may have become the grace
    /// without that.
    pub async fn invalidate(&self, key: impl AsRef<[u8]>, grace: Duration) -> Result<WriteOutcome, Error> {
        let key = key.as_ref();
        match self.protocol_of(key) {
            Some(Protocol::Binary | Protocol::Text) => self.make_due(key, grace).await,
            _ => match self.make_stale(key, grace).await {
                Err(error) if error.kind() == ErrorKind::Unsupported => self.make_due(key, grace).await,
                change => change,
            },
        }
    }

    /// The meta protocol has a word for it; but what is no value must not become a stale one.
    async fn make_stale(&self, key: &[u8], grace: Duration) -> Result<WriteOutcome, Error> {
        let update_ttl = Some(Ttl::from(grace).resolve(SystemTime::now));
        for _ in 0..TRIES {
            let glance = MetaOptions { without_value: true, no_bump: true, ..MetaOptions::default() };
            let inspect: Command<'_, Inspect> = Command::new(self.call(Request::get(key).meta(glance)));
            let Some(item) = inspect.await? else { return Ok(WriteOutcome::NotFound) };
            let options = MetaOptions { stale: true, update_ttl, ..MetaOptions::default() };
            let cas = self.home(key).checked_cas(item.cas)?;
            let request = Request::delete(key).cas(cas).meta(options);
            match self.change_unless_mark(key, item.flags, cas, request).await? {
                WriteOutcome::Exists => {}
                change => return Ok(change),
            }
        }
        Err(too_busy())
    }

    /// The other protocols have none: the same value under a new CAS value, which makes loads that began
    /// before too late; then it is due.
    async fn make_due(&self, key: &[u8], grace: Duration) -> Result<WriteOutcome, Error> {
        for _ in 0..TRIES {
            let Some(item) = self.get(key).await? else { return Ok(WriteOutcome::NotFound) };
            let cas = self.home(key).checked_cas(item.cas)?;
            let request = Request::set(key, &item.value).flags(item.flags).ttl(grace).cas(cas);
            match self.change_unless_mark(key, item.flags, cas, request).await? {
                WriteOutcome::Exists => {}
                change => {
                    if change.is_applied() && item.flags != marks::LEASE {
                        let hash = companion::hash(item.flags, &item.value);
                        Companion::due(hash).store(self, key, grace, None).await?;
                    }
                    return Ok(change);
                }
            }
        }
        Err(too_busy())
    }

    /// Makes a value stale by this request. What is being loaded may be old already, so its lease goes;
    /// a tombstone stays.
    async fn change_unless_mark(
        &self,
        key: &[u8],
        flags: u32,
        cas: u64,
        request: Request<'_>,
    ) -> Result<WriteOutcome, Error> {
        let request = match flags {
            marks::TOMBSTONE => return Ok(WriteOutcome::NotFound),
            marks::LEASE => removal(key, cas),
            _ => request,
        };
        Command::<Delete>::new(self.call(request)).await
    }
}

#[cold]
fn too_busy() -> Error {
    let text = format!("others changed the item between each of {TRIES} tries: delete it instead");
    Error::new(ErrorKind::Conflict, text)
}
