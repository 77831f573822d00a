//! What the tool is to reach, and whether its figures agree with a second measurement of the same load.

use serde::Serialize;

use super::contender::{Contender, Measured};
use super::relay::Relay;

/// Two figures of the same thing, or a figure and its target.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Agreement {
    pub(crate) what: &'static str,
    pub(crate) tool: f64,
    pub(crate) other: f64,
    pub(crate) ratio: f64,
    pub(crate) required: String,
    pub(crate) is_met: bool,
}

/// Holds the medians against the targets, and the figures of each round against each other.
pub(crate) fn judge(
    medians: &[(Contender, Measured)],
    rounds: &[(Contender, Measured)],
    callers: usize,
) -> Vec<Agreement> {
    let of = |contender| medians.iter().find(|(other, _)| *other == contender).map(|(_, median)| median);
    let (Some(tool), Some(library)) = (of(Contender::Tool), of(Contender::Library)) else { return Vec::new() };
    let slaps = [Contender::Memcaslap, Contender::MemcaslapBinary].into_iter().filter_map(of);
    let best_slap = slaps.map(|median| median.counted_per_second).fold(0.0, f64::max);
    let runs: Vec<&Measured> = rounds.iter().filter(|(it, _)| *it == Contender::Tool).map(|(_, run)| run).collect();
    let typical = |compare: &dyn Fn(&Measured) -> Agreement| {
        let mut all: Vec<Agreement> = runs.iter().map(|run| compare(run)).collect();
        all.sort_by(|one, other| one.ratio.total_cmp(&other.ratio));
        (!all.is_empty()).then(|| all.swap_remove(all.len() / 2))
    };
    let targets = [
        at_least("gets/s, by the better memcaslap's", tool.counted_per_second, best_slap, 3.0),
        at_least("gets/s, by the library's alone", tool.counted_per_second, library.counted_per_second, 0.8),
    ];
    let agreements = [
        typical(&|run| {
            within("gets/s: told, and counted by the server", run.told_per_second, run.counted_per_second, 5.0)
        }),
        typical(&|run| within("gets: told, and counted by the server", run.told.unwrap_or_default(), run.counted, 0.0)),
        typical(&|run| {
            // So many callers that each wait for an answer, and ask again at once: their number is the
            // rate times the mean latency.
            let by_law = callers as f64 * 1e6 / run.counted_per_second;
            within("mean latency in µs: told, and by Little's law", run.mean.unwrap_or_default(), by_law, 5.0)
        }),
    ];
    targets.into_iter().chain(agreements.into_iter().flatten()).collect()
}

/// Holds the latencies that the tool tells against those that the relay saw.
pub(crate) fn latencies(tool: &Measured, relay: &Relay) -> Vec<Agreement> {
    let figures = [
        ("p50 in µs, a slow server: told, and seen between", tool.p50, 0.5),
        ("p99 in µs, a slow server: told, and seen between", tool.p99, 0.99),
    ];
    figures.map(|(what, told, fraction)| within(what, told.unwrap_or_default(), relay.latency(fraction), 5.0)).into()
}

fn at_least(what: &'static str, tool: f64, other: f64, bound: f64) -> Agreement {
    let ratio = tool / other;
    Agreement { what, tool, other, ratio, required: format!("at least {bound}"), is_met: ratio >= bound }
}

fn within(what: &'static str, tool: f64, other: f64, percent: f64) -> Agreement {
    let ratio = tool / other;
    let is_met = (ratio - 1.0).abs() * 100.0 <= percent;
    let required = if percent > 0.0 { format!("1 within {percent} %") } else { "1".to_owned() };
    Agreement { what, tool, other, ratio, required, is_met }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(tool: &Measured) -> Vec<bool> {
        let other = |rate| Measured { counted_per_second: rate, ..Measured::default() };
        let medians = [
            (Contender::Tool, tool.clone()),
            (Contender::Memcaslap, other(10.0)),
            (Contender::MemcaslapBinary, other(20.0)),
            (Contender::Library, other(100.0)),
        ];
        judge(&medians, &medians, 64).iter().map(|agreement| agreement.is_met).collect()
    }

    #[test]
    fn figures_that_agree_are_told_from_those_that_do_not() {
        let good = Measured {
            counted_per_second: 80.0,
            told_per_second: 81.0,
            counted: 240.0,
            told: Some(240.0),
            mean: Some(800_000.0),
            ..Measured::default()
        };
        assert_eq!(judged(&good), [true; 5]);
        let bad = Measured {
            counted_per_second: 50.0,
            told_per_second: 53.0,
            counted: 240.0,
            told: Some(241.0),
            mean: Some(1_000_000.0),
            ..good
        };
        assert_eq!(judged(&bad), [false; 5]);
    }
}
