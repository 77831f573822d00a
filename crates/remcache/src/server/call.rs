//! One request to one server.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, SystemTime};

use tokio::task::coop::poll_proceed;
use tokio::time::Instant;

use crate::config::Overload;
use crate::connection::capacity_wait::CapacityWait;
use crate::connection::shared::{Flight, Submitted};
use crate::connection::slot::Slot;
use crate::observe::{Established, OperationName, Parent};
use crate::policy::{Retries, may_repeat};
use crate::proto::{Deadline, Delivery, Operation, Reply, Request, Status};
use crate::result::{no_server, take_reply};
use crate::server::Server;
use crate::server::item_limit::ItemSettings;
use crate::server::request_reports::{Observation, Summary};
use crate::time::fixed_deadline;

/// One request to one server: waits for capacity, submits the request once, and waits for the reply.
///
/// Dropping it abandons the request.
pub(crate) struct ServerCall<'a> {
    pub(crate) request: Request<'a>,
    pub(crate) timeout: Duration,
    deadline: Option<Deadline>,
    /// The server, once it is chosen.
    server: Option<Arc<Server>>,
    /// Index of the connection of the latest attempt.
    conn: usize,
    state: CallState,
    /// Whether a value is compared with the server's item size limit before it is sent.
    is_guarded: bool,
    /// The operation that it is reported under.
    pub(crate) parent: Parent,
    /// The name for observers; `None` for that of the request.
    pub(crate) name: Option<OperationName>,
    /// The report to observers.
    pub(super) observation: Observation,
}

enum CallState {
    Start,
    /// Waits for capacity on a connection that has none.
    WaitingForCapacity(Box<CapacityWait>),
    /// Waits for the server's item size limit: a value above it must not be sent.
    CheckingSize(Pin<Box<dyn Future<Output = ItemSettings> + Send>>),
    /// Waits for the reply.
    InFlight(Flight),
    /// The reply is known and is returned by the next poll, after other tasks have run.
    Yielding(Box<Reply>),
    Done,
}

impl<'a> ServerCall<'a> {
    #[inline]
    pub(crate) fn new(request: Request<'a>, timeout: Duration) -> Self {
        Self {
            request,
            timeout,
            deadline: None,
            server: None,
            conn: 0,
            state: CallState::Start,
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
        let reply = poll_fn(|cx| self.poll_into(cx.waker(), |_| Ok(Arc::clone(server)), take_reply)).await;
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
        take: impl FnOnce(&mut Reply) -> T,
    ) -> Poll<T> {
        let reply = match &mut self.state {
            CallState::InFlight(_) => return self.poll_in_flight(waker, take),
            CallState::Start => match self.start(choose, waker) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(reply) => self.cooperate(reply, waker),
            },
            CallState::Yielding(reply) => {
                let reply = take_reply(reply);
                self.finish(reply)
            }
            CallState::WaitingForCapacity(_) => self.poll_capacity(waker),
            CallState::CheckingSize(_) => self.poll_size(waker),
            CallState::Done => panic!("a call was polled after completion"),
        };
        if let (Poll::Ready(reply), true) = (&reply, self.observation.is_some()) {
            self.observe_end(Summary::of(reply, &Established::default()));
        }
        reply.map(|mut reply| take(&mut reply))
    }

    /// Submits without waiting for the reply, if there is capacity now; returns whether it was queued.
    pub(crate) fn send_no_reply(mut self, server: &Arc<Server>) -> bool {
        let Ok((deadline, now)) = self.prepare() else { return false };
        let conn = server.next_conn();
        match server.connection(conn).send_no_reply(&self.request, deadline, now) {
            Submitted::NoReply { needs_attention } => !needs_attention || server.ensure_task(conn).is_ok(),
            _ => false,
        }
    }

    /// Completes the call with a reply that is known at its first poll and comes from no server.
    pub(crate) fn end_at_once(&mut self, reply: Reply, waker: &Waker) -> Poll<Reply> {
        self.state = CallState::Done;
        self.cooperate(reply, waker)
    }

    /// Completes the call with a reply that this server gave to another call.
    pub(crate) fn end(&mut self, server: Option<Arc<Server>>) {
        self.server = server;
        self.state = CallState::Done;
    }

    /// Returns whether it was never polled.
    #[inline]
    pub(crate) fn is_new(&self) -> bool {
        matches!(self.state, CallState::Start)
    }

    /// Returns whether it waits for a reply.
    pub(super) fn is_in_flight(&self) -> bool {
        matches!(self.state, CallState::InFlight(_))
    }

    /// Returns the server of the request, once it is chosen.
    pub(crate) fn server(&self) -> Option<&Arc<Server>> {
        self.server.as_ref()
    }

    /// Checks the request and sets its deadline.
    // Its result is large, and passing it through memory costs as much as the function.
    #[inline(always)]
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
            Err(reply) => return self.finish(reply),
        };
        self.conn = server.next_conn();
        let server = self.server.insert(server);
        let is_checked = self.is_guarded && server.is_checked(&self.request);
        let (deadline, now) = match self.prepare() {
            Ok(prepared) => prepared,
            Err(reply) => return self.end_unsent(reply),
        };
        self.observe_start(now);
        if is_checked { self.check_size(deadline, waker) } else { self.submit(deadline, now, waker) }
    }

    /// Ends the call with the refusal of a request that concerns no server.
    #[cold]
    fn end_unsent(&mut self, reply: Reply) -> Poll<Reply> {
        self.observe_start(Instant::now());
        if self.observation.is_some() {
            self.observe_end(Summary::of(&reply, &Established::default()));
        }
        self.server = None;
        self.finish(reply)
    }

    #[cold]
    fn check_size(&mut self, deadline: Deadline, waker: &Waker) -> Poll<Reply> {
        let Some(server) = self.server.clone() else { return self.finish(no_server()) };
        if let Some(settings) = server.known_item_settings() {
            return self.submit_unless_refused(settings, waker);
        }
        let until = Instant::from_std(deadline.at);
        self.state = CallState::CheckingSize(Box::pin(async move { server.item_settings(until).await }));
        self.poll_size(waker)
    }

    fn poll_size(&mut self, waker: &Waker) -> Poll<Reply> {
        let CallState::CheckingSize(settings) = &mut self.state else { return Poll::Pending };
        let settings = ready!(settings.as_mut().poll(&mut Context::from_waker(waker)));
        self.submit_unless_refused(settings, waker)
    }

    fn submit_unless_refused(&mut self, settings: ItemSettings, waker: &Waker) -> Poll<Reply> {
        let now = Instant::now();
        self.observation.submitted(now);
        match (settings.refuse(&self.request), self.deadline) {
            (Some(refusal), _) => self.finish(refusal),
            (None, Some(deadline)) => self.submit(deadline, now, waker),
            (None, None) => self.overloaded(),
        }
    }

    #[inline]
    fn submit(&mut self, deadline: Deadline, now: Instant, waker: &Waker) -> Poll<Reply> {
        let Some(server) = &self.server else { return self.finish(no_server()) };
        let slot = Slot::Waiting(waker.clone());
        match server.connection(self.conn).submit(&self.request, deadline, slot, now, None) {
            Submitted::InFlight { flight, needs_attention } => self.in_flight(flight, needs_attention, waker),
            Submitted::Full if server.overload() == Overload::Wait => self.wait(deadline, waker),
            Submitted::Full | Submitted::NoReply { .. } => self.overloaded(),
            Submitted::Refused(reply) => self.refused(reply, deadline, now, waker),
        }
    }

    #[inline]
    fn in_flight(&mut self, flight: Flight, needs_attention: bool, waker: &Waker) -> Poll<Reply> {
        self.state = CallState::InFlight(flight);
        if needs_attention { self.ensure_task(waker) } else { Poll::Pending }
    }

    /// Starts the connection's task or registers the deadline with the watchdog, once the request is in flight.
    #[cold]
    fn ensure_task(&mut self, waker: &Waker) -> Poll<Reply> {
        let (Some(server), CallState::InFlight(flight)) = (&self.server, &self.state) else { return Poll::Pending };
        match server.ensure_task(self.conn) {
            Ok(()) => self.poll_in_flight(waker, take_reply),
            Err(reply) => {
                server.connection(self.conn).abandon(*flight);
                self.finish(reply)
            }
        }
    }

    /// Polls for the reply of a request in flight, as [`poll_into`](Self::poll_into) does.
    #[inline]
    fn poll_in_flight<T>(&mut self, waker: &Waker, take: impl FnOnce(&mut Reply) -> T) -> Poll<T> {
        let (Some(server), CallState::InFlight(flight)) = (&self.server, &self.state) else { return Poll::Pending };
        let mut interrupted = None;
        let is_observed = self.observation.is_some();
        let mut summary = None;
        let take = |reply: &mut Reply, established: &_| {
            if is_observed {
                summary = Some(Summary::of(reply, established));
            }
            take(reply)
        };
        let polled = server.connection(self.conn).poll_reply(*flight, waker, &mut interrupted, take);
        if polled.is_pending() {
            if let Some(reply) = interrupted {
                self.resume(reply, waker);
            }
            return Poll::Pending;
        }
        self.state = CallState::Done;
        if let Some(summary) = summary {
            self.observe_end(summary);
        }
        polled
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
        self.state = CallState::Done;
        let Some(server) = &self.server else { return Poll::Ready(reply) };
        // Retries that the settings allow are made by the router, which records what may have been executed before.
        let is_safe = !reply.status.may_have_executed() || may_repeat(&self.request, &Retries::none());
        let now = Instant::now();
        match self.deadline {
            Some(deadline) if is_safe && now.into_std() < deadline.at => {
                self.conn = server.next_conn();
                self.submit(deadline, now, waker)
            }
            _ => self.finish(reply),
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
        self.state = CallState::Yielding(Box::new(reply));
    }

    /// Tries another connection of the server if this one is lost.
    #[cold]
    fn refused(&mut self, reply: Reply, deadline: Deadline, now: Instant, waker: &Waker) -> Poll<Reply> {
        let is_lost = matches!(reply.status, Status::Disconnected(_));
        let Some(server) = self.server.as_ref().filter(|_| is_lost) else { return self.finish(reply) };
        let Some(other) = server.other_conn(self.conn) else { return self.finish(reply) };
        let slot = Slot::Waiting(waker.clone());
        match server.connection(other).submit(&self.request, deadline, slot, now, None) {
            Submitted::InFlight { flight, needs_attention } => {
                self.conn = other;
                self.in_flight(flight, needs_attention, waker)
            }
            _ => self.finish(reply),
        }
    }

    #[cold]
    fn overloaded(&mut self) -> Poll<Reply> {
        if let Some(server) = &self.server {
            server.connection(self.conn).count_overloaded(1);
        }
        self.finish(Reply::new(Status::Overloaded))
    }

    #[cold]
    fn wait(&mut self, deadline: Deadline, waker: &Waker) -> Poll<Reply> {
        let Some(server) = &self.server else { return self.finish(no_server()) };
        let length = self.request.value().len();
        let wait = CapacityWait::new(server.connection(self.conn), length, Instant::from_std(deadline.at), waker);
        self.state = CallState::WaitingForCapacity(Box::new(wait));
        self.poll_capacity(waker)
    }

    fn poll_capacity(&mut self, waker: &Waker) -> Poll<Reply> {
        loop {
            let (Some(server), CallState::WaitingForCapacity(wait)) = (&self.server, &mut self.state) else {
                return Poll::Pending;
            };
            let ticket = ready!(wait.poll(&mut Context::from_waker(waker)));
            let (Some(deadline), Some(_)) = (self.deadline, ticket) else { return self.overloaded() };
            let (slot, now) = (Slot::Waiting(waker.clone()), Instant::now());
            self.observation.submitted(now);
            match server.connection(self.conn).submit(&self.request, deadline, slot, now, ticket) {
                Submitted::InFlight { flight, needs_attention } => {
                    return self.in_flight(flight, needs_attention, waker);
                }
                Submitted::Refused(reply) => return self.refused(reply, deadline, now, waker),
                // Another caller was faster.
                Submitted::Full | Submitted::NoReply { .. } => {}
            }
        }
    }

    /// Ends the call with a reply.
    fn finish(&mut self, reply: Reply) -> Poll<Reply> {
        self.state = CallState::Done;
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
        if let (Some(server), CallState::InFlight(flight)) = (&self.server, &self.state) {
            server.connection(self.conn).abandon(*flight);
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
