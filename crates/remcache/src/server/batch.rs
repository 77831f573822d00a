//! The keys of one server within a call for many: sent as runs, a bounded number at a time.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::task::coop::consume_budget;
use tokio::time::Instant;

use crate::config::Overload;
use crate::connection::turn::Turn;
use crate::connection::wait_queue::Ticket;
use crate::error::ErrorKind;
use crate::observe::{Exchange, OperationName, Outcome, Scope};
use crate::policy::{Retries, may_repeat};
use crate::proto::{Deadline, Delivery, Protocol, Reply, Request, Status};
use crate::server::Server;
use crate::server::item_limit::ItemSettings;
use crate::time::after;

/// The keys of one server, as indices into the call's list.
pub(crate) struct ServerBatch {
    server: Arc<Server>,
    connection: usize,
    /// How long to wait for the next reply.
    timeout: Duration,
    indices: Vec<u32>,
    /// How many of `indices` were submitted.
    submitted: usize,
    /// Keys that are to be submitted again.
    again: Vec<u32>,
    runs: VecDeque<Run>,
    /// ReplyStream on their way from a slot to the call, in memory that is used again.
    replies: Vec<(u32, Reply)>,
    turn: Option<Turn>,
    /// The question for the server's item size limit.
    settings: Option<Pin<Box<dyn Future<Output = ItemSettings> + Send>>>,
    /// Whether the server was asked for its item size limit.
    has_asked_limit: bool,
    /// The status of everything not submitted, once the batch was given up.
    given_up: Option<Status>,
    /// Its report, once it has begun.
    exchange: Option<Exchange>,
}

/// A run in flight: its slot, and where its keys begin in `indices`.
struct Run {
    slot: usize,
    first: usize,
    count: usize,
    /// How often a task of the connection had ended before.
    ends: u32,
}

/// How many keys a run has at most, and how many runs are in flight: while one is answered, the
/// next is on its way.
const RUN_LENGTH: usize = 1024;
const RUNS_IN_FLIGHT: usize = 2;

/// The keys of a call: what each asks, and where its outcome goes.
pub(crate) trait Work {
    /// The request of the key at this place of the call's list.
    fn request(&self, index: usize) -> Request<'_>;
    /// Whether any of the requests may bring a value.
    fn may_store(&self) -> bool;
    /// Takes the outcome of the key at this place.
    fn settle(&mut self, index: usize, reply: Reply, server: &Arc<str>);
}

/// Drives all batches concurrently until every key has its result.
///
/// They are parts of the operation `scope`, if it is observed.
pub(crate) async fn drive(mut batches: Vec<ServerBatch>, work: &mut impl Work, scope: Option<&Arc<Scope>>) {
    if let Some(scope) = scope {
        batches.iter_mut().for_each(|batch| batch.observe(scope, work));
    }
    poll_fn(|cx| {
        let now = Instant::now();
        let mut pending = false;
        for batch in &mut batches {
            pending |= batch.poll(cx, now, work).is_pending();
        }
        if pending { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    // Calls whose outcome is known at once must let other tasks run.
    consume_budget().await;
}

impl ServerBatch {
    pub(crate) fn new(server: Arc<Server>, timeout: Duration) -> Self {
        let connection = server.next_conn();
        Self {
            server,
            connection,
            timeout,
            indices: Vec::new(),
            submitted: 0,
            again: Vec::new(),
            runs: VecDeque::new(),
            replies: Vec::new(),
            turn: None,
            settings: None,
            has_asked_limit: false,
            given_up: None,
            exchange: None,
        }
    }

    /// Puts a key, by its place in the call's list, behind the others.
    pub(crate) fn assign(&mut self, index: usize) {
        // More than 2^32 keys do not fit into memory together with their results.
        self.indices.push(u32::try_from(index).unwrap_or(u32::MAX));
    }

    /// Goes on as far as it can; ready when every key has its outcome.
    fn poll(&mut self, cx: &mut Context<'_>, now: Instant, work: &mut impl Work) -> Poll<()> {
        loop {
            self.collect(cx.waker(), work);
            let more = self.submitted < self.indices.len();
            if !more || self.runs.len() >= RUNS_IN_FLIGHT {
                break;
            }
            if !self.go_on(cx, now, work) {
                break;
            }
        }
        if !(self.runs.is_empty() && self.submitted == self.indices.len()) {
            return Poll::Pending;
        }
        if let Some(exchange) = self.exchange.take() {
            self.observe_end(exchange);
        }
        Poll::Ready(())
    }

    fn observe(&mut self, scope: &Arc<Scope>, work: &impl Work) {
        if let (Some(server), Some(first)) = (&self.server.observed, self.indices.first()) {
            let name = OperationName::of_many(work.request(*first as usize).operation());
            self.exchange = Some(scope.exchange(name, server, self.indices.len()));
        }
    }

    #[cold]
    fn observe_end(&self, exchange: Exchange) {
        let outcome = match self.given_up {
            Some(status) => Outcome::Failed(ErrorKind::of(status)),
            None => Outcome::Ok,
        };
        exchange.finish(outcome, self.server.link(self.connection).established(), self.given_up);
    }

    /// Takes the outcomes that have come.
    fn collect(&mut self, waker: &Waker, work: &mut impl Work) {
        let Self { server, connection, indices, again, runs, replies, given_up, exchange, .. } = self;
        let link = server.link(*connection);
        while let Some(run) = runs.front() {
            let Poll::Ready(ended) = link.poll_run(run.slot, replies, waker) else { break };
            let keys = indices.get(run.first..run.first + run.count).unwrap_or_default();
            for (place, reply) in replies.drain(..) {
                if let (Some(exchange), true) = (&mut *exchange, reply.is_ok()) {
                    exchange.bytes_in += reply.value.len() as u64;
                }
                // The server answers no more: what is left would wait in vain, run after run.
                match reply.status {
                    Status::TimedOut(_) => *given_up = Some(Status::TimedOut(Delivery::NotSent)),
                    Status::ValueTooLarge => {
                        let length = keys.get(place as usize).map(|&index| work.request(index as usize).value().len());
                        server.has_refused_size(length.unwrap_or_default());
                    }
                    _ => {}
                }
                let Some(index) = keys.get(place as usize) else { continue };
                let may_repeat = || may_repeat(&work.request(*index as usize), &Retries::none());
                // The runtime of the connection has ended: what can be sent again goes on on this one.
                match link.is_interrupted(run.ends, &reply) && (!reply.status.may_have_executed() || may_repeat()) {
                    true => again.push(*index),
                    false => settle(server, *index as usize, reply, work),
                }
            }
            if ended {
                runs.pop_front();
            }
        }
        indices.append(again);
    }

    /// Submits the next run; `false` if there is no room for it yet.
    fn go_on(&mut self, cx: &mut Context<'_>, now: Instant, work: &mut impl Work) -> bool {
        if let Some(settings) = &mut self.settings {
            if settings.as_mut().poll(cx).is_pending() {
                return false;
            }
            self.settings = None;
        }
        let mut ticket = None;
        if let Some(turn) = &mut self.turn {
            match turn.poll(cx) {
                Poll::Pending => return false,
                Poll::Ready(Some(own)) => ticket = Some(own),
                Poll::Ready(None) => self.given_up = Some(Status::Overloaded),
            }
        }
        if let Some(status) = self.given_up {
            self.turn = None;
            self.give_up(status, work);
            return true;
        }
        let end = self.indices.len().min(self.submitted + RUN_LENGTH);
        let end = if work.may_store() { self.checked_end(end, now, work) } else { Some(end) };
        let Some(end) = end else { return true };
        match self.submit(end, now, ticket, work) {
            0 => {
                let next = self.indices.get(self.submitted);
                let length = next.map_or(0, |index| work.request(*index as usize).value().len());
                // With a turn for such a value another caller was faster, and the place in the queue stays.
                if self.turn.as_ref().is_none_or(|turn| turn.length() != length) {
                    self.turn = Some(self.queue(length, now, cx.waker()));
                }
            }
            _ => self.turn = None,
        }
        true
    }

    /// Where the run has to end because of a value that is too large for the server, or that has to be compared
    /// with its limit first; `None` if that value is the next, and is settled or waited for.
    fn checked_end(&mut self, end: usize, now: Instant, work: &mut impl Work) -> Option<usize> {
        let Self { server, indices, submitted, has_asked_limit, .. } = self;
        let settings = server.known_item_settings().or_else(|| has_asked_limit.then(ItemSettings::default));
        for place in *submitted..end {
            let index = *indices.get(place)? as usize;
            let request = work.request(index);
            if !server.is_checked(&request) {
                continue;
            }
            match settings.map(|settings| settings.refuse(&request)) {
                Some(None) => {}
                _ if place > *submitted => return Some(place),
                Some(Some(refusal)) => {
                    work.settle(index, refusal, &server.endpoint.name);
                    *submitted += 1;
                    return None;
                }
                None => {
                    let (server, until) = (Arc::clone(server), after(now, self.timeout));
                    *has_asked_limit = true;
                    self.settings = Some(Box::pin(async move { server.item_settings(until).await }));
                    return None;
                }
            }
        }
        Some(end)
    }

    fn submit(&mut self, end: usize, now: Instant, ticket: Option<Ticket>, work: &mut impl Work) -> u32 {
        let Self { server, indices, submitted, .. } = self;
        let keys = indices.get(*submitted..end).unwrap_or_default();
        let last = keys.len().saturating_sub(1);
        // Changes are quiet except the last of a batch, whose reply confirms the ones before it.
        // Reads and counters are not quiet: a number must be returned, and a miss is a reply of its own.
        // A refusal in text has no owner among quiet requests and would fail the batch, so there all are non-quiet.
        let has_quiet = server.link(self.connection).protocol() == Some(Protocol::Binary);
        let request = |place: usize| match has_quiet && place < last {
            true => to_quiet(work.request(keys[place] as usize)),
            false => work.request(keys[place] as usize),
        };
        let extend_by = self.timeout;
        let deadline = Deadline { at: after(now, extend_by).into_std(), extend_by };
        let run = server.link(self.connection).submit_run(keys.len(), request, deadline, now, ticket);
        for (place, reply) in run.refused {
            if let Some(index) = keys.get(place as usize) {
                settle(server, *index as usize, reply, work);
            }
        }
        let count = run.taken as usize;
        if let Some(exchange) = &mut self.exchange {
            let sent = keys.iter().take(count).map(|index| length(&work.request(*index as usize)));
            exchange.bytes_out += sent.sum::<usize>() as u64;
        }
        if let Some(slot) = run.slot {
            self.runs.push_back(Run { slot, first: *submitted, count, ends: run.ends });
        }
        *submitted += count;
        if run.attend
            && let Err(reply) = server.attend(self.connection)
        {
            self.refuse_last_run(&reply, work);
        }
        run.taken
    }

    /// Ends the run that was just submitted, and all that follow: the connection cannot have a task.
    #[cold]
    fn refuse_last_run(&mut self, reply: &Reply, work: &mut impl Work) {
        if let Some(run) = self.runs.pop_back() {
            self.server.link(self.connection).abandon_run(run.slot);
            self.submitted = run.first;
        }
        for index in self.indices.iter().skip(self.submitted) {
            settle(&self.server, *index as usize, reply.clone(), work);
        }
        self.submitted = self.indices.len();
    }

    /// Queues for capacity for a value of this length.
    fn queue(&self, length: usize, now: Instant, waker: &Waker) -> Turn {
        let limit = match self.server.overload() {
            Overload::Wait => self.timeout,
            Overload::Fail if self.runs.is_empty() => Duration::ZERO,
            // The call's own runs will make room.
            Overload::Fail => self.timeout,
        };
        Turn::new(self.server.link(self.connection), length, after(now, limit), waker)
    }

    /// Ends every key that was not submitted.
    fn give_up(&mut self, status: Status, work: &mut impl Work) {
        if status == Status::Overloaded {
            self.server.link(self.connection).count_overloaded(self.indices.len() - self.submitted);
        }
        for index in self.indices.iter().skip(self.submitted) {
            settle(&self.server, *index as usize, Reply::new(status), work);
        }
        self.submitted = self.indices.len();
    }
}

/// The length of a request's key and value.
fn length(request: &Request<'_>) -> usize {
    request.key().map_or(0, |key| key.as_bytes().len()) + request.value().len()
}

/// Passes the result of a key to the call, and records a delete that is lost.
#[inline]
fn settle(server: &Server, index: usize, reply: Reply, work: &mut impl Work) {
    if !reply.status.is_answer() {
        server.has_lost(&work.request(index), reply.status);
    }
    work.settle(index, reply, &server.endpoint.name);
}

/// A change is asked for quietly.
fn to_quiet(request: Request<'_>) -> Request<'_> {
    if request.operation().is_question() { request } else { request.quiet() }
}

impl Drop for ServerBatch {
    fn drop(&mut self) {
        for run in &self.runs {
            self.server.link(self.connection).abandon_run(run.slot);
        }
    }
}
