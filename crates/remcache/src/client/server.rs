//! One endpoint: its connections, reconnecting, and what is known of its health.

mod task;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use super::address::Endpoint;
use super::condition::{Condition, State};
use super::config::{Config, Overload};
use super::handshake::{Memory, establish_as};
use super::link::Link;
use super::protocol::Protocol;
use super::transport::Stream;
use crate::Error;
use task::Task;

/// One endpoint of the cluster.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) endpoint: Endpoint,
    /// Its connections' places: they outlive the sockets that come and go.
    lanes: Vec<Arc<Link>>,
    next: AtomicUsize,
    config: Arc<Config>,
}

impl Server {
    pub(crate) fn new(endpoint: Endpoint, config: Arc<Config>) -> Self {
        let mut random = config.seed.map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed);
        let lane = || Arc::new(Link::new(config.protocol, config.limits, random.u32(..)));
        let lanes = std::iter::repeat_with(lane).take(config.connections).collect();
        Self { endpoint, lanes, next: AtomicUsize::new(0), config }
    }

    /// The connection for the next request; connections are taken in turn.
    #[inline]
    pub(crate) fn next_lane(&self) -> usize {
        match self.lanes.len() {
            1 => 0,
            lanes => self.next.fetch_add(1, Ordering::Relaxed) % lanes,
        }
    }

    /// The connection of a lane.
    #[inline]
    pub(crate) fn link(&self, lane: usize) -> &Arc<Link> {
        &self.lanes[lane]
    }

    /// Starts the task of a connection that has none. Nothing connects before a request needs it.
    #[cold]
    pub(crate) fn start(&self, lane: usize) {
        let Some(link) = self.lanes.get(lane) else { return };
        if !link.claim_task() {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            link.task_ended("no tokio runtime: the client must be used inside one");
            return;
        };
        let task = Task::new(self.endpoint.clone(), Arc::clone(link), Arc::clone(&self.config));
        runtime.spawn(task.run());
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// Opens a connection beside the lanes, on the text wire, for what needs one of its own.
    pub(crate) async fn connect_text(&self) -> Result<Box<dyn Stream>, Error> {
        let mut memory = Memory::default();
        let established = establish_as(&self.endpoint, &self.config, Protocol::Text, &mut memory).await;
        match established {
            Ok(established) => Ok(established.stream),
            Err(failure) => Err(Error::from_reply(&failure.reply(), None)),
        }
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.config.timeout
    }

    pub(crate) fn overload(&self) -> Overload {
        self.config.overload
    }

    /// Whether the server may answer: not known to be down, and not closed.
    pub(crate) fn is_usable(&self) -> bool {
        self.lanes.iter().any(|link| link.is_usable())
    }

    /// The state of its best connection.
    pub(crate) fn state(&self) -> State {
        let rank = |state: &State| match state.condition {
            Condition::Connected => 0,
            Condition::Connecting => 1,
            Condition::Idle => 2,
            Condition::Down(_) => 3,
            Condition::Closed => 4,
        };
        let states = self.lanes.iter().map(|link| link.state());
        let none = || State { condition: Condition::Closed, since: SystemTime::now() };
        states.min_by_key(rank).unwrap_or_else(none)
    }

    /// Unanswered requests, and slots that callers hold.
    pub(crate) fn load(&self) -> (usize, usize) {
        let loads = self.lanes.iter().map(|link| link.load());
        loads.fold((0, 0), |sum, load| (sum.0 + load.0, sum.1 + load.1))
    }

    /// Takes no more requests; those in flight end as they would.
    pub(crate) fn close(&self) {
        for link in &self.lanes {
            link.set(Condition::Closed);
        }
    }

    /// Waits until every task has ended.
    pub(crate) async fn wait_for_end(&self) {
        for link in &self.lanes {
            link.wait_for_end().await;
        }
    }
}

impl Drop for Server {
    // The last one who knew the server has gone: its tasks end when nothing is in flight.
    fn drop(&mut self) {
        self.close();
    }
}
