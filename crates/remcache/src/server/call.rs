//! One request to one server.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, SystemTime};

use tokio::task::coop::poll_proceed;
use tokio::time::Instant;

use crate::config::Overload;
use crate::connection::shared::{Flight, Submitted};
use crate::connection::slot::Slot;
use crate::connection::turn::Turn;
use crate::observe::{Established, OperationName, Parent};
use crate::policy::{Retries, may_repeat};
use crate::proto::{Deadline, Delivery, Operation, Reply, Request, Status};
use crate::server::Server;
use crate::server::item_limit::ItemSettings;
use crate::server::observed::{Observation, Summary};
use crate::time::fixed_deadline;

/// One request to one server: waits for capacity, submits the request once, and waits for the reply.
///
/// Dropping it abandons the request.
pub(crate) struct ServerCall<'a> {
    pub(crate) request: Request<'a>,
    pub(crate) timeout: Duration,
    deadline: Option<Deadline>,
    state: State,
    /// Whether a value is compared with the server's item size limit before it is sent.
    is_guarded: bool,
    /// The operation that it is reported as a part of.
    pub(crate) parent: Parent,
    /// The name for observers; `None` for that of the request.
    pub(crate) name: Option<OperationName>,
    /// The report to observers.
    pub(super) observation: Observation,
}

enum State {
    Start,
    WaitingForCapacity(Box<Waiting>),
    CheckingSize(Checking),
    InFlight {
        server: Arc<Server>,
        conn: usize,
        flight: Flight,
    },
    /// The reply is known and is returned by the next poll, after other tasks have run.
    Yielding(Box<(Option<Arc<Server>>, Reply)>),
    Done {
        server: Option<Arc<Server>>,
    },
}

/// The wait for capacity on a connection.
struct Waiting {
    server: Arc<Server>,
    conn: usize,
    turn: Turn,
}

/// The wait for the server's item size limit, above which a value must not be sent.
struct Checking {
    server: Arc<Server>,
    conn: usize,
    settings: Pin<Box<dyn Future<Output = ItemSettings> + Send>>,
}

impl<'a> ServerCall<'a> {
    #[inline]
    pub(crate) fn new(request: Request<'a>, timeout: Duration) -> Self {
        Self {
            request,
            timeout,
            deadline: None,
            state: State::Start,
            is_guarded: false,
            parent: Parent::None,
            name: None,
            observation: Observation::None,
        }
    }

    /// Reports it as a part of `parent`.
    pub(crate) fn within(mut self, parent: Parent) -> Self {
        self.parent = parent;
        self
    }

    /// Sets whether a value is compared with the server's item size limit before it is sent: memcached deletes the
    /// stored item when it refuses a larger one for the same key.
    #[inline]
    pub(crate) fn guarded(mut self, is_guarded: bool) -> Self {
        self.is_guarded = is_guarded;
        self
    }

    /// Returns whether the size of a value is checked before it is sent.
    pub(crate) fn is_guarded(&self) -> bool {
        self.is_guarded
    }

    /// Sends the request to a server and returns its reply.
    pub(crate) async fn run(mut self, server: &Arc<Server>) -> Reply {
        let reply = poll_fn(|cx| self.poll_into(cx.waker(), |_| Ok(Arc::clone(server)), |reply| reply)).await;
        self.record_failure(reply.status);
        reply
    }

    /// Polls for the reply and passes it to `take` in place: moving it would cost as much as reading it.
    ///
    /// The first poll sends the request to the server that `choose` returns, or completes with the reply that it
    /// returns instead.
    #[inline]
    pub(crate) fn poll_into<T>(
        &mut self,
        waker: &Waker,
        choose: impl FnOnce(&Request<'a>) -> Result<Arc<Server>, Reply>,
        take: impl FnOnce(Reply) -> T,
    ) -> Poll<T> {
        let reply = match &mut self.state {
            State::InFlight { .. } => return self.poll_in_flight(waker, take),
            State::Start => match self.start(choose, waker) {
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
            State::Done { .. } => panic!("a call was polled after completion"),
        };
        if let (Poll::Ready(reply), true) = (&reply, self.observation.is_some()) {
            self.observe_end(Summary::of(reply, &Established::default()));
        }
        reply.map(take)
    }

    /// Submits without waiting for the reply, if there is capacity now; returns whether it was queued.
    pub(crate) fn cast(mut self, server: &Arc<Server>) -> bool {
        let Ok((deadline, now)) = self.prepare() else { return false };
        let conn = server.next_conn();
        match server.connection(conn).cast(&self.request, deadline, now) {
            Submitted::Cast { attend } => !attend || server.ensure_task(conn).is_ok(),
            _ => false,
        }
    }

    /// Completes the call with a reply that is known at its first poll.
    pub(crate) fn end_at_once(&mut self, server: Option<Arc<Server>>, reply: Reply, waker: &Waker) -> Poll<Reply> {
        self.state = State::Done { server };
        self.cooperate(reply, waker)
    }

    /// Returns whether it was never polled.
    #[inline]
    pub(crate) fn is_new(&self) -> bool {
        matches!(self.state, State::Start)
    }

    /// Returns whether it waits for a reply.
    pub(super) fn is_in_flight(&self) -> bool {
        matches!(self.state, State::InFlight { .. })
    }

    /// Returns the server of the request, once it is chosen.
    pub(crate) fn server(&self) -> Option<&Arc<Server>> {
        match &self.state {
            State::Start => None,
            State::WaitingForCapacity(waiting) => Some(&waiting.server),
            State::Yielding(outcome) => outcome.0.as_ref(),
            State::CheckingSize(checking) => Some(&checking.server),
            State::InFlight { server, .. } => Some(server),
            State::Done { server } => server.as_ref(),
        }
    }

    /// Checks the request and sets its deadline.
    #[inline]
    fn prepare(&mut self) -> Result<(Deadline, Instant), Reply> {
        check(&self.request, self.timeout)?;
        let now = Instant::now();
        let deadline = fixed_deadline(now, self.timeout);
        self.deadline = Some(deadline);
        if self.request.needs_clock() {
            self.request = self.request.clone().resolve_ttl(SystemTime::now);
        }
        Ok((deadline, now))
    }

    #[inline]
    fn start(&mut self, choose: impl FnOnce(&Request<'a>) -> Result<Arc<Server>, Reply>, waker: &Waker) -> Poll<Reply> {
        let server = match choose(&self.request) {
            Ok(server) => server,
            Err(reply) => return self.finish(None, reply),
        };
        let (deadline, now) = match self.prepare() {
            Ok(prepared) => prepared,
            Err(reply) => {
                self.observe_start(&server, Instant::now());
                self.state = State::Done { server: Some(server) };
                if self.observation.is_some() {
                    self.observe_end(Summary::of(&reply, &Established::default()));
                }
                return self.finish(None, reply);
            }
        };
        self.observe_start(&server, now);
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
        self.observation.submitted(now);
        match (settings.refuse(&self.request), self.deadline) {
            (Some(refusal), _) => self.finish(Some(server), refusal),
            (None, Some(deadline)) => self.submit(server, conn, deadline, now, waker),
            (None, None) => self.overloaded(server, conn),
        }
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
        let submitted =
            server.connection(conn).submit(&self.request, deadline, Slot::Waiting(waker.clone()), now, None);
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
        if attend { self.ensure_task(waker) } else { Poll::Pending }
    }

    /// Starts the connection's task or registers the deadline with the watchdog, once the request is in flight.
    #[cold]
    fn ensure_task(&mut self, waker: &Waker) -> Poll<Reply> {
        let State::InFlight { server, conn, flight } = &self.state else { return Poll::Pending };
        match server.ensure_task(*conn) {
            Ok(()) => self.poll_in_flight(waker, |reply| reply),
            Err(reply) => {
                server.connection(*conn).abandon(*flight);
                let server = Arc::clone(server);
                self.finish(Some(server), reply)
            }
        }
    }

    /// Polls for the reply of a request in flight, as [`poll_into`](Self::poll_into) does.
    #[inline]
    fn poll_in_flight<T>(&mut self, waker: &Waker, take: impl FnOnce(Reply) -> T) -> Poll<T> {
        let State::InFlight { server, conn, flight } = &self.state else { return Poll::Pending };
        let mut interrupted = None;
        let is_observed = self.observation.is_some();
        let mut summary = None;
        let take = |reply, established: &_| {
            if is_observed {
                summary = Some(Summary::of(&reply, established));
            }
            take(reply)
        };
        let taken = server.connection(*conn).poll_reply(*flight, waker, &mut interrupted, take);
        if taken.is_pending() {
            if let Some(reply) = interrupted {
                self.resume(reply, waker);
            }
            return Poll::Pending;
        }
        if let State::InFlight { server, .. } = std::mem::replace(&mut self.state, State::Done { server: None }) {
            self.state = State::Done { server: Some(server) };
        }
        if let Some(summary) = summary {
            self.observe_end(summary);
        }
        taken
    }

    /// Submits the request again after the connection's runtime has ended, if it may be repeated.
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
        // Retries that need an opt-in are left to the router, which knows about earlier attempts.
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

    /// Consumes the cooperative budget of Tokio's tasks: a loop of calls that fail at once must let other tasks run,
    /// in particular the one that reconnects.
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

    /// Tries another connection of the server if this one is lost.
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
        let submit =
            |conn| server.connection(conn).submit(&self.request, deadline, Slot::Waiting(waker.clone()), now, None);
        match other.map(|conn| (conn, submit(conn))) {
            Some((conn, Submitted::InFlight { flight, attend })) => self.in_flight(server, conn, flight, attend, waker),
            _ => self.finish(Some(server), reply),
        }
    }

    #[cold]
    fn overloaded(&mut self, server: Arc<Server>, conn: usize) -> Poll<Reply> {
        server.connection(conn).count_overloaded(1);
        self.finish(Some(server), Reply::new(Status::Overloaded))
    }

    #[cold]
    fn wait(&mut self, server: Arc<Server>, conn: usize, deadline: Deadline, waker: &Waker) -> Poll<Reply> {
        let length = self.request.value().len();
        let turn = Turn::new(server.connection(conn), length, Instant::from_std(deadline.at), waker);
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
            self.observation.submitted(now);
            match server.connection(conn).submit(&self.request, deadline, slot, now, ticket) {
                Submitted::InFlight { flight, attend } => return self.in_flight(server, conn, flight, attend, waker),
                Submitted::Refused(reply) => return self.refused(server, conn, reply, deadline, now, waker),
                // Another caller was faster.
                Submitted::Full | Submitted::Cast { .. } => {}
            }
        }
    }

    pub(crate) fn finish(&mut self, server: Option<Arc<Server>>, reply: Reply) -> Poll<Reply> {
        self.state = State::Done { server };
        Poll::Ready(reply)
    }

    /// Records what a failure reveals: an item size limit lower than assumed, or a delete to repeat.
    #[inline]
    pub(crate) fn record_failure(&self, status: Status) {
        if status == Status::NoError {
            return;
        }
        let Some(server) = self.server() else { return };
        match status {
            Status::ValueTooLarge => server.record_size_refusal(self.request.value().len()),
            _ => server.record_failed_delete(&self.request, status),
        }
    }
}

impl Drop for ServerCall<'_> {
    fn drop(&mut self) {
        if let State::InFlight { server, conn, flight } = &self.state {
            server.connection(*conn).abandon(*flight);
            server.record_failed_delete(&self.request, Status::TimedOut(Delivery::MaybeSent));
        }
        if self.observation.is_some() {
            self.observe_cancellation();
        }
    }
}

/// Checks that a request can be sent on a shared connection, and that its timeout is not zero.
#[inline]
pub(crate) fn check(request: &Request<'_>, timeout: Duration) -> Result<(), Reply> {
    check_sharing(request)?;
    check_timeout(timeout)
}

/// Refuses requests that would affect the other callers of a shared connection.
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

/// Refuses a timeout of zero, which would count as a server failure.
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
