//! What time it is for the items: the system's time, or one that a test moves.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A clock that stands still until it is moved: items expire when a test says so.
///
/// It starts at the system's time, so that absolute expiration times mean the same to both.
/// Clones are the same clock.
///
/// ```
/// use std::time::Duration;
/// use remcache_server::{ManualClock, Server};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// let clock = ManualClock::new();
/// let server = Server::builder().clock(&clock).start().await?;
/// // … store an item that lives for an hour …
/// clock.advance(Duration::from_secs(3600));
/// // … and now it is gone.
/// # server.stop().await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ManualClock {
    /// Nanoseconds since the Unix epoch.
    time: Arc<AtomicU64>,
}

impl ManualClock {
    /// A clock that stands at the system's time.
    pub fn new() -> Self {
        let now = u64::try_from(since_epoch(SystemTime::now()).as_nanos()).unwrap_or(u64::MAX);
        Self { time: Arc::new(AtomicU64::new(now)) }
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        let nanoseconds = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        let later = |time: u64| Some(time.saturating_add(nanoseconds));
        // The closure always gives a time.
        let _ = self.time.fetch_update(Ordering::SeqCst, Ordering::SeqCst, later);
    }

    /// Where the clock stands.
    pub fn now(&self) -> SystemTime {
        UNIX_EPOCH + self.since_epoch()
    }

    fn since_epoch(&self) -> Duration {
        Duration::from_nanos(self.time.load(Ordering::SeqCst))
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

/// The clock of a server.
#[derive(Clone, Debug)]
pub(crate) enum Clock {
    System,
    Manual(ManualClock),
}

impl Clock {
    /// Whole seconds since the Unix epoch, as memcached counts them.
    pub(crate) fn seconds(&self) -> u64 {
        match self {
            Self::System => since_epoch(SystemTime::now()).as_secs(),
            Self::Manual(clock) => clock.since_epoch().as_secs(),
        }
    }
}

fn since_epoch(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_when_it_is_moved_and_its_clones_with_it() {
        let clock = ManualClock::new();
        let server = Clock::Manual(clock.clone());
        let before = (clock.now(), server.seconds());
        assert_eq!(server.seconds(), before.1);
        clock.advance(Duration::from_secs(90));
        assert_eq!(server.seconds(), before.1 + 90);
        assert_eq!(clock.now(), before.0 + Duration::from_secs(90));
    }
}
