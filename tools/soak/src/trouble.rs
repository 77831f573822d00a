//! Real servers that are killed, stopped and started again, one at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fastrand::Rng;
use remcache_testkit::Memcached;
use tokio::time::{Instant, sleep};

/// The lives of a server: it begins another one when it is started again, with nothing of the last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lives(Arc<AtomicU64>);

impl Lives {
    /// Which life it is; between two lives it is neither of them.
    pub(crate) fn now(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    fn end(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// What was done to the servers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Troubles {
    pub(crate) kills: u64,
    pub(crate) stops: u64,
}

/// A real server and its lives.
pub(crate) type Mortal = (Memcached, Lives);

/// Makes trouble until the end, and hands all servers back alive.
pub(crate) async fn make(mut servers: Vec<Mortal>, mut rng: Rng, end: Instant) -> (Vec<Mortal>, Troubles) {
    let mut troubles = Troubles::default();
    loop {
        sleep(Duration::from_millis(rng.u64(500..3_000))).await;
        if Instant::now() >= end {
            return (servers, troubles);
        }
        let chosen = rng.usize(..servers.len());
        let (server, lives) = &mut servers[chosen];
        let pause = Duration::from_millis(rng.u64(50..2_500));
        if rng.bool() {
            lives.end();
            server.kill();
            sleep(pause).await;
            server.restart();
            lives.end();
            troubles.kills += 1;
        } else {
            server.stop();
            sleep(pause).await;
            server.cont();
            troubles.stops += 1;
        }
    }
}
