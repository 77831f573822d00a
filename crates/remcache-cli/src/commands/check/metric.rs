//! Conditions of `check`, and the metrics that they are on.

use std::str::FromStr;
use std::time::Duration;

use crate::certificate::Expiry;
use crate::comparison::{self, Comparison};
use crate::options::value;
use crate::output::number;
use crate::stats::Stats;

/// A condition on a metric of a server.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Condition {
    text: String,
    pub(super) metric: CheckMetric,
    comparison: Comparison,
    limit: f64,
}

/// A metric of a server.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum CheckMetric {
    /// A percentage of one statistic in others.
    Ratio(&'static Ratio),
    /// Time of a no-op, in seconds.
    Ping,
    /// Time since the server started, in seconds.
    Uptime,
    /// A statistic of the server.
    Stat(String),
    /// Growth of a statistic per second.
    Rate(String),
    /// Days until the server's certificate expires.
    CertificateDays,
}

/// A percentage of one statistic in the sum of others.
#[derive(Debug, PartialEq)]
pub(super) struct Ratio {
    name: &'static str,
    part: &'static str,
    total: &'static [&'static str],
    /// Whether its statistics are counters, of which only the growth over the interval counts.
    has_counters: bool,
    /// Why it is undefined if the sum is zero.
    undefined: &'static str,
}

const RATIOS: [Ratio; 4] = [
    Ratio { name: "hit%", part: "get_hits", total: GETS, has_counters: true, undefined: "no gets in the interval" },
    Ratio {
        name: "total_hit%",
        part: "get_hits",
        total: GETS,
        has_counters: false,
        undefined: "no gets since the server started",
    },
    Ratio { name: "memory%", part: "bytes", total: &["limit_maxbytes"], has_counters: false, undefined: NO_LIMIT },
    Ratio {
        name: "connections%",
        part: "curr_connections",
        total: &["max_connections"],
        has_counters: false,
        undefined: NO_LIMIT,
    },
];

const GETS: &[&str] = &["get_hits", "get_misses"];
const NO_LIMIT: &str = "the server has no limit";

/// Rates that have a name of their own in the tool.
const RATES: [(&str, &str); 4] =
    [("gets/s", "cmd_get"), ("sets/s", "cmd_set"), ("evictions/s", "evictions"), ("misses/s", "get_misses")];

/// State of a server: its statistics at the end and at the start of the interval, and the time of a no-op.
#[derive(Debug)]
pub(super) struct Observation {
    /// `None` if the server reports none.
    pub(super) now: Option<Stats>,
    pub(super) before: Option<(Stats, Duration)>,
    pub(super) ping: Duration,
    /// When the server's certificate expires; `None` without TLS.
    pub(super) expiry: Option<Expiry>,
}

/// Result of evaluating a condition.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Evaluation {
    /// The metric's value, and whether the condition holds.
    Value(f64, bool),
    /// The metric is undefined at the moment: the hit ratio without gets.
    NoData,
    /// The server does not report the statistics of the metric.
    Unavailable,
}

impl Condition {
    /// Evaluates the condition.
    pub(super) fn evaluate(&self, observation: &Observation) -> Evaluation {
        match self.metric.value(observation) {
            Some(Some(value)) => Evaluation::Value(value, self.comparison.holds(value, self.limit)),
            Some(None) => Evaluation::NoData,
            None => Evaluation::Unavailable,
        }
    }

    /// Returns whether it holds for large values.
    pub(super) fn is_upper_bound(&self) -> bool {
        matches!(self.comparison, Comparison::Above | Comparison::AtLeast)
    }

    /// Describes a value for which the condition holds.
    pub(super) fn explain(&self, value: f64) -> String {
        format!("{} ({})", self.metric.describe(value), self.text)
    }

    /// Describes a metric that is undefined.
    pub(super) fn explain_undefined(&self) -> String {
        format!("{} was not measured: {}", self.metric.name(), self.metric.undefined())
    }

    /// Describes a metric that the server does not report.
    pub(super) fn explain_missing(&self, observation: &Observation) -> String {
        let name = self.metric.name();
        if self.metric == CheckMetric::CertificateDays {
            return format!("{name} is unknown: the connection has no TLS");
        }
        let Some(stats) = &observation.now else { return format!("{name} is unknown") };
        match self.metric.suggestion(stats) {
            Some(similar) => format!("no statistic `{name}`; did you mean {similar}?"),
            None => format!("no statistic `{name}`; check --help lists the metrics, and stats -f json the statistics"),
        }
    }

    /// Returns the limit as a monitoring plugin prints it.
    pub(super) fn limit(&self) -> f64 {
        self.limit
    }
}

impl CheckMetric {
    /// Returns the metrics that are measured without conditions: all that need no interval.
    pub(super) fn instantaneous() -> impl Iterator<Item = Self> {
        let ratios = RATIOS.iter().filter(|ratio| !ratio.has_counters).map(Self::Ratio);
        [Self::Ping, Self::Uptime].into_iter().chain(ratios).chain([Self::CertificateDays])
    }

    /// Returns the value, `Some(None)` if it is undefined, and `None` if the server does not report it.
    pub(super) fn value(&self, observation: &Observation) -> Option<Option<f64>> {
        let now = observation.now.as_ref();
        let number = |name: &str| now?.number(name).map(|number| number as f64);
        let growth = |name: &str| {
            let (before, _) = observation.before.as_ref()?;
            Some(now?.number(name)?.saturating_sub(before.number(name)?) as f64)
        };
        let value = match self {
            Self::Ratio(ratio) => {
                let of = |name: &str| if ratio.has_counters { growth(name) } else { number(name) };
                let total = ratio.total.iter().map(|name| of(name)).sum::<Option<f64>>()?;
                let part = of(ratio.part)?;
                return Some((total > 0.0).then_some(100.0 * part / total));
            }
            Self::Ping => observation.ping.as_secs_f64(),
            Self::Uptime => number("uptime")?,
            Self::CertificateDays => observation.expiry?.days(),
            Self::Stat(name) => number(name)?,
            Self::Rate(name) => {
                let (_, elapsed) = observation.before.as_ref()?;
                growth(name)? / elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
            }
        };
        Some(Some(value))
    }

    /// Returns whether it is measured over an interval.
    pub(super) fn needs_interval(&self) -> bool {
        matches!(self, Self::Rate(_)) || matches!(self, Self::Ratio(ratio) if ratio.has_counters)
    }

    /// Returns why it has no value, if the server reports its statistics.
    fn undefined(&self) -> &'static str {
        match self {
            Self::Ratio(ratio) => ratio.undefined,
            _ => "no data",
        }
    }

    pub(super) fn name(&self) -> String {
        match self {
            Self::Ratio(ratio) => ratio.name.into(),
            Self::Ping => "ping".into(),
            Self::Uptime => "uptime".into(),
            Self::CertificateDays => CERTIFICATE_DAYS.into(),
            Self::Stat(name) => name.clone(),
            Self::Rate(stat) => match RATES.iter().find(|(_, known)| known == stat) {
                Some((name, _)) => (*name).into(),
                None => format!("{stat}/s"),
            },
        }
    }

    /// Returns the name that was probably meant, in place of one that the server does not report.
    fn suggestion(&self, stats: &Stats) -> Option<String> {
        let (name, suffix) = match self {
            Self::Stat(name) => (name, ""),
            Self::Rate(name) => (name, "/s"),
            Self::Ratio(_) | Self::Ping | Self::Uptime | Self::CertificateDays => return None,
        };
        if ["cert", "expir"].iter().any(|word| name.contains(word)) {
            return Some(CERTIFICATE_DAYS.into());
        }
        let numbers = stats.iter().filter(|(_, value)| value.parse::<f64>().is_ok()).map(|(stat, _)| stat);
        most_similar(name, numbers).map(|stat| format!("{stat}{suffix}"))
    }

    /// Returns the name with a value, for people.
    pub(super) fn describe(&self, value: f64) -> String {
        format!("{} is {}", self.name(), self.show(value))
    }

    fn show(&self, value: f64) -> String {
        match self {
            Self::Ratio(_) => format!("{value:.1}%"),
            Self::CertificateDays => format!("{value:.1}"),
            Self::Ping => number::duration(Duration::from_secs_f64(value)),
            Self::Uptime => number::age(value as u64),
            Self::Stat(_) => format!("{value}"),
            Self::Rate(_) => number::rate(value),
        }
    }

    /// Returns the unit as a monitoring plugin prints it.
    pub(super) fn unit(&self) -> &'static str {
        match self {
            Self::Ratio(_) => "%",
            Self::Ping | Self::Uptime => "s",
            Self::Stat(_) | Self::Rate(_) | Self::CertificateDays => "",
        }
    }

    fn limit(&self, text: &str) -> Result<f64, String> {
        match self {
            Self::Ratio(_) => percentage(text).ok_or_else(|| "expected a percentage from 0 to 100".into()),
            Self::Ping | Self::Uptime => value::duration(text).map(|limit| limit.as_secs_f64()),
            Self::CertificateDays => days(text).ok_or_else(|| "expected a number of days such as 30".into()),
            Self::Stat(_) | Self::Rate(_) if text == "0" => Ok(0.0),
            Self::Stat(name) | Self::Rate(name) if name.contains("bytes") => {
                value::bytes(text).map(|limit| limit as f64)
            }
            Self::Stat(_) | Self::Rate(_) => value::count(text).map(|limit| limit as f64),
        }
    }
}

fn percentage(text: &str) -> Option<f64> {
    text.trim_end_matches('%').parse().ok().filter(|limit| (0.0..=100.0).contains(limit))
}

fn days(text: &str) -> Option<f64> {
    text.trim_end_matches('d').parse().ok().filter(|limit: &f64| limit.is_finite() && *limit >= 0.0)
}

/// The name of the metric of a certificate's expiry.
const CERTIFICATE_DAYS: &str = "certificate_days";

/// Returns the name that contains the given one, or that differs least from it.
fn most_similar<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let similarity = |other: &str| match other.contains(name) {
        // The shortest of those that contain it: `items` is `curr_items` rather than `slab_reassign_chunk_rescues`.
        true => 2.0 + 1.0 / other.len() as f64,
        false => strsim::jaro(name, other),
    };
    let scored = known.map(|other| (similarity(other), other)).filter(|(score, _)| *score > MIN_SIMILARITY);
    scored.max_by(|(score, _), (other, _)| score.total_cmp(other)).map(|(_, other)| other)
}

/// The threshold below which another name is unlikely to be meant: the letters of most names are alike.
const MIN_SIMILARITY: f64 = 0.8;

impl FromStr for CheckMetric {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(ratio) = RATIOS.iter().find(|ratio| ratio.name.trim_end_matches('%') == text.trim_end_matches('%'))
        {
            return Ok(Self::Ratio(ratio));
        }
        if let Some((_, stat)) = RATES.iter().find(|(name, _)| *name == text) {
            return Ok(Self::Rate((*stat).into()));
        }
        let is_stat =
            |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        match text {
            "ping" => Ok(Self::Ping),
            "uptime" => Ok(Self::Uptime),
            CERTIFICATE_DAYS => Ok(Self::CertificateDays),
            _ => match text.strip_suffix("/s") {
                Some(stat) if is_stat(stat) => Ok(Self::Rate(stat.into())),
                None if is_stat(text) => Ok(Self::Stat(text.into())),
                _ => Err(format!(
                    "unknown metric {text:?}; expected hit%, total_hit%, memory%, connections%, ping, uptime, certificate_days, gets/s, sets/s, misses/s, evictions/s, or a statistic of the server such as curr_items or cmd_touch/s"
                )),
            },
        }
    }
}

impl FromStr for Condition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = Comparison::split(text);
        let (name, comparison, right) =
            parts.ok_or("expected a condition such as memory%>80, hit%<90 or evictions/s>100")?;
        let metric: CheckMetric = name.parse()?;
        let limit = metric
            .limit(right)
            .map_err(|problem| format!("invalid limit {right:?} for {name}: {problem}{}", comparison::hint(right)))?;
        Ok(Self { text: text.to_owned(), metric, comparison, limit })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observation() -> Observation {
        let now = [
            ("get_hits", "1090"),
            ("get_misses", "10"),
            ("bytes", "50"),
            ("limit_maxbytes", "100"),
            ("evictions", "30"),
            ("uptime", "3600"),
            ("curr_items", "7"),
            ("bytes_read", "9"),
        ];
        let before = [("evictions", "10"), ("get_hits", "1000"), ("get_misses", "0")];
        Observation {
            now: Some(now.into_iter().collect()),
            before: Some((before.into_iter().collect(), Duration::from_secs(2))),
            ping: Duration::from_millis(5),
            expiry: Some(Expiry { at: 1_798_761_600, remaining: 10 * 86_400 }),
        }
    }

    #[test]
    fn conditions_on_every_kind_of_metric() {
        use Evaluation::{NoData, Unavailable, Value};
        let cases = [
            // The gets before the interval do not count.
            ("hit%<90", Value(90.0, false)),
            ("hit%<=90%", Value(90.0, true)),
            ("hit<91%", Value(90.0, true)),
            ("total_hit%<99.5", Value(100.0 * 1090.0 / 1100.0, true)),
            ("certificate_days<30", Value(10.0, true)),
            ("certificate_days<10d", Value(10.0, false)),
            ("memory%>49.5", Value(50.0, true)),
            ("memory>80%", Value(50.0, false)),
            ("bytes>1k", Value(50.0, false)),
            ("connections%>1", Unavailable),
            ("evictions/s>=10", Value(10.0, true)),
            ("cmd_touch/s>1", Unavailable),
            ("uptime<2h", Value(3600.0, true)),
            ("ping>10ms", Value(0.005, false)),
            ("curr_items>1k", Value(7.0, false)),
            ("curr_items>0", Value(7.0, true)),
            ("curr_itemz>0", Unavailable),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse::<Condition>().unwrap().evaluate(&observation()), expected, "{text}");
        }
        assert_eq!("bytes>60m".parse::<Condition>().unwrap().limit(), f64::from(60 << 20));
        assert_eq!("curr_items>60m".parse::<Condition>().unwrap().limit(), 60e6);
        let now: Stats = [("get_hits", "9"), ("get_misses", "9")].into_iter().collect();
        let before = Some((now.clone(), Duration::from_secs(1)));
        let idle = Observation { before, now: Some(now), ping: Duration::ZERO, expiry: None };
        let evaluate = |text: &str| text.parse::<Condition>().unwrap().evaluate(&idle);
        assert_eq!(evaluate("hit%<90"), NoData);
        assert_eq!(evaluate("total_hit%<90"), Value(50.0, true));
        assert_eq!(evaluate("certificate_days<30"), Unavailable);
    }

    #[test]
    fn metrics_that_are_measured_over_an_interval() {
        for (text, expected) in [("hit%<90", true), ("gets/s>1", true), ("memory%>90", false), ("curr_items>1", false)]
        {
            assert_eq!(text.parse::<Condition>().unwrap().metric.needs_interval(), expected, "{text}");
        }
    }

    #[test]
    fn invalid_conditions_are_explained() {
        for (text, word) in [
            ("hit%", "condition"),
            ("hit percent<3", "hit percent"),
            ("hit%<101", "101"),
            ("ping>5", "5ms"),
            ("certificate_days<soon", "such as 30"),
            ("a%>1", "a%"),
            ("hit%<90,ping>5ms", "give each condition in an option of its own"),
            ("curr_items>80%", "invalid limit \"80%\" for curr_items"),
        ] {
            let error = text.parse::<Condition>().unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    #[test]
    fn a_similar_statistic_is_suggested() {
        for (text, expected) in [
            ("items>5", "no statistic `items`; did you mean curr_items?"),
            ("evictoins/s>5", "no statistic `evictoins/s`; did you mean evictions/s?"),
            ("cert_days<5", "no statistic `cert_days`; did you mean certificate_days?"),
            ("bytes_reed>5", "no statistic `bytes_reed`; did you mean bytes_read?"),
            ("qqq>5", "no statistic `qqq`; check --help lists the metrics, and stats -f json the statistics"),
        ] {
            assert_eq!(text.parse::<Condition>().unwrap().explain_missing(&observation()), expected);
        }
    }
}
