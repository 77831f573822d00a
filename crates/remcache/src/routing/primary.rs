//! A key's own server: where what was read is compared with what is there.

use super::cluster::Route;
use crate::client::Client;
use crate::ops::builder::{Command, Kind};
use crate::ops::call::Call;
use crate::proto::Request;

/// The server at which an item is read and then changed by its CAS value.
///
/// A CAS value is one server's own count: what a copy or a fallback tells says nothing of the item elsewhere, where the
/// same number may stand for another value.
/// So everything goes to the first server of the key, whatever its health, and the copies lose what they have.
#[derive(Debug)]
pub(crate) struct Home<'a> {
    client: &'a Client,
    route: Route,
}

impl Client {
    /// The server of a key as it is now; a list or a health that changes later does not move it.
    pub(crate) fn home(&self, key: &[u8]) -> Home<'_> {
        let namespace = &self.config().namespace;
        let route = self.cluster().route(&[namespace, key].concat(), self.config().replicas);
        Home { client: self, route: route.pinned() }
    }
}

impl Home<'_> {
    /// Asks this server.
    pub(crate) fn ask<'r, K: Kind>(&'r self, request: Request<'r>) -> Command<'r, K> {
        Command::new(Call::on_route(self.client, request, self.route.clone()))
    }
}
