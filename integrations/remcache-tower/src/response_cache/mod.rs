//! A cache of responses that all processes share.

mod directives;
mod entry;
mod handler;
mod lookup;

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_UNMODIFIED_SINCE, RANGE, UPGRADE};
use http::{HeaderMap, Method, Request, Response};
use http_body::Body;
use remcache::Client;
use remcache::recipes::FetchPolicy;
use tower_layer::Layer;
use tower_service::Service;

use crate::digest;
use crate::service::{ResponseFuture, take_ready};
use directives::{Directives, is_authorized};
use handler::Handler;
use lookup::Lookup;

/// Stores responses in memcached, and answers later requests with them.
///
/// While the cache is unavailable, every request reaches the handler after at most the
/// [budget](ResponseCacheLayer::budget).
///
/// - **Only what the handler allows is stored**: responses to `GET` that name their lifetime, by `Cache-Control:
///   max-age=…` or `s-maxage=…` or by `Expires`, unless they have `no-store`, `no-cache`, `private`, `Vary: *` or
///   `Set-Cookie`. Their status is 200, 203, 204, 301, 308, 404 or 410.
/// - **`Vary`**: requests get the response to a request with the same values of the fields that it names.
/// - **`Authorization`**: requests with this field share responses only with each other, and only responses that have
///   `public`, `s-maxage` or `must-revalidate`. Handlers that read cookies have to send `private` or
///   `Vary: Cookie`.
/// - **One call for many misses**: of all requests that miss a response, in all processes, one calls the handler; the
///   others wait for its response. A URI whose response was not storable is passed on without waiting for some seconds.
/// - **`no-store`, `no-cache`, `max-age` and `only-if-cached`** of requests are honoured, and `If-None-Match` is
///   answered with `304 Not Modified`.
/// - **Changes**: a `POST`, `PUT`, `PATCH` or `DELETE` that succeeds or redirects removes the responses of its URI.
///
/// Responses from the cache have `Age` and `Cache-Status: remcache; hit`. Bodies without a known length, such as event
/// streams, are passed on and not stored. The clocks of all processes must agree to a second.
///
/// Responses are stored under a hash of host, path and query as the layer sees them: inside of a nested router that
/// strips a prefix, give each its own [`prefix`](ResponseCacheLayer::prefix).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), remcache::Error> {
/// use axum::{Router, routing::get};
/// use remcache_tower::ResponseCacheLayer;
///
/// let client = remcache::Client::new(["localhost"])?;
/// let page = || async { ([("cache-control", "public, max-age=60")], "Hello") };
/// let app: Router = Router::new().route("/", get(page)).layer(ResponseCacheLayer::new(&client));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct ResponseCacheLayer {
    client: Client,
    prefix: Arc<str>,
    budget: Duration,
    max_body: u64,
    handler_timeout: Duration,
}

/// The service of [`ResponseCacheLayer`].
#[derive(Clone, Debug)]
pub struct ResponseCache<S> {
    inner: S,
    layer: ResponseCacheLayer,
}

impl ResponseCacheLayer {
    /// Creates a layer that stores responses on the client's servers.
    pub fn new(client: &Client) -> Self {
        Self {
            client: client.clone(),
            prefix: "response:".into(),
            budget: Duration::from_millis(500),
            max_body: 512 << 10,
            handler_timeout: Duration::from_secs(30),
        }
    }

    /// Sets the prefix of keys (default: `response:`). Layers with the same prefix share responses.
    #[must_use]
    pub fn prefix(self, prefix: impl Into<Arc<str>>) -> Self {
        Self { prefix: prefix.into(), ..self }
    }

    /// Sets the maximum time that the cache adds to a request (default: 500 ms), without the wait for the
    /// handler of another request. A single command may take a fifth of it.
    #[must_use]
    pub fn budget(self, budget: Duration) -> Self {
        Self { budget, ..self }
    }

    /// Sets the maximum length of a stored body, in bytes (default: 512 KiB). Keep it below the servers' item size
    /// limit.
    #[must_use]
    pub fn max_body(self, bytes: u64) -> Self {
        Self { max_body: bytes, ..self }
    }

    /// Sets how long a request waits for the handler that another request has called, before it calls its own (default:
    /// 30 s). A handler that fails or is dropped releases the others immediately.
    #[must_use]
    pub fn handler_timeout(self, timeout: Duration) -> Self {
        Self { handler_timeout: timeout, ..self }
    }

    /// Returns the timeout of a single command: a request sends at most five.
    fn command_timeout(&self) -> Duration {
        self.budget / 5
    }

    fn policy(&self) -> FetchPolicy {
        let policy = FetchPolicy::new(MAX_TTL).timeout(self.command_timeout());
        policy.lease(self.handler_timeout).wait_up_to(self.handler_timeout)
    }

    /// Returns the key of a request's responses. Requests with credentials have a different key, so that a private
    /// response does not prevent others from being stored.
    fn key<B>(&self, request: &Request<B>, is_authorized: bool) -> String {
        let uri = request.uri();
        let host = request.headers().get(HOST).map_or(&b""[..], |host| host.as_bytes());
        let host = uri.authority().map_or(host, |authority| authority.as_str().as_bytes());
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        digest::key(&self.prefix, &[&host.to_ascii_lowercase(), path.as_bytes(), &[u8::from(is_authorized)]])
    }

    /// Removes the responses of a URI after a change.
    async fn remove(&self, keys: [String; 2]) {
        for (_, result) in self.client.delete_many(keys).timeout(self.command_timeout()).await {
            if let Err(error) = result {
                tracing::warn!(%error, "could not remove a stored response after a change of its URI");
            }
        }
    }
}

impl<S> Layer<S> for ResponseCacheLayer {
    type Service = ResponseCache<S>;

    fn layer(&self, inner: S) -> ResponseCache<S> {
        ResponseCache { inner, layer: self.clone() }
    }
}

impl<S, Q, R> Service<Request<Q>> for ResponseCache<S>
where
    S: Service<Request<Q>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    Q: Send + 'static,
    R: Body<Data = Bytes> + From<Bytes> + Send + 'static,
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
            match Plan::of(&request) {
                Plan::PassOn => inner.call(request).await,
                Plan::Invalidate => {
                    let keys = [false, true].map(|is_authorized| layer.key(&request, is_authorized));
                    let response = inner.call(request).await?;
                    if response.status().is_success() || response.status().is_redirection() {
                        layer.remove(keys).await;
                    }
                    Ok(response)
                }
                Plan::Cache(requirements) => {
                    let key = layer.key(&request, requirements.is_authorized);
                    Lookup { layer, key, requirements, handler: Handler::new(inner, request) }.respond().await
                }
            }
        })
    }
}

/// How a request is processed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Plan {
    /// The handler is called.
    PassOn,
    /// The handler is called, and the stored responses of the URI are removed.
    Invalidate,
    /// A stored response is returned, or the handler is called and its response stored.
    Cache(Requirements),
}

/// Requirements of a request for a stored response.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Requirements {
    directives: Directives,
    is_authorized: bool,
    /// Whether no response of another request's handler may satisfy it, so that waiting for one is useless.
    must_not_wait: bool,
}

impl Plan {
    fn of<B>(request: &Request<B>) -> Self {
        let (method, fields) = (request.method(), request.headers());
        let directives = Directives::parse(fields);
        match *method {
            Method::GET if directives.no_store || has(fields, &[RANGE, UPGRADE]) => Self::PassOn,
            Method::GET => {
                let is_authorized = is_authorized(fields);
                let must_not_wait = directives.no_cache
                    || directives.only_if_cached
                    || directives.max_age.is_some()
                    || has(fields, &[IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_UNMODIFIED_SINCE]);
                Self::Cache(Requirements { directives, is_authorized, must_not_wait })
            }
            Method::HEAD | Method::OPTIONS | Method::TRACE | Method::CONNECT => Self::PassOn,
            _ => Self::Invalidate,
        }
    }
}

fn has(fields: &HeaderMap, names: &[http::HeaderName]) -> bool {
    names.iter().any(|name| fields.contains_key(name))
}

/// TTL of an item until that of its response is known.
const MAX_TTL: Duration = Duration::from_secs(86_400);
