//! No byte of a key reaches an exporter, unless that is asked for.

use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusBuilder;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider};
use remcache::observe::{Metrics, Spans};
use remcache::recipes::{Gcra, Limiter};
use remcache::value::Codec;
use remcache::{Cache, Client, Error};
use remcache_server::{Close, Fault, Server};
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::layer::SubscriberExt as _;

use super::otel::InMemory;
use crate::support::patient_config;

const MINUTE: Duration = Duration::from_secs(60);

/// What every random key has in it, so that a part of a key is found too.
const MARK: &[u8] = b"\xf1Qz7\x80";

/// Returns a key of random length and bytes, some of which are too long.
fn random_key(random: &mut fastrand::Rng) -> Vec<u8> {
    let longest = if random.u8(..8) == 0 { 400 } else { 200 };
    let mut key: Vec<u8> =
        (0..random.usize(..longest)).map(|_| random.u8(0x21..0xff)).filter(|byte| *byte != 0x7f).collect();
    let place = random.usize(..=key.len());
    key.splice(place..place, MARK.iter().copied());
    key
}

/// Calls everything that takes a key; the results do not matter.
async fn use_key(client: &Client, key: &[u8]) {
    let _ = client.set(key, "value").await;
    let _ = client.get(key).await;
    let _ = client.increment(key, 1).await;
    let _ = client.update(key, MINUTE, |_| Some("new".into())).await;
    let _ = client.get_many([key, b"other"]).await;
    let _ = client.set_many([(key, "value")]).await;
    let _ = client.fetch(key, MINUTE, || async { Ok::<_, Error>("value") }).await;
    let _ = client.invalidate(key, MINUTE).await;
    let _ = client.lock(key, MINUTE).await;
    let _ = client.delete(key).routing_key(key).await;
    let limiter = Limiter::new(client, key, Gcra::new(1, MINUTE)).unwrap();
    let _ = limiter.acquire(key).await;
    let cache = Cache::<u64>::new(client, key, Codec::integer());
    let _ = cache.get(key).await;
    let _ = cache.set(key, &1).await;
}

/// Writes what is logged to memory.
#[derive(Clone, Default)]
struct Log(Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Asserts that no form in which the mark could be shown is in a text.
#[track_caller]
fn assert_has_no_key(what: &str, text: &str) {
    let hexadecimal: String = MARK.iter().map(|byte| format!("{byte:02x}")).collect();
    let decimal = format!("{MARK:?}");
    let shown = ["Qz7", &hexadecimal, decimal.trim_matches(['[', ']'])].map(|form| text.find(form));
    assert_eq!(shown, [None; 3], "{what}: {text}");
}

/// Everything runs on one thread, where the recorder and the subscriber of the test are.
#[test]
fn no_byte_of_a_key_is_exported_by_default() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let (spans, log, metrics) = (InMemorySpanExporter::default(), Log::default(), InMemory::new());
    let provider = SdkTracerProvider::builder().with_simple_exporter(spans.clone()).build();
    let written = log.clone();
    let subscriber =
        tracing_subscriber::registry().with(tracing_opentelemetry::layer().with_tracer(provider.tracer("test"))).with(
            tracing_subscriber::fmt::layer()
                .with_ansi(false)
                .with_span_events(FmtSpan::CLOSE)
                .with_writer(move || written.clone()),
        );
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let seed = remcache_testkit::seed();
    let mut random = seed.rng();
    tracing::subscriber::with_default(subscriber, || {
        metrics::with_local_recorder(&recorder, || {
            runtime.block_on(async {
                let server = Server::start().await.unwrap();
                let config =
                    patient_config().observer(Spans::new()).observer(Metrics::new()).observer(metrics.observer());
                let client = Client::with_config([server.address()], config).unwrap();
                for round in 0..60 {
                    if round % 10 == 9 {
                        server.inject(Fault::Disconnect { after: 0, close: Close::Rst }.on_reply(2));
                    }
                    use_key(&client, &random_key(&mut random)).await;
                }
            });
        });
    });
    let logged = String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned();
    let traced = format!("{:?}", spans.get_finished_spans().unwrap());
    let counted = recorder.handle().render();
    let exported = format!("{:?}", metrics.exported());
    assert!(traced.contains("memcached.outcome") && counted.contains("operation=\"lock\""), "{counted}");
    assert!(logged.contains("db.operation.name=\"acquire\""), "{logged}");
    assert!(exported.contains("memcached.client.misses"), "{exported}");
    for (what, text) in [("log", logged), ("spans", traced), ("metrics", counted), ("OpenTelemetry", exported)] {
        assert_has_no_key(what, &text);
    }
}
