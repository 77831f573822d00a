//! Routing of a single-key request: replicas, failover, retries, hedging.
//!
//! Each attempt is an independent [`ServerCall`]; `policy` decides what follows it. Requests of a client without
//! these settings never enter the router.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::SystemTime;

use futures_util::future::{Either, join, join_all, select};
use tokio::time::{Instant, sleep};

use super::cluster::Route;
use crate::config::Config;
use crate::observe::{Parent, Scope};
use crate::policy::{FollowUp, ReplicaPolicy, Step, capped, follow_up, has_ttl, may_repeat, pick_outcome, replaces};
use crate::proto::{Reply, Request, Status};
use crate::result::no_server;
use crate::routing::client_shared::ClientShared;
use crate::server::Server;
use crate::server::call::ServerCall;

/// A reply, and the server that sent it.
pub(crate) struct RoutedReply {
    pub(crate) reply: Reply,
    pub(crate) server: Option<Arc<Server>>,
}

/// The future of a routed request.
pub(crate) type RoutedCall<'a> = Pin<Box<dyn Future<Output = RoutedReply> + Send + 'a>>;

/// Sends the request along its route until a server answers or the deadline passes.
pub(crate) fn send_routed<'a>(
    shared: &'a ClientShared,
    request: Request<'a>,
    route: Route,
    deadline: Instant,
    is_guarded: bool,
    scope: Option<Arc<Scope>>,
) -> RoutedCall<'a> {
    let replica_policy = route.replica_policy(&request);
    let router = Router { config: &shared.config, shared, request, route, replica_policy, deadline, is_guarded, scope };
    Box::pin(async move { router.run().await })
}

/// Queues a request at all servers of its route without waiting for replies; returns whether it was queued.
pub(crate) fn send_no_reply(shared: &ClientShared, request: &Request<'_>, route: &Route) -> bool {
    let timeout = shared.config.timeout;
    let queue = |server: &Arc<Server>, request: Request<'_>| ServerCall::new(request, timeout).send_no_reply(server);
    let to_copies = || route.copies.iter().filter(|server| queue(server, request.clone())).count() > 0;
    let to_first = || route.copies.iter().any(|server| queue(server, request.clone()));
    let to_fallback = || {
        let elsewhere = fallback_request(request, &shared.config);
        route.fallback.as_ref().is_some_and(|server| request.expected_cas() == 0 && queue(server, elsewhere))
    };
    match route.replica_policy(request) {
        ReplicaPolicy::Read => to_first() || to_fallback(),
        ReplicaPolicy::WriteAll => to_copies() || to_fallback(),
        ReplicaPolicy::DeleteAll => {
            let _ = to_fallback();
            to_copies()
        }
        ReplicaPolicy::WriteFirst if route.copies.len() == 1 => to_first() || to_fallback(),
        ReplicaPolicy::WriteFirst => {
            // The result is not awaited, so the item is deleted at the other replicas in any case.
            // A CAS value is compared at one server only.
            let is_bound = route.is_pinned || request.expected_cas() != 0;
            let mut candidates = route.copies.iter().take(if is_bound { 1 } else { route.copies.len() });
            let Some(first) = candidates.find(|server| queue(server, request.clone())) else { return false };
            for other in route.copies.iter().filter(|other| !Arc::ptr_eq(other, first)) {
                let _ = delete_request(request).map(|delete| queue(other, delete));
            }
            true
        }
    }
}

/// Returns the request as it is sent along a route determined earlier: on a fallback with the TTL capped.
pub(crate) fn request_on_route<'r>(request: Request<'r>, route: &Route, config: &Config) -> Request<'r> {
    if route.is_on_fallback { fallback_request(&request, config) } else { request }
}

/// Returns the request for a fallback, with the TTL capped.
pub(crate) fn fallback_request<'r>(request: &Request<'r>, config: &Config) -> Request<'r> {
    match config.failover.cap() {
        Some(cap) if has_ttl(request) => {
            let ttl = capped(request.time_to_live(), cap, SystemTime::now());
            request.clone().ttl(ttl)
        }
        _ => request.clone(),
    }
}

/// Returns a delete of the request's key.
pub(crate) fn delete_request<'r>(request: &Request<'r>) -> Option<Request<'r>> {
    request.key().ok().map(|key| Request::delete(key.clone()))
}

struct Router<'a> {
    config: &'a Config,
    shared: &'a ClientShared,
    request: Request<'a>,
    route: Route,
    /// How the request applies to the replicas of the route.
    replica_policy: ReplicaPolicy,
    deadline: Instant,
    is_guarded: bool,
    /// The operation that the attempts are reported as parts of.
    scope: Option<Arc<Scope>>,
}

impl<'a> Router<'a> {
    async fn run(&self) -> RoutedReply {
        let outcome = match self.replica_policy {
            ReplicaPolicy::Read => self.read().await,
            ReplicaPolicy::WriteAll => self.write_all().await,
            ReplicaPolicy::DeleteAll => self.delete_all().await,
            ReplicaPolicy::WriteFirst => self.write_first().await,
        };
        if outcome.reply.is_ok() || outcome.reply.status == Status::KeyNotFound {
            self.shared.succeeded(1);
        }
        outcome
    }

    // ---- One server ----

    /// Sends a request to one server, and retries it there as the settings and the budget allow.
    async fn send(&self, server: &Arc<Server>, request: &Request<'a>) -> RoutedReply {
        let mut attempts = self.config.retries.attempts;
        loop {
            let was_usable = server.is_usable();
            let reply = self.attempt(server, request).await;
            let retry = follow_up(Step::Retry, request, self.replica_policy, reply.status, &self.config.retries);
            // A server that was down before is not retried.
            let again = attempts > 0 && was_usable && retry != FollowUp::No && Instant::now() < self.deadline;
            if !again || !server.wait_for_return(self.deadline).await || !self.shared.allows(retry) {
                return RoutedReply { reply, server: Some(Arc::clone(server)) };
            }
            attempts -= 1;
            self.observe(Scope::retried);
        }
    }

    fn observe(&self, event: impl FnOnce(&Scope)) {
        if let Some(scope) = &self.scope {
            event(scope);
        }
    }

    async fn attempt(&self, server: &Arc<Server>, request: &Request<'a>) -> Reply {
        let remaining = self.deadline.saturating_duration_since(Instant::now());
        let limit = self.config.retries.attempt_timeout.filter(|_| may_repeat(request, &self.config.retries));
        let timeout = limit.map_or(remaining, |limit| limit.min(remaining));
        if timeout.is_zero() {
            return Reply::new(Status::TimedOut(crate::proto::Delivery::NotSent));
        }
        let parent = self.scope.clone().map_or(Parent::Internal, Parent::Operation);
        let call = ServerCall::new(request.clone(), timeout).guarded(self.is_guarded).within(parent);
        call.run(server).await
    }

    /// Returns whether the request takes a step after this status, and withdraws the retry tokens that it costs.
    fn should_take(&self, step: Step, status: Status) -> bool {
        let follow_up = follow_up(step, &self.request, self.replica_policy, status, &self.config.retries);
        let takes = Instant::now() < self.deadline && self.shared.allows(follow_up);
        if takes && matches!(follow_up, FollowUp::IfBudget(_)) {
            self.observe(Scope::failed_over);
        }
        takes
    }

    // ---- Reads ----

    async fn read(&self) -> RoutedReply {
        self.shared.record_read();
        let mut found = Vec::new();
        let ordered = self.replicas_to_read();
        let mut copies = &ordered[..];
        while let Some((first, rest)) = copies.split_first() {
            let (outcome, asked) = self.read_from(first, rest.first()).await;
            copies = copies.get(asked..).unwrap_or_default();
            let status = outcome.reply.status;
            found.push(outcome);
            if copies.is_empty() || !self.should_take(Step::Replica, status) {
                break;
            }
        }
        self.or_fallback(self.best(found)).await
    }

    fn replicas_to_read(&self) -> Vec<Arc<Server>> {
        let mut copies = self.route.clone().in_read_order().copies;
        if self.route.is_pinned {
            copies.truncate(1);
        }
        copies
    }

    /// Reads from a replica, and from the next one as well if the first is slow; returns how many were asked.
    async fn read_from(&self, first: &Arc<Server>, next: Option<&Arc<Server>>) -> (RoutedReply, usize) {
        let mut one = pin!(self.send(first, &self.request));
        let (Some(hedge), Some(next)) = (self.config.hedge, next) else { return (one.await, 1) };
        let delay = pin!(sleep(hedge.delay));
        if let Either::Left((outcome, _)) = select(one.as_mut(), delay).await {
            return (outcome, 1);
        }
        if !next.is_usable() || !self.shared.may_hedge() {
            return (one.await, 1);
        }
        self.observe(Scope::hedged);
        let other = pin!(self.send(next, &self.request));
        let (first, rest) = select(one, other).await.factor_first();
        match first.reply.is_ok() {
            true => (first, 2),
            false => (self.best(vec![first, rest.await]), 2),
        }
    }

    // ---- Writes ----

    async fn write_all(&self) -> RoutedReply {
        let outcomes = self.send_all(&self.route.copies, &self.request).await;
        self.or_fallback(self.best(outcomes)).await
    }

    /// Deletes at every replica and at the fallback.
    async fn delete_all(&self) -> RoutedReply {
        let fallback = async {
            // Deletes go to the fallback whatever the replicas answer.
            match &self.route.fallback {
                Some(server) => Some(self.send(server, &self.request).await),
                None => None,
            }
        };
        let copies = self.send_all(&self.route.copies, &self.request);
        let (copies, fallback) = join(copies, fallback).await;
        let outcome = self.best(copies);
        match fallback {
            Some(fallback) => self.outcome_after(Step::Fallback, outcome, fallback),
            None => outcome,
        }
    }

    /// Writes to the first replica that can be reached, and deletes the item at the others.
    async fn write_first(&self) -> RoutedReply {
        let mut tried = Vec::new();
        for server in &self.route.copies {
            let outcome = self.send(server, &self.request).await;
            let status = outcome.reply.status;
            tried.push(outcome);
            let is_last = self.route.is_pinned || tried.len() == self.route.copies.len();
            if is_last || !self.should_take(Step::Replica, status) {
                break;
            }
        }
        let changed = tried.len();
        let outcome = self.best(tried);
        if self.should_take(Step::DeleteOthers, outcome.reply.status) {
            self.delete_others(changed.saturating_sub(1)).await;
        }
        self.or_fallback(outcome).await
    }

    /// Deletes the item at the other replicas.
    async fn delete_others(&self, changed: usize) {
        let copies = self.route.copies.iter().enumerate();
        let others: Vec<_> = copies.filter(|(index, _)| *index != changed).map(|(_, copy)| Arc::clone(copy)).collect();
        if let (false, Some(delete)) = (others.is_empty(), delete_request(&self.request)) {
            self.send_all(&others, &delete).await;
        }
    }

    // ---- Several outcomes ----

    async fn send_all(&self, servers: &[Arc<Server>], request: &Request<'a>) -> Vec<RoutedReply> {
        join_all(servers.iter().map(|server| self.send(server, request))).await
    }

    /// Sends the request to the fallback, if this outcome calls for it.
    async fn or_fallback(&self, outcome: RoutedReply) -> RoutedReply {
        let Some(server) = &self.route.fallback else { return outcome };
        if !self.should_take(Step::Fallback, outcome.reply.status) {
            return outcome;
        }
        let fallback = self.send(server, &fallback_request(&self.request, self.config)).await;
        self.outcome_after(Step::Fallback, outcome, fallback)
    }

    /// Returns the outcome to report after a step.
    fn outcome_after(&self, step: Step, before: RoutedReply, after: RoutedReply) -> RoutedReply {
        match replaces(step, self.replica_policy, before.reply.status, after.reply.status) {
            true => after,
            false => before,
        }
    }

    /// Picks the outcome to report of those of several replicas.
    fn best(&self, mut outcomes: Vec<RoutedReply>) -> RoutedReply {
        let statuses: Vec<_> = outcomes.iter().map(|outcome| outcome.reply.status).collect();
        match pick_outcome(self.replica_policy, &statuses) {
            Some(index) => outcomes.swap_remove(index),
            None => RoutedReply { reply: no_server(), server: None },
        }
    }
}
