//! In-process cache of recently read values.

use std::fmt;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use moka::future::Cache as Moka;

use crate::error::Error;
use crate::result::Item;

/// Settings of the in-process cache: capacity, TTL, and which keys to keep.
///
/// A local copy saves the round trip to the server but may be stale: changes by other processes become visible after
/// the TTL at the latest. A copy does not outlive its item as far as the item's expiration is known: from the TTL with
/// which this process stored it, from the remaining TTL that the server reports (meta protocol), or otherwise from the
/// TTL of the [`Cache`](super::Cache). Changes by this process through the cache are visible immediately to all clones
/// of the handle. Concurrent misses of the same key share one request.
///
/// ```
/// use std::time::Duration;
/// use remcache::cache::LocalCache;
///
/// // At most 16 MiB, for two seconds, of keys that were read five times within ten seconds.
/// let local = LocalCache::new(16 << 20, Duration::from_secs(2)).min_reads(5, Duration::from_secs(10));
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use = "pass it to `Cache::local_cache`"]
pub struct LocalCache {
    capacity: u64,
    ttl: Duration,
    hot: Option<(u32, Duration)>,
}

impl LocalCache {
    /// Creates settings with a total capacity in bytes and a TTL.
    ///
    /// When the capacity is exceeded, frequently read keys are kept and others are evicted or not admitted.
    pub fn new(capacity: u64, ttl: Duration) -> Self {
        Self { capacity, ttl, hot: None }
    }

    /// Keeps only keys that were read at least `reads` times within `window` (default: all keys).
    pub fn min_reads(self, reads: u32, window: Duration) -> Self {
        Self { hot: Some((reads, window)), ..self }
    }

    pub(crate) fn open(self) -> LocalStore {
        let weight = |key: &Vec<u8>, copy: &CachedCopy| u32::try_from(key.len() + copy.item.value.len() + OVERHEAD);
        LocalStore {
            copies: Moka::builder()
                .max_capacity(self.capacity)
                .weigher(move |key, copy| weight(key, copy).unwrap_or(u32::MAX))
                .time_to_live(self.ttl)
                .build(),
            hot: self.hot.map(|(times, window)| AccessCounter {
                times,
                counts: Moka::builder().max_capacity(COUNTED_KEYS).time_to_live(window).build(),
            }),
            epochs: (0..EPOCHS).map(|_| AtomicU64::new(0)).collect(),
            hasher: RandomState::new(),
            ttl: self.ttl,
            expirations: Moka::builder().max_capacity(COUNTED_KEYS).time_to_live(self.ttl).build(),
        }
    }
}

/// The in-process cache.
pub(crate) struct LocalStore {
    copies: Moka<Vec<u8>, CachedCopy>,
    hot: Option<AccessCounter>,
    /// Epoch per group of keys, incremented by every change through the cache.
    epochs: Box<[AtomicU64]>,
    hasher: RandomState,
    /// Maximum age of a copy.
    ttl: Duration,
    /// When items stored by this process expire, if that is earlier than their copies do.
    expirations: Moka<Vec<u8>, Instant>,
}

/// A fetched item and its maximum remaining lifetime.
pub(crate) struct Fresh {
    pub(crate) item: Item,
    pub(crate) ttl: Option<Duration>,
}

/// An item, the epoch of its key when it was requested, and when it expires.
#[derive(Clone)]
struct CachedCopy {
    epoch: u64,
    item: Item,
    expires: Instant,
}

/// Access counts of keys.
struct AccessCounter {
    times: u32,
    counts: Moka<u64, Arc<AtomicU32>>,
}

/// Why there is no item to cache.
enum NoItem {
    /// A miss, and the epoch of the key when it was requested.
    Miss(u64),
    Failed(Error),
}

impl LocalStore {
    /// Returns the local copy of a key, or else fetches the item.
    pub(crate) async fn get<F>(&self, key: &[u8], fetch: impl Fn() -> F) -> Result<Option<Item>, Error>
    where
        F: Future<Output = Result<Option<Fresh>, Error>>,
    {
        let hash = self.hasher.hash_one(key);
        let epoch = self.epoch(hash).load(Ordering::SeqCst);
        if let Some(item) = self.copy(key, epoch).await {
            return Ok(Some(item));
        }
        let item = |fresh: Option<Fresh>| fresh.map(|fresh| fresh.item);
        if !self.is_hot(hash).await {
            return fetch().await.map(item);
        }
        let filled = self.copies.try_get_with_by_ref(key, async {
            let epoch = self.epoch(hash).load(Ordering::SeqCst);
            match fetch().await {
                Ok(Some(fresh)) => Ok(self.copied(key, epoch, fresh).await),
                Ok(None) => Err(NoItem::Miss(epoch)),
                Err(error) => Err(NoItem::Failed(error)),
            }
        });
        match filled.await {
            Ok(copy) if copy.epoch >= epoch => Ok(Some(copy.item)),
            // The request predates a change that this caller may know of.
            Ok(_) => fetch().await.map(item),
            Err(nothing) => match &*nothing {
                NoItem::Miss(asked) if *asked >= epoch => Ok(None),
                NoItem::Miss(_) => fetch().await.map(item),
                NoItem::Failed(error) => Err(error.clone()),
            },
        }
    }

    /// Returns the local copy of a key, and the current epoch for a copy that is fetched now.
    pub(crate) async fn peek(&self, key: &[u8]) -> (Option<Item>, u64) {
        let epoch = self.epoch(self.hasher.hash_one(key)).load(Ordering::SeqCst);
        (self.copy(key, epoch).await, epoch)
    }

    /// Keeps a copy of a fetched item if the key is hot enough.
    pub(crate) async fn keep(&self, key: &[u8], epoch: u64, fresh: Fresh) {
        if self.is_hot(self.hasher.hash_one(key)).await {
            let copied = self.copied(key, epoch, fresh).await;
            self.copies.insert(key.into(), copied).await;
        }
    }

    async fn copied(&self, key: &[u8], epoch: u64, fresh: Fresh) -> CachedCopy {
        let Fresh { item, ttl } = fresh;
        let expires = Instant::now() + ttl.map_or(self.ttl, |ttl| ttl.min(self.ttl));
        let expires = self.expirations.get(key).await.map_or(expires, |stored| stored.min(expires));
        CachedCopy { epoch, item, expires }
    }

    /// Records the TTL with which this process stores an item.
    pub(crate) async fn record_ttl(&self, key: &[u8], ttl: Option<Duration>) {
        match ttl.filter(|ttl| *ttl < self.ttl) {
            Some(ttl) => self.expirations.insert(key.into(), Instant::now() + ttl).await,
            None => self.expirations.invalidate(key).await,
        }
    }

    /// Returns the items of many keys: local copies, and the others fetched in one call.
    pub(crate) async fn get_many<'k, F>(
        &self,
        keys: &[&'k [u8]],
        fetch: impl Fn(Vec<&'k [u8]>) -> F,
    ) -> Vec<Result<Option<Item>, Error>>
    where
        F: Future<Output = Vec<Result<Option<Fresh>, Error>>>,
    {
        let mut results = Vec::with_capacity(keys.len());
        let mut missing = Vec::new();
        for (index, key) in keys.iter().enumerate() {
            let hash = self.hasher.hash_one(*key);
            let epoch = self.epoch(hash).load(Ordering::SeqCst);
            let copy = self.copy(key, epoch).await;
            if copy.is_none() {
                missing.push((index, hash, epoch));
            }
            results.push(Ok(copy));
        }
        let fetched = fetch(missing.iter().map(|(index, ..)| keys[*index]).collect()).await;
        for ((index, hash, epoch), result) in missing.into_iter().zip(fetched) {
            let fresh = match result {
                Ok(Some(fresh)) => fresh,
                result => {
                    results[index] = result.map(|_| None);
                    continue;
                }
            };
            results[index] = Ok(Some(fresh.item.clone()));
            if self.is_hot(hash).await {
                let copied = self.copied(keys[index], epoch, fresh).await;
                self.copies.insert(keys[index].into(), copied).await;
            }
        }
        results
    }

    /// Invalidates the copies of a changed key, including those of requests in flight.
    pub(crate) fn forget(&self, key: &[u8]) {
        self.epoch(self.hasher.hash_one(key)).fetch_add(1, Ordering::SeqCst);
    }

    async fn copy(&self, key: &[u8], epoch: u64) -> Option<Item> {
        let copy = self.copies.get(key).await?;
        if copy.epoch >= epoch && Instant::now() < copy.expires {
            return Some(copy.item);
        }
        self.copies.invalidate(key).await;
        None
    }

    fn epoch(&self, hash: u64) -> &AtomicU64 {
        &self.epochs[hash as usize % EPOCHS]
    }

    /// Counts an access, and returns whether the key is hot.
    async fn is_hot(&self, hash: u64) -> bool {
        let Some(heat) = &self.hot else { return true };
        let count = heat.counts.get_with(hash, async { Arc::default() }).await;
        count.fetch_add(1, Ordering::Relaxed).saturating_add(1) >= heat.times
    }
}

impl fmt::Debug for LocalStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalStore").field("copies", &self.copies.entry_count()).finish_non_exhaustive()
    }
}

/// Number of key groups; a change invalidates all copies of its group.
const EPOCHS: usize = 4096;
/// Overhead of a copy in addition to its bytes.
const OVERHEAD: usize = 200;
/// Maximum number of keys whose accesses are counted, and of keys whose TTL is recorded.
const COUNTED_KEYS: u64 = 100_000;
