//! The requests of a multi-key call, their assignment to servers, and the collection of their results.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::yield_now;

use crate::observe::Scope;
use crate::proto::{Reply, Request};
use crate::routing::cluster::Cluster;
use crate::server::Server;
use crate::server::batch;
use crate::server::batch::{BatchSink, ServerBatch};

/// The requests of a multi-key call, with the namespace in their keys.
pub(crate) trait Requests {
    fn len(&self) -> usize;
    /// Returns whether any of them may store a value.
    fn may_store(&self) -> bool;
    fn request(&self, index: usize) -> Request<'_>;
    /// Returns the key of a request, if possible without building the request.
    fn key(&self, index: usize) -> Cow<'_, [u8]>;
}

/// Assigns each request to the server of its key.
pub(crate) async fn assign(cluster: &Cluster, requests: &impl Requests, timeout: Duration) -> Vec<ServerBatch> {
    let batch = |server| ServerBatch::new(Arc::clone(server), timeout);
    let mut batches: Vec<_> = cluster.servers.iter().map(batch).collect();
    for index in 0..requests.len() {
        // An invalid key gets its error from any server it is assigned to.
        let server = cluster.locate(&requests.key(index));
        if let Some(batch) = server.and_then(|server| batches.get_mut(server)) {
            batch.assign(index);
        }
        yield_after(index).await;
    }
    batches
}

/// Yields to other tasks after every few thousand keys, because placing a million takes a while.
#[inline]
pub(crate) async fn yield_after(index: usize) {
    const KEYS: usize = 4096;
    if index % KEYS == KEYS - 1 {
        yield_now().await;
    }
}

/// Sends the batches of a call; returns each reply as decoded, and `None` for a request that is in no batch.
pub(crate) async fn send_batches<R: Requests, T>(
    batches: Vec<ServerBatch>,
    requests: &R,
    scope: Option<&Arc<Scope>>,
    decode: impl Fn(Reply, &Arc<Server>) -> T,
) -> Vec<Option<T>> {
    let mut results = Vec::new();
    results.resize_with(requests.len(), || None);
    let mut collector = Collector { requests, decode, results };
    batch::drive(batches, &mut collector, scope).await;
    collector.results
}

/// Collects the decoded replies of a call.
struct Collector<'a, R, T, D> {
    requests: &'a R,
    decode: D,
    results: Vec<Option<T>>,
}

impl<R: Requests, T, D: Fn(Reply, &Arc<Server>) -> T> BatchSink for Collector<'_, R, T, D> {
    fn may_store(&self) -> bool {
        self.requests.may_store()
    }

    #[inline]
    fn request(&self, index: usize) -> Request<'_> {
        self.requests.request(index)
    }

    #[inline]
    fn complete(&mut self, index: usize, reply: Reply, server: &Arc<Server>) {
        let result = (self.decode)(reply, server);
        if let Some(entry) = self.results.get_mut(index) {
            *entry = Some(result);
        }
    }
}
