//! Storage layer of a cache: prefixed items, chunked or not, from the servers or the in-process cache.

use std::borrow::Cow;
use std::sync::Arc;
#[cfg(feature = "local-cache")]
use std::time::{Duration, SystemTime};

use super::chunked::{self, Chunking, Manifest};
#[cfg(feature = "local-cache")]
use crate::cache::local::{Fresh, LocalStore};
use crate::client::Client;
use crate::error::Error;
use crate::observe::{OperationGuard, OperationName};
#[cfg(feature = "local-cache")]
use crate::ops::builder::kind::FetchWithTtl;
use crate::ops::builder::{Command, condition as cas_condition, kind};
#[cfg(feature = "local-cache")]
use crate::ops::multi_builder::{KeyOnly, Many};
use crate::ops::operation_reports::Observed;
use crate::proto::{CowBytes, Request, Ttl};
#[cfg(feature = "local-cache")]
use crate::proto::{MetaOptions, Protocol};
use crate::result::{Item, UnconditionalOutcome, WriteOutcome};
use crate::value::Encoded;

/// The items of one cache.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    pub(crate) client: Client,
    pub(crate) prefix: Arc<[u8]>,
    /// TTL of values that are stored without an explicit TTL.
    pub(crate) ttl: Ttl,
    pub(crate) chunking: Option<Chunking>,
    #[cfg(feature = "local-cache")]
    pub(crate) local: Option<Arc<LocalStore>>,
}

/// Condition of a store.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Condition {
    None,
    Absent,
    Present,
    Cas(u64),
}

impl Condition {
    /// Returns the operation name under which a store with this condition is reported to observers.
    pub(crate) fn operation(self) -> OperationName {
        match self {
            Self::None | Self::Cas(_) => OperationName::Set,
            Self::Absent => OperationName::Add,
            Self::Present => OperationName::Replace,
        }
    }
}

type FoundItem = Result<Option<Item>, Error>;
type Changed<O = UnconditionalOutcome> = Result<O, Error>;

impl Store {
    pub(crate) fn new(client: Client, prefix: Arc<[u8]>) -> Self {
        Self {
            client,
            prefix,
            ttl: Ttl::Never,
            chunking: None,
            #[cfg(feature = "local-cache")]
            local: None,
        }
    }

    pub(crate) fn key(&self, key: &[u8]) -> Vec<u8> {
        [&self.prefix, key].concat()
    }

    /// Reports the start of an operation on a key to observers, if there are any; returns a store whose requests are
    /// reported as parts of it.
    pub(crate) fn observe(&self, name: OperationName, key: &[u8]) -> (Cow<'_, Self>, OperationGuard) {
        match self.client.is_observed() {
            true => self.within(self.client.observe(name, &self.key(key))),
            false => (Cow::Borrowed(self), OperationGuard::default()),
        }
    }

    /// Reports the start of an operation on many keys to observers, if there are any.
    pub(crate) fn observe_many(&self, name: OperationName, keys: usize) -> (Cow<'_, Self>, OperationGuard) {
        match self.client.is_observed() && keys > 0 {
            true => self.within(self.client.observe_many(name, keys)),
            false => (Cow::Borrowed(self), OperationGuard::default()),
        }
    }

    fn within(&self, operation: Observed<'_>) -> (Cow<'_, Self>, OperationGuard) {
        let store = Self { client: operation.client().clone(), ..self.clone() };
        (Cow::Owned(store), operation.into_guard())
    }

    /// Returns the item of a key, from the in-process cache if allowed.
    pub(crate) async fn get(&self, key: &[u8]) -> FoundItem {
        #[cfg(feature = "local-cache")]
        if let Some(local) = &self.local {
            return local.get(key, || self.fetch_fresh(key)).await;
        }
        self.fetch(key).await
    }

    /// Fetches the item of a key from the servers.
    pub(crate) async fn fetch(&self, key: &[u8]) -> FoundItem {
        let key = self.key(key);
        let item = self.client.get(&key).await?;
        self.assemble(&key, item).await
    }

    /// Reassembles an item if it is chunked; `None` if a chunk is missing.
    pub(crate) async fn assemble(&self, key: &[u8], item: Option<Item>) -> FoundItem {
        match item.as_ref().and_then(|item| self.manifest(item)) {
            Some(manifest) => self.reassemble(key, item, manifest).await,
            None => Ok(item),
        }
    }

    /// Fetches the item of a key from the servers, with its maximum remaining lifetime.
    #[cfg(feature = "local-cache")]
    async fn fetch_fresh(&self, key: &[u8]) -> Result<Option<Fresh>, Error> {
        let key = self.key(key);
        let found = match self.reports_ttl(&key) {
            true => Command::<FetchWithTtl>::new(self.client.call(with_ttl(key.as_slice().into()))).await?,
            false => self.client.get(&key).await?.map(|item| (item, None)),
        };
        self.fresh(&key, found).await
    }

    #[cfg(feature = "local-cache")]
    async fn fresh(&self, key: &[u8], found: Option<(Item, Option<Ttl>)>) -> Result<Option<Fresh>, Error> {
        let Some((item, remaining_ttl)) = found else { return Ok(None) };
        let ttl = remaining(remaining_ttl.unwrap_or(self.ttl));
        Ok(self.assemble(key, Some(item)).await?.map(|item| Fresh { item, ttl }))
    }

    /// Returns whether the server of a full key reports the remaining TTL of items.
    #[cfg(feature = "local-cache")]
    fn reports_ttl(&self, key: &[u8]) -> bool {
        self.client.protocol_of(key) == Some(Protocol::Meta)
    }

    /// Returns the manifest of a chunked item.
    pub(crate) fn manifest(&self, item: &Item) -> Option<Manifest> {
        self.chunking.and_then(|_| Manifest::of(item))
    }

    pub(crate) async fn reassemble(&self, key: &[u8], item: Option<Item>, manifest: Manifest) -> FoundItem {
        let Some(item) = item else { return Ok(None) };
        manifest.check_length(key)?;
        let chunks = self.client.get_many(manifest.keys(key)).await;
        manifest.reassemble(key, item, chunks.into_iter().map(|(_, chunk)| chunk))
    }

    /// Returns the items of many keys, in their order.
    pub(crate) async fn get_many<K: AsRef<[u8]>>(&self, keys: &[K]) -> Vec<FoundItem> {
        #[cfg(feature = "local-cache")]
        if let Some(local) = &self.local {
            let keys: Vec<&[u8]> = keys.iter().map(AsRef::as_ref).collect();
            return local.get_many(&keys, |missing| self.fetch_many_fresh(missing)).await;
        }
        self.fetch_many(keys.iter().map(AsRef::as_ref).collect()).await
    }

    async fn fetch_many(&self, keys: Vec<&[u8]>) -> Vec<FoundItem> {
        let keys = keys.into_iter().map(|key| self.key(key));
        let mut results = Vec::new();
        for (key, result) in self.client.get_many(keys).await {
            results.push(match result {
                Ok(item) => self.assemble(&key, item).await,
                Err(error) => Err(error),
            });
        }
        results
    }

    #[cfg(feature = "local-cache")]
    async fn fetch_many_fresh(&self, keys: Vec<&[u8]>) -> Vec<Result<Option<Fresh>, Error>> {
        let keys: Vec<Vec<u8>> = keys.into_iter().map(|key| self.key(key)).collect();
        let mut results = Vec::with_capacity(keys.len());
        if keys.iter().all(|key| self.reports_ttl(key)) {
            let items = keys.into_iter().map(|key| KeyOnly { key, build: with_ttl }).collect();
            for (key, found) in Many::<FetchWithTtl, _>::new(&self.client, items).await {
                results.push(match found {
                    Ok(found) => self.fresh(&key, found).await,
                    Err(error) => Err(error),
                });
            }
            return results;
        }
        for (key, found) in self.client.get_many(keys).await {
            results.push(match found {
                Ok(item) => self.fresh(&key, item.map(|item| (item, None))).await,
                Err(error) => Err(error),
            });
        }
        results
    }

    /// Stores an item, chunked if it is too long for one.
    pub(crate) async fn change(
        &self,
        condition: Condition,
        key: &[u8],
        value: Encoded<'_>,
        ttl: Ttl,
    ) -> Changed<WriteOutcome> {
        self.forget(key);
        let result = self.send(condition, key, value, ttl).await;
        self.record_ttl(key, ttl).await;
        self.forget(key);
        result
    }

    async fn send(&self, condition: Condition, key: &[u8], value: Encoded<'_>, ttl: Ttl) -> Changed<WriteOutcome> {
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
        condition: Condition,
        key: &[u8],
        flags: u32,
        bytes: CowBytes<'_>,
        ttl: Ttl,
    ) -> Changed<WriteOutcome> {
        let request = match condition {
            Condition::None => Request::set(key, bytes),
            Condition::Absent => Request::add(key, bytes),
            Condition::Present => Request::replace(key, bytes),
            Condition::Cas(cas) => Request::set(key, bytes).cas(cas_condition(cas)),
        };
        Command::<kind::Store>::new(self.client.call(request.flags(flags).ttl(ttl))).await
    }

    /// Stores the chunks first and the manifest last, so that a reader of the manifest finds all of them.
    async fn send_chunks(
        &self,
        chunking: Chunking,
        condition: Condition,
        key: &[u8],
        value: Encoded<'_>,
        ttl: Ttl,
    ) -> Changed<WriteOutcome> {
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
    pub(crate) fn drop_chunks(&self, key: &[u8], item: Option<&Item>) {
        if let Some(manifest) = item.and_then(Manifest::of).filter(|manifest| manifest.check_length(key).is_ok()) {
            self.drop_keys(manifest.keys(key));
        }
    }

    fn drop_keys(&self, keys: impl Iterator<Item = Vec<u8>>) {
        for key in keys {
            // Chunks whose delete cannot be sent expire or are evicted.
            let _ = self.client.send_no_reply(Request::delete(key));
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
        for (index, (key, value)) in keys.iter().zip(values).enumerate() {
            match value {
                Err(error) => results[index] = Some(Err(error)),
                Ok(value) if self.chunking.is_some_and(|it| value.bytes.len() > it.length) => {
                    let changed = self.change(Condition::None, key.as_ref(), value, ttl).await;
                    results[index] = Some(changed.map(Into::into));
                }
                Ok(Encoded { flags, bytes }) => match groups.iter_mut().find(|group| group.0 == flags) {
                    Some(group) => group.1.push((index, bytes)),
                    None => groups.push((flags, vec![(index, bytes)])),
                },
            }
        }
        keys.iter().for_each(|key| self.forget(key.as_ref()));
        for (flags, group) in groups {
            let (indices, bytes): (Vec<usize>, Vec<CowBytes<'_>>) = group.into_iter().unzip();
            let items = indices.iter().map(|index| self.key(keys[*index].as_ref())).zip(bytes);
            let stored = self.client.set_many(items).flags(flags).ttl(ttl).await;
            for (index, (_, result)) in indices.into_iter().zip(stored) {
                results[index] = Some(result);
            }
        }
        for key in keys {
            self.record_ttl(key.as_ref(), ttl).await;
            self.forget(key.as_ref());
        }
        results.into_iter().flatten().collect()
    }

    /// Sets the TTL of an item and of its chunks.
    pub(crate) async fn touch(&self, key: &[u8], ttl: Ttl) -> Changed {
        let full_key = self.key(key);
        self.forget(key);
        // The chunks first: the manifest must not outlive them.
        if self.chunking.is_some()
            && let Some(manifest) = self.client.get(&full_key).await?.as_ref().and_then(Manifest::of)
        {
            manifest.check_length(&full_key)?;
            self.client.touch_many(manifest.keys(&full_key), ttl).await.into_result()?;
        }
        let result = self.client.touch(&full_key, ttl).await;
        self.record_ttl(key, ttl).await;
        self.forget(key);
        result
    }

    /// Fetches an item, and sets the TTL of it and of its chunks.
    pub(crate) async fn get_and_touch(&self, key: &[u8], ttl: Ttl) -> FoundItem {
        let full_key = self.key(key);
        self.forget(key);
        let item = self.client.get_and_touch(&full_key, ttl).await?;
        self.record_ttl(key, ttl).await;
        match item.as_ref().and_then(|item| self.manifest(item)) {
            Some(manifest) => {
                manifest.check_length(&full_key)?;
                self.client.touch_many(manifest.keys(&full_key), ttl).await.into_result()?;
                self.reassemble(&full_key, item, manifest).await
            }
            None => Ok(item),
        }
    }

    /// Fetches an item and deletes it, with its chunks.
    pub(crate) async fn take(&self, key: &[u8]) -> FoundItem {
        let full_key = self.key(key);
        self.forget(key);
        let result = self.client.take(&full_key).await;
        self.forget(key);
        let item = result?;
        let Some(manifest) = item.as_ref().and_then(|item| self.manifest(item)) else { return Ok(item) };
        let item = self.reassemble(&full_key, item, manifest).await;
        self.drop_keys(manifest.keys(&full_key));
        item
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

    /// Records the TTL with which an item is stored, so that no local copy outlives the item.
    pub(crate) async fn record_ttl(&self, key: &[u8], ttl: Ttl) {
        #[cfg(feature = "local-cache")]
        if let Some(local) = &self.local {
            local.record_ttl(key, remaining(ttl)).await;
        }
        #[cfg(not(feature = "local-cache"))]
        let _ = (key, ttl);
    }

    /// Invalidates the local copy: before a change, so that no earlier read outlives it, and after it, so that
    /// no concurrent read does.
    pub(crate) fn forget(&self, key: &[u8]) {
        #[cfg(feature = "local-cache")]
        if let Some(local) = &self.local {
            local.forget(key);
        }
        #[cfg(not(feature = "local-cache"))]
        let _ = key;
    }
}

/// Builds a get that returns the remaining TTL, on the meta protocol.
#[cfg(feature = "local-cache")]
fn with_ttl(key: CowBytes<'_>) -> Request<'_> {
    Request::get(key).meta(MetaOptions::new().return_ttl())
}

/// Returns the time until an item with this TTL expires; `None` if it does not.
#[cfg(feature = "local-cache")]
pub(crate) fn remaining(ttl: Ttl) -> Option<Duration> {
    match ttl {
        Ttl::After(duration) => Some(duration),
        Ttl::At(time) => Some(time.duration_since(SystemTime::now()).unwrap_or_default()),
        Ttl::Expired => Some(Duration::ZERO),
        _ => None,
    }
}
