//! Updates of a cache's values: read, change, store if unchanged.

use std::borrow::Borrow;

use super::Cache;
use super::store::Store;
use crate::error::Error;
use crate::observe;
use crate::observe::OperationName;
use crate::ops::builder::kind::FetchWithSentinels;
use crate::ops::pinned_route::PinnedRoute;
use crate::proto::Request;
use crate::recipes::builder::Recipe;
use crate::recipes::fetch::Loaded;
use crate::recipes::update::{TRIES, delete_unchanged, store_unchanged, too_busy, wait_before_attempt};
use crate::result::Item;

impl<T: 'static, B: ?Sized + 'static> Cache<T, B> {
    /// Updates a value atomically with a function, and returns what is stored afterwards.
    ///
    /// The function gets the value, or `None` on a miss, and may be called up to 64 times: again after each
    /// conflicting change. Its result is stored with the cache's TTL; `None` deletes the item. See
    /// [`Client::update`](crate::client::Client::update).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = remcache_server::Server::start().await?;
    /// # let client = remcache::Client::new([server.address()])?;
    /// use remcache::{Cache, value::Codec};
    ///
    /// let scores = Cache::new(&client, "score", Codec::<u64>::integer());
    /// scores.update("ada", |score| Some(score.unwrap_or(0) + 5)).await?;
    /// assert_eq!(scores.update("ada", |score| Some(score.unwrap_or(0) + 5)).await?, Some(10));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Those of [`Client::update`](crate::client::Client::update) and of the codec.
    ///
    /// # Cancel safety
    /// The change may have been executed.
    pub fn update<'a, V>(
        &'a self,
        key: impl AsRef<[u8]>,
        mut change: impl FnMut(Option<T>) -> Option<V> + Send + 'a,
    ) -> Recipe<'a, Option<V>>
    where
        V: Borrow<B> + Send + 'a,
    {
        let (name, key) = (OperationName::Update, key.as_ref().to_vec());
        let full_key = self.store.key(&key);
        Recipe::for_key(&self.store.client, name, full_key, observe::done, move |client, _, _| async move {
            let cache = self.with_client(client);
            for attempt in 0..TRIES {
                wait_before_attempt(attempt).await;
                if let Some(stored) = cache.try_update(&key, &mut change).await? {
                    return Ok(stored);
                }
            }
            Err(too_busy())
        })
    }

    /// Updates a value once; `None` on conflict.
    async fn try_update<V: Borrow<B> + Send>(
        &self,
        key: &[u8],
        change: &mut (impl FnMut(Option<T>) -> Option<V> + Send),
    ) -> Result<Option<Option<V>>, Error> {
        let (store, full_key) = (&self.store, self.store.key(key));
        let primary = store.client.primary(&full_key);
        let stored = primary.ask::<FetchWithSentinels>(Request::get(&full_key)).await?;
        let current = stored.clone().filter(|item| !item.is_sentinel());
        let current = store.assemble(&full_key, current).await?;
        let value = change(current.map(|item| self.decode(key, item)).transpose()?);
        let loaded = match &value {
            Some(value) => {
                let encoded = self.encode(key, value.borrow())?;
                Some(Loaded { flags: encoded.flags, bytes: encoded.bytes.into_bytes() })
            }
            None => None,
        };
        store.forget(key);
        let is_changed = match (loaded, &stored) {
            (Some(loaded), _) => store.replace_unchanged(&primary, &full_key, stored.as_ref(), loaded).await,
            (None, Some(item)) => {
                let cas = primary.checked_cas(item.cas)?;
                delete_unchanged(&primary, &full_key, cas).await.map(|deleted| deleted.is_some())
            }
            (None, None) => Ok(true),
        };
        store.record_ttl(key, store.ttl).await;
        store.forget(key);
        let is_changed = is_changed?;
        if is_changed {
            store.drop_chunks(&full_key, stored.as_ref());
        }
        Ok(is_changed.then_some(value))
    }
}

impl Store {
    /// Stores a value, in chunks if it is too long for one item, if the item is unchanged or still absent.
    async fn replace_unchanged(
        &self,
        primary: &PinnedRoute<'_>,
        key: &[u8],
        item: Option<&Item>,
        loaded: Loaded,
    ) -> Result<bool, Error> {
        let Loaded { flags, bytes } = self.loaded(key, loaded, self.ttl).await?;
        let stored = store_unchanged(primary, key, item, (flags, bytes.clone()), self.ttl).await?;
        if stored.is_none() {
            self.drop_chunks(key, Some(&Item { value: bytes, flags, cas: 0 }));
        }
        Ok(stored.is_some())
    }
}
