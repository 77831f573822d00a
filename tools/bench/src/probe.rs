//! A child's part in the counting round: marks the start and the end of the measurement, and reads the allocation
//! counters.

use std::env;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};

use anyhow::{Context, Result};

/// The connection to the programs that count; empty in a timed round.
#[derive(Debug, Default)]
pub(crate) struct Probe {
    perf: Option<Perf>,
    marks: bool,
}

/// The two pipes that control perf: for commands and for acknowledgements.
#[derive(Debug)]
struct Perf {
    control: File,
    acknowledged: File,
}

impl Probe {
    /// Opens the probe that the parent describes in the environment.
    pub(crate) fn from_environment() -> Result<Self> {
        let perf = env::var(PERF_CONTROL).ok().zip(env::var(PERF_ACKNOWLEDGED).ok());
        let perf = perf.map(|(control, acknowledged)| Perf::open(&control, &acknowledged));
        Ok(Self { perf: perf.transpose()?, marks: env::var_os(STRACE_MARKS).is_some() })
    }

    /// Starts counting system calls.
    pub(crate) fn begin(&mut self) -> Result<()> {
        self.mark(MARK_BEGIN, "enable\n")
    }

    /// Stops counting system calls.
    pub(crate) fn end(&mut self) -> Result<()> {
        self.mark(MARK_END, "disable\n")
    }

    fn mark(&mut self, path: &str, command: &str) -> Result<()> {
        if self.marks {
            // The file does not exist, but the system call appears in the trace.
            fs::exists(path)?;
        }
        self.perf.as_mut().map_or(Ok(()), |perf| perf.send(command))
    }
}

impl Perf {
    fn open(control: &str, acknowledged: &str) -> Result<Self> {
        let control = OpenOptions::new().write(true).open(control).context("perf's control pipe")?;
        let acknowledged = File::open(acknowledged).context("perf's acknowledgement pipe")?;
        Ok(Self { control, acknowledged })
    }

    fn send(&mut self, command: &str) -> Result<()> {
        self.control.write_all(command.as_bytes())?;
        let mut reply = [0; 5];
        self.acknowledged.read_exact(&mut reply).context("waiting for perf")
    }
}

/// Returns the number of calls to the allocator, if they are counted.
pub(crate) fn allocations() -> Option<u64> {
    Some(u64::from_ne_bytes(allocation_counters()?.first_chunk().copied()?))
}

/// Returns the allocated bytes, if they are counted. Only the difference of two values is meaningful.
pub(crate) fn live_bytes() -> Option<i64> {
    Some(i64::from_ne_bytes(allocation_counters()?.last_chunk().copied()?))
}

fn allocation_counters() -> Option<Vec<u8>> {
    fs::read(env::var_os(ALLOCATIONS)?).ok()
}

/// The pipe that perf reads commands from.
pub(crate) const PERF_CONTROL: &str = "REMCACHE_BENCH_PERF_CONTROL";
/// The pipe that perf writes acknowledgements to.
pub(crate) const PERF_ACKNOWLEDGED: &str = "REMCACHE_BENCH_PERF_ACKNOWLEDGED";
/// Set if strace traces the child, whose measurement lies between two marks in the trace.
pub(crate) const STRACE_MARKS: &str = "REMCACHE_BENCH_STRACE_MARKS";
/// The file with the allocation counters: calls, then allocated bytes.
pub(crate) const ALLOCATIONS: &str = "REMCACHE_BENCH_ALLOCATIONS";
/// Paths of files that never exist, whose lookups mark the start and the end in a trace.
pub(crate) const MARK_BEGIN: &str = "/remcache-bench-begin";
pub(crate) const MARK_END: &str = "/remcache-bench-end";
