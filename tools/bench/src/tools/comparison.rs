//! Compares the tool's results with its targets, and with a second measurement of the same load.

use serde::Serialize;

use super::proxy::Proxy;
use super::tool::{Measured, Tool};

/// A value reported by the tool, compared with a required or measured value.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Check {
    pub(crate) what: &'static str,
    pub(crate) tool: f64,
    pub(crate) other: f64,
    pub(crate) ratio: f64,
    pub(crate) required: String,
    pub(crate) is_met: bool,
}

/// Compares the medians with the targets, and the reported values of each round with the counted ones.
pub(crate) fn compare(medians: &[(Tool, Measured)], rounds: &[(Tool, Measured)], callers: usize) -> Vec<Check> {
    let of = |tool| medians.iter().find(|(other, _)| *other == tool).map(|(_, median)| median);
    let (Some(tool), Some(library)) = (of(Tool::Remcache), of(Tool::Library)) else { return Vec::new() };
    let memcaslap = [Tool::Memcaslap, Tool::MemcaslapBinary].into_iter().filter_map(of);
    let best_memcaslap = memcaslap.map(|median| median.counted_per_second).fold(0.0, f64::max);
    let runs: Vec<&Measured> = rounds.iter().filter(|(it, _)| *it == Tool::Remcache).map(|(_, run)| run).collect();
    let median = |compare: &dyn Fn(&Measured) -> Check| {
        let mut all: Vec<Check> = runs.iter().map(|run| compare(run)).collect();
        all.sort_by(|one, other| one.ratio.total_cmp(&other.ratio));
        (!all.is_empty()).then(|| all.swap_remove(all.len() / 2))
    };
    let targets = [
        at_least("gets/s, x the better memcaslap", tool.counted_per_second, best_memcaslap, 3.0),
        at_least("gets/s, x the library", tool.counted_per_second, library.counted_per_second, 0.8),
    ];
    let checks = [
        median(&|run| within("gets/s, reported and counted", run.reported_per_second, run.counted_per_second, 5.0)),
        median(&|run| within("gets, reported and counted", run.reported.unwrap_or_default(), run.counted, 0.0)),
        median(&|run| {
            // Little's law: with callers that always wait for a reply, the number of callers is the rate
            // times the mean latency.
            let by_law = callers as f64 * 1e6 / run.counted_per_second;
            within("mean latency in µs, reported and by Little's law", run.mean.unwrap_or_default(), by_law, 5.0)
        }),
    ];
    targets.into_iter().chain(checks.into_iter().flatten()).collect()
}

/// Compares the latencies that the tool reports with those that the proxy measured.
pub(crate) fn latencies(tool: &Measured, proxy: &Proxy) -> Vec<Check> {
    let figures = [
        ("p50 in µs with a slow server, reported and by the proxy", tool.p50, 0.5),
        ("p99 in µs with a slow server, reported and by the proxy", tool.p99, 0.99),
    ];
    figures
        .map(|(what, reported, fraction)| within(what, reported.unwrap_or_default(), proxy.latency(fraction), 5.0))
        .into()
}

fn at_least(what: &'static str, tool: f64, other: f64, bound: f64) -> Check {
    let ratio = tool / other;
    Check { what, tool, other, ratio, required: format!("at least {bound}"), is_met: ratio >= bound }
}

fn within(what: &'static str, tool: f64, other: f64, percent: f64) -> Check {
    let ratio = tool / other;
    let is_met = (ratio - 1.0).abs() * 100.0 <= percent;
    let required = if percent > 0.0 { format!("1 within {percent} %") } else { "1".to_owned() };
    Check { what, tool, other, ratio, required, is_met }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn are_met(tool: &Measured) -> Vec<bool> {
        let other = |rate| Measured { counted_per_second: rate, ..Measured::default() };
        let medians = [
            (Tool::Remcache, tool.clone()),
            (Tool::Memcaslap, other(10.0)),
            (Tool::MemcaslapBinary, other(20.0)),
            (Tool::Library, other(100.0)),
        ];
        compare(&medians, &medians, 64).iter().map(|check| check.is_met).collect()
    }

    #[test]
    fn equal_and_different_values_are_distinguished() {
        let good = Measured {
            counted_per_second: 80.0,
            reported_per_second: 81.0,
            counted: 240.0,
            reported: Some(240.0),
            mean: Some(800_000.0),
            ..Measured::default()
        };
        assert_eq!(are_met(&good), [true; 5]);
        let bad = Measured {
            counted_per_second: 50.0,
            reported_per_second: 53.0,
            counted: 240.0,
            reported: Some(241.0),
            mean: Some(1_000_000.0),
            ..good
        };
        assert_eq!(are_met(&bad), [false; 5]);
    }
}
