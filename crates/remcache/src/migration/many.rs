//! Multi-key operations: the same rules, batched per server.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::time::Duration;

use tokio::task::JoinSet;

use super::Migration;
use super::operations::{ends_the_old_value, partially_applied};
use crate::client::Client;
use crate::error::{Error, ErrorKind};
use crate::migration::backfill::BackfillResult;
use crate::migration::builder::Limit;
use crate::observe;
use crate::observe::OperationName;
use crate::ops::outcomes::Outcomes;
use crate::proto::{IntoCowBytes, Ttl};
use crate::result::{Item, UnconditionalOutcome, WriteOutcome};

type Results<T> = Vec<Result<T, Error>>;

impl Migration {
    /// Fetches many items, with one result per key: a miss means that neither placement has the item.
    ///
    /// Items that only the old placement has are backfilled before this returns.
    ///
    /// # Cancel safety
    /// Copies that were started are still verified.
    pub async fn get_many<K: AsRef<[u8]>>(&self, keys: impl IntoIterator<Item = K>) -> Outcomes<K, Option<Item>> {
        let keys: Vec<K> = keys.into_iter().collect();
        let slices: Vec<&[u8]> = keys.iter().map(AsRef::as_ref).collect();
        let (migration, operation) = self.observe_many(OperationName::GetMany, keys.len());
        let results = migration.fetch_many(&slices).await;
        operation.end_many(results.iter().map(observe::found_each));
        keys.into_iter().zip(results).collect()
    }

    async fn fetch_many(&self, keys: &[&[u8]]) -> Results<Option<Item>> {
        let mut results = fetch(&self.new, keys).await;
        let absent =
            indices(&results, |index, result| matches!(result, Ok(None)) && !self.has_same_server(keys[index]));
        let from_old = self.take_from_old(keys, &absent, &mut results).await;
        self.tallies.from_old.add(from_old);
        let found = results.iter().filter(|result| matches!(result, Ok(Some(_)))).count();
        self.tallies.from_new.add(found - from_old);
        self.tallies.misses.add(results.iter().filter(|result| matches!(result, Ok(None))).count());
        // A sentinel counts as an item in both placements and is a miss for the caller.
        results.into_iter().map(|result| result.map(|item| item.filter(|item| !item.is_sentinel()))).collect()
    }

    /// Fetches the misses of the new placement from the old one; returns how many it had.
    async fn take_from_old(&self, keys: &[&[u8]], absent: &[usize], results: &mut Results<Option<Item>>) -> usize {
        let found = fetch(&self.old, &absent.iter().map(|&index| keys[index]).collect::<Vec<_>>()).await;
        let mut items = Vec::new();
        let mut in_neither = Vec::new();
        for (&index, result) in absent.iter().zip(found) {
            match self.unavailable_as_miss(result).map(Option::flatten) {
                Ok(Some(item)) => items.push((index, item)),
                Ok(None) => in_neither.push(index),
                Err(error) => results[index] = Err(error),
            }
        }
        let mut count = items.len();
        for (index, item, copied) in self.copy_all(keys, items).await {
            match copied {
                Err(error) => {
                    count -= 1;
                    results[index] = Err(error);
                }
                Ok(BackfillResult::Copied(item) | BackfillResult::NotCopied(item) | BackfillResult::Excluded(item)) => {
                    results[index] = Ok(Some(item))
                }
                // The item in the new placement is newer.
                Ok(_) => {
                    results[index] = Ok(Some(item));
                    in_neither.push(index);
                }
            }
        }
        // Other clients may have moved them between the two lookups.
        let again = fetch(&self.new, &in_neither.iter().map(|&index| keys[index]).collect::<Vec<_>>()).await;
        for (index, result) in in_neither.into_iter().zip(again) {
            if !matches!((&results[index], &result), (Ok(Some(_)), Ok(None) | Err(_))) {
                results[index] = result;
            }
        }
        count
    }

    /// Copies items with bounded concurrency.
    async fn copy_all(
        &self,
        keys: &[&[u8]],
        items: Vec<(usize, Item)>,
    ) -> Vec<(usize, Item, Result<BackfillResult, Error>)> {
        let limit = Limit::after(self.new.timeout());
        let mut copies = JoinSet::new();
        let mut copied = Vec::new();
        for (index, item) in items {
            if copies.len() >= MAX_CONCURRENT_COPIES {
                copied.extend(copies.join_next().await.and_then(Result::ok));
            }
            let (migration, key) = (self.clone(), keys[index].to_vec());
            copies.spawn(async move { (index, item.clone(), migration.copy(&key, item, limit).await) });
        }
        copied.extend(copies.join_all().await);
        copied
    }

    /// Stores many items in the new placement, and deletes them from the old.
    pub fn set_many<K, V>(&self, items: impl IntoIterator<Item = (K, V)>) -> SetMany<'_, K, V> {
        SetMany {
            migration: self,
            items: items.into_iter().collect(),
            ttl: Ttl::Never,
            flags: 0,
            timeout: self.new.timeout(),
        }
    }

    /// Removes many items from both placements.
    ///
    /// # Cancel safety
    /// Requests that were sent may have been executed.
    pub async fn delete_many<K: AsRef<[u8]>>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Outcomes<K, UnconditionalOutcome> {
        let keys: Vec<K> = keys.into_iter().collect();
        let slices: Vec<&[u8]> = keys.iter().map(AsRef::as_ref).collect();
        let (migration, operation) = self.observe_many(OperationName::DeleteMany, keys.len());
        let results = migration.remove_many(&slices).await;
        operation.end_many(results.iter().map(observe::done_each));
        keys.into_iter().zip(results).collect()
    }

    async fn remove_many(&self, keys: &[&[u8]]) -> Results<UnconditionalOutcome> {
        let moving: Vec<usize> = (0..keys.len()).filter(|&index| !self.has_same_server(keys[index])).collect();
        let mut in_old: Vec<Result<bool, Error>> = keys.iter().map(|_| Ok(false)).collect();
        for (index, outcome) in self.forget_many(keys, &moving).await {
            in_old[index] = outcome;
        }
        let reached: Vec<usize> = indices(&in_old, |_, outcome| outcome.is_ok());
        let deleted = self.new.delete_many(reached.iter().map(|&index| keys[index])).await;
        let mut deleted = deleted.into_iter().map(|(_, result)| result.map(WriteOutcome::from));
        let mut result = |in_old: Result<bool, Error>| match (in_old?, deleted.next()) {
            (true, Some(Ok(WriteOutcome::NotFound))) => Ok(WriteOutcome::Applied(0)),
            (true, Some(Err(error))) => Err(partially_applied(error)),
            (_, Some(outcome)) => outcome,
            (_, None) => Ok(WriteOutcome::NotFound),
        };
        in_old.into_iter().map(|in_old| result(in_old).map(Into::into)).collect()
    }

    /// Deletes keys from the old placement; returns whether each existed.
    async fn forget_many(&self, keys: &[&[u8]], indices: &[usize]) -> Vec<(usize, Result<bool, Error>)> {
        let deleted = self.old.delete_many(indices.iter().map(|&index| keys[index])).await;
        let outcomes = deleted.into_iter().map(|(_, result)| result.map(WriteOutcome::from));
        let existed =
            |outcome| self.unavailable_as_miss(outcome).map(|change| change.is_some_and(WriteOutcome::is_applied));
        indices.iter().copied().zip(outcomes.map(existed)).collect()
    }
}

async fn fetch(client: &Client, keys: &[&[u8]]) -> Results<Option<Item>> {
    client.get_many(keys.iter().copied()).with_sentinels().await.into_iter().map(|(_, result)| result).collect()
}

/// Returns the indices of the results that match.
fn indices<T>(results: &[Result<T, Error>], matches: impl Fn(usize, &Result<T, Error>) -> bool) -> Vec<usize> {
    let indices = results.iter().enumerate().filter(|(index, result)| matches(*index, result));
    indices.map(|(index, _)| index).collect()
}

/// A `set` of many items: set its options, then await it.
///
/// # Cancel safety
/// Requests that were sent may have been executed.
#[must_use = "an operation does nothing unless it is awaited"]
pub struct SetMany<'a, K, V> {
    migration: &'a Migration,
    items: Vec<(K, V)>,
    ttl: Ttl,
    flags: u32,
    timeout: Duration,
}

impl<K, V> SetMany<'_, K, V> {
    /// Sets the TTL of the items (default: none).
    pub fn ttl(self, ttl: impl Into<Ttl>) -> Self {
        Self { ttl: ttl.into(), ..self }
    }

    /// Sets the flags to store with each value (default: 0).
    pub fn flags(self, flags: u32) -> Self {
        Self { flags, ..self }
    }

    /// Sets how long to wait for the next reply, instead of the new client's
    /// [`timeout`](crate::config::Config::timeout).
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }
}

impl<K: AsRef<[u8]>, V: Send + Sync> SetMany<'_, K, V>
where
    for<'r> &'r V: IntoCowBytes<'r>,
{
    async fn run(self) -> Outcomes<K, UnconditionalOutcome> {
        let Self { migration, items, ttl, flags, timeout } = self;
        let (keys, values): (Vec<K>, Vec<V>) = items.into_iter().unzip();
        let slices: Vec<&[u8]> = keys.iter().map(AsRef::as_ref).collect();
        let (migration, operation) = migration.observe_many(OperationName::SetMany, keys.len());
        let lengths: Vec<usize> = values.iter().map(|value| value.into_cow_bytes().len()).collect();
        let stored = migration.new.set_many(slices.iter().copied().zip(values)).ttl(ttl).flags(flags);
        let stored = stored.timeout(timeout).await;
        let mut results: Results<UnconditionalOutcome> = stored.into_iter().map(|(_, result)| result).collect();
        let ends_old = |index: usize, result: &Result<UnconditionalOutcome, Error>| match result {
            Ok(_) => true,
            Err(error) if error.kind() == ErrorKind::ValueTooLarge => {
                !migration.new.refuses_size(slices[index], lengths[index], flags)
            }
            Err(error) => ends_the_old_value(error),
        };
        let outdated =
            indices(&results, |index, result| ends_old(index, result) && !migration.has_same_server(slices[index]));
        for (index, forgotten) in migration.forget_many(&slices, &outdated).await {
            if let (Ok(_), Err(error)) = (&results[index], forgotten) {
                results[index] = Err(partially_applied(error));
            }
        }
        operation.end_many(results.iter().map(observe::done_each));
        keys.into_iter().zip(results).collect()
    }
}

impl<'a, K, V> IntoFuture for SetMany<'a, K, V>
where
    K: AsRef<[u8]> + Send + Sync + 'a,
    V: Send + Sync + 'a,
    for<'r> &'r V: IntoCowBytes<'r>,
{
    type Output = Outcomes<K, UnconditionalOutcome>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl<K, V> fmt::Debug for SetMany<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SetMany").field("keys", &self.items.len()).finish_non_exhaustive()
    }
}

/// Concurrent copies; each needs two requests to two servers, so this fills their pipelines.
const MAX_CONCURRENT_COPIES: usize = 256;
