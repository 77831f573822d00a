//! Metrics with the `metrics` facade.

use ::metrics::{
    Counter, Histogram, Label, SharedString, counter, describe_counter, describe_gauge, describe_histogram, gauge,
    histogram,
};

use super::instruments::{self, Instrument, InstrumentKind, Unit};
use super::{Backend, Count, Labels, Metering, Record};
use crate::observe::{ConnectionChanged, Observer, OperationFinished, Outcome, ServerChanged};

/// Records counters, gauges and histograms with the recorder of the `metrics` crate.
///
/// Install the recorder before the first operation: handles are created once for each combination of operation, outcome
/// and server, so that an operation neither allocates nor takes a lock. Labels are `operation`, `outcome`, `server`,
/// `direction` and `state`, never a key; beyond [`ServerId::MAX_INDEX`](crate::observe::ServerId::MAX_INDEX) servers
/// the label is `other`. [The document on
/// observability](https://github.com/remcache/remcache/blob/main/docs/observability.md) has a table of the names.
///
/// ```
/// use remcache::observe::Metrics;
/// use remcache::{Client, Config};
///
/// let client = Client::with_config(["localhost"], Config::new().observer(Metrics::new()))?;
/// # Ok::<(), remcache::Error>(())
/// ```
#[derive(Debug)]
pub struct Metrics(Metering<Facade>);

impl Metrics {
    /// Describes the metrics to the recorder of the process.
    pub fn new() -> Self {
        instruments::ALL.iter().for_each(|instrument| describe(instrument));
        Self(Metering::new(Facade))
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Observer for Metrics {
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

fn describe(instrument: &Instrument) {
    let unit = match instrument.unit {
        Unit::Seconds => ::metrics::Unit::Seconds,
        Unit::Bytes => ::metrics::Unit::Bytes,
        Unit::Count(_) => ::metrics::Unit::Count,
    };
    let (name, description) = (instrument.prometheus_name, instrument.description);
    match instrument.kind {
        InstrumentKind::Counter => describe_counter!(name, unit, description),
        InstrumentKind::Gauge => describe_gauge!(name, unit, description),
        InstrumentKind::Histogram => describe_histogram!(name, unit, description),
    }
}

/// The recorder of the process.
struct Facade;

impl Backend for Facade {
    type Counter = Counter;
    type Histogram = Histogram;

    fn counter(&self, instrument: &'static Instrument, labels: &Labels<'_>) -> Counter {
        counter!(instrument.prometheus_name, labels_of(labels))
    }

    fn histogram(&self, instrument: &'static Instrument, labels: &Labels<'_>) -> Histogram {
        histogram!(instrument.prometheus_name, labels_of(labels))
    }

    fn adjust(&self, instrument: &'static Instrument, labels: &Labels<'_>, change: i32) {
        gauge!(instrument.prometheus_name, labels_of(labels)).increment(change);
    }

    fn set(&self, instrument: &'static Instrument, labels: &Labels<'_>, value: u32) {
        gauge!(instrument.prometheus_name, labels_of(labels)).set(value);
    }
}

fn labels_of(labels: &Labels<'_>) -> Vec<Label> {
    let server = labels.server.map_or(SharedString::const_str(""), |server| server.label().to_owned().into());
    let others = [
        ("operation", labels.operation.map(|operation| operation.as_str())),
        ("outcome", labels.outcome.map(Outcome::label)),
        ("direction", labels.direction),
        ("state", labels.state),
    ];
    let others = others.into_iter().filter_map(|(name, value)| Some(Label::new(name, value?)));
    others.chain([Label::new("server", server)]).collect()
}

impl Count for Counter {
    fn add(&self, count: u64) {
        self.increment(count);
    }
}

impl Record for Histogram {
    fn record(&self, value: f64) {
        self.record(value);
    }
}
