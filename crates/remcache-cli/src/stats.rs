//! The statistics of servers at one point in time.

use std::time::Instant;

use remcache::ServerHandle;
use remcache::health::ConnectionState;
use remcache::{Client, Error};
use tokio::task::JoinSet;

use crate::exit::{brief, words, words_without};

/// The statistics of one server at one point in time.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) server: ServerHandle,
    pub(crate) at: Instant,
    pub(crate) stats: Result<Stats, Error>,
}

/// Statistics as names and values, in the order of the server.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stats(Vec<(String, String)>);

impl Stats {
    /// Returns the names with their values.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Returns the value of a statistic.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// Returns the value of a statistic as a number.
    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.text(name)?.parse().ok()
    }

    /// Returns the largest number among the statistics whose names end with a suffix: one for each slab class.
    pub(crate) fn largest(&self, suffix: &str) -> Option<u64> {
        let numbers = self.iter().filter(|(name, _)| name.ends_with(suffix));
        numbers.filter_map(|(_, value)| value.parse().ok()).max()
    }

    /// Returns the numbers after a prefix in names such as `items:3:age`, in the order of the server: of slab classes
    /// or connections.
    pub(crate) fn ids(&self, prefix: &str) -> Vec<&str> {
        let id = |name| str::strip_prefix(name, prefix)?.split_once(':').map(|(id, _)| id);
        let all = self.iter().filter_map(|(name, _)| id(name));
        let mut ids: Vec<&str> = all.filter(|id| id.bytes().all(|byte| byte.is_ascii_digit())).collect();
        ids.dedup();
        ids
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Stats {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(stats: I) -> Self {
        Self(stats.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

/// Returns the statistics of all servers, fetched at the same time, in the order of the servers.
pub(crate) async fn fetch_all(client: &Client, group: &'static str) -> Vec<Snapshot> {
    fetch_from(&client.servers(), group).await
}

/// Returns the statistics of these servers, in their order.
pub(crate) async fn fetch_from(servers: &[ServerHandle], group: &'static str) -> Vec<Snapshot> {
    let mut tasks = JoinSet::new();
    for (index, server) in servers.iter().cloned().enumerate() {
        tasks.spawn(async move {
            let stats = fetch(&server, group).await;
            (index, Snapshot { server, at: Instant::now(), stats })
        });
    }
    let mut snapshots = tasks.join_all().await;
    snapshots.sort_by_key(|(index, _)| *index);
    snapshots.into_iter().map(|(_, snapshot)| snapshot).collect()
}

/// Returns the statistics of one server.
pub(crate) async fn fetch(server: &ServerHandle, group: &'static str) -> Result<Stats, Error> {
    let stats = server.stats(group).collect().await?;
    let text = |bytes: bytes::Bytes| String::from_utf8_lossy(&bytes).into_owned();
    Ok(stats.into_iter().map(|(name, value)| (text(name), text(value))).collect())
}

/// Returns the number of events that each server dropped before they reached its log, since it started.
pub(crate) async fn dropped_events(client: &Client) -> Vec<u64> {
    let dropped = |snapshot: Snapshot| snapshot.stats.ok()?.number("log_worker_dropped");
    fetch_all(client, "").await.into_iter().map(|snapshot| dropped(snapshot).unwrap_or_default()).collect()
}

/// Returns the reason why a server does not answer, without the name of the server.
pub(crate) fn reason(server: &ServerHandle, error: &Error) -> String {
    match server.status().state {
        ConnectionState::Down(reason) => brief(&words(reason)),
        _ => brief(&words_without(server.name(), error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_are_found_by_name() {
        let stats: Stats = [("items:1:age", "7"), ("items:12:age", "70"), ("version", "1.6")].into_iter().collect();
        assert_eq!(stats.text("version"), Some("1.6"));
        assert_eq!(stats.number("version"), None);
        assert_eq!(stats.largest(":age"), Some(70));
        assert_eq!(stats.largest(":none"), None);
    }

    #[test]
    fn ids_are_read_from_the_names() {
        let items: Stats =
            [("items:1:number", "1"), ("items:1:age", "2"), ("items:12:number", "3")].into_iter().collect();
        assert_eq!(items.ids("items:"), ["1", "12"]);
        let slabs: Stats =
            [("1:chunk_size", "96"), ("5:chunk_size", "240"), ("active_slabs", "2")].into_iter().collect();
        assert_eq!(slabs.ids(""), ["1", "5"]);
    }
}
