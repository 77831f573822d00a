//! Idempotency keys: a repeated request gets the response to the first one.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use http_body::Body;
use remcache::recipes::OnUnavailable;
use remcache::{Client, Error};
use serde::{Deserialize, Serialize};
use tower_layer::Layer;
use tower_service::Service;

use crate::digest;
use crate::service::{ResponseFuture, empty, retry_later, take_ready};
use crate::stored_response::{ReadBody, StoredResponse, decode, encode, read_body};

/// Executes requests with the same `Idempotency-Key` once, in all processes together.
///
/// While the cache is unavailable, requests are executed without this protection after at most the
/// [budget](IdempotencyLayer::budget), unless [`on_unavailable`](IdempotencyLayer::on_unavailable) is set to reject
/// them. memcached may evict items: the layer prevents accidental repetitions, but does not replace a unique constraint
/// in a database.
///
/// It applies to `POST` and `PATCH` requests with this field. The first one calls the handler in a separate task, so
/// that a client that disconnects does not interrupt it. Another request with the same key gets
///
/// - the same response with `Idempotency-Replayed: true`, if the first has completed;
/// - `409 Conflict` with `Retry-After: 1` while the first is executed, and if its response could not be stored;
/// - `422 Unprocessable Content` if it differs in method, path, query, content type or body.
///
/// Responses with a status of 500 and above are not stored, so that the client can try again. Keys of different users
/// are different: see [`scope`](IdempotencyLayer::scope).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), remcache::Error> {
/// use axum::{Router, routing::post};
/// use remcache_tower::IdempotencyLayer;
///
/// let client = remcache::Client::new(["localhost"])?;
/// let pay = || async { "paid" };
/// let app: Router = Router::new().route("/payments", post(pay)).layer(IdempotencyLayer::new(&client));
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct IdempotencyLayer {
    client: Client,
    scope: ScopeFn,
    on_unavailable: OnUnavailable,
    budget: Duration,
    ttl: Duration,
    handler_timeout: Duration,
    max_body: u64,
}

/// Returns the scope of a request's key.
type ScopeFn = Arc<dyn Fn(&Parts) -> Vec<u8> + Send + Sync>;

/// The service of [`IdempotencyLayer`].
#[derive(Clone, Debug)]
pub struct Idempotency<S> {
    inner: S,
    layer: IdempotencyLayer,
}

/// The state of a request, stored under its key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Record {
    /// A hash of the request.
    fingerprint: [u8; 32],
    progress: Progress,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Progress {
    Started,
    /// The request was executed, and its response cannot be stored.
    Executed,
    Finished(StoredResponse),
}

impl IdempotencyLayer {
    /// Creates a layer that stores responses on the client's servers.
    pub fn new(client: &Client) -> Self {
        Self {
            client: client.clone(),
            scope: Arc::new(|parts| {
                parts.headers.get(AUTHORIZATION).map_or(Vec::new(), |value| value.as_bytes().to_vec())
            }),
            on_unavailable: OnUnavailable::FailOpen,
            budget: Duration::from_millis(300),
            ttl: Duration::from_secs(86_400),
            handler_timeout: Duration::from_secs(60),
            max_body: 512 << 10,
        }
    }

    /// Sets the scope of keys (default: the `Authorization` field of the request): requests of different scopes never
    /// get each other's responses. Applications that authenticate by a cookie have to name the user here.
    #[must_use]
    pub fn scope(self, scope: impl Fn(&Parts) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self { scope: Arc::new(scope), ..self }
    }

    /// Sets what happens to requests whose key cannot be looked up (default: [`FailOpen`](OnUnavailable::FailOpen),
    /// they are executed).
    ///
    /// With [`FailClosed`](OnUnavailable::FailClosed) they get `503 Service Unavailable` with `Retry-After: 1`.
    #[must_use]
    pub fn on_unavailable(self, on_unavailable: OnUnavailable) -> Self {
        Self { on_unavailable, ..self }
    }

    /// Sets the maximum time that the cache adds to a request (default: 300 ms). A single command may take a third of
    /// it.
    #[must_use]
    pub fn budget(self, budget: Duration) -> Self {
        Self { budget, ..self }
    }

    /// Sets the TTL of stored responses (default: 24 hours).
    #[must_use]
    pub fn ttl(self, ttl: Duration) -> Self {
        Self { ttl, ..self }
    }

    /// Sets how long requests with the same key are rejected if the process that executes the first one ends
    /// (default: 60 s). It must exceed the time that any handler takes: after it the next request with the key is
    /// executed, even if the first one is still running.
    #[must_use]
    pub fn handler_timeout(self, timeout: Duration) -> Self {
        Self { handler_timeout: timeout, ..self }
    }

    /// Sets the maximum length of bodies that are read, in bytes (default: 512 KiB).
    ///
    /// Longer bodies of requests, and those without a known length, are not compared. Such responses are passed on
    /// and not stored. Keep it below the servers' item size limit.
    #[must_use]
    pub fn max_body(self, bytes: u64) -> Self {
        Self { max_body: bytes, ..self }
    }

    fn command_timeout(&self) -> Duration {
        self.budget / 3
    }

    /// Returns the key of a request's record; `None` if it has no idempotency key.
    fn key(&self, parts: &Parts) -> Option<String> {
        if parts.method != Method::POST && parts.method != Method::PATCH {
            return None;
        }
        let value = parts.headers.get(IDEMPOTENCY_KEY)?;
        Some(digest::key("idempotency:", &[&(self.scope)(parts), value.as_bytes()]))
    }

    /// Registers a request, or returns the record of an earlier one with the same key.
    async fn start(&self, key: &str, fingerprint: [u8; 32]) -> Result<Option<Record>, Error> {
        let started = encode(&Record { fingerprint, progress: Progress::Started });
        // The earlier record may expire between the two commands.
        for _ in 0..2 {
            let add = self.client.add(key, &started).ttl(self.handler_timeout).timeout(self.command_timeout() / 2);
            if add.await?.is_applied() {
                return Ok(None);
            }
            if let Some(item) = self.client.get(key).timeout(self.command_timeout() / 2).await? {
                let executed = Record { fingerprint, progress: Progress::Executed };
                return Ok(Some(decode(&item.value).unwrap_or(executed)));
            }
        }
        Ok(Some(Record { fingerprint, progress: Progress::Started }))
    }

    /// Stores the response to a request, or lets the client try again if it failed.
    async fn finish<R>(&self, key: &str, fingerprint: [u8; 32], response: Response<R>) -> Response<R>
    where
        R: Body<Data = Bytes> + From<Bytes>,
    {
        if response.status().is_server_error() {
            self.remove(key).await;
            return response;
        }
        let (parts, body) = response.into_parts();
        let (response, progress) = match read_body(body, self.max_body).await {
            ReadBody::Unread(body) => (Response::from_parts(parts, body), Progress::Executed),
            ReadBody::Failed => {
                let mut response = Response::new(R::from(Bytes::new()));
                *response.status_mut() = StatusCode::BAD_GATEWAY;
                (response, Progress::Executed)
            }
            ReadBody::Complete(body) => {
                let response = Response::from_parts(parts, body);
                let progress = Progress::Finished(StoredResponse::copy(&response));
                (response.map(R::from), progress)
            }
        };
        let record = encode(&Record { fingerprint, progress });
        if let Err(error) = self.client.set(key, record).ttl(self.ttl).timeout(self.command_timeout()).await {
            tracing::warn!(%error, "could not store the response to a request with an idempotency key");
        }
        response
    }

    async fn remove(&self, key: &str) {
        if let Err(error) = self.client.delete(key).timeout(self.command_timeout()).await {
            tracing::warn!(%error, "could not remove the record of a failed request with an idempotency key");
        }
    }

    /// Calls the handler in a separate task, and stores its response.
    async fn execute<S, Q, R>(
        self,
        mut inner: S,
        request: Request<Q>,
        key: String,
        fingerprint: [u8; 32],
    ) -> Result<Response<R>, S::Error>
    where
        S: Service<Request<Q>, Response = Response<R>> + Send + 'static,
        S::Future: Send,
        S::Error: Send,
        Q: Send + 'static,
        R: Body<Data = Bytes> + From<Bytes> + Send + 'static,
    {
        let (layer, task_key) = (self.clone(), key.clone());
        let task = tokio::spawn(async move {
            match inner.call(request).await {
                Ok(response) => Ok(layer.finish(&task_key, fingerprint, response).await),
                Err(error) => {
                    layer.remove(&task_key).await;
                    Err(error)
                }
            }
        });
        match task.await {
            Ok(result) => result,
            Err(failure) => {
                self.remove(&key).await;
                // The task is aborted only by the end of the runtime, which ends this future too.
                std::panic::resume_unwind(failure.into_panic())
            }
        }
    }
}

/// Returns the response to a request whose key was used before.
fn replay<R: From<Bytes> + Default>(record: Record, fingerprint: [u8; 32]) -> Response<R> {
    if record.fingerprint != fingerprint {
        return empty(StatusCode::UNPROCESSABLE_ENTITY);
    }
    let stored = match record.progress {
        Progress::Finished(stored) => stored.into_response(),
        Progress::Started | Progress::Executed => None,
    };
    match stored {
        Some(mut response) => {
            response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
            response
        }
        None => retry_later(StatusCode::CONFLICT),
    }
}

/// Returns the hash of a request, and the request again; `None` if its body cannot be read.
///
/// A body above the limit is not read and not part of the hash.
async fn fingerprint<Q>(request: Request<Q>, limit: u64) -> Option<(Request<Q>, [u8; 32])>
where
    Q: Body<Data = Bytes> + From<Bytes>,
{
    let (parts, body) = request.into_parts();
    let (body, hashed) = match read_body(body, limit).await {
        ReadBody::Complete(bytes) => (Q::from(bytes.clone()), bytes),
        ReadBody::Unread(body) => (body, Bytes::new()),
        ReadBody::Failed => return None,
    };
    let content_type = parts.headers.get(CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    let uri = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let hash = digest::hash(&[parts.method.as_str().as_bytes(), uri.as_bytes(), content_type, &hashed]);
    Some((Request::from_parts(parts, body), hash))
}

impl<S> Layer<S> for IdempotencyLayer {
    type Service = Idempotency<S>;

    fn layer(&self, inner: S) -> Idempotency<S> {
        Idempotency { inner, layer: self.clone() }
    }
}

impl<S, Q, R> Service<Request<Q>> for Idempotency<S>
where
    S: Service<Request<Q>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    Q: Body<Data = Bytes> + From<Bytes> + Send + 'static,
    R: Body<Data = Bytes> + From<Bytes> + Default + Send + 'static,
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
            let key = layer.key(&parts);
            let request = Request::from_parts(parts, body);
            let Some(key) = key else { return inner.call(request).await };
            let Some((request, fingerprint)) = fingerprint(request, layer.max_body).await else {
                return Ok(empty(StatusCode::BAD_REQUEST));
            };
            match layer.start(&key, fingerprint).await {
                Ok(None) => layer.execute(inner, request, key, fingerprint).await,
                Ok(Some(record)) => Ok(replay(record, fingerprint)),
                Err(error) => {
                    tracing::warn!(%error, "could not look up an idempotency key");
                    match layer.on_unavailable {
                        OnUnavailable::FailOpen => layer.execute(inner, request, key, fingerprint).await,
                        OnUnavailable::FailClosed => Ok(retry_later(StatusCode::SERVICE_UNAVAILABLE)),
                    }
                }
            }
        })
    }
}

impl fmt::Debug for IdempotencyLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdempotencyLayer")
            .field("client", &self.client)
            .field("on_unavailable", &self.on_unavailable)
            .field("budget", &self.budget)
            .finish_non_exhaustive()
    }
}

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
