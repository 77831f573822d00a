//! What a source has told so far: its state now, and its events as a stream.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::SystemTime;

use futures_core::Stream;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::error::Error;

/// A client is kept at the list of a source as long as this value lives.
///
/// It holds a clone of the client.
#[must_use = "the client is no longer kept at the list when this is dropped"]
pub struct Subscription {
    pub(crate) shared: Arc<Shared>,
    pub(crate) task: AbortHandle,
}

/// What is known of a source.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct State {
    /// What the source is called.
    pub source: String,
    /// The last good list, without duplicates; empty before the first.
    pub servers: Vec<String>,
    /// What that list had twice, and what was left out therefore.
    pub duplicates: Vec<String>,
    /// When the source last told a good list, be it the same as before.
    pub confirmed: Option<SystemTime>,
    /// When the list last changed.
    pub changed: Option<SystemTime>,
    /// Why looks have failed since the last good list, if they have.
    pub error: Option<Error>,
    /// How many looks have failed since the last good list.
    pub failures: u32,
    /// Whether the source has ended: the list stays as it is.
    pub ended: bool,
}

/// What happened to a source.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// The client has another list.
    Changed {
        /// The whole list.
        servers: Vec<String>,
        /// Which of them are new; a server with another weight is new too.
        added: Vec<String>,
        /// Which are gone.
        removed: Vec<String>,
    },
    /// A look failed: the last good list stays in use.
    Failed(Error),
    /// A look succeeded after failures.
    Recovered,
    /// The source has ended: the list stays as it is.
    Ended,
}

impl Subscription {
    /// What is known of the source now.
    pub fn state(&self) -> State {
        self.shared.lock().state.clone()
    }

    /// The events from now on.
    ///
    /// A stream that nobody reads keeps its first 64 events and loses what comes then; the
    /// [state](Subscription::state) is always that of now.
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

/// The events of a source; it ends when the source has ended or nobody follows it any more.
#[derive(Debug)]
pub struct Events(mpsc::Receiver<Event>);

impl Events {
    /// The next event; `None` if there will never be another.
    ///
    /// # Cancellation
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

/// What the task and its handle have in common.
#[derive(Debug, Default)]
pub(crate) struct Shared(Mutex<Inner>);

#[derive(Debug, Default)]
pub(crate) struct Inner {
    pub(crate) state: State,
    listeners: Vec<mpsc::Sender<Event>>,
}

impl Shared {
    pub(crate) fn new(state: State) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Inner { state, listeners: Vec::new() })))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        // The state is replaced field by field, each whole, so it is of use whatever happened.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Tells an event to all who listen, and forgets those who no longer do.
    pub(crate) fn tell(&mut self, event: &Event) {
        self.listeners.retain(|listener| {
            // A full channel loses the event, as its documentation says.
            let _ = listener.try_send(event.clone());
            !listener.is_closed()
        });
    }

    /// Ends the streams of events.
    pub(crate) fn hang_up(&mut self) {
        self.listeners.clear();
    }
}

/// How many events wait for somebody who does not read them.
const EVENTS: usize = 64;
