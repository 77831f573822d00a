//! What connections cost in memory while nothing happens on them.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde::{Deserialize, Serialize};

use super::race::tokio_runtime;
use super::{Caller, Contestant, Entry, Setup, async_memcached, memcache_async, remcache};
use crate::course::Fault;
use crate::probe;
use crate::samples::Samples;
use crate::server;

/// What a contestant's connections added to its process.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Footprint {
    pub(crate) resident_kib: u64,
    /// Memory that is allocated, when it was counted.
    pub(crate) heap_kib: Option<u64>,
}

/// Opens a connection for each caller, gets a key on each, and looks what they hold after a time without requests.
pub(crate) fn hold(entry: Entry, setup: &Setup, idle: Duration) -> Result<Footprint> {
    let runtime = tokio_runtime(entry.runtime)?;
    match entry.profile.contestant {
        Contestant::AsyncMemcached => runtime.block_on(footprint(setup, idle, async_memcached::connect)),
        Contestant::MemcacheAsync => runtime.block_on(footprint(setup, idle, memcache_async::connect)),
        Contestant::Remcache(_) => runtime.block_on(footprint(setup, idle, remcache::connect_for_each)),
        _ => bail!("{entry} is not made to hold idle connections"),
    }
}

async fn footprint<C: Caller>(
    setup: &Setup,
    idle: Duration,
    connect: impl AsyncFnOnce(&Setup) -> Result<Vec<C>>,
) -> Result<Footprint> {
    let samples = Samples::of(setup.scenario);
    let before = Memory::look()?;
    let mut callers = connect(setup).await?;
    for (index, caller) in callers.iter_mut().enumerate() {
        let answer = caller.get(&samples.window(index, 1)[0]).await;
        answer.map_err(|fault| match fault {
            Fault::Wrong => anyhow!("a wrong answer"),
            Fault::Failed(text) => anyhow!(text),
        })?;
    }
    tokio::time::sleep(idle).await;
    let footprint = Memory::look()?.since(&before);
    check_connections(setup)?;
    Ok(footprint)
}

/// The server must hold what is claimed; connections of earlier children have gone while these were idle.
fn check_connections(setup: &Setup) -> Result<()> {
    let counts = setup.ports.iter().map(|&port| server::counter(port, "curr_connections"));
    let counted: u64 = counts.sum::<Result<_>>()?;
    // One more on each server asks for the count.
    let held = counted.saturating_sub(setup.ports.len() as u64);
    let claimed = setup.scenario.callers as u64;
    ensure!(held == claimed, "the server counts {held} connections, not {claimed}");
    Ok(())
}

/// What the process holds at one moment.
struct Memory {
    resident_kib: u64,
    heap_bytes: Option<i64>,
}

impl Memory {
    fn look() -> Result<Self> {
        let status = fs::read_to_string("/proc/self/status").context("reading /proc/self/status")?;
        let resident_kib = resident_kib(&status).context("/proc/self/status has no VmRSS")?;
        Ok(Self { resident_kib, heap_bytes: probe::live_bytes() })
    }

    fn since(&self, before: &Self) -> Footprint {
        let heap = self.heap_bytes.zip(before.heap_bytes).map(|(now, before)| now - before);
        Footprint {
            resident_kib: self.resident_kib.saturating_sub(before.resident_kib),
            heap_kib: heap.map(|bytes| u64::try_from(bytes).unwrap_or(0) / 1024),
        }
    }
}

fn resident_kib(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_resident_memory_is_found() {
        assert_eq!(resident_kib("VmHWM:\t    9000 kB\nVmRSS:\t    8124 kB\n"), Some(8124));
        assert_eq!(resident_kib("VmHWM:\t    9000 kB\n"), None);
    }

    #[test]
    fn a_footprint_is_what_was_added() {
        let before = Memory { resident_kib: 5_000, heap_bytes: Some(-1_024) };
        let after = Memory { resident_kib: 7_500, heap_bytes: Some(4_096) };
        let footprint = after.since(&before);
        assert_eq!((footprint.resident_kib, footprint.heap_kib), (2_500, Some(5)));
        let shrunk = before.since(&after);
        assert_eq!((shrunk.resident_kib, shrunk.heap_kib), (0, Some(0)));
    }
}
