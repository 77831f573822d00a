//! Typed operations: builders with options by name that are futures themselves.

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
use crate::proto::{CowBytes, Reply, Request, Ttl};
use crate::result as outcome;
use crate::sentinel::TOMBSTONE;

/// An operation on its way: set its options, then await it.
///
/// # Errors
/// What went wrong, as an [`Error`]; what the server decided is a value.
///
/// # Cancellation
/// Dropping it does not cancel the request: its reply is read and discarded. An operation that
/// was polled once may have been executed.
#[must_use = "an operation does nothing unless it is awaited"]
pub struct Command<'a, K: Kind> {
    call: Call<'a>,
    /// Whether a get is sent instead, since no item can meet the condition.
    is_unmet: bool,
    kind: PhantomData<fn() -> K>,
}

/// What an operation returns, and how its reply becomes that.
#[doc(hidden)]
pub trait Kind: Sealed {
    /// What the server's word becomes.
    type Output;
    #[doc(hidden)]
    fn decode(reply: Reply) -> Result<Self::Output, Reply>;
    /// Whether what was read was found; `None` if the operation does not read.
    #[doc(hidden)]
    fn is_found(_: &Self::Output) -> Option<bool> {
        None
    }
    /// What the reply to a get says about a change whose condition no item meets.
    #[doc(hidden)]
    fn decode_unmet(reply: Reply) -> Result<Self::Output, Reply> {
        Err(reply)
    }
}

/// Kinds of operations are a closed set.
#[expect(unnameable_types, reason = "which is what seals it")]
pub trait Sealed {}

/// Marks the operations; [`Command`] is generic over them.
#[doc(hidden)]
pub mod kind {
    use super::{Inspection, Kind, Reply, Sealed, existence, inspection};
    use crate::proto::Ttl;
    use crate::result as outcome;
    use crate::result::{Counter, Item, WriteOutcome};

    macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident -> $output:ty = $decode:path $(, unmet $unmet:path)? $(, found $found:path)?;)*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        #[expect(clippy::exhaustive_enums, reason = "a mark without values")]
        pub enum $name {}
        impl Sealed for $name {}
        impl Kind for $name {
            type Output = $output;
            #[inline]
            fn decode(reply: Reply) -> Result<$output, Reply> {
                $decode(reply)
            }
            $(fn is_found(output: &$output) -> Option<bool> {
                Some($found(output))
            })?
            $(fn decode_unmet(reply: Reply) -> Result<$output, Reply> {
                $unmet(reply)
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
        Store -> WriteOutcome = outcome::change, unmet outcome::unmet;
        /// Appends and prepends: with a condition.
        Extend -> WriteOutcome = outcome::change, unmet outcome::unmet;
        /// Deletes: with a condition.
        Delete -> WriteOutcome = outcome::change, unmet outcome::unmet;
        /// Gives a new time to live.
        Touch -> WriteOutcome = outcome::change;
        /// Counts: with a number to start from.
        Count -> Option<Counter> = outcome::counter;
        /// Asks what is known about an item.
        Inspect -> Option<Inspection> = inspection;
        /// Asks whether there is an item.
        Exist -> bool = existence;
        /// Does something to a server.
        Act -> () = outcome::done;
        /// Flushes a server: now, or after a delay.
        Flush -> () = outcome::done;
        /// Asks a server for a text.
        Ask -> String = outcome::text;
    }
}

/// A fetch of one item: see [`Client::get`](crate::client::Client::get) and
/// [`Client::get_and_touch`](crate::client::Client::get_and_touch).
pub type Get<'a> = Command<'a, kind::Fetch>;
/// A fetch of one item that returns sentinels: see [`Get::with_sentinels`](Command::with_sentinels).
pub type GetWithSentinels<'a> = Command<'a, kind::FetchWithSentinels>;
/// A fetch of one item and its remaining TTL.
pub type GetWithTtl<'a> = Command<'a, kind::FetchWithTtl>;
/// A write of one item: see [`Client::set`](crate::client::Client::set), [`Client::add`](crate::client::Client::add),
/// [`Client::replace`](crate::client::Client::replace) and
/// [`Client::compare_and_swap`](crate::client::Client::compare_and_swap).
pub type Set<'a> = Command<'a, kind::Store>;
/// An addition to a value: see [`Client::append`](crate::client::Client::append) and
/// [`Client::prepend`](crate::client::Client::prepend).
pub type Append<'a> = Command<'a, kind::Extend>;
/// A delete: see [`Client::delete`](crate::client::Client::delete).
pub type Delete<'a> = Command<'a, kind::Delete>;
/// A new time to live: see [`Client::touch`](crate::client::Client::touch).
pub type Touch<'a> = Command<'a, kind::Touch>;
/// A change of a counter: see [`Client::increment`](crate::client::Client::increment) and
/// [`Client::decrement`](crate::client::Client::decrement).
pub type Increment<'a> = Command<'a, kind::Count>;
/// A query of an item's metadata: see [`Client::inspect`](crate::client::Client::inspect).
pub type Inspect<'a> = Command<'a, kind::Inspect>;
/// A flush of one server: see [`ServerHandle::flush`](crate::server::ServerHandle::flush).
pub type Flush = Command<'static, kind::Flush>;
/// A request without a result: see [`ServerHandle::noop`](crate::server::ServerHandle::noop) and
/// [`ServerHandle::verbosity`](crate::server::ServerHandle::verbosity).
pub type Noop = Command<'static, kind::Act>;
/// A query of a server's version: see [`ServerHandle::version`](crate::server::ServerHandle::version).
pub type Version = Command<'static, kind::Ask>;

impl<'a, K: Kind> Command<'a, K> {
    #[inline]
    pub(crate) fn new(call: Call<'a>) -> Self {
        Self { call: call.guarded(true), is_unmet: false, kind: PhantomData }
    }

    /// How long this operation may take, instead of the client's [`timeout`](crate::config::Config::timeout).
    pub fn timeout(self, timeout: Duration) -> Self {
        Self::new(self.call.timeout(timeout))
    }

    /// Places this key instead of the item's own: see [`Call::routing_key`].
    pub fn routing_key(self, key: impl Into<CowBytes<'a>>) -> Self {
        Self::new(self.call.routing_key(key))
    }

    /// Sets what observers know it by.
    pub(crate) fn named(mut self, name: OperationName) -> Self {
        self.call.set_name(name);
        self
    }

    fn map(mut self, change: impl FnOnce(Request<'a>) -> Request<'a>) -> Self {
        let request = std::mem::replace(self.call.request_mut(), Request::noop());
        *self.call.request_mut() = change(request);
        self
    }
}

macro_rules! options {
    ($($kind:ident: $($option:ident)*;)*) => {$(
        impl<'a> Command<'a, kind::$kind> { $(options!(@$option);)* }
    )*};
    (@ttl) => {
        /// How long the item lives (default: for ever).
        pub fn ttl(self, ttl: impl Into<Ttl>) -> Self {
            self.map(|request| request.ttl(ttl))
        }
    };
    (@flags) => {
        /// Flags to store with the value (default: 0).
        pub fn flags(self, flags: u32) -> Self {
            self.map(|request| request.flags(flags))
        }
    };
    (@cas) => {
        /// Only if the item's CAS value is this one; 0 is no item's.
        pub fn cas(self, cas: u64) -> Self {
            self.map(|request| request.cas(condition(cas)))
        }
    };
    (@initial) => {
        /// The number to start from if the key is absent (default: an absent counter stays absent).
        pub fn initial(self, initial: u64) -> Self {
            self.map(|request| request.initial(initial))
        }
    };
}

options! {
    Store: flags ttl cas;
    Extend: cas;
    Delete: cas;
    Count: initial ttl;
}

/// A CAS value as a request has it, where 0 is no condition.
pub(crate) fn condition(cas: u64) -> u64 {
    if cas == 0 { NEVER_MET } else { cas }
}

/// The CAS value of no item: servers count them up from 1.
pub(crate) const NEVER_MET: u64 = u64::MAX;

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
        Command { call: self.call, is_unmet: self.is_unmet, kind: PhantomData }
    }
}

impl Delete<'_> {
    /// Leaves a tombstone for this duration: until then adds fail, and values loaded earlier are not
    /// stored by [`fetch`](crate::client::Client::fetch).
    ///
    /// The tombstone is an item without bytes, of flags that [`Item::is_sentinel`](crate::result::Item::is_sentinel)
    /// knows, on every protocol. It is stored whether or not there was an item, and a set replaces it. Servers
    /// count whole seconds, and it may end up to one second early.
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
            Ok(key) => Request::set(key.clone(), "").flags(TOMBSTONE).ttl(ttl).cas(request.condition()),
            // It is refused for its key, as a delete is.
            Err(_) => request,
        })
    }
}

impl Flush {
    /// Lets the server flush after this time (default: now). Items that are stored until then are removed
    /// too, and another flush replaces one that is still to come.
    pub fn after(self, delay: Duration) -> Self {
        let when = if delay.is_zero() { Ttl::Never } else { Ttl::After(delay) };
        self.map(|request| request.ttl(when))
    }
}

impl<K: Kind> Future for Command<'_, K> {
    type Output = Result<K::Output, Error>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.call.request().condition() == NEVER_MET {
            self.ask_instead();
        }
        let decode = if self.is_unmet { K::decode_unmet } else { K::decode };
        let decoded = ready!(self.call.poll_into(cx.waker(), decode));
        Poll::Ready(decoded.map_err(|reply| {
            self.call.learn(reply.status);
            outcome::error(&reply, self.call.server().map(|server| Arc::clone(&server.endpoint.name)))
        }))
    }
}

impl<K: Kind> Command<'_, K> {
    /// Replaces a change whose condition no item meets by a get. It must not be sent: without CAS values
    /// (`memcached -C`) the binary protocol executes it unconditionally.
    #[cold]
    fn ask_instead(&mut self) {
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
