//! Many keys of which each may be asked of more than one server: one pass for each copy, one for the
//! fallbacks.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::cluster::Cluster;
use crate::observe::Scope;
use crate::policy::{FailureKind, ReplicaPolicy, may_repeat, pick_outcome, replica_policy};
use crate::proto::{Reply, Request, Status};
use crate::routing::requests::{Requests, yield_after};
use crate::routing::router::{elsewhere, purge};
use crate::routing::shared::ClientShared;
use crate::server::Server;
use crate::server::batch;
use crate::server::batch::{ServerBatch, Work};

/// The outcome of a key, and the server that gave it.
pub(crate) struct KeyResult {
    pub(crate) reply: Reply,
    pub(crate) server: Arc<str>,
}

/// Sends each key's request along its route; `None` for a key without a server.
pub(crate) async fn run<R: Requests>(
    shared: &ClientShared,
    cluster: &Cluster,
    source: &R,
    timeout: Duration,
    scope: Option<&Arc<Scope>>,
) -> Vec<Option<KeyResult>> {
    let copies = shared.config.replicas.min(cluster.servers.len());
    let mut outcomes = Vec::new();
    outcomes.resize_with(source.len(), || None);
    let mut router = MultiRouter { shared, source, outcomes, pass: Pass::Copy(0) };
    let passes = (0..copies).map(Pass::Copy).chain([Pass::Fallback]).chain((0..copies).map(Pass::Purge));
    for pass in passes {
        router.pass = pass;
        let batches = router.assign(cluster, timeout).await;
        if let (Some(scope), Pass::Fallback, false) = (scope, pass, batches.is_empty()) {
            scope.failed_over();
        }
        batch::drive(batches, &mut router, scope).await;
    }
    let succeeded = |result: &&KeyResult| result.reply.is_ok() || result.reply.status == Status::KeyNotFound;
    shared.succeeded(router.outcomes.iter().flatten().filter(succeeded).count());
    router.outcomes
}

/// Where a pass goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pass {
    /// To the n-th copy of each key.
    Copy(usize),
    /// To the fallback of keys whose servers are down.
    Fallback,
    /// To the n-th copy, to delete what was changed at another.
    Purge(usize),
}

struct MultiRouter<'a, R> {
    shared: &'a ClientShared,
    source: &'a R,
    outcomes: Vec<Option<KeyResult>>,
    pass: Pass,
}

impl<R: Requests> MultiRouter<'_, R> {
    /// Sorts the keys that this pass concerns by server.
    async fn assign(&self, cluster: &Cluster, timeout: Duration) -> Vec<ServerBatch> {
        let mut batches: HashMap<usize, ServerBatch> = HashMap::new();
        for index in 0..self.source.len() {
            if self.may_concern(index)
                && let Some(server) = self.server_of(cluster, index)
                && self.concerns(index, &server)
            {
                let batch =
                    batches.entry(Arc::as_ptr(&server).addr()).or_insert_with(|| ServerBatch::new(server, timeout));
                batch.assign(index);
            }
            yield_after(index).await;
        }
        batches.into_values().collect()
    }

    /// Whether the outcome so far leaves something to ask; without placing the key.
    fn may_concern(&self, index: usize) -> bool {
        let Some(result) = self.outcomes.get(index).and_then(Option::as_ref) else { return self.pass == Pass::Copy(0) };
        let (status, request) = (result.reply.status, self.source.request(index));
        let (is_trouble, replica_policy) = (FailureKind::of(status).is_some(), replica_policy(&request));
        match (self.pass, replica_policy) {
            (Pass::Copy(_), ReplicaPolicy::WriteAll | ReplicaPolicy::DeleteAll)
            | (Pass::Fallback, ReplicaPolicy::DeleteAll) => true,
            (Pass::Copy(_), ReplicaPolicy::Read) => is_trouble || status == Status::KeyNotFound,
            (Pass::Copy(_) | Pass::Fallback, _) => is_trouble,
            (Pass::Purge(_), ReplicaPolicy::WriteFirst) => result.reply.is_ok() || status.may_have_executed(),
            (Pass::Purge(_), _) => false,
        }
    }

    /// The server that this pass asks for a key.
    fn server_of(&self, cluster: &Cluster, index: usize) -> Option<Arc<Server>> {
        let request = self.source.request(index);
        // An invalid key gets its error from any server it is assigned to.
        let key = request.key().map_or(&[][..], |key| key.as_bytes());
        let mut route = cluster.route(key, self.shared.config.replicas);
        if replica_policy(&request) == ReplicaPolicy::Read {
            route = route.in_read_order();
        }
        match self.pass {
            Pass::Copy(copy) | Pass::Purge(copy) if copy < route.copies.len() => Some(route.copies.swap_remove(copy)),
            Pass::Copy(_) | Pass::Purge(_) => None,
            Pass::Fallback => route.fallback,
        }
    }

    /// Whether a key is asked of this server; takes what that costs out of the budget.
    fn concerns(&self, index: usize, server: &Server) -> bool {
        let Some(result) = self.outcomes.get(index).and_then(Option::as_ref) else { return true };
        let (status, request) = (result.reply.status, self.source.request(index));
        match (self.pass, replica_policy(&request)) {
            (Pass::Purge(_), _) => result.server != server.endpoint.name,
            (Pass::Copy(_), ReplicaPolicy::WriteAll | ReplicaPolicy::DeleteAll) | (_, ReplicaPolicy::DeleteAll) => true,
            (_, ReplicaPolicy::Read) if status == Status::KeyNotFound => true,
            _ => {
                let is_safe = !status.may_have_executed() || may_repeat(&request, &self.shared.config.retries);
                is_safe && FailureKind::of(status).is_some_and(|trouble| self.shared.may_go_on(trouble))
            }
        }
    }

    /// Whether the outcome of this pass replaces the earlier one.
    fn is_better(&self, index: usize, before: Status, after: Status) -> bool {
        match (self.pass, replica_policy(&self.source.request(index))) {
            (Pass::Purge(_), _) => false,
            (Pass::Fallback, ReplicaPolicy::DeleteAll) => before == Status::KeyNotFound && after == Status::NoError,
            (_, ReplicaPolicy::DeleteAll) => pick_outcome(ReplicaPolicy::DeleteAll, &[before, after]) == Some(1),
            _ => pick_outcome(ReplicaPolicy::WriteAll, &[before, after]) == Some(1),
        }
    }
}

impl<R: Requests> Work for MultiRouter<'_, R> {
    fn may_store(&self) -> bool {
        !matches!(self.pass, Pass::Purge(_)) && self.source.may_store()
    }

    fn request(&self, index: usize) -> Request<'_> {
        let request = self.source.request(index);
        match self.pass {
            Pass::Copy(_) => request,
            Pass::Fallback => elsewhere(&request, &self.shared.config),
            Pass::Purge(_) => purge(&request).unwrap_or(request),
        }
    }

    fn settle(&mut self, index: usize, reply: Reply, server: &Arc<str>) {
        let before = self.outcomes.get(index).and_then(Option::as_ref).map(|result| result.reply.status);
        let is_reported = before.is_none_or(|before| self.is_better(index, before, reply.status));
        if let (true, Some(outcome)) = (is_reported, self.outcomes.get_mut(index)) {
            *outcome = Some(KeyResult { reply, server: Arc::clone(server) });
        }
    }
}
