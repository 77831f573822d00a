//! `fetch_many`: returns many values from the cache, and loads those that are missing in one batch.

use std::collections::HashMap;
use std::future::{Future, ready};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::task::JoinError;
use tokio::time::{Instant, sleep};

use super::{FIRST_PAUSE, Found, Loaded, MAX_PAUSE, limited, no_value};
use crate::client::Client;
use crate::error::{Error, ErrorKind};
use crate::observe;
use crate::observe::OperationName;
use crate::ops::call::Call;
use crate::ops::call_many::CallMany;
use crate::ops::outcomes::Outcomes;
use crate::proto::{Reply, Request, Status};
use crate::recipes::builder::Recipe;
use crate::recipes::fetch_policy::FetchPolicy;
use crate::recipes::ownership::{ItemVersion, OwnedItem};
use crate::result::{Item, WriteOutcome};
use crate::routing::cluster::Route;
use crate::sentinel;
use crate::server::Server;
use crate::time::after;

impl Client {
    /// Gets many values from the cache, and loads those that are missing with one call of a batch loader.
    ///
    /// The loader gets the missing keys and returns the values that it found, as pairs. It is called again for
    /// keys that another client was loading and did not finish. As with [`fetch_optional`](Client::fetch_optional),
    /// one of many clients loads a key, values that are changed during the load are not stored, and a cache failure
    /// is not an error: the loader then gets the keys of the servers that are unavailable.
    ///
    /// Values are neither refreshed ahead nor served stale, and callers of one process do not share loads
    /// without a cache.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = remcache_server::Server::start().await?;
    /// # let client = remcache::Client::new([server.address()])?;
    /// use std::time::Duration;
    ///
    /// async fn from_the_database(users: Vec<&str>) -> Result<Vec<(&str, String)>, remcache::Error> {
    ///     Ok(users.into_iter().filter(|user| *user != "eve").map(|user| (user, user.to_uppercase())).collect())
    /// }
    ///
    /// client.set("ada", "ADA").await?;
    /// let users = client.fetch_many(["ada", "bob", "eve"], Duration::from_secs(60), from_the_database).await?;
    /// assert_eq!(users.found().count(), 2);
    /// assert_eq!(users.missing().collect::<Vec<_>>(), [&"eve"]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The loader's error. An inconsistent policy, or one with `refresh_ahead` or `stale_for`, is
    /// [`ErrorKind::InvalidArguments`]. Invalid keys and servers without CAS values are errors of their keys.
    ///
    /// # Cancel safety
    /// The loader is dropped, and other clients can load the keys immediately.
    pub fn fetch_many<'a, K, V, I, E, L, F>(
        &'a self,
        keys: impl IntoIterator<Item = K>,
        policy: impl Into<FetchPolicy>,
        loader: L,
    ) -> Recipe<'a, Outcomes<K, Option<Bytes>>, E>
    where
        K: AsRef<[u8]> + Clone + Send + Sync + 'a,
        L: FnMut(Vec<K>) -> F + Send + 'a,
        F: Future<Output = Result<I, E>> + Send + 'a,
        I: IntoIterator<Item = (K, V)> + 'a,
        V: Into<Bytes> + Send + 'a,
        E: From<Error> + Send + 'a,
    {
        let (keys, policy): (Vec<K>, _) = (keys.into_iter().collect(), policy.into());
        let name = OperationName::FetchMany;
        Recipe::for_keys(self, name, keys.len(), observe::loaded, move |client, timeout| async move {
            let full_keys = keys.iter().map(|key| key.as_ref().to_vec()).collect();
            let encode = |_, value: V| ready(Ok(Loaded::of(value)));
            let found = fetch_batch(&client, &keys, full_keys, policy, timeout, loader, encode).await?;
            note(&client, found.iter().map(|fetched| (fetched.is_hit, fetched.result.as_ref().err())));
            let bytes = |found: Found| found.map(|loaded| loaded.bytes);
            let results = found.into_iter().map(|fetched| fetched.result.map(bytes));
            Ok(keys.into_iter().zip(results).collect())
        })
    }
}

/// The result of one key.
#[derive(Clone, Debug)]
pub(crate) struct FetchedKey {
    pub(crate) result: Result<Found, Error>,
    /// Whether the first lookup found a value.
    pub(crate) is_hit: bool,
}

/// Records for observers the result of each key: whether it was a hit, and its error.
pub(crate) fn note<'e>(client: &Client, results: impl Iterator<Item = (bool, Option<&'e Error>)>) {
    let (outcome, counts) = observe::sum(results.map(|(is_hit, error)| match error {
        Some(error) => Err(error.kind()),
        None => Ok(Some(is_hit)),
    }));
    client.note(outcome, counts);
}

/// Fetches values by their full keys; the loader gets the callers' keys, and `encode` prepares values for storage.
pub(crate) async fn fetch_batch<K, V, I, E, L, F, G>(
    client: &Client,
    keys: &[K],
    full_keys: Vec<Vec<u8>>,
    policy: FetchPolicy,
    timeout: Option<Duration>,
    mut loader: L,
    encode: impl Fn(Vec<u8>, V) -> G,
) -> Result<Vec<FetchedKey>, E>
where
    K: AsRef<[u8]> + Clone,
    L: FnMut(Vec<K>) -> F,
    F: Future<Output = Result<I, E>>,
    I: IntoIterator<Item = (K, V)>,
    G: Future<Output = Result<Loaded, Error>>,
    E: From<Error>,
{
    check(&policy).map_err(|error| client.fail(error))?;
    let (client, policy) = limited(client, policy, timeout);
    let mut batch = Batch::new(&client, full_keys, policy);
    loop {
        let wanted = batch.take_keys_to_load().await;
        if !wanted.is_empty() {
            let loaded = loader(wanted.keys().map(|index| keys[index].clone()).collect()).await?;
            let mut values: HashMap<Vec<u8>, V> = HashMap::new();
            values.extend(loaded.into_iter().map(|(key, value)| (key.as_ref().to_vec(), value)));
            let mut filled = Vec::new();
            for (index, owned) in wanted.0 {
                let found = match values.remove(keys[index].as_ref()) {
                    Some(value) => encode(batch.keys[index].clone(), value).await.map(Some),
                    None => Ok(None),
                };
                filled.push((index, owned, found));
            }
            batch.fill(filled).await;
        }
        if !batch.wait().await {
            return Ok(batch.into_results());
        }
    }
}

fn check(policy: &FetchPolicy) -> Result<(), Error> {
    policy.check()?;
    match policy.due_below().is_zero() {
        true => Ok(()),
        false => Err(Error::new(
            ErrorKind::InvalidArguments,
            "fetch_many does not refresh values: use a policy without refresh_ahead and stale_for",
        )),
    }
}

/// Keys to load, by their indices, with the leases that were obtained.
struct KeysToLoad(Vec<(usize, Option<OwnedItem>)>);

impl KeysToLoad {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn keys(&self) -> impl Iterator<Item = usize> {
        self.0.iter().map(|(index, _)| *index)
    }
}

/// The keys of a call with their results so far.
struct Batch<'a> {
    client: &'a Client,
    policy: FetchPolicy,
    keys: Vec<Vec<u8>>,
    results: Vec<Option<Result<Found, Error>>>,
    /// Whether the first lookup found a value, for each key.
    hits: Vec<bool>,
    has_waited: bool,
    /// For a key that was given more than once, the index of the first.
    first: Vec<usize>,
    /// Indices of the keys without a result.
    pending: Vec<usize>,
    deadline: Instant,
    pause: Duration,
}

impl<'a> Batch<'a> {
    fn new(client: &'a Client, keys: Vec<Vec<u8>>, policy: FetchPolicy) -> Self {
        let mut indices = HashMap::new();
        let first: Vec<usize> =
            keys.iter().enumerate().map(|(index, key)| *indices.entry(key.as_slice()).or_insert(index)).collect();
        let pending = (0..keys.len()).filter(|index| first[*index] == *index).collect();
        let mut results = Vec::new();
        results.resize_with(keys.len(), || None);
        let (hits, deadline) = (vec![false; keys.len()], after(Instant::now(), policy.wait));
        Self { client, policy, keys, results, hits, has_waited: false, first, pending, deadline, pause: FIRST_PAUSE }
    }

    /// Looks the pending keys up and returns those that this caller loads.
    async fn take_keys_to_load(&mut self) -> KeysToLoad {
        let is_late = Instant::now() >= self.deadline;
        let pending = std::mem::take(&mut self.pending);
        let (mut wanted, mut free) = (Vec::new(), Vec::new());
        let keys = pending.iter().map(|&index| &self.keys[index]);
        let items = self.client.get_many(keys).with_sentinels().located().await;
        for (index, (item, server)) in pending.into_iter().zip(items) {
            match item.and_then(|item| self.with_cas(index, item, server.as_ref())) {
                Ok(None) => free.push(index),
                Ok(Some(item)) => match item.flags {
                    sentinel::LEASE if !is_late => self.pending.push(index),
                    sentinel::LEASE => wanted.push((index, Some(self.owned(index, item.cas, server)))),
                    sentinel::TOMBSTONE => wanted.push((index, None)),
                    sentinel::ABSENT if self.policy.requires_value => {
                        wanted.push((index, Some(self.owned(index, item.cas, server))));
                    }
                    _ => {
                        self.hits[index] = !self.has_waited;
                        self.results[index] = Some(Ok(super::context::found(item)));
                    }
                },
                Err(error) => self.without_cache(index, error, &mut wanted),
            }
        }
        for (index, lease) in self.lease(free).await {
            match lease {
                Ok(None) if !is_late => self.pending.push(index),
                Ok(owned) => wanted.push((index, owned)),
                Err(error) => self.without_cache(index, error, &mut wanted),
            }
        }
        KeysToLoad(wanted)
    }

    /// Rejects an item without a CAS value, which cannot be changed safely.
    fn with_cas(&self, index: usize, item: Option<Item>, server: Option<&Arc<Server>>) -> Result<Option<Item>, Error> {
        match item {
            Some(Item { cas: 0, .. }) => self.client.pinned(&self.keys[index], server).checked_cas(0).map(|_| item),
            _ => Ok(item),
        }
    }

    /// Loads a key whose server is unavailable, without storing it; a usage error is the key's result.
    fn without_cache(&mut self, index: usize, error: Error, wanted: &mut Vec<(usize, Option<OwnedItem>)>) {
        match error.kind() {
            ErrorKind::InvalidKey | ErrorKind::InvalidArguments | ErrorKind::Unsupported => {
                self.results[index] = Some(Err(error));
            }
            _ => wanted.push((index, None)),
        }
    }

    fn owned(&self, index: usize, cas: u64, server: Option<Arc<Server>>) -> OwnedItem {
        let version = ItemVersion { cas, server };
        OwnedItem::new(self.client.clone(), self.keys[index].clone(), Bytes::new(), version)
    }

    /// Acquires the leases of missing keys; `None` where another client was faster.
    async fn lease(&self, indices: Vec<usize>) -> Vec<(usize, Result<Option<OwnedItem>, Error>)> {
        if indices.is_empty() {
            return Vec::new();
        }
        // The server counts whole seconds and may expire the item up to one second early.
        let ttl = self.policy.lease.saturating_add(Duration::from_secs(1));
        let keys = indices.iter().map(|&index| self.keys[index].clone()).collect();
        let leases = OwnedItem::take_many(self.client, keys, sentinel::LEASE, ttl).await;
        indices.into_iter().zip(leases).collect()
    }

    /// Stores what was loaded under the leases, and records the results.
    async fn fill(&mut self, loaded: Vec<(usize, Option<OwnedItem>, Result<Found, Error>)>) {
        let mut leases = Vec::new();
        for (index, owned, found) in loaded {
            let found = match found {
                Ok(None) if self.policy.requires_value => Err(no_value(&self.keys[index])),
                found => found,
            };
            if let (Some(owned), Ok(found)) = (owned, &found) {
                leases.push((owned, found.clone()));
            }
            self.results[index] = Some(found);
        }
        // A lease without anything to store is released by dropping it.
        leases.retain(|(_, found)| found.is_some() || self.policy.negative.is_some());
        let replies = self.store(&leases).await;
        for ((mut owned, _), reply) in leases.into_iter().zip(replies) {
            match reply.status {
                // Stored, or another client has changed the key.
                Status::NoError | Status::KeyExists | Status::KeyNotFound | Status::ItemNotStored => owned.disarm(),
                _ => tracing::debug!(status = %reply.status, "could not store a loaded value"),
            }
        }
    }

    async fn store(&self, leases: &[(OwnedItem, Found)]) -> Vec<Reply> {
        let requests = leases.iter().map(|(owned, found)| (self.request(owned, found.clone()), &*owned.route));
        if self.client.config().replicas == 1 {
            return CallMany::on_routes(self.client, requests).await;
        }
        // Only single calls delete the item at the other replicas.
        let call = |(request, route)| Call::on_route(self.client, request, Route::clone(route)).guarded(true);
        join_all(requests.map(call)).await
    }

    fn request(&self, owned: &OwnedItem, found: Found) -> Request<'static> {
        let (Loaded { flags, bytes }, ttl) = match (found, self.policy.negative) {
            (None, Some(negative)) => (Loaded { flags: sentinel::ABSENT, bytes: Bytes::new() }, negative),
            (found, _) => (found.unwrap_or_else(|| Loaded::of(Bytes::new())), self.policy.ttl),
        };
        Request::set(owned.key.clone(), bytes).flags(flags).ttl(ttl).cas(owned.cas)
    }

    /// Waits before the next lookup of keys that others are loading; `false` without such keys.
    async fn wait(&mut self) -> bool {
        if self.pending.is_empty() {
            return false;
        }
        self.has_waited = true;
        let remaining = self.deadline.saturating_duration_since(Instant::now());
        sleep(self.pause.mul_f64(0.5 + fastrand::f64() / 2.0).min(remaining)).await;
        self.pause = (self.pause * 2).min(MAX_PAUSE);
        true
    }

    fn into_results(self) -> Vec<FetchedKey> {
        let Self { keys, results, hits, first, .. } = self;
        let result = |index: usize| results[index].clone().unwrap_or_else(|| Err(no_value(&keys[index])));
        first.iter().map(|&index| FetchedKey { result: result(index), is_hit: hits[index] }).collect()
    }
}

impl OwnedItem {
    /// Acquires many keys; `None` where another client owns one.
    ///
    /// Runs in its own task, so that cancelling the caller does not leave keys locked.
    async fn take_many(
        client: &Client,
        keys: Vec<Vec<u8>>,
        flags: u32,
        ttl: Duration,
    ) -> Vec<Result<Option<Self>, Error>> {
        let (client, count) = (client.clone(), keys.len());
        let taking = tokio::spawn(Self::take_many_now(client, keys, flags, ttl));
        // A runtime that ends cancels the task.
        let cancelled =
            |error: JoinError| (0..count).map(|_| Err(Error::new(ErrorKind::Overloaded, error.to_string()))).collect();
        taking.await.unwrap_or_else(cancelled)
    }

    async fn take_many_now(
        client: Client,
        keys: Vec<Vec<u8>>,
        flags: u32,
        ttl: Duration,
    ) -> Vec<Result<Option<Self>, Error>> {
        let token = Self::token();
        let items: Vec<_> = keys.iter().map(|key| (key.clone(), token.clone())).collect();
        let added = client.add_many(items).flags(flags).ttl(ttl).located().await;
        let is_taken = |added: &Result<WriteOutcome, Error>| added.as_ref().is_ok_and(|outcome| outcome.is_applied());
        let acquired = keys.iter().zip(&added).filter(|(_, (added, _))| is_taken(added)).map(|(key, _)| key.clone());
        // Quiet adds return no CAS values, so fetch the items for them.
        let mut found = client.get_many(acquired.collect::<Vec<_>>()).with_sentinels().located().await.into_iter();
        let mut results = Vec::with_capacity(keys.len());
        for (key, (added, server)) in keys.into_iter().zip(added) {
            // Nothing has to be released where nothing can have been added.
            let is_uncertain = !added.as_ref().is_err_and(|error| !error.may_have_executed());
            let owned = match added {
                added if is_taken(&added) => {
                    let (item, at) = found.next().unwrap_or((Ok(None), None));
                    item.and_then(|item| Self::of_item(&client, &key, &token, item, at.as_ref()))
                }
                Ok(_) => Ok(None),
                Err(error) => Err(error),
            };
            if is_uncertain && owned.as_ref().is_err_and(Error::is_unavailable) {
                tokio::spawn(Self::release_later(client.clone(), key, token.clone(), server));
            }
            results.push(owned);
        }
        results
    }
}
