//! The report of a child: one line of JSON, in the same format from the Rust children and from the C program.

use serde::{Deserialize, Serialize};

/// The measurement of one client in one round.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Report {
    /// Keys with a correct result during the measurement.
    pub(crate) ops: u64,
    /// Keys with a correct result since the client connected; compared with the servers' counters.
    pub(crate) claimed: u64,
    pub(crate) seconds: f64,
    /// CPU time of the whole process during the measurement.
    pub(crate) cpu_micros: f64,
    /// CPU time of the servers per key since the client was started, measured by the parent.
    #[serde(skip)]
    pub(crate) server_cpu_micros_per_op: f64,
    /// Latencies of a call, in microseconds.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    /// Calls with a wrong result.
    pub(crate) wrong: u64,
    /// Calls that returned an error.
    pub(crate) failed: u64,
    pub(crate) first_fault: Option<String>,
    /// Calls to the allocator during the measurement, if they were counted.
    pub(crate) allocations: Option<u64>,
}
