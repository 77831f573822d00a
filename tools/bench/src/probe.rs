//! A child's side of the counting round: marks where the measured part begins and ends, and reads the allocator's counters.

use std::env;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};

use anyhow::{Context, Result};

/// What the parent has put in place to count with; nothing in the rounds that are timed.
#[derive(Debug, Default)]
pub(crate) struct Probe {
    perf: Option<Perf>,
    marks: bool,
}

/// The two pipes by which perf is told to count, and says that it does.
#[derive(Debug)]
struct Perf {
    control: File,
    acknowledged: File,
}

impl Probe {
    /// The probe that the parent asked for in the environment.
    pub(crate) fn from_environment() -> Result<Self> {
        let perf = env::var(PERF_CONTROL).ok().zip(env::var(PERF_ACKNOWLEDGED).ok());
        let perf = perf.map(|(control, acknowledged)| Perf::open(&control, &acknowledged));
        Ok(Self { perf: perf.transpose()?, marks: env::var_os(STRACE_MARKS).is_some() })
    }

    /// Begins counting system calls.
    pub(crate) fn begin(&mut self) -> Result<()> {
        self.mark(MARK_BEGIN, "enable\n")
    }

    /// Ends counting system calls.
    pub(crate) fn end(&mut self) -> Result<()> {
        self.mark(MARK_END, "disable\n")
    }

    fn mark(&mut self, path: &str, command: &str) -> Result<()> {
        if self.marks {
            // The file does not exist: that the question was asked shows in the trace.
            fs::exists(path)?;
        }
        self.perf.as_mut().map_or(Ok(()), |perf| perf.tell(command))
    }
}

impl Perf {
    fn open(control: &str, acknowledged: &str) -> Result<Self> {
        let control = OpenOptions::new().write(true).open(control).context("perf's control pipe")?;
        let acknowledged = File::open(acknowledged).context("perf's acknowledgement pipe")?;
        Ok(Self { control, acknowledged })
    }

    fn tell(&mut self, command: &str) -> Result<()> {
        self.control.write_all(command.as_bytes())?;
        let mut answer = [0; 5];
        self.acknowledged.read_exact(&mut answer).context("waiting for perf")
    }
}

/// The calls to the allocator so far, when they are counted.
pub(crate) fn allocations() -> Option<u64> {
    Some(u64::from_ne_bytes(allocation_counters()?.first_chunk().copied()?))
}

/// The bytes that are allocated and not freed, when they are counted; only a difference of two means something.
pub(crate) fn live_bytes() -> Option<i64> {
    Some(i64::from_ne_bytes(allocation_counters()?.last_chunk().copied()?))
}

fn allocation_counters() -> Option<Vec<u8>> {
    fs::read(env::var_os(ALLOCATIONS)?).ok()
}

/// Names a pipe that perf reads commands from.
pub(crate) const PERF_CONTROL: &str = "REMCACHE_BENCH_PERF_CONTROL";
/// Names a pipe that perf writes acknowledgements to.
pub(crate) const PERF_ACKNOWLEDGED: &str = "REMCACHE_BENCH_PERF_ACKNOWLEDGED";
/// Set when strace looks on: the measured part lies between two marks in its trace.
pub(crate) const STRACE_MARKS: &str = "REMCACHE_BENCH_STRACE_MARKS";
/// Names the file that holds the allocator's counters: calls, then live bytes.
pub(crate) const ALLOCATIONS: &str = "REMCACHE_BENCH_ALLOCATIONS";
/// Paths that are looked up and never exist.
pub(crate) const MARK_BEGIN: &str = "/remcache-bench-begin";
pub(crate) const MARK_END: &str = "/remcache-bench-end";
