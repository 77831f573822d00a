//! One request on its way to its outcome.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, SystemTime};

use bytes::Buf;
use tokio::task::coop::poll_proceed;
use tokio::time::Instant;

use crate::client::Client;
use crate::config::Overload;
use crate::connection::shared::{Flight, Submitted};
use crate::connection::slot::Slot;
use crate::connection::turn::Turn;
use crate::policy::{Retries, may_repeat};
use crate::proto::{CowBytes, Deadline, Reply, Request, Status};
use crate::result::no_server;
use crate::routing::cluster;
use crate::routing::cluster::Route;
use crate::routing::router as routed;
use crate::routing::router::{Outcome, RoutedCall};
use crate::server::Server;
use crate::server::item_limit::ItemSettings;
use crate::time::{after, fixed_deadline};

/// A request on its way; awaiting it gives its [`Reply`], whatever that is.
///
/// # Cancellation
/// Dropping it does not cancel the request: its reply is read and discarded. A request that was
/// polled once may have been executed.
#[must_use = "a call does nothing unless it is awaited"]
pub struct Call<'a> {
    pub(crate) request: Request<'a>,
    target: Target<'a>,
    timeout: Duration,
    deadline: Option<Deadline>,
    state: State<'a>,
    /// Whether a value is compared with the server's item size limit first. The direct interface sends what it
    /// is given.
    is_guarded: bool,
}

/// Where a request goes.
enum Target<'a> {
    /// To the server of its key.
    Cluster(&'a Client),
    /// Elsewhere than its key says.
    Placed(Box<Placed<'a>>),
    /// To this one.
    Server(Arc<Server>),
}

/// The client whose servers are asked, and what says which.
struct Placed<'a> {
    client: &'a Client,
    place: Place<'a>,
}

enum Place<'a> {
    /// Another key.
    Key(CowBytes<'a>),
    /// A route that was determined before.
    Route(Route),
}

impl Placed<'_> {
    fn server(&self) -> Result<Arc<Server>, Reply> {
        match &self.place {
            Place::Key(key) => self.client.cluster().server_of_key(key.as_slice()),
            Place::Route(route) => route.copies.first().map(Arc::clone).ok_or_else(no_server),
        }
    }

    fn route(&self) -> Route {
        match &self.place {
            Place::Key(key) => self.client.cluster().route_by(key.as_slice(), self.client.config().replicas),
            Place::Route(route) => route.clone(),
        }
    }
}

impl<'a> Target<'a> {
    #[inline]
    fn client(&self) -> Option<&'a Client> {
        match self {
            Target::Cluster(client) => Some(client),
            Target::Placed(placed) => Some(placed.client),
            Target::Server(_) => None,
        }
    }
}

enum State<'a> {
    Start,
    WaitingForCapacity(Box<Waiting>),
    CheckingSize(Checking),
    InFlight {
        server: Arc<Server>,
        conn: usize,
        flight: Flight,
    },
    /// More than one server may be asked.
    Routed(RoutedCall<'a>),
    /// The outcome was known at once, and other tasks have their turn before it is returned.
    Yielding(Box<(Option<Arc<Server>>, Reply)>),
    Done {
        server: Option<Arc<Server>>,
    },
}

/// Waits for capacity on a connection that has none.
struct Waiting {
    server: Arc<Server>,
    conn: usize,
    turn: Turn,
}

/// Waits for the server's item size limit: a value above it must not be sent.
struct Checking {
    server: Arc<Server>,
    conn: usize,
    settings: Pin<Box<dyn Future<Output = ItemSettings> + Send>>,
}

impl<'a> Call<'a> {
    #[inline]
    pub(crate) fn to_cluster(client: &'a Client, request: Request<'a>) -> Self {
        let timeout = client.config().timeout;
        Self {
            request,
            target: Target::Cluster(client),
            timeout,
            deadline: None,
            state: State::Start,
            is_guarded: false,
        }
    }

    /// To servers that were chosen before.
    pub(crate) fn on_route(client: &'a Client, request: Request<'a>, route: Route) -> Self {
        let target = Target::Placed(Box::new(Placed { client, place: Place::Route(route) }));
        let mut call = Self::to_cluster(client, request);
        call.target = target;
        call
    }

    pub(crate) fn to_server(server: Arc<Server>, request: Request<'a>) -> Self {
        let timeout = server.timeout();
        Self {
            request,
            target: Target::Server(server),
            timeout,
            deadline: None,
            state: State::Start,
            is_guarded: false,
        }
    }

    /// Compares a value with the server's item size limit before it is sent: memcached drops what is stored when
    /// it refuses a larger value for the key.
    #[inline]
    pub(crate) fn guarded(mut self, is_guarded: bool) -> Self {
        self.is_guarded = is_guarded;
        self
    }

    /// How long this request may take, instead of the client's [`timeout`](crate::config::Config::timeout).
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Places this key instead of the request's own: requests with the same routing key go to the same
    /// server. It is placed as it is, without the client's namespace.
    ///
    /// Later requests for the item need the same routing key. A request to a
    /// [`ServerHandle`](crate::server::handle::ServerHandle) goes to that server all the same.
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
    pub fn routing_key(mut self, key: impl Into<CowBytes<'a>>) -> Self {
        if let Some(client) = self.target.client() {
            self.target = Target::Placed(Box::new(Placed { client, place: Place::Key(key.into()) }));
        }
        self
    }

    /// The server that was asked, once it is known.
    pub(crate) fn server(&self) -> Option<&Arc<Server>> {
        match &self.state {
            State::Start | State::Routed(_) => None,
            State::WaitingForCapacity(waiting) => Some(&waiting.server),
            State::Yielding(outcome) => outcome.0.as_ref(),
            State::CheckingSize(checking) => Some(&checking.server),
            State::InFlight { server, .. } => Some(server),
            State::Done { server } => server.as_ref(),
        }
    }

    fn choose(&self) -> Result<Arc<Server>, Reply> {
        match &self.target {
            Target::Server(server) => Ok(Arc::clone(server)),
            Target::Cluster(client) => client.cluster().server_of(&self.request),
            Target::Placed(placed) => placed.server(),
        }
    }

    /// The servers that may be asked.
    fn route(&self, client: &Client) -> Result<Route, Reply> {
        let (cluster, copies) = (client.cluster(), client.config().replicas);
        match (&self.target, self.request.key()) {
            (Target::Placed(placed), _) => Ok(placed.route()),
            (_, Ok(key)) if self.request.operation().has_key() => Ok(cluster.route(key.as_bytes(), copies)),
            _ => Ok(Route::to(cluster.server_of(&self.request)?)),
        }
    }

    /// The client, if its settings allow more than one server to be asked.
    #[inline]
    fn router(&self) -> Option<&'a Client> {
        self.target.client().filter(|client| client.shared().is_routed)
    }

    /// Refuses what cannot be sent, and puts the key into the namespace.
    #[inline]
    fn check(&mut self) -> Result<(), Reply> {
        cluster::check_sharing(&self.request)?;
        if let Some(client) = self.target.client() {
            let namespace = &client.config().namespace;
            if !namespace.is_empty() {
                self.request = self.request.clone().prefix_key(namespace);
            }
        }
        check_timeout(self.timeout)
    }

    /// What is the same however the request is submitted: checks, deadline, server.
    #[inline]
    fn prepare(&mut self) -> Result<(Arc<Server>, Deadline, Instant), Reply> {
        self.check()?;
        let server = self.choose()?;
        let now = Instant::now();
        let deadline = fixed_deadline(now, self.timeout);
        self.deadline = Some(deadline);
        if self.request.needs_clock() {
            self.request = self.request.clone().resolve_ttl(SystemTime::now);
        }
        Ok((server, deadline, now))
    }

    #[inline]
    fn start(&mut self, waker: &Waker) -> Poll<Reply> {
        if let Some(client) = self.router() {
            return self.start_routed(client, waker);
        }
        let (server, deadline, now) = match self.prepare() {
            Ok(prepared) => prepared,
            Err(reply) => return self.finish(None, reply),
        };
        let conn = server.next_conn();
        if self.is_guarded && server.is_checked(&self.request) {
            return self.check_size(server, conn, deadline, waker);
        }
        self.submit(server, conn, deadline, now, waker)
    }

    #[cold]
    fn check_size(&mut self, server: Arc<Server>, conn: usize, deadline: Deadline, waker: &Waker) -> Poll<Reply> {
        let (asked, until) = (Arc::clone(&server), Instant::from_std(deadline.at));
        let settings = Box::pin(async move { asked.item_settings(until).await });
        self.state = State::CheckingSize(Checking { server, conn, settings });
        self.poll_size(waker)
    }

    fn poll_size(&mut self, waker: &Waker) -> Poll<Reply> {
        let State::CheckingSize(checking) = &mut self.state else { return Poll::Pending };
        let settings = ready!(checking.settings.as_mut().poll(&mut Context::from_waker(waker)));
        let (server, conn) = (Arc::clone(&checking.server), checking.conn);
        let now = Instant::now();
        match (settings.refuse(&self.request), self.deadline) {
            (Some(refusal), _) => self.finish(Some(server), refusal),
            (None, Some(deadline)) => self.submit(server, conn, deadline, now, waker),
            (None, None) => self.overloaded(server, conn),
        }
    }

    #[cold]
    fn start_routed(&mut self, client: &'a Client, waker: &Waker) -> Poll<Reply> {
        let route = match self.check().and_then(|()| self.route(client)) {
            Ok(route) => route,
            Err(reply) => return self.finish(None, reply),
        };
        let deadline = after(Instant::now(), self.timeout);
        let request = self.request.clone();
        self.state = State::Routed(routed::send_routed(client, request, route, deadline, self.is_guarded));
        self.poll_routed(waker)
    }

    fn poll_routed(&mut self, waker: &Waker) -> Poll<Reply> {
        let State::Routed(routed_call) = &mut self.state else { return Poll::Pending };
        let Outcome { reply, server } = ready!(routed_call.as_mut().poll(&mut Context::from_waker(waker)));
        let reply = self.without_namespace(reply);
        self.finish(server, reply)
    }

    #[inline]
    fn submit(
        &mut self,
        server: Arc<Server>,
        conn: usize,
        deadline: Deadline,
        now: Instant,
        waker: &Waker,
    ) -> Poll<Reply> {
        let submitted = server.link(conn).submit(&self.request, deadline, Slot::Waiting(waker.clone()), now, None);
        match submitted {
            Submitted::InFlight { flight, attend } => self.in_flight(server, conn, flight, attend, waker),
            Submitted::Full if server.overload() == Overload::Wait => self.wait(server, conn, deadline, waker),
            Submitted::Full | Submitted::Cast { .. } => self.overloaded(server, conn),
            Submitted::Refused(reply) => self.refused(server, conn, reply, deadline, now, waker),
        }
    }

    #[inline]
    fn in_flight(
        &mut self,
        server: Arc<Server>,
        conn: usize,
        flight: Flight,
        attend: bool,
        waker: &Waker,
    ) -> Poll<Reply> {
        self.state = State::InFlight { server, conn, flight };
        if attend { self.attend(waker) } else { Poll::Pending }
    }

    /// Takes care of the connection's task and of the deadline, once the request is in flight.
    #[cold]
    fn attend(&mut self, waker: &Waker) -> Poll<Reply> {
        let State::InFlight { server, conn, flight } = &self.state else { return Poll::Pending };
        match server.attend(*conn) {
            Ok(()) => self.poll_in_flight(waker, |reply| reply),
            Err(reply) => {
                server.link(*conn).abandon(*flight);
                let server = Arc::clone(server);
                self.finish(Some(server), reply)
            }
        }
    }

    /// Polls for the reply, and hands it to `take` where it is: to move it costs as much as to read it.
    #[inline]
    fn poll_in_flight<T>(&mut self, waker: &Waker, take: impl FnOnce(Reply) -> T) -> Poll<T> {
        let State::InFlight { server, conn, flight } = &self.state else { return Poll::Pending };
        let mut interrupted = None;
        let take = |reply| take(self.without_namespace(reply));
        let taken = server.link(*conn).poll_reply(*flight, waker, &mut interrupted, take);
        if taken.is_pending() {
            if let Some(reply) = interrupted {
                self.resume(reply, waker);
            }
            return Poll::Pending;
        }
        if let State::InFlight { server, .. } = std::mem::replace(&mut self.state, State::Done { server: None }) {
            self.state = State::Done { server: Some(server) };
        }
        taken
    }

    /// Goes on after the runtime of the connection has ended: on the runtime of this call, if nothing can
    /// have been executed twice then.
    #[cold]
    fn resume(&mut self, reply: Reply, waker: &Waker) {
        if let Poll::Ready(reply) = self.submit_again(reply, waker) {
            self.set_aside(reply);
            waker.wake_by_ref();
        }
    }

    fn submit_again(&mut self, reply: Reply, waker: &Waker) -> Poll<Reply> {
        let state = std::mem::replace(&mut self.state, State::Done { server: None });
        let State::InFlight { server, .. } = state else { return Poll::Ready(reply) };
        // Retries that the settings allow are the router's, which knows what may have been executed before.
        let is_safe = !reply.status.may_have_executed() || may_repeat(&self.request, &Retries::none());
        let now = Instant::now();
        match self.deadline {
            Some(deadline) if is_safe && now.into_std() < deadline.at => {
                let conn = server.next_conn();
                self.submit(server, conn, deadline, now, waker)
            }
            _ => self.finish(Some(server), reply),
        }
    }

    /// Takes part in the cooperative budget of tokio's tasks: a loop of calls that fail at once must let
    /// other tasks run, the one that reconnects among them.
    #[cold]
    fn cooperate(&mut self, reply: Reply, waker: &Waker) -> Poll<Reply> {
        match poll_proceed(&mut Context::from_waker(waker)) {
            Poll::Ready(budget) => {
                budget.made_progress();
                Poll::Ready(reply)
            }
            Poll::Pending => {
                self.set_aside(reply);
                Poll::Pending
            }
        }
    }

    /// Keeps the reply for the next poll.
    fn set_aside(&mut self, reply: Reply) {
        let server = self.server().map(Arc::clone);
        self.state = State::Yielding(Box::new((server, reply)));
    }

    /// A server that has lost one connection may have another.
    #[cold]
    fn refused(
        &mut self,
        server: Arc<Server>,
        conn: usize,
        reply: Reply,
        deadline: Deadline,
        now: Instant,
        waker: &Waker,
    ) -> Poll<Reply> {
        let is_lost = matches!(reply.status, Status::Disconnected(_));
        let other = server.other_conn(conn).filter(|_| is_lost);
        let submit = |conn| server.link(conn).submit(&self.request, deadline, Slot::Waiting(waker.clone()), now, None);
        match other.map(|conn| (conn, submit(conn))) {
            Some((conn, Submitted::InFlight { flight, attend })) => self.in_flight(server, conn, flight, attend, waker),
            _ => self.finish(Some(server), reply),
        }
    }

    #[cold]
    fn overloaded(&mut self, server: Arc<Server>, conn: usize) -> Poll<Reply> {
        server.link(conn).count_overloaded(1);
        self.finish(Some(server), Reply::new(Status::Overloaded))
    }

    #[cold]
    fn wait(&mut self, server: Arc<Server>, conn: usize, deadline: Deadline, waker: &Waker) -> Poll<Reply> {
        let length = self.request.value().len();
        let turn = Turn::new(server.link(conn), length, Instant::from_std(deadline.at), waker);
        self.state = State::WaitingForCapacity(Box::new(Waiting { server, conn, turn }));
        self.poll_capacity(waker)
    }

    fn poll_capacity(&mut self, waker: &Waker) -> Poll<Reply> {
        loop {
            let State::WaitingForCapacity(waiting) = &mut self.state else { return Poll::Pending };
            let ticket = ready!(waiting.turn.poll(&mut Context::from_waker(waker)));
            let (server, conn) = (Arc::clone(&waiting.server), waiting.conn);
            let (Some(deadline), Some(_)) = (self.deadline, ticket) else { return self.overloaded(server, conn) };
            let (slot, now) = (Slot::Waiting(waker.clone()), Instant::now());
            match server.link(conn).submit(&self.request, deadline, slot, now, ticket) {
                Submitted::InFlight { flight, attend } => return self.in_flight(server, conn, flight, attend, waker),
                Submitted::Refused(reply) => return self.refused(server, conn, reply, deadline, now, waker),
                // Another caller was faster.
                Submitted::Full | Submitted::Cast { .. } => {}
            }
        }
    }

    fn finish(&mut self, server: Option<Arc<Server>>, reply: Reply) -> Poll<Reply> {
        self.state = State::Done { server };
        Poll::Ready(reply)
    }

    /// The reply with its key as the caller knows it.
    #[inline]
    fn without_namespace(&self, mut reply: Reply) -> Reply {
        if let (false, Some(client)) = (reply.key.is_empty(), self.target.client()) {
            let length = client.config().namespace.len();
            reply.key.advance(length.min(reply.key.len()));
        }
        reply
    }

    /// Goes on, and hands the reply to `take` where it is: to move it costs as much as to read it.
    #[inline]
    pub(crate) fn poll_into<T>(&mut self, waker: &Waker, take: impl FnOnce(Reply) -> T) -> Poll<T> {
        let reply = match &mut self.state {
            State::InFlight { .. } => return self.poll_in_flight(waker, take),
            State::Start => match self.start(waker) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(reply) => self.cooperate(reply, waker),
            },
            State::Yielding(outcome) => {
                let (server, reply) =
                    (outcome.0.take(), std::mem::replace(&mut outcome.1, Reply::new(Status::NoError)));
                self.finish(server, reply)
            }
            State::WaitingForCapacity(_) => self.poll_capacity(waker),
            State::CheckingSize(_) => self.poll_size(waker),
            State::Routed(_) => self.poll_routed(waker),
            State::Done { .. } => panic!("a call was polled after it had given its reply"),
        };
        reply.map(take)
    }

    /// Learns from a refusal: a server may have a lower limit than any value was compared with.
    #[inline]
    pub(super) fn learn(&self, status: Status) {
        if let (Status::ValueTooLarge, Some(server)) = (status, self.server()) {
            server.has_refused_size(self.request.value().len());
        }
    }

    /// Submits without waiting for the reply, if there is room now; whether it was taken.
    pub(crate) fn cast(mut self) -> bool {
        if let Some(client) = self.router() {
            let route = self.check().and_then(|()| self.route(client));
            return route.is_ok_and(|route| routed::cast(client, &self.request, &route));
        }
        let Ok((server, deadline, now)) = self.prepare() else { return false };
        let conn = server.next_conn();
        match server.link(conn).cast(&self.request, deadline, now) {
            Submitted::Cast { attend } => !attend || server.attend(conn).is_ok(),
            _ => false,
        }
    }
}

/// Refuses to wait for no time at all, which would be a failure of the server's in the end.
#[inline]
pub(crate) fn check_timeout(timeout: Duration) -> Result<(), Reply> {
    match timeout.is_zero() {
        true => Err(zero_timeout()),
        false => Ok(()),
    }
}

#[cold]
fn zero_timeout() -> Reply {
    Reply::with_text(Status::InvalidArguments, "the timeout is zero: give the request a duration such as 1 s")
}

impl Future for Call<'_> {
    type Output = Reply;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Reply> {
        let reply = ready!(self.poll_into(cx.waker(), |reply| reply));
        self.learn(reply.status);
        Poll::Ready(reply)
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if let State::InFlight { server, conn, flight } = &self.state {
            server.link(*conn).abandon(*flight);
        }
    }
}

impl fmt::Debug for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("request", &self.request).finish_non_exhaustive()
    }
}
