//! Arithmetic with instants that does not overflow.

use std::time::Duration;

use tokio::time::Instant;

use crate::proto::Deadline;

/// Returns `now` plus `wait`, limited to a century.
#[inline]
pub(crate) fn after(now: Instant, wait: Duration) -> Instant {
    const CENTURY: Duration = Duration::from_secs(100 * 365 * 86_400);
    now.checked_add(wait).unwrap_or_else(|| now + CENTURY)
}

/// Returns a deadline that no reply extends.
#[inline]
pub(crate) fn fixed_deadline(now: Instant, timeout: Duration) -> Deadline {
    Deadline { at: after(now, timeout).into_std(), extend_by: Duration::ZERO }
}
