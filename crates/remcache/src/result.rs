//! Results of operations: a server's decision is a value, a failure is an error.

use bytes::Bytes;

use crate::proto::{Delivery, Reply, Status, Ttl};
use crate::sentinel::is_sentinel;

/// A fetched item.
///
/// An application that calls the client through its own trait can construct items in its tests:
///
/// ```
/// use remcache::Item;
///
/// let item = Item::new("World").with_flags(7).with_cas(42);
/// assert_eq!((item.value.as_ref(), item.flags, item.cas), (&b"World"[..], 7, 42));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Item {
    /// The value. Holding it keeps at most twice its length plus 1 KiB of memory alive.
    pub value: Bytes,
    /// The flags stored with it.
    pub flags: u32,
    /// The CAS value, for the condition of a later `.cas(…)`.
    pub cas: u64,
}

impl Item {
    /// Creates an item with this value, without flags and CAS value.
    pub fn new(value: impl Into<Bytes>) -> Self {
        Self { value: value.into(), flags: 0, cas: 0 }
    }

    /// Sets the flags.
    #[must_use]
    pub fn with_flags(self, flags: u32) -> Self {
        Self { flags, ..self }
    }

    /// Sets the CAS value.
    #[must_use]
    pub fn with_cas(self, cas: u64) -> Self {
        Self { cas, ..self }
    }

    /// Returns whether the item is a sentinel rather than a value: a lease or negative result of
    /// [`Client::fetch`](crate::client::Client::fetch), or a tombstone.
    ///
    /// Reads treat sentinels as misses unless they are requested
    /// [`with_sentinels`](crate::ops::Command::with_sentinels). Raw requests
    /// ([`Client::call`](crate::client::Client::call)) return what is stored.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = remcache_server::Server::start().await?;
    /// # let client = remcache::Client::new([server.address()])?;
    /// use std::time::Duration;
    ///
    /// client.delete("page").tombstone(Duration::from_secs(5)).await?;
    /// let page = client.get("page").with_sentinels().await?;
    /// assert!(page.is_some_and(|item| item.is_sentinel()));
    /// # Ok(()) }
    /// ```
    pub fn is_sentinel(&self) -> bool {
        is_sentinel(self.flags)
    }
}

/// The outcome of a write that the server may refuse, such as an add or a compare-and-swap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the protocols have no other outcomes of a write")]
#[must_use = "the server may have refused the write: check `is_applied`, or match the outcome"]
pub enum WriteOutcome {
    /// Applied; the item's CAS value, or 0 if unknown.
    Applied(u64),
    /// Not applied: the key does not exist.
    NotFound,
    /// Not applied: the key exists (add), or the item was changed in the meantime (with a CAS value).
    Exists,
    /// Not applied: there is no value to append or prepend to, or the result would be too large.
    NotStored,
}

impl WriteOutcome {
    /// Returns whether the write was applied.
    pub fn is_applied(self) -> bool {
        matches!(self, Self::Applied(_))
    }

    /// Returns the item's CAS value, if the write was applied.
    pub fn cas(self) -> Option<u64> {
        match self {
            Self::Applied(cas) => Some(cas),
            _ => None,
        }
    }
}

/// The outcome of a write without a condition: a set, delete or touch, which leaves the key as requested, or
/// finds no item. It can be ignored.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let server = remcache_server::Server::start().await?;
/// # let client = remcache::Client::new([server.address()])?;
/// use remcache::WriteOutcome;
///
/// client.set("Hello", "World").await?;
/// assert!(client.delete("Hello").await?.is_applied());
/// assert_eq!(client.delete("Hello").await?, WriteOutcome::NotFound);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnconditionalOutcome(WriteOutcome);

impl UnconditionalOutcome {
    /// Returns whether the write was applied.
    pub fn is_applied(self) -> bool {
        self.0.is_applied()
    }

    /// Returns the item's CAS value, if the write was applied.
    pub fn cas(self) -> Option<u64> {
        self.0.cas()
    }
}

impl From<WriteOutcome> for UnconditionalOutcome {
    fn from(outcome: WriteOutcome) -> Self {
        Self(outcome)
    }
}

impl From<UnconditionalOutcome> for WriteOutcome {
    fn from(outcome: UnconditionalOutcome) -> Self {
        outcome.0
    }
}

impl PartialEq<WriteOutcome> for UnconditionalOutcome {
    fn eq(&self, other: &WriteOutcome) -> bool {
        self.0 == *other
    }
}

/// A counter after it was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counter {
    /// The new value.
    pub value: u64,
    /// The item's CAS value.
    pub cas: u64,
}

impl Counter {
    /// Creates a counter with this number, without a CAS value.
    pub fn new(value: u64) -> Self {
        Self { value, cas: 0 }
    }
}

// Decoders of replies; any other status is an error. They read a reply in place, because moving it costs as much as
// reading it. For the same reason errors are boxed, so that results are small.

/// Moves a reply out of its place.
#[inline]
pub(crate) fn take_reply(reply: &mut Reply) -> Reply {
    std::mem::replace(reply, Reply::new(Status::NoError))
}

/// Moves out a reply that is an error.
#[cold]
pub(crate) fn refusal(reply: &mut Reply) -> Box<Reply> {
    Box::new(take_reply(reply))
}

#[inline]
pub(crate) fn item(reply: &mut Reply) -> Result<Option<Item>, Box<Reply>> {
    match reply.status {
        Status::NoError => {
            Ok(Some(Item { value: std::mem::take(&mut reply.value), flags: reply.flags, cas: reply.cas }))
        }
        Status::KeyNotFound => Ok(None),
        _ => Err(refusal(reply)),
    }
}

/// Decodes a plain read, for which a sentinel is a miss.
#[inline]
pub(crate) fn value(reply: &mut Reply) -> Result<Option<Item>, Box<Reply>> {
    match reply.status {
        Status::NoError if is_sentinel(reply.flags) => Ok(None),
        _ => item(reply),
    }
}

/// Decodes a plain read that requested the remaining TTL.
pub(crate) fn value_with_ttl(reply: &mut Reply) -> Result<Option<(Item, Option<Ttl>)>, Box<Reply>> {
    let remaining_ttl = reply.info.take().and_then(|info| info.remaining_ttl);
    Ok(value(reply)?.map(|item| (item, remaining_ttl)))
}

#[inline]
pub(crate) fn change(reply: &mut Reply) -> Result<WriteOutcome, Box<Reply>> {
    match reply.status {
        Status::NoError => Ok(WriteOutcome::Applied(reply.cas)),
        Status::KeyNotFound => Ok(WriteOutcome::NotFound),
        Status::KeyExists => Ok(WriteOutcome::Exists),
        Status::ItemNotStored => Ok(WriteOutcome::NotStored),
        _ => Err(refusal(reply)),
    }
}

/// Decodes the reply to the get that replaced a write with a CAS value that no item has.
pub(crate) fn condition_failed(reply: &mut Reply) -> Result<WriteOutcome, Box<Reply>> {
    match reply.status {
        Status::NoError if reply.cas == 0 => Err(Box::new(Reply::with_text(Status::Unsupported, NO_CAS))),
        Status::NoError => Ok(WriteOutcome::Exists),
        Status::KeyNotFound => Ok(WriteOutcome::NotFound),
        _ => Err(refusal(reply)),
    }
}

/// The error message for a server without CAS values.
pub(crate) const NO_CAS: &str = "the server has no CAS values: start the server without -C";

pub(crate) fn counter(reply: &mut Reply) -> Result<Option<Counter>, Box<Reply>> {
    match (reply.status, reply.number) {
        (Status::NoError, Some(value)) => Ok(Some(Counter { value, cas: reply.cas })),
        (Status::KeyNotFound, _) => Ok(None),
        _ => Err(refusal(reply)),
    }
}

pub(crate) fn done(reply: &mut Reply) -> Result<(), Box<Reply>> {
    match reply.status {
        Status::NoError => Ok(()),
        _ => Err(refusal(reply)),
    }
}

pub(crate) fn text(reply: &mut Reply) -> Result<String, Box<Reply>> {
    match reply.status {
        Status::NoError => Ok(reply.text().into_owned()),
        _ => Err(refusal(reply)),
    }
}

/// Returns the reply to a request for which there is no server.
#[cold]
pub(crate) fn no_server() -> Reply {
    Reply::disconnected(Delivery::NotSent, "no server is connected")
}
