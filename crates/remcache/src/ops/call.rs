//! A single low-level request, sent to the server of its key or along its route.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Buf;
use tokio::time::Instant;

use crate::client::Client;
use crate::observe::{OperationName, Parent};
use crate::ops::operation_reports;
use crate::proto::{CowBytes, IntoCowBytes, Reply, Request, Status};
use crate::result::{no_server, take_reply};
use crate::routing::cluster::Route;
use crate::routing::router::{self, RoutedCall, RoutedReply, request_on_route};
use crate::server::Server;
use crate::server::call::{ServerCall, check};
use crate::time::after;

/// A low-level request: a future that resolves to its [`Reply`], including errors.
///
/// # Cancel safety
/// Dropping it does not cancel the request: its reply is read and discarded. A request that was
/// polled once may have been executed.
#[must_use = "a call does nothing unless it is awaited"]
pub struct Call<'a> {
    target: Destination<'a>,
    /// The request to one server; with `routed` it only holds the request and the reply.
    call: ServerCall<'a>,
    /// The request to several servers, if the client's settings allow that.
    routed: Option<RoutedCall<'a>>,
}

/// The destination of a request.
enum Destination<'a> {
    /// To the server of its key.
    Cluster(&'a Client),
    /// To a server other than that of its key.
    Override(Box<RouteOverride<'a>>),
    /// To this server.
    Server(Arc<Server>),
}

/// A client, and the route that replaces that of the key.
struct RouteOverride<'a> {
    client: &'a Client,
    source: RouteSource<'a>,
}

/// What determines the server.
enum RouteSource<'a> {
    /// The server of another key.
    Key(CowBytes<'a>),
    /// A route determined earlier.
    Route(Route),
}

impl RouteOverride<'_> {
    fn server(&self) -> Result<Arc<Server>, Reply> {
        match &self.source {
            RouteSource::Key(key) => self.client.cluster().server_of_routing_key(key.as_slice()),
            RouteSource::Route(route) => route.copies.first().map(Arc::clone).ok_or_else(no_server),
        }
    }

    fn route(&self) -> Route {
        match &self.source {
            RouteSource::Key(key) => self.client.cluster().route_by(key.as_slice(), self.client.config().replicas),
            RouteSource::Route(route) => route.clone(),
        }
    }
}

impl<'a> Destination<'a> {
    #[inline]
    fn client(&self) -> Option<&'a Client> {
        match self {
            Destination::Cluster(client) => Some(client),
            Destination::Override(route) => Some(route.client),
            Destination::Server(_) => None,
        }
    }

    /// Returns the client, if its settings allow several servers or attempts.
    #[inline]
    fn routing_client(&self) -> Option<&'a Client> {
        self.client().filter(|client| client.shared().is_routed)
    }

    /// Returns the server of a request.
    // Like `ServerCall::prepare`: its result is large.
    #[inline(always)]
    fn server(&self, request: &Request<'_>) -> Result<Arc<Server>, Reply> {
        match self {
            Destination::Server(server) => Ok(Arc::clone(server)),
            Destination::Cluster(client) => client.cluster().server_of(request),
            Destination::Override(route) => route.server(),
        }
    }

    /// Returns the route of a request.
    fn route(&self, client: &Client, request: &Request<'_>) -> Result<Route, Reply> {
        let (cluster, copies) = (client.cluster(), client.config().replicas);
        match (self, request.key()) {
            (Destination::Override(route), _) => Ok(route.route()),
            (_, Ok(key)) if request.operation().has_key() => Ok(cluster.route(key.as_bytes(), copies)),
            _ => Ok(Route::to(cluster.server_of(request)?)),
        }
    }
}

impl<'a> Call<'a> {
    #[inline]
    pub(crate) fn to_cluster(client: &'a Client, request: Request<'a>) -> Self {
        Self::new(Destination::Cluster(client), request, client.timeout())
    }

    /// Sends the request along a route determined earlier.
    pub(crate) fn on_route(client: &'a Client, request: Request<'a>, route: Route) -> Self {
        let request = request_on_route(request, &route, client.config());
        let target = Destination::Override(Box::new(RouteOverride { client, source: RouteSource::Route(route) }));
        Self::new(target, request, client.timeout())
    }

    pub(crate) fn to_server(server: Arc<Server>, request: Request<'a>, parent: Parent) -> Self {
        let timeout = server.timeout();
        let mut call = Self::new(Destination::Server(server), request, timeout);
        call.call.parent = parent;
        call
    }

    #[inline]
    fn new(target: Destination<'a>, request: Request<'a>, timeout: Duration) -> Self {
        Self { target, call: ServerCall::new(request, timeout), routed: None }
    }

    /// Sets whether a value is compared with the server's item size limit before it is sent: memcached deletes the
    /// stored item when it refuses a larger one for the same key.
    #[inline]
    pub(crate) fn guarded(mut self, is_guarded: bool) -> Self {
        self.call = self.call.guarded(is_guarded);
        self
    }

    /// Sets the timeout of this request, instead of the client's [`timeout`](crate::config::Config::timeout).
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.call.timeout = timeout;
        self
    }

    /// Sets the key that determines the server, instead of the request's own: requests with the same routing key go
    /// to the same server. The client's namespace is not added to it.
    ///
    /// Later requests for the item need the same routing key. It has no effect on a request to a
    /// [`ServerHandle`](crate::server::handle::ServerHandle).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = remcache_server::Server::start().await?;
    /// # let client = remcache::Client::new([server.address()])?;
    /// client.set("user:42:name", "Ada").routing_key("user:42").await?;
    /// let name = client.get("user:42:name").routing_key("user:42").await?;
    /// # assert_eq!(name.unwrap().value, "Ada");
    /// # Ok(()) }
    /// ```
    pub fn routing_key(mut self, key: impl IntoCowBytes<'a>) -> Self {
        if let Some(client) = self.target.client() {
            self.target = Destination::Override(Box::new(RouteOverride {
                client,
                source: RouteSource::Key(key.into_cow_bytes()),
            }));
        }
        self
    }

    /// Sets its name for observers, instead of that of the request.
    pub(crate) fn set_name(&mut self, name: OperationName) {
        self.call.name = Some(name);
    }

    /// Sets its name for observers, unless it has one.
    pub(crate) fn name_if_unnamed(&mut self, name: OperationName) {
        self.call.name.get_or_insert(name);
    }

    #[inline]
    pub(crate) fn request(&self) -> &Request<'a> {
        &self.call.request
    }

    #[inline]
    pub(crate) fn request_mut(&mut self) -> &mut Request<'a> {
        &mut self.call.request
    }

    /// Returns the server of the request, once it is chosen.
    pub(crate) fn server(&self) -> Option<&Arc<Server>> {
        self.call.server()
    }

    /// Prefixes the key with the client's namespace.
    #[inline]
    fn apply_namespace(&mut self) {
        if let Some(client) = self.target.client() {
            let namespace = &client.config().namespace;
            if !namespace.is_empty() {
                self.call.request = self.call.request.clone().prefix_key(namespace);
            }
        }
    }

    #[cold]
    fn start_routed(&mut self, client: &'a Client, waker: &Waker) -> Poll<Reply> {
        let Self { target, call, routed } = self;
        let request = &call.request;
        let route = match check(request, call.timeout).and_then(|()| target.route(client, request)) {
            Ok(route) => route,
            Err(reply) => {
                operation_reports::report_refused_call(client, call, &reply);
                return call.end_at_once(reply, waker);
            }
        };
        let operation = operation_reports::begin_routed(client, call, &route);
        let deadline = after(Instant::now(), call.timeout);
        let scope = operation.scope().cloned();
        let sent = router::send_routed(client.shared(), request.clone(), route, deadline, call.is_guarded(), scope);
        *routed = Some(operation_reports::until_end(sent, operation, call));
        let RoutedReply { reply, server } = ready!(self.poll_routed(waker));
        if server.is_none() {
            return self.call.end_at_once(reply, waker);
        }
        // Each attempt has taken part in the cooperative budget. The operation is reported as ended, so its reply must
        // not be lost if the call is dropped now.
        self.call.end(server);
        Poll::Ready(reply)
    }

    fn poll_routed(&mut self, waker: &Waker) -> Poll<RoutedReply> {
        let Some(routed_call) = &mut self.routed else { return Poll::Pending };
        let outcome = ready!(routed_call.as_mut().poll(&mut Context::from_waker(waker)));
        self.routed = None;
        Poll::Ready(outcome)
    }

    /// Polls for the reply and passes it to `take` in place: moving it would cost as much as reading it.
    #[inline]
    pub(crate) fn poll_into<T>(&mut self, waker: &Waker, take: impl FnOnce(&mut Reply) -> T) -> Poll<T> {
        let client = self.target.client();
        let take = |reply: &mut Reply| {
            remove_namespace(reply, client);
            take(reply)
        };
        if self.call.is_new() {
            if self.routed.is_some() {
                let RoutedReply { mut reply, server } = ready!(self.poll_routed(waker));
                self.call.end(server);
                return Poll::Ready(take(&mut reply));
            }
            self.apply_namespace();
            if let Some(scope) = client.and_then(Client::scope) {
                self.call.parent = Parent::Operation(Arc::clone(scope));
            }
            if let Some(client) = self.target.routing_client() {
                return self.start_routed(client, waker).map(|mut reply| take(&mut reply));
            }
        }
        let Self { target, call, .. } = self;
        let choose = |request: &Request<'_>| {
            target.server(request).inspect_err(|reply| operation_reports::report_no_server(client, request, reply))
        };
        call.poll_into(waker, choose, take)
    }

    /// Records what a failure reveals: see [`ServerCall::record_failure`].
    #[inline]
    pub(super) fn record_failure(&self, status: Status) {
        self.call.record_failure(status);
    }

    /// Submits without waiting for the reply, if there is capacity now; returns whether it was queued.
    pub(crate) fn send_no_reply(self) -> bool {
        let operation =
            self.target.client().filter(|client| client.is_observed()).map(operation_reports::begin_no_reply);
        let is_queued = self.queue();
        if let Some(operation) = operation {
            operation.end_no_reply(is_queued);
        }
        is_queued
    }

    fn queue(mut self) -> bool {
        self.apply_namespace();
        let Self { target, call, .. } = self;
        if let Some(client) = target.routing_client() {
            let route = check(&call.request, call.timeout).and_then(|()| target.route(client, &call.request));
            return route.is_ok_and(|route| router::send_no_reply(client.shared(), &call.request, &route));
        }
        let server = target.server(&call.request);
        server.is_ok_and(|server| call.send_no_reply(&server))
    }
}

/// Removes the namespace from the key in a reply.
#[inline]
fn remove_namespace(reply: &mut Reply, client: Option<&Client>) {
    if let (false, Some(client)) = (reply.key.is_empty(), client) {
        let length = client.config().namespace.len();
        reply.key.advance(length.min(reply.key.len()));
    }
}

impl Future for Call<'_> {
    type Output = Reply;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Reply> {
        let reply = ready!(self.poll_into(cx.waker(), take_reply));
        self.record_failure(reply.status);
        Poll::Ready(reply)
    }
}

impl fmt::Debug for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("request", self.request()).finish_non_exhaustive()
    }
}
