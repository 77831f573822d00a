//! Background refresh of a value that is still served: one per process, and one in the fleet.

use std::future::Future;
use std::time::Duration;

use tokio::time::sleep;

use super::Found;
use super::lease::Lease;
use crate::client::Client;
use crate::error::Error;
use crate::observe;
use crate::observe::{Counts, OperationName, Outcome};
use crate::recipes::fetch::context::{FetchContext, RefreshRight};
use crate::recipes::fetch_policy::FetchPolicy;
use crate::recipes::ownership::ItemVersion;

/// A refresh in progress. Dropping it lets the next refresh in this process start.
struct Refresh {
    client: Client,
    key: Vec<u8>,
    policy: FetchPolicy,
    /// The item that is due.
    version: ItemVersion,
    refresh_id: u64,
}

/// Starts a background refresh of a value that is due, unless one is running.
pub(crate) fn begin<E, L, F>(ctx: FetchContext<'_>, version: ItemVersion, due: RefreshRight, loader: L)
where
    L: FnOnce() -> F + Send + 'static,
    F: Future<Output = Result<Found, E>> + Send + 'static,
{
    if due == RefreshRight::No {
        return;
    }
    let watched = (due == RefreshRight::Lost).then_some(version.cas);
    let Some(refresh_id) = ctx.client.single_flight().begin_refresh(ctx.key, watched) else {
        if due == RefreshRight::Won {
            // Unless the value was stored in the meantime, the next client to get it wins the refresh.
            ctx.client.single_flight().defer_release(ctx.key, Box::new(Lease::won(ctx, version)));
        }
        return;
    };
    let (client, key, policy) = (ctx.client.clone(), ctx.key.to_vec(), *ctx.policy);
    let refresh = Refresh { client, key, policy, version, refresh_id };
    tokio::spawn(async move { refresh.run(due, loader).await });
}

impl Refresh {
    async fn run<E, L, F>(self, due: RefreshRight, loader: L)
    where
        L: FnOnce() -> F + Send,
        F: Future<Output = Result<Found, E>> + Send,
    {
        let lease = match due {
            RefreshRight::Lost => self.watch().await,
            due => Lease::acquire_due(self.ctx(), self.version.clone(), due).await,
        };
        let is_reloaded = match lease {
            // Another client has the lease: not a failure.
            Ok(None) => true,
            Ok(Some(lease)) => self.load(lease, loader).await,
            Err(_) => false,
        };
        if !is_reloaded {
            // The lease is released immediately; the pause keeps callers from overloading a failing source.
            sleep(PAUSE.mul_f64(0.5 + fastrand::f64())).await;
        }
    }

    async fn load<E, L, F>(&self, lease: Lease, loader: L) -> bool
    where
        L: FnOnce() -> F + Send,
        F: Future<Output = Result<Found, E>> + Send,
    {
        // The handle belongs to the fetch, which has already returned.
        let client = self.client.within(None);
        let operation = client.observe(OperationName::Refresh, &self.key);
        let loaded = loader().await.map_err(drop);
        if let Ok(found) = &loaded {
            operation.client().note(Outcome::Loaded, Counts::default());
            lease.with_client(operation.client().clone()).fill(found, &self.policy).await;
        }
        operation.into_guard().end_with(observe::loaded, loaded).is_ok()
    }

    /// Waits for the client that won the refresh and takes over if it died: the server does not assign
    /// the refresh again.
    async fn watch(&self) -> Result<Option<Lease>, Error> {
        sleep(self.policy.lease.mul_f64(1.0 + fastrand::f64() / 4.0)).await;
        match self.client.single_flight().activate_refresh(&self.key, self.refresh_id) {
            true => Lease::take_over_lost(self.ctx(), self.version.clone()).await,
            false => Ok(None),
        }
    }

    fn ctx(&self) -> FetchContext<'_> {
        FetchContext { client: &self.client, key: &self.key, policy: &self.policy }
    }
}

impl Drop for Refresh {
    fn drop(&mut self) {
        drop(self.client.single_flight().end_refresh(&self.key, self.refresh_id));
    }
}

/// Average delay after a failed refresh before this process tries again.
const PAUSE: Duration = Duration::from_secs(1);
