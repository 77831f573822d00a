//! remcache: one client for every caller, one pipelined connection for each server.

use anyhow::Result;
use remcache::config::Protocol;
use remcache::transport::Tls;
use remcache::{Client, Config};

use super::{Answer, Caller, Sample, Setup, failed, judge_get, judge_many};
use crate::course::Fault;
use crate::samples;

pub(super) struct Remcache(Client);

/// One client, cloned for each caller.
pub(super) async fn connect(setup: &Setup, protocol: Protocol) -> Result<Vec<Remcache>> {
    let client = Client::with_config(setup.addresses(), config(setup).protocol(protocol))?;
    // It connects when it is first needed; that belongs to nobody's measured part.
    for server in client.servers() {
        server.noop().await?;
    }
    let first = client.get(samples::key(0)).await?;
    anyhow::ensure!(first.is_some(), "the first key is not there");
    Ok((0..setup.scenario.callers).map(|_| Remcache(client.clone())).collect())
}

/// The defaults, over TLS where the servers speak it.
fn config(setup: &Setup) -> Config {
    match &setup.authority {
        Some(file) => Config::new().tls(Tls::with_roots_file(file)),
        None => Config::new(),
    }
}

/// One client that hands its requests to as many connections as there are callers, in turn.
pub(super) async fn connect_for_each(setup: &Setup) -> Result<Vec<Remcache>> {
    let callers = setup.scenario.callers;
    let client = Client::with_config(setup.addresses(), config(setup).connections(callers))?;
    Ok((0..callers).map(|_| Remcache(client.clone())).collect())
}

impl Caller for Remcache {
    async fn get(&mut self, sample: &Sample) -> Answer {
        let answer = self.0.get(sample.key()).await;
        judge_get(sample, answer.map(|item| item.map(|item| item.value)))
    }

    async fn get_many(&mut self, samples: &[Sample]) -> Answer {
        let outcomes = self.0.get_many(samples.iter().map(Sample::key)).await;
        if let Some((_, error)) = outcomes.failed().next() {
            return Err(failed(error));
        }
        judge_many(samples, outcomes.found().map(|(key, item)| (key, &item.value)))
    }

    async fn set(&mut self, sample: &Sample) -> Answer {
        let change = self.0.set(sample.key(), &sample.value()[..]).await.map_err(failed)?;
        if change.is_made() { Ok(()) } else { Err(Fault::Wrong) }
    }
}
