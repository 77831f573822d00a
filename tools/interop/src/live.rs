//! On real servers: what a client stores remcache finds, and what remcache stores the client finds.

use anyhow::{Context, Result, ensure};
use remcache::{Client, Config};
use tokio::runtime::Runtime;

use crate::{Location, Misses, Program, Setting};

/// One list of servers, as the client and remcache are given it.
#[derive(Debug)]
pub(crate) struct Meeting<'a> {
    runtime: &'a Runtime,
    remcache: Client,
    program: &'a mut Program,
    servers: &'a [Location],
    /// The client's version.
    pub(crate) version: String,
}

type Items = Vec<(Vec<u8>, Vec<u8>)>;

impl<'a> Meeting<'a> {
    /// Gives both the list.
    ///
    /// # Errors
    /// When one of them refuses it.
    pub(crate) fn new(runtime: &'a Runtime, program: &'a mut Program, setting: &Setting<'a>) -> Result<Self> {
        let config = Config::new().distribution(setting.distribution()?).protocol(setting.protocol());
        let _inside = runtime.enter();
        let remcache = Client::with_config(setting.servers.iter().map(Location::to_string), config)?;
        let version = program.configure(setting)?;
        Ok(Self { runtime, remcache, program, servers: setting.servers, version })
    }

    /// The keys that the client has stored and remcache does not find.
    ///
    /// # Errors
    /// When something else than a miss happens.
    pub(crate) fn stored_by_client(&mut self, keys: &[Vec<u8>]) -> Result<Misses> {
        let items = items(keys, "client");
        self.program.set(&items).context("the client stores")?;
        let found = self.runtime.block_on(get_many(&self.remcache, keys))?;
        self.misses(&items, &found)
    }

    /// The keys that remcache has stored and the client does not find.
    ///
    /// # Errors
    /// When something else than a miss happens.
    pub(crate) fn stored_by_remcache(&mut self, keys: &[Vec<u8>]) -> Result<Misses> {
        let items = items(keys, "remcache");
        let outcomes = self.runtime.block_on(async {
            let items = items.iter().map(|(key, value)| (key.as_slice(), value.as_slice()));
            self.remcache.set_many(items).await
        });
        ensure!(outcomes.made().count() == keys.len(), "remcache stores: {:?}", outcomes.failed().next());
        let found = self.program.get(keys).context("the client fetches")?;
        self.misses(&items, &found)
    }

    fn misses(&self, items: &Items, found: &[Option<Vec<u8>>]) -> Result<Misses> {
        let mut misses = Misses { keys: items.len(), ..Misses::default() };
        for ((key, value), found) in items.iter().zip(found) {
            if found.as_ref() != Some(value) {
                misses.add(|| self.complaint(key, value));
            }
        }
        Ok(misses)
    }

    /// Where remcache places a key, and who has the item.
    fn complaint(&self, key: &[u8], value: &[u8]) -> String {
        let place = self.remcache.locate(key).ok().flatten();
        let place = place.map_or_else(|| "nowhere".to_owned(), |server| server.name().to_owned());
        let holders: Vec<String> =
            self.servers.iter().filter(|server| self.holds(server, key, value)).map(Location::to_string).collect();
        format!("{}: remcache places it on {place}, the item is on {holders:?}", key.escape_ascii())
    }

    fn holds(&self, server: &Location, key: &[u8], value: &[u8]) -> bool {
        let _inside = self.runtime.enter();
        let Ok(client) = Client::new([server.address()]) else { return false };
        let item = self.runtime.block_on(async { client.get(key).await });
        matches!(item, Ok(Some(item)) if item.value == value)
    }
}

/// A value for each key, which nobody else has stored.
fn items(keys: &[Vec<u8>], by: &str) -> Items {
    let run = fastrand::u64(..);
    let value = |number| format!("{by} {run:x} {number}").into_bytes();
    keys.iter().enumerate().map(|(number, key)| (key.clone(), value(number))).collect()
}

async fn get_many(client: &Client, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>> {
    let outcomes = client.get_many(keys.iter().map(Vec::as_slice)).await;
    outcomes
        .iter()
        .map(|(_, outcome)| Ok(outcome.map_err(Clone::clone)?.as_ref().map(|item| item.value.to_vec())))
        .collect()
}
