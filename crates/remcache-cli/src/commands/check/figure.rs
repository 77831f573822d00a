//! The figures that conditions of `check` are about, and the conditions.

use std::str::FromStr;
use std::time::Duration;

use crate::options::value;
use crate::output::number;
use crate::relation::Relation;
use crate::sample::Figures;

/// A condition on a figure of a server.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Condition {
    text: String,
    pub(super) figure: Figure,
    relation: Relation,
    limit: f64,
}

/// A figure of a server.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Figure {
    /// One of the shares below.
    Share(&'static Share),
    /// How long the server takes to answer, in seconds.
    Ping,
    /// How long the server has been running, in seconds.
    Uptime,
    /// A statistic of the server, as it counts it.
    Stat(String),
    /// How much a statistic grows in a second.
    Rate(String),
}

/// Percent of one statistic in the sum of others.
#[derive(Debug, PartialEq)]
pub(super) struct Share {
    name: &'static str,
    part: &'static str,
    whole: &'static [&'static str],
}

const SHARES: [Share; 3] = [
    Share { name: "hit%", part: "get_hits", whole: &["get_hits", "get_misses"] },
    Share { name: "memory%", part: "bytes", whole: &["limit_maxbytes"] },
    Share { name: "connections%", part: "curr_connections", whole: &["max_connections"] },
];

/// Rates by the names that the tool uses elsewhere.
const RATES: [(&str, &str); 4] =
    [("gets/s", "cmd_get"), ("sets/s", "cmd_set"), ("evictions/s", "evictions"), ("misses/s", "get_misses")];

/// What was seen of a server: its statistics now and before, and how fast it answers.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) now: Figures,
    pub(super) before: Option<(Figures, Duration)>,
    pub(super) ping: Duration,
}

/// What a condition finds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Found {
    /// The figure is this, and as the condition says or not.
    Value(f64, bool),
    /// There is no figure yet: without gets there is no share of hits.
    Nothing,
    /// The server has no such figure.
    Untold,
}

impl Condition {
    /// What the figure is, and whether it is as the condition says.
    pub(super) fn look(&self, seen: &Seen) -> Found {
        match self.figure.value(seen) {
            Some(Some(value)) => Found::Value(value, self.relation.holds(value, self.limit)),
            Some(None) => Found::Nothing,
            None => Found::Untold,
        }
    }

    /// Whether large values are what it is about.
    pub(super) fn is_of_excess(&self) -> bool {
        matches!(self.relation, Relation::Above | Relation::AtLeast)
    }

    /// The condition and what the figure is instead.
    pub(super) fn explain(&self, value: f64) -> String {
        format!("{} is {} ({})", self.figure.name(), self.figure.show(value), self.text)
    }

    /// The limit as a monitoring plugin prints it.
    pub(super) fn limit(&self) -> f64 {
        self.limit
    }
}

impl Figure {
    /// The figure, if there is one yet; `None` if the server does not tell it.
    fn value(&self, seen: &Seen) -> Option<Option<f64>> {
        let number = |name: &str| seen.now.number(name).map(|number| number as f64);
        let value = match self {
            Self::Share(share) => {
                let whole = share.whole.iter().map(|name| number(name)).sum::<Option<f64>>()?;
                let part = number(share.part)?;
                return Some((whole > 0.0).then_some(100.0 * part / whole));
            }
            Self::Ping => seen.ping.as_secs_f64(),
            Self::Uptime => number("uptime")?,
            Self::Stat(name) => number(name)?,
            Self::Rate(name) => {
                let (before, elapsed) = seen.before.as_ref()?;
                let grown = seen.now.number(name)?.saturating_sub(before.number(name)?);
                grown as f64 / elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
            }
        };
        Some(Some(value))
    }

    /// Whether it takes two looks.
    pub(super) fn is_rate(&self) -> bool {
        matches!(self, Self::Rate(_))
    }

    pub(super) fn name(&self) -> String {
        match self {
            Self::Share(share) => share.name.into(),
            Self::Ping => "ping".into(),
            Self::Uptime => "uptime".into(),
            Self::Stat(name) => name.clone(),
            Self::Rate(stat) => match RATES.iter().find(|(_, known)| known == stat) {
                Some((name, _)) => (*name).into(),
                None => format!("{stat}/s"),
            },
        }
    }

    fn show(&self, value: f64) -> String {
        match self {
            Self::Share(_) => format!("{value:.1}%"),
            Self::Ping => number::duration(Duration::from_secs_f64(value)),
            Self::Uptime => number::age(value as u64),
            Self::Stat(_) => format!("{value}"),
            Self::Rate(_) => number::rate(value),
        }
    }

    /// The unit as a monitoring plugin prints it.
    pub(super) fn unit(&self) -> &'static str {
        match self {
            Self::Share(_) => "%",
            Self::Ping | Self::Uptime => "s",
            Self::Stat(_) | Self::Rate(_) => "",
        }
    }

    fn limit(&self, text: &str) -> Option<f64> {
        match self {
            Self::Share(_) => text.trim_end_matches('%').parse().ok().filter(|limit| (0.0..=100.0).contains(limit)),
            Self::Ping | Self::Uptime => Some(value::duration(text).ok()?.as_secs_f64()),
            Self::Stat(_) | Self::Rate(_) if text == "0" => Some(0.0),
            Self::Stat(_) | Self::Rate(_) => Some(value::count(text).ok()? as f64),
        }
    }
}

impl FromStr for Figure {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(share) = SHARES.iter().find(|share| share.name == text) {
            return Ok(Self::Share(share));
        }
        if let Some((_, stat)) = RATES.iter().find(|(name, _)| *name == text) {
            return Ok(Self::Rate((*stat).into()));
        }
        let is_stat =
            |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        match text {
            "ping" => Ok(Self::Ping),
            "uptime" => Ok(Self::Uptime),
            _ => match text.strip_suffix("/s") {
                Some(stat) if is_stat(stat) => Ok(Self::Rate(stat.into())),
                None if is_stat(text) => Ok(Self::Stat(text.into())),
                _ => Err(format!(
                    "unknown figure {text:?}; known are hit%, memory%, connections%, ping, uptime, gets/s, sets/s, misses/s, evictions/s, and any statistic of the server such as curr_items or cmd_touch/s"
                )),
            },
        }
    }
}

impl FromStr for Condition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = Relation::split(text);
        let (name, relation, right) = parts.ok_or("expected a condition such as hit%<90 or evictions/s>100")?;
        let figure: Figure = name.parse()?;
        let limit = figure.limit(right).ok_or_else(|| format!("{right:?} is no limit for {name}"))?;
        Ok(Self { text: text.to_owned(), figure, relation, limit })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen() -> Seen {
        let now = [
            ("get_hits", "90"),
            ("get_misses", "10"),
            ("bytes", "50"),
            ("limit_maxbytes", "100"),
            ("evictions", "30"),
            ("uptime", "3600"),
            ("curr_items", "7"),
        ];
        let before = [("evictions", "10")];
        Seen {
            now: now.into_iter().collect(),
            before: Some((before.into_iter().collect(), Duration::from_secs(2))),
            ping: Duration::from_millis(5),
        }
    }

    #[test]
    fn conditions_on_every_kind_of_figure() {
        use Found::{Nothing, Untold, Value};
        let cases = [
            ("hit%<90", Value(90.0, false)),
            ("hit%<=90%", Value(90.0, true)),
            ("memory%>49.5", Value(50.0, true)),
            ("connections%>1", Untold),
            ("evictions/s>=10", Value(10.0, true)),
            ("cmd_touch/s>1", Untold),
            ("uptime<2h", Value(3600.0, true)),
            ("ping>10ms", Value(0.005, false)),
            ("curr_items>1k", Value(7.0, false)),
            ("curr_items>0", Value(7.0, true)),
            ("curr_itemz>0", Untold),
        ];
        let unused = [("get_hits", "0"), ("get_misses", "0")].into_iter().collect();
        let unused = Seen { now: unused, before: None, ping: Duration::ZERO };
        assert_eq!("hit%<90".parse::<Condition>().unwrap().look(&unused), Nothing);
        for (text, expected) in cases {
            assert_eq!(text.parse::<Condition>().unwrap().look(&seen()), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_condition_is_named() {
        for (text, word) in [
            ("hit%", "condition"),
            ("hit percent<3", "hit percent"),
            ("hit%<101", "101"),
            ("ping>5", "\"5\""),
            ("a%>1", "a%"),
        ] {
            let error = text.parse::<Condition>().unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
