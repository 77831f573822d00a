//! Builders that store values in a cache.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::marker::PhantomData;
use std::pin::Pin;
use std::time::Duration;

use super::store::{Condition, Store};
use crate::error::Error;
use crate::observe;
use crate::observe::OperationName;
use crate::ops::outcomes::Outcomes;
use crate::proto::Ttl;
use crate::result::{UnconditionalOutcome, WriteOutcome};
use crate::value::Encoded;

/// A store of one value: set its options, then await it.
#[must_use = "an operation does nothing unless it is awaited"]
pub struct CacheWrite<'a, O = WriteOutcome> {
    store: Store,
    condition: Condition,
    key: Vec<u8>,
    value: Result<Encoded<'a>, Error>,
    ttl: Ttl,
    outcome: PhantomData<fn() -> O>,
}

impl<'a, O> CacheWrite<'a, O> {
    pub(super) fn new(store: &Store, condition: Condition, key: &[u8], value: Result<Encoded<'a>, Error>) -> Self {
        let (store, key, ttl) = (store.clone(), key.to_vec(), store.ttl);
        Self { store, condition, key, value, ttl, outcome: PhantomData }
    }

    /// Sets the TTL of this value, instead of the [cache's](super::Cache::ttl).
    pub fn ttl(self, ttl: impl Into<Ttl>) -> Self {
        Self { ttl: ttl.into(), ..self }
    }

    /// Sets the timeout of each request, instead of the client's [`timeout`](crate::config::Config::timeout).
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.store.client = self.store.client.with_timeout(timeout);
        self
    }
}

impl<'a, O: From<WriteOutcome>> IntoFuture for CacheWrite<'a, O> {
    type Output = Result<O, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { store, condition, key, value, ttl, outcome: _ } = self;
        Box::pin(async move {
            let (store, operation) = store.observe(condition.operation(), &key);
            let changed = match value {
                Ok(value) => store.change(condition, &key, value, ttl).await,
                Err(error) => Err(error),
            };
            operation.end_with(observe::done, changed).map(O::from)
        })
    }
}

impl<O> fmt::Debug for CacheWrite<'_, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.key.escape_ascii().to_string();
        f.debug_struct("CacheWrite").field("key", &key).field("ttl", &self.ttl).finish_non_exhaustive()
    }
}

/// A store of many values: set its options, then await it.
#[must_use = "an operation does nothing unless it is awaited"]
pub struct CacheWriteMany<'a, K> {
    store: Store,
    keys: Vec<K>,
    values: Vec<Result<Encoded<'a>, Error>>,
    ttl: Ttl,
}

impl<'a, K> CacheWriteMany<'a, K> {
    pub(super) fn new(store: &Store, keys: Vec<K>, values: Vec<Result<Encoded<'a>, Error>>) -> Self {
        Self { store: store.clone(), keys, values, ttl: store.ttl }
    }

    /// Sets the TTL of these values, instead of the [cache's](super::Cache::ttl).
    pub fn ttl(self, ttl: impl Into<Ttl>) -> Self {
        Self { ttl: ttl.into(), ..self }
    }

    /// Sets how long to wait for the next reply, instead of the client's [`timeout`](crate::config::Config::timeout).
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.store.client = self.store.client.with_timeout(timeout);
        self
    }
}

impl<'a, K: AsRef<[u8]> + Send + Sync + 'a> IntoFuture for CacheWriteMany<'a, K> {
    type Output = Outcomes<K, UnconditionalOutcome>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { store, keys, values, ttl } = self;
        Box::pin(async move {
            let (store, operation) = store.observe_many(OperationName::SetMany, keys.len());
            let results = store.set_many(&keys, values, ttl).await;
            operation.end_many(results.iter().map(observe::done_each));
            keys.into_iter().zip(results).collect()
        })
    }
}

impl<K> fmt::Debug for CacheWriteMany<'_, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheWriteMany").field("keys", &self.keys.len()).finish_non_exhaustive()
    }
}
