//! Copies of values in the process, for a short time.

use std::fmt;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use moka::future::Cache as Moka;

use crate::error::Error;
use crate::result::Item;

/// Copies of values in the process: how many bytes, for how long, and of which keys.
///
/// A copy spares the way to the server, and is stale for as long as it lives: what another process
/// changes shows after the time to live, at most. What this process changes through the cache
/// shows at once, to all clones of the handle. Callers who miss the same key at the same time send
/// one request.
///
/// ```
/// use std::time::Duration;
/// use remcache::cache::Near;
///
/// // At most 16 MiB, for two seconds, of keys that were asked for five times within ten seconds.
/// let near = Near::new(16 << 20, Duration::from_secs(2)).hot(5, Duration::from_secs(10));
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use = "it is given to `Cache::near`"]
pub struct Near {
    capacity: u64,
    ttl: Duration,
    hot: Option<(u32, Duration)>,
}

impl Near {
    /// Copies of so many bytes together, each for so long.
    ///
    /// Past the capacity, keys that are asked for often stay, and others go or are not taken.
    pub fn new(capacity: u64, ttl: Duration) -> Self {
        Self { capacity, ttl, hot: None }
    }

    /// Only of keys that were asked for so many times within so long (default: of all).
    pub fn hot(self, times: u32, window: Duration) -> Self {
        Self { hot: Some((times, window)), ..self }
    }

    pub(crate) fn open(self) -> Shelf {
        let weight = |key: &Vec<u8>, copy: &Copied| u32::try_from(key.len() + copy.item.value.len() + OVERHEAD);
        Shelf {
            copies: Moka::builder()
                .max_capacity(self.capacity)
                .weigher(move |key, copy| weight(key, copy).unwrap_or(u32::MAX))
                .time_to_live(self.ttl)
                .build(),
            hot: self.hot.map(|(times, window)| Heat {
                times,
                counts: Moka::builder().max_capacity(COUNTED_KEYS).time_to_live(window).build(),
            }),
            epochs: (0..EPOCHS).map(|_| AtomicU64::new(0)).collect(),
            hasher: RandomState::new(),
        }
    }
}

/// The copies.
pub(crate) struct Shelf {
    copies: Moka<Vec<u8>, Copied>,
    hot: Option<Heat>,
    /// A number for each group of keys that every change through the cache raises.
    epochs: Box<[AtomicU64]>,
    hasher: RandomState,
}

/// An item, and the epoch of its key when it was asked for.
#[derive(Clone)]
struct Copied {
    epoch: u64,
    item: Item,
}

/// How often keys were asked for.
struct Heat {
    times: u32,
    counts: Moka<u64, Arc<AtomicU32>>,
}

/// Why there is no copy to keep.
enum Nothing {
    /// A miss, and the epoch of the key when it was asked for.
    Miss(u64),
    Failed(Error),
}

impl Shelf {
    /// The item of a key: its copy if there is one, or else what is fetched.
    pub(crate) async fn get<F>(&self, key: &[u8], fetch: impl Fn() -> F) -> Result<Option<Item>, Error>
    where
        F: Future<Output = Result<Option<Item>, Error>>,
    {
        let hash = self.hasher.hash_one(key);
        let epoch = self.epoch(hash).load(Ordering::SeqCst);
        if let Some(item) = self.copy(key, epoch).await {
            return Ok(Some(item));
        }
        if !self.is_hot(hash).await {
            return fetch().await;
        }
        let filled = self.copies.try_get_with_by_ref(key, async {
            let epoch = self.epoch(hash).load(Ordering::SeqCst);
            match fetch().await {
                Ok(Some(item)) => Ok(Copied { epoch, item }),
                Ok(None) => Err(Nothing::Miss(epoch)),
                Err(error) => Err(Nothing::Failed(error)),
            }
        });
        match filled.await {
            Ok(copy) if copy.epoch >= epoch => Ok(Some(copy.item)),
            // It was asked for before a change that this caller may know of.
            Ok(_) => fetch().await,
            Err(nothing) => match &*nothing {
                Nothing::Miss(asked) if *asked >= epoch => Ok(None),
                Nothing::Miss(_) => fetch().await,
                Nothing::Failed(error) => Err(error.clone()),
            },
        }
    }

    /// The copy of a key, and the epoch that a copy of what is fetched now has.
    pub(crate) async fn peek(&self, key: &[u8]) -> (Option<Item>, u64) {
        let epoch = self.epoch(self.hasher.hash_one(key)).load(Ordering::SeqCst);
        (self.copy(key, epoch).await, epoch)
    }

    /// Keeps a copy of what was fetched, if the key is hot enough.
    pub(crate) async fn keep(&self, key: &[u8], epoch: u64, item: Item) {
        if self.is_hot(self.hasher.hash_one(key)).await {
            self.copies.insert(key.into(), Copied { epoch, item }).await;
        }
    }

    /// The items of many keys: copies where there are any, and the others in one call.
    pub(crate) async fn get_many<'k, F>(
        &self,
        keys: &[&'k [u8]],
        fetch: impl Fn(Vec<&'k [u8]>) -> F,
    ) -> Vec<Result<Option<Item>, Error>>
    where
        F: Future<Output = Vec<Result<Option<Item>, Error>>>,
    {
        let mut results = Vec::with_capacity(keys.len());
        let mut missing = Vec::new();
        for (place, key) in keys.iter().enumerate() {
            let hash = self.hasher.hash_one(*key);
            let epoch = self.epoch(hash).load(Ordering::SeqCst);
            let copy = self.copy(key, epoch).await;
            if copy.is_none() {
                missing.push((place, hash, epoch));
            }
            results.push(Ok(copy));
        }
        let fetched = fetch(missing.iter().map(|(place, ..)| keys[*place]).collect()).await;
        for ((place, hash, epoch), result) in missing.into_iter().zip(fetched) {
            if let Ok(Some(item)) = &result
                && self.is_hot(hash).await
            {
                self.copies.insert(keys[place].into(), Copied { epoch, item: item.clone() }).await;
            }
            results[place] = result;
        }
        results
    }

    /// A key was changed: its copies, and what is on its way to become one, are old.
    pub(crate) fn forget(&self, key: &[u8]) {
        self.epoch(self.hasher.hash_one(key)).fetch_add(1, Ordering::SeqCst);
    }

    async fn copy(&self, key: &[u8], epoch: u64) -> Option<Item> {
        let copy = self.copies.get(key).await?;
        if copy.epoch >= epoch {
            return Some(copy.item);
        }
        self.copies.invalidate(key).await;
        None
    }

    fn epoch(&self, hash: u64) -> &AtomicU64 {
        &self.epochs[hash as usize % EPOCHS]
    }

    /// Counts a question, and tells whether there were enough of them lately.
    async fn is_hot(&self, hash: u64) -> bool {
        let Some(heat) = &self.hot else { return true };
        let count = heat.counts.get_with(hash, async { Arc::default() }).await;
        count.fetch_add(1, Ordering::Relaxed).saturating_add(1) >= heat.times
    }
}

impl fmt::Debug for Shelf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shelf").field("copies", &self.copies.entry_count()).finish_non_exhaustive()
    }
}

/// How many groups of keys there are, of which a change makes the copies old together.
const EPOCHS: usize = 4096;
/// What a copy costs beside its bytes.
const OVERHEAD: usize = 200;
/// Of how many keys it is counted how often they are asked for.
const COUNTED_KEYS: u64 = 100_000;
