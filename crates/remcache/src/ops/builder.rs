//! Typed operations: builders with named options that are futures themselves.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use super::call::Call;
use crate::error::Error;
use crate::observe::OperationName;
use crate::ops::inspection::{Inspection, existence, inspection};
use crate::proto::{IntoCowBytes, Reply, Request, Ttl};
use crate::result as outcome;
use crate::sentinel::TOMBSTONE;
use crate::server::Server;

/// An operation: set its options, then await it.
///
/// # Errors
/// An [`Error`] if the server made no decision; a decision, such as a miss, is a value.
///
/// # Cancel safety
/// Dropping it does not cancel the request: its reply is read and discarded. An operation that
/// was polled once may have been executed.
#[must_use = "an operation does nothing unless it is awaited"]
pub struct Command<'a, K: Kind> {
    call: Call<'a>,
    /// Whether a get is sent instead, because no item can meet the condition.
    is_unmet: bool,
    kind: PhantomData<fn() -> K>,
}

/// A kind of operation: its output, and how a reply is decoded into it.
#[doc(hidden)]
pub trait Kind: Sealed {
    /// The decoded reply.
    type Output;
    #[doc(hidden)]
    fn decode(reply: &mut Reply) -> Result<Self::Output, Box<Reply>>;
    /// Returns whether an item was found; `None` if the operation does not read.
    #[doc(hidden)]
    fn is_found(_: &Self::Output) -> Option<bool> {
        None
    }
    /// Decodes the reply to the get that replaced a write whose condition no item meets.
    #[doc(hidden)]
    fn decode_condition_failed(reply: &mut Reply) -> Result<Self::Output, Box<Reply>> {
        Err(outcome::refusal(reply))
    }
}

/// Seals [`Kind`].
#[expect(unnameable_types, reason = "which is what seals it")]
pub trait Sealed {}

/// Markers for the kinds of operations that [`Command`] is generic over.
#[doc(hidden)]
pub mod kind {
    use std::marker::PhantomData;

    use super::{Inspection, Kind, Reply, Sealed, existence, inspection};
    use crate::proto::Ttl;
    use crate::result as outcome;
    use crate::result::{Counter, Item, UnconditionalOutcome, WriteOutcome};

    macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident -> $output:ty = $decode:path $(, condition_failed $condition_failed:path)? $(, found $found:path)?;)*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        #[expect(clippy::exhaustive_enums, reason = "a mark without values")]
        pub enum $name {}
        impl Sealed for $name {}
        impl Kind for $name {
            type Output = $output;
            #[inline]
            fn decode(reply: &mut Reply) -> Result<$output, Box<Reply>> {
                $decode(reply)
            }
            $(fn is_found(output: &$output) -> Option<bool> {
                Some($found(output))
            })?
            $(fn decode_condition_failed(reply: &mut Reply) -> Result<$output, Box<Reply>> {
                $condition_failed(reply)
            })?
        }
    )*};
}

    kinds! {
        /// Fetches: the item, or `None` for a miss; a [sentinel](Item::is_sentinel) is a miss.
        Fetch -> Option<Item> = outcome::value, found Option::is_some;
        /// Fetches, and returns [sentinels](Item::is_sentinel) as items.
        FetchWithSentinels -> Option<Item> = outcome::item, found Option::is_some;
        /// Fetches, and returns the remaining TTL if the server reports it.
        FetchWithTtl -> Option<(Item, Option<Ttl>)> = outcome::value_with_ttl, found Option::is_some;
        /// Stores: with flags, a time to live and a condition.
        Store -> WriteOutcome = outcome::change, condition_failed outcome::condition_failed;
        /// Appends and prepends: with a condition.
        Extend -> WriteOutcome = outcome::change, condition_failed outcome::condition_failed;
        /// Deletes: with a condition.
        Delete -> WriteOutcome = outcome::change, condition_failed outcome::condition_failed;
        /// Sets the TTL.
        Touch -> WriteOutcome = outcome::change;
        /// Increments and decrements: with an initial value.
        Count -> Option<Counter> = outcome::counter;
        /// Fetches an item's metadata.
        Inspect -> Option<Inspection> = inspection;
        /// Checks whether an item exists.
        Exists -> bool = existence;
        /// Runs a command on a server, without a result.
        Acknowledge -> () = outcome::done;
        /// Flushes a server: now, or after a delay.
        Flush -> () = outcome::done;
        /// Fetches a text from a server.
        Version -> String = outcome::text;
    }

    /// A write without a condition, whose outcome can be ignored.
    #[derive(Debug)]
    pub struct Unconditional<K>(PhantomData<K>);
    impl<K> Sealed for Unconditional<K> {}
    impl<K: Kind<Output = WriteOutcome>> Kind for Unconditional<K> {
        type Output = UnconditionalOutcome;
        #[inline]
        fn decode(reply: &mut Reply) -> Result<UnconditionalOutcome, Box<Reply>> {
            K::decode(reply).map(UnconditionalOutcome::from)
        }
    }
}

/// A fetch of one item: see [`Client::get`](crate::client::Client::get) and
/// [`Client::get_and_touch`](crate::client::Client::get_and_touch).
pub type Get<'a> = Command<'a, kind::Fetch>;
/// A fetch of one item that returns sentinels: see [`Get::with_sentinels`](Command::with_sentinels).
pub type GetWithSentinels<'a> = Command<'a, kind::FetchWithSentinels>;
/// A fetch of one item and its remaining TTL.
pub type GetWithTtl<'a> = Command<'a, kind::FetchWithTtl>;
/// A write of one item: see [`Client::set`](crate::client::Client::set).
pub type Set<'a> = Command<'a, kind::Unconditional<kind::Store>>;
/// A conditional write of one item: see [`Client::add`](crate::client::Client::add),
/// [`Client::replace`](crate::client::Client::replace) and
/// [`Client::compare_and_swap`](crate::client::Client::compare_and_swap).
pub type ConditionalSet<'a> = Command<'a, kind::Store>;
/// An append or prepend: see [`Client::append`](crate::client::Client::append) and
/// [`Client::prepend`](crate::client::Client::prepend).
pub type Append<'a> = Command<'a, kind::Extend>;
/// A delete: see [`Client::delete`](crate::client::Client::delete).
pub type Delete<'a> = Command<'a, kind::Unconditional<kind::Delete>>;
/// A delete of one version of an item: see [`Delete::cas`](Command::cas).
pub type ConditionalDelete<'a> = Command<'a, kind::Delete>;
/// A change of an item's TTL: see [`Client::touch`](crate::client::Client::touch).
pub type Touch<'a> = Command<'a, kind::Unconditional<kind::Touch>>;
/// A change of a counter: see [`Client::increment`](crate::client::Client::increment) and
/// [`Client::decrement`](crate::client::Client::decrement).
pub type Increment<'a> = Command<'a, kind::Count>;
/// A query of an item's metadata: see [`Client::inspect`](crate::client::Client::inspect).
pub type Inspect<'a> = Command<'a, kind::Inspect>;
/// A flush of one server: see [`ServerHandle::flush`](crate::server::ServerHandle::flush).
pub type Flush = Command<'static, kind::Flush>;
/// A request without a result: see [`ServerHandle::noop`](crate::server::ServerHandle::noop) and
/// [`ServerHandle::verbosity`](crate::server::ServerHandle::verbosity).
pub type Noop = Command<'static, kind::Acknowledge>;
/// A query of a server's version: see [`ServerHandle::version`](crate::server::ServerHandle::version).
pub type Version = Command<'static, kind::Version>;

/// The result of an operation, and the server that produced it, if one was chosen.
pub(crate) type Located<T> = (Result<T, Error>, Option<Arc<Server>>);

impl<'a, K: Kind> Command<'a, K> {
    #[inline]
    pub(crate) fn new(call: Call<'a>) -> Self {
        Self { call: call.guarded(true), is_unmet: false, kind: PhantomData }
    }

    /// Sets the timeout of this operation, instead of the client's [`timeout`](crate::config::Config::timeout).
    pub fn timeout(self, timeout: Duration) -> Self {
        Self::new(self.call.timeout(timeout))
    }

    /// Sets the key that determines the server, instead of the item's own: see [`Call::routing_key`].
    pub fn routing_key(self, key: impl IntoCowBytes<'a>) -> Self {
        Self::new(self.call.routing_key(key))
    }

    /// Sets its name for observers.
    pub(crate) fn named(mut self, name: OperationName) -> Self {
        self.call.set_name(name);
        self
    }

    /// Runs the operation; also returns the server that produced the result, if one was chosen.
    pub(crate) async fn located(mut self) -> Located<K::Output> {
        let result = Pin::new(&mut self).await;
        (result, self.call.server().map(Arc::clone))
    }

    /// Converts to another kind of the same request.
    fn with_kind<M: Kind>(self) -> Command<'a, M> {
        Command { call: self.call, is_unmet: self.is_unmet, kind: PhantomData }
    }

    fn with_cas(self, cas: u64) -> Self {
        self.map(|request| request.cas(condition(cas)))
    }

    fn map(mut self, change: impl FnOnce(Request<'a>) -> Request<'a>) -> Self {
        let request = std::mem::replace(self.call.request_mut(), Request::noop());
        *self.call.request_mut() = change(request);
        self
    }
}

macro_rules! options {
    ($($name:ident: $($option:ident)*;)*) => {$(
        impl<'a> $name<'a> { $(options!(@$option);)* }
    )*};
    (@ttl) => {
        /// Sets the TTL of the item (default: no expiry).
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
        /// Makes the operation conditional on the item's CAS value; 0 matches no item.
        pub fn cas(self, cas: u64) -> Self {
            self.with_cas(cas)
        }
    };
    (@tombstone) => {
        /// Leaves a tombstone for this duration: until it expires, adds fail and
        /// [`fetch`](crate::client::Client::fetch) does not store values that were loaded earlier.
        ///
        /// The tombstone is an empty item whose flags [`Item::is_sentinel`](crate::result::Item::is_sentinel)
        /// recognizes, on every protocol. It is stored whether or not there was an item, and a set replaces it. Servers
        /// count whole seconds, so it may expire up to one second early.
        ///
        /// ```
        /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
        /// # let server = remcache_server::Server::start().await?;
        /// # let client = remcache::Client::new([server.address()])?;
        /// use std::time::Duration;
        ///
        /// client.delete("user:42").tombstone(Duration::from_secs(5)).await?;
        /// assert!(!client.add("user:42", "late").await?.is_applied());
        /// # Ok(()) }
        /// ```
        pub fn tombstone(mut self, ttl: Duration) -> Self {
            self.call.set_name(OperationName::Delete);
            self.map(|request| match request.key() {
                Ok(key) => Request::set(key.clone(), "").flags(TOMBSTONE).ttl(ttl).cas(request.expected_cas()),
                // The delete is refused because of its invalid key.
                Err(_) => request,
            })
        }
    };
    (@initial) => {
        /// Sets the initial value of a counter that does not exist yet (default: it is not created).
        pub fn initial(self, initial: u64) -> Self {
            self.map(|request| request.initial(initial))
        }
    };
}

options! {
    Set: flags ttl;
    ConditionalSet: flags ttl cas;
    Append: cas;
    Delete: tombstone;
    ConditionalDelete: cas tombstone;
    Increment: initial ttl;
}

impl<'a> Set<'a> {
    /// Makes the write conditional on the item having this CAS value; 0 matches no item.
    pub fn cas(self, cas: u64) -> ConditionalSet<'a> {
        self.with_kind().with_cas(cas)
    }
}

impl<'a> Delete<'a> {
    /// Makes the write conditional on the item having this CAS value; 0 matches no item.
    pub fn cas(self, cas: u64) -> ConditionalDelete<'a> {
        self.with_kind().with_cas(cas)
    }
}

/// Converts a CAS value for a request, in which 0 means no condition.
pub(crate) fn condition(cas: u64) -> u64 {
    if cas == 0 { IMPOSSIBLE_CAS } else { cas }
}

/// A CAS value that no item has: servers count up from 1.
pub(crate) const IMPOSSIBLE_CAS: u64 = u64::MAX;

impl<'a> Get<'a> {
    /// Returns [sentinels](crate::result::Item::is_sentinel) as items (default: they are misses).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = remcache_server::Server::start().await?;
    /// # let client = remcache::Client::new([server.address()])?;
    /// use std::time::Duration;
    ///
    /// client.delete("page").tombstone(Duration::from_secs(5)).await?;
    /// assert_eq!(client.get("page").await?, None);
    /// assert!(client.get("page").with_sentinels().await?.is_some_and(|item| item.is_sentinel()));
    /// # Ok(()) }
    /// ```
    pub fn with_sentinels(self) -> GetWithSentinels<'a> {
        self.with_kind()
    }
}

impl Flush {
    /// Sets the delay after which the server flushes (default: none). Items stored until then are removed too, and
    /// another flush replaces a pending one.
    pub fn after(self, delay: Duration) -> Self {
        let when = if delay.is_zero() { Ttl::Never } else { Ttl::After(delay) };
        self.map(|request| request.ttl(when))
    }
}

impl<K: Kind> Future for Command<'_, K> {
    type Output = Result<K::Output, Error>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.call.request().expected_cas() == IMPOSSIBLE_CAS {
            self.replace_with_get();
        }
        let decoded =
            if self.is_unmet { self.poll_replacement_get(cx) } else { self.call.poll_into(cx.waker(), K::decode) };
        match ready!(decoded) {
            Ok(output) => Poll::Ready(Ok(output)),
            Err(reply) => Poll::Ready(Err(self.error(&reply))),
        }
    }
}

impl<K: Kind> Command<'_, K> {
    /// Polls for the reply to the get that was sent instead.
    #[cold]
    fn poll_replacement_get(&mut self, cx: &Context<'_>) -> Poll<Result<K::Output, Box<Reply>>> {
        self.call.poll_into(cx.waker(), K::decode_condition_failed)
    }

    /// Returns the error for a refusal, after recording what it reveals about the server's limits.
    #[cold]
    fn error(&self, reply: &Reply) -> Error {
        self.call.record_failure(reply.status);
        self.call.server().map_or_else(|| Error::from(reply), |server| server.error(reply))
    }

    /// Replaces a write whose condition no item meets with a get. The write must not be sent: without CAS values
    /// (`memcached -C`) the server would execute it unconditionally on the binary protocol.
    #[cold]
    fn replace_with_get(&mut self) {
        let name = OperationName::of(self.call.request().operation());
        if let Ok(key) = self.call.request().key() {
            *self.call.request_mut() = Request::get(key.clone());
            self.call.name_if_unnamed(name);
            self.is_unmet = true;
        }
    }
}

impl<K: Kind> fmt::Debug for Command<'_, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.call.fmt(f)
    }
}
