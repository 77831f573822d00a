//! The task of one connection: connects when asked, drives, and after a failure connects again.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};

use crate::client::address::Endpoint;
use crate::client::after;
use crate::client::condition::Condition;
use crate::client::config::Config;
use crate::client::driver::{Driver, End};
use crate::client::link::{Demand, Link};
use crate::client::transport::Stream;
use crate::proto::Deadline;

/// The task of one connection.
pub(super) struct Task {
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
    pub(super) fn new(endpoint: Endpoint, link: Arc<Link>, config: Arc<Config>) -> Self {
        let random = config.seed.map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed);
        Self { endpoint, link, config, random, failures: 0, retry_from: Instant::now() }
    }

    pub(super) async fn run(mut self) {
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
