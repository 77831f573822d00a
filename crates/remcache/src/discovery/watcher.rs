//! Task that polls a source and applies valid lists to the client.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::sleep;

use super::list::List;
use super::{Discover, failed};
use crate::client::Client;
use crate::discovery::poll_backoff::Pace;
use crate::discovery::subscription::{Event, SharedSubscription, State, Subscription};
use crate::error::Error;

pub(crate) struct Watcher<S> {
    client: Client,
    source: S,
    pace: Pace,
    shared: Arc<SharedSubscription>,
    /// The list that the client uses: initially its own, then the source's.
    list: List,
}

/// Fetches the list once and validates it.
pub(crate) async fn fetch_list(source: &mut impl Discover) -> Result<Option<List>, Error> {
    match source.fetch_servers().await {
        Ok(Some(listed)) => List::check(listed).map(Some).map_err(|what| failed(source, &what)),
        Ok(None) => Ok(None),
        Err(failure) => Err(failed(source, &failure.to_string()).caused_by_shared(failure.into())),
    }
}

impl<S: Discover> Watcher<S> {
    /// Starts the task. If the client already has the first list, the next lookup is delayed by this
    /// duration.
    pub(crate) fn start(client: Client, source: S, pace: Pace, first: Option<(List, Duration)>) -> Subscription {
        let shared = SharedSubscription::new(State { source: source.name(), ..State::default() });
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
            let wait = match fetch_list(&mut self.source).await {
                Ok(Some(list)) => self.found(list),
                Ok(None) => break self.ended(),
                Err(error) => self.failed(error),
            };
            sleep(wait).await;
        }
    }

    /// Applies a valid list if it differs from the current one.
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
        let (added, removed) = (list.difference(&self.list), self.list.difference(&list));
        tracing::info!(source = self.source.name(), ?added, ?removed, "server list changed");
        let mut shared = self.shared.lock();
        shared.state.changed = Some(SystemTime::now());
        shared.publish(&Event::Changed { servers: list.addresses.clone(), added, removed });
        drop(shared);
        self.list = list;
    }

    /// Records a valid list, whether or not it is new.
    fn note(&self, list: &List) {
        let mut shared = self.shared.lock();
        let state = &mut shared.state;
        state.servers.clone_from(&list.addresses);
        if state.duplicates != list.duplicates {
            if !list.duplicates.is_empty() {
                tracing::warn!(source = self.source.name(), duplicates = ?list.duplicates, "server list contains duplicates");
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
            shared.publish(&Event::Recovered);
        }
    }

    fn failed(&mut self, error: Error) -> Duration {
        let mut shared = self.shared.lock();
        let is_news = shared.state.error.as_ref().is_none_or(|known| known.to_string() != error.to_string());
        // Do not log the same failure repeatedly.
        if is_news {
            tracing::warn!(source = self.source.name(), %error, "server list lookup failed: the last valid list stays in use");
        }
        shared.state.failures = shared.state.failures.saturating_add(1);
        shared.state.error = Some(error.clone());
        shared.publish(&Event::Failed(error));
        drop(shared);
        self.pace.after_failure(self.source.interval())
    }

    fn ended(&self) {
        tracing::info!(source = self.source.name(), "source ended: the server list stays as it is");
        let mut shared = self.shared.lock();
        shared.state.ended = true;
        shared.publish(&Event::Ended);
        shared.hang_up();
    }
}
