//! The crate async-memcached: text wire, a client is one connection.

use anyhow::Result;
use async_memcached::{AsciiProtocol, Client};

use super::{Answer, Caller, Sample, Setup, failed, judge_get, judge_many};

pub(super) struct AsyncMemcached(Client);

/// One client for each caller.
pub(super) async fn connect(setup: &Setup) -> Result<Vec<AsyncMemcached>> {
    let address = format!("tcp://{}", setup.address()?);
    let mut callers = Vec::with_capacity(setup.scenario.callers);
    for _ in 0..setup.scenario.callers {
        callers.push(AsyncMemcached(Client::new(&address).await?));
    }
    Ok(callers)
}

impl Caller for AsyncMemcached {
    async fn get(&mut self, sample: &Sample) -> Answer {
        let answer = self.0.get(sample).await;
        judge_get(sample, answer.map(|value| value.and_then(|value| value.data)))
    }

    async fn get_many(&mut self, samples: &[Sample]) -> Answer {
        let found = self.0.get_multi(samples).await.map_err(failed)?;
        let found = found.into_iter().map(|value| (value.key, value.data.unwrap_or_default()));
        judge_many(samples, found)
    }

    async fn set(&mut self, sample: &Sample) -> Answer {
        self.0.set(sample, &sample.value()[..], None, None).await.map_err(failed)
    }
}
