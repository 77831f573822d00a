//! The clock of a server: the system's, or one that a test advances.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A clock that stands still until a test advances it, so that items expire exactly when the test wants.
///
/// It starts at the system's time, because absolute expiration times must mean the same to client and server. Clones
/// share the same time.
///
/// ```
/// use std::time::Duration;
/// use remcache_server::{ManualClock, Server};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// let clock = ManualClock::new();
/// let server = Server::builder().clock(&clock).start().await?;
/// // An item that is stored here with a TTL of an hour …
/// clock.advance(Duration::from_secs(3600));
/// // … is expired from here on.
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
    /// Creates a clock that is set to the system's time.
    pub fn new() -> Self {
        let now = u64::try_from(since_epoch(SystemTime::now()).as_nanos()).unwrap_or(u64::MAX);
        Self { time: Arc::new(AtomicU64::new(now)) }
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        let nanoseconds = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        let later = |time: u64| Some(time.saturating_add(nanoseconds));
        // This fails only if the closure returns `None`.
        let _ = self.time.fetch_update(Ordering::SeqCst, Ordering::SeqCst, later);
    }

    /// Returns the current time of this clock.
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
    /// Returns whole seconds since the Unix epoch, the resolution of memcached's clock.
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
    fn a_manual_clock_and_its_clones_move_only_when_advanced() {
        let clock = ManualClock::new();
        let server = Clock::Manual(clock.clone());
        let before = (clock.now(), server.seconds());
        assert_eq!(server.seconds(), before.1);
        clock.advance(Duration::from_secs(90));
        assert_eq!(server.seconds(), before.1 + 90);
        assert_eq!(clock.now(), before.0 + Duration::from_secs(90));
    }
}
