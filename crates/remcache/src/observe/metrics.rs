//! Metrics of operations and connections, by the `metrics` facade.

use ::metrics::{Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram};
use ::metrics::{gauge, histogram};

use super::table::{Row, Table};
use super::{ConnectionChanged, Observer, OperationFinished, OperationName, Outcome, ServerChanged, ServerName};
use crate::health::state::ConnectionState;

/// Records counters, gauges and histograms with the recorder of the `metrics` crate.
///
/// Install the recorder before the first operation: handles are fetched once for each combination of operation, outcome
/// and server, and kept, so that an operation neither allocates nor takes a lock. Labels are `operation`, `outcome`,
/// `server`, `direction` and `state`, never a key; beyond [`ServerName::MOST`] servers the label is `other`.
/// [The document on observability](https://github.com/remcache/remcache/blob/main/docs/observability.md) has a table of the names.
///
/// ```
/// use remcache::observe::Metrics;
/// use remcache::{Client, Config};
///
/// let client = Client::with_config(["localhost"], Config::new().observer(Metrics::new()))?;
/// # Ok::<(), remcache::Error>(())
/// ```
#[derive(Debug)]
pub struct Metrics(Table<ServerHandles, OperationHandles>);

/// The handles of one server.
struct ServerHandles {
    retries: Counter,
    hedges: Counter,
    failovers: Counter,
    received: Counter,
    sent: Counter,
    wait_time: Histogram,
    create_time: Histogram,
    timeouts: Counter,
}

/// The handles of one operation with one outcome, at one server.
struct OperationHandles {
    duration: Histogram,
    hits: Counter,
    misses: Counter,
    rows: Histogram,
}

/// The names, as Prometheus shows them.
pub(crate) mod names {
    /// Histogram: how long operations took, in seconds.
    pub(crate) const DURATION: &str = "db_client_operation_duration_seconds";
    /// Histogram: items found by an operation that reads.
    pub(crate) const ROWS: &str = "db_client_response_returned_rows";
    /// Gauge: connections by state.
    pub(crate) const CONNECTIONS: &str = "db_client_connections";
    /// Histogram: how long opening a connection took, in seconds.
    pub(crate) const CREATE_TIME: &str = "db_client_connection_create_time_seconds";
    /// Histogram: how long an operation waited for a connection, in seconds.
    pub(crate) const WAIT_TIME: &str = "db_client_connection_wait_time_seconds";
    /// Counter: operations that timed out.
    pub(crate) const TIMEOUTS: &str = "db_client_connection_timeouts_total";
    /// Counter: keys found.
    pub(crate) const HITS: &str = "memcached_client_hits_total";
    /// Counter: keys not found.
    pub(crate) const MISSES: &str = "memcached_client_misses_total";
    /// Counter: attempts after a failure, at the same server.
    pub(crate) const RETRIES: &str = "memcached_client_retries_total";
    /// Counter: reads sent to a second server.
    pub(crate) const HEDGES: &str = "memcached_client_hedges_total";
    /// Counter: attempts at another server after a failure.
    pub(crate) const FAILOVERS: &str = "memcached_client_failovers_total";
    /// Counter: bytes of keys and values sent, and of values received.
    pub(crate) const BYTES: &str = "memcached_client_bytes_total";
    /// Gauge: 1 for the state that a server is in.
    pub(crate) const SERVER_STATE: &str = "memcached_client_server_state";
}

/// The bounds of the buckets of durations that suit a cache, in seconds: from 50 µs to 1 s.
pub const DURATION_BUCKETS: [f64; 14] =
    [50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 100e-3, 250e-3, 500e-3, 1.0];

impl Metrics {
    /// Describes the metrics to the recorder of the process.
    pub fn new() -> Self {
        describe();
        Self(Table::new())
    }

    fn row(&self, server: Option<&ServerName>) -> &Row<ServerHandles, OperationHandles> {
        self.0.row(server, ServerHandles::new)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

fn describe() {
    describe_histogram!(names::DURATION, Unit::Seconds, "How long operations took.");
    describe_histogram!(names::ROWS, Unit::Count, "Items found by an operation that reads.");
    describe_gauge!(names::CONNECTIONS, Unit::Count, "Connections by state.");
    describe_histogram!(names::CREATE_TIME, Unit::Seconds, "How long opening a connection took.");
    describe_histogram!(names::WAIT_TIME, Unit::Seconds, "How long operations waited for a connection.");
    describe_counter!(names::TIMEOUTS, Unit::Count, "Operations that timed out.");
    describe_counter!(names::HITS, Unit::Count, "Keys that were found.");
    describe_counter!(names::MISSES, Unit::Count, "Keys that were not found.");
    describe_counter!(names::RETRIES, Unit::Count, "Attempts after a failure, at the same server.");
    describe_counter!(names::HEDGES, Unit::Count, "Reads that were sent to a second server.");
    describe_counter!(names::FAILOVERS, Unit::Count, "Attempts at another server after a failure.");
    describe_counter!(names::BYTES, Unit::Bytes, "Keys and values sent, and values received.");
    describe_gauge!(names::SERVER_STATE, Unit::Count, "1 for the state that a server is in, 0 for the others.");
}

impl ServerHandles {
    fn new(server: &str) -> Self {
        let server = server.to_owned();
        Self {
            retries: counter!(names::RETRIES, "server" => server.clone()),
            hedges: counter!(names::HEDGES, "server" => server.clone()),
            failovers: counter!(names::FAILOVERS, "server" => server.clone()),
            received: counter!(names::BYTES, "server" => server.clone(), "direction" => "received"),
            sent: counter!(names::BYTES, "server" => server.clone(), "direction" => "sent"),
            wait_time: histogram!(names::WAIT_TIME, "server" => server.clone()),
            create_time: histogram!(names::CREATE_TIME, "server" => server.clone()),
            timeouts: counter!(names::TIMEOUTS, "server" => server),
        }
    }
}

/// The metric of one state of a server, or of its connections.
fn state_gauge(name: &'static str, server: &str, state: &ConnectionState) -> Gauge {
    gauge!(name, "server" => server.to_owned(), "state" => state.name())
}

impl OperationHandles {
    fn new(server: &str, operation: OperationName, outcome: Outcome) -> Self {
        let (server, operation) = (server.to_owned(), operation.as_str());
        Self {
            duration: histogram!(names::DURATION, "operation" => operation, "outcome" => outcome.label(), "server" => server.clone()),
            hits: counter!(names::HITS, "operation" => operation, "server" => server.clone()),
            misses: counter!(names::MISSES, "operation" => operation, "server" => server.clone()),
            rows: histogram!(names::ROWS, "operation" => operation, "server" => server),
        }
    }
}

impl Observer for Metrics {
    fn operation_finished(&self, end: &OperationFinished<'_>) {
        let row = self.row(end.server);
        let make = |server: &str| OperationHandles::new(server, end.operation, end.outcome);
        let (server, handles) = (&row.server, row.operation(end.operation, end.outcome, make));
        handles.duration.record(end.duration.as_secs_f64());
        if end.hits > 0 {
            handles.hits.increment(end.hits as u64);
        }
        if end.misses > 0 {
            handles.misses.increment(end.misses as u64);
        }
        // Of one key the counters say as much.
        if end.operation.is_read() && end.keys > 1 {
            handles.rows.record(end.hits as f64);
        }
        for (counter, count) in [
            (&server.received, end.bytes_in),
            (&server.sent, end.bytes_out),
            (&server.retries, end.retries.into()),
            (&server.hedges, end.hedges.into()),
            (&server.failovers, end.failovers.into()),
        ] {
            if count > 0 {
                counter.increment(count);
            }
        }
        let waited = end.queued + end.connecting;
        if !waited.is_zero() {
            server.wait_time.record(waited.as_secs_f64());
        }
        if end.outcome.error_type() == Some("timeout") {
            server.timeouts.increment(1);
        }
    }

    fn connection_changed(&self, change: &ConnectionChanged<'_>) {
        let row = self.row(Some(change.server));
        let connections = |state: &ConnectionState| state_gauge(names::CONNECTIONS, &row.label, state);
        // A connection that was never used is not counted as idle.
        if *change.before != ConnectionState::Idle {
            connections(change.before).decrement(1.0);
        }
        if !matches!(change.after, ConnectionState::Idle | ConnectionState::Closed) {
            connections(change.after).increment(1.0);
        }
        if let (ConnectionState::Connecting, ConnectionState::Connected) = (change.before, change.after) {
            row.server.create_time.record(change.after_time.as_secs_f64());
        }
    }

    fn server_changed(&self, change: &ServerChanged<'_>) {
        let row = self.row(Some(change.server));
        state_gauge(names::SERVER_STATE, &row.label, change.before).set(0.0);
        state_gauge(names::SERVER_STATE, &row.label, change.after).set(1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::names;

    const ALL: [&str; 13] = [
        names::DURATION,
        names::ROWS,
        names::CONNECTIONS,
        names::CREATE_TIME,
        names::WAIT_TIME,
        names::TIMEOUTS,
        names::HITS,
        names::MISSES,
        names::RETRIES,
        names::HEDGES,
        names::FAILOVERS,
        names::BYTES,
        names::SERVER_STATE,
    ];

    /// Returns the words of a text that look like names of the client's metrics.
    fn metrics_in(text: &str) -> impl Iterator<Item = &str> {
        let words = text.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'));
        words.filter(|word| word.starts_with("db_client_") || word.starts_with("memcached_client_"))
    }

    #[test]
    fn the_document_has_every_metric_and_no_other() {
        let document = include_str!("../../../../docs/observability.md");
        for name in ALL {
            assert!(document.contains(&format!("`{name}`")), "{name}");
        }
        let unknown: Vec<_> = metrics_in(document).filter(|name| !ALL.contains(name)).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    }

    #[test]
    fn dashboards_and_alerts_use_metrics_that_exist() {
        let dashboard = include_str!("../../../../docs/monitoring/grafana-client.json");
        let alerts = include_str!("../../../../docs/monitoring/alerts.yml");
        for name in metrics_in(dashboard).chain(metrics_in(alerts)) {
            let base = ["_bucket", "_count", "_sum"].iter().find_map(|suffix| name.strip_suffix(suffix));
            assert!(ALL.contains(&name) || base.is_some_and(|base| ALL.contains(&base)), "{name}");
        }
    }
}
