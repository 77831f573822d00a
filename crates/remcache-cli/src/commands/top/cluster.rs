//! State of the servers: their statistics now and before, and what happened to them.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use jiff::Zoned;

use crate::stats::Stats;

/// The servers, as the screen shows them.
#[derive(Debug, Default)]
pub(super) struct Cluster {
    pub(super) servers: Vec<PolledServer>,
    /// Events, the newest first.
    pub(super) events: VecDeque<Event>,
}

/// One server.
#[derive(Debug, Default)]
pub(super) struct PolledServer {
    pub(super) name: String,
    /// The latest statistics, the newest first; empty if the server has never responded.
    recent: VecDeque<TimedStats>,
    /// Why it does not respond.
    pub(super) down: Option<String>,
    pub(super) ping: Option<Duration>,
    /// The values of the curves, the oldest first.
    history: VecDeque<[u64; Trend::ALL.len()]>,
}

/// A metric that is shown as a curve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trend {
    /// Hit ratio in percent.
    Hits,
    /// Gets per second.
    Gets,
    /// Sets per second.
    Sets,
    /// Evictions per second.
    Evictions,
    /// Open connections.
    Connections,
    /// Time of a no-op in microseconds.
    Ping,
}

impl Trend {
    /// All of them, in the order of the variants.
    const ALL: [Self; 6] = [Self::Hits, Self::Gets, Self::Sets, Self::Evictions, Self::Connections, Self::Ping];

    /// Returns the height of the curve at the latest statistics.
    fn height(self, member: &PolledServer) -> u64 {
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

/// Statistics of a server, with the time of their arrival.
#[derive(Clone, Debug)]
struct TimedStats {
    at: Instant,
    stats: Stats,
}

/// Something that happened to a server.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) time: String,
    pub(super) server: String,
    pub(super) what: String,
    pub(super) is_bad: bool,
}

/// Result of polling a server.
#[derive(Debug)]
pub(super) struct PollResult {
    pub(super) at: Instant,
    pub(super) stats: Result<Stats, String>,
    pub(super) ping: Option<Duration>,
}

/// Age of the oldest statistics: the longest window of the hit ratio, and a little more.
const MAX_AGE: Duration = Duration::from_secs(11);

/// Length of the longest curve.
const HISTORY: usize = 60;

const MAX_EVENTS: usize = 1000;

impl Cluster {
    pub(super) fn new(names: impl IntoIterator<Item = String>) -> Self {
        let servers = names.into_iter().map(|name| PolledServer { name, ..PolledServer::default() }).collect();
        Self { servers, events: VecDeque::new() }
    }

    /// Updates the state of a server.
    pub(super) fn update(&mut self, index: usize, result: PollResult) {
        let Some(member) = self.servers.get_mut(index) else { return };
        for (what, is_bad) in member.update(result) {
            let time = Zoned::now().strftime("%H:%M:%S").to_string();
            self.events.push_front(Event { time, server: member.name.clone(), what, is_bad });
        }
        self.events.truncate(MAX_EVENTS);
    }

    /// Returns the number of servers that respond.
    pub(super) fn alive(&self) -> usize {
        self.servers.iter().filter(|member| member.is_up()).count()
    }

    /// Returns the hit ratio of all servers in percent, between the two latest polls.
    pub(super) fn hit_percent(&self) -> Option<f64> {
        let sum = |name: &'static str| self.total(|member| member.rate(name));
        let (hits, misses) = (sum("get_hits"), sum("get_misses"));
        (hits + misses > 0.0).then(|| 100.0 * hits / (hits + misses))
    }

    /// Returns the sum of a metric over the servers that respond.
    pub(super) fn total(&self, figure: impl Fn(&PolledServer) -> Option<f64>) -> f64 {
        self.servers.iter().filter(|member| member.is_up()).filter_map(figure).fold(0.0, |sum, figure| sum + figure)
    }
}

impl PolledServer {
    pub(super) fn is_up(&self) -> bool {
        self.down.is_none() && !self.recent.is_empty()
    }

    /// Returns whether it has not been polled yet.
    pub(super) fn is_unknown(&self) -> bool {
        self.down.is_none() && self.recent.is_empty()
    }

    /// Returns the latest statistics.
    pub(super) fn stats(&self) -> Option<&Stats> {
        self.recent.front().map(|timed| &timed.stats)
    }

    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.stats()?.number(name)
    }

    /// Updates the state, and returns what has happened since the last poll.
    fn update(&mut self, result: PollResult) -> Vec<(String, bool)> {
        self.ping = result.ping;
        match result.stats {
            Ok(stats) => {
                let mut events = self.recovered().into_iter().collect::<Vec<_>>();
                events.extend(self.compare(&stats));
                self.recent.push_front(TimedStats { at: result.at, stats });
                let newest = result.at;
                self.recent.retain(|timed| newest.duration_since(timed.at) <= MAX_AGE);
                self.record_history(Trend::ALL.map(|trend| trend.height(self)));
                events
            }
            Err(reason) => {
                let is_news = self.down.is_none();
                let event = is_news.then(|| (format!("down: {reason}"), true));
                self.down = Some(reason);
                self.recent.clear();
                self.record_history(Default::default());
                event.into_iter().collect()
            }
        }
    }

    fn recovered(&mut self) -> Option<(String, bool)> {
        self.down.take().map(|_| ("responds again".to_owned(), false))
    }

    fn compare(&mut self, now: &Stats) -> Vec<(String, bool)> {
        let Some(before) = self.stats() else { return Vec::new() };
        let changes = |name| (before.number(name), now.number(name));
        let mut events = Vec::new();
        if matches!(changes("uptime"), (Some(before), Some(now)) if now < before) {
            events.push(("was restarted: it is empty".to_owned(), true));
            self.recent.clear();
            return events;
        }
        for (name, what) in [
            ("listen_disabled_num", "refuses connections: the limit -c is reached"),
            ("evictions", "starts to evict items"),
        ] {
            let is_first = self.recent.get(1).is_none_or(|timed| timed.stats.number(name) == before.number(name));
            if matches!(changes(name), (Some(before), Some(now)) if now > before) && is_first {
                events.push((what.to_owned(), true));
            }
        }
        events
    }

    fn record_history(&mut self, heights: [u64; Trend::ALL.len()]) {
        self.history.push_back(heights);
        if self.history.len() > HISTORY {
            self.history.pop_front();
        }
    }

    /// Returns the last heights of a curve, the oldest first.
    pub(super) fn recent_heights(&self, trend: Trend, limit: usize) -> Vec<u64> {
        let latest = self.history.iter().skip(self.history.len().saturating_sub(limit));
        latest.map(|heights| heights[trend as usize]).collect()
    }

    /// Returns the growth of a counter per second, between the two latest polls.
    pub(super) fn rate(&self, name: &str) -> Option<f64> {
        let (now, before) = (self.recent.front()?, self.recent.get(1)?);
        let grown = now.stats.number(name)?.checked_sub(before.stats.number(name)?)?;
        Some(grown as f64 / now.at.duration_since(before.at).as_secs_f64().max(f64::MIN_POSITIVE))
    }

    /// Returns the hit ratio in percent.
    pub(super) fn hit_percent(&self, window: Window) -> Option<f64> {
        let now = self.recent.front()?;
        let before = match window {
            Window::Latest => Some(self.recent.get(1)?),
            Window::Long => Some(self.recent.back().filter(|timed| timed.at != now.at)?),
            Window::Start => None,
        };
        let grown = |name: &str| {
            let before = before.map_or(Some(0), |timed| timed.stats.number(name))?;
            now.stats.number(name)?.checked_sub(before)
        };
        let (hits, misses) = (grown("get_hits")?, grown("get_misses")?);
        (hits + misses > 0).then(|| 100.0 * hits as f64 / (hits + misses) as f64)
    }

    /// Returns the ratio of a statistic to its limit, from 0 to 1.
    pub(super) fn share(&self, name: &str, limit: &str) -> Option<f64> {
        let limit = self.number(limit).filter(|&limit| limit > 0)?;
        Some(self.number(name)? as f64 / limit as f64)
    }
}

/// Interval of a hit ratio.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Window {
    /// Between the two latest polls.
    Latest,
    /// The last ten seconds.
    Long,
    /// Since the server started.
    Start,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(at: Instant, stats: &[(&str, u64)]) -> PollResult {
        let stats = stats.iter().map(|(name, value)| (*name, value.to_string())).collect();
        PollResult { at, stats: Ok(stats), ping: None }
    }

    fn cluster() -> Cluster {
        Cluster::new(["a:1".to_owned()])
    }

    #[test]
    fn rates_and_hit_ratios_are_between_polls() {
        let (mut cluster, started) = (cluster(), Instant::now());
        let at = |seconds| started + Duration::from_secs(seconds);
        cluster.update(0, result(at(0), &[("cmd_get", 0), ("get_hits", 0), ("get_misses", 0)]));
        assert_eq!(cluster.servers[0].rate("cmd_get"), None);
        cluster.update(0, result(at(2), &[("cmd_get", 100), ("get_hits", 100), ("get_misses", 0)]));
        cluster.update(0, result(at(4), &[("cmd_get", 300), ("get_hits", 200), ("get_misses", 100)]));
        let member = &cluster.servers[0];
        assert_eq!(member.rate("cmd_get"), Some(100.0));
        assert_eq!(member.hit_percent(Window::Latest), Some(50.0));
        assert_eq!(member.hit_percent(Window::Long).map(f64::round), Some(67.0));
        assert_eq!(member.recent_heights(Trend::Gets, 9), [0, 50, 100]);
        assert_eq!(member.recent_heights(Trend::Hits, 2), [100, 50]);
    }

    #[test]
    fn trends_are_in_the_order_of_the_variants() {
        assert!(Trend::ALL.into_iter().enumerate().all(|(index, trend)| trend as usize == index));
    }

    #[test]
    fn each_event_is_reported_once() {
        let (mut cluster, now) = (cluster(), Instant::now());
        let at = |seconds| now + Duration::from_secs(seconds);
        let down = || PollResult { at: now, stats: Err("refused".into()), ping: None };
        cluster.update(0, down());
        cluster.update(0, down());
        cluster.update(0, result(at(1), &[("uptime", 9), ("evictions", 0)]));
        cluster.update(0, result(at(2), &[("uptime", 10), ("evictions", 5)]));
        cluster.update(0, result(at(3), &[("uptime", 11), ("evictions", 9)]));
        cluster.update(0, result(at(4), &[("uptime", 0), ("evictions", 0)]));
        let reported: Vec<_> = cluster.events.iter().rev().map(|event| &*event.what).collect();
        assert_eq!(
            reported,
            ["down: refused", "responds again", "starts to evict items", "was restarted: it is empty"]
        );
    }
}
