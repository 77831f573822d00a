//! What a child tells its parent: one line of JSON, the same from the Rust children and from the C program.

use serde::{Deserialize, Serialize};

/// The measured part of one contestant in one round.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Report {
    /// Right answers in the measured part, in keys.
    pub(crate) ops: u64,
    /// Right answers from connecting to the end: what the server's own counters must bear out.
    pub(crate) claimed: u64,
    pub(crate) seconds: f64,
    /// CPU time of the whole process in the measured part.
    pub(crate) cpu_micros: f64,
    /// Latencies of a turn, in microseconds.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    /// Answers that were not the right ones.
    pub(crate) wrong: u64,
    /// Turns that ended in an error.
    pub(crate) failed: u64,
    pub(crate) first_fault: Option<String>,
    /// Calls to the allocator in the measured part, when they were counted.
    pub(crate) allocations: Option<u64>,
}
