//! The crate memcache, its experimental tokio client: meta wire, a pool that every caller shares.

use anyhow::Result;
use memcache::exp::{AsyncMemcache, Ttl};

use super::{Answer, Caller, Sample, Setup, failed, judge_get, judge_many};

pub(super) struct MemcacheExp(AsyncMemcache);

/// One client for all callers; its pool keeps a connection for each, where its default of 8 would
/// have it reconnect for most requests.
pub(super) async fn connect(setup: &Setup) -> Result<Vec<MemcacheExp>> {
    let callers = setup.scenario.callers;
    let builder = AsyncMemcache::builder().max_idle(callers);
    let client = builder.connect_async(setup.addresses()).await?;
    Ok((0..callers).map(|_| MemcacheExp(client.clone())).collect())
}

impl Caller for MemcacheExp {
    async fn get(&mut self, sample: &Sample) -> Answer {
        judge_get(sample, self.0.get::<Vec<u8>>(sample).await)
    }

    async fn get_many(&mut self, samples: &[Sample]) -> Answer {
        let keys = samples.iter().map(Sample::key);
        let found = self.0.get_many::<Vec<u8>, _>(keys).await.map_err(failed)?;
        judge_many(samples, found.into_iter())
    }

    async fn set(&mut self, sample: &Sample) -> Answer {
        self.0.set(sample, &sample.value()[..], Ttl::NEVER).await.map_err(failed)
    }
}
