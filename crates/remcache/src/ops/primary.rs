//! A key's own server: where what was read is compared with what is there.

use tokio::time::Instant;

use crate::client::Client;
use crate::config::Config;
use crate::error::{Error, ErrorKind};
use crate::ops::builder::{Command, Kind};
use crate::ops::call::Call;
use crate::proto::Request;
use crate::result::NO_CAS;
use crate::routing::cluster::Route;
use crate::server::item_limit::ItemSettings;
use crate::time::after;

/// The server at which an item is read and then changed by its CAS value.
///
/// A CAS value is one server's own count: the one of a replica or fallback says nothing about the item elsewhere, where the
/// same number may stand for another value.
/// So everything goes to the first server of the key, whatever its health, and the copies lose what they have.
#[derive(Debug)]
pub(crate) struct PrimaryRoute<'a> {
    client: &'a Client,
    route: Route,
}

impl Client {
    /// The server of a key as it is now; a list or a health that changes later does not move it.
    pub(crate) fn home(&self, key: &[u8]) -> PrimaryRoute<'_> {
        let namespace = &self.config().namespace;
        let route = self.cluster().route(&[namespace, key].concat(), self.config().replicas);
        PrimaryRoute { client: self, route: route.pinned() }
    }

    /// Whether a value is refused for its size before it is sent, as far as the server's limit is known: then
    /// what was stored is still there.
    pub(crate) fn refuses_size(&self, key: &[u8], value: usize, flags: u32) -> bool {
        let Config { limits, namespace, .. } = self.config();
        let known = || self.home(key).known_item_settings();
        value > limits.value
            || known().is_some_and(|known| known.is_too_large(namespace.len() + key.len(), value, flags))
    }
}

impl PrimaryRoute<'_> {
    /// Fails if the server is known to have no CAS values; it is asked, if that is not known.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`].
    pub(crate) async fn require_cas(&self) -> Result<(), Error> {
        let Some(server) = self.route.copies.first() else { return Ok(()) };
        let deadline = after(Instant::now(), self.client.timeout());
        if server.item_settings(deadline).await.lacks_cas() { Err(self.without_cas()) } else { Ok(()) }
    }

    /// Returns an item's CAS value, which is to be compared, if it has one.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] if it is 0, which a request would treat as no condition.
    pub(crate) fn checked_cas(&self, cas: u64) -> Result<u64, Error> {
        if cas == 0 { Err(self.without_cas()) } else { Ok(cas) }
    }

    /// What is known of the server's items, without asking it.
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

    /// Asks this server.
    pub(crate) fn ask<'r, K: Kind>(&'r self, request: Request<'r>) -> Command<'r, K> {
        Command::new(Call::on_route(self.client, request, self.route.clone()))
    }
}
