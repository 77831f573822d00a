//! Items, and how much of everything a store may hold.

use bytes::Bytes;
use remcache_proto::{CowBytes, Reply, Status};

use crate::expiry::Expiry;

/// What a store may hold and do.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// The size of all items, in bytes.
    pub(crate) memory: usize,
    /// The size of one item, in bytes.
    pub(crate) item_size: usize,
    /// Whether items are evicted to make room for others.
    pub(crate) evicts: bool,
    /// Whether items have CAS values.
    pub(crate) cas: bool,
    /// Whether a client may flush.
    pub(crate) flush: bool,
    /// Whether a flush takes a CAS value, which nothing has then.
    pub(crate) flush_takes_cas: bool,
}

/// What memcached needs for an item beside key and value: its header, the key's end, the value's
/// line end; then a CAS value and, unless they are 0, flags.
const HEADER: usize = 51;
const CAS: usize = 8;
const FLAGS: usize = 4;

impl Limits {
    /// The size of an item with these lengths.
    pub(crate) fn size(&self, key: usize, value: usize, flags: u32) -> usize {
        let cas = if self.cas { CAS } else { 0 };
        let flags = if flags == 0 { 0 } else { FLAGS };
        (HEADER + cas + flags).saturating_add(key).saturating_add(value)
    }
}

#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) value: Bytes,
    pub(crate) flags: u32,
    pub(crate) cas: u64,
    pub(crate) expiry: Expiry,
    pub(crate) stored_at: u64,
    /// When it was last fetched or touched, or else stored.
    pub(crate) used_at: u64,
    pub(crate) marks: Marks,
}

/// What is remembered of an item beside what was stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Marks {
    /// Somebody has fetched it.
    pub(crate) fetched: bool,
    /// Somebody was told to renew it.
    pub(crate) won: bool,
    /// It was invalidated, and may be served meanwhile.
    pub(crate) stale: bool,
    /// Its key came as base64.
    pub(crate) base64: bool,
}

/// An item that is to be stored.
#[derive(Clone, Debug)]
pub(crate) struct NewItem<'a> {
    pub(crate) key: &'a [u8],
    /// Copied unless it is shared already.
    pub(crate) value: CowBytes<'a>,
    pub(crate) flags: u32,
    pub(crate) expiry: Expiry,
    pub(crate) marks: Marks,
}

impl Item {
    /// Remembers that it was used.
    #[inline]
    pub(crate) fn bump(&mut self, now: u64) {
        self.marks.fetched = true;
        self.used_at = now;
    }

    #[inline]
    pub(super) fn reply(&self) -> Reply {
        let mut reply = Reply::with_text(Status::NoError, self.value.clone());
        reply.flags = self.flags;
        reply.cas = self.cas;
        reply
    }
}
