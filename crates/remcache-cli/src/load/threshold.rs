//! Conditions under which a load has failed: `p99>2ms`, `errors>0`, `set.p50>=1ms`, `ops<50k`.

use std::str::FromStr;
use std::time::Duration;

use super::mix::Operation;
use super::recorder::Recorder;
use crate::comparison::Comparison;
use crate::options::value;

/// A condition under which a load has failed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Threshold {
    text: String,
    verb: Option<Operation>,
    metric: LoadMetric,
    comparison: Comparison,
    limit: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum LoadMetric {
    /// A latency, in seconds, that so many percent of the answers kept.
    Percentile(f64),
    Longest,
    Mean,
    /// Answers a second.
    Rate,
    Errors,
    /// Percent.
    Hits,
}

impl Threshold {
    /// The value that broke the threshold, if it is broken: what cannot be told breaks none.
    pub(crate) fn broken(&self, recorder: &Recorder, elapsed: Duration) -> Option<String> {
        let value = self.metric.value(recorder, self.verb, elapsed)?;
        self.comparison.holds(value, self.limit).then(|| format!("{}: it is {}", self.text, self.metric.show(value)))
    }
}

impl LoadMetric {
    const NAMES: [(&'static str, Self); 5] = [
        ("max", Self::Longest),
        ("mean", Self::Mean),
        ("ops", Self::Rate),
        ("errors", Self::Errors),
        ("hit", Self::Hits),
    ];

    fn value(self, recorder: &Recorder, verb: Option<Operation>, elapsed: Duration) -> Option<f64> {
        let tallied = recorder.tallied(verb);
        let if_any = |value: f64| (tallied.answers > 0).then_some(value);
        match self {
            Self::Percentile(percent) => if_any(tallied.percentile(percent).as_secs_f64()),
            Self::Longest => if_any(tallied.longest().as_secs_f64()),
            Self::Mean => if_any(tallied.latency.mean() / 1e9),
            Self::Rate => Some(tallied.answers as f64 / elapsed.as_secs_f64().max(f64::MIN_POSITIVE)),
            Self::Errors => Some(tallied.errors as f64),
            Self::Hits => match recorder.hits(verb) {
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
            format!("unknown figure {text:?}; known are p50, p99.9 and the like, max, mean, ops, errors, hit")
        })
    }
}

impl FromStr for Threshold {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = Comparison::split(text);
        let (left, comparison, right) = parts.ok_or("expected a condition such as p99>2ms or errors>0")?;
        let (verb, name) = match left.split_once('.').map(|(verb, name)| (verb.parse::<Operation>(), name)) {
            Some((Ok(verb), name)) => (Some(verb), name),
            _ => (None, left),
        };
        let metric: LoadMetric = name.parse()?;
        let limit = metric.limit(right).ok_or_else(|| format!("{right:?} is no limit for {name}"))?;
        Ok(Self { text: text.to_owned(), verb, metric, comparison, limit })
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
    fn thresholds_that_are_broken_and_that_are_kept() {
        let cases = [
            ("get.p50>40ms", true),
            ("get.p50>60ms", false),
            ("get.p99.9>99ms", true),
            ("max>=1s", true),
            ("get.max>1s", false),
            ("errors>0", false),
            ("hit<95%", true),
            ("hit<90", false),
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
    fn what_is_no_threshold_is_named() {
        let cases =
            [("p99", "condition"), ("q99>1ms", "q99"), ("p101>1ms", "p101"), ("p99>2", "\"2\""), ("hit<200%", "200")];
        for (text, word) in cases {
            let error = text.parse::<Threshold>().unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
