//! An axum service that exports what its cache does: traces and metrics by OTLP, and metrics for Prometheus.
//!
//! Start it with the memcached servers as arguments:
//!
//! ```sh
//! cargo run -p remcache-observability --example service -- localhost:11211
//! ```
//!
//! It prints the address that it listens on: `/pages/home` is cached with `fetch`, `/users/ada` with `get` and `set`,
//! `/users?names=ada,alan` with `get_many`, and `/metrics` is for Prometheus. Traces and metrics are sent to the
//! collector of `OTEL_EXPORTER_OTLP_ENDPOINT` (default: `http://localhost:4318`); the other variables of OpenTelemetry
//! work too.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::time::Duration;

use axum::extract::{Path, Query, Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::{Router, routing::get};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{MetricExporter, SpanExporter};
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use remcache::observe::{DURATION_BUCKETS, Metrics, OtelMetrics, Spans};
use remcache::policy::{Failover, Retries};
use remcache::recipes::FetchPolicy;
use remcache::{Client, Config, Error};
use tokio::net::TcpListener;
use tracing::{Instrument as _, info_span};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

#[tokio::main]
async fn main() -> Result<(), Box<dyn StdError>> {
    let telemetry = Telemetry::install()?;
    let config = Config::new()
        .namespace("shop:")
        .retries(Retries::up_to(1))
        .failover(Failover::next())
        .observer(Spans::new())
        .observer(Metrics::new())
        .observer(OtelMetrics::new(&telemetry.meters.meter("remcache")));
    let client = Client::with_config(std::env::args().skip(1), config)?;
    let prometheus = telemetry.prometheus.clone();
    let app = Router::new()
        .route("/pages/{name}", get(page))
        .route("/users/{name}", get(user))
        .route("/users", get(users))
        .with_state(client)
        .layer(middleware::from_fn(in_span))
        .route("/metrics", get(|| async move { prometheus.render() }));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    axum::serve(listener, app).with_graceful_shutdown(interrupted()).await?;
    if let Err(error) = telemetry.shut_down() {
        eprintln!("the last traces and metrics were not exported: {error}; is there a collector?");
    }
    Ok(())
}

/// The exporters of the process.
struct Telemetry {
    traces: SdkTracerProvider,
    meters: SdkMeterProvider,
    prometheus: PrometheusHandle,
}

impl Telemetry {
    /// Installs the exporters. The recorder of Prometheus must be there before the client's first operation.
    fn install() -> Result<Self, Box<dyn StdError>> {
        let durations = Matcher::Suffix("_seconds".to_owned());
        let prometheus =
            PrometheusBuilder::new().set_buckets_for_metric(durations, &DURATION_BUCKETS)?.install_recorder()?;
        let meters =
            SdkMeterProvider::builder().with_periodic_exporter(MetricExporter::builder().with_http().build()?).build();
        let traces =
            SdkTracerProvider::builder().with_batch_exporter(SpanExporter::builder().with_http().build()?).build();
        let layer = tracing_opentelemetry::layer().with_tracer(traces.tracer("service"));
        // Only these, because the exporter's own requests have spans too. `remcache` at debug has a span for each
        // server.
        let targets =
            Targets::new().with_target("service", LevelFilter::INFO).with_target("remcache", LevelFilter::DEBUG);
        tracing_subscriber::registry().with(layer.with_filter(targets)).init();
        Ok(Self { traces, meters, prometheus })
    }

    /// Exports the spans and metrics that were not exported yet.
    fn shut_down(self) -> Result<(), Box<dyn StdError>> {
        self.traces.shutdown()?;
        Ok(self.meters.shutdown()?)
    }
}

/// Opens a span for each request, which becomes the parent of the spans of the cache.
async fn in_span(request: Request, next: Next) -> Response {
    let name = format!("{} {}", request.method(), request.uri().path());
    let span = info_span!("request", otel.name = name, otel.kind = "server");
    next.run(request).instrument(span).await
}

/// Reads a page from the cache, or from the database. `load_ms` is how long the database takes, in milliseconds.
async fn page(State(client): State<Client>, Path(name): Path<String>, options: Options) -> Result<String, CacheError> {
    let load_ms = options.get("load_ms").and_then(|text| text.parse().ok()).unwrap_or(1);
    let policy = FetchPolicy::new(Duration::from_secs(10)).stale_for(Duration::from_secs(60));
    let load = move || async move {
        tokio::time::sleep(Duration::from_millis(load_ms)).await;
        Ok::<_, Error>("a page".repeat(100))
    };
    let page = client.fetch(format!("page:{name}"), policy, load).await?;
    Ok(format!("{} bytes", page.len()))
}

/// Reads a user from the cache, and stores it after a miss.
async fn user(State(client): State<Client>, Path(name): Path<String>) -> Result<&'static str, CacheError> {
    let key = format!("user:{name}");
    if client.get(&key).await?.is_some() {
        return Ok("cached");
    }
    client.set(&key, "a user").await?;
    Ok("stored")
}

/// Reads several users from the cache, and stores those that are missing.
async fn users(State(client): State<Client>, options: Options) -> Result<String, CacheError> {
    let names = options.get("names").map_or("", String::as_str);
    let keys: Vec<String> = names.split(',').map(|name| format!("user:{name}")).collect();
    let users = client.get_many(&keys).await;
    client.set_many(users.missing().map(|key| (key, "a user"))).await.into_result()?;
    Ok(format!("{} of {}", users.found().count(), keys.len()))
}

/// The parameters of a request.
type Options = Query<HashMap<String, String>>;

/// A failure of the cache.
struct CacheError(Error);

impl From<Error> for CacheError {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for CacheError {
    fn into_response(self) -> Response {
        (StatusCode::SERVICE_UNAVAILABLE, self.0.to_string()).into_response()
    }
}

/// Waits for the signal to stop.
async fn interrupted() {
    if tokio::signal::ctrl_c().await.is_err() {
        // The signal has its default effect: it ends the process.
        std::future::pending::<()>().await;
    }
}
