//! The page of prefixes: counts of a server by the prefix of the keys (`stats detail`).
//!
//! Counting costs the server a lock and a look-up for each command, so it is off by default; `top` turns it off
//! again if it has turned it on.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use remcache::Error;
use remcache::ServerHandle;

use super::details::Page;
use crate::output::number;
use crate::stats::{self, Stats, reason};

/// Prefixes of one server.
#[derive(Debug, Default)]
pub(super) struct Prefixes {
    /// Index of the server.
    index: Option<usize>,
    latest: Option<PrefixStats>,
    before: Option<PrefixStats>,
}

/// Counts of a server, with the time of their arrival.
#[derive(Debug)]
pub(super) struct PrefixStats {
    pub(super) index: usize,
    at: Instant,
    state: CountingState,
    counts: BTreeMap<String, PrefixCounts>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum CountingState {
    Counting,
    Off,
    Failed(String),
}

/// Commands on keys with one prefix, since counting began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct PrefixCounts {
    gets: u64,
    hits: u64,
    sets: u64,
    deletes: u64,
}

impl Prefixes {
    /// Adds counts; those of another server replace all earlier ones.
    pub(super) fn take(&mut self, stats: PrefixStats) {
        if self.index.replace(stats.index) != Some(stats.index) {
            self.latest = None;
        }
        self.before = self.latest.replace(stats);
    }

    /// Returns whether the server counts, if it is known.
    pub(super) fn is_counting(&self, index: usize) -> Option<bool> {
        let latest = self.latest.as_ref().filter(|stats| stats.index == index)?;
        match latest.state {
            CountingState::Counting => Some(true),
            CountingState::Off => Some(false),
            CountingState::Failed(_) => None,
        }
    }

    /// Returns the page, with the most frequent prefixes first.
    pub(super) fn page(&self) -> Page {
        let columns = vec![
            ("PREFIX", 24),
            ("GET/s", 7),
            ("SHARE", 6),
            ("HIT%", 6),
            ("SET/s", 7),
            ("DEL/s", 7),
            ("GETS", 7),
            ("SETS", 7),
        ];
        let Some(latest) = &self.latest else { return Page { columns, left_aligned: 1, ..Page::default() } };
        let note = match &latest.state {
            CountingState::Failed(reason) => reason.clone(),
            CountingState::Off => "prefixes are not counted; press d to start".to_owned(),
            CountingState::Counting if latest.counts.is_empty() => {
                "counting; no key with a prefix yet (memcached counts no meta commands)".to_owned()
            }
            CountingState::Counting => String::new(),
        };
        let mut grown: Vec<_> = latest.counts.iter().map(|(name, now)| (name, now, self.grown(name, *now))).collect();
        grown.sort_by_key(|(_, now, grown)| std::cmp::Reverse((grown.gets + grown.sets, now.gets + now.sets)));
        let all: u64 = grown.iter().map(|(_, _, grown)| grown.gets).sum();
        let seconds = self.between().map(|time| time.as_secs_f64());
        let rate = |count: u64| seconds.map_or_else(|| "-".into(), |seconds| number::rate(count as f64 / seconds));
        let percent = |part, total| number::percent(part, total).unwrap_or_else(|| "-".into());
        let rows = grown.into_iter().map(|(name, now, grown)| {
            vec![
                name.clone(),
                rate(grown.gets),
                percent(grown.gets, all),
                percent(grown.hits, grown.gets),
                rate(grown.sets),
                rate(grown.deletes),
                number::count(now.gets),
                number::count(now.sets),
            ]
        });
        Page { columns, left_aligned: 1, rows: rows.collect(), note }
    }

    fn grown(&self, name: &str, now: PrefixCounts) -> PrefixCounts {
        let before = self.before.as_ref().and_then(|stats| stats.counts.get(name)).copied().unwrap_or_default();
        // A server that was restarted counts from zero.
        PrefixCounts {
            gets: now.gets.saturating_sub(before.gets),
            hits: now.hits.saturating_sub(before.hits),
            sets: now.sets.saturating_sub(before.sets),
            deletes: now.deletes.saturating_sub(before.deletes),
        }
    }

    fn between(&self) -> Option<Duration> {
        let (latest, before) = (self.latest.as_ref()?, self.before.as_ref()?);
        let counted = latest.state == CountingState::Counting && before.state == CountingState::Counting;
        Some(latest.at.duration_since(before.at)).filter(|time| counted && !time.is_zero())
    }
}

/// Fetches the counts of a server.
pub(super) async fn fetch(server: &ServerHandle, index: usize) -> PrefixStats {
    let (state, counts) = match counted(server).await {
        Ok(Some(stats)) => (CountingState::Counting, counts(&stats)),
        Ok(None) => (CountingState::Off, BTreeMap::new()),
        Err(error) => (CountingState::Failed(reason(server, &error)), BTreeMap::new()),
    };
    PrefixStats { index, at: Instant::now(), state, counts }
}

async fn counted(server: &ServerHandle) -> Result<Option<Stats>, Error> {
    let is_on = stats::fetch(server, "settings").await?.text("detail_enabled") == Some("yes");
    if is_on { stats::fetch(server, "detail dump").await.map(Some) } else { Ok(None) }
}

/// Turns counting on or off.
pub(super) async fn switch(server: &ServerHandle, on: bool) -> Result<(), Error> {
    stats::fetch(server, if on { "detail on" } else { "detail off" }).await.map(drop)
}

/// Reads lines such as `PREFIX user get 7 hit 5 set 1 del 0`, and ignores others.
fn counts(stats: &Stats) -> BTreeMap<String, PrefixCounts> {
    stats.iter().flat_map(|(_, text)| text.lines()).filter_map(parse).collect()
}

fn parse(line: &str) -> Option<(String, PrefixCounts)> {
    // The numbers are at the end: the prefix may contain any byte that a key may contain.
    let words: Vec<&str> = line.trim_end().strip_prefix("PREFIX ")?.rsplitn(9, ' ').collect();
    let [deletes, "del", sets, "set", hits, "hit", gets, "get", name] = words[..] else { return None };
    let number = |text: &str| text.parse().ok();
    Some((
        name.to_owned(),
        PrefixCounts { gets: number(gets)?, hits: number(hits)?, sets: number(sets)?, deletes: number(deletes)? },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts_at(seconds: u64, text: &str) -> PrefixStats {
        let stats: Stats = [("detailed", text)].into_iter().collect();
        let at = Instant::now() + Duration::from_secs(seconds);
        PrefixStats { index: 0, at, state: CountingState::Counting, counts: counts(&stats) }
    }

    #[test]
    fn the_most_frequent_prefix_comes_first() {
        let mut prefixes = Prefixes::default();
        assert_eq!(prefixes.is_counting(0), None);
        prefixes
            .take(counts_at(0, "PREFIX a get 100 hit 0 set 1 del 0\r\nPREFIX b get 0 hit 0 set 0 del 0\r\nEND\r\n"));
        prefixes
            .take(counts_at(2, "PREFIX a get 102 hit 1 set 1 del 0\r\nPREFIX b get 6 hit 6 set 4 del 2\r\nEND\r\n"));
        let page = prefixes.page();
        assert_eq!(page.rows[0], ["b", "3.0", "75.0", "100.0", "2.0", "1.0", "6", "4"]);
        assert_eq!(page.rows[1][..4], ["a", "1.0", "25.0", "50.0"]);
        assert_eq!((prefixes.is_counting(0), prefixes.is_counting(1)), (Some(true), None));
        // Another server has no earlier counts.
        prefixes.take(PrefixStats { index: 1, ..counts_at(3, "PREFIX a get 5 hit 0 set 0 del 0") });
        assert_eq!(prefixes.page().rows[0][1], "-");
    }

    #[test]
    fn other_lines_are_ignored() {
        let is_read = |line| parse(line).is_some();
        assert!(is_read("PREFIX user get 1 hit 1 set 0 del 0"));
        for line in ["", "END", "PREFIX ", "PREFIX x get 1 hit 1 set 0", "PREFIX x get a hit 1 set 0 del 0", "STAT x 1"]
        {
            assert!(!is_read(line), "{line}");
        }
    }

    #[test]
    fn an_empty_page_shows_the_reason() {
        let mut prefixes = Prefixes::default();
        for (state, word) in [
            (CountingState::Off, "press d"),
            (CountingState::Failed("refused".into()), "refused"),
            (CountingState::Counting, "no key"),
        ] {
            prefixes.take(PrefixStats { index: 0, at: Instant::now(), state, counts: BTreeMap::new() });
            assert!(prefixes.page().note.contains(word), "{prefixes:?}");
        }
    }
}
