//! One server's share of a multi-key call, sent in batches.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::task::coop::consume_budget;
use tokio::time::Instant;

use crate::config::Overload;
use crate::connection::capacity_wait::CapacityWait;
use crate::connection::wait_queue::Ticket;
use crate::error::ErrorKind;
use crate::observe::{Exchange, OperationName, Outcome, Scope};
use crate::policy::{Retries, may_repeat};
use crate::proto::{Deadline, Delivery, Protocol, Reply, Request, Status};
use crate::server::Server;
use crate::server::item_limit::ItemSettings;
use crate::time::after;

/// One server's share of a multi-key call: indices into the call's list of keys.
pub(crate) struct ServerBatch {
    server: Arc<Server>,
    conn: usize,
    /// How long to wait for the next reply.
    timeout: Duration,
    indices: Vec<u32>,
    /// How many of `indices` were submitted.
    submitted: usize,
    /// Indices of keys to submit again.
    resubmit: Vec<u32>,
    batches: VecDeque<InFlightBatch>,
    /// Buffer for replies taken out of a slot.
    replies: Vec<(u32, Reply)>,
    capacity_wait: Option<CapacityWait>,
    /// The pending request for the server's item size limit.
    settings: Option<Pin<Box<dyn Future<Output = ItemSettings> + Send>>>,
    /// Whether the server's item size limit was requested.
    has_asked_limit: bool,
    /// The status of all keys that were not submitted, once the batch has failed.
    given_up: Option<Status>,
    /// The status of the first key that the server did not answer.
    unanswered: Option<Status>,
    /// The exchange reported to observers, if there are any.
    exchange: Option<Exchange>,
}

/// A batch in flight: its slot, and its range in `indices`.
struct InFlightBatch {
    slot: usize,
    first: usize,
    count: usize,
    /// The connection's epoch when the batch was submitted.
    epoch: u32,
}

/// The maximum number of keys in a batch.
const BATCH_LEN: usize = 1024;
/// The maximum number of batches in flight: the server works on one while the next is sent.
const MAX_IN_FLIGHT: usize = 2;

/// The requests of a multi-key call, and the receiver of their results.
pub(crate) trait BatchSink {
    /// Returns the request for the key at this index.
    fn request(&self, index: usize) -> Request<'_>;
    /// Returns whether any request may store a value.
    fn may_store(&self) -> bool;
    /// Receives the result for the key at this index.
    fn complete(&mut self, index: usize, reply: Reply, server: &Arc<Server>);
}

/// Drives all batches concurrently until every key has its result.
///
/// They are reported to observers as parts of `scope`.
pub(crate) async fn drive(mut batches: Vec<ServerBatch>, sink: &mut impl BatchSink, scope: Option<&Arc<Scope>>) {
    if let Some(scope) = scope {
        batches.iter_mut().for_each(|batch| batch.observe(scope, sink));
    }
    poll_fn(|cx| {
        let now = Instant::now();
        let mut pending = false;
        for batch in &mut batches {
            pending |= batch.poll(cx, now, sink).is_pending();
        }
        if pending { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    // Calls that complete without waiting must let other tasks run.
    consume_budget().await;
}

impl ServerBatch {
    pub(crate) fn new(server: Arc<Server>, timeout: Duration) -> Self {
        let conn = server.next_conn();
        Self {
            server,
            conn,
            timeout,
            indices: Vec::new(),
            submitted: 0,
            resubmit: Vec::new(),
            batches: VecDeque::new(),
            replies: Vec::new(),
            capacity_wait: None,
            settings: None,
            has_asked_limit: false,
            given_up: None,
            unanswered: None,
            exchange: None,
        }
    }

    /// Appends a key by its index in the call's list.
    pub(crate) fn assign(&mut self, index: usize) {
        // More than 2^32 keys do not fit into memory together with their results.
        self.indices.push(u32::try_from(index).unwrap_or(u32::MAX));
    }

    /// Submits and collects as much as possible; ready when every key has its result.
    fn poll(&mut self, cx: &mut Context<'_>, now: Instant, sink: &mut impl BatchSink) -> Poll<()> {
        loop {
            self.collect(cx.waker(), sink);
            let more = self.submitted < self.indices.len();
            if !more || self.batches.len() >= MAX_IN_FLIGHT {
                break;
            }
            if !self.submit_next(cx, now, sink) {
                break;
            }
        }
        if !(self.batches.is_empty() && self.submitted == self.indices.len()) {
            return Poll::Pending;
        }
        if let Some(exchange) = self.exchange.take() {
            self.observe_end(exchange);
        }
        Poll::Ready(())
    }

    fn observe(&mut self, scope: &Arc<Scope>, sink: &impl BatchSink) {
        if let (Some(server), Some(first)) = (&self.server.observed, self.indices.first()) {
            let name = OperationName::of_many(sink.request(*first as usize).operation());
            self.exchange = Some(scope.exchange(name, server, self.indices.len()));
        }
    }

    #[cold]
    fn observe_end(&self, exchange: Exchange) {
        let outcome = match self.unanswered {
            Some(status) => Outcome::Failed(ErrorKind::of(status)),
            None => Outcome::Ok,
        };
        exchange.finish(outcome, self.server.connection(self.conn).established(), self.unanswered);
    }

    /// Completes the keys whose replies have arrived.
    fn collect(&mut self, waker: &Waker, sink: &mut impl BatchSink) {
        let Self { server, conn, indices, resubmit, batches, replies, given_up, unanswered, exchange, .. } = self;
        let connection = server.connection(*conn);
        while let Some(batch) = batches.front() {
            let Poll::Ready(ended) = connection.poll_batch(batch.slot, replies, waker) else { break };
            let keys = indices.get(batch.first..batch.first + batch.count).unwrap_or_default();
            for (position, reply) in replies.drain(..) {
                if let (Some(exchange), true) = (&mut *exchange, reply.is_ok()) {
                    exchange.bytes_in += reply.value.len() as u64;
                }
                // After a timeout the remaining keys fail immediately: each later batch would time out as well.
                match reply.status {
                    Status::TimedOut(_) => *given_up = Some(Status::TimedOut(Delivery::NotSent)),
                    Status::ValueTooLarge => {
                        let length =
                            keys.get(position as usize).map(|&index| sink.request(index as usize).value().len());
                        server.record_size_refusal(length.unwrap_or_default());
                    }
                    _ => {}
                }
                let Some(index) = keys.get(position as usize) else { continue };
                let may_repeat = || may_repeat(&sink.request(*index as usize), &Retries::none());
                // If the connection's runtime has ended, requests that may be repeated continue on this one.
                match connection.is_interrupted(batch.epoch, &reply)
                    && (!reply.status.may_have_executed() || may_repeat())
                {
                    true => resubmit.push(*index),
                    false => complete(server, unanswered, *index as usize, reply, sink),
                }
            }
            if ended {
                batches.pop_front();
            }
        }
        indices.append(resubmit);
    }

    /// Submits the next batch; returns `false` if it has to wait.
    fn submit_next(&mut self, cx: &mut Context<'_>, now: Instant, sink: &mut impl BatchSink) -> bool {
        if let Some(settings) = &mut self.settings {
            if settings.as_mut().poll(cx).is_pending() {
                return false;
            }
            self.settings = None;
        }
        let mut ticket = None;
        if let Some(wait) = &mut self.capacity_wait {
            match wait.poll(cx) {
                Poll::Pending => return false,
                Poll::Ready(Some(own)) => ticket = Some(own),
                Poll::Ready(None) => self.given_up = Some(Status::Overloaded),
            }
        }
        if let Some(status) = self.given_up {
            self.capacity_wait = None;
            self.fail_all(status, sink);
            return true;
        }
        let end = self.indices.len().min(self.submitted + BATCH_LEN);
        let end = if sink.may_store() { self.checked_end(end, now, sink) } else { Some(end) };
        let Some(end) = end else { return true };
        match self.submit(end, now, ticket, sink) {
            0 => {
                let next = self.indices.get(self.submitted);
                let length = next.map_or(0, |index| sink.request(*index as usize).value().len());
                // If it waited for this length, another caller was faster; the queue position is kept.
                if self.capacity_wait.as_ref().is_none_or(|wait| wait.length() != length) {
                    self.capacity_wait = Some(self.queue(length, now, cx.waker()));
                }
            }
            _ => self.capacity_wait = None,
        }
        true
    }

    /// Returns where the batch has to end because the next value exceeds the server's item size limit, or because
    /// the limit is not known; `None` if that value comes first and was completed, or the limit was requested.
    fn checked_end(&mut self, end: usize, now: Instant, sink: &mut impl BatchSink) -> Option<usize> {
        let Self { server, indices, submitted, has_asked_limit, .. } = self;
        let settings = server.known_item_settings().or_else(|| has_asked_limit.then(ItemSettings::default));
        for position in *submitted..end {
            let index = *indices.get(position)? as usize;
            let request = sink.request(index);
            if !server.is_checked(&request) {
                continue;
            }
            match settings.map(|settings| settings.refuse(&request)) {
                Some(None) => {}
                _ if position > *submitted => return Some(position),
                Some(Some(refusal)) => {
                    sink.complete(index, refusal, server);
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

    fn submit(&mut self, end: usize, now: Instant, ticket: Option<Ticket>, sink: &mut impl BatchSink) -> u32 {
        let Self { server, indices, submitted, unanswered, .. } = self;
        let keys = indices.get(*submitted..end).unwrap_or_default();
        let last = keys.len().saturating_sub(1);
        // Writes are quiet except the last of a batch, whose reply confirms the ones before it.
        // Reads and counters are not: their results are needed.
        // On the meta and text protocols an error line cannot be attributed to a quiet request, so none is quiet.
        let has_quiet = server.connection(self.conn).protocol() == Some(Protocol::Binary);
        let request = |position: usize| match has_quiet && position < last {
            true => to_quiet(sink.request(keys[position] as usize)),
            false => sink.request(keys[position] as usize),
        };
        let extend_by = self.timeout;
        let deadline = Deadline { at: after(now, extend_by).into_std(), extend_by };
        let batch = server.connection(self.conn).submit_batch(keys.len(), request, deadline, now, ticket);
        for (position, reply) in batch.refused {
            if let Some(index) = keys.get(position as usize) {
                complete(server, unanswered, *index as usize, reply, sink);
            }
        }
        let count = batch.processed as usize;
        if let Some(exchange) = &mut self.exchange {
            let sent = keys.iter().take(count).map(|index| length(&sink.request(*index as usize)));
            exchange.bytes_out += sent.sum::<usize>() as u64;
        }
        if let Some(slot) = batch.slot {
            self.batches.push_back(InFlightBatch { slot, first: *submitted, count, epoch: batch.epoch });
        }
        *submitted += count;
        if batch.needs_attention
            && let Err(reply) = server.ensure_task(self.conn)
        {
            self.refuse_last_batch(&reply, sink);
        }
        batch.processed
    }

    /// Fails the batch that was just submitted and all remaining keys, because the connection cannot have a task.
    #[cold]
    fn refuse_last_batch(&mut self, reply: &Reply, sink: &mut impl BatchSink) {
        if let Some(batch) = self.batches.pop_back() {
            self.server.connection(self.conn).abandon_batch(batch.slot);
            self.submitted = batch.first;
        }
        for index in self.indices.iter().skip(self.submitted) {
            complete(&self.server, &mut self.unanswered, *index as usize, reply.clone(), sink);
        }
        self.submitted = self.indices.len();
    }

    /// Queues for capacity for a value of this length.
    fn queue(&self, length: usize, now: Instant, waker: &Waker) -> CapacityWait {
        let limit = match self.server.overload() {
            Overload::Wait => self.timeout,
            Overload::Fail if self.batches.is_empty() => Duration::ZERO,
            // The call's own batches will free capacity.
            Overload::Fail => self.timeout,
        };
        CapacityWait::new(self.server.connection(self.conn), length, after(now, limit), waker)
    }

    /// Fails every key that was not submitted.
    fn fail_all(&mut self, status: Status, sink: &mut impl BatchSink) {
        if status == Status::Overloaded {
            self.server.connection(self.conn).count_overloaded(self.indices.len() - self.submitted);
        }
        for index in self.indices.iter().skip(self.submitted) {
            complete(&self.server, &mut self.unanswered, *index as usize, Reply::new(status), sink);
        }
        self.submitted = self.indices.len();
    }
}

/// Returns the length of a request's key and value.
fn length(request: &Request<'_>) -> usize {
    request.key().map_or(0, |key| key.as_bytes().len()) + request.value().len()
}

/// Passes a key's result to the call, and records a missing answer and a failed delete.
#[inline]
fn complete(
    server: &Arc<Server>,
    unanswered: &mut Option<Status>,
    index: usize,
    reply: Reply,
    sink: &mut impl BatchSink,
) {
    if !reply.status.is_from_server() {
        unanswered.get_or_insert(reply.status);
        server.record_failed_delete(&sink.request(index), reply.status);
    }
    sink.complete(index, reply, server);
}

/// Makes a write quiet.
fn to_quiet(request: Request<'_>) -> Request<'_> {
    if request.operation().returns_data() { request } else { request.quiet() }
}

impl Drop for ServerBatch {
    fn drop(&mut self) {
        for batch in &self.batches {
            self.server.connection(self.conn).abandon_batch(batch.slot);
        }
    }
}
