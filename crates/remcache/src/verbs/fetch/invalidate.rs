//! `invalidate`: a value that is stale instead of gone.

use std::time::{Duration, SystemTime};

use super::companion::{self, Companion};
use crate::client::{Change, Client, Command, Delete, Item};
use crate::proto::{MetaOptions, Request, Ttl, Wire};
use crate::verbs::claim::removal;
use crate::verbs::marks;
use crate::{Error, ErrorKind};

/// After so many tries a key is too busy for this.
const TRIES: u32 = 64;

impl Client {
    /// Makes a value stale: [`fetch`](Client::fetch) shows it for so long at most, while one caller's
    /// loader reloads it.
    ///
    /// It is for values that changed at their source: nobody waits, and none who fetches later than the
    /// reload gets the old one. A load that began before is not stored. Without an item the change is
    /// [`NotFound`](Change::NotFound). What [`get`](Client::get) gives stays as it is until the value is
    /// reloaded or gone.
    ///
    /// On the meta wire this is one command. On the others the item is fetched and stored again, so
    /// that its CAS value changes, and its companion says that it is due: see
    /// [how it works](crate::verbs#how-fetch-works-on-each-wire).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = remcache_server::Server::start().await?;
    /// # let client = remcache::Client::new([server.address()])?;
    /// use std::time::Duration;
    ///
    /// client.set("page:7", "old").await?;
    /// assert!(client.invalidate("page:7", Duration::from_secs(30)).await?.is_made());
    /// let load = || async { Ok::<_, remcache::Error>(Some("new")) };
    /// let page = client.fetch("page:7", Duration::from_secs(60), load).await?;
    /// assert_eq!(page.as_deref(), Some(&b"old"[..])); // and "new" once it is loaded
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] if, on the binary and text wires, others changed the item between each
    /// of 64 tries. See [`ErrorKind`].
    ///
    /// # Cancellation
    /// The value may be stale. On the binary and text wires its time to live may have become the grace
    /// without that.
    pub async fn invalidate(&self, key: impl AsRef<[u8]>, grace: Duration) -> Result<Change, Error> {
        let key = key.as_ref();
        match self.wire_of(key) {
            Some(Wire::Binary | Wire::Text) => self.make_due(key, grace).await,
            _ => {
                let update_ttl = Some(Ttl::from(grace).resolve(SystemTime::now));
                let options = MetaOptions { stale: true, update_ttl, ..MetaOptions::default() };
                let command: Command<'_, Delete> = Command::new(self.call(Request::delete(key).meta(options)));
                match command.await {
                    Err(error) if error.kind() == ErrorKind::Unsupported => self.make_due(key, grace).await,
                    change => change,
                }
            }
        }
    }

    async fn make_due(&self, key: &[u8], grace: Duration) -> Result<Change, Error> {
        for _ in 0..TRIES {
            let Some(item) = self.get(key).await? else { return Ok(Change::NotFound) };
            let change = match item.flags {
                marks::TOMBSTONE => return Ok(Change::NotFound),
                // What is being loaded may be old already, so its lease goes.
                marks::LEASE => Command::<Delete>::new(self.call(removal(key, item.cas))).await?,
                _ => self.store_again(key, &item, grace).await?,
            };
            if change != Change::Exists {
                return Ok(change);
            }
        }
        let text = format!("others changed the item between each of {TRIES} tries: delete it instead");
        Err(Error::new(ErrorKind::Conflict, text))
    }

    /// The same value under a new CAS value, which makes loads that began before too late; then it is due.
    async fn store_again(&self, key: &[u8], item: &Item, grace: Duration) -> Result<Change, Error> {
        let change = self.set(key, &item.value).flags(item.flags).ttl(grace).cas(item.cas).await?;
        if change.is_made() {
            let hash = companion::hash(item.flags, &item.value);
            Companion::due(hash).store(self, key, grace, 0).await?;
        }
        Ok(change)
    }
}
