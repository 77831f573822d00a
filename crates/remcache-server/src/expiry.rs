//! Expiration times.

/// The time at which an item expires: never, or at a second of the server's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Expiry(Option<u64>);

/// The longest relative time; larger numbers are seconds since the Unix epoch.
const MAX_RELATIVE: u32 = 30 * 24 * 60 * 60;

/// The reading of memcached's internal clock when it starts: `ITEM_UPDATE_INTERVAL + 2` seconds, so that no time of its
/// own is 0, which stands for "not set".
const CLOCK_LEAD: u64 = 62;

impl Expiry {
    pub(crate) const NEVER: Self = Self(None);

    /// Returns a time that has passed already.
    pub(crate) fn at_once(now: u64) -> Self {
        Self(Some(now))
    }

    /// Converts the number in a binary request: 0 is never, up to 30 days are relative to `now`, more is absolute
    /// (`docs/protocol.md` of remcache 2.6).
    #[inline]
    pub(crate) fn from_binary(seconds: u32, now: u64) -> Self {
        match seconds {
            0 => Self::NEVER,
            1..=MAX_RELATIVE => Self(Some(now.saturating_add(u64::from(seconds)))),
            absolute => Self(Some(u64::from(absolute))),
        }
    }

    /// Converts the number in a text request. Unlike in binary, a negative number or a time before the server's start
    /// has passed already.
    pub(crate) fn from_text(seconds: i32, now: u64, started_at: u64) -> Self {
        match u32::try_from(seconds).map(|seconds| Self::from_binary(seconds, now)) {
            Ok(Self(Some(at))) if at <= started_at => Self::past(started_at),
            Ok(expiry) => expiry,
            Err(_) => Self::past(started_at),
        }
    }

    /// Returns the time that memcached uses for any time in the past: the first second of its internal clock.
    fn past(started_at: u64) -> Self {
        Self(Some(started_at.saturating_sub(CLOCK_LEAD - 1)))
    }

    /// Returns the remaining seconds; 0 if it never expires. A time in the past gives a number around 2^32, because
    /// memcached's subtraction wraps around in 32 bits.
    pub(crate) fn remaining(self, now: u64) -> u32 {
        let remaining = self.0.map_or(0, |at| at.wrapping_sub(now));
        (remaining & u64::from(u32::MAX)) as u32
    }

    /// Returns the second, unless it is never.
    pub(crate) fn at(self) -> Option<u64> {
        self.0
    }

    /// Returns whether memcached cannot represent the time, because it is before its internal clock started.
    pub(crate) fn predates(self, started_at: u64) -> bool {
        self.0.zip(Self::past(started_at).0).is_some_and(|(at, first)| at <= first)
    }

    #[inline]
    pub(crate) fn is_past(self, now: u64) -> bool {
        self.0.is_some_and(|at| at <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    #[test]
    fn binary_numbers_are_relative_up_to_thirty_days() {
        let cases = [
            (0, None),
            (1, Some(NOW + 1)),
            (2_592_000, Some(NOW + 2_592_000)),
            (2_592_001, Some(2_592_001)),
            (1_900_000_000, Some(1_900_000_000)),
            (u32::MAX, Some(u64::from(u32::MAX))),
        ];
        for (seconds, expected) in cases {
            assert_eq!(Expiry::from_binary(seconds, NOW), Expiry(expected), "{seconds}");
        }
    }

    #[test]
    fn an_item_expires_at_the_start_of_its_second() {
        let expiry = Expiry::from_binary(10, NOW);
        assert!(!expiry.is_past(NOW + 9));
        assert!(expiry.is_past(NOW + 10));
        assert!(Expiry::from_binary(2_592_001, NOW).is_past(NOW));
        assert!(!Expiry::NEVER.is_past(u64::MAX));
    }
}
