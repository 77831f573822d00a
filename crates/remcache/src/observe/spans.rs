//! `tracing` spans of operations, shaped for `tracing-opentelemetry`.

use std::hash::{BuildHasher, RandomState};

use tracing::field::{Empty, debug, display};
use tracing::{Span, debug_span, info_span};

use super::{
    ActiveExchange, ActiveOperation, ExchangeFinished, ExchangeStarted, Observer, OperationFinished, OperationStarted,
    Outcome, ServerId,
};

/// Opens a span for each operation, named by the OpenTelemetry semantic conventions for databases.
///
/// Spans of operations have level info, spans of their exchanges with servers level debug, and all have the target
/// `remcache`. The parent is the span in which the caller first polls the operation. Keys are not exported, unless a
/// [setting](Self::keys) allows it. [The document on
/// observability](https://github.com/remcache/remcache/blob/main/docs/observability.md) has a table of the fields.
///
/// ```
/// use remcache::observe::Spans;
/// use remcache::{Client, Config};
///
/// let client = Client::with_config(["localhost"], Config::new().observer(Spans::new()))?;
/// # Ok::<(), remcache::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Spans {
    keys: KeyVisibility,
    has_namespace: bool,
    has_query: bool,
}

/// How keys are exported.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum KeyVisibility {
    /// Not at all.
    #[default]
    Hidden,
    /// As a hash, which is the same for equal keys within this process. Anyone who can run code in the process can
    /// guess short keys from it.
    Hashed,
    /// As escaped text. Keys may be personal data.
    Full,
}

impl Spans {
    /// Creates an observer whose spans have no keys, namespace or query text.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how the keys of single-key operations are exported, as `memcached.key` (default: not at all).
    #[must_use]
    pub fn keys(self, keys: KeyVisibility) -> Self {
        Self { keys, ..self }
    }

    /// Exports the client's namespace as `db.namespace` (default: not exported).
    #[must_use]
    pub fn namespace(self) -> Self {
        Self { has_namespace: true, ..self }
    }

    /// Exports the operation with a placeholder for its key as `db.query.text`: `get ?` (default: not exported).
    #[must_use]
    pub fn query_text(self) -> Self {
        Self { has_query: true, ..self }
    }

    fn record_options(&self, span: &Span, operation: &OperationStarted<'_>) {
        if self.has_namespace && !operation.namespace.is_empty() {
            span.record("db.namespace", display(operation.namespace.escape_ascii()));
        }
        if self.has_query {
            span.record("db.query.text", display(format_args!("{} ?", operation.operation)));
        }
        match (&self.keys, operation.key) {
            (KeyVisibility::Hidden, _) | (_, None) => {}
            (KeyVisibility::Full, Some(key)) => _ = span.record("memcached.key", display(key.escape_ascii())),
            (KeyVisibility::Hashed, Some(key)) => {
                span.record("memcached.key", display(format_args!("{:016x}", seed().hash_one(key))));
            }
        }
    }
}

/// Returns the process-wide seed of key hashes.
fn seed() -> &'static RandomState {
    static SEED: std::sync::LazyLock<RandomState> = std::sync::LazyLock::new(RandomState::new);
    &SEED
}

fn record_server(span: &Span, server: &ServerId) {
    span.record("server.address", server.address());
    if let Some(port) = server.non_default_port() {
        span.record("server.port", int(port));
    }
}

fn span_name(operation: super::OperationName, server: Option<&ServerId>) -> String {
    match server.map(|server| (server, server.port())) {
        Some((server, Some(port))) => format!("{operation} {}:{port}", server.address()),
        Some((server, None)) => format!("{operation} {}", server.address()),
        None => operation.to_string(),
    }
}

impl Observer for Spans {
    fn operation_started(&self, operation: &OperationStarted<'_>) -> Option<Box<dyn ActiveOperation>> {
        let span = info_span!(
            target: "remcache",
            "operation",
            otel.name = Empty,
            otel.kind = "client",
            otel.status_code = Empty,
            otel.status_description = Empty,
            db.system.name = "memcached",
            db.operation.name = operation.operation.as_str(),
            db.operation.batch.size = Empty,
            db.namespace = Empty,
            db.query.text = Empty,
            db.response.status_code = Empty,
            server.address = Empty,
            server.port = Empty,
            network.peer.address = Empty,
            network.peer.port = Empty,
            error.type = Empty,
            memcached.key = Empty,
            memcached.key_count = int(operation.keys),
            memcached.hit_count = Empty,
            memcached.miss_count = Empty,
            memcached.attempts = Empty,
            memcached.retries = Empty,
            memcached.hedges = Empty,
            memcached.failovers = Empty,
            memcached.queued_us = Empty,
            memcached.connecting_us = Empty,
            memcached.protocol = Empty,
            memcached.outcome = Empty,
        );
        if span.is_disabled() {
            return None;
        }
        span.record("otel.name", span_name(operation.operation, operation.server));
        if let Some(server) = operation.server {
            record_server(&span, server);
        }
        if operation.operation.is_batch() && operation.keys >= 2 {
            span.record("db.operation.batch.size", int(operation.keys));
        }
        self.record_options(&span, operation);
        Some(Box::new(ActiveSpan { span, has_server: operation.server.is_some() }))
    }
}

/// The span of an operation.
struct ActiveSpan {
    span: Span,
    has_server: bool,
}

impl ActiveOperation for ActiveSpan {
    fn exchange_started(&self, exchange: &ExchangeStarted<'_>) -> Option<Box<dyn ActiveExchange>> {
        let span = debug_span!(
            target: "remcache",
            parent: &self.span,
            "exchange",
            otel.name = Empty,
            otel.kind = "internal",
            otel.status_code = Empty,
            otel.status_description = Empty,
            db.system.name = "memcached",
            db.operation.name = exchange.operation.as_str(),
            db.response.status_code = Empty,
            server.address = Empty,
            server.port = Empty,
            network.peer.address = Empty,
            network.peer.port = Empty,
            error.type = Empty,
            memcached.key_count = int(exchange.keys),
            memcached.protocol = Empty,
            memcached.outcome = Empty,
        );
        if span.is_disabled() {
            return None;
        }
        span.record("otel.name", span_name(exchange.operation, Some(exchange.server)));
        record_server(&span, exchange.server);
        Some(Box::new(ExchangeSpan(span)))
    }

    fn finished(&self, operation: &OperationFinished<'_>) {
        let span = &self.span;
        if let (Some(server), false) = (operation.server, self.has_server) {
            record_server(span, server);
            span.record("otel.name", span_name(operation.operation, Some(server)));
        }
        if operation.operation.is_read() {
            span.record("memcached.hit_count", int(operation.hits));
            span.record("memcached.miss_count", int(operation.misses));
        }
        span.record("memcached.attempts", int(operation.attempts));
        span.record("memcached.retries", int(operation.retries));
        span.record("memcached.hedges", int(operation.hedges));
        span.record("memcached.failovers", int(operation.failovers));
        span.record("memcached.queued_us", int(operation.queued.as_micros()));
        span.record("memcached.connecting_us", int(operation.connecting.as_micros()));
        record_end(span, operation.outcome, operation.protocol, operation.peer, operation.status);
    }
}

/// The span of an exchange.
struct ExchangeSpan(Span);

impl ActiveExchange for ExchangeSpan {
    fn finished(&self, exchange: &ExchangeFinished<'_>) {
        record_end(&self.0, exchange.outcome, exchange.protocol, exchange.peer, exchange.status);
    }
}

fn record_end(
    span: &Span,
    outcome: Outcome,
    protocol: Option<crate::proto::Protocol>,
    peer: Option<std::net::SocketAddr>,
    status: Option<crate::proto::Status>,
) {
    span.record("memcached.outcome", outcome.label());
    if let Some(protocol) = protocol {
        span.record("memcached.protocol", protocol.name());
    }
    if let Some(peer) = peer {
        span.record("network.peer.address", display(peer.ip()));
        span.record("network.peer.port", int(peer.port()));
    }
    if let Some(error) = outcome.error_type() {
        span.record("error.type", error);
        span.record("otel.status_code", "ERROR");
        span.record("otel.status_description", debug(outcome));
        if let Some(status) = status {
            span.record("db.response.status_code", display(status.code()));
        }
    }
}

/// Converts a number to the type that OpenTelemetry has for it: tracing-opentelemetry exports all others as text.
fn int(number: impl TryInto<i64>) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}
