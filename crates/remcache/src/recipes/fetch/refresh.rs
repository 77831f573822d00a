//! Reloading a value that is still shown: in a task of its own, one in this process and one in the fleet.

use std::future::Future;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::sleep;

use super::Found;
use super::lease::Lease;
use crate::client::Client;
use crate::error::Error;
use crate::recipes::fetch::context::{Due, Spot};
use crate::recipes::fetch_policy::FetchPolicy;

/// A value on its way to be reloaded; dropping it lets the next one in this process begin.
struct Refresh {
    client: Client,
    key: Vec<u8>,
    freshness: FetchPolicy,
    /// The CAS value of the item that is due.
    cas: u64,
    turn: u64,
    /// The runtime, also for a drop outside of it.
    runtime: Handle,
}

/// Reloads a value if it is due and nobody does; nobody waits for it.
pub(crate) fn begin<E, L, F>(spot: Spot<'_>, cas: u64, due: Due, loader: L)
where
    L: FnOnce() -> F + Send + 'static,
    F: Future<Output = Result<Found, E>> + Send + 'static,
{
    if due == Due::No {
        return;
    }
    let watched = (due == Due::Lost).then_some(cas);
    let Some(turn) = spot.client.flights().turn(spot.key, watched) else {
        if due == Due::Won && !spot.client.flights().misses(spot.key, cas) {
            // It is won for another one to use.
            drop(Lease::won(spot, cas));
        }
        return;
    };
    let (client, key, freshness) = (spot.client.clone(), spot.key.to_vec(), *spot.freshness);
    let refresh = Refresh { client, key, freshness, cas, turn, runtime: Handle::current() };
    tokio::spawn(async move { refresh.run(due, loader).await });
}

impl Refresh {
    async fn run<E, L, F>(self, due: Due, loader: L)
    where
        L: FnOnce() -> F + Send,
        F: Future<Output = Result<Found, E>> + Send,
    {
        let lease = match due {
            Due::Lost => self.watch().await,
            due => Lease::of_due(self.spot(), self.cas, due).await,
        };
        let is_reloaded = match lease {
            // Another one has it, and it is not our failure.
            Ok(None) => true,
            Ok(Some(lease)) => self.load(lease, loader).await,
            Err(_) => false,
        };
        if !is_reloaded {
            // The lease is free at once, for others; a source that fails is not asked by each caller.
            sleep(PAUSE.mul_f64(0.5 + fastrand::f64())).await;
        }
    }

    async fn load<E, L, F>(&self, lease: Lease, loader: L) -> bool
    where
        L: FnOnce() -> F + Send,
        F: Future<Output = Result<Found, E>> + Send,
    {
        let Ok(found) = loader().await else { return false };
        lease.fill(&found, &self.freshness).await;
        true
    }

    /// Sees to it that the one who has won reloads the value: a process that died does not, and the
    /// server tells nobody else to.
    async fn watch(&self) -> Result<Option<Lease>, Error> {
        sleep(self.freshness.lease.mul_f64(1.0 + fastrand::f64() / 4.0)).await;
        match self.client.flights().keep_turn(&self.key, self.turn) {
            true => Lease::of_lost(self.spot(), self.cas).await,
            false => Ok(None),
        }
    }

    fn spot(&self) -> Spot<'_> {
        Spot { client: &self.client, key: &self.key, freshness: &self.freshness }
    }
}

impl Drop for Refresh {
    fn drop(&mut self) {
        if let Some(cas) = self.client.flights().end_turn(&self.key, self.turn) {
            // Unless it is stored by now, the next who asks wins it.
            let _context = self.runtime.enter();
            drop(Lease::won(self.spot(), cas));
        }
    }
}

/// How long this process waits after a failure before it tries again, on average.
const PAUSE: Duration = Duration::from_secs(1);
