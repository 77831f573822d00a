//! When an item ends, on the server's clock.

/// When an item ends: never, or at a second of the server's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Expiry(Option<u64>);

/// The longest relative time; larger numbers are seconds since the Unix epoch.
const MAX_RELATIVE: u32 = 30 * 24 * 60 * 60;

/// How many seconds memcached's clock shows when it starts.
const CLOCK_LEAD: u64 = 62;

impl Expiry {
    pub(crate) const NEVER: Self = Self(None);

    /// What a number on the binary wire means at this second: 0 is never, up to 30 days are
    /// relative, more is absolute (`docs/protocol.md` of remcache 2.6).
    #[inline]
    pub(crate) fn from_wire(seconds: u32, now: u64) -> Self {
        match seconds {
            0 => Self::NEVER,
            1..=MAX_RELATIVE => Self(Some(now.saturating_add(u64::from(seconds)))),
            absolute => Self(Some(u64::from(absolute))),
        }
    }

    /// What a number on the text wires means: as on the binary one, but a negative number, or a
    /// time before the server was started, is a moment that has passed.
    pub(crate) fn from_text(seconds: i32, now: u64, started_at: u64) -> Self {
        match u32::try_from(seconds).map(|seconds| Self::from_wire(seconds, now)) {
            Ok(Self(Some(at))) if at <= started_at => Self::past(started_at),
            Ok(expiry) => expiry,
            Err(_) => Self::past(started_at),
        }
    }

    /// The moment that memcached takes for any that has passed: the first second of a clock that
    /// it starts a minute late.
    fn past(started_at: u64) -> Self {
        Self(Some(started_at.saturating_sub(CLOCK_LEAD - 1)))
    }

    /// How many seconds are left; 0 if it never ends. What has passed gives a number around 2^32, as
    /// memcached counts.
    pub(crate) fn left(self, now: u64) -> u32 {
        let left = self.0.map_or(0, |at| at.wrapping_sub(now));
        (left & u64::from(u32::MAX)) as u32
    }

    /// The second, if there is one.
    pub(crate) fn at(self) -> Option<u64> {
        self.0
    }

    /// Whether it has come.
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
    fn numbers_on_the_wire() {
        let cases = [
            (0, None),
            (1, Some(NOW + 1)),
            (2_592_000, Some(NOW + 2_592_000)),
            (2_592_001, Some(2_592_001)),
            (1_900_000_000, Some(1_900_000_000)),
            (u32::MAX, Some(u64::from(u32::MAX))),
        ];
        for (seconds, expected) in cases {
            assert_eq!(Expiry::from_wire(seconds, NOW), Expiry(expected), "{seconds}");
        }
    }

    #[test]
    fn an_item_ends_with_its_second() {
        let expiry = Expiry::from_wire(10, NOW);
        assert!(!expiry.is_past(NOW + 9));
        assert!(expiry.is_past(NOW + 10));
        assert!(Expiry::from_wire(2_592_001, NOW).is_past(NOW));
        assert!(!Expiry::NEVER.is_past(u64::MAX));
    }
}
