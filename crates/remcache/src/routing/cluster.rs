//! The servers of a client and the ring that places keys on them.

use std::collections::HashMap;
use std::sync::Arc;

use crate::address::Endpoint;
use crate::distribution::{Node, Ring};
use crate::error::Error;
use crate::policy::Failover;
use crate::proto::{Operation, Reply, Request, Status};
use crate::routing::shared::ClientShared;
use crate::server::Server;
use crate::server::handle::ServerHandle;

/// The servers of a client, as one list and one ring. It is replaced whole, never changed.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) servers: Vec<Arc<Server>>,
    /// As they are configured now: a server that stays may have another weight.
    pub(crate) endpoints: Vec<Endpoint>,
    ring: Ring,
    /// How many bytes of a key are its namespace, where the distribution does not place by it.
    unplaced: usize,
    elsewhere: Elsewhere,
}

/// Where the keys of a dead server go.
#[derive(Clone, Debug)]
enum Elsewhere {
    Nowhere,
    Next,
    Gutter(Arc<Cluster>),
}

/// The servers that a key may be asked of.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    /// Those that hold it, the nearest first; at least one.
    pub(crate) copies: Vec<Arc<Server>>,
    /// The one that takes it while they are away.
    pub(crate) fallback: Option<Arc<Server>>,
    /// Whether only the first is asked and changed, whatever becomes of it; the others lose what they have.
    pub(crate) is_pinned: bool,
}

impl Route {
    /// To one server alone.
    pub(crate) fn to(server: Arc<Server>) -> Self {
        Self { copies: vec![server], fallback: None, is_pinned: true }
    }

    /// The same copies with the preferred servers first, as reads ask them.
    pub(crate) fn in_read_order(mut self) -> Self {
        if !self.is_pinned {
            self.copies.sort_by_key(|server| !server.is_preferred);
        }
        self
    }

    /// To the first alone of those that hold the key.
    pub(crate) fn pinned(self) -> Self {
        Self { fallback: None, is_pinned: true, ..self }
    }
}

impl Cluster {
    /// A cluster of these endpoints, which keeps the servers that stay from the one before.
    pub(crate) fn new(endpoints: Vec<Endpoint>, shared: &ClientShared, before: Option<&Self>) -> Result<Self, Error> {
        let elsewhere = match (&shared.config.failover, before) {
            (_, Some(before)) => before.elsewhere.clone(),
            (Failover::None, _) => Elsewhere::Nowhere,
            (Failover::Next { .. }, _) => Elsewhere::Next,
            (Failover::Gutter { servers, .. }, _) => {
                let spares = servers.iter().map(|server| Endpoint::parse(server)).collect::<Result<_, _>>()?;
                Elsewhere::Gutter(Arc::new(Self::of(spares, shared, None, Elsewhere::Nowhere)?))
            }
        };
        Self::of(endpoints, shared, before, elsewhere)
    }

    fn of(
        endpoints: Vec<Endpoint>,
        shared: &ClientShared,
        before: Option<&Self>,
        elsewhere: Elsewhere,
    ) -> Result<Self, Error> {
        let config = &shared.config;
        if endpoints.is_empty() {
            return Err(Error::config("the server list is empty: give at least one address such as localhost:11211"));
        }
        let nodes: Vec<Node> = endpoints.iter().map(Node::from).collect();
        let ring = config.distribution.ring(&nodes).map_err(|error| Error::config(error.to_string()))?;
        let mut known: HashMap<Arc<str>, Vec<Arc<Server>>> = HashMap::new();
        for server in before.map_or(&[][..], |cluster| &cluster.servers) {
            known.entry(Arc::clone(&server.endpoint.name)).or_default().push(Arc::clone(server));
        }
        let servers = endpoints.iter().map(|endpoint| {
            let kept = known.get_mut(&endpoint.name).and_then(Vec::pop);
            let new = || Arc::new(Server::new(endpoint.clone(), Arc::clone(config), shared.events.clone()));
            kept.unwrap_or_else(new)
        });
        let unplaced = if config.distribution.hashes_namespace() { 0 } else { config.namespace.len() };
        Ok(Self { servers: servers.collect(), endpoints, ring, unplaced, elsewhere })
    }

    /// A server as people hold it.
    pub(crate) fn handle(&self, place: usize) -> Option<ServerHandle> {
        let (server, endpoint) = (self.servers.get(place)?, self.endpoints.get(place)?);
        Some(ServerHandle::new(Arc::clone(server), endpoint.clone()))
    }

    pub(crate) fn handles(&self) -> Vec<ServerHandle> {
        (0..self.servers.len()).filter_map(|place| self.handle(place)).collect()
    }

    /// The servers, and the spare ones.
    pub(crate) fn all_servers(&self) -> Vec<Arc<Server>> {
        let spares = self.spares().map(|pool| pool.servers.clone()).unwrap_or_default();
        self.servers.iter().cloned().chain(spares).collect()
    }

    /// The servers of the gutter pool.
    pub(crate) fn spares(&self) -> Option<&Self> {
        match &self.elsewhere {
            Elsewhere::Gutter(pool) => Some(pool),
            Elsewhere::Nowhere | Elsewhere::Next => None,
        }
    }

    /// Every server once, a key's own first, then in the order in which they stand in for it.
    fn candidates<'a>(&'a self, placed: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
        // Where liveness moves keys the owner is the one of now, and the ring's own is not asked for.
        let count = self.servers.len();
        let moved = self.ring.needs_liveness().then(|| self.place(placed)).flatten();
        let stand_in = moved.into_iter().flat_map(move |home| (0..count).map(move |step| (home + step) % count));
        let own = (!self.ring.needs_liveness()).then(|| self.ring.candidates(placed));
        stand_in.chain(own.into_iter().flatten())
    }

    /// What of a key, its namespace included, it is placed by.
    #[inline]
    pub(crate) fn placed<'k>(&self, key: &'k [u8]) -> &'k [u8] {
        key.get(self.unplaced..).unwrap_or(key)
    }

    #[inline]
    fn place(&self, placed: &[u8]) -> Option<usize> {
        self.ring.locate(placed, |server| self.servers.get(server).is_some_and(|server| server.is_usable()))
    }

    /// The first of these that is not known to be down.
    fn first_usable(&self, candidates: impl Iterator<Item = usize>) -> Option<Arc<Server>> {
        let mut servers = candidates.take(MOST_TRIED).filter_map(|place| self.servers.get(place));
        servers.find(|server| server.is_usable()).map(Arc::clone)
    }

    /// The servers of a key: its replicas and the fallback.
    pub(crate) fn route(&self, key: &[u8], copies: usize) -> Route {
        self.route_by(self.placed(key), copies)
    }

    /// The same by a routing key, which has no namespace.
    pub(crate) fn route_by(&self, placed: &[u8], copies: usize) -> Route {
        let mut candidates = self.candidates(placed);
        let holders = candidates.by_ref().take(copies).filter_map(|place| self.servers.get(place));
        let copies = holders.map(Arc::clone).collect();
        let fallback = match &self.elsewhere {
            Elsewhere::Nowhere => None,
            Elsewhere::Next => self.first_usable(candidates),
            Elsewhere::Gutter(pool) => pool.first_usable(pool.candidates(placed)),
        };
        Route { copies, fallback, is_pinned: false }
    }

    /// The place of a key's server in the list.
    #[inline]
    pub(crate) fn locate(&self, key: &[u8]) -> Option<usize> {
        self.place(self.placed(key))
    }

    /// The server that a request goes to.
    #[inline]
    pub(crate) fn server_of(&self, request: &Request<'_>) -> Result<Arc<Server>, Reply> {
        let place = match (request.operation().has_key(), request.key()) {
            (true, Ok(key)) => self.locate(key.as_bytes()),
            // The link says what is wrong with the key; any server will do.
            (true, Err(_)) => Some(0),
            (false, _) => self.server_without_key(request.operation())?,
        };
        let server = place.and_then(|place| self.servers.get(place));
        server.map(Arc::clone).ok_or_else(crate::result::no_server)
    }

    /// The server of a routing key.
    pub(crate) fn server_of_key(&self, key: &[u8]) -> Result<Arc<Server>, Reply> {
        let server = self.place(key).and_then(|place| self.servers.get(place));
        server.map(Arc::clone).ok_or_else(crate::result::no_server)
    }

    fn server_without_key(&self, operation: Operation) -> Result<Option<usize>, Reply> {
        if operation == Operation::Flush && self.servers.len() > 1 {
            return Err(Reply::with_text(
                Status::InvalidArguments,
                "a flush concerns one server and there are several: use Client::flush or a ServerHandle",
            ));
        }
        Ok(Some(0))
    }
}

/// How many servers are checked for one that is up.
const MOST_TRIED: usize = 8;
