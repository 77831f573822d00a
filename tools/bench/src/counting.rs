//! The counting round: counts the allocations and system calls of a client in a short run that is not timed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::native;
use crate::probe::{ALLOCATIONS, MARK_BEGIN, MARK_END, PERF_ACKNOWLEDGED, PERF_CONTROL, STRACE_MARKS};

/// The counting tools of this machine.
#[derive(Debug)]
pub(crate) struct Counting {
    work_dir: PathBuf,
    tracer: Option<Tracer>,
    /// The library to preload that counts allocations.
    allocation_counter: Option<PathBuf>,
}

/// The program that counts system calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tracer {
    /// `perf`: it hardly slows the client down, so the counts are those of a timed round.
    Perf,
    /// `strace`: it stops the client at every call, so that more requests become ready at the same time than in a timed
    /// round.
    Strace,
}

impl Counting {
    /// Finds the tools, and returns notes about those that are missing.
    pub(crate) fn find(work_dir: &Path) -> (Self, Vec<String>) {
        let mut notes = Vec::new();
        let counter = native::allocation_counter(work_dir);
        if let Err(error) = &counter {
            notes.push(format!("allocations are not counted: {error:#}"));
        }
        let tracer = Tracer::find();
        match tracer {
            Some(Tracer::Perf) => {}
            Some(Tracer::Strace) => notes.push(STRACE_NOTE.to_owned()),
            None => notes.push(NO_TRACER_NOTE.to_owned()),
        }
        let work_dir = work_dir.to_owned();
        (Self { work_dir, tracer, allocation_counter: counter.ok() }, notes)
    }

    /// Prepares a counting round; `None` if nothing can be counted.
    pub(crate) fn round(&self) -> Result<Option<Round<'_>>> {
        if self.tracer.is_none() && self.allocation_counter.is_none() {
            return Ok(None);
        }
        Round::prepare(self, self.tracer).map(Some)
    }

    /// Prepares a round that counts allocations only; `None` if they cannot be counted.
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

/// Returns whether perf works: it may be installed but not permitted.
fn perf_counts_system_calls() -> bool {
    let trial = Command::new("perf").args(["stat", "-x", ",", "-e", PERF_EVENT, "true"]).output();
    trial.is_ok_and(|output| perf_count(&String::from_utf8_lossy(&output.stderr)).is_ok())
}

/// A counting round, with its pipes and files, which are removed when it is dropped.
#[derive(Debug)]
pub(crate) struct Round<'a> {
    counting: &'a Counting,
    tracer: Option<Tracer>,
    folder: PathBuf,
}

impl<'a> Round<'a> {
    fn prepare(counting: &'a Counting, tracer: Option<Tracer>) -> Result<Self> {
        let folder = counting.work_dir.join(format!("count.{}", std::process::id()));
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

    /// Returns the arguments that precede a child's command line.
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

    /// Returns the number of system calls during the measurement.
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
        // Leftover files do no harm: the next round has different names.
        drop(fs::remove_dir_all(&self.folder));
    }
}

/// Returns the count in perf's comma-separated output.
fn perf_count(text: &str) -> Result<u64> {
    let line = text.lines().find(|line| line.contains(PERF_EVENT)).context("perf printed no count")?;
    let count = line.split(',').next().unwrap_or_default();
    count.parse().with_context(|| format!("perf printed {count:?} as the count"))
}

/// Counts the calls between the two marks. A call that another thread interrupts has a second line, marked `resumed`.
fn strace_count(trace: &str) -> Result<u64> {
    let mut lines = trace.lines();
    if !lines.any(|line| line.contains(MARK_BEGIN)) {
        bail!("the trace has no start mark");
    }
    let mut count = 0;
    for line in lines {
        if line.contains(MARK_END) {
            return Ok(count);
        }
        count += u64::from(!line.contains(" resumed>"));
    }
    bail!("the trace has no end mark")
}

const PERF_EVENT: &str = "raw_syscalls:sys_enter";
const CONTROL: &str = "control";
const ACKNOWLEDGED: &str = "acknowledged";
const COUNTER: &str = "allocations";
const TRACE: &str = "trace";
const STRACE_NOTE: &str = "system calls are counted by strace, which slows the clients down and so lowers the counts; perf is more exact (apt-get install linux-perf, run as root)";
const NO_TRACER_NOTE: &str = "system calls are not counted: apt-get install linux-perf (run as root) or strace";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_of_perf_is_read() {
        let output = "# started on Sat\n\n14203,,raw_syscalls:sys_enter,501881,100.00,,\n";
        assert_eq!(perf_count(output).unwrap(), 14_203);
        assert!(perf_count("<not counted>,,raw_syscalls:sys_enter,0,100.00,,\n").is_err());
        assert!(perf_count("Permission denied").is_err());
    }

    #[test]
    fn strace_lines_between_the_marks_are_counted() {
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
