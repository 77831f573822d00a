//! The task of one connection: connects on the first request, runs the I/O loop, reconnects after failures.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::address::{Address, Endpoint};
use crate::config::Config;
use crate::connection::handshake::{ProtocolCache, ReadyConnection, ReconnectState, Refused, establish};
use crate::connection::io::{CloseReason, IoLoop};
use crate::connection::shared::{NO_CREDENTIALS, TaskAction, TaskHandle};
use crate::connection::watchdog;
use crate::connection_failure::Failure;
use crate::health::state::ConnectionState;
use crate::proto::Deadline;
use crate::server::journal::{self, Journal};
use crate::time::after;
use crate::transport::tls;

/// The task of one connection.
pub(crate) struct ConnectionTask {
    endpoint: Endpoint,
    handle: TaskHandle,
    config: Arc<Config>,
    random: fastrand::Rng,
    /// The start of the backoff: when the last attempt began if it failed, or when the last connection closed.
    retry_from: Instant,
    /// Refused credentials and the last negotiated protocol.
    reconnect: ReconnectState,
    attempts: Attempts,
    /// Receives `attempts` when this task ends, for the next task of the connection.
    saved_attempts: Arc<Mutex<Attempts>>,
    /// Deletes to repeat on each new connection.
    journal: Arc<Journal>,
}

/// The history of connection attempts, which a task hands to its successor when its runtime ends.
#[derive(Debug, Default)]
pub(crate) struct Attempts {
    /// Consecutive failures.
    failures: u32,
    /// The credentials that were refused.
    refused: Option<Refused>,
    /// The failure that was logged last.
    last_reported: Option<Failure>,
}

/// The result of one connection, or of an attempt to connect.
enum ConnectionResult {
    /// The connection was idle when it closed: the next request connects again.
    Idle,
    /// The server is down.
    Failed,
    /// The client was closed, or another task has taken over.
    Finished,
}

impl ConnectionTask {
    pub(crate) fn new(
        endpoint: Endpoint,
        handle: TaskHandle,
        config: Arc<Config>,
        protocols: Arc<ProtocolCache>,
        saved_attempts: Arc<Mutex<Attempts>>,
        journal: Arc<Journal>,
    ) -> Self {
        let random = config.seed.map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed);
        let mut attempts = std::mem::take(&mut *saved_attempts.lock().unwrap_or_else(PoisonError::into_inner));
        let reconnect = ReconnectState { refused: attempts.refused.take(), protocols };
        Self {
            endpoint,
            handle,
            config,
            random,
            retry_from: Instant::now(),
            reconnect,
            attempts,
            saved_attempts,
            journal,
        }
    }

    pub(crate) async fn run(mut self) {
        loop {
            self.handle.set_state(ConnectionState::Idle);
            if poll_fn(|cx| self.handle.poll_action(cx.waker())).await == TaskAction::Stop {
                return;
            }
            self.handle.set_state(ConnectionState::Connecting);
            let mut outcome = self.connect_and_run(false).await;
            while let ConnectionResult::Failed = outcome {
                if self.wait_for_backoff().await {
                    return;
                }
                outcome = self.connect_and_run(true).await;
            }
            if matches!(outcome, ConnectionResult::Finished) {
                return;
            }
        }
    }

    /// Opens a connection and runs its I/O loop until it closes.
    ///
    /// With `probe`, requests are let through only once the server has answered a no-op.
    async fn connect_and_run(&mut self, probe: bool) -> ConnectionResult {
        self.retry_from = Instant::now();
        if probe {
            self.register_takeover_deadline(after(self.retry_from, self.config.transport.connect_timeout));
        }
        let Self { endpoint, handle, config, reconnect, journal, .. } = &mut *self;
        let connecting = async {
            let mut established = establish(endpoint, config, reconnect).await?;
            journal::replay(&mut established.stream, established.negotiated, journal, config.timeout).await?;
            Ok(established)
        };
        let established = run_while_expiring(handle, connecting).await;
        let ReadyConnection { stream, credentials, negotiated } = match established {
            Ok(established) => established,
            Err(failure) => {
                // A failure before the timeout shows that the host responds, so the server's other
                // connections may well work.
                if self.retry_from.elapsed() < self.config.transport.connect_timeout {
                    self.handle.mark_alive();
                }
                return self.failed(failure);
            }
        };
        let now = Instant::now();
        // Dereferenced, because `Box<dyn Stream>` implements `Stream` itself and would hide the concrete type.
        let (peer, certificate) = ((*stream).peer_addr(), (*stream).peer_certificate());
        self.handle.connected(negotiated, peer, certificate, now);
        let probe_deadline = probe.then(|| after(now, self.config.timeout));
        match probe_deadline {
            Some(until) => {
                self.register_takeover_deadline(until);
                self.handle.probe(Deadline { at: until.into_std(), extend_by: Duration::ZERO }, now);
            }
            None => {
                self.handle.set_state(ConnectionState::Connected);
            }
        }
        let (name, handle) = (Arc::clone(&self.endpoint.name), self.handle.clone());
        let reason = IoLoop::new(name, stream, handle, probe_deadline, &self.config).await;
        if !self.handle.is_current() {
            return ConnectionResult::Finished;
        }
        if self.handle.has_replied() && !self.handle.is_auth_required() {
            // A server may answer only probes: the backoff grows until it answers a caller.
            if self.handle.has_answered() {
                self.attempts.failures = 0;
            }
            self.retry_from = Instant::now();
            self.attempts.last_reported = None;
        }
        if !self.handle.has_replied() || matches!(reason, CloseReason::Protocol(_)) {
            // The server may have been replaced by one that supports other protocols.
            self.reconnect.protocols.forget();
        }
        self.ended(reason, credentials.is_some())
    }

    fn ended(&mut self, reason: CloseReason, authenticated: bool) -> ConnectionResult {
        match reason {
            CloseReason::Finished => ConnectionResult::Finished,
            _ if self.handle.is_auth_required() && !authenticated => {
                let failure = Failure::Refused(NO_CREDENTIALS.into());
                self.reconnect.refused = Refused::from_failure(&failure, None);
                self.failed(failure)
            }
            CloseReason::Closed if self.handle.has_replied() && !self.handle.has_waiters() => {
                self.handle.disconnect("the server closed the idle connection");
                ConnectionResult::Idle
            }
            reason => {
                let failure = self.failure(reason);
                self.failed(failure)
            }
        }
    }

    /// Converts the reason of a closed connection to a failure.
    fn failure(&self, reason: CloseReason) -> Failure {
        let is_new = !self.handle.has_replied();
        let text = match &reason {
            CloseReason::Io(_) | CloseReason::Closed if is_new => self.with_hint(&reason),
            reason => reason.to_string(),
        };
        match reason {
            // Servers refuse a client's certificate after the handshake.
            CloseReason::Io(error) if is_new => {
                tls::failure(&error).unwrap_or_else(|| Failure::unreachable(text, error))
            }
            CloseReason::Io(error) => Failure::unreachable(text, error),
            CloseReason::Protocol(error) => Failure::unreachable(text, error),
            _ => Failure::Unreachable(text.into()),
        }
    }

    /// Describes a connection that closed before the first reply; the server may expect TLS.
    fn with_hint(&self, reason: &CloseReason) -> String {
        match (&self.config.tls, &self.endpoint.address) {
            (None, Address::Tcp { .. }) => {
                format!(
                    "{reason} before its first reply: if it is a port for TLS, use memcacheds://; a proxy may not \
                     support the command"
                )
            }
            _ => format!("{reason} before the first reply"),
        }
    }

    /// Marks the server as down: fails the requests in flight, and later ones until it is back.
    fn failed(&mut self, failure: Failure) -> ConnectionResult {
        let reason = failure.reason();
        self.handle.record_failure(&failure);
        let is_change = match failure.status() {
            Some(status) => self.handle.refuse(status, reason),
            None => {
                let is_change = self.handle.set_state(ConnectionState::Down(reason.to_owned()));
                self.handle.disconnect(reason);
                is_change
            }
        };
        // A permanent failure is logged even if the server was down before.
        let is_new = failure.lasts() && self.attempts.last_reported.as_ref() != Some(&failure);
        if is_change || is_new {
            tracing::warn!(server = %self.endpoint.name, reason, "memcached server is down");
        } else {
            tracing::debug!(server = %self.endpoint.name, reason, "memcached server is still down");
        }
        self.attempts.last_reported = Some(failure);
        match self.handle.is_closed() {
            true => ConnectionResult::Finished,
            false => ConnectionResult::Failed,
        }
    }

    /// Lets the watchdog give the connection to another task if this one has not run by `at`: while the server is
    /// down there are no requests whose missed deadlines would reveal it.
    fn register_takeover_deadline(&self, at: Instant) {
        if self.config.runtime.is_replaceable()
            && let Some(due) = self.handle.register_takeover_deadline(at, Instant::now())
        {
            watchdog::watch(self.handle.shared().watched(), due);
        }
    }

    /// Waits before the next attempt; returns whether the client was closed in the meantime.
    async fn wait_for_backoff(&mut self) -> bool {
        // Permanent failures are retried at the maximum interval only.
        if self.attempts.last_reported.as_ref().is_some_and(Failure::lasts) {
            self.attempts.failures = u32::MAX;
        }
        let failures = self.attempts.failures;
        let wait = self.config.reconnect.wait(failures, self.retry_from.elapsed(), &mut self.random);
        self.attempts.failures = failures.saturating_add(1);
        let until = after(self.retry_from, wait);
        self.register_takeover_deadline(until);
        let mut wait = pin!(sleep_until(until));
        poll_fn(|cx| match self.handle.poll_action(cx.waker()) {
            Poll::Ready(TaskAction::Stop) => Poll::Ready(true),
            _ => wait.as_mut().poll(cx).map(|()| false),
        })
        .await
    }
}

/// Runs a future, and times out the requests that become due in the meantime.
async fn run_while_expiring<T>(handle: &TaskHandle, future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut timer = pin!(sleep_until(Instant::now()));
    let mut wakers = Vec::new();
    poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(output);
        }
        // A request that is submitted in the meantime may have an earlier deadline.
        let _ = handle.park(cx.waker(), false);
        while let Some(at) = handle.expire(Instant::now(), &mut wakers) {
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

impl Drop for ConnectionTask {
    /// Ends the task in any case: after the client was closed, after a panic, or at the end of the runtime.
    fn drop(&mut self) {
        if !self.handle.is_current() {
            return;
        }
        let attempts = Attempts { refused: self.reconnect.refused.take(), ..std::mem::take(&mut self.attempts) };
        // Stored before `end`, after which the next task can start.
        *self.saved_attempts.lock().unwrap_or_else(PoisonError::into_inner) = attempts;
        self.handle.end(if thread::panicking() { PANICKED } else { RUNTIME_ENDED });
    }
}

/// The reasons for failing the requests in flight when the task ends.
const RUNTIME_ENDED: &str = "the tokio runtime that the connection lived on has ended";
const PANICKED: &str = "the connection's task panicked";
