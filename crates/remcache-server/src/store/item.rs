//! Items and the limits of a store.

use bytes::Bytes;
use remcache_proto::{CowBytes, Reply, Status};

use crate::expiry::Expiry;

/// The limits and options of a store.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// The total size of all items, in bytes.
    pub(crate) memory: usize,
    /// The size of one item, in bytes.
    pub(crate) item_size: usize,
    /// Whether items are evicted to make room for new ones.
    pub(crate) evictions: bool,
    /// Whether items have CAS values.
    pub(crate) cas: bool,
    /// Whether clients may flush.
    pub(crate) flush: bool,
    /// Whether an immediate flush consumes a CAS value, as before memcached 1.6.25.
    pub(crate) flush_consumes_cas: bool,
}

/// The bytes that memcached needs for an item in addition to its key and value: the header, the terminating zero of the
/// key and the line end of the value.
const HEADER: usize = 51;
const CAS: usize = 8;
/// Client flags are stored unless they are 0.
const FLAGS: usize = 4;

impl Limits {
    /// Returns the size of an item whose key and value have these lengths.
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
    /// The time of the last fetch or touch, or else of the store.
    pub(crate) used_at: u64,
    pub(crate) state: ItemState,
}

/// Flags that memcached keeps with an item, most of them for meta commands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ItemState {
    /// The item was fetched since it was stored.
    pub(crate) fetched: bool,
    /// A client has won the right to recache the item.
    pub(crate) win_sent: bool,
    /// The item was invalidated but may still be served.
    pub(crate) stale: bool,
    /// The key was sent in base64.
    pub(crate) base64_key: bool,
}

/// An item to store.
#[derive(Clone, Debug)]
pub(crate) struct NewItem<'a> {
    pub(crate) key: &'a [u8],
    /// Copied unless it is shared already.
    pub(crate) value: CowBytes<'a>,
    pub(crate) flags: u32,
    pub(crate) expiry: Expiry,
    pub(crate) state: ItemState,
}

impl Item {
    /// Records a use, which protects the item from eviction.
    #[inline]
    pub(crate) fn bump(&mut self, now: u64) {
        self.state.fetched = true;
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
