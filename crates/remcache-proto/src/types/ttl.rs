//! TTLs, and their representation in the protocol.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The time to live of an item.
///
/// The protocol has whole seconds, and a number above 30 days is an absolute Unix timestamp (docs/protocol.md 2.6).
/// Both are handled here: a longer duration becomes absolute, fractions are rounded up, and a zero duration is an
/// error instead of "never expires".
///
/// An item that should live longer than the protocol can express lives until its last second: 03:14:07 UTC on
/// 19 January 2038 on the meta and text protocols, and 06:28:14 UTC on 7 February 2106 on the binary protocol.
///
/// ```
/// use std::time::Duration;
/// use remcache_proto::Ttl;
///
/// assert_eq!(Ttl::Never.seconds(), Ok(0));
/// assert_eq!(Ttl::from(Duration::from_millis(1_500)).seconds(), Ok(2));
/// assert!(Ttl::from(Duration::ZERO).seconds().is_err());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ttl {
    /// The item lives until it is deleted or evicted.
    #[default]
    Never,
    /// The item expires after this duration.
    After(Duration),
    /// The item lives until this instant.
    At(SystemTime),
    /// The item expires immediately.
    Expired,
}

/// The longest relative time of the protocol; larger numbers are absolute.
const MAX_RELATIVE: u64 = 30 * 24 * 60 * 60;
/// The binary protocol's last second; the next number means "do not create".
const LAST: u32 = u32::MAX - 1;
/// The first absolute time: in January 1970, hence expired on every server.
const EXPIRED: u32 = 2_592_001;

impl Ttl {
    /// Converts a protocol number to a TTL: the inverse of [`Ttl::seconds`].
    pub fn from_seconds(seconds: u32) -> Self {
        match u64::from(seconds) {
            0 => Self::Never,
            relative @ 1..=MAX_RELATIVE => Self::After(Duration::from_secs(relative)),
            _ if seconds == EXPIRED => Self::Expired,
            absolute => UNIX_EPOCH.checked_add(Duration::from_secs(absolute)).map_or(Self::Never, Self::At),
        }
    }

    /// Converts a duration above the longest relative time into an absolute time.
    ///
    /// The protocol layer has no clock, so TTLs must be resolved before encoding; the client does it automatically.
    #[must_use]
    pub fn resolve(self, now: impl FnOnce() -> SystemTime) -> Self {
        match self {
            Self::After(duration) if duration > Duration::from_secs(MAX_RELATIVE) => {
                // A time that `SystemTime` cannot represent is past the protocol's last second.
                let last = || UNIX_EPOCH.checked_add(Duration::from_secs(u64::from(LAST)));
                now().checked_add(duration).or_else(last).map_or(self, Self::At)
            }
            other => other,
        }
    }

    /// Converts to the number in the binary protocol; a later time becomes its last second.
    ///
    /// # Errors
    /// [`InvalidTtl`] for a zero duration, and for a duration above 30 days that was not resolved.
    #[inline]
    pub fn seconds(self) -> Result<u32, InvalidTtl> {
        match self {
            Self::Never => Ok(0),
            Self::Expired => Ok(EXPIRED),
            Self::After(duration) => relative(duration),
            Self::At(time) => Ok(absolute(time)),
        }
    }
}

fn relative(duration: Duration) -> Result<u32, InvalidTtl> {
    let fraction = u64::from(duration.subsec_nanos() > 0);
    match duration.as_secs().saturating_add(fraction) {
        0 => Err(InvalidTtl::Zero),
        seconds if seconds <= MAX_RELATIVE => u32::try_from(seconds).map_err(|_| InvalidTtl::Unresolved),
        _ => Err(InvalidTtl::Unresolved),
    }
}

fn absolute(time: SystemTime) -> u32 {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    // A small number would be relative, but such an absolute time is long past.
    if seconds <= MAX_RELATIVE {
        return EXPIRED;
    }
    u32::try_from(seconds).map_or(LAST, |seconds| seconds.min(LAST))
}

impl From<Duration> for Ttl {
    fn from(duration: Duration) -> Self {
        Self::After(duration)
    }
}

impl From<SystemTime> for Ttl {
    fn from(time: SystemTime) -> Self {
        Self::At(time)
    }
}

/// Why a TTL cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidTtl {
    /// The duration is zero, which in the protocol means "never expires".
    Zero,
    /// The duration is above 30 days and was not converted with [`Ttl::resolve`].
    Unresolved,
}

impl fmt::Display for InvalidTtl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Zero => "the time to live is zero: use Ttl::Never to keep an item, Ttl::Expired to drop it",
            Self::Unresolved => "the time to live is above 30 days: make it absolute with Ttl::resolve",
        })
    }
}

impl std::error::Error for InvalidTtl {}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400;

    #[test]
    fn the_protocol_is_reported() {
        let at = |seconds| Ttl::At(UNIX_EPOCH + Duration::from_secs(seconds));
        let after = |seconds| Ttl::After(Duration::from_secs(seconds));
        let cases = [
            (Ttl::Never, Ok(0)),
            (Ttl::Expired, Ok(EXPIRED)),
            (after(0), Err(InvalidTtl::Zero)),
            (after(1), Ok(1)),
            (Ttl::After(Duration::from_nanos(1)), Ok(1)),
            (after(30 * DAY), Ok(2_592_000)),
            (after(30 * DAY + 1), Err(InvalidTtl::Unresolved)),
            (at(0), Ok(EXPIRED)),
            (at(30 * DAY), Ok(EXPIRED)),
            (at(30 * DAY + 1), Ok(2_592_001)),
            (at(1_900_000_000), Ok(1_900_000_000)),
            (at(u64::from(u32::MAX)), Ok(u32::MAX - 1)),
            (at(7_258_118_400), Ok(u32::MAX - 1)),
            (Ttl::At(UNIX_EPOCH - Duration::from_secs(5)), Ok(EXPIRED)),
        ];
        for (ttl, expected) in cases {
            assert_eq!(ttl.seconds(), expected, "{ttl:?}");
        }
    }

    #[test]
    fn long_durations_become_absolute() {
        let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let ttl = Ttl::After(Duration::from_secs(40 * DAY)).resolve(|| now);
        assert_eq!(ttl.seconds(), Ok(1_803_456_000));
        assert_eq!(Ttl::After(Duration::MAX).resolve(|| now).seconds(), Ok(u32::MAX - 1));
        let short = Ttl::After(Duration::from_secs(DAY));
        assert_eq!(short.resolve(|| now), short);
    }
}
