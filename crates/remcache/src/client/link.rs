//! The half of a connection that callers and its driver share: the machine, and who waits.
//!
//! A caller takes the lock for some tens of nanoseconds: it encodes straight into the shared
//! output, takes a slot, and wakes the driver only if that sleeps. The driver settles all replies
//! that one read gave under one lock, and wakes the callers after. No lock is held across I/O.

use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Poll, Waker};
use std::time::SystemTime;

use bytes::Bytes;
use slab::Slab;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::slot::Slot;
use crate::proto::{
    Connection, Deadline, Delivery, Event, InputBuffer, InvalidRequest, Limits, Output, ProtocolError, Rejected, Reply,
    Request, Status, Tag, Ticket,
};

/// The shared half of one connection.
#[derive(Debug)]
pub(crate) struct Link {
    state: Mutex<Inner>,
    /// Wakes callers that wait for room in the queue.
    room: Notify,
    /// Wakes whoever waits until the connection's task has ended.
    ended: Notify,
}

#[derive(Debug)]
struct Inner {
    machine: Connection,
    slots: Slab<Slot>,
    /// The driver's waker while it sleeps.
    driver: Option<Waker>,
    condition: Condition,
    since: SystemTime,
    /// Why requests fail at once, if they do.
    refusal: Option<Bytes>,
    /// Whether the connection's task runs.
    running: bool,
    /// How many callers wait for room.
    waiting_for_room: usize,
    /// Whether a protocol reply came since the connection was opened.
    replied: bool,
}

/// The state of a server, and since when.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct State {
    /// What the server is to us now.
    pub condition: Condition,
    /// Since when.
    pub since: SystemTime,
}

/// What a server is to us.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Condition {
    /// Nothing was asked yet, or the server closed an idle connection: the next request connects.
    Idle,
    /// A connection is being opened; requests wait for it.
    Connecting,
    /// A connection is open.
    Connected,
    /// Known to be down, for this reason: requests fail at once until the server is back.
    Down(String),
    /// The client was closed, or the server left its list: requests fail at once.
    Closed,
}

impl Condition {
    /// Why requests fail at once, if they do.
    fn refusal(&self) -> Option<Bytes> {
        match self {
            Self::Idle | Self::Connecting | Self::Connected => None,
            Self::Down(reason) => Some(Bytes::copy_from_slice(reason.as_bytes())),
            Self::Closed => Some(Bytes::from_static(b"the client was closed, or the server left its list")),
        }
    }
}

/// What became of an attempt to submit.
#[derive(Debug)]
pub(crate) enum Submitted {
    /// The request is in flight; `start` asks the caller to start the connection's task.
    InFlight {
        /// The caller's hold on it.
        flight: Flight,
        /// Whether the connection has no task yet.
        start: bool,
    },
    /// The request is in flight, and nobody waits for it.
    Cast {
        /// Whether the connection has no task yet.
        start: bool,
    },
    /// The outcome is known without asking.
    Refused(Reply),
    /// The limits are reached.
    Full,
}

/// A caller's hold on its request in flight.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flight {
    pub(crate) slot: usize,
    ticket: Ticket,
}

/// A run of requests that was taken.
#[derive(Debug)]
pub(crate) struct TakenRun {
    /// How many requests were taken, refused ones included.
    pub(crate) taken: u32,
    /// Those that had their outcome without being sent, by their place in the run.
    pub(crate) refused: Vec<(u32, Reply)>,
    /// Where the replies come, if any was sent.
    pub(crate) slot: Option<usize>,
    /// Whether the connection has no task yet.
    pub(crate) start: bool,
}

/// What the driver's task has to do next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Demand {
    /// Something waits to be sent.
    Work,
    /// The link was closed and nothing is in flight.
    End,
}

/// Tags: the slot in the low half, the place within a run in the high half.
fn tag(slot: usize, place: u32) -> Tag {
    Tag(slot as u64 | u64::from(place) << 32)
}

fn slot_and_place(tag: Tag) -> (usize, u32) {
    ((tag.0 & u64::from(u32::MAX)) as usize, (tag.0 >> 32) as u32)
}

impl Link {
    pub(crate) fn new(limits: Limits, first_opaque: u32) -> Self {
        let state = Inner {
            machine: Connection::new(limits, first_opaque, Instant::now().into_std()),
            slots: Slab::new(),
            driver: None,
            condition: Condition::Idle,
            since: SystemTime::now(),
            refusal: None,
            running: false,
            waiting_for_room: 0,
            replied: false,
        };
        Self { state: Mutex::new(state), room: Notify::new(), ended: Notify::new() }
    }

    #[inline]
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic while the lock was held would be a bug of ours; the state stays consistent
        // between statements, so going on is better than poisoning every caller.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    // ---- Callers ----

    /// Submits one request whose reply goes to a slot.
    #[inline]
    pub(crate) fn submit(&self, request: &Request<'_>, deadline: Deadline, slot: Slot, now: Instant) -> Submitted {
        let mut state = self.lock();
        let entry = match state.admit() {
            Ok(()) => state.slots.vacant_key(),
            Err(reply) => return Submitted::Refused(reply),
        };
        match state.machine.submit(request, Some(tag(entry, 0)), deadline, now.into_std()) {
            Ok(ticket) => {
                state.slots.insert(slot);
                let start = !state.running;
                wake(state);
                Submitted::InFlight { flight: Flight { slot: entry, ticket }, start }
            }
            Err(rejected) => refused(rejected),
        }
    }

    /// Submits a request whose reply nobody waits for.
    pub(crate) fn cast(&self, request: &Request<'_>, deadline: Deadline, now: Instant) -> Submitted {
        let mut state = self.lock();
        if let Err(reply) = state.admit() {
            return Submitted::Refused(reply);
        }
        match state.machine.submit(request, None, deadline, now.into_std()) {
            Ok(_) => {
                let start = !state.running;
                wake(state);
                Submitted::Cast { start }
            }
            Err(rejected) => refused(rejected),
        }
    }

    /// Submits requests as one run, as many as there is room for; all replies go to one slot.
    #[inline]
    pub(crate) fn submit_run<'r>(
        &self,
        requests: impl Iterator<Item = Request<'r>>,
        deadline: Deadline,
        now: Instant,
    ) -> TakenRun {
        let mut state = self.lock();
        let slot = state.slots.vacant_key();
        let mut run = TakenRun { taken: 0, refused: Vec::new(), slot: None, start: false };
        for request in requests {
            let admitted = state.admit().map_err(Some);
            let submitted = admitted.and_then(|()| {
                let submitted = state.machine.submit(&request, Some(tag(slot, run.taken)), deadline, now.into_std());
                submitted.map_err(|rejected| match rejected {
                    Rejected::Invalid(invalid) => Some(invalid_reply(&invalid)),
                    _ => None,
                })
            });
            match submitted {
                Ok(_) => {}
                Err(Some(reply)) => run.refused.push((run.taken, reply)),
                Err(None) => break,
            }
            run.taken += 1;
        }
        let sent = run.taken - u32::try_from(run.refused.len()).unwrap_or(run.taken);
        if sent > 0 {
            run.slot = Some(state.slots.insert(Slot::run(sent)));
            run.start = !state.running;
            wake(state);
        }
        run
    }

    /// The reply of a single request, when it is there; the slot is free then.
    #[inline]
    pub(crate) fn poll_reply(&self, slot: usize, waker: &Waker) -> Poll<Reply> {
        let mut state = self.lock();
        let ready = state.slots.get_mut(slot).is_none_or(|slot| slot.poll(waker));
        if !ready {
            return Poll::Pending;
        }
        match state.slots.try_remove(slot) {
            Some(Slot::Ready(reply)) => Poll::Ready(reply),
            _ => Poll::Ready(Reply::new(Status::InternalError)),
        }
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
        state.machine.abandon(flight.ticket, Instant::now().into_std());
        state.slots.try_remove(flight.slot);
        // The driver may have to watch how many were given up.
        wake(state);
    }

    /// Gives up what is left of a run.
    pub(crate) fn abandon_run(&self, slot: usize) {
        let mut state = self.lock();
        let now = Instant::now().into_std();
        state.machine.abandon_where(|tag| slot_and_place(tag).0 == slot, now);
        state.slots.try_remove(slot);
        wake(state);
    }

    /// Waits until there may be room for a value of this length; the caller limits how long.
    ///
    /// # Cancellation
    /// A place that was offered to a dropped waiter goes to the next one.
    pub(crate) async fn wait_for_room(self: Arc<Self>, length: usize) {
        let mut notified = std::pin::pin!(self.room.notified());
        notified.as_mut().enable();
        let _waiting = WaitingForRoom::new(&self);
        // Room that came before we were counted was offered to nobody.
        if !self.has_room(length) {
            notified.await;
        }
    }

    fn has_room(&self, length: usize) -> bool {
        let state = self.lock();
        state.refusal.is_some() || state.machine.has_room(length)
    }

    /// Whether requests are taken.
    pub(crate) fn is_usable(&self) -> bool {
        self.lock().refusal.is_none()
    }

    /// What the server is to us, and since when.
    pub(crate) fn state(&self) -> State {
        let state = self.lock();
        State { condition: state.condition.clone(), since: state.since }
    }

    /// Counts: unanswered requests, and slots that callers hold.
    pub(crate) fn load(&self) -> (usize, usize) {
        let state = self.lock();
        (state.machine.in_flight(), state.slots.len())
    }

    // ---- The task ----

    /// Whether the task must be started; it counts as running from then on.
    pub(crate) fn claim_task(&self) -> bool {
        let mut state = self.lock();
        let idle = state.machine.in_flight() == 0;
        !idle && !std::mem::replace(&mut state.running, true)
    }

    /// Tells that the task has ended: nothing is left unanswered.
    pub(crate) fn task_ended(&self, reason: &str) {
        self.disconnect(reason);
        self.lock().running = false;
        self.ended.notify_waiters();
    }

    /// Waits until the task has ended.
    pub(crate) async fn wait_for_end(&self) {
        let ended = self.ended.notified();
        let mut ended = std::pin::pin!(ended);
        ended.as_mut().enable();
        if self.lock().running {
            ended.await;
        }
    }

    /// What there is to do while no connection is open; remembers the waker if nothing.
    pub(crate) fn poll_demand(&self, waker: &Waker) -> Poll<Demand> {
        let mut state = self.lock();
        match (&state.condition, state.machine.in_flight()) {
            (Condition::Closed, 0) => Poll::Ready(Demand::End),
            (_, 1..) => Poll::Ready(Demand::Work),
            _ => {
                state.driver = Some(waker.clone());
                Poll::Pending
            }
        }
    }

    /// Whether nobody waits for anything.
    pub(crate) fn is_quiet(&self) -> bool {
        self.lock().machine.awaited() == 0
    }

    /// Whether the link was closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.lock().condition == Condition::Closed
    }

    /// Begins a connection that is open now: silence is counted from here.
    pub(crate) fn connected(&self, now: Instant) {
        let mut state = self.lock();
        state.replied = false;
        state.machine.handle_received(now.into_std());
    }

    /// Asks the server for a sign of life, before any caller's request is let through.
    pub(crate) fn probe(&self, deadline: Deadline, now: Instant) {
        let mut state = self.lock();
        // With nothing in flight there is room for one no-op.
        let _ = state.machine.submit(&Request::noop(), None, deadline, now.into_std());
    }

    /// Says what the server is to us from now on; what is closed stays closed.
    pub(crate) fn set(&self, condition: Condition) {
        let mut state = self.lock();
        if state.condition == Condition::Closed || state.condition == condition {
            return;
        }
        state.refusal = condition.refusal();
        state.condition = condition;
        state.since = SystemTime::now();
        // Whoever waits for room may learn that there is none to wait for.
        wake(state);
        self.room.notify_waiters();
    }

    /// Ends everything in flight: the connection is gone. Tells whether anything was.
    pub(crate) fn disconnect(&self, reason: &str) -> bool {
        let mut state = self.lock();
        let busy = state.machine.awaited() > 0;
        state.machine.close(&Bytes::copy_from_slice(reason.as_bytes()), Instant::now().into_std());
        let mut wakers = Vec::new();
        state.settle(&mut InputBuffer::new(), &mut wakers).ok();
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
        self.room.notify_waiters();
        busy
    }

    // ---- The driver of an open connection ----

    /// Moves what is to be written into `output`, which is empty.
    pub(crate) fn take_output(&self, output: &mut Output) {
        let mut state = self.lock();
        if state.machine.has_output() {
            state.machine.take_output(output);
        }
    }

    /// Tells that the socket took bytes.
    pub(crate) fn handle_written(&self, count: usize) {
        let mut state = self.lock();
        state.machine.handle_written(count);
        let waiting = state.waiting_for_room;
        drop(state);
        self.offer_room(waiting.min(1));
    }

    /// Settles every complete reply of the input, and collects who is to be woken.
    pub(crate) fn settle(
        &self,
        input: &mut InputBuffer,
        now: Instant,
        wakers: &mut Vec<Waker>,
    ) -> Result<(), ProtocolError> {
        let mut state = self.lock();
        state.machine.handle_received(now.into_std());
        let before = state.machine.in_flight();
        let outcome = state.settle(input, wakers);
        let freed = before.saturating_sub(state.machine.in_flight());
        state.replied |= freed > 0;
        let waiting = state.waiting_for_room;
        drop(state);
        self.offer_room(waiting.min(freed));
        outcome
    }

    fn offer_room(&self, places: usize) {
        for _ in 0..places {
            self.room.notify_one();
        }
    }

    /// Gives up what is due.
    pub(crate) fn handle_timeout(&self, now: Instant, wakers: &mut Vec<Waker>) -> Result<(), ProtocolError> {
        let mut state = self.lock();
        let outcome = state.machine.handle_timeout(now.into_std());
        state.settle(&mut InputBuffer::new(), wakers)?;
        outcome
    }

    /// Gives up what is due while no connection is open, and tells when to look again.
    pub(crate) fn expire(&self, now: Instant, wakers: &mut Vec<Waker>) -> Option<Instant> {
        let mut state = self.lock();
        if state.machine.earliest_deadline().is_some_and(|at| at <= now.into_std()) {
            state.machine.give_up(now.into_std());
            state.settle(&mut InputBuffer::new(), wakers).ok();
        }
        state.machine.earliest_deadline().map(Instant::from_std)
    }

    /// Remembers the driver's waker, unless there is something to write.
    pub(crate) fn park(&self, waker: &Waker, can_write: bool) -> Parked {
        let mut state = self.lock();
        if can_write && state.machine.has_output() {
            return Parked::HasOutput;
        }
        if state.condition == Condition::Closed && state.machine.in_flight() == 0 {
            return Parked::Finished;
        }
        match &mut state.driver {
            Some(known) if known.will_wake(waker) => {}
            driver => *driver = Some(waker.clone()),
        }
        Parked::Until(state.machine.poll_timeout().map(Instant::from_std))
    }

    /// Whether a protocol reply came since the connection was opened.
    pub(crate) fn has_replied(&self) -> bool {
        self.lock().replied
    }

    /// Gives back memory that an idle connection does not need; whether it is idle.
    pub(crate) fn shrink(&self) -> bool {
        let mut state = self.lock();
        let idle = state.machine.in_flight() == 0;
        if idle {
            state.machine.shrink();
            state.slots.shrink_to_fit();
        }
        idle
    }
}

/// What the driver does next.
#[derive(Debug)]
pub(crate) enum Parked {
    /// There is something to write.
    HasOutput,
    /// The link was closed and nothing is in flight.
    Finished,
    /// It sleeps, until this instant at the latest.
    Until(Option<Instant>),
}

impl Inner {
    #[inline]
    fn admit(&self) -> Result<(), Reply> {
        match &self.refusal {
            None => Ok(()),
            Some(reason) => Err(Reply::disconnected(Delivery::NotSent, reason.clone())),
        }
    }

    #[inline]
    fn settle(&mut self, input: &mut InputBuffer, wakers: &mut Vec<Waker>) -> Result<(), ProtocolError> {
        while let Some(Event { tag, reply, last, .. }) = self.machine.poll_event(input)? {
            let (slot, place) = slot_and_place(tag);
            if let Some(slot) = self.slots.get_mut(slot) {
                wakers.extend(slot.settle(place, reply, last));
            }
        }
        Ok(())
    }
}

/// Lets go of the lock, then wakes the driver if it sleeps.
#[inline]
fn wake(mut state: MutexGuard<'_, Inner>) {
    let driver = state.driver.take();
    drop(state);
    if let Some(driver) = driver {
        driver.wake();
    }
}

fn refused(rejected: Rejected) -> Submitted {
    match rejected {
        Rejected::Invalid(invalid) => Submitted::Refused(invalid_reply(&invalid)),
        _ => Submitted::Full,
    }
}

/// The reply to a request that cannot be sent.
pub(crate) fn invalid_reply(invalid: &InvalidRequest) -> Reply {
    let status = match invalid {
        InvalidRequest::ValueTooLarge { .. } => Status::ValueTooLarge,
        InvalidRequest::Unsupported(_) => Status::Unsupported,
        _ => Status::InvalidArguments,
    };
    Reply::with_text(status, invalid.to_string())
}

/// Counts a caller that waits for room, for as long as it does.
struct WaitingForRoom<'a>(&'a Link);

impl<'a> WaitingForRoom<'a> {
    fn new(link: &'a Link) -> Self {
        link.lock().waiting_for_room += 1;
        Self(link)
    }
}

impl Drop for WaitingForRoom<'_> {
    fn drop(&mut self) {
        self.0.lock().waiting_for_room -= 1;
    }
}
