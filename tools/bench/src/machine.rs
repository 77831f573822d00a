//! What the figures were measured on.

use std::fs;
use std::thread;

use anyhow::Result;
use serde::Serialize;

use crate::server;

/// The machine and the server, as a reader of the figures needs to know them.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    processor: String,
    cores: usize,
    kernel: String,
    memcached: String,
    /// The load when the comparison began; other work spoils the figures.
    load: f64,
}

impl Machine {
    pub(crate) fn look() -> Result<Self> {
        Ok(Self {
            processor: processor(&read("/proc/cpuinfo")),
            cores: thread::available_parallelism().map_or(1, usize::from),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            memcached: server::version()?,
            load: load(&read("/proc/loadavg")),
        })
    }

    /// Whether the machine has other work to do, and how much.
    pub(crate) fn warning(&self) -> Option<String> {
        let busy = self.load >= BUSY_LOAD;
        busy.then(|| format!("this machine has other work (load {}): the figures mean little", self.load))
    }

    pub(crate) fn describe(&self) -> String {
        let Self { processor, cores, kernel, memcached, .. } = self;
        format!("{processor}, cores: {cores}, Linux {kernel}, {memcached}")
    }
}

/// What cannot be read is left out.
fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn processor(cpuinfo: &str) -> String {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"));
    let name = line.and_then(|line| line.split_once(": ")).map(|(_, name)| name.trim());
    name.unwrap_or("unknown processor").to_owned()
}

fn load(loadavg: &str) -> f64 {
    loadavg.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(0.0)
}

const BUSY_LOAD: f64 = 0.5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_and_the_load_are_found() {
        assert_eq!(processor("vendor_id\t: X\nmodel name\t: Some CPU 9000\n"), "Some CPU 9000");
        assert_eq!(processor(""), "unknown processor");
        assert_eq!(load("0.73 0.20 0.10 1/100 7"), 0.73);
        assert_eq!(load(""), 0.0);
    }
}
