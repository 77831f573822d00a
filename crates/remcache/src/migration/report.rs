//! Migration progress counters.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! tallies {
    ($($(#[$doc:meta])* $name:ident;)*) => {
        /// Counters since the start of the migration.
        ///
        /// Fetches count once per key. Copies also count if another operation needed them.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Report { $($(#[$doc])* pub $name: u64,)* }

        /// Live counters of a report.
        #[derive(Debug, Default)]
        pub(crate) struct LiveReport { $(pub(crate) $name: AtomicCounter,)* }

        impl LiveReport {
            pub(crate) fn report(&self) -> Report {
                Report { $($name: self.$name.0.load(Ordering::Relaxed),)* }
            }
        }

        impl Report {
            /// Returns the difference to an earlier report.
            #[must_use]
            pub fn since(&self, earlier: &Self) -> Self {
                Self { $($name: self.$name.saturating_sub(earlier.$name),)* }
            }
        }
    };
}

tallies! {
    /// Fetched keys that the new placement had, or whose server is the same in both.
    from_new;
    /// Fetched keys that only the old placement had.
    from_old;
    /// Fetched keys that neither placement had.
    misses;
    /// Items that were copied to the new placement.
    backfilled;
    /// Copies that were skipped because another client had written the key to the new placement.
    superseded;
    /// Copies that were deleted again because the item was changed or deleted in the old placement in the
    /// meantime, or could not be verified.
    reverted;
    /// Copies that failed because the new placement rejected them or was unavailable.
    failed;
    /// Requests to unavailable old servers that counted as a miss: see
    /// [`OldUnavailable::Miss`](super::OldUnavailable::Miss).
    old_unavailable;
}

impl Report {
    /// Returns the share of the hits that came from the old placement, from 0 to 1; 0 if there were none.
    pub fn old_hit_ratio(&self) -> f64 {
        match self.from_new + self.from_old {
            0 => 0.0,
            found => self.from_old as f64 / found as f64,
        }
    }
}

/// A monotonic counter.
#[derive(Debug, Default)]
pub(crate) struct AtomicCounter(AtomicU64);

impl AtomicCounter {
    pub(crate) fn add(&self, count: usize) {
        self.0.fetch_add(count as u64, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_of_what_was_found() {
        let tallies = LiveReport::default();
        assert_eq!(tallies.report().old_hit_ratio(), 0.0);
        tallies.from_new.add(3);
        let before = tallies.report();
        tallies.from_old.add(1);
        tallies.misses.add(100);
        assert_eq!(tallies.report().old_hit_ratio(), 0.25);
        let since = tallies.report().since(&before);
        assert_eq!((since.from_new, since.from_old, since.misses), (0, 1, 100));
    }
}
