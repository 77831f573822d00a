//! Builders for the operations of a migration.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::marker::PhantomData;
use std::pin::Pin;
use std::time::Duration;

use tokio::time::Instant;

use super::Migration;
use crate::client::Client;
use crate::error::Error;
use crate::observe::{Counts, Outcome, done};
use crate::ops::builder::kind::{Count, Delete, Extend, Fetch, Store, Touch, Unconditional};
use crate::ops::builder::{Command, Kind, condition};
use crate::proto::{Request, Ttl};
use crate::result::WriteOutcome;

/// An operation of a [`Migration`]: set its options, then await it.
///
/// # Errors
/// Those of the clients. One deadline applies to all steps.
///
/// # Cancel safety
/// An operation that was polled may have been executed, completely or in part.
#[must_use = "an operation does nothing unless it is awaited"]
pub struct MigrationCommand<'a, K: Kind> {
    migration: &'a Migration,
    request: Request<'a>,
    timeout: Duration,
    kind: PhantomData<fn() -> K>,
}

/// A kind of operation that a migration supports.
pub trait MigrationKind: Kind + Sized {
    #[doc(hidden)]
    fn run<'a>(migration: &'a Migration, request: Request<'a>, timeout: Duration) -> MigrationFuture<'a, Self::Output>;
}

/// An operation in flight.
pub type MigrationFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;

/// Deadline of an operation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit(pub(crate) Instant);

impl Limit {
    pub(crate) fn after(timeout: Duration) -> Self {
        Self(crate::time::after(Instant::now(), timeout))
    }

    /// Returns the remaining time; never zero, which the client rejects as a timeout.
    pub(crate) fn remaining(self) -> Duration {
        self.0.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
    }
}

impl<'a, K: Kind> MigrationCommand<'a, K> {
    pub(crate) fn new(migration: &'a Migration, request: Request<'a>) -> Self {
        let timeout = migration.new.timeout();
        Self { migration, request, timeout, kind: PhantomData }
    }

    /// Sets the timeout of the operation, instead of the new client's [`timeout`](crate::config::Config::timeout).
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    fn map(self, change: impl FnOnce(Request<'a>) -> Request<'a>) -> Self {
        Self { request: change(self.request), ..self }
    }
}

/// Options, for the operations that have them.
macro_rules! options {
    ($($kind:ty: $($option:ident)*;)*) => {$(
        impl MigrationCommand<'_, $kind> { $(options!(@$option);)* }
    )*};
    (@ttl) => {
        /// Sets the TTL of the stored item (default: none).
        pub fn ttl(self, ttl: impl Into<Ttl>) -> Self {
            self.map(|request| request.ttl(ttl))
        }
    };
    (@flags) => {
        /// Sets the flags to store with the value (default: 0).
        pub fn flags(self, flags: u32) -> Self {
            self.map(|request| request.flags(flags))
        }
    };
    (@cas) => {
        /// Executes only if the item's CAS value in the new placement matches; 0 never does.
        pub fn cas(self, cas: u64) -> Self {
            self.map(|request| request.cas(condition(cas)))
        }
    };
    (@initial) => {
        /// Sets the initial value if neither placement has the counter (default: it is not created).
        pub fn initial(self, initial: u64) -> Self {
            self.map(|request| request.initial(initial))
        }
    };
}

options! {
    Unconditional<Store>: flags ttl;
    Store: flags ttl cas;
    Extend: cas;
    Delete: cas;
    Count: initial ttl;
}

impl<'a, K: Kind<Output = WriteOutcome>> MigrationCommand<'a, Unconditional<K>> {
    fn into_conditional(self) -> MigrationCommand<'a, K> {
        let Self { migration, request, timeout, kind: _ } = self;
        MigrationCommand { migration, request, timeout, kind: PhantomData }
    }
}

impl<'a> MigrationCommand<'a, Unconditional<Store>> {
    /// Executes only if the item's CAS value in the new placement matches; 0 never does.
    pub fn cas(self, cas: u64) -> MigrationCommand<'a, Store> {
        self.into_conditional().cas(cas)
    }
}

impl<'a> MigrationCommand<'a, Unconditional<Delete>> {
    /// Executes only if the item's CAS value in the new placement matches; 0 never does.
    pub fn cas(self, cas: u64) -> MigrationCommand<'a, Delete> {
        self.into_conditional().cas(cas)
    }
}

impl<'a, K: MigrationKind> IntoFuture for MigrationCommand<'a, K> {
    type Output = Result<K::Output, Error>;
    type IntoFuture = MigrationFuture<'a, K::Output>;

    fn into_future(self) -> Self::IntoFuture {
        K::run(self.migration, self.request, self.timeout)
    }
}

impl<K: Kind> fmt::Debug for MigrationCommand<'_, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MigrationCommand").field("operation", &self.request.operation()).finish_non_exhaustive()
    }
}

/// Sends a request through one of the clients.
pub(crate) async fn send<K: Kind>(client: &Client, request: &Request<'_>, limit: Limit) -> Result<K::Output, Error> {
    Command::<K>::new(client.call(request.clone())).timeout(limit.remaining()).await
}

/// Classifies the result of an operation for observers.
fn classify<K: Kind>(result: &Result<K::Output, Error>) -> (Outcome, Counts) {
    match result.as_ref().map(K::is_found) {
        Ok(Some(is_hit)) => (if is_hit { Outcome::Hit } else { Outcome::Miss }, Counts::found(is_hit)),
        _ => done(result),
    }
}

macro_rules! migration_kinds {
    ($($kind:ident by $rule:ident;)*) => {$(
        impl MigrationKind for $kind {
            fn run<'a>(migration: &'a Migration, request: Request<'a>, timeout: Duration) -> MigrationFuture<'a, Self::Output> {
                Box::pin(async move {
                    let limit = Limit::after(timeout);
                    let (migration, operation) = migration.observe(&request);
                    let result = match migration.is_unmoved(&request) {
                        true => migration.run_unmoved::<Self>(&request, limit).await,
                        false => migration.$rule(&request, limit).await,
                    };
                    operation.end_with(classify::<Self>, result)
                })
            }
        }
    )*};
}

migration_kinds! {
    Fetch by fetch;
    Store by store;
    Extend by extend;
    Delete by remove;
    Touch by touch_item;
    Count by count;
}

impl<K: MigrationKind<Output = WriteOutcome> + 'static> MigrationKind for Unconditional<K> {
    fn run<'a>(migration: &'a Migration, request: Request<'a>, timeout: Duration) -> MigrationFuture<'a, Self::Output> {
        Box::pin(async move { K::run(migration, request, timeout).await.map(Into::into) })
    }
}
