//! Many low-level requests in one call.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::client::Client;
use crate::observe::{OperationGuard, OperationName, OperationStarted, Parent, Scope};
use crate::proto::{Reply, Request, Status};
use crate::result::no_server;
use crate::routing::cluster::Route;
use crate::routing::multi_requests::{Requests, send_batches, yield_after};
use crate::routing::multi_router;
use crate::routing::router::request_on_route;
use crate::server::Server;
use crate::server::batch::ServerBatch;
use crate::server::item_limit::stores;

/// Many low-level requests: a future that resolves to a [`Reply`] for each, in the order of the requests.
///
/// They are sent like the keys of [`Many`](crate::ops::multi_builder::Many): in pipelined batches, with quiet writes
/// where the protocol allows it, and at most some thousands in flight per server. The reply to a quiet write has no CAS
/// value.
///
/// The timeout is extended by each reply: a call takes as long as replies keep arriving.
///
/// # Cancel safety
/// Dropping the future does not cancel the requests. Those that were sent may have been executed.
#[must_use = "a call does nothing unless it is awaited"]
pub struct CallMany<'a> {
    target: Destinations<'a>,
    requests: Vec<Request<'a>>,
    timeout: Duration,
}

/// The destination of the requests.
enum Destinations<'a> {
    /// Each request to the server of its key.
    Cluster(&'a Client),
    /// Each request to the server at its index, if there is one.
    Servers(&'a Client, Vec<Option<Arc<Server>>>),
    /// All to this server, reported as parts of this operation.
    Server(Arc<Server>, Parent),
}

impl<'a> CallMany<'a> {
    pub(crate) fn to_cluster(client: &'a Client, requests: impl IntoIterator<Item = Request<'a>>) -> Self {
        let namespace = &client.config().namespace;
        let placed = |request: Request<'a>| match namespace.is_empty() {
            true => resolved(request),
            false => resolved(request.prefix_key(namespace)),
        };
        let requests = requests.into_iter().map(placed).collect();
        Self { target: Destinations::Cluster(client), requests, timeout: client.timeout() }
    }

    /// Sends each request to the server that it is pinned to, the first of its route.
    pub(crate) fn on_routes<'r>(
        client: &'a Client,
        requests: impl IntoIterator<Item = (Request<'a>, &'r Route)>,
    ) -> Self {
        let on_route = |(request, route): (_, &Route)| {
            (request_on_route(request, route, client.config()), route.copies.first().map(Arc::clone))
        };
        let (requests, servers): (Vec<_>, Vec<_>) = requests.into_iter().map(on_route).unzip();
        Self { target: Destinations::Servers(client, servers), ..Self::to_cluster(client, requests) }
    }

    pub(crate) fn to_server(
        server: Arc<Server>,
        requests: impl IntoIterator<Item = Request<'a>>,
        parent: Parent,
    ) -> Self {
        let timeout = server.timeout();
        Self {
            target: Destinations::Server(server, parent),
            requests: requests.into_iter().map(resolved).collect(),
            timeout,
        }
    }

    /// Sets how long to wait for the next reply, instead of the client's [`timeout`](crate::config::Config::timeout).
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    async fn run(self) -> Vec<Reply> {
        let (config, parent) = match &self.target {
            Destinations::Cluster(client) | Destinations::Servers(client, _) => {
                (client.config(), Parent::of(client.scope()))
            }
            Destinations::Server(server, parent) => (server.config(), parent.clone()),
        };
        let event = OperationStarted::new(OperationName::CallMany, self.requests.len(), &config.namespace);
        let operation = OperationGuard::begin(&config.observers, parent, &event);
        let replies = self.send(operation.scope()).await;
        operation.end_replies(&replies);
        replies
    }

    async fn send(self, scope: Option<&Arc<Scope>>) -> Vec<Reply> {
        let Self { target, mut requests, timeout } = self;
        let refused = refuse_requests_without_key(&mut requests);
        let may_store = requests.iter().any(stores);
        let requests = Namespaced { requests, may_store };
        let reply = |reply: Reply, _: &Arc<Server>| reply;
        let replies = match target {
            Destinations::Cluster(client) => {
                let cluster = Arc::clone(&client.cluster());
                multi_router::send(client.shared(), &cluster, &requests, timeout, scope, reply).await
            }
            Destinations::Servers(_, servers) => {
                send_batches(assign_to_servers(servers, timeout).await, &requests, scope, reply).await
            }
            Destinations::Server(server, _) => {
                let mut batch = ServerBatch::new(server, timeout);
                (0..requests.len()).for_each(|index| batch.assign(index));
                send_batches(vec![batch], &requests, scope, reply).await
            }
        };
        let mut replies: Vec<_> = replies.into_iter().map(|reply| reply.unwrap_or_else(no_server)).collect();
        for (index, reply) in refused {
            replies[index] = reply;
        }
        replies
    }
}

/// Groups requests by their servers.
async fn assign_to_servers(servers: Vec<Option<Arc<Server>>>, timeout: Duration) -> Vec<ServerBatch> {
    let mut batches: HashMap<usize, ServerBatch> = HashMap::new();
    for (index, server) in servers.into_iter().enumerate() {
        if let Some(server) = server {
            let address = Arc::as_ptr(&server).addr();
            batches.entry(address).or_insert_with(|| ServerBatch::new(server, timeout)).assign(index);
        }
        yield_after(index).await;
    }
    batches.into_values().collect()
}

/// Refuses requests without a key: they may have several replies, or close the connection. Each is replaced with a
/// request with an invalid key, which is not sent.
fn refuse_requests_without_key(requests: &mut [Request<'_>]) -> Vec<(usize, Reply)> {
    let keyless = requests.iter_mut().enumerate().filter(|(_, request)| !request.operation().has_key());
    let refuse = |(index, request): (usize, &mut Request<'_>)| {
        *request = Request::get("");
        (index, Reply::with_text(Status::InvalidArguments, "only requests on items can be asked many at a time"))
    };
    keyless.map(refuse).collect()
}

/// Converts the TTL to one that the protocol can express.
fn resolved(request: Request<'_>) -> Request<'_> {
    if request.needs_clock() { request.resolve_ttl(SystemTime::now) } else { request }
}

/// Requests whose keys include the namespace.
struct Namespaced<'a> {
    requests: Vec<Request<'a>>,
    may_store: bool,
}

impl Requests for Namespaced<'_> {
    fn len(&self) -> usize {
        self.requests.len()
    }

    fn may_store(&self) -> bool {
        self.may_store
    }

    #[inline]
    fn request(&self, index: usize) -> Request<'_> {
        self.requests[index].clone()
    }

    #[inline]
    fn key(&self, index: usize) -> Cow<'_, [u8]> {
        self.requests[index].key().map_or(&[][..], |key| key.as_bytes()).into()
    }
}

impl<'a> IntoFuture for CallMany<'a> {
    type Output = Vec<Reply>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl fmt::Debug for CallMany<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallMany").field("requests", &self.requests.len()).finish_non_exhaustive()
    }
}
