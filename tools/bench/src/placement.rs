//! Measures key placement for every distribution with 3, 100 and 1,000 servers, in CPU time, which other programs on
//! the machine hardly affect.

use std::hint::black_box;
use std::time::Duration;

use remcache::distribution::{Distribution, Node, Ring};
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

/// The placement times of one distribution.
#[derive(Debug, Serialize)]
pub(crate) struct RingRow {
    pub(crate) distribution: &'static str,
    /// One entry per length in [`SERVERS`].
    pub(crate) lists: Vec<RingCost>,
}

/// The placement times with one number of servers.
#[derive(Debug, Serialize)]
pub(crate) struct RingCost {
    pub(crate) servers: usize,
    /// Time of a lookup, including the hash of the key; a median.
    pub(crate) lookup_nanos: f64,
    /// Time to build the ring; a median.
    pub(crate) build_millis: f64,
}

/// The numbers of servers.
pub(crate) const SERVERS: [usize; 3] = [3, 100, 1000];

/// Measures every distribution with its default settings.
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
    let build = || distribution.ring(&nodes).expect("the list of servers is valid");
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

/// Returns the time of a lookup, measured with many keys, so that the ring is in the CPU caches as far as in real use.
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

/// Returns the CPU time of this thread.
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
