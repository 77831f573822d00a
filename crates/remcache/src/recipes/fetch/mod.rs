//! `fetch`: returns a value from the cache, or loads it once for the whole fleet.
//!
//! ```text
//! fetch ── look up ──> value: return it; if due ──> refresh in a separate task
//!   │
//!   └──> miss: join the key's single flight ──> follower: wait for the leader
//!                        │
//!                      leader: obtain the lease, or another process's value; load; fill; complete
//! ```
//!
//! The documentation of [`recipes`](crate::recipes) describes the steps and their possible interleavings.
pub(crate) mod context;
pub(crate) mod lookup;
pub(crate) mod refresh_item;

mod invalidate;
mod lease;
mod many;
mod refresh;

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep};

use crate::client::Client;
use crate::error::{Error, ErrorKind};
use crate::observe;
use crate::observe::{OperationName, Outcome};
use crate::recipes::builder::Recipe;
use crate::recipes::fetch::context::{FetchContext, Lookup, RefreshRight};
use crate::recipes::fetch_policy::FetchPolicy;
use crate::recipes::ownership::ItemVersion;
use crate::singleflight::{Completion, Leader, Role, WaitResult};
pub(crate) use crate::singleflight::{Found, Loaded};
use crate::time::after;
use lease::Lease;
pub(crate) use many::{fetch_batch, note};

impl Client {
    /// Gets a value from the cache, or loads it once for all concurrent callers.
    ///
    /// The loader must return a value; use [`fetch_optional`](Client::fetch_optional) if there may be none, and
    /// [`fetch_many`](Client::fetch_many) for many keys. A cache failure is not an error: if the cache is unavailable,
    /// only the loader runs. See the [guarantees](crate::recipes#fetch) and [how it
    /// works](crate::recipes#how-fetch-works-on-each-protocol).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = remcache_server::Server::start().await?;
    /// # let client = remcache::Client::new([server.address()])?;
    /// use std::time::Duration;
    ///
    /// async fn render(page: u32) -> Result<String, remcache::Error> {
    ///     Ok(format!("the page {page}"))
    /// }
    ///
    /// let minute = Duration::from_secs(60);
    /// let page = client.fetch("page:7", minute, || render(7)).timeout(Duration::from_secs(2)).await?;
    /// assert_eq!(page, "the page 7");
    /// # Ok(()) }
    /// ```
    ///
    /// The loader is `'static` because a value that is due is refreshed in a separate task.
    ///
    /// With a [timeout](Recipe::timeout), requests to the cache and waits for another caller's loader take at most
    /// half of it, so that this caller's loader can still run; when it has passed, the loader is dropped and
    /// the error is [`TimedOut`](crate::error::ErrorKind::TimedOut).
    ///
    /// # Errors
    /// Same as [`fetch_optional`](Client::fetch_optional).
    ///
    /// # Cancel safety
    /// Same as [`fetch_optional`](Client::fetch_optional).
    ///
    /// # Panics
    /// Same as [`fetch_optional`](Client::fetch_optional).
    pub fn fetch<'a, V, E, L, F>(
        &'a self,
        key: impl AsRef<[u8]>,
        policy: impl Into<FetchPolicy>,
        loader: L,
    ) -> Recipe<'a, Bytes, E>
    where
        L: FnOnce() -> F + Send + 'static,
        F: Future<Output = Result<V, E>> + Send + 'static,
        V: Into<Bytes> + 'a,
        E: From<Error> + 'a,
    {
        let policy = policy.into().requiring_value();
        Recipe::for_key(self, OperationName::Fetch, key, observe::loaded, move |client, key, timeout| async move {
            let load = || async move { Ok::<_, E>(Some(Loaded::of(loader().await?))) };
            let found = fetch_within(&client, &key, policy, timeout, load).await?;
            found.map(|loaded| loaded.bytes).ok_or_else(|| client.fail(no_value(&key)))
        })
    }

    /// Gets a value that may not exist from the cache, or loads it once for all concurrent callers.
    ///
    /// `None` means that the loader found no value; the cache remembers that for [`FetchPolicy::negative_ttl`].
    /// Otherwise it behaves like [`fetch`](Client::fetch).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = remcache_server::Server::start().await?;
    /// # let client = remcache::Client::new([server.address()])?;
    /// use std::time::Duration;
    /// use remcache::recipes::FetchPolicy;
    ///
    /// async fn render(page: u32) -> Result<Option<String>, remcache::Error> {
    ///     Ok((page < 100).then(|| format!("the page {page}")))
    /// }
    ///
    /// let minute = FetchPolicy::new(Duration::from_secs(60)).refresh_ahead(Duration::from_secs(10));
    /// let page = client.fetch_optional("page:7", minute, || render(7)).await?;
    /// assert_eq!(page.as_deref(), Some(&b"the page 7"[..]));
    /// assert_eq!(client.fetch_optional("page:100", minute, || render(100)).await?, None);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The loader's error, for the caller whose loader failed; the other callers then run theirs, one at a
    /// time. Usage errors are converted from [`Error`](enum@crate::error::ErrorKind): an invalid key
    /// ([`InvalidKey`](crate::error::ErrorKind::InvalidKey)), an inconsistent policy
    /// ([`InvalidArguments`](crate::error::ErrorKind::InvalidArguments)), or a server that was started without
    /// CAS values ([`Unsupported`](crate::error::ErrorKind::Unsupported)).
    ///
    /// # Cancel safety
    /// The loader is dropped, and the next caller's loader runs immediately. A refresh in a separate task
    /// continues.
    ///
    /// # Panics
    /// Panics outside of a Tokio runtime, or if the loader panics; other callers then continue with their loaders.
    pub fn fetch_optional<'a, V, E, L, F>(
        &'a self,
        key: impl AsRef<[u8]>,
        policy: impl Into<FetchPolicy>,
        loader: L,
    ) -> Recipe<'a, Option<Bytes>, E>
    where
        L: FnOnce() -> F + Send + 'static,
        F: Future<Output = Result<Option<V>, E>> + Send + 'static,
        V: Into<Bytes> + 'a,
        E: From<Error> + 'a,
    {
        let policy = policy.into();
        Recipe::for_key(self, OperationName::Fetch, key, observe::loaded, move |client, key, timeout| async move {
            let load = || async move { Ok::<_, E>(loader().await?.map(Loaded::of)) };
            let found = fetch_within(&client, &key, policy, timeout, load).await?;
            Ok(found.map(|loaded| loaded.bytes))
        })
    }
}

impl Loaded {
    /// Creates a value without flags.
    fn of(value: impl Into<Bytes>) -> Self {
        Self { flags: 0, bytes: value.into() }
    }
}

/// Returns the error of a load that returned no value although it must.
#[cold]
pub(crate) fn no_value(key: &[u8]) -> Error {
    Error::new(ErrorKind::Conflict, format!("key {}: the loader returned no value", key.escape_ascii()))
}

/// Fetches with the limits of a timeout.
pub(crate) async fn fetch_within<E, L, F>(
    client: &Client,
    key: &[u8],
    policy: FetchPolicy,
    timeout: Option<Duration>,
    loader: L,
) -> Result<Found, E>
where
    L: FnOnce() -> F + Send + 'static,
    F: Future<Output = Result<Found, E>> + Send + 'static,
    E: From<Error>,
{
    let (client, policy) = limited(client, policy, timeout);
    fetch(&client, key, &policy, loader).await
}

/// Returns the client and the policy of a fetch with this timeout: requests and waits leave half of it for the loader.
fn limited(client: &Client, mut policy: FetchPolicy, timeout: Option<Duration>) -> (Client, FetchPolicy) {
    let half = timeout.map(|timeout| timeout / 2);
    if let Some(half) = half {
        policy.wait = policy.wait.min(half);
    }
    let client = match [half, policy.timeout].into_iter().flatten().min() {
        Some(timeout) => client.with_timeout(timeout),
        None => client.clone(),
    };
    (client, policy)
}

/// Gets a value from the cache, or loads it once for all concurrent callers.
pub(crate) async fn fetch<E, L, F>(client: &Client, key: &[u8], policy: &FetchPolicy, loader: L) -> Result<Found, E>
where
    L: FnOnce() -> F + Send + 'static,
    F: Future<Output = Result<Found, E>> + Send + 'static,
    E: From<Error>,
{
    let fail = |error| client.fail::<E>(error);
    policy.check().map_err(fail)?;
    let ctx = FetchContext { client, key, policy };
    let asked = client.single_flight().advance_clock();
    let (mut has_followed, mut was_overdue) = (false, false);
    let mut lookup = ctx.look_up().await.map_err(fail)?;
    loop {
        if let Lookup::Value(item, version, due) = lookup {
            client.note_fetched(match due {
                _ if has_followed => Outcome::Followed,
                RefreshRight::No => Outcome::Hit,
                _ => Outcome::Stale,
            });
            refresh::begin(ctx, version, due, loader);
            return Ok(context::found(item));
        }
        let mut follower = match client.single_flight().join(key) {
            Role::Leader(leader) => return lead(ctx, leader, lookup, loader).await,
            Role::Follower(follower) => follower,
        };
        has_followed = true;
        match follower.wait(policy.wait).await {
            WaitResult::Completed(Completion { found, valid_from })
                if asked < valid_from && (found.is_some() || !policy.requires_value) =>
            {
                client.note_fetched(Outcome::Followed);
                return Ok(found);
            }
            // The load started before this caller asked, so the cache may hold something newer; or it found no value,
            // and this caller's loader does.
            WaitResult::Completed(_) => lookup = ctx.look_up_again().await.map_err(fail)?,
            WaitResult::Abandoned => {}
            WaitResult::Overdue if was_overdue => {
                client.note_fetched(Outcome::Loaded);
                return loader().await;
            }
            WaitResult::Overdue => {
                was_overdue = true;
                client.single_flight().evict(key, &follower);
            }
        }
    }
}

/// Loads the value for all callers of this process, unless another process does.
async fn lead<E, L, F>(ctx: FetchContext<'_>, leader: Leader<'_>, lookup: Lookup, loader: L) -> Result<Found, E>
where
    L: FnOnce() -> F + Send + 'static,
    F: Future<Output = Result<Found, E>> + Send + 'static,
    E: From<Error>,
{
    let single_flight = ctx.client.single_flight();
    let lease = match wait_for_value_or_lease(ctx, lookup).await.map_err(|error| ctx.client.fail(error))? {
        LeaseResult::Value(found, (version, due), valid_from) => {
            ctx.client.note_fetched(Outcome::Followed);
            refresh::begin(ctx, version, due, loader);
            leader.complete(found.clone(), valid_from);
            return Ok(found);
        }
        LeaseResult::Lease(lease) => Some(lease),
        LeaseResult::Nothing => None,
    };
    ctx.client.note_fetched(Outcome::Loaded);
    leader.start();
    let began = single_flight.advance_clock();
    let found = loader().await?;
    let filled = single_flight.advance_clock();
    let is_stored = match lease {
        Some(lease) => lease.fill(&found, ctx.policy).await,
        None => false,
    };
    // A successful fill by CAS value proves that nothing changed in between; otherwise the result is as
    // old as its load.
    leader.complete(found.clone(), if is_stored { filled } else { began });
    Ok(found)
}

/// Result of a leader's attempt to obtain the lease.
enum LeaseResult {
    /// Another process's value, its version and refresh right, and the tick before the lookup.
    Value(Found, (ItemVersion, RefreshRight), u64),
    /// The right to load and store.
    Lease(Lease),
    /// No right to store; the leader may still load.
    Nothing,
}

/// Waits for another process's value or for its lease, at most as long as the policy allows.
async fn wait_for_value_or_lease(ctx: FetchContext<'_>, mut lookup: Lookup) -> Result<LeaseResult, Error> {
    let deadline = after(Instant::now(), ctx.policy.wait);
    let mut looked = ctx.client.single_flight().advance_clock();
    let mut pause = FIRST_PAUSE;
    loop {
        let is_late = Instant::now() >= deadline;
        match lookup {
            Lookup::Value(item, version, due) => {
                return Ok(LeaseResult::Value(context::found(item), (version, due), looked));
            }
            Lookup::Tombstone | Lookup::Unavailable => return Ok(LeaseResult::Nothing),
            Lookup::Absent(version) => return Ok(LeaseResult::Lease(ctx.take_over(version))),
            Lookup::Leased(version) if is_late => return Ok(LeaseResult::Lease(ctx.take_over(version))),
            Lookup::Leased(_) => {
                sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
                pause = (pause * 2).min(MAX_PAUSE);
            }
            Lookup::Nothing => match ctx.lease().await {
                Ok(Some(lease)) => return Ok(LeaseResult::Lease(lease)),
                Ok(None) if is_late => return Ok(LeaseResult::Nothing),
                Ok(None) => {}
                Err(error) => {
                    ctx.unavailable_unless_usage_error(error)?;
                    return Ok(LeaseResult::Nothing);
                }
            },
        }
        looked = ctx.client.single_flight().advance_clock();
        lookup = ctx.look_up().await?;
    }
}

/// Initial delay between a leader's lookups while another process loads, with jitter; it doubles up
/// to `MAX_PAUSE`.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const MAX_PAUSE: Duration = Duration::from_millis(200);
