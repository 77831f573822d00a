//! The task of one connection: connects when asked, drives, and after a failure connects again.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::address::{Address, Endpoint};
use crate::config::Config;
use crate::connection::handshake::{Established, ProtocolCache, ReconnectState, Refused, establish};
use crate::connection::io::{Driver, End};
use crate::connection::shared::{Demand, NO_CREDENTIALS, TaskHandle};
use crate::connection::watchdog;
use crate::failure::Failure;
use crate::health::state::ConnectionState;
use crate::proto::Deadline;
use crate::server::journal::{self, Journal};
use crate::time::after;
use crate::transport::tls;

/// The task of one connection.
pub(crate) struct Task {
    endpoint: Endpoint,
    link: TaskHandle,
    config: Arc<Config>,
    random: fastrand::Rng,
    /// What the wait before the next attempt counts from: the beginning of an attempt that failed, or
    /// the end of a connection that worked.
    retry_from: Instant,
    /// What is remembered of the server from one connection to the next.
    memory: ReconnectState,
    attempts: Attempts,
    /// Where the next task of the connection finds them.
    left_to_next: Arc<Mutex<Attempts>>,
    /// Deletes to repeat on each new connection.
    journal: Arc<Journal>,
}

/// How the attempts to connect have gone: what a task leaves to the next one when its runtime ends.
#[derive(Debug, Default)]
pub(crate) struct Attempts {
    /// Failures in a row.
    failures: u32,
    /// The credentials that were refused.
    refused: Option<Refused>,
    /// Why the server cannot be used, as it was last reported.
    last_reported: Option<Failure>,
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
    pub(crate) fn new(
        endpoint: Endpoint,
        link: TaskHandle,
        config: Arc<Config>,
        protocols: Arc<ProtocolCache>,
        left_to_next: Arc<Mutex<Attempts>>,
        journal: Arc<Journal>,
    ) -> Self {
        let random = config.seed.map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed);
        let mut attempts = std::mem::take(&mut *left_to_next.lock().unwrap_or_else(PoisonError::into_inner));
        let memory = ReconnectState { refused: attempts.refused.take(), protocols };
        Self { endpoint, link, config, random, retry_from: Instant::now(), memory, attempts, left_to_next, journal }
    }

    pub(crate) async fn run(mut self) {
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
        if probe {
            self.act_by(after(self.retry_from, self.config.transport.connect_timeout));
        }
        let Self { endpoint, link, config, memory, journal, .. } = &mut *self;
        let connecting = async {
            let mut established = establish(endpoint, config, memory).await?;
            journal::replay(&mut established.stream, established.negotiated, journal, config.timeout).await?;
            Ok(established)
        };
        let established = while_expiring(link, connecting).await;
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
        // Of the stream in the box, not of the box, which is a stream of another type.
        let (peer, certificate) = ((*stream).peer_addr(), (*stream).peer_certificate());
        self.link.connected(negotiated, peer, certificate, now);
        let probe_until = probe.then(|| after(now, self.config.timeout));
        match probe_until {
            Some(until) => {
                self.act_by(until);
                self.link.probe(Deadline { at: until.into_std(), extend_by: Duration::ZERO }, now);
            }
            None => {
                self.link.set(ConnectionState::Connected);
            }
        }
        let (name, link) = (Arc::clone(&self.endpoint.name), self.link.clone());
        let end = Driver::new(name, stream, link, probe_until, &self.config).await;
        if !self.link.is_current() {
            return Outcome::Finished;
        }
        if self.link.has_replied() && !self.link.is_stranger() {
            // A server may answer probes and nothing else: the wait grows until it answers a caller.
            if self.link.has_answered() {
                self.attempts.failures = 0;
            }
            self.retry_from = Instant::now();
            self.attempts.last_reported = None;
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

    /// What the end of a connection means for the next attempt.
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
        // A permanent failure is reported also for a server that was down before.
        let is_new = failure.lasts() && self.attempts.last_reported.as_ref() != Some(&failure);
        if is_news || is_new {
            tracing::warn!(server = %self.endpoint.name, reason, "memcached server is down");
        } else {
            tracing::debug!(server = %self.endpoint.name, reason, "memcached server is still down");
        }
        self.attempts.last_reported = Some(failure);
        match self.link.is_closed() {
            true => Outcome::Finished,
            false => Outcome::Failed,
        }
    }

    /// Has the watchdog free the connection for another task if this one does not run any more: while the server is
    /// down there are no requests, whose deadlines would show it.
    fn act_by(&self, at: Instant) {
        if self.config.runtime.is_replaceable()
            && let Some(due) = self.link.act_by(at, Instant::now())
        {
            watchdog::watch(self.link.shared().watched(), due);
        }
    }

    /// Waits before the next attempt; returns whether the client was closed in the meantime.
    async fn back_off(&mut self) -> bool {
        // Permanent failures are retried at the maximum interval only.
        if self.attempts.last_reported.as_ref().is_some_and(Failure::lasts) {
            self.attempts.failures = u32::MAX;
        }
        let failures = self.attempts.failures;
        let wait = self.config.reconnect.wait(failures, self.retry_from.elapsed(), &mut self.random);
        self.attempts.failures = failures.saturating_add(1);
        let until = after(self.retry_from, wait);
        self.act_by(until);
        let mut wait = pin!(sleep_until(until));
        poll_fn(|cx| match self.link.poll_demand(cx.waker()) {
            Poll::Ready(Demand::End) => Poll::Ready(true),
            _ => wait.as_mut().poll(cx).map(|()| false),
        })
        .await
    }
}

/// Runs a future, and gives up the requests that become due in the meantime.
async fn while_expiring<T>(link: &TaskHandle, future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut timer = pin!(sleep_until(Instant::now()));
    let mut wakers = Vec::new();
    poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(output);
        }
        // A request that is submitted in the meantime may have an earlier deadline.
        let _ = link.park(cx.waker(), false);
        while let Some(at) = link.expire(Instant::now(), &mut wakers) {
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

impl Drop for Task {
    /// Ends the task, whatever the reason: a closed client, a panic, the end of the runtime.
    fn drop(&mut self) {
        if !self.link.is_current() {
            return;
        }
        let attempts = Attempts { refused: self.memory.refused.take(), ..std::mem::take(&mut self.attempts) };
        // Before the next task can start.
        *self.left_to_next.lock().unwrap_or_else(PoisonError::into_inner) = attempts;
        self.link.end(if thread::panicking() { PANICKED } else { RUNTIME_ENDED });
    }
}

/// Why requests end with the task.
const RUNTIME_ENDED: &str = "the tokio runtime that the connection lived on has ended";
const PANICKED: &str = "the connection's task panicked";
