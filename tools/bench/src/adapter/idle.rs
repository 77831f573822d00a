//! The memory of idle connections.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde::{Deserialize, Serialize};

use super::runner::tokio_runtime;
use super::{Adapter, Caller, Entry, Setup, async_memcached, memcache_async, remcache};
use crate::items::Items;
use crate::probe;
use crate::server;
use crate::workload::Fault;

/// The memory that a client's connections added to its process.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Footprint {
    pub(crate) resident_kib: u64,
    /// Allocated memory, if it was counted.
    pub(crate) heap_kib: Option<u64>,
}

/// Opens a connection per caller, gets a key on each, and measures the memory after an idle time.
pub(crate) fn measure_idle(entry: Entry, setup: &Setup, idle: Duration) -> Result<Footprint> {
    let runtime = tokio_runtime(entry.runtime)?;
    match entry.profile.adapter {
        Adapter::AsyncMemcached => runtime.block_on(footprint(setup, idle, async_memcached::connect)),
        Adapter::MemcacheAsync => runtime.block_on(footprint(setup, idle, memcache_async::connect)),
        Adapter::Remcache(_) => runtime.block_on(footprint(setup, idle, remcache::connect_for_each)),
        _ => bail!("{entry} cannot hold idle connections"),
    }
}

async fn footprint<C: Caller>(
    setup: &Setup,
    idle: Duration,
    connect: impl AsyncFnOnce(&Setup) -> Result<Vec<C>>,
) -> Result<Footprint> {
    let items = Items::new(setup.scenario);
    let before = Memory::read()?;
    let mut callers = connect(setup).await?;
    for (index, caller) in callers.iter_mut().enumerate() {
        let result = caller.get(&items.window(index, 1)[0]).await;
        result.map_err(|fault| match fault {
            Fault::Wrong => anyhow!("wrong result"),
            Fault::Failed(text) => anyhow!(text),
        })?;
    }
    tokio::time::sleep(idle).await;
    let footprint = Memory::read()?.since(&before);
    check_connections(setup)?;
    Ok(footprint)
}

/// Checks that the server has one connection per caller. Those of earlier children were closed during the idle time.
fn check_connections(setup: &Setup) -> Result<()> {
    let counts = setup.ports.iter().map(|&port| server::counter(port, "curr_connections"));
    let counted: u64 = counts.sum::<Result<_>>()?;
    // The connection that reads the counter is counted too.
    let open = counted.saturating_sub(setup.ports.len() as u64);
    let claimed = setup.scenario.callers as u64;
    ensure!(open == claimed, "the server has {open} connections instead of {claimed}");
    Ok(())
}

/// The memory of this process at one instant.
struct Memory {
    resident_kib: u64,
    heap_bytes: Option<i64>,
}

impl Memory {
    fn read() -> Result<Self> {
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
    fn a_footprint_is_the_difference() {
        let before = Memory { resident_kib: 5_000, heap_bytes: Some(-1_024) };
        let after = Memory { resident_kib: 7_500, heap_bytes: Some(4_096) };
        let footprint = after.since(&before);
        assert_eq!((footprint.resident_kib, footprint.heap_kib), (2_500, Some(5)));
        let shrunk = before.since(&after);
        assert_eq!((shrunk.resident_kib, shrunk.heap_kib), (0, Some(0)));
    }
}
