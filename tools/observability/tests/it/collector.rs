//! A collector that stores the data that it receives by OTLP.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use tokio::net::TcpListener;

/// The data that a collector has received.
#[derive(Default)]
struct Received {
    services: Vec<String>,
    spans: Vec<Span>,
    /// The last state of each metric.
    metrics: BTreeMap<String, Metric>,
}

/// A collector that listens on a free port.
#[derive(Clone)]
pub(crate) struct Collector {
    pub(crate) address: String,
    received: Arc<Mutex<Received>>,
}

impl Collector {
    pub(crate) async fn start() -> Self {
        let received = Arc::default();
        let app = Router::new()
            .route("/v1/traces", post(traces))
            .route("/v1/metrics", post(metrics))
            .with_state(Arc::clone(&received));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { address, received }
    }

    /// Waits until a function finds what it looks for among the spans.
    pub(crate) async fn spans<T>(&self, find: impl Fn(&[Span]) -> Option<T>) -> T {
        self.wait_for("spans", |received| find(&received.spans)).await
    }

    /// Waits until a metric has arrived in this state, and returns it.
    pub(crate) async fn metric(&self, name: &str, is_complete: impl Fn(&Metric) -> bool) -> Metric {
        self.wait_for(name, |received| received.metrics.get(name).filter(|metric| is_complete(metric)).cloned()).await
    }

    /// Returns the names of the services that have sent traces.
    pub(crate) fn services(&self) -> Vec<String> {
        self.received.lock().unwrap().services.clone()
    }

    async fn wait_for<T>(&self, what: &str, find: impl Fn(&Received) -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            if let Some(found) = find(&self.received.lock().unwrap()) {
                return found;
            }
            assert!(start.elapsed() < Duration::from_secs(60), "{what} did not arrive");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn traces(State(received): State<Arc<Mutex<Received>>>, body: Bytes) {
    let request = ExportTraceServiceRequest::decode(body).unwrap();
    let mut received = received.lock().unwrap();
    for resource in request.resource_spans {
        received.services.extend(attribute(&resource.resource.unwrap_or_default().attributes, "service.name"));
        received.spans.extend(resource.scope_spans.into_iter().flat_map(|scope| scope.spans));
    }
}

async fn metrics(State(received): State<Arc<Mutex<Received>>>, body: Bytes) {
    let request = ExportMetricsServiceRequest::decode(body).unwrap();
    let mut received = received.lock().unwrap();
    for resource in request.resource_metrics {
        let metrics = resource.scope_metrics.into_iter().flat_map(|scope| scope.metrics);
        received.metrics.extend(metrics.map(|metric| (metric.name.clone(), metric)));
    }
}

/// Returns the value of an attribute that is a text.
pub(crate) fn attribute(attributes: &[KeyValue], name: &str) -> Option<String> {
    match value(attributes, name)? {
        Value::StringValue(text) => Some(text),
        other => panic!("{name}: {other:?}"),
    }
}

/// Returns the value of an attribute that is a number.
pub(crate) fn number(attributes: &[KeyValue], name: &str) -> Option<i64> {
    match value(attributes, name)? {
        Value::IntValue(number) => Some(number),
        other => panic!("{name}: {other:?}"),
    }
}

fn value(attributes: &[KeyValue], name: &str) -> Option<Value> {
    attributes.iter().find(|attribute| attribute.key == name)?.value.clone()?.value
}
