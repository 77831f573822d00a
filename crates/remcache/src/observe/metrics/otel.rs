//! Metrics with OpenTelemetry.

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram, Meter};

use super::instruments::Instrument;
use super::{Backend, Count, Labels, Metering, Record};
use crate::observe::{ConnectionChanged, Observer, OperationFinished, Outcome, ServerChanged};

/// Records metrics with OpenTelemetry, named by its semantic conventions for databases.
///
/// The attributes of each combination of operation, outcome and server are created once, so that an operation does not
/// allocate; the SDK looks them up under a shared read lock. Attributes never contain a key; beyond
/// [`ServerId::MAX_INDEX`](crate::observe::ServerId::MAX_INDEX) servers `server.address` is `other`. Histograms of
/// durations have the buckets [`DURATION_BUCKETS`](crate::observe::DURATION_BUCKETS), unless a view of the SDK replaces
/// them. [The document on observability](https://github.com/remcache/remcache/blob/main/docs/observability.md) has a
/// table of the names.
///
/// ```
/// use opentelemetry::global;
/// use remcache::observe::OtelMetrics;
/// use remcache::{Client, Config};
///
/// let metrics = OtelMetrics::new(&global::meter("remcache"));
/// let client = Client::with_config(["localhost"], Config::new().observer(metrics))?;
/// # Ok::<(), remcache::Error>(())
/// ```
#[derive(Debug)]
pub struct OtelMetrics(Metering<Otel>);

impl OtelMetrics {
    /// Creates the instruments with this meter.
    pub fn new(meter: &Meter) -> Self {
        Self(Metering::new(Otel(meter.clone())))
    }
}

impl Observer for OtelMetrics {
    fn operation_finished(&self, operation: &OperationFinished<'_>) {
        self.0.operation_finished(operation);
    }

    fn connection_changed(&self, change: &ConnectionChanged<'_>) {
        self.0.connection_changed(change);
    }

    fn server_changed(&self, change: &ServerChanged<'_>) {
        self.0.server_changed(change);
    }
}

/// The meter of the instruments. Instruments with the same name record to the same stream.
struct Otel(Meter);

impl Otel {
    fn attributes(labels: &Labels<'_>) -> Box<[KeyValue]> {
        let mut attributes = vec![KeyValue::new("db.system.name", "memcached")];
        let mut add = |key, value: Option<&'static str>| {
            attributes.extend(value.map(|value| KeyValue::new(key, value)));
        };
        add("db.operation.name", labels.operation.map(|operation| operation.as_str()));
        add("memcached.outcome", labels.outcome.map(Outcome::label));
        add("error.type", labels.outcome.and_then(Outcome::error_type));
        add("direction", labels.direction);
        add("state", labels.state);
        if let Some(server) = labels.server {
            let (address, port) = server.bounded();
            attributes.push(KeyValue::new("server.address", address.to_owned()));
            attributes.extend(port.map(|port| KeyValue::new("server.port", i64::from(port))));
        }
        attributes.into()
    }
}

macro_rules! build {
    ($meter:expr, $kind:ident, $instrument:expr) => {
        $meter.$kind($instrument.name).with_description($instrument.description).with_unit($instrument.unit.ucum())
    };
}

impl Backend for Otel {
    type Counter = WithAttributes<Counter<u64>>;
    type Histogram = WithAttributes<Histogram<f64>>;

    fn counter(&self, instrument: &'static Instrument, labels: &Labels<'_>) -> Self::Counter {
        let counter = build!(self.0, u64_counter, instrument).build();
        WithAttributes { instrument: counter, attributes: Self::attributes(labels) }
    }

    fn histogram(&self, instrument: &'static Instrument, labels: &Labels<'_>) -> Self::Histogram {
        let histogram = build!(self.0, f64_histogram, instrument).with_boundaries(instrument.buckets.to_vec()).build();
        WithAttributes { instrument: histogram, attributes: Self::attributes(labels) }
    }

    fn adjust(&self, instrument: &'static Instrument, labels: &Labels<'_>, change: i32) {
        build!(self.0, i64_up_down_counter, instrument).build().add(change.into(), &Self::attributes(labels));
    }

    fn set(&self, instrument: &'static Instrument, labels: &Labels<'_>, value: u32) {
        build!(self.0, u64_gauge, instrument).build().record(value.into(), &Self::attributes(labels));
    }
}

/// An instrument with its attributes.
struct WithAttributes<I> {
    instrument: I,
    attributes: Box<[KeyValue]>,
}

impl Count for WithAttributes<Counter<u64>> {
    fn add(&self, count: u64) {
        self.instrument.add(count, &self.attributes);
    }
}

impl Record for WithAttributes<Histogram<f64>> {
    fn record(&self, value: f64) {
        self.instrument.record(value, &self.attributes);
    }
}
