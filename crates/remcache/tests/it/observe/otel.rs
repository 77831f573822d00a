//! Metrics of operations, as an exporter of OpenTelemetry receives them.

use std::collections::BTreeMap;

use opentelemetry::KeyValue;
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData, ResourceMetrics};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, SdkMeterProvider};
use remcache::observe::{DURATION_BUCKETS, OtelMetrics};
use remcache::{Client, Config};
use remcache_server::Server;

use crate::support::patient_config;

/// The data that one instrument has exported: its unit, and its values by attributes.
#[derive(Debug, Default)]
struct Exported {
    unit: String,
    values: BTreeMap<String, f64>,
    bounds: Vec<f64>,
}

/// Metrics that are kept in the process.
pub(super) struct InMemory {
    exporter: InMemoryMetricExporter,
    provider: SdkMeterProvider,
}

impl InMemory {
    pub(super) fn new() -> Self {
        let exporter = InMemoryMetricExporter::default();
        let provider = SdkMeterProvider::builder().with_periodic_exporter(exporter.clone()).build();
        Self { exporter, provider }
    }

    pub(super) fn observer(&self) -> OtelMetrics {
        OtelMetrics::new(&self.provider.meter("remcache"))
    }

    /// Returns what was exported by now.
    pub(super) fn exported(&self) -> Vec<ResourceMetrics> {
        self.provider.force_flush().unwrap();
        self.exporter.get_finished_metrics().unwrap()
    }
}

fn text<'a>(attributes: impl Iterator<Item = &'a KeyValue>) -> String {
    let mut pairs: Vec<_> = attributes.map(|pair| format!("{}={}", pair.key, pair.value)).collect();
    pairs.sort();
    pairs.join(",")
}

/// Returns the last state of each instrument.
fn instruments(exported: &[ResourceMetrics]) -> BTreeMap<String, Exported> {
    let mut instruments = BTreeMap::new();
    let scopes = exported.last().into_iter().flat_map(ResourceMetrics::scope_metrics);
    for metric in scopes.flat_map(|scope| scope.metrics()) {
        let mut found = Exported { unit: metric.unit().to_owned(), ..Exported::default() };
        match metric.data() {
            AggregatedMetrics::U64(MetricData::Sum(sum)) => {
                found.values.extend(sum.data_points().map(|point| (text(point.attributes()), point.value() as f64)));
            }
            AggregatedMetrics::I64(MetricData::Sum(sum)) => {
                found.values.extend(sum.data_points().map(|point| (text(point.attributes()), point.value() as f64)));
            }
            AggregatedMetrics::U64(MetricData::Gauge(gauge)) => {
                found.values.extend(gauge.data_points().map(|point| (text(point.attributes()), point.value() as f64)));
            }
            AggregatedMetrics::F64(MetricData::Histogram(histogram)) => {
                for point in histogram.data_points() {
                    found.values.insert(text(point.attributes()), point.count() as f64);
                    found.bounds = point.bounds().collect();
                }
            }
            other => panic!("{}: {other:?}", metric.name()),
        }
        instruments.insert(metric.name().to_owned(), found);
    }
    instruments
}

#[tokio::test]
async fn instruments_have_the_names_units_and_attributes_of_the_conventions() {
    let server = Server::start().await.unwrap();
    let metrics = InMemory::new();
    let client = Client::with_config([server.address()], patient_config().observer(metrics.observer())).unwrap();
    client.set("key", "value").await.unwrap();
    client.get("key").await.unwrap();
    client.get("key").await.unwrap();
    client.get("absent").await.unwrap();
    client.increment("key", 1).await.unwrap_err();
    assert!(client.get_many(["key", "absent", "missing"]).await.is_complete());

    let found = instruments(&metrics.exported());
    let (host, port) =
        server.address().rsplit_once(':').map(|(host, port)| (host.to_owned(), port.to_owned())).unwrap();
    let at = format!("db.system.name=memcached,server.address={host},server.port={port}");
    let of = |operation: &str, more: &str| {
        format!("db.operation.name={operation},db.system.name=memcached{more},server.address={host},server.port={port}")
    };
    let duration = &found["db.client.operation.duration"];
    assert_eq!((&*duration.unit, &*duration.bounds), ("s", &DURATION_BUCKETS[..]));
    assert_eq!(duration.values[&of("get", ",memcached.outcome=hit")], 2.0);
    assert_eq!(duration.values[&of("get", ",memcached.outcome=miss")], 1.0);
    let failed = of("increment", ",error.type=NonNumericValue,memcached.outcome=NonNumericValue");
    assert_eq!(duration.values[&failed], 1.0, "{:?}", duration.values);
    let rows = &found["db.client.response.returned_rows"];
    assert_eq!((&*rows.unit, rows.values[&of("get_many", "")]), ("{row}", 1.0));
    assert_eq!(found["memcached.client.hits"].values[&of("get", "")], 2.0);
    assert_eq!(found["memcached.client.misses"].values[&of("get_many", "")], 2.0);
    assert_eq!(found["memcached.client.hits"].unit, "{key}");
    let bytes = &found["memcached.client.bytes"];
    assert_eq!(
        (&*bytes.unit, bytes.values[&format!("{},direction=received,{}", "db.system.name=memcached", &at[25..])]),
        ("By", 15.0)
    );
    let connections = &found["db.client.connection.count"];
    assert_eq!((&*connections.unit, connections.values[&format!("{at},state=connected")]), ("{connection}", 1.0));
    assert_eq!(connections.values[&format!("{at},state=connecting")], 0.0);
    let state = &found["memcached.client.server.state"];
    assert_eq!((&*state.unit, state.values[&format!("{at},state=connected")]), ("{server}", 1.0));
    assert_eq!(
        (&*found["db.client.connection.create_time"].unit, found["db.client.connection.create_time"].values[&at]),
        ("s", 1.0)
    );
    assert_eq!(found["db.client.connection.wait_time"].unit, "s");

    client.close().await;
    let closed = &instruments(&metrics.exported())["memcached.client.server.state"];
    assert_eq!(closed.values[&format!("{at},state=closed")], 1.0);
}

#[tokio::test]
async fn two_clients_share_the_instruments_of_a_meter() {
    let server = Server::start().await.unwrap();
    let metrics = InMemory::new();
    for _ in 0..2 {
        let config = Config::new().observer(metrics.observer());
        let client = Client::with_config([server.address()], config).unwrap();
        client.get("absent").await.unwrap();
    }
    let found = instruments(&metrics.exported());
    assert_eq!(found["memcached.client.misses"].values.values().sum::<f64>(), 2.0);
}
