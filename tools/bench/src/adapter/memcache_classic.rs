//! The blocking client of the crate memcache: text protocol, which is its faster one, and a pool that all threads
//! share.

use anyhow::{Context, Result};
use memcache::Client;

use super::{CallResult, Caller, Item, Setup, check_get, check_many, failed};

pub(super) struct MemcacheClassic(Client);

/// Returns one client for all threads, with a pooled connection for each.
pub(super) fn connect(setup: &Setup) -> Result<Vec<MemcacheClassic>> {
    let callers = setup.scenario.callers;
    let url = |address: String| match &setup.authority {
        // The crate trusts the system's authorities and this one.
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
    async fn get(&mut self, item: &Item) -> CallResult {
        check_get(item, self.0.get::<Vec<u8>>(item.key()))
    }

    async fn get_many(&mut self, items: &[Item]) -> CallResult {
        let keys: Vec<_> = items.iter().map(Item::key).collect();
        let found = self.0.gets::<Vec<u8>>(&keys).map_err(failed)?;
        check_many(items, found.into_iter())
    }

    async fn set(&mut self, item: &Item) -> CallResult {
        self.0.set(item.key(), &item.value()[..], 0).map_err(failed)
    }
}
