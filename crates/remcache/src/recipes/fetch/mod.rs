//! `fetch`: a value from the cache, or else from one loader in the whole fleet.
//!
//! ```text
//! fetch ── look ──> a value: show it; is it due? ──> refresh, in a task of its own
//!   │
//!   └──> nothing: join the flight of the key ──> follow its leader
//!                        │
//!                      lead: obtain the lease, or another process's value; load; fill; land
//! ```
//!
//! The steps, and what may come between them, are in the documentation of `verbs`.
pub(crate) mod context;
pub(crate) mod lookup;
pub(crate) mod refresh_item;

mod invalidate;
mod lease;
mod refresh;

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep};

use crate::client::{Client, after};
use crate::error::Error;
use crate::recipes::fetch::context::{Due, Seen, Spot};
use crate::recipes::fetch_policy::FetchPolicy;
use crate::singleflight::{End, Landing, Leader, Part};
use lease::Lease;

/// A value, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Loaded {
    pub(crate) flags: u32,
    pub(crate) bytes: Bytes,
}

/// What a loader or the cache says: a value, or that there is none.
pub(crate) type Found = Option<Loaded>;

impl Client {
    /// Gets a value from the cache, or else from the loader, which runs once for all who ask.
    ///
    /// `None` is the loader's word that there is no value. The cache is no reason to fail: where it is
    /// away, the loader runs and nothing else. [What is guaranteed](crate::recipes#fetch), and
    /// [how](crate::recipes#how-fetch-works-on-each-protocol).
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
    /// let page = client.fetch("page:7", minute, || render(7)).await?;
    /// assert_eq!(page.as_deref(), Some(&b"the page 7"[..]));
    /// assert_eq!(client.fetch("page:100", minute, || render(100)).await?, None);
    /// # Ok(()) }
    /// ```
    ///
    /// The loader is `'static`, because a value that is due is reloaded in a task of its own.
    ///
    /// # Errors
    /// The loader's own, for the caller whose loader it was; the others go on with theirs, one after the
    /// other. Made from an [`Error`](enum@crate::error::ErrorKind): what the caller did wrong, such as a key that
    /// is none ([`InvalidKey`](crate::error::ErrorKind::InvalidKey)), a freshness that cannot work
    /// ([`InvalidArguments`](crate::error::ErrorKind::InvalidArguments)), or a server that was started without
    /// CAS values ([`Unsupported`](crate::error::ErrorKind::Unsupported)).
    ///
    /// # Cancellation
    /// The loader is dropped, and the next caller's runs at once. A value that is due is reloaded all
    /// the same.
    ///
    /// # Panics
    /// Outside of a tokio runtime; and with the loader, which frees the others.
    pub async fn fetch<V, E, L, F>(
        &self,
        key: impl AsRef<[u8]>,
        freshness: impl Into<FetchPolicy>,
        loader: L,
    ) -> Result<Option<Bytes>, E>
    where
        L: FnOnce() -> F + Send + 'static,
        F: Future<Output = Result<Option<V>, E>> + Send + 'static,
        V: Into<Bytes>,
        E: From<Error>,
    {
        let load = || async move {
            let value = loader().await?;
            Ok(value.map(|value| Loaded { flags: 0, bytes: value.into() }))
        };
        let found = fetch::<E, _, _>(self, key.as_ref(), &freshness.into(), load).await?;
        Ok(found.map(|loaded| loaded.bytes))
    }
}

/// Gets a value from the cache, or else from the loader, which runs once for all who ask.
pub(crate) async fn fetch<E, L, F>(client: &Client, key: &[u8], freshness: &FetchPolicy, loader: L) -> Result<Found, E>
where
    L: FnOnce() -> F + Send + 'static,
    F: Future<Output = Result<Found, E>> + Send + 'static,
    E: From<Error>,
{
    freshness.check()?;
    let spot = Spot { client, key, freshness };
    let asked = client.flights().tick();
    let mut was_overdue = false;
    let mut seen = spot.look().await?;
    loop {
        if let Seen::Value(item, due) = seen {
            refresh::begin(spot, item.cas, due, loader);
            return Ok(context::found(item));
        }
        let mut follower = match client.flights().join(key) {
            Part::Leader(leader) => return lead(spot, leader, seen, loader).await,
            Part::Watcher(follower) => follower,
        };
        match follower.end(freshness.wait).await {
            End::Landed(Landing { found, valid_from }) if asked < valid_from => return Ok(found),
            // It was begun before this caller asked, and there may be something newer.
            End::Landed(_) => seen = spot.look().await?,
            End::Abandoned => {}
            End::Overdue if was_overdue => return loader().await,
            End::Overdue => {
                was_overdue = true;
                client.flights().pass_over(key, &follower);
            }
        }
    }
}

/// Loads for all callers of this process, if no other process does.
async fn lead<E, L, F>(spot: Spot<'_>, leader: Leader<'_>, seen: Seen, loader: L) -> Result<Found, E>
where
    L: FnOnce() -> F + Send + 'static,
    F: Future<Output = Result<Found, E>> + Send + 'static,
    E: From<Error>,
{
    let flights = spot.client.flights();
    let lease = match obtain(spot, seen).await? {
        Obtained::Value(found, reload, valid_from) => {
            refresh::begin(spot, reload.0, reload.1, loader);
            leader.land(found.clone(), valid_from);
            return Ok(found);
        }
        Obtained::Lease(lease) => Some(lease),
        Obtained::Nothing => None,
    };
    leader.begins();
    let began = flights.tick();
    let found = loader().await?;
    let filled = flights.tick();
    let is_stored = match lease {
        Some(lease) => lease.fill(&found, spot.freshness).await,
        None => false,
    };
    // By its CAS value the fill proves that nothing came between; else it is as old as its load.
    leader.land(found.clone(), if is_stored { filled } else { began });
    Ok(found)
}

/// What a leader gets for its waiting.
enum Obtained {
    /// Another process's value, its CAS value and whether it is due already, and the tick before it was
    /// looked for.
    Value(Found, (u64, Due), u64),
    /// The right to load and store.
    Lease(Lease),
    /// No right to store: it may load all the same.
    Nothing,
}

/// Waits for another process's value or for its lease, and no longer than the freshness says.
async fn obtain(spot: Spot<'_>, mut seen: Seen) -> Result<Obtained, Error> {
    let deadline = after(Instant::now(), spot.freshness.wait);
    let mut looked = spot.client.flights().tick();
    let mut pause = FIRST_PAUSE;
    loop {
        let is_late = Instant::now() >= deadline;
        match seen {
            Seen::Value(item, due) => {
                let cas = item.cas;
                return Ok(Obtained::Value(context::found(item), (cas, due), looked));
            }
            Seen::Buried | Seen::Away => return Ok(Obtained::Nothing),
            Seen::Leased(cas) if is_late => return Ok(Obtained::Lease(spot.take_over(cas))),
            Seen::Leased(_) => {
                sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            Seen::Nothing => match spot.lease().await {
                Ok(Some(lease)) => return Ok(Obtained::Lease(lease)),
                Ok(None) if is_late => return Ok(Obtained::Nothing),
                Ok(None) => {}
                Err(error) => {
                    spot.away(error)?;
                    return Ok(Obtained::Nothing);
                }
            },
        }
        looked = spot.client.flights().tick();
        seen = spot.look().await?;
    }
}

/// How long a leader waits before it looks again whether another process has loaded, at random from
/// half of it; twice as long each time.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);
