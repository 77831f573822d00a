//! The experimental tokio client of the crate memcache: meta protocol, and a pool that all callers share.

use anyhow::Result;
use memcache::exp::{AsyncMemcache, Ttl};

use super::{CallResult, Caller, Item, Setup, check_get, check_many, failed};

pub(super) struct MemcacheExp(AsyncMemcache);

/// Returns one client for all callers. Its pool keeps a connection per caller: with its default of 8 it would reconnect
/// for most requests.
pub(super) async fn connect(setup: &Setup) -> Result<Vec<MemcacheExp>> {
    let callers = setup.scenario.callers;
    let builder = AsyncMemcache::builder().max_idle(callers);
    let client = builder.connect_async(setup.addresses()).await?;
    Ok((0..callers).map(|_| MemcacheExp(client.clone())).collect())
}

impl Caller for MemcacheExp {
    async fn get(&mut self, item: &Item) -> CallResult {
        check_get(item, self.0.get::<Vec<u8>>(item).await)
    }

    async fn get_many(&mut self, items: &[Item]) -> CallResult {
        let keys = items.iter().map(Item::key);
        let found = self.0.get_many::<Vec<u8>, _>(keys).await.map_err(failed)?;
        check_many(items, found.into_iter())
    }

    async fn set(&mut self, item: &Item) -> CallResult {
        self.0.set(item, &item.value()[..], Ttl::NEVER).await.map_err(failed)
    }
}
