//! Server events: changes of server state, as a stream.

use std::fmt;
use std::future::Future;
use std::mem::discriminant;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Instant, SystemTime};

use futures_core::Stream;
use tokio::sync::broadcast::{Receiver, Sender, error::RecvError};

use crate::connection_failure::Failure;
use crate::health::state::{ConnectionState, representative};
use crate::observe::{ConnectionChanged, Observers, ServerChanged, ServerId};
use crate::policy::TimeoutStreak;
use crate::reason::Cause;

/// A change of a server's state.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServerEvent {
    /// The server's address as configured.
    pub server: Arc<str>,
    /// The previous state.
    pub before: ConnectionState,
    /// The new state; [`ConnectionState::Down`] has the reason.
    pub after: ConnectionState,
    /// The time of the change.
    pub at: SystemTime,
    /// The number of earlier events that were dropped because they were not read in time.
    pub missed: u64,
}

/// A stream of server events: see [`Client::events`](crate::client::Client::events).
///
/// # Cancel safety
/// Dropping it ends the stream and has no other effect.
#[must_use = "a stream does nothing unless it is polled"]
pub struct ServerEvents {
    next: Receive,
    missed: u64,
}

type Received = (Result<ServerEvent, RecvError>, Receiver<ServerEvent>);
type Receive = Pin<Box<dyn Future<Output = Received> + Send>>;

fn receive(mut receiver: Receiver<ServerEvent>) -> Receive {
    Box::pin(async move { (receiver.recv().await, receiver) })
}

impl ServerEvents {
    pub(crate) fn new(sender: &Sender<ServerEvent>) -> Self {
        Self { next: receive(sender.subscribe()), missed: 0 }
    }

    /// Returns the next event; `None` after the client and its connections have been dropped.
    ///
    /// # Cancel safety
    /// Dropping the future loses no event.
    pub async fn next(&mut self) -> Option<ServerEvent> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }
}

impl Stream for ServerEvents {
    type Item = ServerEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<ServerEvent>> {
        loop {
            let (received, receiver) = ready!(self.next.as_mut().poll(cx));
            self.next = receive(receiver);
            match received {
                Ok(event) => {
                    let missed = std::mem::take(&mut self.missed);
                    return Poll::Ready(Some(ServerEvent { missed, ..event }));
                }
                Err(RecvError::Lagged(count)) => self.missed += count,
                Err(RecvError::Closed) => return Poll::Ready(None),
            }
        }
    }
}

impl fmt::Debug for ServerEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerEvents").finish_non_exhaustive()
    }
}

/// Creates the channel of a client's events.
pub(crate) fn channel() -> Sender<ServerEvent> {
    Sender::new(MAX_UNREAD)
}

/// Maximum number of unread events; older ones are dropped.
const MAX_UNREAD: usize = 1024;

/// Tracks a server's health by the states of its connections, and reports changes.
#[derive(Debug)]
pub(crate) struct HealthMonitor {
    server: Arc<str>,
    state: Mutex<MonitorState>,
    streak: Arc<TimeoutStreak>,
    /// Consecutive timeouts after which the server counts as unresponsive; 0 for never.
    limit: u32,
    sender: Sender<ServerEvent>,
    /// The observers, and the server's name for them.
    reports: Option<(Observers, ServerId)>,
    /// The last failure of a connection that an error caused.
    last_failure: Mutex<Option<Failure>>,
}

/// The states that a monitor tracks.
#[derive(Debug)]
struct MonitorState {
    connections: Vec<ConnectionState>,
    /// When each connection entered its state.
    since: Vec<Instant>,
    /// The server state that was reported last.
    last_reported: ConnectionState,
}

impl HealthMonitor {
    /// Creates the monitor of a server with this many connections.
    pub(crate) fn new(
        server: Arc<str>,
        connections: usize,
        limit: u32,
        sender: Sender<ServerEvent>,
        reports: Option<(Observers, ServerId)>,
    ) -> Self {
        let state = MonitorState {
            connections: vec![ConnectionState::Idle; connections],
            since: vec![Instant::now(); connections],
            last_reported: ConnectionState::Idle,
        };
        let (state, last_failure) = (Mutex::new(state), Mutex::default());
        Self { server, state, streak: Arc::default(), limit, sender, reports, last_failure }
    }

    /// Records why a connection failed, for the errors of its requests.
    pub(crate) fn record_failure(&self, failure: &Failure) {
        if failure.cause().is_some() {
            *self.last_failure() = Some(failure.clone());
        }
    }

    /// Returns the error that caused the failure with this description, if it was the last one.
    pub(crate) fn cause_of(&self, reason: &str) -> Option<Cause> {
        let failure = self.last_failure();
        failure.as_ref().filter(|failure| failure.reason() == reason)?.cause().cloned()
    }

    fn last_failure(&self) -> MutexGuard<'_, Option<Failure>> {
        self.last_failure.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the timeout counter that all connections share.
    pub(crate) fn timeout_streak(&self) -> Arc<TimeoutStreak> {
        Arc::clone(&self.streak)
    }

    /// Returns whether the server counts as unresponsive: enough consecutive requests timed out, on any connections.
    #[inline]
    pub(crate) fn is_unresponsive(&self) -> bool {
        self.limit > 0 && self.streak.timeouts() >= self.limit
    }

    /// Records the new state of a connection; a closed one stays closed.
    pub(crate) fn changed(&self, connection: usize, condition: ConnectionState) {
        let mut monitored = self.state();
        let MonitorState { connections, since, .. } = &mut *monitored;
        let (Some(state), Some(since)) = (connections.get_mut(connection), since.get_mut(connection)) else { return };
        if *state == ConnectionState::Closed {
            return;
        }
        let before = std::mem::replace(state, condition);
        let before_duration = std::mem::replace(since, Instant::now()).elapsed();
        if let Some((observers, server)) = &self.reports
            && before != *state
        {
            let after = &*state;
            observers.connection_changed(&ConnectionChanged {
                server,
                connection,
                before: &before,
                after,
                before_duration,
            });
        }
        self.report(monitored);
    }

    /// Records that the server responded, even if only by refusing a connection: it is not unresponsive.
    pub(crate) fn mark_alive(&self) {
        let was_unresponsive = self.is_unresponsive();
        self.streak.reset();
        if was_unresponsive {
            self.recheck();
        }
    }

    /// Reports a change after the server may have become unresponsive, or responsive again.
    #[cold]
    pub(crate) fn recheck(&self) {
        self.report(self.state());
    }

    fn state(&self) -> MutexGuard<'_, MonitorState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reports the server's state if it changed. The lock is held until then, so that events are sent in order.
    fn report(&self, mut state: MutexGuard<'_, MonitorState>) {
        let index = representative(state.connections.iter(), self.is_unresponsive());
        let after = index.and_then(|index| state.connections.get(index)).unwrap_or(&ConnectionState::Closed).clone();
        if discriminant(&state.last_reported) == discriminant(&after) {
            return;
        }
        let before = std::mem::replace(&mut state.last_reported, after.clone());
        if let Some((observers, server)) = &self.reports {
            observers.server_changed(&ServerChanged { server, before: &before, after: &after });
        }
        let event = ServerEvent { server: Arc::clone(&self.server), before, after, at: SystemTime::now(), missed: 0 };
        // It fails without receivers, which is fine.
        let _ = self.sender.send(event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn down() -> ConnectionState {
        ConnectionState::Down("reason".to_owned())
    }

    #[tokio::test]
    async fn the_best_connection_determines_the_servers_state() {
        let sender = channel();
        let mut events = ServerEvents::new(&sender);
        let monitor = HealthMonitor::new("a:1".into(), 2, 3, sender, None);
        for (connection, condition) in [
            (0, ConnectionState::Connecting),
            (1, ConnectionState::Connecting),
            (0, ConnectionState::Connected),
            (1, down()),
            (1, down()),
            (0, down()),
            (0, ConnectionState::Closed),
            (1, ConnectionState::Closed),
            (1, ConnectionState::Connected),
        ] {
            monitor.changed(connection, condition);
        }
        drop(monitor);
        let mut seen = Vec::new();
        while let Some(event) = events.next().await {
            assert_eq!((&*event.server, event.missed), ("a:1", 0));
            seen.push((event.before, event.after));
        }
        let expected = [
            (ConnectionState::Idle, ConnectionState::Connecting),
            (ConnectionState::Connecting, ConnectionState::Connected),
            (ConnectionState::Connected, down()),
            (down(), ConnectionState::Closed),
        ];
        assert_eq!(seen, expected);
    }

    #[tokio::test]
    async fn a_slow_reader_learns_how_many_events_it_missed() {
        let sender = channel();
        let mut events = ServerEvents::new(&sender);
        let monitor = HealthMonitor::new("a:1".into(), 1, 3, sender, None);
        for _ in 0..MAX_UNREAD {
            monitor.changed(0, down());
            monitor.changed(0, ConnectionState::Connected);
        }
        let first = events.next().await.unwrap();
        assert_eq!(first.missed, MAX_UNREAD as u64);
        assert_eq!(events.next().await.unwrap().missed, 0);
    }
}
