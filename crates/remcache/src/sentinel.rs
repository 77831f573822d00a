//! The flags of items that are no values: leases, results that there is nothing, tombstones.

use crate::result::Item;

/// Somebody is loading the value; the item's value is a token of theirs.
pub(crate) const LEASE: u32 = MARK;
/// The loader found that there is no value.
pub(crate) const ABSENT: u32 = MARK | 1;
/// The item was deleted, and nothing is to be added for a while.
pub(crate) const TOMBSTONE: u32 = MARK | 2;
/// When another key's value is due: the item is that key's companion.
pub(crate) const COMPANION: u32 = MARK | 3;

/// "re", and a compression that there is not: no codec of ours reads it, and none of another client.
const MARK: u32 = 0x7265_7f00;

/// Whether flags are those of an item that is no value.
pub(crate) fn is_mark(flags: u32) -> bool {
    flags & !0xff == MARK
}

impl Item {
    /// Whether the item stands for something else than a value: [`Client::fetch`](crate::client::Client::fetch)
    /// loads it, found that there is nothing, or it was deleted with a tombstone.
    ///
    /// Whoever gets items that others fetch takes these for misses; [`Cache::get`](crate::cache::Cache::get)
    /// does so by itself.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = remcache_server::Server::start().await?;
    /// # let client = remcache::Client::new([server.address()])?;
    /// use std::time::Duration;
    ///
    /// client.delete("page").tombstone(Duration::from_secs(5)).await?;
    /// let page = client.get("page").await?.filter(|item| !item.is_mark());
    /// assert_eq!(page, None);
    /// # Ok(()) }
    /// ```
    pub fn is_mark(&self) -> bool {
        is_mark(self.flags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::{Flags, Format};

    #[test]
    fn marks_are_no_flags_of_values() {
        for mark in [LEASE, ABSENT, TOMBSTONE, COMPANION] {
            assert!(is_mark(mark) && Flags::from_bits(mark).is_err(), "{mark:#x}");
        }
        for format in [Format::Bytes, Format::Json, Format::Custom(127)] {
            assert!(!is_mark(Flags::new(format, None).to_bits()));
        }
        assert!(!is_mark(0) && !is_mark(0x7f00) && !is_mark(u32::MAX));
    }
}
