//! What happens to servers, as a stream: for operators.

use std::fmt;
use std::future::Future;
use std::mem::discriminant;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Instant, SystemTime};

use futures_core::Stream;
use tokio::sync::broadcast::{Receiver, Sender, error::RecvError};

use crate::health::state::{ConnectionState, representative};
use crate::observe::{ConnectionChanged, Observers, ServerChanged, ServerName};
use crate::policy::Row;

/// A server became something else to us.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServerEvent {
    /// The server, as it was configured.
    pub server: Arc<str>,
    /// What it was.
    pub before: ConnectionState,
    /// What it is; [`ConnectionState::Down`] says why.
    pub after: ConnectionState,
    /// When.
    pub at: SystemTime,
    /// How many events before this one were lost, because they were not read in time.
    pub missed: u64,
}

/// The events of a client's servers, as they happen: see [`Client::events`](crate::client::Client::events).
///
/// # Cancellation
/// Dropping it ends the stream, and changes nothing else.
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

    /// The next event; `None` when the client and its connections are gone.
    ///
    /// # Cancellation
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

/// Where a client's events are sent.
pub(crate) fn channel() -> Sender<ServerEvent> {
    Sender::new(MOST_UNREAD)
}

/// How many events wait for a reader; older ones are lost to it.
const MOST_UNREAD: usize = 1024;

/// Makes events of a server of what happens to its connections.
#[derive(Debug)]
pub(crate) struct HealthMonitor {
    server: Arc<str>,
    known: Mutex<Known>,
    row: Arc<Row>,
    /// Consecutive timeouts after which the server counts as unresponsive; 0 for never.
    limit: u32,
    sender: Sender<ServerEvent>,
    /// The observers, and what they know the server by.
    reports: Option<(Observers, ServerName)>,
}

/// What is known of a server.
#[derive(Debug)]
struct Known {
    connections: Vec<ConnectionState>,
    /// Since when each connection is in its state.
    since: Vec<Instant>,
    /// The state reported last.
    last_reported: ConnectionState,
}

impl HealthMonitor {
    /// Creates the monitor of a server with this many connections.
    pub(crate) fn new(
        server: Arc<str>,
        connections: usize,
        limit: u32,
        sender: Sender<ServerEvent>,
        reports: Option<(Observers, ServerName)>,
    ) -> Self {
        let known = Known {
            connections: vec![ConnectionState::Idle; connections],
            since: vec![Instant::now(); connections],
            last_reported: ConnectionState::Idle,
        };
        Self { server, known: Mutex::new(known), row: Arc::default(), limit, sender, reports }
    }

    /// The timeouts of all connections.
    pub(crate) fn row(&self) -> Arc<Row> {
        Arc::clone(&self.row)
    }

    /// Whether enough consecutive requests timed out, on any connections, that the server counts as unresponsive.
    #[inline]
    pub(crate) fn is_silent(&self) -> bool {
        self.limit > 0 && self.row.timeouts() >= self.limit
    }

    /// A connection became something else; what is closed stays closed.
    pub(crate) fn changed(&self, connection: usize, condition: ConnectionState) {
        let mut known = self.known();
        let Known { connections, since, .. } = &mut *known;
        let (Some(state), Some(since)) = (connections.get_mut(connection), since.get_mut(connection)) else { return };
        if *state == ConnectionState::Closed {
            return;
        }
        let before = std::mem::replace(state, condition);
        let after_time = std::mem::replace(since, Instant::now()).elapsed();
        if let Some((observers, server)) = &self.reports
            && before != *state
        {
            let after = &*state;
            observers.connection_changed(&ConnectionChanged { server, connection, before: &before, after, after_time });
        }
        self.report(known);
    }

    /// The server was heard, if only to refuse a connection: it is not silent.
    pub(crate) fn mark_alive(&self) {
        let was_silent = self.is_silent();
        self.row.reset();
        if was_silent {
            self.look_again();
        }
    }

    /// The server became silent, or no longer is.
    #[cold]
    pub(crate) fn look_again(&self) {
        self.report(self.known());
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reports the state of the server if it changed. Events are sent in order, so the lock is held
    /// until it was.
    fn report(&self, mut known: MutexGuard<'_, Known>) {
        let place = representative(known.connections.iter(), self.is_silent());
        let after = place.and_then(|place| known.connections.get(place)).unwrap_or(&ConnectionState::Closed).clone();
        if discriminant(&known.last_reported) == discriminant(&after) {
            return;
        }
        let before = std::mem::replace(&mut known.last_reported, after.clone());
        if let Some((observers, server)) = &self.reports {
            observers.server_changed(&ServerChanged { server, before: &before, after: &after });
        }
        let event = ServerEvent { server: Arc::clone(&self.server), before, after, at: SystemTime::now(), missed: 0 };
        // There may be no listener.
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
    async fn a_server_is_what_its_best_connection_is() {
        let sender = channel();
        let mut events = ServerEvents::new(&sender);
        let watch = HealthMonitor::new("a:1".into(), 2, 3, sender, None);
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
            watch.changed(connection, condition);
        }
        drop(watch);
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
    async fn a_slow_reader_is_told_what_it_missed() {
        let sender = channel();
        let mut events = ServerEvents::new(&sender);
        let watch = HealthMonitor::new("a:1".into(), 1, 3, sender, None);
        for _ in 0..MOST_UNREAD {
            watch.changed(0, down());
            watch.changed(0, ConnectionState::Connected);
        }
        let first = events.next().await.unwrap();
        assert_eq!(first.missed, MOST_UNREAD as u64);
        assert_eq!(events.next().await.unwrap().missed, 0);
    }
}
