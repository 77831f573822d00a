//! Stats of servers: their statistics at an instant.

use std::time::Instant;

use remcache::ServerHandle;
use remcache::health::ConnectionState;
use remcache::{Client, Error};
use tokio::task::JoinSet;

use crate::exit::words;

/// The statistics of one server at an instant.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) server: ServerHandle,
    pub(crate) at: Instant,
    pub(crate) stats: Result<Stats, Error>,
}

/// Names and values, in the server's order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stats(Vec<(String, String)>);

impl Stats {
    /// Every name with its value.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The value of a name.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// The value of a name, as a number.
    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.text(name)?.parse().ok()
    }

    /// The largest number among those whose name ends so; for figures that each slab class has.
    pub(crate) fn largest(&self, suffix: &str) -> Option<u64> {
        let numbers = self.iter().filter(|(name, _)| name.ends_with(suffix));
        numbers.filter_map(|(_, value)| value.parse().ok()).max()
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Stats {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(figures: I) -> Self {
        Self(figures.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

/// Samples of all servers, taken at the same time, in the order of the servers.
pub(crate) async fn fetch_all(client: &Client, group: &'static str) -> Vec<Snapshot> {
    let mut tasks = JoinSet::new();
    for (index, server) in client.servers().into_iter().enumerate() {
        tasks.spawn(async move {
            let stats = fetch(&server, group).await;
            (index, Snapshot { server, at: Instant::now(), stats })
        });
    }
    let mut snapshots = tasks.join_all().await;
    snapshots.sort_by_key(|(index, _)| *index);
    snapshots.into_iter().map(|(_, snapshot)| snapshot).collect()
}

/// The statistics of one server.
pub(crate) async fn fetch(server: &ServerHandle, group: &'static str) -> Result<Stats, Error> {
    let figures = server.stats(group).collect().await?;
    let text = |bytes: bytes::Bytes| String::from_utf8_lossy(&bytes).into_owned();
    Ok(figures.into_iter().map(|(name, value)| (text(name), text(value))).collect())
}

/// How many events each server could not even put into its log, since it started.
pub(crate) async fn dropped_events(client: &Client) -> Vec<u64> {
    let dropped = |snapshot: Snapshot| snapshot.stats.ok()?.number("log_worker_dropped");
    fetch_all(client, "").await.into_iter().map(|snapshot| dropped(snapshot).unwrap_or_default()).collect()
}

/// Why a server does not answer, in the fewest words: its name stands beside it.
pub(crate) fn reason(server: &ServerHandle, error: &Error) -> String {
    match server.state().condition {
        ConnectionState::Down(reason) => brief(&words(reason)),
        _ => {
            let text = words(error);
            brief(text.strip_prefix(&format!("{}: ", server.name())).unwrap_or(&text))
        }
    }
}

/// The words of the system without their number, as a part of a sentence: `connection refused`.
fn brief(text: &str) -> String {
    let Some((text, _)) = text.strip_suffix(')').and_then(|text| text.rsplit_once(" (os error ")) else {
        return text.to_owned();
    };
    let mut characters = text.chars();
    let first = characters.next().map(|first| first.to_ascii_lowercase());
    first.into_iter().chain(characters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_the_system_become_a_part_of_a_sentence() {
        assert_eq!(brief("Connection refused (os error 111)"), "connection refused");
        assert_eq!(brief("no connection within 1s"), "no connection within 1s");
        assert_eq!(brief("TLS failed (expired)"), "TLS failed (expired)");
    }

    #[test]
    fn figures_are_found_by_name() {
        let figures: Stats = [("items:1:age", "7"), ("items:12:age", "70"), ("version", "1.6")].into_iter().collect();
        assert_eq!(figures.text("version"), Some("1.6"));
        assert_eq!(figures.number("version"), None);
        assert_eq!(figures.largest(":age"), Some(70));
        assert_eq!(figures.largest(":none"), None);
    }
}
