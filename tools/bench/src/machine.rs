//! The machine that the results were measured on.

use std::env;
use std::fs;
use std::path::Path;
use std::thread;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::server;

/// The machine, the server and the build that were measured.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    processor: String,
    cores: usize,
    kernel: String,
    memcached: String,
    /// The load average before the comparison: other work distorts the results.
    load: f64,
    /// The cargo profile of this program: `release`, or `dist` with fat LTO.
    profile: String,
}

impl Machine {
    pub(crate) fn detect() -> Result<Self> {
        Ok(Self {
            processor: processor(&read("/proc/cpuinfo")),
            cores: thread::available_parallelism().map_or(1, usize::from),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            memcached: server::version()?,
            load: load(&read("/proc/loadavg")),
            profile: profile(&env::current_exe().context("looking for this program")?),
        })
    }

    /// Returns a warning if the machine has other work.
    pub(crate) fn warning(&self) -> Option<String> {
        let busy = self.load >= BUSY_LOAD;
        busy.then(|| format!("this machine has other work (load {}), which distorts the results", self.load))
    }

    pub(crate) fn describe(&self) -> String {
        let Self { processor, cores, kernel, memcached, profile, .. } = self;
        format!("{processor}, cores: {cores}, Linux {kernel}, {memcached}, cargo profile {profile}")
    }
}

/// Returns the text of a file, or nothing if it cannot be read.
fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn processor(cpuinfo: &str) -> String {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"));
    let name = line.and_then(|line| line.split_once(": ")).map(|(_, name)| name.trim());
    name.unwrap_or("unknown processor").to_owned()
}

/// Returns the cargo profile of a program, which cargo puts into a directory of that name.
fn profile(program: &Path) -> String {
    let directory = program.parent().and_then(Path::file_name);
    directory.map_or_else(|| "unknown".to_owned(), |name| name.to_string_lossy().into_owned())
}

fn load(loadavg: &str) -> f64 {
    loadavg.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(0.0)
}

const BUSY_LOAD: f64 = 0.5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_profile_is_that_of_the_programs_directory() {
        assert_eq!(profile(Path::new("/target/dist/remcache-bench")), "dist");
        assert_eq!(profile(Path::new("/")), "unknown");
    }

    #[test]
    fn the_processor_and_the_load_are_found() {
        assert_eq!(processor("vendor_id\t: X\nmodel name\t: Some CPU 9000\n"), "Some CPU 9000");
        assert_eq!(processor(""), "unknown processor");
        assert_eq!(load("0.73 0.20 0.10 1/100 7"), 0.73);
        assert_eq!(load(""), 0.0);
    }
}
