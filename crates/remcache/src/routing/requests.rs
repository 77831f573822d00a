//! The requests of a multi-key call, and their assignment to servers.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::yield_now;

use crate::proto::Request;
use crate::routing::cluster::Cluster;
use crate::server::batch::ServerBatch;

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
        let place = cluster.locate(&requests.key(index));
        if let Some(batch) = place.and_then(|place| batches.get_mut(place)) {
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
