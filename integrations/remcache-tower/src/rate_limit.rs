//! A rate limit that all processes share.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::{HeaderName, HeaderValue, RETRY_AFTER};
use http::request::Parts;
use http::{HeaderMap, Request, Response, StatusCode};
use remcache::recipes::{Decision, Limiter, OnUnavailable};
use tower_layer::Layer;
use tower_service::Service;

use crate::digest;
use crate::service::{ResponseFuture, empty, retry_later, take_ready};

/// Limits the rate of requests, counted in memcached for all processes together.
///
/// While the cache is unavailable, requests pass uncounted after at most the [budget](RateLimitLayer::budget), unless
/// [`on_unavailable`](RateLimitLayer::on_unavailable) is set to reject them.
///
/// A request above the limit gets `429 Too Many Requests` with `Retry-After`. Responses to counted requests have the
/// fields `RateLimit-Limit`, `RateLimit-Remaining` and `RateLimit-Reset` (seconds), and the structured fields
/// `RateLimit-Policy` and `RateLimit` of the newer IETF drafts with the same values.
///
/// The rule is that of the [`Limiter`]: a [fixed window](remcache::recipes::FixedWindow) needs one command and allows
/// exactly its limit in each window; [GCRA](remcache::recipes::Gcra) spreads requests evenly and suits limits per user,
/// because concurrent requests under one key are serialized.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), remcache::Error> {
/// use std::net::SocketAddr;
/// use std::time::Duration;
/// use axum::extract::ConnectInfo;
/// use axum::{Router, routing::get};
/// use remcache::{Client, recipes::{FixedWindow, Limiter}};
/// use remcache_tower::RateLimitLayer;
///
/// let client = Client::new(["localhost"])?;
/// let limiter = Limiter::new(&client, "api", FixedWindow::new(100, Duration::from_secs(60)))?;
/// // Behind a proxy, use the address that the proxy reports.
/// let layer = RateLimitLayer::new(limiter, |request| {
///     request.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip().to_string())
/// });
/// let app: Router = Router::new().route("/", get(|| async { "Hello" })).layer(layer);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct RateLimitLayer {
    limiter: Limiter,
    key: KeyFn,
    on_unavailable: OnUnavailable,
    budget: Duration,
}

/// Returns the key under which a request is counted; `None` if it is not limited.
type KeyFn = Arc<dyn Fn(&Parts) -> Option<String> + Send + Sync>;

/// The service of [`RateLimitLayer`].
#[derive(Clone, Debug)]
pub struct RateLimit<S> {
    inner: S,
    layer: RateLimitLayer,
}

impl RateLimitLayer {
    /// Creates a layer that counts each request under the key that `key` returns, and lets requests without a key pass.
    ///
    /// A key can be any text: an address, a user, a token. The limiter's setting for an unavailable cache is replaced
    /// by that of the layer.
    pub fn new(limiter: Limiter, key: impl Fn(&Parts) -> Option<String> + Send + Sync + 'static) -> Self {
        Self {
            // The layer must receive failures to apply its own setting.
            limiter: limiter.on_unavailable(OnUnavailable::FailClosed),
            key: Arc::new(key),
            on_unavailable: OnUnavailable::FailOpen,
            budget: Duration::from_millis(100),
        }
    }

    /// Sets what happens to requests that cannot be counted (default: [`FailOpen`](OnUnavailable::FailOpen), they
    /// pass).
    ///
    /// With [`FailClosed`](OnUnavailable::FailClosed) they get `503 Service Unavailable` with `Retry-After: 1`.
    #[must_use]
    pub fn on_unavailable(self, on_unavailable: OnUnavailable) -> Self {
        Self { on_unavailable, ..self }
    }

    /// Sets the maximum time that the limiter adds to a request (default: 100 ms). A request that is not counted within
    /// it is treated as if the cache were [unavailable](RateLimitLayer::on_unavailable); it may be counted later.
    #[must_use]
    pub fn budget(self, budget: Duration) -> Self {
        Self { budget, ..self }
    }

    /// Counts a request; `None` if the cache did not do so within the budget.
    async fn count(&self, key: &str) -> Option<Decision> {
        let key = digest::key("", &[key.as_bytes()]);
        match tokio::time::timeout(self.budget, self.limiter.acquire(key)).await {
            Ok(Ok(decision)) => Some(decision),
            Ok(Err(error)) => {
                tracing::warn!(%error, "a request was not counted by the rate limit");
                None
            }
            Err(_) => {
                tracing::warn!(budget = ?self.budget, "the rate limit did not count a request within its budget");
                None
            }
        }
    }

    fn write_fields(&self, decision: &Decision, fields: &mut HeaderMap) {
        let (limit, remaining, reset) = (self.limiter.limit(), decision.remaining, seconds(decision.reset_after));
        fields.insert(LIMIT, limit.into());
        fields.insert(REMAINING, remaining.into());
        fields.insert(RESET, reset.into());
        let period = seconds(self.limiter.period());
        for (name, value) in [
            (RATE_LIMIT_POLICY, format!("\"default\";q={limit};w={period}")),
            (RATE_LIMIT, format!("\"default\";r={remaining};t={reset}")),
        ] {
            if let Ok(value) = HeaderValue::try_from(value) {
                fields.insert(name, value);
            }
        }
    }
}

impl<S> Layer<S> for RateLimitLayer {
    type Service = RateLimit<S>;

    fn layer(&self, inner: S) -> RateLimit<S> {
        RateLimit { inner, layer: self.clone() }
    }
}

impl<S, Q, R> Service<Request<Q>> for RateLimit<S>
where
    S: Service<Request<Q>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    Q: Send + 'static,
    R: Default,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = ResponseFuture<R, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        let (mut inner, layer) = (take_ready(&mut self.inner), self.layer.clone());
        ResponseFuture::new(async move {
            let (parts, body) = request.into_parts();
            let key = (layer.key)(&parts);
            let request = Request::from_parts(parts, body);
            let Some(key) = key else { return inner.call(request).await };
            match layer.count(&key).await {
                Some(decision) if decision.is_allowed => {
                    let mut response = inner.call(request).await?;
                    layer.write_fields(&decision, response.headers_mut());
                    Ok(response)
                }
                Some(decision) => {
                    let mut response = empty(StatusCode::TOO_MANY_REQUESTS);
                    layer.write_fields(&decision, response.headers_mut());
                    response.headers_mut().insert(RETRY_AFTER, seconds(decision.retry_after).max(1).into());
                    Ok(response)
                }
                None if layer.on_unavailable == OnUnavailable::FailOpen => inner.call(request).await,
                None => Ok(retry_later(StatusCode::SERVICE_UNAVAILABLE)),
            }
        })
    }
}

/// Returns whole seconds, rounded up, so that a client that waits for them is not early.
fn seconds(duration: Duration) -> u64 {
    duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0))
}

impl fmt::Debug for RateLimitLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimitLayer")
            .field("limiter", &self.limiter)
            .field("on_unavailable", &self.on_unavailable)
            .field("budget", &self.budget)
            .finish_non_exhaustive()
    }
}

const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
