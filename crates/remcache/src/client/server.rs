//! One endpoint: its connections, reconnecting, and what is known of its health.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Poll, Waker};
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, sleep_until, timeout};

use super::address::Endpoint;
use super::after;
use super::condition::{Condition, State};
use super::config::Config;
use super::driver::{Driver, End};
use super::link::{Demand, Link};
use super::transport::Stream;
use crate::proto::Deadline;

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
        let lane = || Arc::new(Link::new(config.limits, random.u32(..)));
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
        let task = Task {
            endpoint: self.endpoint.clone(),
            link: Arc::clone(link),
            config: Arc::clone(&self.config),
            random: self.config.seed.map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed),
            failures: 0,
            retry_from: Instant::now(),
        };
        runtime.spawn(task.run());
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.config.timeout
    }

    pub(crate) fn overload(&self) -> super::config::Overload {
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

/// The task of one connection: connects when asked, drives, and after a failure connects again.
struct Task {
    endpoint: Endpoint,
    link: Arc<Link>,
    config: Arc<Config>,
    random: fastrand::Rng,
    failures: u32,
    /// What the wait before the next attempt counts from: the beginning of an attempt that failed, or
    /// the end of a connection that worked.
    retry_from: Instant,
}

/// How one connection went.
enum Outcome {
    /// Nothing is wrong: the next request connects again.
    Idle,
    /// The server is down.
    Failed,
    /// The client wants no more connections.
    Finished,
}

impl Task {
    async fn run(mut self) {
        // Whatever ends the task, a panic or the runtime's end included: nobody waits for ever.
        let _ended = Ended(Arc::clone(&self.link));
        loop {
            self.link.set(Condition::Idle);
            if poll_fn(|cx| self.link.poll_demand(cx.waker())).await == Demand::End {
                return;
            }
            self.link.set(Condition::Connecting);
            let mut outcome = self.connect_and_drive(false).await;
            while let Outcome::Failed = outcome {
                if self.back_off().await {
                    return;
                }
                outcome = self.connect_and_drive(true).await;
            }
            if matches!(outcome, Outcome::Finished) {
                return;
            }
        }
    }

    /// Opens a connection and moves bytes until it ends; with `probe`, callers are let through only
    /// when the server has answered.
    async fn connect_and_drive(&mut self, probe: bool) -> Outcome {
        self.retry_from = Instant::now();
        let stream = match self.connect().await {
            Ok(stream) => stream,
            Err(reason) => return self.failed(&reason),
        };
        let now = Instant::now();
        self.link.connected(now);
        let probe_until = probe.then(|| after(now, self.config.timeout));
        match probe_until {
            Some(until) => self.link.probe(Deadline { at: until.into_std(), patience: Duration::ZERO }, now),
            None => {
                self.link.set(Condition::Connected);
            }
        }
        let end = Driver::new(Arc::clone(&self.endpoint.name), stream, Arc::clone(&self.link), probe_until).await;
        if self.link.has_replied() {
            self.failures = 0;
            self.retry_from = Instant::now();
        }
        self.ended(&end)
    }

    fn ended(&self, end: &End) -> Outcome {
        match end {
            End::Finished => Outcome::Finished,
            End::Closed if self.link.has_replied() && self.link.is_quiet() => {
                self.link.disconnect("the server closed the idle connection");
                Outcome::Idle
            }
            end => self.failed(&end.to_string()),
        }
    }

    /// Fails what is in flight, and requests from now on.
    fn failed(&self, reason: &str) -> Outcome {
        if self.link.set(Condition::Down(reason.to_owned())) {
            tracing::warn!(server = %self.endpoint.name, reason, "memcached server is down");
        } else {
            tracing::debug!(server = %self.endpoint.name, reason, "memcached server is still down");
        }
        self.link.disconnect(reason);
        match self.link.is_closed() {
            true => Outcome::Finished,
            false => Outcome::Failed,
        }
    }

    async fn connect(&self) -> Result<Box<dyn Stream>, String> {
        let settings = &self.config.transport;
        let opening = self.config.connector.connect(&self.endpoint.address, settings);
        let opening = timeout(settings.connect_timeout, opening);
        match self.while_expiring(opening).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no connection within {:?}", settings.connect_timeout)),
        }
    }

    /// Waits before the next attempt; whether the client was closed meanwhile.
    async fn back_off(&mut self) -> bool {
        let delay = self.config.reconnect.delay(self.failures, &mut self.random);
        self.failures = self.failures.saturating_add(1);
        // However long the attempt took, a moment passes before the next.
        let moment = delay.min(self.config.reconnect.first);
        let until = after(self.retry_from, delay).max(after(Instant::now(), moment));
        let mut wait = pin!(sleep_until(until));
        poll_fn(|cx| match self.link.poll_demand(cx.waker()) {
            Poll::Ready(Demand::End) => Poll::Ready(true),
            _ => wait.as_mut().poll(cx).map(|()| false),
        })
        .await
    }

    /// Runs a future, and gives up the requests that become due meanwhile.
    async fn while_expiring<T>(&self, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        let mut timer = pin!(sleep_until(Instant::now()));
        let mut wakers = Vec::new();
        poll_fn(|cx| {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(output);
            }
            // Whoever submits meanwhile has a deadline of its own to be watched.
            let _ = self.link.park(cx.waker(), false);
            while let Some(at) = self.link.expire(Instant::now(), &mut wakers) {
                wakers.drain(..).for_each(Waker::wake);
                timer.as_mut().reset(at);
                if timer.as_mut().poll(cx).is_pending() {
                    break;
                }
            }
            wakers.drain(..).for_each(Waker::wake);
            Poll::Pending
        })
        .await
    }
}

/// Tells everybody when the task is over, however it ended.
struct Ended(Arc<Link>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.task_ended("the connection's task ended");
    }
}
