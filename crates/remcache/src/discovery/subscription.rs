//! Subscription to a source: its current state, and its events as a stream.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::SystemTime;

use futures_core::Stream;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::error::Error;

/// Keeps a client's server list up to date until it is dropped.
///
/// It holds a clone of the client.
#[must_use = "the client's server list is no longer updated when this is dropped"]
pub struct Subscription {
    pub(crate) shared: Arc<SharedSubscription>,
    pub(crate) task: AbortHandle,
}

/// The state of a source.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct State {
    /// Name of the source.
    pub source: String,
    /// The last valid list, without duplicates; empty before the first.
    pub servers: Vec<String>,
    /// Duplicates in that list, which were dropped.
    pub duplicates: Vec<String>,
    /// Time of the last valid list, even if it was unchanged.
    pub confirmed: Option<SystemTime>,
    /// Time of the last change of the list.
    pub changed: Option<SystemTime>,
    /// Last error since the last valid list, if any.
    pub error: Option<Error>,
    /// Number of failed lookups since the last valid list.
    pub failures: u32,
    /// Whether the source has ended; the list then stays as it is.
    pub ended: bool,
}

/// An event of a source.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// The server list changed.
    Changed {
        /// The complete list.
        servers: Vec<String>,
        /// Added servers; a server whose weight changed counts as added.
        added: Vec<String>,
        /// Removed servers.
        removed: Vec<String>,
    },
    /// A lookup failed; the last valid list stays in use.
    Failed(Error),
    /// A lookup succeeded after failures.
    Recovered,
    /// The source has ended; the list stays as it is.
    Ended,
}

impl Subscription {
    /// Returns the current state of the source.
    pub fn state(&self) -> State {
        self.shared.lock().state.clone()
    }

    /// Returns a stream of the events from now on.
    ///
    /// A stream that is not read buffers 64 events and drops later ones; the [state](Subscription::state) is always
    /// current.
    pub fn events(&self) -> Events {
        let (sender, receiver) = mpsc::channel(EVENTS);
        self.shared.lock().listeners.push(sender);
        Events(receiver)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Subscription").field(&self.state()).finish()
    }
}

/// Stream of a source's events; it ends with the source or its subscription.
#[derive(Debug)]
pub struct Events(mpsc::Receiver<Event>);

impl Events {
    /// Returns the next event; `None` if the stream has ended.
    ///
    /// # Cancel safety
    /// No event is lost.
    pub async fn next(&mut self) -> Option<Event> {
        self.0.recv().await
    }
}

impl Stream for Events {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.0.poll_recv(cx)
    }
}

/// State shared by the task and its handle.
#[derive(Debug, Default)]
pub(crate) struct SharedSubscription(Mutex<SubscriptionState>);

#[derive(Debug, Default)]
pub(crate) struct SubscriptionState {
    pub(crate) state: State,
    listeners: Vec<mpsc::Sender<Event>>,
}

impl SharedSubscription {
    pub(crate) fn new(state: State) -> Arc<Self> {
        Arc::new(Self(Mutex::new(SubscriptionState { state, listeners: Vec::new() })))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, SubscriptionState> {
        // Fields are replaced one at a time, so the state stays valid even after a panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SubscriptionState {
    /// Publishes an event to all listeners, and removes closed ones.
    pub(crate) fn publish(&mut self, event: &Event) {
        self.listeners.retain(|listener| {
            // A full channel drops the event, as documented.
            let _ = listener.try_send(event.clone());
            !listener.is_closed()
        });
    }

    /// Closes all event streams.
    pub(crate) fn hang_up(&mut self) {
        self.listeners.clear();
    }
}

/// Capacity of an event stream.
const EVENTS: usize = 64;
