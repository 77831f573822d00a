//! What is known of the servers: their figures now and before, and what happened to them.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use jiff::Zoned;

use crate::stats::Stats;

/// The servers, as the screen shows them.
#[derive(Debug, Default)]
pub(super) struct Fleet {
    pub(super) members: Vec<Member>,
    /// What happened, the newest first.
    pub(super) events: VecDeque<Event>,
}

/// One server.
#[derive(Debug, Default)]
pub(super) struct Member {
    pub(super) name: String,
    /// The latest looks, the newest first; none if the server never answered.
    looks: VecDeque<Look>,
    /// Why it does not answer now.
    pub(super) down: Option<String>,
    pub(super) ping: Option<Duration>,
    /// What curves show of each look, the oldest first.
    history: VecDeque<[u64; Trend::ALL.len()]>,
}

/// A figure whose course a curve shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trend {
    /// Percent of the gets that hit.
    Hits,
    /// Gets a second.
    Gets,
    /// Sets a second.
    Sets,
    /// Evictions a second.
    Evictions,
    /// Connections that are open.
    Connections,
    /// Microseconds until our probe was answered.
    Ping,
}

impl Trend {
    /// All of them, in the order of the variants.
    const ALL: [Self; 6] = [Self::Hits, Self::Gets, Self::Sets, Self::Evictions, Self::Connections, Self::Ping];

    /// The figure of the latest look, as high as the curve is to be.
    fn height(self, member: &Member) -> u64 {
        let figure = match self {
            Self::Hits => member.hit_percent(Window::Latest),
            Self::Gets => member.rate("cmd_get"),
            Self::Sets => member.rate("cmd_set"),
            Self::Evictions => member.rate("evictions"),
            Self::Connections => member.number("curr_connections").map(|number| number as f64),
            Self::Ping => member.ping.map(|ping| ping.as_secs_f64() * 1e6),
        };
        figure.unwrap_or_default().ceil() as u64
    }
}

/// The figures of a server at an instant.
#[derive(Clone, Debug)]
struct Look {
    at: Instant,
    figures: Stats,
}

/// Something that happened.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) time: String,
    pub(super) server: String,
    pub(super) what: String,
    pub(super) is_bad: bool,
}

/// What a look at one server gave.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) at: Instant,
    pub(super) figures: Result<Stats, String>,
    pub(super) ping: Option<Duration>,
}

/// How long figures are kept: the longest window of the hit ratio, and a little more.
const KEPT: Duration = Duration::from_secs(11);

/// How many looks the longest curve shows.
const HISTORY: usize = 60;

/// How many events are kept.
const EVENTS: usize = 1000;

impl Fleet {
    pub(super) fn new(names: impl IntoIterator<Item = String>) -> Self {
        let members = names.into_iter().map(|name| Member { name, ..Member::default() }).collect();
        Self { members, events: VecDeque::new() }
    }

    /// Takes in a look at the server at this place.
    pub(super) fn update(&mut self, place: usize, seen: Seen) {
        let Some(member) = self.members.get_mut(place) else { return };
        for (what, is_bad) in member.update(seen) {
            let time = Zoned::now().strftime("%H:%M:%S").to_string();
            self.events.push_front(Event { time, server: member.name.clone(), what, is_bad });
        }
        self.events.truncate(EVENTS);
    }

    /// How many servers answer.
    pub(super) fn alive(&self) -> usize {
        self.members.iter().filter(|member| member.is_up()).count()
    }

    /// Percent of all gets that hit, between the two latest looks.
    pub(super) fn hit_percent(&self) -> Option<f64> {
        let sum = |name: &'static str| self.total(|member| member.rate(name));
        let (hits, misses) = (sum("get_hits"), sum("get_misses"));
        (hits + misses > 0.0).then(|| 100.0 * hits / (hits + misses))
    }

    /// The sum of a figure over the servers that answer.
    pub(super) fn total(&self, figure: impl Fn(&Member) -> Option<f64>) -> f64 {
        self.members.iter().filter(|member| member.is_up()).filter_map(figure).fold(0.0, |sum, figure| sum + figure)
    }
}

impl Member {
    pub(super) fn is_up(&self) -> bool {
        self.down.is_none() && !self.looks.is_empty()
    }

    /// Whether nothing is known yet.
    pub(super) fn is_unknown(&self) -> bool {
        self.down.is_none() && self.looks.is_empty()
    }

    /// The figures of the latest look.
    pub(super) fn figures(&self) -> Option<&Stats> {
        self.looks.front().map(|look| &look.figures)
    }

    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.figures()?.number(name)
    }

    /// Takes in a look, and tells what happened since the one before.
    fn update(&mut self, seen: Seen) -> Vec<(String, bool)> {
        self.ping = seen.ping;
        match seen.figures {
            Ok(figures) => {
                let mut events = self.came_back().into_iter().collect::<Vec<_>>();
                events.extend(self.compare(&figures));
                self.looks.push_front(Look { at: seen.at, figures });
                let newest = seen.at;
                self.looks.retain(|look| newest.duration_since(look.at) <= KEPT);
                self.remember(Trend::ALL.map(|trend| trend.height(self)));
                events
            }
            Err(reason) => {
                let is_news = self.down.is_none();
                let event = is_news.then(|| (format!("down: {reason}"), true));
                self.down = Some(reason);
                self.looks.clear();
                self.remember(Default::default());
                event.into_iter().collect()
            }
        }
    }

    fn came_back(&mut self) -> Option<(String, bool)> {
        self.down.take().map(|_| ("answers again".to_owned(), false))
    }

    fn compare(&mut self, now: &Stats) -> Vec<(String, bool)> {
        let Some(before) = self.figures() else { return Vec::new() };
        let changes = |name| (before.number(name), now.number(name));
        let mut events = Vec::new();
        if matches!(changes("uptime"), (Some(before), Some(now)) if now < before) {
            events.push(("was started again: it is empty".to_owned(), true));
            self.looks.clear();
            return events;
        }
        for (name, what) in
            [("listen_disabled_num", "refuses connections: -c is reached"), ("evictions", "begins to evict items")]
        {
            let is_first = self.looks.get(1).is_none_or(|look| look.figures.number(name) == before.number(name));
            if matches!(changes(name), (Some(before), Some(now)) if now > before) && is_first {
                events.push((what.to_owned(), true));
            }
        }
        events
    }

    fn remember(&mut self, heights: [u64; Trend::ALL.len()]) {
        self.history.push_back(heights);
        if self.history.len() > HISTORY {
            self.history.pop_front();
        }
    }

    /// The latest heights of a curve, so many at most, the oldest first.
    pub(super) fn course(&self, trend: Trend, most: usize) -> Vec<u64> {
        let latest = self.history.iter().skip(self.history.len().saturating_sub(most));
        latest.map(|heights| heights[trend as usize]).collect()
    }

    /// How much a counter grew in a second, between the two latest looks.
    pub(super) fn rate(&self, name: &str) -> Option<f64> {
        let (now, before) = (self.looks.front()?, self.looks.get(1)?);
        let grown = now.figures.number(name)?.checked_sub(before.figures.number(name)?)?;
        Some(grown as f64 / now.at.duration_since(before.at).as_secs_f64().max(f64::MIN_POSITIVE))
    }

    /// Percent of gets that hit: between the two latest looks, over ten seconds, or since the start.
    pub(super) fn hit_percent(&self, window: Window) -> Option<f64> {
        let now = self.looks.front()?;
        let before = match window {
            Window::Latest => Some(self.looks.get(1)?),
            Window::Long => Some(self.looks.back().filter(|look| look.at != now.at)?),
            Window::Start => None,
        };
        let grown = |name: &str| {
            let before = before.map_or(Some(0), |look| look.figures.number(name))?;
            now.figures.number(name)?.checked_sub(before)
        };
        let (hits, misses) = (grown("get_hits")?, grown("get_misses")?);
        (hits + misses > 0).then(|| 100.0 * hits as f64 / (hits + misses) as f64)
    }

    /// The share of a figure in its limit, from 0 to 1.
    pub(super) fn share(&self, name: &str, limit: &str) -> Option<f64> {
        let limit = self.number(limit).filter(|&limit| limit > 0)?;
        Some(self.number(name)? as f64 / limit as f64)
    }
}

/// The time that a hit ratio is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Window {
    /// Between the two latest looks.
    Latest,
    /// The ten seconds before.
    Long,
    /// Since the server started.
    Start,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(at: Instant, figures: &[(&str, u64)]) -> Seen {
        let figures = figures.iter().map(|(name, value)| (*name, value.to_string())).collect();
        Seen { at, figures: Ok(figures), ping: None }
    }

    fn fleet() -> Fleet {
        Fleet::new(["a:1".to_owned()])
    }

    #[test]
    fn rates_and_hit_ratios_are_between_looks() {
        let (mut fleet, begun) = (fleet(), Instant::now());
        let at = |seconds| begun + Duration::from_secs(seconds);
        fleet.update(0, seen(at(0), &[("cmd_get", 0), ("get_hits", 0), ("get_misses", 0)]));
        assert_eq!(fleet.members[0].rate("cmd_get"), None);
        fleet.update(0, seen(at(2), &[("cmd_get", 100), ("get_hits", 100), ("get_misses", 0)]));
        fleet.update(0, seen(at(4), &[("cmd_get", 300), ("get_hits", 200), ("get_misses", 100)]));
        let member = &fleet.members[0];
        assert_eq!(member.rate("cmd_get"), Some(100.0));
        assert_eq!(member.hit_percent(Window::Latest), Some(50.0));
        assert_eq!(member.hit_percent(Window::Long).map(f64::round), Some(67.0));
        assert_eq!(member.course(Trend::Gets, 9), [0, 50, 100]);
        assert_eq!(member.course(Trend::Hits, 2), [100, 50]);
    }

    #[test]
    fn every_trend_has_its_place() {
        assert!(Trend::ALL.into_iter().enumerate().all(|(place, trend)| trend as usize == place));
    }

    #[test]
    fn what_happens_is_told_once() {
        let (mut fleet, now) = (fleet(), Instant::now());
        let at = |seconds| now + Duration::from_secs(seconds);
        let down = || Seen { at: now, figures: Err("refused".into()), ping: None };
        fleet.update(0, down());
        fleet.update(0, down());
        fleet.update(0, seen(at(1), &[("uptime", 9), ("evictions", 0)]));
        fleet.update(0, seen(at(2), &[("uptime", 10), ("evictions", 5)]));
        fleet.update(0, seen(at(3), &[("uptime", 11), ("evictions", 9)]));
        fleet.update(0, seen(at(4), &[("uptime", 0), ("evictions", 0)]));
        let told: Vec<_> = fleet.events.iter().rev().map(|event| &*event.what).collect();
        assert_eq!(told, ["down: refused", "answers again", "begins to evict items", "was started again: it is empty"]);
    }
}
