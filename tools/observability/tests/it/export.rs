//! Traces and metrics of the example, as a collector receives them.

use std::time::Duration;

use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{HistogramDataPoint, Metric};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use remcache_testkit::{Memcached, ServerProcess};

use crate::collector::{Collector, attribute, number};
use crate::service;

/// Sends a request without blocking the collector.
async fn request(service: &ServerProcess, path: &str) -> (u16, String) {
    tokio::task::block_in_place(|| service.get(path))
}

/// Returns the span of this name and kind. A request to a server has the name of its operation, and is internal.
fn find<'s>(spans: &'s [Span], kind: SpanKind, name: &str) -> Option<&'s Span> {
    spans.iter().find(|span| span.name == name && span.kind() == kind)
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_of_operations_are_children_of_the_requests() {
    let (collector, server) = (Collector::start().await, [Memcached::start(&[])]);
    let service = service(&server, Some(&collector.address));
    let (host, port) = ("127.0.0.1", server[0].port());
    assert_eq!(request(&service, "/users/ada").await, (200, "stored".to_owned()));
    let get = format!("get {host}:{port}");
    let request_and_get = |spans: &[Span]| {
        let parent = find(spans, SpanKind::Server, "GET /users/ada")?.clone();
        Some((parent, find(spans, SpanKind::Client, &get)?.clone()))
    };
    let (parent, get) = collector.spans(request_and_get).await;
    assert_eq!((&get.parent_span_id, &get.trace_id), (&parent.span_id, &parent.trace_id));
    for (name, value) in [
        ("db.system.name", "memcached"),
        ("db.operation.name", "get"),
        ("server.address", host),
        ("network.peer.address", host),
        ("memcached.outcome", "miss"),
    ] {
        assert_eq!(attribute(&get.attributes, name).as_deref(), Some(value), "{name}: {:?}", get.attributes);
    }
    for (name, value) in [
        ("server.port", port.into()),
        ("network.peer.port", port.into()),
        ("memcached.key_count", 1),
        ("memcached.miss_count", 1),
        ("memcached.attempts", 1),
    ] {
        assert_eq!(number(&get.attributes, name), Some(value), "{name}: {:?}", get.attributes);
    }
    assert!(!format!("{get:?}").contains("ada"), "the key is not exported");
    assert!(collector.services().iter().all(|name| name == "shop"));

    // The time of a slow loader is in the span of the fetch, and not in its requests.
    assert_eq!(request(&service, "/pages/home?load_ms=300").await, (200, "600 bytes".to_owned()));
    let fetch = format!("fetch {host}:{port}");
    let fetch_and_children = |spans: &[Span]| {
        let fetch = find(spans, SpanKind::Client, &fetch)?.clone();
        let children = spans.iter().filter(|span| span.parent_span_id == fetch.span_id);
        Some((fetch.clone(), children.cloned().collect::<Vec<_>>()))
    };
    let (fetch, children) = collector.spans(fetch_and_children).await;
    assert_eq!(attribute(&fetch.attributes, "memcached.outcome").as_deref(), Some("loaded"));
    assert!(children.len() >= 2, "the lease and the store: {children:?}");
    let duration = |span: &Span| Duration::from_nanos(span.end_time_unix_nano - span.start_time_unix_nano);
    let on_server: Duration = children.iter().map(duration).sum();
    assert!(duration(&fetch) >= on_server + LOAD_TIME, "{on_server:?} of {:?}", duration(&fetch));
}

/// The time that the database takes.
const LOAD_TIME: Duration = Duration::from_millis(300);

/// Returns the points of a histogram.
fn points(metric: &Metric) -> &[HistogramDataPoint] {
    let Some(Data::Histogram(histogram)) = &metric.data else { panic!("{metric:?}") };
    &histogram.data_points
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_of_operations_arrive_with_their_attributes() {
    let (collector, server) = (Collector::start().await, [Memcached::start(&[])]);
    let service = service(&server, Some(&collector.address));
    for expected in ["stored", "cached", "cached"] {
        assert_eq!(request(&service, "/users/ada").await.1, expected);
    }
    let count = |metric: &Metric| points(metric).iter().map(|point| point.count).sum::<u64>();
    let duration = collector.metric("db.client.operation.duration", |metric| count(metric) == 4).await;
    assert_eq!(duration.unit, "s");
    let mut counts: Vec<_> = points(&duration)
        .iter()
        .map(|point| {
            let of = |name| attribute(&point.attributes, name).unwrap_or_default();
            assert_eq!(number(&point.attributes, "server.port"), Some(server[0].port().into()));
            assert_eq!(of("db.system.name"), "memcached");
            assert_eq!(point.explicit_bounds[0], 50e-6);
            (of("db.operation.name"), of("memcached.outcome"), point.count)
        })
        .collect();
    counts.sort();
    let expected = [("get", "hit", 2), ("get", "miss", 1), ("set", "ok", 1)];
    assert_eq!(counts, expected.map(|(operation, outcome, count)| (operation.into(), outcome.into(), count)));
    for name in ["memcached.client.hits", "memcached.client.bytes", "memcached.client.server.state"] {
        collector.metric(name, |_| true).await;
    }
}
