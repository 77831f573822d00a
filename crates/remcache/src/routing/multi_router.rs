//! Many keys of which each may be asked of more than one server: one pass for each copy, one for the
//! fallbacks.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::yield_now;

use super::cluster::Cluster;
use crate::client::Client;
use crate::ops::multi_builder::{KEYS_A_TURN, Requests};
use crate::policy::{Spread, Trouble, may_repeat, spread, told};
use crate::proto::{Reply, Request, Status};
use crate::routing::router::{elsewhere, purge};
use crate::server::Server;
use crate::server::batch as lane;
use crate::server::batch::{Lane, Work};

/// The outcome of a key, and the server that gave it.
pub(crate) struct Told {
    pub(crate) reply: Reply,
    pub(crate) server: Arc<str>,
}

/// Asks for every key whoever its route and the settings name; `None` for a key without a server.
pub(crate) async fn run<R: Requests>(client: &Client, source: &R, timeout: Duration) -> Vec<Option<Told>> {
    let cluster = Arc::clone(&client.cluster());
    let copies = client.config().replicas.min(cluster.servers.len());
    let mut outcomes = Vec::new();
    outcomes.resize_with(source.len(), || None);
    let mut ledger = Ledger { client, source, outcomes, stop: Stop::Copy(0) };
    let stops = (0..copies).map(Stop::Copy).chain([Stop::Fallback]).chain((0..copies).map(Stop::Purge));
    for stop in stops {
        ledger.stop = stop;
        let lanes = ledger.assign(&cluster, timeout).await;
        lane::drive(lanes, &mut ledger).await;
    }
    let succeeded = |told: &&Told| told.reply.is_ok() || told.reply.status == Status::KeyNotFound;
    client.fleet().succeeded(ledger.outcomes.iter().flatten().filter(succeeded).count());
    ledger.outcomes
}

/// Where a pass goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// To the n-th copy of each key.
    Copy(usize),
    /// To whoever takes the keys of those that are away.
    Fallback,
    /// To the n-th copy, to delete what was changed at another.
    Purge(usize),
}

struct Ledger<'a, R> {
    client: &'a Client,
    source: &'a R,
    outcomes: Vec<Option<Told>>,
    stop: Stop,
}

impl<R: Requests> Ledger<'_, R> {
    /// Sorts the keys that this pass concerns by server.
    async fn assign(&self, cluster: &Cluster, timeout: Duration) -> Vec<Lane> {
        let mut lanes: HashMap<usize, Lane> = HashMap::new();
        for index in 0..self.source.len() {
            if self.may_concern(index)
                && let Some(server) = self.server_of(cluster, index)
                && self.concerns(index, &server)
            {
                let lane = lanes.entry(Arc::as_ptr(&server).addr()).or_insert_with(|| Lane::new(server, timeout));
                lane.assign(index);
            }
            if index % KEYS_A_TURN == KEYS_A_TURN - 1 {
                yield_now().await;
            }
        }
        lanes.into_values().collect()
    }

    /// Whether the outcome so far leaves something to ask; without placing the key.
    fn may_concern(&self, index: usize) -> bool {
        let Some(told) = self.outcomes.get(index).and_then(Option::as_ref) else { return self.stop == Stop::Copy(0) };
        let (status, request) = (told.reply.status, self.source.request(index));
        let (is_trouble, spread) = (Trouble::of(status).is_some(), spread(&request));
        match (self.stop, spread) {
            (Stop::Copy(_), Spread::Every | Spread::Remove) | (Stop::Fallback, Spread::Remove) => true,
            (Stop::Copy(_), Spread::Ask) => is_trouble || status == Status::KeyNotFound,
            (Stop::Copy(_) | Stop::Fallback, _) => is_trouble,
            (Stop::Purge(_), Spread::First) => told.reply.is_ok() || status.may_have_executed(),
            (Stop::Purge(_), _) => false,
        }
    }

    /// The server that this pass asks for a key.
    fn server_of(&self, cluster: &Cluster, index: usize) -> Option<Arc<Server>> {
        let request = self.source.request(index);
        // A key that is none gets its outcome from whichever server it is handed to.
        let key = request.key().map_or(&[][..], |key| key.as_bytes());
        let mut route = cluster.route(key, self.client.config().replicas);
        match self.stop {
            Stop::Copy(copy) | Stop::Purge(copy) if copy < route.copies.len() => Some(route.copies.swap_remove(copy)),
            Stop::Copy(_) | Stop::Purge(_) => None,
            Stop::Fallback => route.fallback,
        }
    }

    /// Whether a key is asked of this server; takes what that costs out of the budget.
    fn concerns(&self, index: usize, server: &Server) -> bool {
        let Some(told) = self.outcomes.get(index).and_then(Option::as_ref) else { return true };
        let (status, request) = (told.reply.status, self.source.request(index));
        match (self.stop, spread(&request)) {
            (Stop::Purge(_), _) => told.server != server.endpoint.name,
            (Stop::Copy(_), Spread::Every | Spread::Remove) | (_, Spread::Remove) => true,
            (_, Spread::Ask) if status == Status::KeyNotFound => true,
            _ => {
                let is_safe = !status.may_have_executed() || may_repeat(&request, &self.client.config().retries);
                is_safe && Trouble::of(status).is_some_and(|trouble| self.client.fleet().may_go_on(trouble))
            }
        }
    }

    /// Whether the outcome of this pass is told instead of the one before.
    fn is_better(&self, index: usize, before: Status, after: Status) -> bool {
        match (self.stop, spread(&self.source.request(index))) {
            (Stop::Purge(_), _) => false,
            (Stop::Fallback, Spread::Remove) => before == Status::KeyNotFound && after == Status::NoError,
            (_, Spread::Remove) => told(Spread::Remove, &[before, after]) == Some(1),
            _ => told(Spread::Every, &[before, after]) == Some(1),
        }
    }
}

impl<R: Requests> Work for Ledger<'_, R> {
    fn may_store(&self) -> bool {
        !matches!(self.stop, Stop::Purge(_)) && self.source.may_store()
    }

    fn request(&self, index: usize) -> Request<'_> {
        let request = self.source.request(index);
        match self.stop {
            Stop::Copy(_) => request,
            Stop::Fallback => elsewhere(&request, self.client.config()),
            Stop::Purge(_) => purge(&request).unwrap_or(request),
        }
    }

    fn settle(&mut self, index: usize, reply: Reply, server: &Arc<str>) {
        let before = self.outcomes.get(index).and_then(Option::as_ref).map(|told| told.reply.status);
        let is_told = before.is_none_or(|before| self.is_better(index, before, reply.status));
        if let (true, Some(outcome)) = (is_told, self.outcomes.get_mut(index)) {
            *outcome = Some(Told { reply, server: Arc::clone(server) });
        }
    }
}
