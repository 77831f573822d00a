//! The handler of one request, which is called at most once.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{HeaderMap, Request, Response};
use tower_service::Service;

/// A service and its request, and after the call its result.
///
/// Clones share the state: a fetch calls the handler, and the request takes the result.
pub(super) struct Handler<S, Q, R, E>(Arc<Mutex<State<S, Q, R, E>>>);

enum State<S, Q, R, E> {
    Waiting(S, Request<Q>),
    Called,
    Finished(Result<Response<R>, E>),
}

impl<S, Q, R, E> Handler<S, Q, R, E>
where
    S: Service<Request<Q>, Response = Response<R>, Error = E>,
{
    pub(super) fn new(service: S, request: Request<Q>) -> Self {
        Self(Arc::new(Mutex::new(State::Waiting(service, request))))
    }

    fn lock(&self) -> MutexGuard<'_, State<S, Q, R, E>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the request's fields, while the handler has not been called.
    pub(super) fn fields(&self) -> Option<HeaderMap> {
        match &*self.lock() {
            State::Waiting(_, request) => Some(request.headers().clone()),
            _ => None,
        }
    }

    /// Calls the handler; `None` if it has been called.
    pub(super) async fn call(&self) -> Option<Result<Response<R>, E>> {
        let state = std::mem::replace(&mut *self.lock(), State::Called);
        match state {
            State::Waiting(mut service, request) => {
                let response = service.call(request);
                Some(response.await)
            }
            state => {
                *self.lock() = state;
                None
            }
        }
    }

    /// Stores the result for [`take`](Self::take).
    pub(super) fn finish(&self, result: Result<Response<R>, E>) {
        *self.lock() = State::Finished(result);
    }

    /// Returns whether the handler was called and its result is stored.
    pub(super) fn is_finished(&self) -> bool {
        matches!(&*self.lock(), State::Finished(_))
    }

    /// Returns the result, if the handler was called.
    pub(super) fn take(&self) -> Option<Result<Response<R>, E>> {
        let mut state = self.lock();
        match std::mem::replace(&mut *state, State::Called) {
            State::Finished(result) => Some(result),
            other => {
                *state = other;
                None
            }
        }
    }
}

impl<S, Q, R, E> Clone for Handler<S, Q, R, E> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}
