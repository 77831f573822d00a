//! Helpers shared by the middleware services.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::header::RETRY_AFTER;
use http::{HeaderValue, Response, StatusCode};

/// The future of a response, from the services of this crate.
///
/// # Cancel safety
/// Dropping it drops the request: see the [crate].
pub struct ResponseFuture<R, E>(Pin<Box<dyn Future<Output = Result<Response<R>, E>> + Send>>);

impl<R, E> ResponseFuture<R, E> {
    pub(crate) fn new(future: impl Future<Output = Result<Response<R>, E>> + Send + 'static) -> Self {
        Self(Box::pin(future))
    }
}

impl<R, E> Future for ResponseFuture<R, E> {
    type Output = Result<Response<R>, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl<R, E> fmt::Debug for ResponseFuture<R, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

/// Takes the service that is ready out of the middleware, and leaves a clone.
pub(crate) fn take_ready<S: Clone>(service: &mut S) -> S {
    let clone = service.clone();
    std::mem::replace(service, clone)
}

/// Returns a response without a body.
pub(crate) fn empty<R: Default>(status: StatusCode) -> Response<R> {
    let mut response = Response::new(R::default());
    *response.status_mut() = status;
    response
}

/// Returns a response without a body that asks the client to try again after a second.
pub(crate) fn retry_later<R: Default>(status: StatusCode) -> Response<R> {
    let mut response = empty(status);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}
