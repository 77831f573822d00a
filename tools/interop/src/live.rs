//! Compares placement on real servers: remcache reads what a client stores, and the client reads what remcache stores.

use anyhow::{Context, Result, ensure};
use remcache::{Client, Config};
use tokio::runtime::Runtime;

use crate::{ClientSettings, Misses, Program, ServerSpec};

/// A client and remcache, configured with the same list of servers.
#[derive(Debug)]
pub(crate) struct LiveComparison<'a> {
    runtime: &'a Runtime,
    remcache: Client,
    program: &'a mut Program,
    servers: &'a [ServerSpec],
    /// The client's version.
    pub(crate) version: String,
}

type Items = Vec<(Vec<u8>, Vec<u8>)>;

impl<'a> LiveComparison<'a> {
    /// Configures both.
    ///
    /// # Errors
    /// If one of them refuses the list.
    pub(crate) fn new(runtime: &'a Runtime, program: &'a mut Program, settings: &ClientSettings<'a>) -> Result<Self> {
        let config = Config::new().distribution(settings.distribution()?).protocol(settings.protocol());
        let _guard = runtime.enter();
        let remcache = Client::with_config(settings.servers.iter().map(ServerSpec::to_string), config)?;
        let version = program.configure(settings)?;
        Ok(Self { runtime, remcache, program, servers: settings.servers, version })
    }

    /// Stores the keys with the client, and returns those that remcache does not find.
    ///
    /// # Errors
    /// If the client or remcache fails; a miss is not an error.
    pub(crate) fn stored_by_client(&mut self, keys: &[Vec<u8>]) -> Result<Misses> {
        let items = items(keys, "client");
        self.program.set(&items).context("storing with the client")?;
        let found = self.runtime.block_on(get_many(&self.remcache, keys))?;
        self.misses(&items, &found)
    }

    /// Stores the keys with remcache, and returns those that the client does not find.
    ///
    /// # Errors
    /// If the client or remcache fails; a miss is not an error.
    pub(crate) fn stored_by_remcache(&mut self, keys: &[Vec<u8>]) -> Result<Misses> {
        let items = items(keys, "remcache");
        let results = self.runtime.block_on(async {
            let items = items.iter().map(|(key, value)| (key.as_slice(), value.as_slice()));
            self.remcache.set_many(items).await
        });
        ensure!(results.applied().count() == keys.len(), "storing with remcache: {:?}", results.failed().next());
        let found = self.program.get(keys).context("reading with the client")?;
        self.misses(&items, &found)
    }

    fn misses(&self, items: &Items, found: &[Option<Vec<u8>>]) -> Result<Misses> {
        let mut misses = Misses { keys: items.len(), ..Misses::default() };
        for ((key, value), found) in items.iter().zip(found) {
            if found.as_ref() != Some(value) {
                misses.add(|| self.describe_miss(key, value));
            }
        }
        Ok(misses)
    }

    /// Describes a miss: the server of a key by remcache's placement, and the servers that have the item.
    fn describe_miss(&self, key: &[u8], value: &[u8]) -> String {
        let server = self.remcache.locate(key).ok().flatten();
        let server = server.map_or_else(|| "no server".to_owned(), |server| server.name().to_owned());
        let holders: Vec<String> =
            self.servers.iter().filter(|server| self.has_item(server, key, value)).map(ServerSpec::to_string).collect();
        format!("{}: remcache places it on {server}, the item is on {holders:?}", key.escape_ascii())
    }

    fn has_item(&self, server: &ServerSpec, key: &[u8], value: &[u8]) -> bool {
        let _guard = self.runtime.enter();
        let Ok(client) = Client::new([server.address()]) else { return false };
        let item = self.runtime.block_on(async { client.get(key).await });
        matches!(item, Ok(Some(item)) if item.value == value)
    }
}

/// Returns a value per key, different from those of all other runs.
fn items(keys: &[Vec<u8>], by: &str) -> Items {
    let run = fastrand::u64(..);
    let value = |number| format!("{by} {run:x} {number}").into_bytes();
    keys.iter().enumerate().map(|(number, key)| (key.clone(), value(number))).collect()
}

async fn get_many(client: &Client, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>> {
    let results = client.get_many(keys.iter().map(Vec::as_slice)).await;
    results
        .iter()
        .map(|(_, result)| Ok(result.map_err(Clone::clone)?.as_ref().map(|item| item.value.to_vec())))
        .collect()
}
