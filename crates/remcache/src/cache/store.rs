//! Storage layer of a cache: prefixed items, whole or chunked, from the servers or the in-process cache.

use std::sync::Arc;

use super::chunked::{self, Chunking, Manifest};
#[cfg(feature = "near")]
use crate::cache::local::LocalStore;
use crate::client::Client;
use crate::error::Error;
use crate::proto::{CowBytes, Ttl};
use crate::result::{Item, WriteOutcome};
use crate::value::Encoded;

/// The items of one cache.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    pub(crate) client: Client,
    pub(crate) prefix: Arc<[u8]>,
    pub(crate) chunking: Option<Chunking>,
    #[cfg(feature = "near")]
    pub(crate) near: Option<Arc<LocalStore>>,
}

/// Condition of a store.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ConnectionState {
    None,
    Absent,
    Present,
    Cas(u64),
}

type Fetched = Result<Option<Item>, Error>;
type Changed = Result<WriteOutcome, Error>;

impl Store {
    pub(crate) fn new(client: Client, prefix: Arc<[u8]>) -> Self {
        Self {
            client,
            prefix,
            chunking: None,
            #[cfg(feature = "near")]
            near: None,
        }
    }

    pub(crate) fn key(&self, key: &[u8]) -> Vec<u8> {
        [&self.prefix, key].concat()
    }

    /// Returns the item of a key, from the in-process cache if allowed.
    pub(crate) async fn get(&self, key: &[u8]) -> Fetched {
        #[cfg(feature = "near")]
        if let Some(near) = &self.near {
            return near.get(key, || self.fetch(key)).await;
        }
        self.fetch(key).await
    }

    /// Fetches the item of a key from the servers.
    pub(crate) async fn fetch(&self, key: &[u8]) -> Fetched {
        let key = self.key(key);
        let item = self.client.get(&key).await?.filter(|item| !item.is_sentinel());
        match item.as_ref().and_then(|item| self.manifest(item)) {
            Some(manifest) => self.put_together(&key, item, manifest).await,
            None => Ok(item),
        }
    }

    /// Returns the manifest of a chunked item.
    pub(crate) fn manifest(&self, item: &Item) -> Option<Manifest> {
        self.chunking.and_then(|_| Manifest::of(item))
    }

    pub(crate) async fn put_together(&self, key: &[u8], item: Option<Item>, manifest: Manifest) -> Fetched {
        let Some(item) = item else { return Ok(None) };
        manifest.check_length(key)?;
        let chunks = self.client.get_many(manifest.keys(key)).await;
        manifest.put_together(key, item, chunks.into_iter().map(|(_, chunk)| chunk))
    }

    /// Returns the items of many keys, in their order.
    pub(crate) async fn get_many<K: AsRef<[u8]>>(&self, keys: &[K]) -> Vec<Fetched> {
        #[cfg(feature = "near")]
        if let Some(near) = &self.near {
            let keys: Vec<&[u8]> = keys.iter().map(AsRef::as_ref).collect();
            return near.get_many(&keys, |missing| self.fetch_many(missing)).await;
        }
        self.fetch_many(keys.iter().map(AsRef::as_ref).collect()).await
    }

    async fn fetch_many(&self, keys: Vec<&[u8]>) -> Vec<Fetched> {
        let keys = keys.into_iter().map(|key| self.key(key));
        let mut results = Vec::new();
        for (key, result) in self.client.get_many(keys).await {
            let result = result.map(|item| item.filter(|item| !item.is_sentinel()));
            let manifest = result.as_ref().ok().and_then(Option::as_ref).and_then(|item| self.manifest(item));
            results.push(match (manifest, result) {
                (Some(manifest), Ok(item)) => self.put_together(&key, item, manifest).await,
                (_, result) => result,
            });
        }
        results
    }

    /// Stores an item, chunked if it is too long for one.
    pub(crate) async fn change(&self, condition: ConnectionState, key: &[u8], value: Encoded<'_>, ttl: Ttl) -> Changed {
        self.forget(key);
        let result = self.send(condition, key, value, ttl).await;
        self.forget(key);
        result
    }

    async fn send(&self, condition: ConnectionState, key: &[u8], value: Encoded<'_>, ttl: Ttl) -> Changed {
        let key = self.key(key);
        match self.chunking {
            Some(chunking) if value.bytes.len() > chunking.length => {
                self.send_chunks(chunking, condition, &key, value, ttl).await
            }
            _ => self.send_whole(condition, &key, value.flags, value.bytes, ttl).await,
        }
    }

    async fn send_whole(
        &self,
        condition: ConnectionState,
        key: &[u8],
        flags: u32,
        bytes: CowBytes<'_>,
        ttl: Ttl,
    ) -> Changed {
        let command = match condition {
            ConnectionState::None => self.client.set(key, bytes),
            ConnectionState::Absent => self.client.add(key, bytes),
            ConnectionState::Present => self.client.replace(key, bytes),
            ConnectionState::Cas(cas) => self.client.set(key, bytes).cas(cas),
        };
        command.flags(flags).ttl(ttl).await
    }

    /// Stores the chunks first and the manifest last, so that a reader of the manifest finds all of them.
    async fn send_chunks(
        &self,
        chunking: Chunking,
        condition: ConnectionState,
        key: &[u8],
        value: Encoded<'_>,
        ttl: Ttl,
    ) -> Changed {
        let before = self.client.get(key).await.ok().flatten();
        let bytes = value.bytes.into_bytes();
        let manifest = Manifest::new(&bytes, chunking);
        manifest.check_length(key)?;
        let chunks = manifest.keys(key).zip(chunking.split(&bytes));
        let stored = self.client.set_many(chunks).ttl(ttl).await;
        let result = match stored.into_iter().find_map(|(_, result)| result.err()) {
            Some(error) => Err(error),
            None => {
                let flags = value.flags | chunked::MARK;
                self.send_whole(condition, key, flags, manifest.to_string().into(), ttl).await
            }
        };
        match &result {
            Ok(change) if change.is_applied() => self.drop_chunks(key, before.as_ref()),
            // The manifest may have been stored: keep its chunks.
            Err(error) if error.may_have_executed() => {}
            _ => self.drop_keys(manifest.keys(key)),
        }
        result
    }

    /// Deletes the chunks of a removed item, without waiting.
    fn drop_chunks(&self, key: &[u8], item: Option<&Item>) {
        if let Some(manifest) = item.and_then(Manifest::of).filter(|manifest| manifest.check_length(key).is_ok()) {
            self.drop_keys(manifest.keys(key));
        }
    }

    fn drop_keys(&self, keys: impl Iterator<Item = Vec<u8>>) {
        for key in keys {
            // Chunks whose delete cannot be sent expire or are evicted.
            let _ = self.client.cast(crate::Request::delete(key));
        }
    }

    /// Stores many items, in the order of their keys.
    ///
    /// All items of a call share their flags, so items are grouped by flags.
    pub(crate) async fn set_many<K: AsRef<[u8]>>(
        &self,
        keys: &[K],
        values: Vec<Result<Encoded<'_>, Error>>,
        ttl: Ttl,
    ) -> Vec<Changed> {
        let mut results: Vec<Option<Changed>> = Vec::new();
        results.resize_with(keys.len(), || None);
        let mut groups: Vec<(u32, Vec<(usize, CowBytes<'_>)>)> = Vec::new();
        for (place, (key, value)) in keys.iter().zip(values).enumerate() {
            match value {
                Err(error) => results[place] = Some(Err(error)),
                Ok(value) if self.chunking.is_some_and(|it| value.bytes.len() > it.length) => {
                    results[place] = Some(self.change(ConnectionState::None, key.as_ref(), value, ttl).await);
                }
                Ok(Encoded { flags, bytes }) => match groups.iter_mut().find(|group| group.0 == flags) {
                    Some(group) => group.1.push((place, bytes)),
                    None => groups.push((flags, vec![(place, bytes)])),
                },
            }
        }
        keys.iter().for_each(|key| self.forget(key.as_ref()));
        for (flags, group) in groups {
            let (places, bytes): (Vec<usize>, Vec<CowBytes<'_>>) = group.into_iter().unzip();
            let items = places.iter().map(|place| self.key(keys[*place].as_ref())).zip(bytes);
            let stored = self.client.set_many(items).flags(flags).ttl(ttl).await;
            for (place, (_, result)) in places.into_iter().zip(stored) {
                results[place] = Some(result);
            }
        }
        keys.iter().for_each(|key| self.forget(key.as_ref()));
        results.into_iter().flatten().collect()
    }

    /// Removes an item, and its chunks.
    pub(crate) async fn delete(&self, key: &[u8]) -> Changed {
        self.forget(key);
        let result = self.remove(&self.key(key)).await;
        self.forget(key);
        result
    }

    async fn remove(&self, key: &[u8]) -> Changed {
        if self.chunking.is_none() {
            return self.client.delete(key).await;
        }
        let before = self.client.get(key).await?;
        let change = self.client.delete(key).await?;
        self.drop_chunks(key, before.as_ref());
        Ok(change)
    }

    /// Removes many items, in the order of their keys.
    pub(crate) async fn delete_many<K: AsRef<[u8]>>(&self, keys: &[K]) -> Vec<Changed> {
        let mut results = Vec::with_capacity(keys.len());
        if self.chunking.is_some() {
            for key in keys {
                results.push(self.delete(key.as_ref()).await);
            }
            return results;
        }
        keys.iter().for_each(|key| self.forget(key.as_ref()));
        let deleted = self.client.delete_many(keys.iter().map(|key| self.key(key.as_ref()))).await;
        results.extend(deleted.into_iter().map(|(_, result)| result));
        keys.iter().for_each(|key| self.forget(key.as_ref()));
        results
    }

    /// Invalidates the local copy: before a change, so that no earlier read outlives it, and after it, so that
    /// no concurrent read does.
    pub(crate) fn forget(&self, key: &[u8]) {
        #[cfg(feature = "near")]
        if let Some(near) = &self.near {
            near.forget(key);
        }
        #[cfg(not(feature = "near"))]
        let _ = key;
    }
}
