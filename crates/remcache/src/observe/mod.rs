//! Observers: reports of operations, connections and servers.
//!
//! An [`Observer`] is added with [`Config::observer`](crate::config::Config::observer). It is notified when an
//! operation starts and ends, and when the state of a connection or server changes.
//!
//! ```
//! use std::sync::Arc;
//! use std::sync::atomic::{AtomicU64, Ordering};
//! use remcache::observe::{Observer, OperationFinished};
//! use remcache::{Client, Config};
//!
//! /// Counts the misses of the whole program.
//! #[derive(Default)]
//! struct Misses(AtomicU64);
//!
//! impl Observer for Misses {
//!     fn operation_finished(&self, operation: &OperationFinished<'_>) {
//!         self.0.fetch_add(operation.misses as u64, Ordering::Relaxed);
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let server = remcache_server::Server::start().await?;
//! # let address = server.address();
//! let misses = Arc::new(Misses::default());
//! let client = Client::with_config([address], Config::new().observer(Arc::clone(&misses)))?;
//! client.get("absent").await?;
//! assert_eq!(misses.0.load(Ordering::Relaxed), 1);
//! # Ok(()) }
//! ```
//!
//! [`Spans`], [`Metrics`] and [`OtelMetrics`] are ready-made, behind the features `spans`, `metrics` and
//! `opentelemetry`.
//!
//! # What counts as one operation
//!
//! Each call by the program is one operation: a `get`, however many servers it is sent to, a `fetch`, an `update`, a
//! `get_many`. Its requests are [exchanges](ActiveOperation::exchange_started) with one server each. A multi-key call
//! without keys is not reported. A typed cache and a migration report their operations under the client's names; a lock
//! reports `lock`, `renew` and `unlock`, and a limiter `acquire`. A reload that continues after `fetch` has returned is
//! a separate operation, `refresh`.
//!
//! An operation starts when its future is first polled. A future that is dropped after that ends as
//! [`Cancelled`](Outcome::Cancelled); one that was never polled is not reported.
//!
//! # What an observer must not do
//!
//! Observers run in the caller's task, on its thread. An observer that blocks delays that caller, or in an event of a
//! connection that connection: hand slow work to another thread. [`Observer::connection_changed`] and
//! [`Observer::server_changed`] must not call the client, because its locks may be held.
//!
//! A panic in an observer is caught and logged at level error; the operation is not affected, and the observer receives
//! later events. (With `panic = "abort"` panics cannot be caught.)

mod dispatch;
mod event;
#[cfg(any(feature = "metrics", feature = "opentelemetry"))]
mod metrics;
mod operation_guard;
mod operation_name;
mod scope;
mod server_id;
#[cfg(feature = "spans")]
mod spans;

pub use event::{
    ConnectionChanged, ExchangeFinished, ExchangeStarted, OperationFinished, OperationStarted, Outcome, ServerChanged,
};
#[cfg(feature = "metrics")]
pub use metrics::facade::Metrics;
#[cfg(any(feature = "metrics", feature = "opentelemetry"))]
pub use metrics::instruments::DURATION_BUCKETS;
#[cfg(feature = "opentelemetry")]
pub use metrics::otel::OtelMetrics;
pub use operation_name::OperationName;
pub use server_id::ServerId;
#[cfg(feature = "spans")]
pub use spans::{KeyVisibility, Spans};

pub(crate) use dispatch::Observers;
pub(crate) use event::{Counts, Established};
pub(crate) use operation_guard::{
    Classify, OperationGuard, ResultCounts, done, done_each, found, found_each, loaded, sum,
};
pub(crate) use scope::{Exchange, Parent, Scope, Started};

use std::sync::Arc;

/// A receiver of events of a client's operations, connections and servers: see the [module](self).
///
/// Every method has an empty default.
pub trait Observer: Send + Sync + 'static {
    /// Called when an operation starts. The returned value receives the operation's exchanges and its end.
    ///
    /// An observer that needs only the ends of operations returns `None`, which avoids an allocation, and implements
    /// [`operation_finished`](Self::operation_finished).
    fn operation_started(&self, operation: &OperationStarted<'_>) -> Option<Box<dyn ActiveOperation>> {
        let _ = operation;
        None
    }

    /// Called when an operation has ended.
    fn operation_finished(&self, operation: &OperationFinished<'_>) {
        let _ = operation;
    }

    /// Called when the state of a connection has changed.
    fn connection_changed(&self, change: &ConnectionChanged<'_>) {
        let _ = change;
    }

    /// Called when the state of a server has changed: a server is up as long as one of its connections is.
    fn server_changed(&self, change: &ServerChanged<'_>) {
        let _ = change;
    }
}

/// An observer's state of an operation that has started.
pub trait ActiveOperation: Send + Sync {
    /// Called when a part of the operation is sent to one server: a request, or that server's requests of a multi-key
    /// call.
    ///
    /// Operations that consist of one request to one server have no separate exchange.
    fn exchange_started(&self, exchange: &ExchangeStarted<'_>) -> Option<Box<dyn ActiveExchange>> {
        let _ = exchange;
        None
    }

    /// Called when the operation has ended; the value is dropped afterwards.
    fn finished(&self, operation: &OperationFinished<'_>) {
        let _ = operation;
    }
}

/// An observer's state of an exchange that has started.
pub trait ActiveExchange: Send + Sync {
    /// Called when the exchange has ended; the value is dropped afterwards.
    fn finished(&self, exchange: &ExchangeFinished<'_>) {
        let _ = exchange;
    }
}

impl<O: Observer + ?Sized> Observer for Arc<O> {
    fn operation_started(&self, operation: &OperationStarted<'_>) -> Option<Box<dyn ActiveOperation>> {
        (**self).operation_started(operation)
    }

    fn operation_finished(&self, operation: &OperationFinished<'_>) {
        (**self).operation_finished(operation);
    }

    fn connection_changed(&self, change: &ConnectionChanged<'_>) {
        (**self).connection_changed(change);
    }

    fn server_changed(&self, change: &ServerChanged<'_>) {
        (**self).server_changed(change);
    }
}
