//! Owned placeholder items: added under a random token, held by CAS value, released on drop.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;

use crate::client::Client;
use crate::error::{Error, ErrorKind};
use crate::ops::builder::kind::{FetchWithSentinels, Store};
use crate::ops::builder::{Command, Kind};
use crate::ops::call::Call;
use crate::proto::{Request, Ttl};
use crate::result::Item;
use crate::routing::cluster::Route;
use crate::server::Server;

/// The CAS value of an item, and the server that has the item: the primary, a replica or a fallback.
#[derive(Clone, Debug)]
pub(crate) struct ItemVersion {
    pub(crate) cas: u64,
    pub(crate) server: Option<Arc<Server>>,
}

/// An item owned by this caller. Dropping it releases the key without waiting, unless another client
/// has changed the item since.
pub(crate) struct OwnedItem {
    pub(crate) client: Client,
    pub(crate) key: Vec<u8>,
    pub(crate) token: Bytes,
    /// The item's CAS value: operations conditional on it succeed only while the key is owned.
    pub(crate) cas: u64,
    /// The route to the server that has the item.
    pub(crate) route: Box<Route>,
    /// The runtime whose connections are used, also by a drop outside of it.
    runtime: Handle,
    is_disarmed: bool,
}

impl OwnedItem {
    /// Acquires a key; `None` if another client owns it.
    ///
    /// Runs in its own task, so that cancelling the caller does not leave the key locked.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] if the server has no CAS values; else those of the client.
    pub(crate) async fn take(client: &Client, key: &[u8], flags: u32, ttl: Duration) -> Result<Option<Self>, Error> {
        let (client, key) = (client.clone(), key.to_vec());
        let taking = tokio::spawn(Self::take_now(client, key, flags, ttl));
        // A runtime that ends cancels the task.
        taking.await.unwrap_or_else(|error| Err(Error::new(ErrorKind::Overloaded, error.to_string())))
    }

    async fn take_now(client: Client, key: Vec<u8>, flags: u32, ttl: Duration) -> Result<Option<Self>, Error> {
        let token = Self::token();
        let (added, server) = client.add(&key, &token).flags(flags).ttl(ttl).located().await;
        let acquired = match added.map(|added| added.cas()) {
            Ok(None) => return Ok(None),
            Ok(Some(cas @ 1..)) => return Ok(Some(Self::new(client, key, token, ItemVersion { cas, server }))),
            // Text-protocol stores return no CAS value, so fetch the item for it.
            Ok(Some(0)) => Self::find(&client, &key, &token, server.as_ref()).await,
            Err(error) if error.may_have_executed() => Err(error),
            // Nothing was added that would have to be released.
            Err(error) => return Err(error),
        };
        if acquired.as_ref().is_err_and(Error::is_unavailable) {
            // Release the key in the background in case the add was executed.
            tokio::spawn(Self::release_later(client, key, token, server));
        }
        acquired
    }

    /// Releases an item that may have been added, once its server answers again.
    pub(crate) async fn release_later(client: Client, key: Vec<u8>, token: Bytes, server: Option<Arc<Server>>) {
        for attempt in 0..6 {
            tokio::time::sleep(FIRST_CHECK * (1 << attempt)).await;
            match Self::find(&client, &key, &token, server.as_ref()).await {
                Err(error) if error.is_unavailable() => {}
                // Dropping the result releases the item.
                _ => return,
            }
        }
    }

    /// Finds the item at a server if it is owned under this token.
    async fn find(
        client: &Client,
        key: &[u8],
        token: &Bytes,
        server: Option<&Arc<Server>>,
    ) -> Result<Option<Self>, Error> {
        let item = client.pinned(key, server).ask::<FetchWithSentinels>(Request::get(key)).await?;
        Self::of_item(client, key, token, item, server)
    }

    /// Interprets the item found at a server after an add: it is owned if it has this token.
    pub(crate) fn of_item(
        client: &Client,
        key: &[u8],
        token: &Bytes,
        item: Option<Item>,
        server: Option<&Arc<Server>>,
    ) -> Result<Option<Self>, Error> {
        match item.filter(|item| item.value == *token) {
            None => Ok(None),
            Some(item) if item.cas == 0 => {
                let pinned = client.pinned(key, server);
                let _ = pinned.call(Request::delete(key)).send_no_reply();
                pinned.checked_cas(0).and(Ok(None))
            }
            Some(Item { cas, .. }) => {
                let version = ItemVersion { cas, server: server.map(Arc::clone) };
                Ok(Some(Self::new(client.clone(), key.to_vec(), token.clone(), version)))
            }
        }
    }

    /// Creates a random token.
    pub(crate) fn token() -> Bytes {
        Bytes::from(format!("{:032x}", fastrand::u128(..)))
    }

    /// Wraps an existing item; the first client to change it by its CAS value owns it.
    pub(crate) fn new(client: Client, key: Vec<u8>, token: Bytes, version: ItemVersion) -> Self {
        let ItemVersion { cas, server } = version;
        let route = Box::new(client.pinned(&key, server.as_ref()).into_route());
        Self { client, key, token, cas, route, runtime: Handle::current(), is_disarmed: false }
    }

    /// Creates a command for the server that has the item.
    pub(crate) fn ask<'r, K: Kind>(&self, client: &'r Client, request: Request<'r>) -> Command<'r, K> {
        Command::new(Call::on_route(client, request, Route::clone(&self.route)))
    }

    /// Disarms the release on drop.
    pub(crate) fn disarm(&mut self) {
        self.is_disarmed = true;
    }

    /// Extends the ownership under a new CAS value; returns `false` if it was lost.
    pub(crate) async fn renew(&mut self, client: &Client, flags: u32, ttl: Duration) -> Result<bool, Error> {
        if !self.is_on_current_route(client) {
            return Ok(false);
        }
        for _ in 0..2 {
            let set = Request::set(&self.key[..], &self.token).flags(flags).ttl(ttl).cas(self.cas);
            let change = self.ask::<Store>(client, set).await?;
            if let Some(cas @ 1..) = change.cas() {
                self.cas = cas;
                return Ok(true);
            }
            // Text-protocol stores return no CAS value. The value also differs from ours if an earlier renewal
            // was executed but its reply was lost.
            let item = self.ask::<FetchWithSentinels>(client, Request::get(&self.key[..])).await?;
            match item.filter(|item| item.value == self.token) {
                Some(item) => self.cas = client.pinned(&self.key, self.route.copies.first()).checked_cas(item.cas)?,
                None => break,
            }
            if change.is_applied() {
                return Ok(true);
            }
        }
        self.is_disarmed = true;
        Ok(false)
    }

    /// Returns whether other clients still look for the item on its server: the server list may have changed.
    fn is_on_current_route(&self, client: &Client) -> bool {
        let key = [&client.config().namespace[..], &self.key].concat();
        let current = client.cluster().route(&key, client.config().replicas);
        let mut servers = current.copies.iter().chain(&current.fallback);
        self.route.copies.first().is_some_and(|own| servers.any(|server| Arc::ptr_eq(server, own)))
    }

    /// Releases the key; returns `false` if it was no longer owned.
    pub(crate) async fn release(mut self, client: &Client) -> Result<bool, Error> {
        let change = self.ask::<Store>(client, removal(&self.key, self.cas)).await?;
        self.is_disarmed = true;
        Ok(change.is_applied())
    }

    /// Sends a request to the item's server without waiting for the reply; callable outside of a runtime.
    pub(crate) fn send_no_reply(&self, request: Request<'_>) {
        let _context = self.runtime.enter();
        // If it cannot be sent, the item expires.
        let _ = Call::on_route(&self.client, request, Route::clone(&self.route)).send_no_reply();
    }

    pub(crate) fn is_disarmed(&self) -> bool {
        self.is_disarmed
    }
}

/// Delay of the first check for the item after a lost reply; it doubles for each of the six checks.
const FIRST_CHECK: Duration = Duration::from_millis(100);

/// Builds a request that removes an item by its CAS value on every protocol: the text protocol has no
/// delete with a condition, so the item is replaced by one that is expired.
pub(crate) fn removal(key: &[u8], cas: u64) -> Request<'_> {
    Request::set(key, "").ttl(Ttl::Expired).cas(cas)
}

impl Drop for OwnedItem {
    fn drop(&mut self) {
        if !self.is_disarmed && self.cas != 0 {
            self.send_no_reply(removal(&self.key, self.cas));
        }
    }
}

impl fmt::Debug for OwnedItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.key.escape_ascii().to_string();
        f.debug_struct("OwnedItem").field("key", &key).field("cas", &self.cas).finish_non_exhaustive()
    }
}
