//! The page of hot prefixes: what a server counts of the keys that begin alike (`stats detail`).
//!
//! Counting costs the server a lock and a lookup for each command, so it is off unless somebody wants
//! it; what was switched on here is switched off again.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use remcache::Error;
use remcache::ServerHandle;

use super::details::Page;
use crate::output::number;
use crate::stats::{self, Stats, reason};

/// What is known of one server's prefixes.
#[derive(Debug, Default)]
pub(super) struct Prefixes {
    /// The server that it is about.
    place: Option<usize>,
    latest: Option<Look>,
    before: Option<Look>,
}

/// What one look at a server gave.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) place: usize,
    at: Instant,
    state: State,
    uses: BTreeMap<String, Uses>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Counting,
    Off,
    Failed(String),
}

/// How often keys with a prefix were used since counting began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Uses {
    gets: u64,
    hits: u64,
    sets: u64,
    deletes: u64,
}

impl Prefixes {
    /// Takes in a look; one at another server begins anew.
    pub(super) fn take(&mut self, look: Look) {
        if self.place.replace(look.place) != Some(look.place) {
            self.latest = None;
        }
        self.before = self.latest.replace(look);
    }

    /// Whether the server counts, if that is known.
    pub(super) fn is_counting(&self, place: usize) -> Option<bool> {
        let latest = self.latest.as_ref().filter(|look| look.place == place)?;
        match latest.state {
            State::Counting => Some(true),
            State::Off => Some(false),
            State::Failed(_) => None,
        }
    }

    /// The page: the most fetched prefixes first.
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
        let Some(latest) = &self.latest else { return Page { columns, words: 1, ..Page::default() } };
        let note = match &latest.state {
            State::Failed(reason) => reason.clone(),
            State::Off => "prefixes are not counted; press d to begin".to_owned(),
            State::Counting if latest.uses.is_empty() => {
                "counting; no key with a prefix yet (memcached counts no meta commands)".to_owned()
            }
            State::Counting => String::new(),
        };
        let mut grown: Vec<_> = latest.uses.iter().map(|(name, now)| (name, now, self.grown(name, *now))).collect();
        grown.sort_by_key(|(_, now, grown)| std::cmp::Reverse((grown.gets + grown.sets, now.gets + now.sets)));
        let all: u64 = grown.iter().map(|(_, _, grown)| grown.gets).sum();
        let seconds = self.between().map(|time| time.as_secs_f64());
        let rate = |count: u64| seconds.map_or_else(|| "-".into(), |seconds| number::rate(count as f64 / seconds));
        let percent = |part, whole| number::percent(part, whole).unwrap_or_else(|| "-".into());
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
        Page { columns, words: 1, rows: rows.collect(), note }
    }

    fn grown(&self, name: &str, now: Uses) -> Uses {
        let before = self.before.as_ref().and_then(|look| look.uses.get(name)).copied().unwrap_or_default();
        // A server that was started again counts from zero.
        Uses {
            gets: now.gets.saturating_sub(before.gets),
            hits: now.hits.saturating_sub(before.hits),
            sets: now.sets.saturating_sub(before.sets),
            deletes: now.deletes.saturating_sub(before.deletes),
        }
    }

    fn between(&self) -> Option<Duration> {
        let (latest, before) = (self.latest.as_ref()?, self.before.as_ref()?);
        let counted = latest.state == State::Counting && before.state == State::Counting;
        Some(latest.at.duration_since(before.at)).filter(|time| counted && !time.is_zero())
    }
}

/// Looks at what a server counts.
pub(super) async fn look(server: &ServerHandle, place: usize) -> Look {
    let (state, uses) = match counted(server).await {
        Ok(Some(figures)) => (State::Counting, uses(&figures)),
        Ok(None) => (State::Off, BTreeMap::new()),
        Err(error) => (State::Failed(reason(server, &error)), BTreeMap::new()),
    };
    Look { place, at: Instant::now(), state, uses }
}

async fn counted(server: &ServerHandle) -> Result<Option<Stats>, Error> {
    let is_on = stats::fetch(server, "settings").await?.text("detail_enabled") == Some("yes");
    if is_on { stats::fetch(server, "detail dump").await.map(Some) } else { Ok(None) }
}

/// Switches the counting on or off.
pub(super) async fn switch(server: &ServerHandle, on: bool) -> Result<(), Error> {
    stats::fetch(server, if on { "detail on" } else { "detail off" }).await.map(drop)
}

/// Lines such as `PREFIX user get 7 hit 5 set 1 del 0`; what is no such line is left out.
fn uses(figures: &Stats) -> BTreeMap<String, Uses> {
    figures.iter().flat_map(|(_, text)| text.lines()).filter_map(parse).collect()
}

fn parse(line: &str) -> Option<(String, Uses)> {
    // The figures stand at the end, for a prefix may hold anything that a key may.
    let words: Vec<&str> = line.trim_end().strip_prefix("PREFIX ")?.rsplitn(9, ' ').collect();
    let [deletes, "del", sets, "set", hits, "hit", gets, "get", name] = words[..] else { return None };
    let number = |text: &str| text.parse().ok();
    Some((
        name.to_owned(),
        Uses { gets: number(gets)?, hits: number(hits)?, sets: number(sets)?, deletes: number(deletes)? },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look_at(seconds: u64, text: &str) -> Look {
        let figures: Stats = [("detailed", text)].into_iter().collect();
        let at = Instant::now() + Duration::from_secs(seconds);
        Look { place: 0, at, state: State::Counting, uses: uses(&figures) }
    }

    #[test]
    fn the_most_fetched_prefix_stands_first() {
        let mut prefixes = Prefixes::default();
        assert_eq!(prefixes.is_counting(0), None);
        prefixes.take(look_at(0, "PREFIX a get 100 hit 0 set 1 del 0\r\nPREFIX b get 0 hit 0 set 0 del 0\r\nEND\r\n"));
        prefixes.take(look_at(2, "PREFIX a get 102 hit 1 set 1 del 0\r\nPREFIX b get 6 hit 6 set 4 del 2\r\nEND\r\n"));
        let page = prefixes.page();
        assert_eq!(page.rows[0], ["b", "3.0", "75.0", "100.0", "2.0", "1.0", "6", "4"]);
        assert_eq!(page.rows[1][..4], ["a", "1.0", "25.0", "50.0"]);
        assert_eq!((prefixes.is_counting(0), prefixes.is_counting(1)), (Some(true), None));
        // Another server has no past.
        prefixes.take(Look { place: 1, ..look_at(3, "PREFIX a get 5 hit 0 set 0 del 0") });
        assert_eq!(prefixes.page().rows[0][1], "-");
    }

    #[test]
    fn lines_that_tell_no_uses_are_left_out() {
        let is_read = |line| parse(line).is_some();
        assert!(is_read("PREFIX user get 1 hit 1 set 0 del 0"));
        for line in ["", "END", "PREFIX ", "PREFIX x get 1 hit 1 set 0", "PREFIX x get a hit 1 set 0 del 0", "STAT x 1"]
        {
            assert!(!is_read(line), "{line}");
        }
    }

    #[test]
    fn the_page_says_what_is_missing() {
        let mut prefixes = Prefixes::default();
        for (state, word) in
            [(State::Off, "press d"), (State::Failed("refused".into()), "refused"), (State::Counting, "no key")]
        {
            prefixes.take(Look { place: 0, at: Instant::now(), state, uses: BTreeMap::new() });
            assert!(prefixes.page().note.contains(word), "{prefixes:?}");
        }
    }
}
