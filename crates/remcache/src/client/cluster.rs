//! The servers of a client and the ring that places keys on them.

use std::collections::HashMap;
use std::sync::Arc;

use super::address::Endpoint;
use super::config::Config;
use super::server::Server;
use crate::Error;
use crate::distribution::{Node, Ring};
use crate::proto::{Operation, Reply, Request, Status};

/// The servers of a client, as one list and one ring. It is replaced whole, never changed.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) servers: Vec<Arc<Server>>,
    ring: Ring,
}

impl Cluster {
    /// A cluster of these endpoints, which keeps the servers that stay from the one before.
    pub(crate) fn new(endpoints: Vec<Endpoint>, config: &Arc<Config>, before: Option<&Self>) -> Result<Self, Error> {
        if endpoints.is_empty() {
            return Err(Error::config("the server list is empty: give at least one address such as localhost:11211"));
        }
        let nodes: Vec<Node> = endpoints.iter().map(Node::from).collect();
        let ring = config.distribution.ring(&nodes).map_err(|error| Error::config(error.to_string()))?;
        let mut known: HashMap<Arc<str>, Vec<Arc<Server>>> = HashMap::new();
        for server in before.map_or(&[][..], |cluster| &cluster.servers) {
            known.entry(Arc::clone(&server.endpoint.name)).or_default().push(Arc::clone(server));
        }
        let servers = endpoints.into_iter().map(|endpoint| {
            let kept = known.get_mut(&endpoint.name).and_then(Vec::pop);
            kept.unwrap_or_else(|| Arc::new(Server::new(endpoint, Arc::clone(config))))
        });
        Ok(Self { servers: servers.collect(), ring })
    }

    /// The place of a key's server in the list.
    #[inline]
    pub(crate) fn locate(&self, key: &[u8]) -> Option<usize> {
        self.ring.locate(key, |server| self.servers.get(server).is_some_and(|server| server.is_usable()))
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
        server.map(Arc::clone).ok_or_else(super::no_server)
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

/// Refuses what would harm the other callers of a shared connection.
#[inline]
pub(crate) fn check_sharing(request: &Request<'_>) -> Result<(), Reply> {
    let harm = match request.operation() {
        Operation::Quit => "quit would end the connection that all callers share: use Client::close",
        Operation::SaslList | Operation::SaslAuth | Operation::SaslStep => {
            "an authentication on a shared connection would undo the one it has"
        }
        _ => return Ok(()),
    };
    Err(Reply::with_text(Status::InvalidArguments, harm))
}
