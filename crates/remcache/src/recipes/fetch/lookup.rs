//! A look on the meta protocol that may be dropped: a server gives the right to reload a stale item to the
//! first who looks, and to nobody after that.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::runtime::Handle;

use super::lease::Lease;
use crate::client::Client;
use crate::proto::{MetaOptions, Reply, Request, Status};
use crate::recipes::fetch::context::{Due, Seen, Spot};
use crate::recipes::fetch_policy::FetchPolicy;

/// The reply to a look. If it is dropped on its way, the look goes on without its caller, and gives
/// back what it wins.
pub(crate) struct Look {
    reply: Option<Pin<Box<dyn Future<Output = Reply> + Send>>>,
    has_begun: bool,
    client: Client,
    key: Arc<[u8]>,
    freshness: FetchPolicy,
    /// The runtime, also for a drop outside of it.
    runtime: Handle,
}

impl Look {
    pub(crate) fn at(spot: Spot<'_>) -> Self {
        let key: Arc<[u8]> = spot.key.into();
        let (client, asked) = (spot.client.clone(), Arc::clone(&key));
        let reply = async move {
            let options = MetaOptions { return_ttl: true, ..MetaOptions::default() };
            client.call(Request::get(&asked[..]).meta(options)).await
        };
        Self {
            reply: Some(Box::pin(reply)),
            has_begun: false,
            client: spot.client.clone(),
            key,
            freshness: *spot.freshness,
            runtime: Handle::current(),
        }
    }
}

impl Future for Look {
    type Output = Reply;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Reply> {
        self.has_begun = true;
        let Some(reply) = &mut self.reply else { return Poll::Pending };
        let ready = reply.as_mut().poll(cx);
        if ready.is_ready() {
            self.reply = None;
        }
        ready
    }
}

impl Drop for Look {
    fn drop(&mut self) {
        let Some(reply) = self.reply.take().filter(|_| self.has_begun) else { return };
        let (client, key, freshness) = (self.client.clone(), Arc::clone(&self.key), self.freshness);
        self.runtime.spawn(async move {
            let spot = Spot { client: &client, key: &key, freshness: &freshness };
            let reply = reply.await;
            if reply.status != Status::NoError {
                return;
            }
            if let Seen::Value(item, Due::Won) = spot.seen_with_time(reply) {
                drop(Lease::won(spot, item.cas));
            }
        });
    }
}
