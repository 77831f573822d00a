//! The task of one connection: connects when asked, drives, and after a failure connects again.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::client::after;
use crate::config::Config;
use crate::config::address::{Address, Endpoint};
use crate::connection::failure::Failure;
use crate::connection::handshake::{Established, ProtocolCache, ReconnectState, Refused, establish};
use crate::connection::io::{Driver, End};
use crate::connection::shared::{Demand, Link, NO_CREDENTIALS};
use crate::health::state::ConnectionState;
use crate::proto::Deadline;
use crate::transport::tls;

/// The task of one connection.
pub(crate) struct Task {
    endpoint: Endpoint,
    link: Arc<Link>,
    config: Arc<Config>,
    random: fastrand::Rng,
    failures: u32,
    /// What the wait before the next attempt counts from: the beginning of an attempt that failed, or
    /// the end of a connection that worked.
    retry_from: Instant,
    /// What is remembered of the server from one connection to the next.
    memory: ReconnectState,
    /// Why the server cannot be used, as it was last told.
    told: Option<Failure>,
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
    pub(crate) fn new(endpoint: Endpoint, link: Arc<Link>, config: Arc<Config>, protocols: Arc<ProtocolCache>) -> Self {
        let random = config.seed.map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed);
        Self {
            endpoint,
            link,
            config,
            random,
            failures: 0,
            retry_from: Instant::now(),
            memory: ReconnectState { refused: None, protocols },
            told: None,
        }
    }

    pub(crate) async fn run(mut self) {
        // Whatever ends the task, a panic or the runtime's end included: nobody waits for ever.
        let _ended = Ended(Arc::clone(&self.link));
        loop {
            self.link.set(ConnectionState::Idle);
            if poll_fn(|cx| self.link.poll_demand(cx.waker())).await == Demand::End {
                return;
            }
            self.link.set(ConnectionState::Connecting);
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
        let mut memory = std::mem::take(&mut self.memory);
        let connecting = establish(&self.endpoint, &self.config, &mut memory);
        let established = self.while_expiring(connecting).await;
        self.memory = memory;
        let Established { stream, credentials, negotiated } = match established {
            Ok(established) => established,
            Err(failure) => {
                // Who fails before the time is up was refused; then the other connections may well work.
                if self.retry_from.elapsed() < self.config.transport.connect_timeout {
                    self.link.heard();
                }
                return self.failed(failure);
            }
        };
        let now = Instant::now();
        self.link.connected(negotiated, now);
        let probe_until = probe.then(|| after(now, self.config.timeout));
        match probe_until {
            Some(until) => self.link.probe(Deadline { at: until.into_std(), patience: Duration::ZERO }, now),
            None => {
                self.link.set(ConnectionState::Connected);
            }
        }
        let (name, link) = (Arc::clone(&self.endpoint.name), Arc::clone(&self.link));
        let end = Driver::new(name, stream, link, probe_until, &self.config).await;
        if self.link.has_replied() && !self.link.is_stranger() {
            // A server may answer probes and nothing else: the wait grows until it answers a caller.
            if self.link.has_answered() {
                self.failures = 0;
            }
            self.retry_from = Instant::now();
            self.told = None;
        }
        if !self.link.has_replied() || matches!(end, End::Protocol(_)) {
            // Another server may be there, which speaks otherwise.
            self.memory.protocols.forget();
        }
        self.ended(&end, credentials.is_some())
    }

    fn ended(&mut self, end: &End, authenticated: bool) -> Outcome {
        match end {
            End::Finished => Outcome::Finished,
            _ if self.link.is_stranger() && !authenticated => {
                let failure = Failure::Refused(NO_CREDENTIALS.to_owned());
                self.memory.refused = Refused::by(&failure, None);
                self.failed(failure)
            }
            End::Closed if self.link.has_replied() && self.link.is_quiet() => {
                self.link.disconnect("the server closed the idle connection");
                Outcome::Idle
            }
            end => self.failed(self.failure(end)),
        }
    }

    /// What the end of a connection tells.
    fn failure(&self, end: &End) -> Failure {
        let is_new = !self.link.has_replied();
        match end {
            End::Io(error) if is_new => {
                // Servers refuse a client's certificate after the handshake.
                tls::failure(error).unwrap_or_else(|| Failure::Unreachable(self.with_hint(end)))
            }
            End::Closed if is_new => Failure::Unreachable(self.with_hint(end)),
            end => Failure::Unreachable(end.to_string()),
        }
    }

    /// A server that hangs up before its first reply may want TLS.
    fn with_hint(&self, end: &End) -> String {
        match (&self.config.tls, &self.endpoint.address) {
            (None, Address::Tcp { .. }) => {
                format!("{end} before its first reply: if it is a port for TLS, use memcacheds://")
            }
            _ => format!("{end} before the first reply"),
        }
    }

    /// Fails what is in flight, and requests from now on.
    fn failed(&mut self, failure: Failure) -> Outcome {
        let reason = failure.reason();
        let is_news = match failure.status() {
            Some(status) => self.link.refuse(status, reason),
            None => {
                let is_news = self.link.set(ConnectionState::Down(reason.to_owned()));
                self.link.disconnect(reason);
                is_news
            }
        };
        // That it is of no use to go on trying is told also of a server that was down before.
        let lasts_anew = failure.lasts() && self.told.as_ref() != Some(&failure);
        if is_news || lasts_anew {
            tracing::warn!(server = %self.endpoint.name, reason, "memcached server is down");
        } else {
            tracing::debug!(server = %self.endpoint.name, reason, "memcached server is still down");
        }
        self.told = Some(failure);
        match self.link.is_closed() {
            true => Outcome::Finished,
            false => Outcome::Failed,
        }
    }

    /// Waits before the next attempt; whether the client was closed meanwhile.
    async fn back_off(&mut self) -> bool {
        // What lasts until somebody changes something is not tried more often than at the cap.
        if self.told.as_ref().is_some_and(Failure::lasts) {
            self.failures = u32::MAX;
        }
        let wait = self.config.reconnect.wait(self.failures, self.retry_from.elapsed(), &mut self.random);
        self.failures = self.failures.saturating_add(1);
        let until = after(self.retry_from, wait);
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
