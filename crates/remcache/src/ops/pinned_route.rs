//! Routes to one server of a key, to which operations with CAS values are pinned.

use std::sync::Arc;

use tokio::time::Instant;

use crate::client::Client;
use crate::config::Config;
use crate::error::{Error, ErrorKind};
use crate::ops::builder::{Command, Kind};
use crate::ops::call::Call;
use crate::proto::Request;
use crate::result::NO_CAS;
use crate::routing::cluster::Route;
use crate::server::Server;
use crate::server::item_limit::ItemSettings;
use crate::time::after;

/// The server at which an item of a key is read and then written conditionally on its CAS value.
///
/// Each server assigns its own CAS values: on another server the same number may belong to another value. All requests
/// are therefore sent to the same server, even if it is down, and the item is deleted at the other replicas.
#[derive(Debug)]
pub(crate) struct PinnedRoute<'a> {
    client: &'a Client,
    route: Route,
}

impl Client {
    /// Returns the primary server of a key; later changes of the server list or of server states do not affect it.
    pub(crate) fn primary(&self, key: &[u8]) -> PinnedRoute<'_> {
        self.pinned(key, None)
    }

    /// Returns the route to the server that has a key's item: a replica or a fallback; without one, the primary.
    pub(crate) fn pinned(&self, key: &[u8], server: Option<&Arc<Server>>) -> PinnedRoute<'_> {
        let namespace = &self.config().namespace;
        let route = self.cluster().route(&[namespace, key].concat(), self.config().replicas);
        let route = match server {
            Some(server) => route.pinned_to(server),
            None => route.pinned(),
        };
        PinnedRoute { client: self, route }
    }

    /// Returns whether a value exceeds the server's item size limit, if that is known: such a value is not sent, and
    /// the stored item is kept.
    pub(crate) fn refuses_size(&self, key: &[u8], value: usize, flags: u32) -> bool {
        let Config { limits, namespace, .. } = self.config();
        let known = || self.primary(key).known_item_settings();
        value > limits.max_value_size
            || known().is_some_and(|known| known.is_too_large(namespace.len() + key.len(), value, flags))
    }
}

impl PinnedRoute<'_> {
    /// Fails if the server has no CAS values; requests its settings if they are not known.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`].
    pub(crate) async fn require_cas(&self) -> Result<(), Error> {
        let Some(server) = self.route.copies.first() else { return Ok(()) };
        let deadline = after(Instant::now(), self.client.timeout());
        if server.item_settings(deadline).await.lacks_cas() { Err(self.without_cas()) } else { Ok(()) }
    }

    /// Returns an item's CAS value for a comparison, if the item has one.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] if it is 0, which in a request would mean no condition.
    pub(crate) fn checked_cas(&self, cas: u64) -> Result<u64, Error> {
        if cas == 0 { Err(self.without_cas()) } else { Ok(cas) }
    }

    /// Returns the server's cached item settings.
    pub(crate) fn known_item_settings(&self) -> Option<ItemSettings> {
        self.route.copies.first().and_then(|server| server.known_item_settings())
    }

    #[cold]
    fn without_cas(&self) -> Error {
        let error = Error::new(ErrorKind::Unsupported, NO_CAS);
        match self.route.copies.first() {
            Some(server) => error.at(&server.endpoint.name),
            None => error,
        }
    }

    /// Returns whether the server is a fallback, where TTLs are capped.
    pub(crate) fn is_on_fallback(&self) -> bool {
        self.route.is_on_fallback
    }

    /// Returns the route without its client.
    pub(crate) fn into_route(self) -> Route {
        self.route
    }

    /// Creates a low-level request to this server.
    pub(crate) fn call<'r>(&'r self, request: Request<'r>) -> Call<'r> {
        Call::on_route(self.client, request, self.route.clone())
    }

    /// Creates a command for this server.
    pub(crate) fn ask<'r, K: Kind>(&'r self, request: Request<'r>) -> Command<'r, K> {
        Command::new(self.call(request))
    }
}
