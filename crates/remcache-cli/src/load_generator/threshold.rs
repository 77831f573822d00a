//! Failure conditions of a load: `p99>2ms`, `errors>0`, `set.p50>=1ms`, `ops<50k`.

use std::str::FromStr;
use std::time::Duration;

use super::mix::Operation;
use super::recorder::Recorder;
use crate::comparison::{self, Comparison};
use crate::options::value;

/// A failure condition of a load.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Threshold {
    text: String,
    operation: Option<Operation>,
    metric: LoadMetric,
    comparison: Comparison,
    limit: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum LoadMetric {
    /// The latency, in seconds, that this percentage of the answers did not exceed.
    Percentile(f64),
    Longest,
    Mean,
    /// Answers per second.
    Rate,
    Errors,
    /// Percent.
    Hits,
}

impl Threshold {
    /// Returns a message with the value if the condition holds; without answers a latency does not break it.
    pub(crate) fn broken(&self, recorder: &Recorder, elapsed: Duration) -> Option<String> {
        let value = self.metric.value(recorder, self.operation, elapsed)?;
        self.comparison
            .holds(value, self.limit)
            .then(|| format!("{}: the value is {}", self.text, self.metric.show(value)))
    }
}

impl LoadMetric {
    const NAMES: [(&'static str, Self); 6] = [
        ("max", Self::Longest),
        ("mean", Self::Mean),
        ("ops", Self::Rate),
        ("errors", Self::Errors),
        ("hit", Self::Hits),
        ("hit%", Self::Hits),
    ];

    fn value(self, recorder: &Recorder, operation: Option<Operation>, elapsed: Duration) -> Option<f64> {
        let stats = recorder.stats(operation);
        let if_any = |value: f64| (stats.answers > 0).then_some(value);
        match self {
            Self::Percentile(percent) => if_any(stats.percentile(percent).as_secs_f64()),
            Self::Longest => if_any(stats.longest().as_secs_f64()),
            Self::Mean => if_any(stats.latency.mean() / 1e9),
            Self::Rate => Some(stats.answers as f64 / elapsed.as_secs_f64().max(f64::MIN_POSITIVE)),
            Self::Errors => Some(stats.errors as f64),
            Self::Hits => match recorder.hits(operation) {
                (_, 0) => None,
                (hits, answers) => Some(100.0 * hits as f64 / answers as f64),
            },
        }
    }

    fn limit(self, text: &str) -> Option<f64> {
        match self {
            Self::Percentile(_) | Self::Longest | Self::Mean => Some(value::duration(text).ok()?.as_secs_f64()),
            Self::Errors if text == "0" => Some(0.0),
            Self::Errors | Self::Rate => Some(value::count(text).ok()? as f64),
            Self::Hits => text.trim_end_matches('%').parse().ok().filter(|limit| (0.0..=100.0).contains(limit)),
        }
    }

    /// Returns what a limit looks like, for an error.
    fn unit_hint(self) -> &'static str {
        match self {
            Self::Percentile(_) | Self::Longest | Self::Mean => ": it needs a unit, as in 2ms",
            Self::Rate | Self::Errors => ": it is a number",
            Self::Hits => ": it is a percentage",
        }
    }

    fn show(self, value: f64) -> String {
        match self {
            Self::Percentile(_) | Self::Longest | Self::Mean => {
                crate::output::number::duration(Duration::from_secs_f64(value))
            }
            Self::Rate | Self::Errors => format!("{value:.0}"),
            Self::Hits => format!("{value:.1}%"),
        }
    }
}

impl FromStr for LoadMetric {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some((_, metric)) = Self::NAMES.iter().find(|(name, _)| *name == text) {
            return Ok(*metric);
        }
        let percent = text.strip_prefix('p').and_then(|percent| percent.parse::<f64>().ok());
        let percent = percent.filter(|percent| (0.0..=100.0).contains(percent));
        percent.map(Self::Percentile).ok_or_else(|| {
            format!("unknown metric {text:?}; expected p50, p99.9 and the like, max, mean, ops, errors, or hit")
        })
    }
}

impl FromStr for Threshold {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = Comparison::split(text);
        let (left, comparison, right) = parts.ok_or("expected a condition such as p99>2ms or errors>0")?;
        let (operation, name) =
            match left.split_once('.').map(|(operation, name)| (operation.parse::<Operation>(), name)) {
                Some((Ok(operation), name)) => (Some(operation), name),
                _ => (None, left),
            };
        let metric: LoadMetric = name.parse()?;
        let limit = metric.limit(right).ok_or_else(|| {
            format!("{right:?} is not a limit for {name}{}{}", metric.unit_hint(), comparison::hint(right))
        })?;
        Ok(Self { text: text.to_owned(), operation, metric, comparison, limit })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorder() -> Recorder {
        let mut recorder = Recorder::default();
        for millis in 1..=100 {
            recorder.record(Operation::Get, &Ok(millis > 10), Duration::from_millis(millis));
        }
        recorder.record(Operation::Set, &Ok(true), Duration::from_secs(1));
        recorder
    }

    #[test]
    fn conditions_are_evaluated() {
        let cases = [
            ("get.p50>40ms", true),
            ("get.p50>60ms", false),
            ("get.p99.9>99ms", true),
            ("max>=1s", true),
            ("get.max>1s", false),
            ("errors>0", false),
            ("hit<95%", true),
            ("hit<90", false),
            ("hit%<95", true),
            ("set.hit<100", false),
            ("ops<10", false),
            ("ops<11", true),
            ("delete.p99>1ns", false),
        ];
        for (text, expected) in cases {
            let threshold: Threshold = text.parse().unwrap();
            let broken = threshold.broken(&recorder(), Duration::from_secs(10));
            assert_eq!(broken.is_some(), expected, "{text}: {broken:?}");
        }
    }

    #[test]
    fn invalid_conditions_are_named() {
        let cases = [
            ("p99", "condition"),
            ("q99>1ms", "q99"),
            ("p101>1ms", "p101"),
            ("p99>2", "\"2\""),
            ("hit<200%", "200"),
            ("p99>2ms,errors>0", "option of its own"),
        ];
        for (text, word) in cases {
            let error = text.parse::<Threshold>().unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
