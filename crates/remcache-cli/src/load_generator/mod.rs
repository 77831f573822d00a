//! Load generation: the workload, the callers or the rate, and the results.

mod generator;
mod mix;
mod pacer;
mod popularity;
mod precise_timer;
mod recorder;
mod sizes;
mod threshold;
mod workload;

pub(crate) use generator::{LoadModel, LoadRun};
pub(crate) use mix::{Mix, Operation};
pub(crate) use popularity::Popularity;
pub(crate) use recorder::{OpStats, Recorder};
pub(crate) use sizes::Sizes;
pub(crate) use threshold::Threshold;
pub(crate) use workload::{KeyText, Workload};

use std::time::Duration;

/// Returns the number per second.
pub(crate) fn per_second(count: u64, elapsed: Duration) -> f64 {
    match elapsed {
        Duration::ZERO => 0.0,
        elapsed => count as f64 / elapsed.as_secs_f64(),
    }
}
