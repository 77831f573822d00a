//! Aggregation of the servers' logs: fetches by key or by prefix, and events that the servers dropped.

use bytes::Bytes;
use remcache::proto::text::LogLine;

use super::counter::{Fetch, KeyCounts, LossyCounter};
use crate::commands::prefix::PrefixRule;

/// Aggregated logs of all servers.
#[derive(Debug)]
pub(super) struct Aggregator {
    /// Counts by server and key: the index of the server precedes the key, as the servers' scales differ.
    counter: LossyCounter,
    servers: Vec<ServerEvents>,
    /// The grouping of keys; `None` counts each key.
    grouping: Option<PrefixRule>,
    /// Reused memory for the server and the key.
    buffer: Vec<u8>,
}

/// Events of one server.
#[derive(Debug, Default)]
struct ServerEvents {
    /// Reported events of any kind.
    reported: u64,
    /// Events that the server dropped.
    skipped: u64,
    /// Reported fetches of any key.
    gets: u64,
    /// A fetch that is the first step of a store if the next line says so.
    pending: Option<PendingGet>,
}

#[derive(Debug)]
struct PendingGet {
    key: Bytes,
    /// Descriptor of the client's connection; old servers do not report it.
    connection: Option<u64>,
    fetch: Fetch,
}

/// Counts of one key, or of the keys with one prefix, at one server.
#[derive(Clone, Debug)]
pub(super) struct Counted {
    pub(super) server: usize,
    pub(super) key: Vec<u8>,
    pub(super) counts: KeyCounts,
}

impl Aggregator {
    /// Creates an aggregator for a number of servers, which distinguishes at least `capacity` keys.
    pub(super) fn new(servers: usize, capacity: usize, grouping: Option<PrefixRule>) -> Self {
        let servers = (0..servers).map(|_| ServerEvents::default()).collect();
        Self { counter: LossyCounter::new(capacity), servers, grouping, buffer: Vec::new() }
    }

    /// Handles a line of a server's log; fetches of other keys than the selected ones are not counted by key.
    pub(super) fn handle_line(&mut self, server: usize, line: &[u8], is_selected: impl Fn(&[u8]) -> bool) {
        let line = LogLine::parse(line);
        let Some(events) = self.servers.get_mut(server) else { return };
        events.skipped += line.skipped();
        let Some(kind) = line.kind() else { return };
        events.reported += 1;
        let (key, connection) = (line.key().unwrap_or_default(), line.number("cfd"));
        match (kind, events.pending.take()) {
            // A store looks the item up first, and the server reports that as a fetch.
            (b"item_store", Some(pending)) if pending.key == key && pending.connection == connection => {}
            (_, Some(pending)) => self.count(server, &pending, &is_selected),
            (_, None) => {}
        }
        if kind == b"item_get" {
            let is_hit = line.field("status") == Some(b"found");
            let fetch = Fetch { is_hit, size: line.number("size") };
            self.servers[server].pending = Some(PendingGet { key, connection, fetch });
        }
    }

    /// Counts the fetches that were still waiting for the next line.
    pub(super) fn finish(&mut self, is_selected: impl Fn(&[u8]) -> bool) {
        for server in 0..self.servers.len() {
            if let Some(pending) = self.servers[server].pending.take() {
                self.count(server, &pending, &is_selected);
            }
        }
    }

    fn count(&mut self, server: usize, pending: &PendingGet, is_selected: impl Fn(&[u8]) -> bool) {
        self.servers[server].gets += 1;
        if is_selected(&pending.key) {
            let key = self.grouping.as_ref().map_or(&*pending.key, |rule| rule.prefix(&pending.key));
            self.buffer.clear();
            self.buffer.extend_from_slice(&(server as u32).to_be_bytes());
            self.buffer.extend_from_slice(key);
            self.counter.count(&self.buffer, pending.fetch);
        }
    }

    /// Adds events that a server dropped before they reached its log.
    pub(super) fn add_skipped(&mut self, server: usize, events: u64) {
        if let Some(server) = self.servers.get_mut(server) {
            server.skipped += events;
        }
    }

    /// Returns the ratio of all events of a server to the reported ones.
    pub(super) fn scale(&self, server: usize) -> f64 {
        let events = self.servers.get(server).filter(|events| events.reported > 0);
        events.map_or(1.0, |events| (events.reported + events.skipped) as f64 / events.reported as f64)
    }

    /// Estimates the number of fetches on all servers, including those that were not reported.
    pub(super) fn gets(&self) -> f64 {
        let gets = |(server, events): (usize, &ServerEvents)| events.gets as f64 * self.scale(server);
        self.servers.iter().enumerate().map(gets).sum()
    }

    /// Returns the number of reported events.
    pub(super) fn events(&self) -> u64 {
        self.servers.iter().map(|events| events.reported).sum()
    }

    /// Returns the number of dropped events.
    pub(super) fn skipped(&self) -> u64 {
        self.servers.iter().map(|events| events.skipped).sum()
    }

    /// Returns the number of keys tracked at the moment.
    pub(super) fn keys(&self) -> usize {
        self.counter.len()
    }

    /// Returns all counts, in no particular order.
    pub(super) fn counted(&self) -> Vec<Counted> {
        let split = |(key, counts): (&[u8], KeyCounts)| {
            let (server, key) = key.split_first_chunk::<4>()?;
            Some(Counted { server: u32::from_be_bytes(*server) as usize, key: key.to_vec(), counts })
        };
        self.counter.entries().filter_map(split).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aggregated(lines: &[&str]) -> Aggregator {
        let mut aggregator = Aggregator::new(1, 10, None);
        lines.iter().for_each(|line| aggregator.handle_line(0, line.as_bytes(), |_| true));
        aggregator.finish(|_| true);
        aggregator
    }

    /// Keys with gets and hits, the most frequent first.
    fn gets(aggregator: &Aggregator) -> Vec<(String, u64, u64)> {
        let mut counted = aggregator.counted();
        counted.sort_by_key(|counted| std::cmp::Reverse(counted.counts.gets));
        let row = |counted: Counted| {
            (String::from_utf8_lossy(&counted.key).into_owned(), counted.counts.gets, counted.counts.hits)
        };
        counted.into_iter().map(row).collect()
    }

    #[test]
    fn fetches_are_counted_by_key_and_stores_are_not() {
        let aggregator = aggregated(&[
            "ts=1.1 gid=1 type=item_get key=a status=not_found clsid=0 cfd=24 size=0",
            "ts=1.1 gid=2 type=item_get key=a status=not_found clsid=0 cfd=24 size=0",
            "ts=1.1 gid=3 type=item_store key=a status=stored cmd=set ttl=0 clsid=1 cfd=24 size=3",
            "ts=1.1 gid=4 type=item_get key=a status=found clsid=1 cfd=24 size=3",
            "ts=1.1 gid=5 type=item_store key=a status=stored cmd=set ttl=0 clsid=1 cfd=25 size=3",
            "ts=1.1 gid=6 type=item_get key=b%20 status=expired clsid=0 cfd=24 size=0",
        ]);
        assert_eq!(gets(&aggregator), [("a".into(), 2, 1), ("b ".into(), 1, 0)]);
        assert_eq!((aggregator.events(), aggregator.gets()), (6, 3.0));
    }

    #[test]
    fn old_servers_report_neither_connection_nor_size() {
        let aggregator = aggregated(&[
            "ts=1.1 gid=1 type=item_get key=a status=found clsid=1",
            "ts=1.1 gid=2 type=item_get key=a status=not_found clsid=0",
            "ts=1.1 gid=3 type=item_store key=a status=stored cmd=set ttl=0 clsid=1",
        ]);
        assert_eq!(gets(&aggregator), [("a".into(), 1, 1)]);
        assert_eq!(aggregator.counted()[0].counts.size, None);
    }

    #[test]
    fn dropped_events_scale_the_reported_ones() {
        let mut aggregator =
            aggregated(&["skipped=2", "ts=1.1 gid=4 type=item_get key=a status=found clsid=1 cfd=24 size=3"]);
        assert_eq!((aggregator.events(), aggregator.skipped()), (1, 2));
        aggregator.add_skipped(0, 1);
        assert_eq!((aggregator.skipped(), aggregator.scale(0)), (3, 4.0));
    }

    #[test]
    fn keys_that_are_not_selected_take_no_memory() {
        let mut aggregator = Aggregator::new(1, 10, None);
        for key in ["user:1", "cfg:1"] {
            let line = format!("type=item_get key={} status=found size=1", key.replace(':', "%3A"));
            aggregator.handle_line(0, line.as_bytes(), |key| key.starts_with(b"user:"));
        }
        aggregator.finish(|key| key.starts_with(b"user:"));
        assert_eq!((gets(&aggregator), aggregator.gets()), (vec![("user:1".into(), 1, 1)], 2.0));
    }

    #[test]
    fn keys_are_grouped_by_prefix() {
        let mut aggregator = Aggregator::new(1, 10, Some(PrefixRule::new(":", 1)));
        for (key, status) in [("user%3A1", "found"), ("user%3A2", "not_found"), ("plain", "found")] {
            let line = format!("type=item_get key={key} status={status} size=1");
            aggregator.handle_line(0, line.as_bytes(), |_| true);
        }
        aggregator.finish(|_| true);
        assert_eq!(gets(&aggregator), [("user:".into(), 2, 1), (String::new(), 1, 1)]);
    }
}
