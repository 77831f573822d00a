//! Flags of sentinel items, which hold no value: leases, negative results and tombstones.

/// Lease: a client is loading the value; the item's value is its token.
pub(crate) const LEASE: u32 = SENTINEL;
/// Negative result: the loader found no value.
pub(crate) const ABSENT: u32 = SENTINEL | 1;
/// Tombstone: the item was deleted, and adds fail until it expires.
pub(crate) const TOMBSTONE: u32 = SENTINEL | 2;
/// Refresh item: holds the time at which another key's value is due for a refresh.
pub(crate) const REFRESH_ITEM: u32 = SENTINEL | 3;

/// "re", with the bit of a custom format and an unassigned compression number, which no codec of this crate and no
/// other client uses.
const SENTINEL: u32 = 0x7265_7f00;

/// Returns whether these are the flags of a sentinel item.
pub(crate) fn is_sentinel(flags: u32) -> bool {
    flags & !0xff == SENTINEL
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::{Flags, Format};

    #[test]
    fn sentinel_flags_are_not_value_flags() {
        for mark in [LEASE, ABSENT, TOMBSTONE, REFRESH_ITEM] {
            assert!(is_sentinel(mark) && Flags::from_bits(mark).is_err(), "{mark:#x}");
        }
        for format in [Format::Bytes, Format::Json, Format::Custom(0), Format::Custom(255)] {
            assert!(!is_sentinel(Flags::new(format, None).to_bits()));
        }
        assert!(!is_sentinel(0) && !is_sentinel(0x7f00) && !is_sentinel(u32::MAX));
    }
}
