//! Metrics of operations and connections, independent of the library that records them.

#[cfg(feature = "metrics")]
pub(super) mod facade;
pub(super) mod instruments;
#[cfg(feature = "opentelemetry")]
pub(super) mod otel;

mod table;

use instruments::{self as all, Instrument};
use table::{ServerRow, Table};

use super::{ConnectionChanged, Observer, OperationFinished, OperationName, Outcome, ServerChanged, ServerId};
use crate::health::state::ConnectionState;

/// A library that records metrics.
trait Backend: Send + Sync + 'static {
    /// A counter with its labels.
    type Counter: Count;
    /// A histogram with its labels.
    type Histogram: Record;

    fn counter(&self, instrument: &'static Instrument, labels: &Labels<'_>) -> Self::Counter;

    fn histogram(&self, instrument: &'static Instrument, labels: &Labels<'_>) -> Self::Histogram;

    /// Adds to a gauge; too rare to need a handle.
    fn adjust(&self, instrument: &'static Instrument, labels: &Labels<'_>, change: i32);

    /// Sets a gauge.
    fn set(&self, instrument: &'static Instrument, labels: &Labels<'_>, value: u32);
}

/// A counter that can be added to without an allocation.
trait Count: Send + Sync {
    fn add(&self, count: u64);
}

/// A histogram that can be recorded to without an allocation.
trait Record: Send + Sync {
    fn record(&self, value: f64);
}

/// The labels of a metric: a closed list, so that their cardinality is bounded.
#[derive(Clone, Copy, Debug, Default)]
struct Labels<'a> {
    /// `None` for operations that concern several servers or none.
    server: Option<&'a ServerId>,
    operation: Option<OperationName>,
    outcome: Option<Outcome>,
    direction: Option<&'static str>,
    state: Option<&'static str>,
}

/// Records metrics with a backend.
struct Metering<B: Backend> {
    backend: B,
    table: Table<ServerHandles<B>, OperationHandles<B>>,
}

/// The handles of one server.
struct ServerHandles<B: Backend> {
    retries: B::Counter,
    hedges: B::Counter,
    failovers: B::Counter,
    received: B::Counter,
    sent: B::Counter,
    wait_time: B::Histogram,
    create_time: B::Histogram,
    timeouts: B::Counter,
}

/// The handles of one operation with one outcome, at one server.
struct OperationHandles<B: Backend> {
    duration: B::Histogram,
    /// The instruments of an operation that reads.
    reads: Option<ReadHandles<B>>,
}

/// The handles for the keys of an operation that reads.
struct ReadHandles<B: Backend> {
    hits: B::Counter,
    misses: B::Counter,
    rows: B::Histogram,
}

impl<B: Backend> ServerHandles<B> {
    fn new(backend: &B, server: Option<&ServerId>) -> Self {
        let labels = Labels { server, ..Labels::default() };
        let bytes = |direction| backend.counter(&all::BYTES, &Labels { direction: Some(direction), ..labels });
        Self {
            retries: backend.counter(&all::RETRIES, &labels),
            hedges: backend.counter(&all::HEDGES, &labels),
            failovers: backend.counter(&all::FAILOVERS, &labels),
            received: bytes("received"),
            sent: bytes("sent"),
            wait_time: backend.histogram(&all::WAIT_TIME, &labels),
            create_time: backend.histogram(&all::CREATE_TIME, &labels),
            timeouts: backend.counter(&all::TIMEOUTS, &labels),
        }
    }
}

impl<B: Backend> OperationHandles<B> {
    fn new(backend: &B, server: Option<&ServerId>, operation: OperationName, outcome: Outcome) -> Self {
        let labels = Labels { server, operation: Some(operation), ..Labels::default() };
        let reads = || ReadHandles {
            hits: backend.counter(&all::HITS, &labels),
            misses: backend.counter(&all::MISSES, &labels),
            rows: backend.histogram(&all::ROWS, &labels),
        };
        Self {
            duration: backend.histogram(&all::DURATION, &Labels { outcome: Some(outcome), ..labels }),
            reads: operation.is_read().then(reads),
        }
    }
}

impl<B: Backend> Metering<B> {
    fn new(backend: B) -> Self {
        Self { backend, table: Table::new() }
    }

    fn row(&self, server: Option<&ServerId>) -> &ServerRow<ServerHandles<B>, OperationHandles<B>> {
        self.table.row(server, |server| ServerHandles::new(&self.backend, server))
    }

    fn record(&self, end: &OperationFinished<'_>, handles: &OperationHandles<B>) {
        handles.duration.record(end.duration.as_secs_f64());
        let Some(reads) = &handles.reads else { return };
        for (counter, count) in [(&reads.hits, end.hits), (&reads.misses, end.misses)] {
            if count > 0 {
                counter.add(count as u64);
            }
        }
        // For one key the counters contain the same information.
        if end.keys > 1 {
            reads.rows.record(end.hits as f64);
        }
    }
}

impl<B: Backend> ServerHandles<B> {
    fn record(&self, end: &OperationFinished<'_>) {
        for (counter, count) in [
            (&self.received, end.bytes_in),
            (&self.sent, end.bytes_out),
            (&self.retries, end.retries.into()),
            (&self.hedges, end.hedges.into()),
            (&self.failovers, end.failovers.into()),
        ] {
            if count > 0 {
                counter.add(count);
            }
        }
        let waited = end.queued + end.connecting;
        if !waited.is_zero() {
            self.wait_time.record(waited.as_secs_f64());
        }
        if matches!(end.outcome, Outcome::Failed(crate::error::ErrorKind::TimedOut(_))) {
            self.timeouts.add(1);
        }
    }
}

impl<B: Backend> Observer for Metering<B> {
    fn operation_finished(&self, end: &OperationFinished<'_>) {
        let row = self.row(end.server);
        let make = |server: Option<&ServerId>| OperationHandles::new(&self.backend, server, end.operation, end.outcome);
        self.record(end, row.operation(end.operation, end.outcome, make));
        row.server.record(end);
    }

    fn connection_changed(&self, change: &ConnectionChanged<'_>) {
        let adjust = |state: &ConnectionState, by| {
            let labels = Labels { server: Some(change.server), state: Some(state.name()), ..Labels::default() };
            self.backend.adjust(&all::CONNECTIONS, &labels, by);
        };
        // A connection that was never used is not counted as idle.
        if *change.before != ConnectionState::Idle {
            adjust(change.before, -1);
        }
        if !matches!(change.after, ConnectionState::Idle | ConnectionState::Closed) {
            adjust(change.after, 1);
        }
        if let (ConnectionState::Connecting, ConnectionState::Connected) = (change.before, change.after) {
            self.row(Some(change.server)).server.create_time.record(change.before_duration.as_secs_f64());
        }
    }

    fn server_changed(&self, change: &ServerChanged<'_>) {
        for (state, value) in [(change.before, 0), (change.after, 1)] {
            let labels = Labels { server: Some(change.server), state: Some(state.name()), ..Labels::default() };
            self.backend.set(&all::SERVER_STATE, &labels, value);
        }
    }
}

impl<B: Backend> std::fmt::Debug for Metering<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.table.fmt(f)
    }
}
