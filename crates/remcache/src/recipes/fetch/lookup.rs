//! Cancel-safe lookup on the meta protocol. The server assigns the refresh of a stale item to the first
//! client that asks, so a cancelled lookup must hand that right back.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::runtime::Handle;

use super::lease::Lease;
use crate::client::Client;
use crate::proto::{MetaOptions, Reply, Request, Status};
use crate::recipes::fetch::context::{FetchContext, Lookup, RefreshRight};
use crate::recipes::fetch_policy::FetchPolicy;
use crate::server::Server;

/// A reply, and the server that sent it.
type LocatedReply = (Reply, Option<Arc<Server>>);

/// A lookup in flight. If it is dropped before the reply, it finishes in the background and releases
/// any refresh right that it won.
pub(crate) struct LookupGuard {
    reply: Option<Pin<Box<dyn Future<Output = LocatedReply> + Send>>>,
    has_begun: bool,
    client: Client,
    key: Arc<[u8]>,
    policy: FetchPolicy,
    /// Runtime to spawn on, also when dropped outside of it.
    runtime: Handle,
}

impl LookupGuard {
    pub(crate) fn new(ctx: FetchContext<'_>) -> Self {
        let key: Arc<[u8]> = ctx.key.into();
        let (client, asked) = (ctx.client.clone(), Arc::clone(&key));
        let reply = async move {
            let options = MetaOptions::new().return_ttl();
            let mut call = client.call(Request::get(&asked[..]).meta(options));
            let reply = Pin::new(&mut call).await;
            (reply, call.server().map(Arc::clone))
        };
        Self {
            reply: Some(Box::pin(reply)),
            has_begun: false,
            client: ctx.client.clone(),
            key,
            policy: *ctx.policy,
            runtime: Handle::current(),
        }
    }
}

impl Future for LookupGuard {
    type Output = LocatedReply;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<LocatedReply> {
        self.has_begun = true;
        let Some(reply) = &mut self.reply else { return Poll::Pending };
        let ready = reply.as_mut().poll(cx);
        if ready.is_ready() {
            self.reply = None;
        }
        ready
    }
}

impl Drop for LookupGuard {
    fn drop(&mut self) {
        let Some(reply) = self.reply.take().filter(|_| self.has_begun) else { return };
        let (client, key, policy) = (self.client.clone(), Arc::clone(&self.key), self.policy);
        self.runtime.spawn(async move {
            let ctx = FetchContext { client: &client, key: &key, policy: &policy };
            let (reply, server) = reply.await;
            if reply.status != Status::NoError {
                return;
            }
            if let Lookup::Value(_, version, RefreshRight::Won) = ctx.interpret_reply(reply, server) {
                drop(Lease::won(ctx, version));
            }
        });
    }
}
