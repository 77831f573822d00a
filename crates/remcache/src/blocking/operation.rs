//! Blocking operations: the options of the asynchronous operations, and `wait`.

use std::fmt;
use std::future::IntoFuture;
use std::time::Duration;

use super::runtime::Runner;
use crate::ops::all_servers::FlushAll;
use crate::ops::builder::kind::{Count, Store, Unconditional};
use crate::ops::builder::{Append, Command, ConditionalDelete, ConditionalSet, Delete, Increment, Kind, Set};
use crate::ops::multi_builder::{Entry, Many};
use crate::proto::Ttl;
use crate::recipes::Recipe;
use crate::recipes::lock::LockBuilder;
use crate::recipes::on_unavailable::OnUnavailable;

/// An operation of a blocking client: set its options, then [`wait`](BlockingOperation::wait).
#[must_use = "an operation does nothing unless it is waited for"]
pub struct BlockingOperation<'a, O> {
    runner: &'a Runner,
    operation: O,
}

impl<'a, O> BlockingOperation<'a, O> {
    pub(crate) fn new(runner: &'a Runner, operation: O) -> Self {
        Self { runner, operation }
    }

    fn map(self, change: impl FnOnce(O) -> O) -> Self {
        Self { operation: change(self.operation), ..self }
    }
}

impl<O: IntoFuture> BlockingOperation<'_, O> {
    /// Blocks the thread until the operation completes, which is by its deadline.
    ///
    /// # Errors
    /// Those of the asynchronous operation.
    pub fn wait(self) -> O::Output {
        self.runner.wait(self.operation.into_future())
    }
}

/// Options for the operations on one key and on many keys.
macro_rules! options {
    ($($doc:literal $option:ident($argument:ident: $type:ty): $($name:ident)*, many $($many:ty),*;)*) => {$(
        $(impl BlockingOperation<'_, $name<'_>> { options!(@$doc $option $argument $type); })*
        $(impl<Q: Entry> BlockingOperation<'_, Many<'_, $many, Q>> { options!(@$doc $option $argument $type); })*
    )*};
    (@$doc:literal $option:ident $argument:ident $type:ty) => {
        #[doc = $doc]
        pub fn $option(self, $argument: $type) -> Self {
            self.map(|operation| operation.$option($argument))
        }
    };
}

options! {
    "How long the items live (default: for ever)." ttl(ttl: impl Into<Ttl>): Set ConditionalSet Increment, many Unconditional<Store>, Store, Count;
    "Flags to store with each value (default: 0)." flags(flags: u32): Set ConditionalSet, many Unconditional<Store>, Store;
    "Only if the item's CAS value is this one." cas(cas: u64): ConditionalSet Append ConditionalDelete, many;
    "The number to start from if a key is absent (default: an absent counter stays absent)." initial(initial: u64): Increment, many Count;
}

impl<'a, 'c> BlockingOperation<'a, Set<'c>> {
    /// Makes the write conditional on the item having this CAS value.
    pub fn cas(self, cas: u64) -> BlockingOperation<'a, ConditionalSet<'c>> {
        BlockingOperation::new(self.runner, self.operation.cas(cas))
    }
}

impl<'a, 'c> BlockingOperation<'a, Delete<'c>> {
    /// Makes the write conditional on the item having this CAS value.
    pub fn cas(self, cas: u64) -> BlockingOperation<'a, ConditionalDelete<'c>> {
        BlockingOperation::new(self.runner, self.operation.cas(cas))
    }

    /// Leaves a tombstone for this duration: until it expires, adds fail and values loaded earlier are not stored.
    pub fn tombstone(self, ttl: Duration) -> Self {
        self.map(|operation| operation.tombstone(ttl))
    }
}

impl BlockingOperation<'_, FlushAll<'_>> {
    /// Sets the delay after which the servers flush (default: none).
    pub fn after(self, delay: Duration) -> Self {
        self.map(|operation| operation.after(delay))
    }

    /// Sets how long each server may take to reply, instead of the client's
    /// [`timeout`](crate::config::Config::timeout).
    pub fn timeout(self, timeout: Duration) -> Self {
        self.map(|operation| operation.timeout(timeout))
    }
}

impl BlockingOperation<'_, LockBuilder<'_>> {
    /// Sets how long to wait while another client holds the lock (default: not at all).
    pub fn wait_up_to(self, wait: Duration) -> Self {
        self.map(|operation| operation.wait_up_to(wait))
    }

    /// Sets how long acquiring the lock may take in addition to waiting for another holder.
    pub fn timeout(self, timeout: Duration) -> Self {
        self.map(|operation| operation.timeout(timeout))
    }

    /// Sets what to do when the cache is unavailable (default: [`FailClosed`](OnUnavailable::FailClosed)).
    pub fn on_unavailable(self, on_unavailable: OnUnavailable) -> Self {
        self.map(|operation| operation.on_unavailable(on_unavailable))
    }
}

impl<T, E> BlockingOperation<'_, Recipe<'_, T, E>> {
    /// Sets how long the operation may take, with all its requests, retries and waits (default: each request has the
    /// client's [`timeout`](crate::config::Config::timeout)).
    pub fn timeout(self, timeout: Duration) -> Self {
        self.map(|operation| operation.timeout(timeout))
    }
}

impl<K: Kind> BlockingOperation<'_, Command<'_, K>> {
    /// Sets the timeout of this operation, instead of the client's [`timeout`](crate::config::Config::timeout).
    pub fn timeout(self, timeout: Duration) -> Self {
        self.map(|operation| operation.timeout(timeout))
    }
}

impl<K: Kind, Q: Entry> BlockingOperation<'_, Many<'_, K, Q>> {
    /// Sets how long to wait for the next reply, instead of the client's [`timeout`](crate::config::Config::timeout).
    pub fn timeout(self, timeout: Duration) -> Self {
        self.map(|operation| operation.timeout(timeout))
    }
}

impl<O: fmt::Debug> fmt::Debug for BlockingOperation<'_, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BlockingOperation").field(&self.operation).finish()
    }
}
