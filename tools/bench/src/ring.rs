//! What placing a key costs: every distribution with 3, 100 and 1,000 servers, without a network.
//!
//! It is CPU time, since nothing here waits: other programs on the machine do not count.

use std::hint::black_box;
use std::time::Duration;

use remcache::distribution::{Distribution, Node, Ring};
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

/// One distribution with lists of several lengths.
#[derive(Debug, Serialize)]
pub(crate) struct RingRow {
    pub(crate) distribution: &'static str,
    /// For each of [`SERVERS`].
    pub(crate) lists: Vec<RingCost>,
}

/// What a ring of so many servers costs.
#[derive(Debug, Serialize)]
pub(crate) struct RingCost {
    pub(crate) servers: usize,
    /// A lookup, the hash of its key included; medians of rounds.
    pub(crate) lookup_nanos: f64,
    /// Preparing the ring.
    pub(crate) build_millis: f64,
}

/// How long the lists are.
pub(crate) const SERVERS: [usize; 3] = [3, 100, 1000];

/// Every distribution, as it comes.
pub(crate) fn measure(rounds: u32) -> Vec<RingRow> {
    let keys: Vec<String> = (0..KEYS).map(|number| format!("user:{number}:profile")).collect();
    let row = |distribution: Distribution| RingRow {
        distribution: distribution.name(),
        lists: SERVERS.map(|servers| cost(distribution, servers, &keys, rounds)).into(),
    };
    Distribution::all().map(row).collect()
}

fn cost(distribution: Distribution, servers: usize, keys: &[String], rounds: u32) -> RingCost {
    let nodes: Vec<Node> =
        (0..servers).map(|number| Node::tcp(format!("10.0.{}.{}", number / 256, number % 256), 11211)).collect();
    let build = || distribution.ring(&nodes).expect("the list is sound");
    let ring = build();
    let builds = (0..rounds).map(|_| {
        let start = cpu_time();
        black_box(build());
        (cpu_time() - start).as_secs_f64() * 1e3
    });
    let build_millis = median(builds.collect());
    let lookups = (0..rounds).map(|_| lookup_nanos(&ring, keys));
    RingCost { servers, lookup_nanos: median(lookups.collect()), build_millis }
}

/// Lookups of different keys for a while, so that the ring has to be found in the caches as it is in use.
fn lookup_nanos(ring: &Ring, keys: &[String]) -> f64 {
    let start = cpu_time();
    let mut lookups = 0_u64;
    while cpu_time() - start < ROUND {
        for key in keys {
            black_box(ring.locate(black_box(key.as_bytes()), |_| true));
        }
        lookups += keys.len() as u64;
    }
    (cpu_time() - start).as_nanos() as f64 / lookups as f64
}

/// What this thread has used.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

const KEYS: usize = 1_000;
const ROUND: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_distribution_has_a_row_with_all_lists() {
        let rows = measure(1);
        assert_eq!(rows.len(), Distribution::all().len());
        for row in rows {
            let servers: Vec<_> = row.lists.iter().map(|cost| cost.servers).collect();
            assert_eq!(servers, SERVERS, "{}", row.distribution);
            assert!(row.lists.iter().all(|cost| cost.lookup_nanos > 0.0 && cost.build_millis >= 0.0));
        }
    }
}
