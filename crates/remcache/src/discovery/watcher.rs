//! The task that looks at a source and hands good lists to the client.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::sleep;

use super::list::List;
use super::{Discover, failed};
use crate::client::Client;
use crate::discovery::poll_backoff::Pace;
use crate::discovery::subscription::{Event, Shared, State, Subscription};
use crate::error::Error;

pub(crate) struct Watcher<S> {
    client: Client,
    source: S,
    pace: Pace,
    shared: Arc<Shared>,
    /// The list that the client has: at first its own, then the source's.
    list: List,
}

/// Looks once, and checks what it finds.
pub(crate) async fn look(source: &mut impl Discover) -> Result<Option<List>, Error> {
    match source.look().await {
        Ok(Some(told)) => List::check(told).map(Some).map_err(|what| failed(source, &what)),
        Ok(None) => Ok(None),
        Err(failure) => Err(failed(source, &failure.to_string())),
    }
}

impl<S: Discover> Watcher<S> {
    /// Starts the task; with a first list the client has that one already, and the next look has to
    /// wait so long.
    pub(crate) fn start(client: Client, source: S, pace: Pace, first: Option<(List, Duration)>) -> Subscription {
        let shared = Shared::new(State { source: source.name(), ..State::default() });
        let (list, wait) = match first {
            Some((list, wait)) => (list, Some(wait)),
            None => (List::of(&client), None),
        };
        let follower = Self { client, source, pace, shared: Arc::clone(&shared), list };
        if wait.is_some() {
            follower.note(&follower.list);
            shared.lock().state.changed = Some(SystemTime::now());
        }
        let task = tokio::spawn(follower.run(wait.unwrap_or_default())).abort_handle();
        Subscription { shared, task }
    }

    async fn run(mut self, first_wait: Duration) {
        sleep(first_wait).await;
        loop {
            let wait = match look(&mut self.source).await {
                Ok(Some(list)) => self.found(list),
                Ok(None) => break self.ended(),
                Err(error) => self.failed(error),
            };
            sleep(wait).await;
        }
    }

    /// Applies a good list, if it is another one.
    fn found(&mut self, list: List) -> Duration {
        let is_another = self.list.endpoints != list.endpoints;
        if is_another && let Err(error) = self.client.set_servers(&list.addresses) {
            return self.failed(failed(&self.source, &error.to_string()));
        }
        self.recover();
        self.note(&list);
        if is_another {
            self.change(list);
        }
        self.pace.after_success(self.source.interval())
    }

    fn change(&mut self, list: List) {
        let (added, removed) = (list.without(&self.list), self.list.without(&list));
        tracing::info!(source = self.source.name(), ?added, ?removed, "the list of servers changed");
        let mut shared = self.shared.lock();
        shared.state.changed = Some(SystemTime::now());
        shared.tell(&Event::Changed { servers: list.addresses.clone(), added, removed });
        drop(shared);
        self.list = list;
    }

    /// Notes a good list, be it new or not.
    fn note(&self, list: &List) {
        let mut shared = self.shared.lock();
        let state = &mut shared.state;
        state.servers.clone_from(&list.addresses);
        if state.duplicates != list.duplicates {
            if !list.duplicates.is_empty() {
                tracing::warn!(source = self.source.name(), duplicates = ?list.duplicates, "listed more than once");
            }
            state.duplicates.clone_from(&list.duplicates);
        }
        state.confirmed = Some(SystemTime::now());
    }

    fn recover(&self) {
        let mut shared = self.shared.lock();
        if shared.state.failures > 0 {
            tracing::info!(source = self.source.name(), failures = shared.state.failures, "a list of servers again");
            (shared.state.failures, shared.state.error) = (0, None);
            shared.tell(&Event::Recovered);
        }
    }

    fn failed(&mut self, error: Error) -> Duration {
        let mut shared = self.shared.lock();
        let is_news = shared.state.error.as_ref().is_none_or(|known| known.to_string() != error.to_string());
        // The same failure once a second says nothing new.
        if is_news {
            tracing::warn!(source = self.source.name(), %error, "no list of servers: the last good one stays in use");
        }
        shared.state.failures = shared.state.failures.saturating_add(1);
        shared.state.error = Some(error.clone());
        shared.tell(&Event::Failed(error));
        drop(shared);
        self.pace.after_failure(self.source.interval())
    }

    fn ended(&self) {
        tracing::info!(source = self.source.name(), "the source has ended: the list of servers stays as it is");
        let mut shared = self.shared.lock();
        shared.state.ended = true;
        shared.tell(&Event::Ended);
        shared.hang_up();
    }
}
