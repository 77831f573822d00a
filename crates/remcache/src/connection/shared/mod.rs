//! The half of a connection that callers and its driver share: the state machine, and who waits.
//!
//! A caller holds the lock for as long as encoding takes: it encodes straight into the shared
//! output, takes a slot, and wakes the driver only if that sleeps. The driver settles all replies
//! that one read gave under one lock, and wakes the callers after. No lock is held across I/O.

pub(crate) mod capacity;
#[cfg(all(test, shuttle))]
pub(crate) mod concurrency_tests;
pub(crate) mod flight;
mod lifecycle;
pub(crate) mod task_side;

use std::ops::DerefMut;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::SystemTime;

use bytes::Bytes;
use slab::Slab;
use tokio::runtime;
use tokio::sync::Notify;
use tokio::time::Instant;

pub(crate) use crate::connection::shared::capacity::Queued;
pub(crate) use crate::connection::shared::flight::{Flight, Submitted, TakenRun};
pub(crate) use crate::connection::shared::task_side::{Demand, Parked, TaskHandle};

use self::lifecycle::TaskState;
use super::slot::Slot;
use super::wait_queue::{self, WaitQueue};
use crate::config::{Config, Overload};
use crate::connection::shared::flight::{refused, slot_and_place, tag};
use crate::connection::sync::{Mutex, MutexGuard, lock};
use crate::health::events::HealthMonitor;
use crate::health::metrics::ConnCounters;
use crate::health::state::{ConnectionState, ServerStatus};
use crate::observe::Established;
use crate::policy::Breaker;
use crate::proto::{
    Connection, Deadline, Delivery, Event, InputBuffer, Protocol, ProtocolError, Rejected, Reply, Request,
    ServerVersion, Status,
};
use crate::result::take_reply;

/// The shared half of one connection.
#[derive(Debug)]
pub(crate) struct ConnectionHandle {
    state: Mutex<Inner>,
    /// How many plain gets may leave as one line, where the protocol is one of lines.
    keys_in_line: usize,
    /// How many requests may be in flight, and how many bytes may wait to be written.
    limits: (usize, usize),
    /// Whether callers that come later queue up after those that wait.
    is_queued: bool,
    /// Its index among the connections of its server, and the monitor of its state.
    place: usize,
    watch: Arc<HealthMonitor>,
    /// Wakes callers that wait until requests are accepted again.
    turned: Notify,
    /// Wakes callers that wait for the connection's task to end.
    ended: Notify,
}

/// What the lock guards.
#[derive(Debug)]
pub(crate) struct Inner {
    connection: Connection,
    slots: Slab<Slot>,
    /// The driver's waker while it sleeps.
    driver: Option<Waker>,
    condition: ConnectionState,
    since: SystemTime,
    /// Why requests fail at once, if they do.
    refusal: Option<Bytes>,
    /// The status that says so, where it is more than being disconnected.
    refused_as: Option<Status>,
    /// Whether the server wanted an authentication that the connection does not have.
    auth_required: bool,
    task: TaskState,
    /// The process that started the task: after a fork the child has its memory, and not its thread.
    process: u32,
    /// The runtime of the task.
    runtime: Option<runtime::Id>,
    /// When the task will have run again, while it has no deadlines because the server is down.
    acts_by: Option<std::time::Instant>,
    /// How often a task has ended.
    ends: u32,
    /// What the watchdog looks at next; `None` if nothing is in flight.
    watched: Option<Watched>,
    /// What the watchdog had to do because the task was late.
    unattended: Option<Unattended>,
    /// Callers that wait for capacity.
    queue: WaitQueue,
    /// Whether a protocol reply came since the connection was opened.
    replied: bool,
    /// Whether a caller's request was answered since the connection was opened: probes do not count.
    answered: bool,
    breaker: Breaker,
    counters: ConnCounters,
    /// How often the connection failed, or could not be had.
    failures: u64,
    /// What is reported of the connection.
    established: Established,
    /// The certificate that the server presented at the last TLS handshake, in DER.
    certificate: Option<Vec<u8>>,
}

/// The deadline that the watchdog knows of.
#[derive(Clone, Copy, Debug)]
struct Watched {
    due: std::time::Instant,
    /// If nothing has happened until then, there is no watchdog: it does not survive a fork.
    stale: std::time::Instant,
}

/// Deadlines that passed without the task.
#[derive(Clone, Copy, Debug)]
struct Unattended {
    /// The first of them.
    since: std::time::Instant,
    timeouts: u64,
}

impl ConnectionHandle {
    /// A link of the client's protocol; where the protocol has to be found out, requests wait for that.
    pub(crate) fn new(config: &Config, first_opaque: u32, place: usize, watch: Arc<HealthMonitor>) -> Self {
        let now = Instant::now().into_std();
        let state = Inner {
            connection: match config.protocol.forced() {
                Some(protocol) => {
                    Connection::speaking(protocol, ServerVersion::default(), config.limits, first_opaque, now)
                }
                None => Connection::undecided(config.limits, first_opaque, now),
            },
            slots: Slab::new(),
            driver: None,
            condition: ConnectionState::Idle,
            since: SystemTime::now(),
            refusal: None,
            refused_as: None,
            auth_required: false,
            task: TaskState::None,
            process: 0,
            runtime: None,
            acts_by: None,
            ends: 0,
            watched: None,
            unattended: None,
            queue: WaitQueue::default(),
            replied: false,
            answered: false,
            breaker: Breaker::new(config.breaker, config.timeout, watch.row()),
            counters: ConnCounters::default(),
            failures: 0,
            established: Established::default(),
            certificate: None,
        };
        Self {
            state: Mutex::new(state),
            keys_in_line: config.keys_in_line,
            limits: (config.limits.in_flight, config.limits.output),
            is_queued: config.overload == Overload::Wait,
            place,
            watch,
            ended: Notify::new(),
            turned: Notify::new(),
        }
    }

    #[inline]
    fn lock(&self) -> MutexGuard<'_, Inner> {
        lock(&self.state)
    }

    /// Submits one request whose reply goes to a slot; with the ticket of a caller that has queued up.
    #[inline]
    pub(crate) fn submit(
        &self,
        request: &Request<'_>,
        deadline: Deadline,
        slot: Slot,
        now: Instant,
        ticket: Option<wait_queue::Ticket>,
    ) -> Submitted {
        let mut state = self.lock();
        let entry = match state.admit() {
            Ok(()) => state.slots.vacant_key(),
            Err(reply) => return Submitted::Refused(reply),
        };
        if self.has_to_queue(&state, ticket, now) {
            return Submitted::Full;
        }
        match state.connection.submit(request, Some(tag(entry, 0)), deadline, now.into_std()) {
            Ok(ticket) => {
                state.slots.insert(slot);
                state.counters.submitted(tag(entry, 0), now);
                let attend = state.needs_attention(deadline, now);
                let flight = Flight { slot: entry, ticket, ends: state.ends };
                wake(state);
                Submitted::InFlight { flight, attend }
            }
            Err(rejected) => refused(rejected),
        }
    }

    /// Submits a request whose reply is discarded.
    pub(crate) fn cast(&self, request: &Request<'_>, deadline: Deadline, now: Instant) -> Submitted {
        let mut state = self.lock();
        if let Err(reply) = state.admit() {
            return Submitted::Refused(reply);
        }
        if self.has_to_queue(&state, None, now) {
            return Submitted::Full;
        }
        match state.connection.submit(request, None, deadline, now.into_std()) {
            Ok(_) => {
                let attend = !state.is_attended();
                wake(state);
                Submitted::Cast { attend }
            }
            Err(rejected) => refused(rejected),
        }
    }

    /// Submits `count` requests as one batch, as many as there is capacity for; all replies
    /// go to one slot.
    #[inline]
    pub(crate) fn submit_run<'r>(
        &self,
        count: usize,
        request: impl Fn(usize) -> Request<'r>,
        deadline: Deadline,
        now: Instant,
        ticket: Option<wait_queue::Ticket>,
    ) -> TakenRun {
        let mut state = self.lock();
        let slot = state.slots.vacant_key();
        let mut run = TakenRun { taken: 0, refused: Vec::new(), slot: None, attend: false, ends: state.ends };
        if state.refusal.is_none() && self.has_to_queue(&state, ticket, now) {
            return run;
        }
        state.connection.begin_batch(count);
        for place in 0..count {
            let request = request(place);
            if let Err(reply) = state.admit() {
                run.refused.push((run.taken, reply));
            } else {
                match state.connection.submit(&request, Some(tag(slot, run.taken)), deadline, now.into_std()) {
                    Ok(_) => {}
                    Err(Rejected::Invalid(invalid)) => run.refused.push((run.taken, Reply::invalid(&invalid))),
                    Err(_) => break,
                }
            }
            run.taken += 1;
        }
        state.connection.begin_batch(0);
        let sent = run.taken - u32::try_from(run.refused.len()).unwrap_or(run.taken);
        if sent > 0 {
            run.slot = Some(state.slots.insert(Slot::run(sent)));
            state.counters.submitted(tag(slot, 0), now);
            run.attend = state.needs_attention(deadline, now);
            wake(state);
        }
        run
    }

    /// Polls for the reply to a single request, and returns what `take` makes of it; the slot is free then.
    ///
    /// If the request ended with the connection's task, its reply goes to `interrupted` instead, and the
    /// result is pending: the caller may send the request again, and will not be woken.
    #[inline]
    pub(crate) fn poll_reply<T>(
        &self,
        flight: Flight,
        waker: &Waker,
        interrupted: &mut Option<Reply>,
        take: impl FnOnce(&mut Reply, &Established) -> T,
    ) -> Poll<T> {
        let mut state = self.lock();
        let state = &mut *state;
        let has_task_ended = state.has_task_ended(flight.ends);
        let Some(slot) = state.slots.get_mut(flight.slot) else {
            return Poll::Ready(take(&mut lost(), &state.established));
        };
        if !slot.poll(waker) {
            return Poll::Pending;
        }
        let taken = match slot {
            Slot::Ready(reply) if has_task_ended && is_disconnected(reply) => {
                *interrupted = Some(take_reply(reply));
                Poll::Pending
            }
            Slot::Ready(reply) => Poll::Ready(take(reply, &state.established)),
            _ => Poll::Ready(take(&mut lost(), &state.established)),
        };
        state.slots.try_remove(flight.slot);
        taken
    }

    /// Whether this is the reply to a request that ended with the connection's task, and that was
    /// submitted when `ends` tasks had ended.
    pub(crate) fn is_interrupted(&self, ends: u32, reply: &Reply) -> bool {
        is_disconnected(reply) && self.lock().has_task_ended(ends)
    }

    /// Takes what replies of a run are there, by swapping them for an empty list; whether they are
    /// the last, when the slot is free.
    pub(crate) fn poll_run(&self, slot: usize, replies: &mut Vec<(u32, Reply)>, waker: &Waker) -> Poll<bool> {
        let mut state = self.lock();
        let Some(entry) = state.slots.get_mut(slot) else { return Poll::Ready(true) };
        if !entry.poll(waker) {
            return Poll::Pending;
        }
        let Slot::Run(run) = entry else { return Poll::Ready(true) };
        std::mem::swap(&mut run.replies, replies);
        let ended = run.unanswered == 0;
        if ended {
            state.slots.try_remove(slot);
        }
        Poll::Ready(ended)
    }

    /// The next of many replies; `None` after the last, when the slot is free.
    pub(crate) fn poll_next(&self, slot: usize, waker: &Waker) -> Poll<Option<Reply>> {
        let mut state = self.lock();
        let Some(Slot::Many(many)) = state.slots.get_mut(slot) else { return Poll::Ready(None) };
        match many.next(waker) {
            Poll::Ready(None) => {
                state.slots.try_remove(slot);
                Poll::Ready(None)
            }
            other => other,
        }
    }

    /// Gives up one request: its reply will be read and thrown away.
    pub(crate) fn abandon(&self, flight: Flight) {
        let mut state = self.lock();
        state.connection.abandon(flight.ticket, Instant::now().into_std());
        state.counters.abandoned(|tag| slot_and_place(tag).0 == flight.slot);
        state.slots.try_remove(flight.slot);
        // The driver may have to watch how many were given up.
        wake(state);
    }

    /// Gives up what is left of a run.
    pub(crate) fn abandon_run(&self, slot: usize) {
        let mut state = self.lock();
        let now = Instant::now().into_std();
        state.connection.abandon_where(|tag| slot_and_place(tag).0 == slot, now);
        state.counters.abandoned(|tag| slot_and_place(tag).0 == slot);
        state.slots.try_remove(slot);
        wake(state);
    }

    /// Closes the connection: it takes no more requests, and those in flight end as they would.
    pub(crate) fn close(&self) {
        self.change(self.lock(), ConnectionState::Closed, None);
    }

    /// Whether the connection was closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.lock().condition == ConnectionState::Closed
    }

    /// See [`TaskHandle::set_state`]; requests that are refused from now on have the given status.
    fn change(&self, mut state: MutexGuard<'_, Inner>, condition: ConnectionState, refused_as: Option<Status>) -> bool {
        if condition.is_down() {
            state.failures += 1;
            self.turned.notify_waiters();
        }
        if state.condition == ConnectionState::Closed || state.condition == condition {
            return false;
        }
        let is_news = !(state.condition.is_down() && condition.is_down());
        if is_news {
            state.since = SystemTime::now();
        }
        state.refusal = condition.refusal();
        state.refused_as = refused_as;
        if !condition.is_down() {
            state.acts_by = None;
        }
        state.condition = condition.clone();
        // Callers that wait for capacity are refused as well.
        let mut wakers = Vec::new();
        self.notify_queue(&mut state, Instant::now(), &mut wakers);
        wake(state);
        wakers.into_iter().for_each(Waker::wake);
        self.turned.notify_waiters();
        self.watch.changed(self.place, condition);
        is_news
    }

    /// What the connection speaks; `None` while that is not known.
    pub(crate) fn protocol(&self) -> Option<Protocol> {
        self.lock().connection.protocol()
    }

    /// Waits until requests are taken again; `false` if the next attempt to connect fails, or there
    /// will be none. The caller limits how long.
    pub(crate) async fn wait_for_return(&self) -> bool {
        let failures = self.lock().failures;
        loop {
            let mut turned = std::pin::pin!(self.turned.notified());
            turned.as_mut().enable();
            {
                let state = self.lock();
                if state.refusal.is_none() {
                    return true;
                }
                if state.condition == ConnectionState::Closed || state.failures != failures {
                    return false;
                }
            }
            turned.await;
        }
    }

    /// What is reported of the connection.
    pub(crate) fn established(&self) -> Established {
        self.lock().established
    }

    /// The certificate that the server presented at the last TLS handshake, in DER.
    pub(crate) fn peer_certificate(&self) -> Option<Vec<u8>> {
        self.lock().certificate.clone()
    }

    /// Whether requests are taken.
    pub(crate) fn is_usable(&self) -> bool {
        self.lock().refusal.is_none()
    }

    /// What the server is to us, and since when.
    pub(crate) fn state(&self) -> ServerStatus {
        let state = self.lock();
        ServerStatus { condition: state.condition.clone(), since: state.since }
    }

    /// Shows what was counted.
    pub(crate) fn with_counters<T>(&self, show: impl FnOnce(&ConnCounters) -> T) -> T {
        show(&self.lock().counters)
    }

    /// Counts requests that found no capacity.
    pub(crate) fn count_overloaded(&self, count: usize) {
        self.lock().counters.errors.overloaded += count as u64;
    }

    /// Counts: unanswered requests, and slots that callers hold.
    pub(crate) fn load(&self) -> (usize, usize) {
        let state = self.lock();
        (state.connection.in_flight(), state.slots.len())
    }
}

impl Inner {
    /// Whether a task of the connection has ended since `ends` had. A connection that was lost just before its task
    /// ended looks the same.
    #[inline]
    fn has_task_ended(&self, ends: u32) -> bool {
        self.ends != ends && self.condition != ConnectionState::Closed
    }

    /// Whether the caller has to start a task, or to notify the watchdog of its deadline.
    ///
    /// While all callers have the same timeout, that is about once per timeout.
    #[inline]
    fn needs_attention(&self, deadline: Deadline, now: Instant) -> bool {
        let is_watched =
            self.watched.is_some_and(|watched| watched.due <= deadline.at && now.into_std() <= watched.stale);
        !(self.is_attended() && is_watched)
    }

    /// Whether the connection has a task, and the task runs.
    #[inline]
    fn is_attended(&self) -> bool {
        matches!(self.task, TaskState::Running)
    }

    #[inline]
    fn admit(&mut self) -> Result<(), Reply> {
        match &self.refusal {
            None => Ok(()),
            Some(reason) => {
                self.counters.errors.refused += 1;
                let status = self.refused_as.unwrap_or(Status::Disconnected(Delivery::NotSent));
                Err(Reply::with_text(status, reason.clone()))
            }
        }
    }

    #[inline]
    fn settle(&mut self, input: &mut InputBuffer, now: Instant, wakers: &mut Vec<Waker>) -> Result<(), ProtocolError> {
        let from_server = !input.is_empty();
        while let Some(Event { tag, mut reply, last, .. }) = self.connection.poll_event(input)? {
            self.answered |= from_server;
            let (slot, place) = slot_and_place(tag);
            self.counters.settled(tag, reply.status, now);
            if reply.status == Status::AuthError {
                self.auth_required = true;
                reply.value = Bytes::from_static(NO_CREDENTIALS.as_bytes());
            }
            if let Some(slot) = self.slots.get_mut(slot) {
                wakers.extend(slot.settle(place, reply, last));
            }
        }
        Ok(())
    }
}

/// The advice for a server that requires a password.
pub(crate) const NO_CREDENTIALS: &str =
    "the server asks for a user and a password: give them by Config::credentials, or as user:password@ in a URL";

/// Lets go of the lock, then wakes the driver if it sleeps.
#[inline]
fn wake(mut state: impl DerefMut<Target = Inner>) {
    let driver = state.driver.take();
    drop(state);
    if let Some(driver) = driver {
        driver.wake();
    }
}

/// Whether a reply says that the connection was lost.
#[inline]
fn is_disconnected(reply: &Reply) -> bool {
    matches!(reply.status, Status::Disconnected(_))
}

/// No slot is taken away from its caller.
#[cold]
fn lost() -> Reply {
    Reply::new(Status::InternalError)
}
