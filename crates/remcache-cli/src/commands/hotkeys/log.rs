//! What the servers' logs have told so far: fetches, counted by key, and what the servers left out.

use bytes::Bytes;
use remcache::proto::text::LogLine;

use super::heat::{Fetch, Heat, Spot};

/// What the logs of all servers have told.
#[derive(Debug)]
pub(super) struct Log {
    /// The places of a key are apart for each server that holds it.
    heat: Heat,
    servers: Vec<Told>,
    /// Where a key and its server are put together, to be looked up.
    place: Vec<u8>,
}

/// What the log of one server has told.
#[derive(Debug, Default)]
struct Told {
    /// Events, whatever they were.
    events: u64,
    /// Events that the server left out.
    skipped: u64,
    /// Fetches of any key.
    gets: u64,
    /// A fetch that may turn out to be the first step of a store.
    pending: Option<Pending>,
}

#[derive(Debug)]
struct Pending {
    key: Bytes,
    /// The connection that fetched; old servers do not tell it.
    connection: Option<u64>,
    fetch: Fetch,
}

impl Log {
    /// Of so many servers; so many keys are kept apart.
    pub(super) fn new(servers: usize, keys: usize) -> Self {
        let servers = (0..servers).map(|_| Told::default()).collect();
        Self { heat: Heat::new(keys), servers, place: Vec::new() }
    }

    /// Takes a line of a server, if it is about a key that is meant.
    pub(super) fn take(&mut self, server: usize, line: &[u8], is_meant: impl Fn(&[u8]) -> bool) {
        let line = LogLine::parse(line);
        let Some(told) = self.servers.get_mut(server) else { return };
        told.skipped += line.skipped();
        let Some(kind) = line.kind() else { return };
        told.events += 1;
        let (key, connection) = (line.key().unwrap_or_default(), line.number("cfd"));
        match (kind, told.pending.take()) {
            // A store looks for the item first, and the server tells that as a fetch.
            (b"item_store", Some(pending)) if pending.key == key && pending.connection == connection => {}
            (_, Some(pending)) => self.count(server, &pending, &is_meant),
            (_, None) => {}
        }
        if kind == b"item_get" {
            let is_hit = line.field("status") == Some(b"found");
            let fetch = Fetch { is_hit, size: line.number("size") };
            self.servers[server].pending = Some(Pending { key, connection, fetch });
        }
    }

    /// Counts what still waited for a line to follow.
    pub(super) fn end(&mut self, is_meant: impl Fn(&[u8]) -> bool) {
        for server in 0..self.servers.len() {
            if let Some(pending) = self.servers[server].pending.take() {
                self.count(server, &pending, &is_meant);
            }
        }
    }

    fn count(&mut self, server: usize, pending: &Pending, is_meant: impl Fn(&[u8]) -> bool) {
        self.servers[server].gets += 1;
        if is_meant(&pending.key) {
            self.place.clear();
            self.place.extend_from_slice(&(server as u32).to_be_bytes());
            self.place.extend_from_slice(&pending.key);
            self.heat.count(&self.place, pending.fetch);
        }
    }

    /// Adds events of a server that its log did not even begin to tell.
    pub(super) fn add_skipped(&mut self, server: usize, events: u64) {
        if let Some(told) = self.servers.get_mut(server) {
            told.skipped += events;
        }
    }

    /// By how much more often things happened on a server than it told.
    pub(super) fn scale(&self, server: usize) -> f64 {
        let told = self.servers.get(server).filter(|told| told.events > 0);
        told.map_or(1.0, |told| (told.events + told.skipped) as f64 / told.events as f64)
    }

    /// How many fetches there were on all servers, those included that were not told.
    pub(super) fn gets(&self) -> f64 {
        let gets = |(server, told): (usize, &Told)| told.gets as f64 * self.scale(server);
        self.servers.iter().enumerate().map(gets).sum()
    }

    /// How many events were told.
    pub(super) fn events(&self) -> u64 {
        self.servers.iter().map(|told| told.events).sum()
    }

    /// How many events were left out.
    pub(super) fn skipped(&self) -> u64 {
        self.servers.iter().map(|told| told.skipped).sum()
    }

    /// How many keys are kept apart at the moment.
    pub(super) fn keys(&self) -> usize {
        self.heat.len()
    }

    /// The hottest keys, each with its server, the hottest first.
    pub(super) fn hottest(&self, most: usize) -> Vec<(usize, &[u8], Spot)> {
        let apart = |(place, spot)| {
            let (server, key) = <[u8]>::split_first_chunk::<4>(place)?;
            Some((u32::from_be_bytes(*server) as usize, key, spot))
        };
        // A server that tells a tenth of what it does has ten times the fetches that were counted.
        let gets = |server: usize, spot: &Spot| self.scale(server) * spot.gets as f64;
        let mut all: Vec<_> = self.heat.spots().filter_map(apart).collect();
        // Keys that are equally hot stand in the order of their names, so that two runs agree.
        all.sort_unstable_by(|(server, key, spot), (other, name, than)| {
            gets(*other, than).total_cmp(&gets(*server, spot)).then_with(|| key.cmp(name))
        });
        all.truncate(most);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(lines: &[&str]) -> Log {
        let mut log = Log::new(1, 10);
        lines.iter().for_each(|line| log.take(0, line.as_bytes(), |_| true));
        log.end(|_| true);
        log
    }

    fn gets(log: &Log) -> Vec<(String, u64, u64)> {
        let spot =
            |(_, key, spot): (usize, &[u8], Spot)| (String::from_utf8_lossy(key).into_owned(), spot.gets, spot.hits);
        log.hottest(10).into_iter().map(spot).collect()
    }

    #[test]
    fn fetches_are_counted_by_key_and_stores_are_none() {
        let log = told(&[
            "ts=1.1 gid=1 type=item_get key=a status=not_found clsid=0 cfd=24 size=0",
            "ts=1.1 gid=2 type=item_get key=a status=not_found clsid=0 cfd=24 size=0",
            "ts=1.1 gid=3 type=item_store key=a status=stored cmd=set ttl=0 clsid=1 cfd=24 size=3",
            "ts=1.1 gid=4 type=item_get key=a status=found clsid=1 cfd=24 size=3",
            "ts=1.1 gid=5 type=item_store key=a status=stored cmd=set ttl=0 clsid=1 cfd=25 size=3",
            "ts=1.1 gid=6 type=item_get key=b%20 status=expired clsid=0 cfd=24 size=0",
        ]);
        assert_eq!(gets(&log), [("a".into(), 2, 1), ("b ".into(), 1, 0)]);
        assert_eq!((log.events(), log.gets()), (6, 3.0));
    }

    #[test]
    fn old_servers_tell_less() {
        let log = told(&[
            "ts=1.1 gid=1 type=item_get key=a status=found clsid=1",
            "ts=1.1 gid=2 type=item_get key=a status=not_found clsid=0",
            "ts=1.1 gid=3 type=item_store key=a status=stored cmd=set ttl=0 clsid=1",
        ]);
        assert_eq!(gets(&log), [("a".into(), 1, 1)]);
        assert_eq!(log.hottest(1)[0].2.size, None);
    }

    #[test]
    fn what_a_server_leaves_out_scales_what_it_tells() {
        let mut log = told(&["skipped=2", "ts=1.1 gid=4 type=item_get key=a status=found clsid=1 cfd=24 size=3"]);
        assert_eq!((log.events(), log.skipped()), (1, 2));
        log.add_skipped(0, 1);
        assert_eq!((log.skipped(), log.scale(0)), (3, 4.0));
    }

    #[test]
    fn keys_that_are_not_meant_take_no_place() {
        let mut log = Log::new(1, 10);
        for key in ["user:1", "cfg:1"] {
            let line = format!("type=item_get key={} status=found size=1", key.replace(':', "%3A"));
            log.take(0, line.as_bytes(), |key| key.starts_with(b"user:"));
        }
        log.end(|key| key.starts_with(b"user:"));
        assert_eq!((gets(&log), log.gets()), (vec![("user:1".into(), 1, 1)], 2.0));
    }
}
