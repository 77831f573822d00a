//! Faults of real servers: one server at a time is killed and restarted, or stopped and continued.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fastrand::Rng;
use remcache_testkit::Memcached;
use tokio::time::{Instant, sleep};

/// The epoch of a server, which changes when the server loses its items.
#[derive(Clone, Debug, Default)]
pub(crate) struct Epoch(Arc<AtomicU64>);

impl Epoch {
    /// Returns the current epoch; while the server is down, it is neither the previous nor the next.
    pub(crate) fn current(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    fn advance(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// The number of injected faults.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FaultCounts {
    pub(crate) kills: u64,
    pub(crate) stops: u64,
}

/// A real server and its epoch.
pub(crate) type FaultyServer = (Memcached, Epoch);

/// Injects faults until the end, and returns all servers running.
pub(crate) async fn inject(
    mut servers: Vec<FaultyServer>,
    mut rng: Rng,
    end: Instant,
) -> (Vec<FaultyServer>, FaultCounts) {
    let mut counts = FaultCounts::default();
    loop {
        sleep(Duration::from_millis(rng.u64(500..3_000))).await;
        if Instant::now() >= end {
            return (servers, counts);
        }
        let chosen = rng.usize(..servers.len());
        let (server, epoch) = &mut servers[chosen];
        let pause = Duration::from_millis(rng.u64(50..2_500));
        if rng.bool() {
            epoch.advance();
            server.kill();
            sleep(pause).await;
            server.restart();
            epoch.advance();
            counts.kills += 1;
        } else {
            server.stop();
            sleep(pause).await;
            server.cont();
            counts.stops += 1;
        }
    }
}
