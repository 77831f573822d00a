//! The counting round: allocations and system calls of a contestant, in an extra short run that is not timed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::native;
use crate::probe::{ALLOCATIONS, MARK_BEGIN, MARK_END, PERF_ACKNOWLEDGED, PERF_CONTROL, STRACE_MARKS};

/// What this machine lets us count with.
#[derive(Debug)]
pub(crate) struct Counting {
    workshop: PathBuf,
    tracer: Option<Tracer>,
    /// The library to preload that counts allocations.
    allocation_counter: Option<PathBuf>,
}

/// What counts system calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tracer {
    /// Costs next to nothing, so what is counted is what happens in a timed round.
    Perf,
    /// Stops the client at every call: it falls behind, and more becomes ready together than otherwise.
    Strace,
}

impl Counting {
    /// Finds the tools; says what is missing, and how to get it.
    pub(crate) fn find(workshop: &Path) -> (Self, Vec<String>) {
        let mut notes = Vec::new();
        let counter = native::allocation_counter(workshop);
        if let Err(error) = &counter {
            notes.push(format!("allocations are not counted: {error:#}"));
        }
        let tracer = Tracer::find();
        match tracer {
            Some(Tracer::Perf) => {}
            Some(Tracer::Strace) => notes.push(STRACE_NOTE.to_owned()),
            None => notes.push(NO_TRACER_NOTE.to_owned()),
        }
        let workshop = workshop.to_owned();
        (Self { workshop, tracer, allocation_counter: counter.ok() }, notes)
    }

    /// Begins a counting round, unless there is nothing to count with.
    pub(crate) fn round(&self) -> Result<Option<Round<'_>>> {
        if self.tracer.is_none() && self.allocation_counter.is_none() {
            return Ok(None);
        }
        Round::prepare(self, self.tracer).map(Some)
    }

    /// Begins a round that looks at the allocator alone, unless there is nothing to look with.
    pub(crate) fn round_of_allocations(&self) -> Result<Option<Round<'_>>> {
        self.allocation_counter.is_some().then(|| Round::prepare(self, None)).transpose()
    }
}

impl Tracer {
    fn find() -> Option<Self> {
        if perf_counts_system_calls() {
            return Some(Self::Perf);
        }
        let strace = Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).output();
        strace.is_ok_and(|output| output.status.success()).then_some(Self::Strace)
    }
}

/// perf may be there and not be allowed to.
fn perf_counts_system_calls() -> bool {
    let trial = Command::new("perf").args(["stat", "-x", ",", "-e", PERF_EVENT, "true"]).output();
    trial.is_ok_and(|output| perf_count(&String::from_utf8_lossy(&output.stderr)).is_ok())
}

/// One counting round: its pipes and files, removed with it.
#[derive(Debug)]
pub(crate) struct Round<'a> {
    counting: &'a Counting,
    tracer: Option<Tracer>,
    folder: PathBuf,
}

impl<'a> Round<'a> {
    fn prepare(counting: &'a Counting, tracer: Option<Tracer>) -> Result<Self> {
        let folder = counting.workshop.join(format!("count.{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        let round = Self { counting, tracer, folder };
        if tracer == Some(Tracer::Perf) {
            for pipe in [CONTROL, ACKNOWLEDGED] {
                mknodat(CWD, round.folder.join(pipe), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)
                    .context("making a pipe for perf")?;
            }
        }
        Ok(round)
    }

    /// What to put before a child's command line.
    pub(crate) fn prefix(&self) -> Vec<String> {
        let mut words = match self.tracer {
            Some(Tracer::Perf) => self.perf(),
            Some(Tracer::Strace) => self.strace(),
            None => Vec::new(),
        };
        words.push("env".to_owned());
        words.extend(self.environment());
        words
    }

    /// The system calls of the measured part.
    pub(crate) fn system_calls(&self) -> Result<Option<u64>> {
        let Some(tracer) = self.tracer else {
            return Ok(None);
        };
        let text = fs::read_to_string(self.folder.join(TRACE)).context("reading the trace")?;
        let count = match tracer {
            Tracer::Perf => perf_count(&text),
            Tracer::Strace => strace_count(&text),
        };
        count.map(Some)
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    fn perf(&self) -> Vec<String> {
        let pipes = format!("--control=fifo:{},{}", self.path(CONTROL), self.path(ACKNOWLEDGED));
        let output = self.path(TRACE);
        let words = ["perf", "stat", "-x", ",", "-e", PERF_EVENT, "-o", &output, "--delay=-1", &pipes, "--"];
        words.map(ToOwned::to_owned).to_vec()
    }

    fn strace(&self) -> Vec<String> {
        let output = self.path(TRACE);
        let words = ["strace", "-f", "-qq", "-e", "signal=none", "-o", &output, "--"];
        words.map(ToOwned::to_owned).to_vec()
    }

    fn environment(&self) -> Vec<String> {
        let mut variables = Vec::new();
        match self.tracer {
            Some(Tracer::Perf) => {
                variables.push(format!("{PERF_CONTROL}={}", self.path(CONTROL)));
                variables.push(format!("{PERF_ACKNOWLEDGED}={}", self.path(ACKNOWLEDGED)));
            }
            Some(Tracer::Strace) => variables.push(format!("{STRACE_MARKS}=1")),
            None => {}
        }
        if let Some(library) = &self.counting.allocation_counter {
            variables.push(format!("LD_PRELOAD={}", library.display()));
            variables.push(format!("{ALLOCATIONS}={}", self.path(COUNTER)));
        }
        variables
    }
}

impl Drop for Round<'_> {
    fn drop(&mut self) {
        // Left over files are in nobody's way: the next round has its own.
        drop(fs::remove_dir_all(&self.folder));
    }
}

/// Reads perf's line of comma-separated values.
fn perf_count(text: &str) -> Result<u64> {
    let line = text.lines().find(|line| line.contains(PERF_EVENT)).context("perf counted nothing")?;
    let count = line.split(',').next().unwrap_or_default();
    count.parse().with_context(|| format!("perf says {count:?}"))
}

/// Counts the calls between the marks; a call that was interrupted by another thread's has two lines.
fn strace_count(trace: &str) -> Result<u64> {
    let mut lines = trace.lines();
    if !lines.any(|line| line.contains(MARK_BEGIN)) {
        bail!("the trace has no beginning");
    }
    let mut count = 0;
    for line in lines {
        if line.contains(MARK_END) {
            return Ok(count);
        }
        count += u64::from(!line.contains(" resumed>"));
    }
    bail!("the trace has no end")
}

const PERF_EVENT: &str = "raw_syscalls:sys_enter";
const CONTROL: &str = "control";
const ACKNOWLEDGED: &str = "acknowledged";
const COUNTER: &str = "allocations";
const TRACE: &str = "trace";
const STRACE_NOTE: &str = "system calls are counted by strace, which slows clients down so that more becomes ready together; perf counts truer (apt-get install linux-perf, as root)";
const NO_TRACER_NOTE: &str = "system calls are not counted: apt-get install linux-perf (as root) or strace";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn perf_says_how_many() {
        let said = "# started on Sat\n\n14203,,raw_syscalls:sys_enter,501881,100.00,,\n";
        assert_eq!(perf_count(said).unwrap(), 14_203);
        assert!(perf_count("<not counted>,,raw_syscalls:sys_enter,0,100.00,,\n").is_err());
        assert!(perf_count("Permission denied").is_err());
    }

    #[test]
    fn strace_lines_between_the_marks_are_calls() {
        let trace = "\
7 execve(\"child\") = 0
7 statx(AT_FDCWD, \"/remcache-bench-begin\", 0) = -1 ENOENT
8 recvfrom(4, <unfinished ...>
7 futex(0x1, FUTEX_WAKE) = 1
8 <... recvfrom resumed>\"x\", 1) = 1
7 statx(AT_FDCWD, \"/remcache-bench-end\", 0) = -1 ENOENT
7 exit_group(0) = ?
";
        assert_eq!(strace_count(trace).unwrap(), 2);
        assert!(strace_count("7 exit_group(0) = ?").is_err());
    }
}
