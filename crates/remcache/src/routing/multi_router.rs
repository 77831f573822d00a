//! Routing of multi-key calls over several servers per key: one pass per replica, one for fallbacks, and one per
//! replica for deletes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::cluster::Cluster;
use crate::observe::Scope;
use crate::policy::{FollowUp, ReplicaPolicy, Step, follow_up, replaces, replica_policy};
use crate::proto::{Reply, Request, Status};
use crate::routing::client_shared::ClientShared;
use crate::routing::multi_requests::{Requests, assign, send_batches, yield_after};
use crate::routing::router::{delete_request, fallback_request};
use crate::server::Server;
use crate::server::batch;
use crate::server::batch::{BatchSink, ServerBatch};

/// Sends each key's request to its server, or along its route; returns each reply as decoded, and `None` for a key
/// without a server.
pub(crate) async fn send<R: Requests, T>(
    shared: &ClientShared,
    cluster: &Cluster,
    requests: &R,
    timeout: Duration,
    scope: Option<&Arc<Scope>>,
    decode: impl Fn(Reply, &Arc<Server>) -> T,
) -> Vec<Option<T>> {
    if !shared.is_routed {
        return send_batches(assign(cluster, requests, timeout).await, requests, scope, decode).await;
    }
    let results = send_routed(shared, cluster, requests, timeout, scope).await;
    results.into_iter().map(|result| result.map(|KeyResult { reply, server }| decode(reply, &server))).collect()
}

/// The reply for a key, and the server that sent it.
struct KeyResult {
    reply: Reply,
    server: Arc<Server>,
}

/// Sends each key's request along its route.
async fn send_routed<R: Requests>(
    shared: &ClientShared,
    cluster: &Cluster,
    source: &R,
    timeout: Duration,
    scope: Option<&Arc<Scope>>,
) -> Vec<Option<KeyResult>> {
    let copies = shared.config.replicas.min(cluster.servers.len());
    let mut outcomes = Vec::new();
    outcomes.resize_with(source.len(), || None);
    let mut router = MultiRouter { shared, source, outcomes, pass: RoutingPass::Replica(0) };
    let passes = (0..copies)
        .map(RoutingPass::Replica)
        .chain([RoutingPass::Fallback])
        .chain((0..copies).map(RoutingPass::Delete));
    for pass in passes {
        router.pass = pass;
        let batches = router.assign(cluster, timeout).await;
        if let (Some(scope), RoutingPass::Fallback, false) = (scope, pass, batches.is_empty()) {
            scope.failed_over();
        }
        batch::drive(batches, &mut router, scope).await;
    }
    let succeeded = |result: &&KeyResult| result.reply.is_ok() || result.reply.status == Status::KeyNotFound;
    shared.succeeded(router.outcomes.iter().flatten().filter(succeeded).count());
    router.outcomes
}

/// One round of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RoutingPass {
    /// To the n-th replica of each key.
    Replica(usize),
    /// To the fallback of keys whose servers are down.
    Fallback,
    /// Deletes at the n-th replica of keys that were changed at another.
    Delete(usize),
}

impl RoutingPass {
    fn step(self) -> Step {
        match self {
            Self::Replica(_) => Step::Replica,
            Self::Fallback => Step::Fallback,
            Self::Delete(_) => Step::DeleteOthers,
        }
    }
}

struct MultiRouter<'a, R> {
    shared: &'a ClientShared,
    source: &'a R,
    outcomes: Vec<Option<KeyResult>>,
    pass: RoutingPass,
}

impl<R: Requests> MultiRouter<'_, R> {
    /// Groups the keys of this pass by server.
    async fn assign(&self, cluster: &Cluster, timeout: Duration) -> Vec<ServerBatch> {
        let mut batches: HashMap<usize, ServerBatch> = HashMap::new();
        for index in 0..self.source.len() {
            if self.may_include(index)
                && let Some(server) = self.server_of(cluster, index)
                && self.includes(index, &server)
            {
                let batch =
                    batches.entry(Arc::as_ptr(&server).addr()).or_insert_with(|| ServerBatch::new(server, timeout));
                batch.assign(index);
            }
            yield_after(index).await;
        }
        batches.into_values().collect()
    }

    /// Returns whether this pass may concern a key, by its outcome so far; without placing the key.
    fn may_include(&self, index: usize) -> bool {
        self.follow_up(index)
            .map_or_else(|| self.pass == RoutingPass::Replica(0), |follow_up| follow_up != FollowUp::No)
    }

    /// Returns whether this pass sends a key to this server, and withdraws the retry tokens that it costs.
    fn includes(&self, index: usize, server: &Server) -> bool {
        let Some(result) = self.outcomes.get(index).and_then(Option::as_ref) else { return true };
        // The server that was changed keeps its item.
        let is_changed =
            matches!(self.pass, RoutingPass::Delete(_)) && result.server.endpoint.name == server.endpoint.name;
        !is_changed && self.follow_up(index).is_none_or(|follow_up| self.shared.allows(follow_up))
    }

    /// Returns what follows the outcome of a key; `None` if it has none.
    fn follow_up(&self, index: usize) -> Option<FollowUp> {
        let result = self.outcomes.get(index)?.as_ref()?;
        let request = self.source.request(index);
        Some(follow_up(
            self.pass.step(),
            &request,
            replica_policy(&request),
            result.reply.status,
            &self.shared.config.retries,
        ))
    }

    /// Returns the server that a key's request goes to in this pass.
    fn server_of(&self, cluster: &Cluster, index: usize) -> Option<Arc<Server>> {
        let request = self.source.request(index);
        // An invalid key gets its error from any server it is assigned to.
        let key = request.key().map_or(&[][..], |key| key.as_bytes());
        let mut route = cluster.route(key, self.shared.config.replicas);
        if replica_policy(&request) == ReplicaPolicy::Read {
            route = route.in_read_order();
        }
        match self.pass {
            RoutingPass::Replica(copy) | RoutingPass::Delete(copy) if copy < route.copies.len() => {
                Some(route.copies.swap_remove(copy))
            }
            RoutingPass::Replica(_) | RoutingPass::Delete(_) => None,
            RoutingPass::Fallback => route.fallback,
        }
    }
}

impl<R: Requests> BatchSink for MultiRouter<'_, R> {
    fn may_store(&self) -> bool {
        !matches!(self.pass, RoutingPass::Delete(_)) && self.source.may_store()
    }

    fn request(&self, index: usize) -> Request<'_> {
        let request = self.source.request(index);
        match self.pass {
            RoutingPass::Replica(_) => request,
            RoutingPass::Fallback => fallback_request(&request, &self.shared.config),
            RoutingPass::Delete(_) => delete_request(&request).unwrap_or(request),
        }
    }

    fn complete(&mut self, index: usize, reply: Reply, server: &Arc<Server>) {
        let before = self.outcomes.get(index).and_then(Option::as_ref).map(|result| result.reply.status);
        let replica_policy = || replica_policy(&self.source.request(index));
        let replaces = |before| replaces(self.pass.step(), replica_policy(), before, reply.status);
        let is_reported = before.is_none_or(replaces);
        if let (true, Some(outcome)) = (is_reported, self.outcomes.get_mut(index)) {
            *outcome = Some(KeyResult { reply, server: Arc::clone(server) });
        }
    }
}
