//! Reports requests and streams of replies to observers.

use tokio::time::Instant;

use crate::error::ErrorKind;
use crate::observe::{
    Counts, Established, Exchange, Observers, OperationFinished, OperationName, OperationStarted, Outcome, Parent,
    Started,
};
use crate::proto::{Operation, Reply, Request, Status};
use crate::server::Server;
use crate::server::call::ServerCall;
use crate::server::reply_stream::ReplyStream;

/// The report of a request in progress.
#[derive(Default)]
pub(crate) enum Observation {
    /// The request is not reported.
    #[default]
    None,
    /// The request is an operation.
    Operation(Started),
    /// The request is an exchange of an operation.
    Exchange(Box<Exchange>),
}

/// The end of a request.
struct RequestEnd {
    outcome: Outcome,
    counts: Counts,
    keys: usize,
    attempts: u32,
    bytes_in: u64,
    bytes_out: u64,
    established: Established,
    status: Option<Status>,
}

impl Observation {
    #[inline]
    pub(crate) fn is_some(&self) -> bool {
        !matches!(self, Self::None)
    }

    /// Records that the request was submitted at this instant, later than it started.
    #[cold]
    pub(crate) fn submitted(&mut self, now: Instant) {
        match self {
            Self::Operation(started) => started.queued = now.saturating_duration_since(started.at),
            Self::Exchange(exchange) => exchange.submitted(now),
            Self::None => {}
        }
    }

    /// Starts the observation of an operation or exchange that is a part of `parent`.
    #[inline]
    fn begin(observers: &Observers, parent: &Parent, event: &OperationStarted<'_>, now: Instant) -> Self {
        match (parent, event.server) {
            (Parent::None, _) => Self::Operation(Started::begin(observers, event, now)),
            (Parent::Operation(scope), Some(server)) => {
                Self::Exchange(Box::new(scope.exchange(event.operation, server, event.keys)))
            }
            (Parent::Operation(_), None) | (Parent::Internal, _) => Self::None,
        }
    }

    #[inline]
    fn end(self, server: &Server, ending: &RequestEnd) {
        match self {
            Self::None => {}
            Self::Exchange(mut exchange) => {
                exchange.bytes_in += ending.bytes_in;
                exchange.bytes_out += ending.bytes_out;
                exchange.finish(ending.outcome, ending.established, ending.status);
            }
            Self::Operation(started) => {
                let duration = started.at.elapsed();
                let event = OperationFinished {
                    server: server.observed.as_ref(),
                    hits: ending.counts.hits,
                    misses: ending.counts.misses,
                    failed: ending.counts.failed,
                    bytes_in: ending.bytes_in,
                    bytes_out: ending.bytes_out,
                    queued: started.queued,
                    connecting: ending.established.wait_of(started.at, started.queued).min(duration),
                    attempts: ending.attempts,
                    protocol: ending.established.protocol,
                    peer: ending.established.peer,
                    status: ending.status,
                    ..OperationFinished::new(started.operation, ending.keys, ending.outcome, duration)
                };
                started.finish(&server.config().observers, &event);
            }
        }
    }
}

/// The parts of a reply that are reported.
pub(crate) struct Summary {
    status: Status,
    bytes_in: usize,
    established: Established,
}

impl Summary {
    #[inline]
    pub(crate) fn of(reply: &Reply, established: &Established) -> Self {
        Self { status: reply.status, bytes_in: value_length(reply), established: *established }
    }
}

/// Returns the outcome of an operation on one key or none.
#[inline]
pub(crate) fn outcome_of(name: OperationName, request: &Request<'_>, status: Status) -> (Outcome, Counts) {
    let has_key = request.operation().has_key();
    match status {
        Status::NoError if name.is_read() => (Outcome::Hit, Counts::found(true)),
        Status::KeyNotFound if name.is_read() => (Outcome::Miss, Counts::found(false)),
        Status::NoError | Status::KeyNotFound | Status::KeyExists | Status::ItemNotStored => {
            (Outcome::Ok, Counts::default())
        }
        _ => {
            let kind = match status {
                Status::InvalidArguments if has_key && request.key().is_err() => ErrorKind::InvalidKey,
                _ => ErrorKind::of(status),
            };
            (Outcome::Failed(kind), Counts { failed: usize::from(has_key), ..Counts::default() })
        }
    }
}

/// Returns the length of the value in a reply, without the text of an error.
#[inline]
fn value_length(reply: &Reply) -> usize {
    if reply.is_ok() { reply.value.len() } else { 0 }
}

/// Returns the length of a request's key and value.
fn length(request: &Request<'_>) -> u64 {
    (request.key().map_or(0, |key| key.as_bytes().len()) + request.value().len()) as u64
}

/// Describes the start of an operation on the key of a request.
pub(crate) fn started<'s>(name: OperationName, request: &'s Request<'_>, namespace: &'s [u8]) -> OperationStarted<'s> {
    let has_key = request.operation().has_key();
    let key = request.key().ok().filter(|_| has_key).map(|key| key.as_bytes());
    OperationStarted {
        key: key.map(|key| without_namespace(key, namespace)),
        ..OperationStarted::new(name, usize::from(has_key), namespace)
    }
}

/// Returns a key as the caller named it.
#[inline]
fn without_namespace<'k>(key: &'k [u8], namespace: &[u8]) -> &'k [u8] {
    // Most clients have no namespace, and comparing with an empty one is a call.
    if namespace.is_empty() { key } else { key.strip_prefix(namespace).unwrap_or(key) }
}

impl ServerCall<'_> {
    pub(crate) fn operation_name(&self) -> OperationName {
        self.name.unwrap_or_else(|| OperationName::of(self.request.operation()))
    }

    /// Reports to observers, if there are any, that the request starts.
    #[inline]
    pub(super) fn observe_start(&mut self, now: Instant) {
        if self.server().is_some_and(|server| server.observed.is_some()) {
            self.begin_observation(now);
        }
    }

    #[inline(never)]
    fn begin_observation(&mut self, now: Instant) {
        let Some(server) = self.server() else { return };
        let config = server.config();
        let started = started(self.operation_name(), &self.request, &config.namespace);
        let event = OperationStarted { server: server.observed.as_ref(), ..started };
        self.observation = Observation::begin(&config.observers, &self.parent, &event, now);
    }

    /// Reports to observers that the request has ended.
    #[inline(never)]
    pub(super) fn observe_end(&mut self, summary: Summary) {
        let observation = std::mem::take(&mut self.observation);
        // The server was chosen before the start was reported, unless the check of the request failed.
        let Some(server) = self.server() else { return };
        let Summary { status, bytes_in, established } = summary;
        let (outcome, counts) = outcome_of(self.operation_name(), &self.request, status);
        // The connection is known only if the request was sent.
        let was_sent = established.since.is_some();
        let ending = RequestEnd {
            outcome,
            counts,
            keys: usize::from(self.request.operation().has_key()),
            attempts: u32::from(was_sent),
            bytes_in: bytes_in as u64,
            bytes_out: if was_sent { length(&self.request) } else { 0 },
            established,
            status: status.is_from_server().then_some(status),
        };
        observation.end(server, &ending);
    }

    /// Reports to observers that the request was cancelled.
    #[cold]
    pub(super) fn observe_cancellation(&mut self) {
        let observation = std::mem::take(&mut self.observation);
        let Some(server) = self.server() else { return };
        let keys = usize::from(self.request.operation().has_key());
        let ending = RequestEnd {
            outcome: Outcome::Cancelled,
            counts: Counts::failed(keys),
            keys,
            attempts: u32::from(self.is_in_flight()),
            bytes_in: 0,
            bytes_out: if self.is_in_flight() { length(&self.request) } else { 0 },
            established: Established::default(),
            status: None,
        };
        observation.end(server, &ending);
    }
}

/// The report of a stream of replies.
pub(crate) struct StreamObservation {
    observation: Observation,
    bytes_in: u64,
}

impl ReplyStream {
    /// Reports to observers, if there are any, that the stream starts.
    pub(super) fn observe_start(&mut self) {
        let Ok(server) = &self.server else { return };
        let observers = &server.config().observers;
        // A stream that continues on another connection has been reported already.
        if observers.is_empty() || self.observation.is_some() {
            return;
        }
        let operation = self.request.operation();
        let keys = usize::from(operation.has_key());
        let event = OperationStarted {
            server: server.observed.as_ref(),
            ..OperationStarted::new(OperationName::of(operation), keys, &[])
        };
        let observation = Observation::begin(observers, &self.parent, &event, Instant::now());
        if observation.is_some() {
            self.observation = Some(Box::new(StreamObservation { observation, bytes_in: 0 }));
        }
    }

    /// Reports the stream's end to observers if this reply is the last; `None` follows the last.
    pub(super) fn observe_reply(&mut self, reply: Option<&Reply>) {
        let Some(observation) = &mut self.observation else { return };
        observation.bytes_in += reply.map_or(0, value_length) as u64;
        // Statistics end with an empty reply; other requests have one reply.
        let is_stat = |reply: &Reply| {
            self.request.operation() == Operation::Stat && !(reply.key.is_empty() && reply.value.is_empty())
        };
        if !reply.is_some_and(|reply| reply.is_ok() && is_stat(reply)) {
            self.observe_end(reply.map(|reply| reply.status));
        }
    }

    /// Reports the stream's end to observers; without a status it was cancelled.
    fn observe_end(&mut self, status: Option<Status>) {
        let Some(observation) = self.observation.take() else { return };
        let Ok(server) = &self.server else { return };
        let StreamObservation { observation, bytes_in } = *observation;
        let name = OperationName::of(self.request.operation());
        let established = server.connection(self.conn).established();
        let (outcome, counts) = match status {
            Some(status) => outcome_of(name, &self.request, status),
            None => (Outcome::Cancelled, Counts::default()),
        };
        let ending = RequestEnd {
            outcome,
            counts,
            keys: usize::from(self.request.operation().has_key()),
            attempts: u32::from(established.since.is_some()),
            bytes_in,
            bytes_out: length(&self.request),
            established,
            status: status.filter(|status| status.is_from_server()),
        };
        observation.end(server, &ending);
    }

    /// Reports to observers that the stream was cancelled, unless it has ended.
    pub(super) fn observe_drop(&mut self) {
        if self.observation.is_some() {
            self.observe_end(None);
        }
    }
}
