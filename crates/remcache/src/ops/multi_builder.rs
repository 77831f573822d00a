//! Multi-key operations: pipelined batches per server, one result per key.

use std::borrow::Cow;
use std::fmt;
use std::future::{Future, IntoFuture};
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::client::Client;
use crate::error::Error;
use crate::observe::{OperationGuard, OperationName, OperationStarted, Parent, Scope};
use crate::ops::builder::kind::{Count, Delete, Extend, Fetch, FetchWithSentinels, Store, Touch, Unconditional};
use crate::ops::builder::{Kind, Located};
use crate::ops::outcomes::Outcomes;
use crate::proto::{CowBytes, IntoCowBytes, Reply, Request, Ttl};
use crate::result as outcome;
use crate::routing::multi_requests::Requests;
use crate::routing::multi_router;
use crate::server::Server;
use crate::server::call::check_timeout;
use crate::server::item_limit::stores;

/// An operation on many keys: set its options, then await it.
///
/// Keys are sent to their servers in pipelined batches, to all servers in parallel: reads are not quiet, so a miss is a
/// reply; writes are quiet, and a non-quiet request ends each batch. There is one result per key: a server that is down
/// fails only its own keys. Any number of keys may be given; at most some thousands are in flight per server.
///
/// Each reply extends the deadline: a call takes as long as replies keep arriving, and times out when none arrives for
/// the [`timeout`](crate::config::Config::timeout).
///
/// With [replicas](crate::config::Config::replicas) or [failover](crate::config::Config::failover) the keys are sent to
/// one replica after the other, and finally, if their servers are down, to their fallbacks; each pass has the same
/// timeout. Such calls are neither hedged nor retried on the same server.
///
/// # Cancel safety
/// Dropping the future does not cancel the requests. Those that were sent may have been executed.
#[must_use = "an operation does nothing unless it is awaited"]
pub struct Many<'a, N, Q> {
    client: &'a Client,
    items: Vec<Q>,
    options: Options,
    timeout: Duration,
    kind: PhantomData<fn() -> N>,
}

/// The options that all requests of a call share.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Options {
    ttl: Ttl,
    flags: u32,
    initial: Option<u64>,
}

/// A key with the arguments of its request.
#[doc(hidden)]
pub trait Entry {
    /// The type of the key.
    type Key: AsRef<[u8]>;
    #[doc(hidden)]
    fn request(&self) -> Request<'_>;
    #[doc(hidden)]
    fn key(&self) -> &[u8];
    #[doc(hidden)]
    fn into_key(self) -> Self::Key;
}

/// A key alone.
#[doc(hidden)]
pub struct KeyOnly<K> {
    pub(crate) key: K,
    pub(crate) build: for<'r> fn(CowBytes<'r>) -> Request<'r>,
}

/// A key and a value.
#[doc(hidden)]
pub struct KeyValue<K, V> {
    pub(crate) key: K,
    pub(crate) value: V,
    pub(crate) build: for<'r> fn(CowBytes<'r>, CowBytes<'r>) -> Request<'r>,
}

/// A key and a number.
#[doc(hidden)]
pub struct KeyDelta<K> {
    pub(crate) key: K,
    pub(crate) number: u64,
    pub(crate) build: for<'r> fn(CowBytes<'r>, u64) -> Request<'r>,
}

impl<K: AsRef<[u8]>> Entry for KeyOnly<K> {
    type Key = K;
    fn request(&self) -> Request<'_> {
        (self.build)(self.key.as_ref().into())
    }
    fn key(&self) -> &[u8] {
        self.key.as_ref()
    }
    fn into_key(self) -> K {
        self.key
    }
}

impl<K: AsRef<[u8]>, V> Entry for KeyValue<K, V>
where
    for<'r> &'r V: IntoCowBytes<'r>,
{
    type Key = K;
    fn request(&self) -> Request<'_> {
        (self.build)(self.key.as_ref().into_cow_bytes(), (&self.value).into_cow_bytes())
    }
    fn key(&self) -> &[u8] {
        self.key.as_ref()
    }
    fn into_key(self) -> K {
        self.key
    }
}

impl<K: AsRef<[u8]>> Entry for KeyDelta<K> {
    type Key = K;
    fn request(&self) -> Request<'_> {
        (self.build)(self.key.as_ref().into(), self.number)
    }
    fn key(&self) -> &[u8] {
        self.key.as_ref()
    }
    fn into_key(self) -> K {
        self.key
    }
}

macro_rules! opaque_debug {
    ($($name:ident<$($parameter:ident),*>)*) => {$(
        impl<$($parameter),*> fmt::Debug for $name<$($parameter),*> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(stringify!($name))
            }
        }
    )*};
}
opaque_debug!(KeyOnly<K> KeyValue<K, V> KeyDelta<K>);

impl<'a, N: Kind, Q: Entry> Many<'a, N, Q> {
    pub(crate) fn new(client: &'a Client, items: Vec<Q>) -> Self {
        let timeout = client.timeout();
        Self { client, items, options: Options::default(), timeout, kind: PhantomData }
    }

    /// Sets how long to wait for the next reply, instead of the client's [`timeout`](crate::config::Config::timeout).
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    fn with(self, change: impl FnOnce(&mut Options)) -> Self {
        let mut options = self.options;
        change(&mut options);
        Self { options, ..self }
    }

    /// Converts to another kind of the same requests.
    fn into_kind<M: Kind>(self) -> Many<'a, M, Q> {
        let Self { client, items, options, timeout, kind: _ } = self;
        Many { client, items, options, timeout, kind: PhantomData }
    }

    pub(crate) fn with_ttl(self, ttl: Ttl) -> Self {
        self.with(|options| options.set_ttl(ttl))
    }
}

impl<'a, Q: Entry> Many<'a, Fetch, Q> {
    /// Returns [sentinels](crate::result::Item::is_sentinel) as items (default: they are misses).
    pub fn with_sentinels(self) -> Many<'a, FetchWithSentinels, Q> {
        self.into_kind()
    }
}

impl<N: Kind, Q: Entry> Many<'_, N, Q> {
    async fn run(self) -> Outcomes<Q::Key, N::Output> {
        let client = self.client;
        let operation = match self.items.first() {
            Some(first) => {
                let (config, name) = (client.config(), OperationName::of_many(first.request().operation()));
                let event = OperationStarted::new(name, self.items.len(), &config.namespace);
                OperationGuard::begin(&config.observers, Parent::of(client.scope()), &event)
            }
            None => OperationGuard::default(),
        };
        let outcomes = self.send(operation.scope(), decode::<N>).await;
        operation.end_many(outcomes.iter().map(|(_, result)| match result {
            Ok(output) => Ok(N::is_found(output)),
            Err(error) => Err(error.kind()),
        }));
        outcomes
    }

    /// Runs the operation as a part of a recipe; each result has the server that produced it, if one was chosen.
    pub(crate) async fn located(self) -> Vec<Located<N::Output>> {
        let scope = self.client.scope().map(Arc::clone);
        let decode = |reply: Reply, server: &Arc<Server>| Ok((decode::<N>(reply, server), Some(Arc::clone(server))));
        let outcomes = self.send(scope.as_ref(), decode).await;
        outcomes.into_iter().map(|(_, result)| result.unwrap_or_else(|error| (Err(error), None))).collect()
    }

    /// Sends the requests, and decodes each reply.
    async fn send<T>(
        self,
        scope: Option<&Arc<Scope>>,
        decode: impl Fn(Reply, &Arc<Server>) -> Result<T, Error>,
    ) -> Outcomes<Q::Key, T> {
        let Self { client, items, options, timeout, .. } = self;
        let source = ManyRequests { items, options, namespace: &client.config().namespace };
        if let Err(refusal) = check_timeout(timeout) {
            let refused = |_| Some(Err(Error::from(&refusal)));
            return outcomes((0..source.len()).map(refused).collect(), source);
        }
        let cluster = Arc::clone(&client.cluster());
        let results = multi_router::send(client.shared(), &cluster, &source, timeout, scope, decode).await;
        outcomes(results, source)
    }
}

/// Pairs each key with its result; a key without one has no server.
fn outcomes<Q: Entry, T>(results: Vec<Option<Result<T, Error>>>, source: ManyRequests<'_, Q>) -> Outcomes<Q::Key, T> {
    let keys = source.items.into_iter().map(Entry::into_key);
    let results = results.into_iter().map(|result| result.unwrap_or_else(|| Err(no_server_for_key())));
    keys.zip(results).collect()
}

/// The requests of a call.
pub(crate) struct ManyRequests<'a, Q> {
    items: Vec<Q>,
    options: Options,
    namespace: &'a [u8],
}

impl<Q: Entry> Requests for ManyRequests<'_, Q> {
    fn len(&self) -> usize {
        self.items.len()
    }

    fn may_store(&self) -> bool {
        // All requests are of the same kind.
        self.items.first().is_some_and(|item| stores(&item.request()))
    }

    #[inline]
    fn request(&self, index: usize) -> Request<'_> {
        // Built where it is needed, because moving a request costs as much as encoding a small one.
        match self.options.are_none() && self.namespace.is_empty() {
            true => self.items[index].request(),
            false => self.options.apply(self.items[index].request()).prefix_key(self.namespace),
        }
    }

    #[inline]
    fn key(&self, index: usize) -> Cow<'_, [u8]> {
        let key = self.items[index].key();
        match self.namespace.is_empty() {
            true => key.into(),
            false => [self.namespace, key].concat().into(),
        }
    }
}

#[inline]
fn decode<N: Kind>(mut reply: Reply, server: &Arc<Server>) -> Result<N::Output, Error> {
    N::decode(&mut reply).map_err(|reply| server.error(&reply))
}

fn no_server_for_key() -> Error {
    Error::from(&outcome::no_server())
}

impl Options {
    pub(crate) fn set_ttl(&mut self, ttl: Ttl) {
        self.ttl = ttl.resolve(SystemTime::now);
    }

    pub(crate) fn set_flags(&mut self, flags: u32) {
        self.flags = flags;
    }

    #[inline]
    pub(crate) fn apply<'r>(&self, request: Request<'r>) -> Request<'r> {
        if request.operation().is_fetch() && self.ttl == Ttl::Never {
            return request;
        }
        let request = request.flags(self.flags);
        let request = if self.ttl == Ttl::Never { request } else { request.ttl(self.ttl) };
        match self.initial {
            Some(initial) => request.initial(initial),
            None => request,
        }
    }

    /// Returns whether the options have no effect.
    fn are_none(&self) -> bool {
        self.flags == 0 && self.ttl == Ttl::Never && self.initial.is_none()
    }
}

macro_rules! options {
    ($($kind:ty: $($option:ident)*;)*) => {$(
        impl<Q: Entry> Many<'_, $kind, Q> { $(options!(@$option);)* }
    )*};
    (@ttl) => {
        /// Sets the TTL of the items (default: no expiry).
        pub fn ttl(self, ttl: impl Into<Ttl>) -> Self {
            self.with_ttl(ttl.into())
        }
    };
    (@flags) => {
        /// Sets the flags to store with each value (default: 0).
        pub fn flags(self, flags: u32) -> Self {
            self.with(|options| options.set_flags(flags))
        }
    };
    (@initial) => {
        /// Sets the initial value of counters that do not exist yet (default: they are not created).
        pub fn initial(self, initial: u64) -> Self {
            self.with(|options| options.initial = Some(initial))
        }
    };
}

options! {
    Unconditional<Store>: flags ttl;
    Store: flags ttl;
    Count: initial ttl;
}

impl<'a, N, Q> IntoFuture for Many<'a, N, Q>
where
    N: Kind + 'a,
    N::Output: Send,
    Q: Entry + Send + Sync + 'a,
    Q::Key: Send,
{
    type Output = Outcomes<Q::Key, N::Output>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl<N, Q> fmt::Debug for Many<'_, N, Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Many").field("keys", &self.items.len()).finish_non_exhaustive()
    }
}

/// Fetches of many items.
pub type GetMany<'a, K> = Many<'a, Fetch, KeyOnly<K>>;
/// Writes of many items.
pub type SetMany<'a, K, V> = Many<'a, Unconditional<Store>, KeyValue<K, V>>;
/// Conditional writes of many items.
pub type ConditionalSetMany<'a, K, V> = Many<'a, Store, KeyValue<K, V>>;
/// Appends or prepends to many values.
pub type AppendMany<'a, K, V> = Many<'a, Extend, KeyValue<K, V>>;
/// Deletes of many items.
pub type DeleteMany<'a, K> = Many<'a, Unconditional<Delete>, KeyOnly<K>>;
/// TTL changes of many items.
pub type TouchMany<'a, K> = Many<'a, Unconditional<Touch>, KeyOnly<K>>;
/// Changes of many counters.
pub type IncrementMany<'a, K> = Many<'a, Count, KeyDelta<K>>;
