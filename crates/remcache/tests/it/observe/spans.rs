//! Spans of operations, as an OpenTelemetry exporter receives them.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use opentelemetry::trace::{SpanKind, Status, TracerProvider as _};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use remcache::observe::{KeyVisibility, Spans};
use remcache::policy::{Failover, Hedge, Retries};
use remcache::{Client, Config};
use remcache_server::{Close, Fault, Server};
use remcache_testkit::Memcached;
use tracing::Instrument as _;
use tracing::level_filters::LevelFilter;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};

use crate::support::patient_config;

/// The spans that the code of one test exports.
struct Exported {
    exporter: InMemorySpanExporter,
    provider: SdkTracerProvider,
    _guard: DefaultGuard,
}

impl Exported {
    fn at(level: LevelFilter) -> Self {
        let exporter = InMemorySpanExporter::default();
        let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        let spans =
            tracing_subscriber::filter::filter_fn(move |metadata| metadata.is_span() && *metadata.level() <= level);
        let subscriber = tracing_subscriber::registry().with(layer.with_filter(spans));
        Self { exporter, provider, _guard: tracing::subscriber::set_default(subscriber) }
    }

    fn take(&self) -> Vec<SpanData> {
        self.provider.force_flush().unwrap();
        let spans = self.exporter.get_finished_spans().unwrap();
        self.exporter.reset();
        spans
    }

    /// Returns the only span since the last call.
    #[track_caller]
    fn only(&self) -> SpanData {
        let spans = self.take();
        assert_eq!(spans.len(), 1, "{:?}", spans.iter().map(|span| &span.name).collect::<Vec<_>>());
        spans.into_iter().next().unwrap()
    }
}

fn attributes(span: &SpanData) -> BTreeMap<String, String> {
    span.attributes.iter().map(|pair| (pair.key.to_string(), pair.value.to_string())).collect()
}

#[track_caller]
fn assert_has(span: &SpanData, expected: &[(&str, &str)]) {
    let attributes = attributes(span);
    for (name, value) in expected {
        assert_eq!(attributes.get(*name).map(String::as_str), Some(*value), "{name}: {attributes:?}");
    }
}

fn observed(server: &str, config: Config) -> Client {
    Client::with_config([server], config.observer(Spans::new())).unwrap()
}

#[tokio::test]
async fn a_get_is_one_client_span() {
    let exported = Exported::at(LevelFilter::DEBUG);
    let server = Memcached::start(&[]);
    let client = observed(&server.addr(), patient_config());
    client.set("key", "value").await.unwrap();
    exported.take();
    client.get("key").await.unwrap();
    let get = exported.only();
    let (host, port) = server.addr().rsplit_once(':').map(|(host, port)| (host.to_owned(), port.to_owned())).unwrap();
    assert_eq!((get.name.as_ref(), &get.span_kind), (&*format!("get {}", server.addr()), &SpanKind::Client));
    assert_has(
        &get,
        &[
            ("db.system.name", "memcached"),
            ("db.operation.name", "get"),
            ("server.address", &host),
            ("server.port", &port),
            ("network.peer.address", &host),
            ("network.peer.port", &port),
            ("memcached.key_count", "1"),
            ("memcached.hit_count", "1"),
            ("memcached.miss_count", "0"),
            ("memcached.attempts", "1"),
            ("memcached.outcome", "hit"),
        ],
    );
    assert!(
        attributes(&get).contains_key("memcached.queued_us") && attributes(&get).contains_key("memcached.protocol")
    );
    client.get("absent").await.unwrap();
    let miss = exported.only();
    assert_eq!(miss.status, Status::Unset, "a miss is not an error");
    assert_has(&miss, &[("memcached.miss_count", "1"), ("memcached.outcome", "miss")]);
    client.set("key", "text").await.unwrap();
    exported.take();
    client.increment("key", 1).await.unwrap_err();
    let failed = exported.only();
    assert!(matches!(failed.status, Status::Error { .. }));
    assert_has(&failed, &[("error.type", "NonNumericValue"), ("db.response.status_code", "6")]);
}

#[tokio::test]
async fn a_multi_key_call_has_a_debug_child_span_per_server() {
    let servers = [Memcached::start(&[]), Memcached::start(&[]), Memcached::start(&[])];
    let keys: Vec<_> = (0..100).map(|n| format!("key{n}")).collect();
    for (level, children) in [(LevelFilter::INFO, 0), (LevelFilter::DEBUG, 3)] {
        let exported = Exported::at(level);
        let config = patient_config().observer(Spans::new());
        let client = Client::with_config(servers.iter().map(Memcached::addr), config).unwrap();
        let _ = client.get_many(&keys).await;
        let spans = exported.take();
        let (parents, exchanges): (Vec<_>, Vec<_>) = spans.iter().partition(|span| span.name == "get_many");
        assert_eq!((parents.len(), exchanges.len()), (1, children));
        assert_has(parents[0], &[("memcached.key_count", "100"), ("memcached.miss_count", "100")]);
        assert!(exchanges.iter().all(|child| child.parent_span_id == parents[0].span_context.span_id()));
        assert!(!attributes(parents[0]).contains_key("db.operation.batch.size"));
        let _ = client.set_many([("a", "1"), ("b", "2")]).await;
        let set = exported
            .take()
            .into_iter()
            .find(|span| span.name.starts_with("set_many") && span.span_kind == SpanKind::Client);
        assert_has(&set.unwrap(), &[("db.operation.batch.size", "2")]);
    }
}

#[tokio::test]
async fn the_child_span_of_a_server_that_does_not_answer_is_an_error() {
    const AWAY: &str = "127.0.0.1:1";
    let server = Memcached::start(&[]);
    let exported = Exported::at(LevelFilter::DEBUG);
    let config = patient_config().failover(Failover::next()).observer(Spans::new());
    let client = Client::with_config([AWAY, &server.addr()], config).unwrap();
    let found = client.get_many((0..100).map(|n| format!("key{n}"))).await;
    assert_eq!(found.missing().count(), 100);
    let spans = exported.take();
    let (failed, answered): (Vec<_>, Vec<_>) =
        spans.iter().partition(|span| span.name.ends_with(AWAY) && span.span_kind == SpanKind::Internal);
    assert!(!failed.is_empty() && answered.len() >= 2, "{spans:?}");
    for span in failed {
        assert!(matches!(span.status, Status::Error { .. }), "{span:?}");
        assert_has(span, &[("error.type", "Disconnected"), ("memcached.outcome", "Disconnected")]);
    }
    assert!(answered.iter().all(|span| span.status == Status::Unset), "{answered:?}");
}

#[tokio::test]
async fn a_call_with_retries_failovers_and_hedges_is_one_span() {
    let exported = Exported::at(LevelFilter::INFO);
    let server = Server::start().await.unwrap();
    let client = observed(&server.address(), patient_config().retries(Retries::up_to(1)));
    client.get("key").await.unwrap();
    exported.take();
    server.inject(Fault::Disconnect { after: 0, close: Close::Fin }.on_reply(1));
    client.get("key").await.unwrap();
    assert_has(&exported.only(), &[("memcached.attempts", "2"), ("memcached.retries", "1")]);

    let config = patient_config().failover(Failover::next()).observer(Spans::new());
    let client = Client::with_config(["127.0.0.1:1", &server.address()], config).unwrap();
    let is_there = |key: &String| client.locate(key).unwrap().unwrap().name() == "127.0.0.1:1";
    let key = (0..).map(|n| format!("key{n}")).find(is_there).unwrap();
    client.get(&key).await.unwrap();
    assert_has(&exported.only(), &[("memcached.failovers", "1"), ("memcached.outcome", "miss")]);

    let replica = Server::start().await.unwrap();
    let hedge = Hedge::after(Duration::from_millis(5)).max_percent(100);
    let config = patient_config().replicas(2).hedge(hedge).observer(Spans::new());
    let client = Client::with_config([server.address(), replica.address()], config).unwrap();
    client.set("key", "value").await.unwrap();
    exported.take();
    let is_primary = client.locate("key").unwrap().unwrap().name() == server.address();
    if is_primary { &server } else { &replica }.inject(Fault::BlackHole);
    client.get("key").await.unwrap();
    let hedged = exported.only();
    assert_eq!(hedged.span_kind, SpanKind::Client);
    assert_has(
        &hedged,
        &[
            ("memcached.hedges", "1"),
            ("memcached.attempts", "2"),
            ("memcached.failovers", "0"),
            ("memcached.outcome", "hit"),
        ],
    );
}

#[tokio::test]
async fn a_dropped_future_ends_its_span_as_cancelled() {
    let exported = Exported::at(LevelFilter::INFO);
    let server = Server::start().await.unwrap();
    let client = observed(&server.address(), patient_config());
    client.get("key").await.unwrap();
    exported.take();
    server.inject(Fault::BlackHole);
    tokio::time::timeout(Duration::from_millis(20), client.get("key")).await.unwrap_err();
    let cancelled = exported.only();
    assert_has(&cancelled, &[("error.type", "cancelled"), ("memcached.outcome", "cancelled")]);
    assert!(matches!(cancelled.status, Status::Error { .. }));
}

#[test]
fn the_parent_is_the_span_of_the_caller() {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    let dispatch = tracing::Dispatch::new(tracing_subscriber::registry().with(layer.with_filter(LevelFilter::INFO)));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    runtime.block_on(async {
        let server = Server::start().await.unwrap();
        let client = observed(&server.address(), patient_config());
        let mut callers = tokio::task::JoinSet::new();
        for n in 0..50 {
            let (client, dispatch) = (client.clone(), dispatch.clone());
            let caller = async move {
                let span = tracing::info_span!("caller", otel.name = format!("caller {n}"));
                let calls = async {
                    client.get(format!("key{n}")).await.unwrap();
                    client
                        .fetch(format!("page{n}"), Duration::from_secs(60), || async {
                            Ok::<_, remcache::Error>("page")
                        })
                        .await
                        .unwrap();
                };
                calls.instrument(span).await;
            };
            callers.spawn(tracing::instrument::WithSubscriber::with_subscriber(caller, dispatch));
        }
        callers.join_all().await;
    });
    provider.force_flush().unwrap();
    let spans = exporter.get_finished_spans().unwrap();
    let callers: HashMap<_, _> = spans
        .iter()
        .filter(|span| span.name.starts_with("caller"))
        .map(|span| (span.span_context.span_id(), span.span_context.trace_id()))
        .collect();
    let operations: Vec<_> = spans.iter().filter(|span| span.span_kind == SpanKind::Client).collect();
    assert_eq!((callers.len(), operations.len()), (50, 100));
    for span in operations {
        assert_eq!(callers.get(&span.parent_span_id), Some(&span.span_context.trace_id()), "{}", span.name);
    }
}

/// Returns all exported attributes and names as text.
fn text(spans: &[SpanData]) -> String {
    format!("{spans:?}")
}

#[tokio::test]
async fn a_setting_exports_keys_whole_or_hashed() {
    let exported = Exported::at(LevelFilter::TRACE);
    let server = Server::start().await.unwrap();
    let whole = Spans::new().keys(KeyVisibility::Full).namespace().query_text();
    let config = patient_config().namespace("ns:").observer(whole);
    let client = Client::with_config([server.address()], config).unwrap();
    client.get("visible").await.unwrap();
    let expected = [("memcached.key", "visible"), ("db.namespace", "ns:"), ("db.query.text", "get ?")];
    assert_has(&exported.only(), &expected);
    let config = patient_config().observer(Spans::new().keys(KeyVisibility::Hashed));
    let client = Client::with_config([server.address()], config).unwrap();
    client.get("hidden").await.unwrap();
    client.get("hidden").await.unwrap();
    let spans = exported.take();
    let hashes: Vec<_> = spans.iter().map(|span| attributes(span)["memcached.key"].clone()).collect();
    assert_eq!(hashes[0], hashes[1]);
    assert!(hashes[0].len() == 16 && !text(&spans).contains("hidden"));
}
