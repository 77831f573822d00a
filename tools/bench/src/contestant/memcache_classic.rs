//! The crate memcache, its blocking client: text wire, which is by far the faster here, a pool that every thread shares.

use anyhow::{Context, Result};
use memcache::Client;

use super::{Answer, Caller, Sample, Setup, failed, judge_get, judge_many};

pub(super) struct MemcacheClassic(Client);

/// One client for all threads, with a pooled connection for each.
pub(super) fn connect(setup: &Setup) -> Result<Vec<MemcacheClassic>> {
    let callers = setup.scenario.callers;
    let url = |address: String| match &setup.authority {
        // The crate verifies by the system's authorities and this one.
        Some(file) => format!("memcache+tls://{address}?protocol=ascii&ca_path={}", file.display()),
        None => format!("memcache://{address}?protocol=ascii"),
    };
    let urls = setup.addresses().into_iter().map(url).collect::<Vec<_>>();
    let pool_size = u32::try_from(callers).context("too many callers")?;
    let builder = Client::builder().add_server(urls)?.with_max_pool_size(pool_size);
    let client = builder.build()?;
    Ok((0..callers).map(|_| MemcacheClassic(client.clone())).collect())
}

impl Caller for MemcacheClassic {
    async fn get(&mut self, sample: &Sample) -> Answer {
        judge_get(sample, self.0.get::<Vec<u8>>(sample.key()))
    }

    async fn get_many(&mut self, samples: &[Sample]) -> Answer {
        let keys: Vec<_> = samples.iter().map(Sample::key).collect();
        let found = self.0.gets::<Vec<u8>>(&keys).map_err(failed)?;
        judge_many(samples, found.into_iter())
    }

    async fn set(&mut self, sample: &Sample) -> Answer {
        self.0.set(sample.key(), &sample.value()[..], 0).map_err(failed)
    }
}
