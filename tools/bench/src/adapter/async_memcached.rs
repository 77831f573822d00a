//! The crate async-memcached: text protocol, one connection per client.

use anyhow::Result;
use async_memcached::{AsciiProtocol, Client};

use super::{CallResult, Caller, Item, Setup, check_get, check_many, failed};

pub(super) struct AsyncMemcached(Client);

/// Returns one client per caller.
pub(super) async fn connect(setup: &Setup) -> Result<Vec<AsyncMemcached>> {
    let address = format!("tcp://{}", setup.address()?);
    let mut callers = Vec::with_capacity(setup.scenario.callers);
    for _ in 0..setup.scenario.callers {
        callers.push(AsyncMemcached(Client::new(&address).await?));
    }
    Ok(callers)
}

impl Caller for AsyncMemcached {
    async fn get(&mut self, item: &Item) -> CallResult {
        let result = self.0.get(item).await;
        check_get(item, result.map(|value| value.and_then(|value| value.data)))
    }

    async fn get_many(&mut self, items: &[Item]) -> CallResult {
        let found = self.0.get_multi(items).await.map_err(failed)?;
        let found = found.into_iter().map(|value| (value.key, value.data.unwrap_or_default()));
        check_many(items, found)
    }

    async fn set(&mut self, item: &Item) -> CallResult {
        self.0.set(item, &item.value()[..], None, None).await.map_err(failed)
    }
}
