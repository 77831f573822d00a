//! The servers of a client and the ring that places keys on them.

use std::collections::HashMap;
use std::sync::Arc;

use crate::address::Endpoint;
use crate::distribution::{Node, Ring};
use crate::error::Error;
use crate::policy::{Failover, ReplicaPolicy, replica_policy};
use crate::proto::{Operation, Reply, Request, Status};
use crate::routing::client_shared::ClientShared;
use crate::server::Server;
use crate::server::handle::ServerHandle;

/// The servers of a client and their ring. Immutable: a change replaces it as a whole.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) servers: Vec<Arc<Server>>,
    /// The current configuration of the servers: the weight of an existing server may have changed.
    pub(crate) endpoints: Vec<Endpoint>,
    ring: Ring,
    /// Length of the namespace, if the distribution does not hash it.
    ignored_prefix: usize,
    failover_target: FailoverTarget,
}

/// The destination of keys whose server is down.
#[derive(Clone, Debug)]
enum FailoverTarget {
    None,
    Next,
    Gutter(Arc<Cluster>),
}

/// The servers that store a key, or may do so.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    /// The replicas, the primary first; at least one.
    pub(crate) copies: Vec<Arc<Server>>,
    /// The server that takes the key while they are down.
    pub(crate) fallback: Option<Arc<Server>>,
    /// Whether only the first is read and written, even if it fails; writes delete the key at the others.
    pub(crate) is_pinned: bool,
    /// Whether the server is a fallback, where TTLs are capped.
    pub(crate) is_on_fallback: bool,
}

impl Route {
    /// Creates a route to one server only.
    pub(crate) fn to(server: Arc<Server>) -> Self {
        Self { copies: vec![server], fallback: None, is_pinned: true, is_on_fallback: false }
    }

    /// Sorts the replicas for a read: preferred servers first.
    pub(crate) fn in_read_order(mut self) -> Self {
        if !self.is_pinned {
            self.copies.sort_by_key(|server| !server.is_preferred);
        }
        self
    }

    /// Returns how a request applies to the replicas of this route.
    pub(crate) fn replica_policy(&self, request: &Request<'_>) -> ReplicaPolicy {
        match replica_policy(request) {
            ReplicaPolicy::WriteAll if self.is_pinned => ReplicaPolicy::WriteFirst,
            policy => policy,
        }
    }

    /// Restricts the route to the primary.
    pub(crate) fn pinned(self) -> Self {
        Self { fallback: None, is_pinned: true, ..self }
    }

    /// Restricts the route to the server that has an item, to compare the CAS value there.
    pub(crate) fn pinned_to(mut self, server: &Arc<Server>) -> Self {
        match self.copies.iter().position(|copy| Arc::ptr_eq(copy, server)) {
            Some(index) => {
                self.copies.swap(0, index);
                self.pinned()
            }
            // A fallback, or a server that has left the list; without failover there is no cap.
            None => Self { is_on_fallback: true, ..Self::to(Arc::clone(server)) },
        }
    }
}

impl Cluster {
    /// Creates a cluster of these endpoints; it reuses the servers of the previous one.
    pub(crate) fn new(endpoints: Vec<Endpoint>, shared: &ClientShared, before: Option<&Self>) -> Result<Self, Error> {
        let failover_target = match (&shared.config.failover, before) {
            (_, Some(before)) => before.failover_target.clone(),
            (Failover::None, _) => FailoverTarget::None,
            (Failover::Next { .. }, _) => FailoverTarget::Next,
            (Failover::Gutter { servers, .. }, _) => {
                let spares = servers.iter().map(|server| Endpoint::parse(server)).collect::<Result<_, _>>()?;
                FailoverTarget::Gutter(Arc::new(Self::of(spares, shared, None, FailoverTarget::None)?))
            }
        };
        Self::of(endpoints, shared, before, failover_target)
    }

    fn of(
        endpoints: Vec<Endpoint>,
        shared: &ClientShared,
        before: Option<&Self>,
        failover_target: FailoverTarget,
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
            let existing = known.get_mut(&endpoint.name).and_then(Vec::pop);
            let new = || Arc::new(Server::new(endpoint.clone(), Arc::clone(config), shared.events.clone()));
            existing.unwrap_or_else(new)
        });
        let ignored_prefix = if config.distribution.hashes_namespace() { 0 } else { config.namespace.len() };
        Ok(Self { servers: servers.collect(), endpoints, ring, ignored_prefix, failover_target })
    }

    /// Returns the public handle of a server.
    pub(crate) fn handle(&self, index: usize) -> Option<ServerHandle> {
        let (server, endpoint) = (self.servers.get(index)?, self.endpoints.get(index)?);
        Some(ServerHandle::new(Arc::clone(server), endpoint.clone()))
    }

    pub(crate) fn handles(&self) -> Vec<ServerHandle> {
        (0..self.servers.len()).filter_map(|index| self.handle(index)).collect()
    }

    /// Returns the servers, including those of the gutter pool.
    pub(crate) fn all_servers(&self) -> Vec<Arc<Server>> {
        let spares = self.spares().map(|pool| pool.servers.clone()).unwrap_or_default();
        self.servers.iter().cloned().chain(spares).collect()
    }

    /// Returns the gutter pool.
    pub(crate) fn spares(&self) -> Option<&Self> {
        match &self.failover_target {
            FailoverTarget::Gutter(pool) => Some(pool),
            FailoverTarget::None | FailoverTarget::Next => None,
        }
    }

    /// Returns the index of every server once: the key's own first, then its fallbacks in order.
    fn candidates<'a>(&'a self, routing_key: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
        // If the distribution depends on liveness, the key's own server is the one that currently has the key.
        let count = self.servers.len();
        let moved = self.ring.needs_liveness().then(|| self.index_of(routing_key)).flatten();
        let stand_in = moved.into_iter().flat_map(move |first| (0..count).map(move |step| (first + step) % count));
        let own = (!self.ring.needs_liveness()).then(|| self.ring.candidates(routing_key));
        stand_in.chain(own.into_iter().flatten())
    }

    /// Returns the part of a key with namespace that determines its placement.
    #[inline]
    pub(crate) fn routing_key_of<'k>(&self, key: &'k [u8]) -> &'k [u8] {
        key.get(self.ignored_prefix..).unwrap_or(key)
    }

    #[inline]
    fn index_of(&self, routing_key: &[u8]) -> Option<usize> {
        self.ring.locate(routing_key, |server| self.servers.get(server).is_some_and(|server| server.is_usable()))
    }

    /// Returns the first candidate that is not known to be down.
    fn first_usable(&self, candidates: impl Iterator<Item = usize>) -> Option<Arc<Server>> {
        let mut servers = candidates.take(MAX_CANDIDATES).filter_map(|index| self.servers.get(index));
        servers.find(|server| server.is_usable()).map(Arc::clone)
    }

    /// Returns the route of a key: its replicas and the fallback.
    pub(crate) fn route(&self, key: &[u8], copies: usize) -> Route {
        self.route_by(self.routing_key_of(key), copies)
    }

    /// Returns the route of a routing key, which has no namespace.
    pub(crate) fn route_by(&self, routing_key: &[u8], copies: usize) -> Route {
        let mut candidates = self.candidates(routing_key);
        let holders = candidates.by_ref().take(copies).filter_map(|index| self.servers.get(index));
        let copies = holders.map(Arc::clone).collect();
        let fallback = match &self.failover_target {
            FailoverTarget::None => None,
            FailoverTarget::Next => self.first_usable(candidates),
            FailoverTarget::Gutter(pool) => pool.first_usable(pool.candidates(routing_key)),
        };
        Route { copies, fallback, is_pinned: false, is_on_fallback: false }
    }

    /// Returns the index of a key's server.
    #[inline]
    pub(crate) fn locate(&self, key: &[u8]) -> Option<usize> {
        self.index_of(self.routing_key_of(key))
    }

    /// Returns the server of a key with namespace.
    pub(crate) fn server_of_key(&self, key: &[u8]) -> Option<&Arc<Server>> {
        self.servers.get(self.locate(key)?)
    }

    /// Returns the server of a request.
    #[inline]
    pub(crate) fn server_of(&self, request: &Request<'_>) -> Result<Arc<Server>, Reply> {
        let index = match (request.operation().has_key(), request.key()) {
            (true, Ok(key)) => self.locate(key.as_bytes()),
            // An invalid key gets its error from any server.
            (true, Err(_)) => Some(0),
            (false, _) => self.server_without_key(request.operation())?,
        };
        let server = index.and_then(|index| self.servers.get(index));
        server.map(Arc::clone).ok_or_else(crate::result::no_server)
    }

    /// Returns the server of a routing key.
    pub(crate) fn server_of_routing_key(&self, routing_key: &[u8]) -> Result<Arc<Server>, Reply> {
        let server = self.index_of(routing_key).and_then(|index| self.servers.get(index));
        server.map(Arc::clone).ok_or_else(crate::result::no_server)
    }

    fn server_without_key(&self, operation: Operation) -> Result<Option<usize>, Reply> {
        if operation == Operation::Flush && self.servers.len() > 1 {
            return Err(Reply::with_text(
                Status::InvalidArguments,
                "a flush request goes to one server, and the client has several: use Client::flush or ServerHandle::flush",
            ));
        }
        Ok(Some(0))
    }
}

/// The maximum number of candidates that are checked for one that is up.
const MAX_CANDIDATES: usize = 8;
