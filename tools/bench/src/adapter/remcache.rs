//! remcache: one client for all callers, one pipelined connection per server.

use std::time::Duration;

use anyhow::Result;
use remcache::config::ProtocolSetting;
use remcache::transport::Tls;
use remcache::{Client, Config};

use super::{CallResult, Caller, Item, Setup, check_get, check_many, failed};
use crate::items;
use crate::workload::Fault;

pub(super) struct Remcache(Client);

/// Returns one client, cloned for each caller.
pub(super) async fn connect(setup: &Setup, protocol: ProtocolSetting, busy_poll: bool) -> Result<Vec<Remcache>> {
    let config =
        config(setup).protocol(protocol).busy_poll(if busy_poll { Duration::from_micros(100) } else { Duration::ZERO });
    let client = Client::with_config(setup.addresses(), config)?;
    // The client connects at its first request, which is not part of the measurement.
    for server in client.servers() {
        server.noop().await?;
    }
    let first = client.get(items::key(0)).await?;
    anyhow::ensure!(first.is_some(), "the first key is not stored");
    Ok((0..setup.scenario.callers).map(|_| Remcache(client.clone())).collect())
}

/// Returns the default settings, with TLS if the servers use it.
fn config(setup: &Setup) -> Config {
    match &setup.authority {
        Some(file) => Config::new().tls(Tls::with_roots_file(file)),
        None => Config::new(),
    }
}

/// Returns one client that distributes its requests over one connection per caller.
pub(super) async fn connect_for_each(setup: &Setup) -> Result<Vec<Remcache>> {
    let callers = setup.scenario.callers;
    let client = Client::with_config(setup.addresses(), config(setup).connections(callers))?;
    Ok((0..callers).map(|_| Remcache(client.clone())).collect())
}

impl Caller for Remcache {
    async fn get(&mut self, item: &Item) -> CallResult {
        let result = self.0.get(item.key()).await;
        check_get(item, result.map(|item| item.map(|item| item.value)))
    }

    async fn get_many(&mut self, items: &[Item]) -> CallResult {
        let outcomes = self.0.get_many(items.iter().map(Item::key)).await;
        if let Some((_, error)) = outcomes.failed().next() {
            return Err(failed(error));
        }
        check_many(items, outcomes.found().map(|(key, item)| (key, &item.value)))
    }

    async fn set(&mut self, item: &Item) -> CallResult {
        let change = self.0.set(item.key(), &item.value()[..]).await.map_err(failed)?;
        if change.is_applied() { Ok(()) } else { Err(Fault::Wrong) }
    }
}
