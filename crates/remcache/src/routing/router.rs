//! A request that more than one server may be asked for: copies, fallbacks, second attempts, hedges.
//!
//! Each attempt is a [`ServerCall`], which knows nothing of the others; what follows it is
//! decided by `policy`. Requests of a client without such settings never come here.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::SystemTime;

use futures_util::future::{Either, join, join_all, select};
use tokio::time::{Instant, sleep};

use super::cluster::Route;
use crate::config::Config;
use crate::observe::{Parent, Scope};
use crate::policy::{FailureKind, ReplicaPolicy, capped, has_ttl, may_repeat, pick_outcome, replica_policy};
use crate::proto::{Reply, Request, Status};
use crate::result::no_server;
use crate::routing::shared::ClientShared;
use crate::server::Server;
use crate::server::call::ServerCall;

/// A reply, and the server that gave it.
pub(crate) struct Outcome {
    pub(crate) reply: Reply,
    pub(crate) server: Option<Arc<Server>>,
}

/// A routed request on its way.
pub(crate) type RoutedCall<'a> = Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>;

/// Sends the request along its route until a server answers or the deadline passes.
pub(crate) fn send_routed<'a>(
    shared: &'a ClientShared,
    request: Request<'a>,
    route: Route,
    deadline: Instant,
    is_guarded: bool,
    scope: Option<Arc<Scope>>,
) -> RoutedCall<'a> {
    let router = Router { config: &shared.config, shared, request, route, deadline, is_guarded, scope };
    Box::pin(async move { router.run().await })
}

/// Queues a request without waiting for its replies, wherever it has to go; whether it was queued.
pub(crate) fn cast(shared: &ClientShared, request: &Request<'_>, route: &Route) -> bool {
    let timeout = shared.config.timeout;
    let queue = |server: &Arc<Server>, request: Request<'_>| ServerCall::new(request, timeout).cast(server);
    let to_copies = || route.copies.iter().filter(|server| queue(server, request.clone())).count() > 0;
    let to_first = || route.copies.iter().any(|server| queue(server, request.clone()));
    let to_fallback = || {
        let elsewhere = elsewhere(request, &shared.config);
        route.fallback.as_ref().is_some_and(|server| request.condition() == 0 && queue(server, elsewhere))
    };
    match replica_policy(request) {
        ReplicaPolicy::Read => to_first() || to_fallback(),
        ReplicaPolicy::WriteAll => to_copies() || to_fallback(),
        ReplicaPolicy::DeleteAll => {
            let _ = to_fallback();
            to_copies()
        }
        ReplicaPolicy::WriteFirst if route.copies.len() == 1 => to_first() || to_fallback(),
        ReplicaPolicy::WriteFirst => {
            // The outcome is not awaited, so the other replicas are deleted in any case.
            let Some(first) = route.copies.iter().find(|server| queue(server, request.clone())) else { return false };
            for other in route.copies.iter().filter(|other| !Arc::ptr_eq(other, first)) {
                let _ = purge(request).map(|delete| queue(other, delete));
            }
            true
        }
    }
}

/// The request as it is sent to a fallback: what it stores there does not live long.
pub(crate) fn elsewhere<'r>(request: &Request<'r>, config: &Config) -> Request<'r> {
    match config.failover.cap() {
        Some(cap) if has_ttl(request) => {
            let ttl = capped(request.time_to_live(), cap, SystemTime::now());
            request.clone().ttl(ttl)
        }
        _ => request.clone(),
    }
}

/// The delete of a request's key.
pub(crate) fn purge<'r>(request: &Request<'r>) -> Option<Request<'r>> {
    request.key().ok().map(|key| Request::delete(key.clone()))
}

struct Router<'a> {
    config: &'a Config,
    shared: &'a ClientShared,
    request: Request<'a>,
    route: Route,
    deadline: Instant,
    is_guarded: bool,
    /// The operation that the attempts are a part of, if it is observed.
    scope: Option<Arc<Scope>>,
}

impl<'a> Router<'a> {
    async fn run(&self) -> Outcome {
        let outcome = match replica_policy(&self.request) {
            ReplicaPolicy::Read => self.fetch().await,
            ReplicaPolicy::WriteAll => self.change_every_copy().await,
            ReplicaPolicy::DeleteAll => self.remove().await,
            ReplicaPolicy::WriteFirst => self.change_first_copy().await,
        };
        if outcome.reply.is_ok() || outcome.reply.status == Status::KeyNotFound {
            self.shared.succeeded(1);
        }
        outcome
    }

    // ---- One server ----

    /// Asks one server: once, or again if the settings and the budget allow.
    async fn ask(&self, server: &Arc<Server>, request: &Request<'a>) -> Outcome {
        let mut attempts = self.config.retries.attempts;
        loop {
            let was_usable = server.is_usable();
            let reply = self.attempt(server, request).await;
            // A server that was down before it was asked fails at once.
            let again = attempts > 0 && was_usable && self.may_go_on(request, reply.status);
            if !again || !server.wait_for_return(self.deadline).await || !self.pay(reply.status) {
                return Outcome { reply, server: Some(Arc::clone(server)) };
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
        let left = self.deadline.saturating_duration_since(Instant::now());
        let limit = self.config.retries.attempt_timeout.filter(|_| may_repeat(request, &self.config.retries));
        let timeout = limit.map_or(left, |limit| limit.min(left));
        if timeout.is_zero() {
            return Reply::new(Status::TimedOut(crate::proto::Delivery::NotSent));
        }
        let parent = self.scope.clone().map_or(Parent::Internal, Parent::Operation);
        let call = ServerCall::new(request.clone(), timeout).guarded(self.is_guarded).within(parent);
        call.run(server).await
    }

    /// Whether a request may be sent once more after this, by what it is and the time that is left.
    fn may_go_on(&self, request: &Request<'a>, status: Status) -> bool {
        let is_safe = !status.may_have_executed() || may_repeat(request, &self.config.retries);
        FailureKind::of(status).is_some() && is_safe && Instant::now() < self.deadline
    }

    /// Takes what that costs out of the budget; `false` if there is not enough.
    fn pay(&self, status: Status) -> bool {
        FailureKind::of(status).is_some_and(|trouble| self.shared.may_go_on(trouble))
    }

    /// Whether the request goes on to another server after this.
    fn goes_on(&self, status: Status) -> bool {
        let goes_on = self.may_go_on(&self.request, status) && self.pay(status);
        if goes_on {
            self.observe(Scope::failed_over);
        }
        goes_on
    }

    // ---- Fetches ----

    async fn fetch(&self) -> Outcome {
        self.shared.asked();
        let mut found = Vec::new();
        let ordered = self.copies_to_fetch_from();
        let mut copies = &ordered[..];
        while let Some((first, rest)) = copies.split_first() {
            let (outcome, asked) = self.fetch_from(first, rest.first()).await;
            copies = copies.get(asked..).unwrap_or_default();
            let status = outcome.reply.status;
            let is_last = copies.is_empty() && self.route.fallback.is_none();
            found.push(outcome);
            let goes_on = status == Status::KeyNotFound || !is_last && self.goes_on(status);
            if !goes_on {
                return best(ReplicaPolicy::WriteAll, found);
            }
        }
        // The word of a copy is better than the word of a fallback.
        if found.iter().all(|outcome| FailureKind::of(outcome.reply.status).is_some()) {
            found.extend(self.ask_fallback().await);
        }
        best(ReplicaPolicy::WriteAll, found)
    }

    fn copies_to_fetch_from(&self) -> Vec<Arc<Server>> {
        let mut copies = self.route.clone().in_read_order().copies;
        if self.route.is_pinned {
            copies.truncate(1);
        }
        copies
    }

    /// Asks a copy, and the next one too if it takes long; how many were asked.
    async fn fetch_from(&self, first: &Arc<Server>, next: Option<&Arc<Server>>) -> (Outcome, usize) {
        let mut one = pin!(self.ask(first, &self.request));
        let (Some(hedge), Some(next)) = (self.config.hedge, next) else { return (one.await, 1) };
        let delay = pin!(sleep(hedge.delay));
        if let Either::Left((outcome, _)) = select(one.as_mut(), delay).await {
            return (outcome, 1);
        }
        if !next.is_usable() || !self.shared.may_hedge() {
            return (one.await, 1);
        }
        self.observe(Scope::hedged);
        let other = pin!(self.ask(next, &self.request));
        (first_hit(one, other).await, 2)
    }

    async fn ask_fallback(&self) -> Option<Outcome> {
        let server = self.route.fallback.as_ref()?;
        // A CAS value is one server's own.
        if self.request.condition() != 0 {
            return None;
        }
        Some(self.ask(server, &elsewhere(&self.request, self.config)).await)
    }

    // ---- Changes ----

    async fn change_every_copy(&self) -> Outcome {
        let outcomes = self.ask_all(&self.route.copies, &self.request).await;
        let outcome = best(ReplicaPolicy::WriteAll, outcomes);
        self.or_fallback(outcome).await
    }

    /// Asks the fallback if no copy could be asked.
    async fn or_fallback(&self, outcome: Outcome) -> Outcome {
        let has_other = self.route.fallback.is_some() && self.request.condition() == 0;
        match has_other && self.goes_on(outcome.reply.status) {
            true => self.ask_fallback().await.unwrap_or(outcome),
            false => outcome,
        }
    }

    /// Deletes at every copy, and what may have been stored elsewhere.
    async fn remove(&self) -> Outcome {
        let fallback = async { self.ask_fallback().await };
        let copies = self.ask_all(&self.route.copies, &self.request);
        let (copies, elsewhere) = join(copies, fallback).await;
        let outcome = best(ReplicaPolicy::DeleteAll, copies);
        match elsewhere {
            Some(elsewhere) if outcome.reply.status == Status::KeyNotFound && elsewhere.reply.is_ok() => elsewhere,
            _ => outcome,
        }
    }

    /// Changes the first copy that can be asked, and deletes the others.
    async fn change_first_copy(&self) -> Outcome {
        let mut tried = Vec::new();
        for server in &self.route.copies {
            let outcome = self.ask(server, &self.request).await;
            let status = outcome.reply.status;
            tried.push(outcome);
            let is_last = tried.len() == self.route.copies.len();
            let is_bound = self.route.is_pinned || self.request.condition() != 0;
            if is_last || is_bound || !self.goes_on(status) {
                break;
            }
        }
        let changed = tried.len();
        let outcome = best(ReplicaPolicy::WriteAll, tried);
        if outcome.reply.is_ok() || outcome.reply.status.may_have_executed() {
            self.purge_others(changed.saturating_sub(1)).await;
        }
        self.or_fallback(outcome).await
    }

    /// Deletes the other replicas.
    async fn purge_others(&self, changed: usize) {
        let copies = self.route.copies.iter().enumerate();
        let others: Vec<_> = copies.filter(|(place, _)| *place != changed).map(|(_, copy)| Arc::clone(copy)).collect();
        if let (false, Some(delete)) = (others.is_empty(), purge(&self.request)) {
            self.ask_all(&others, &delete).await;
        }
    }

    async fn ask_all(&self, servers: &[Arc<Server>], request: &Request<'a>) -> Vec<Outcome> {
        join_all(servers.iter().map(|server| self.ask(server, request))).await
    }
}

/// The outcome that is reported.
fn best(replica_policy: ReplicaPolicy, mut outcomes: Vec<Outcome>) -> Outcome {
    let statuses: Vec<_> = outcomes.iter().map(|outcome| outcome.reply.status).collect();
    match pick_outcome(replica_policy, &statuses) {
        Some(place) => outcomes.swap_remove(place),
        None => Outcome { reply: no_server(), server: None },
    }
}

/// The first hit of two reads; without a hit, the better outcome of both.
async fn first_hit(
    one: impl Future<Output = Outcome> + Unpin,
    other: impl Future<Output = Outcome> + Unpin,
) -> Outcome {
    let (first, rest) = select(one, other).await.factor_first();
    match first.reply.is_ok() {
        true => first,
        false => best(ReplicaPolicy::WriteAll, vec![first, rest.await]),
    }
}
