//! The metrics: their names, units and descriptions.

use Unit::{Bytes, Count, Seconds};

/// A metric.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(
    not(any(all(feature = "metrics", feature = "opentelemetry"), test)),
    expect(dead_code, reason = "each kind of metrics uses a part")
)]
pub(super) struct Instrument {
    pub(super) kind: InstrumentKind,
    /// The name in OpenTelemetry.
    pub(super) name: &'static str,
    /// The name in Prometheus: with the unit, and with `_total` if it is a counter.
    pub(super) prometheus_name: &'static str,
    pub(super) unit: Unit,
    pub(super) description: &'static str,
    /// The bucket bounds of a histogram.
    pub(super) buckets: &'static [f64],
}

/// The kind of a metric.
#[derive(Clone, Copy, Debug)]
pub(super) enum InstrumentKind {
    Counter,
    /// A value that rises and falls, which is adjusted or set.
    Gauge,
    Histogram,
}

/// The unit of a metric.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(
    not(any(feature = "opentelemetry", test)),
    expect(dead_code, reason = "OpenTelemetry shows what is counted")
)]
pub(super) enum Unit {
    Seconds,
    Bytes,
    /// A count, with the unit in OpenTelemetry's notation: `{key}`.
    Count(&'static str),
}

impl Unit {
    /// Returns the unit in OpenTelemetry's notation.
    #[cfg(any(feature = "opentelemetry", test))]
    pub(super) fn ucum(self) -> &'static str {
        match self {
            Self::Seconds => "s",
            Self::Bytes => "By",
            Self::Count(what) => what,
        }
    }
}

/// Histogram bucket bounds for the durations of cache operations, in seconds: from 50 µs to 1 s.
pub const DURATION_BUCKETS: [f64; 14] =
    [50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 100e-3, 250e-3, 500e-3, 1.0];

/// Histogram bucket bounds for the number of items found by a multi-key read.
const ROW_BUCKETS: [f64; 13] =
    [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0, 2_000.0, 5_000.0, 10_000.0];

impl Instrument {
    const fn new(
        kind: InstrumentKind,
        name: &'static str,
        prometheus_name: &'static str,
        unit: Unit,
        description: &'static str,
    ) -> Self {
        let buckets: &[f64] = match unit {
            Seconds => &DURATION_BUCKETS,
            Bytes | Count(_) => &ROW_BUCKETS,
        };
        Self { kind, name, prometheus_name, unit, description, buckets }
    }
}

pub(super) static DURATION: Instrument = Instrument::new(
    InstrumentKind::Histogram,
    "db.client.operation.duration",
    "db_client_operation_duration_seconds",
    Seconds,
    "How long operations took.",
);

pub(super) static ROWS: Instrument = Instrument::new(
    InstrumentKind::Histogram,
    "db.client.response.returned_rows",
    "db_client_response_returned_rows",
    Count("{row}"),
    "Items found by an operation that reads several keys.",
);

// Prometheus reserves the suffix `_count`.
pub(super) static CONNECTIONS: Instrument = Instrument::new(
    InstrumentKind::Gauge,
    "db.client.connection.count",
    "db_client_connections",
    Count("{connection}"),
    "Connections by state.",
);

pub(super) static CREATE_TIME: Instrument = Instrument::new(
    InstrumentKind::Histogram,
    "db.client.connection.create_time",
    "db_client_connection_create_time_seconds",
    Seconds,
    "How long opening a connection took.",
);

pub(super) static WAIT_TIME: Instrument = Instrument::new(
    InstrumentKind::Histogram,
    "db.client.connection.wait_time",
    "db_client_connection_wait_time_seconds",
    Seconds,
    "How long operations waited for a connection.",
);

pub(super) static TIMEOUTS: Instrument = Instrument::new(
    InstrumentKind::Counter,
    "db.client.connection.timeouts",
    "db_client_connection_timeouts_total",
    Count("{timeout}"),
    "Operations that timed out.",
);

pub(super) static HITS: Instrument = Instrument::new(
    InstrumentKind::Counter,
    "memcached.client.hits",
    "memcached_client_hits_total",
    Count("{key}"),
    "Keys that were found.",
);

pub(super) static MISSES: Instrument = Instrument::new(
    InstrumentKind::Counter,
    "memcached.client.misses",
    "memcached_client_misses_total",
    Count("{key}"),
    "Keys that were not found.",
);

pub(super) static RETRIES: Instrument = Instrument::new(
    InstrumentKind::Counter,
    "memcached.client.retries",
    "memcached_client_retries_total",
    Count("{attempt}"),
    "Attempts after a failure, at the same server.",
);

pub(super) static HEDGES: Instrument = Instrument::new(
    InstrumentKind::Counter,
    "memcached.client.hedges",
    "memcached_client_hedges_total",
    Count("{attempt}"),
    "Reads that were sent to a second server.",
);

pub(super) static FAILOVERS: Instrument = Instrument::new(
    InstrumentKind::Counter,
    "memcached.client.failovers",
    "memcached_client_failovers_total",
    Count("{attempt}"),
    "Attempts at another server after a failure.",
);

pub(super) static BYTES: Instrument = Instrument::new(
    InstrumentKind::Counter,
    "memcached.client.bytes",
    "memcached_client_bytes_total",
    Bytes,
    "Keys and values sent, and values received.",
);

pub(super) static SERVER_STATE: Instrument = Instrument::new(
    InstrumentKind::Gauge,
    "memcached.client.server.state",
    "memcached_client_server_state",
    Count("{server}"),
    "1 for the state that a server is in, 0 for the others.",
);

/// All metrics.
#[cfg(any(feature = "metrics", test))]
pub(super) static ALL: &[&Instrument] = &[
    &DURATION,
    &ROWS,
    &CONNECTIONS,
    &CREATE_TIME,
    &WAIT_TIME,
    &TIMEOUTS,
    &HITS,
    &MISSES,
    &RETRIES,
    &HEDGES,
    &FAILOVERS,
    &BYTES,
    &SERVER_STATE,
];

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the words of a text that look like metric names of the client.
    fn metrics_in(text: &str) -> impl Iterator<Item = &str> {
        let words = text.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'));
        words.filter(|word| word.starts_with("db_client_") || word.starts_with("memcached_client_"))
    }

    /// Returns whether this is a metric, or a series of a histogram.
    fn is_known(name: &str) -> bool {
        let base = ["_bucket", "_count", "_sum"].iter().find_map(|suffix| name.strip_suffix(suffix));
        ALL.iter().map(|instrument| instrument.prometheus_name).any(|known| name == known || base == Some(known))
    }

    #[test]
    fn the_document_has_every_metric_and_no_other() {
        let document = include_str!("../../../../../docs/observability.md");
        for Instrument { name, prometheus_name, unit, .. } in ALL {
            assert!(document.contains(&format!("`{name}`")), "{name}");
            assert!(document.contains(&format!("`{prometheus_name}`")), "{prometheus_name}");
            assert!(document.contains(&format!("| `{name}` | `{}` |", unit.ucum())), "{name} in {}", unit.ucum());
        }
        let unknown: Vec<_> = metrics_in(document).filter(|name| !is_known(name)).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    }

    #[test]
    fn dashboards_and_alerts_use_metrics_that_exist() {
        let dashboard = include_str!("../../../../../docs/monitoring/grafana-client.json");
        let alerts = include_str!("../../../../../docs/monitoring/alerts.yml");
        for name in metrics_in(dashboard).chain(metrics_in(alerts)) {
            assert!(is_known(name), "{name}");
        }
    }

    /// The names follow the translation that exporters of OpenTelemetry apply.
    #[test]
    fn names_in_prometheus_are_translated_ones() {
        for Instrument { kind, name, prometheus_name, unit, buckets, .. } in ALL {
            assert!(buckets.is_sorted(), "{name}");
            let mut translated = name.replace('.', "_");
            if matches!(unit, Seconds) {
                translated.push_str("_seconds");
            }
            if matches!(kind, InstrumentKind::Counter) {
                translated.push_str("_total");
            }
            assert!(*prometheus_name == translated || *name == CONNECTIONS.name, "{prometheus_name}, {translated}");
        }
    }
}
