//! The targets of the project, as a table, and how far they are reached.

use remcache::distribution::Distribution;
use serde::Serialize;

use crate::results::{Figures, IdleRow, Standing, ratio};
use crate::ring::{RingCost, RingRow};
use crate::scenario::{IDLE, RING};

/// What our client is to reach in a scenario.
#[derive(Debug)]
struct Target {
    scenario: &'static str,
    measure: Measure,
    bound: Bound,
}

#[derive(Clone, Copy, Debug)]
enum Measure {
    /// Operations a second, to those of the best peer.
    OpsToBestPeer,
    /// Operations a second, to those of the lockstep pipeline.
    OpsToLockstep,
    /// Operations a second, to our own in another scenario.
    OpsToScenario(&'static str),
    /// Operations a second on another wire, to our own on the binary one.
    WireToBinary(&'static str),
    /// CPU time for each operation, to that of the best peer.
    CpuToBestPeer,
    AllocationsPerOp,
    SystemCallsPerOp,
    /// Memory that idle connections added, in MiB.
    ResidentMebibytes,
    /// A lookup in the default ring of 1,000 servers, in nanoseconds.
    LookupNanos,
    /// Preparing that ring, in milliseconds.
    BuildMillis,
}

#[derive(Clone, Copy, Debug)]
enum Bound {
    AtLeast(f64),
    AtMost(f64),
    Below(f64),
}

/// A target beside what was reached.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Verdict {
    pub(crate) scenario: &'static str,
    pub(crate) measure: String,
    pub(crate) required: String,
    pub(crate) reached: Option<f64>,
    pub(crate) verdict: &'static str,
}

/// Holds the targets against the results. A target is information, never a failure.
pub(crate) fn judge(standings: &[Standing], idle: &[IdleRow], ring: &[RingRow]) -> Vec<Verdict> {
    TARGETS.iter().map(|target| target.judge(standings, idle, ring)).collect()
}

impl Target {
    fn judge(&self, standings: &[Standing], idle: &[IdleRow], ring: &[RingRow]) -> Verdict {
        let reached = self.measure.reached(self.scenario, standings, idle, ring);
        let verdict = match reached {
            None => "not measured",
            Some(value) if self.bound.admits(value) => "reached",
            Some(_) => "missed",
        };
        Verdict {
            scenario: self.scenario,
            measure: self.measure.describe(),
            required: self.bound.describe(),
            reached,
            verdict,
        }
    }
}

impl Measure {
    fn reached(self, scenario: &str, standings: &[Standing], idle: &[IdleRow], ring: &[RingRow]) -> Option<f64> {
        let standing = find(scenario, standings);
        let ours = standing.and_then(Standing::ours);
        let best_peer = standing.and_then(Standing::best_peer);
        let ops = |figures: &Figures| figures.ops_per_second;
        let cpu = |figures: &Figures| figures.cpu_micros_per_op;
        match self {
            Self::OpsToBestPeer => ratio(ours.map(ops), best_peer.map(ops)),
            Self::OpsToLockstep => ratio(ours.map(ops), standing?.floor().map(ops)),
            Self::OpsToScenario(other) => ratio(ours.map(ops), find(other, standings)?.ours().map(ops)),
            Self::WireToBinary(wire) => standing?.wire_to_binary(wire),
            Self::CpuToBestPeer => ratio(ours.map(cpu), best_peer.map(cpu)),
            Self::AllocationsPerOp => ours?.allocations_per_op,
            Self::SystemCallsPerOp => ours?.system_calls_per_op,
            Self::ResidentMebibytes => resident_mebibytes(idle),
            Self::LookupNanos => largest_default_ring(ring).map(|cost| cost.lookup_nanos),
            Self::BuildMillis => largest_default_ring(ring).map(|cost| cost.build_millis),
        }
    }

    fn describe(self) -> String {
        match self {
            Self::OpsToBestPeer => "ops/s to the best peer's".to_owned(),
            Self::OpsToLockstep => "ops/s to lockstep's".to_owned(),
            Self::OpsToScenario(other) => format!("ops/s to those of {other}"),
            Self::WireToBinary(wire) => format!("ops/s of {wire} to binary"),
            Self::CpuToBestPeer => "CPU an op to the best peer's".to_owned(),
            Self::AllocationsPerOp => "allocations an op".to_owned(),
            Self::SystemCallsPerOp => "system calls an op".to_owned(),
            Self::ResidentMebibytes => "MiB resident for 1,000 idle connections".to_owned(),
            Self::LookupNanos => "ns a lookup in the default ring of 1,000 servers".to_owned(),
            Self::BuildMillis => "ms to prepare it".to_owned(),
        }
    }
}

impl Bound {
    fn admits(self, value: f64) -> bool {
        match self {
            Self::AtLeast(bound) => value >= bound,
            Self::AtMost(bound) => value <= bound,
            Self::Below(bound) => value < bound,
        }
    }

    fn describe(self) -> String {
        match self {
            Self::AtLeast(bound) => format!("at least {bound:.2}"),
            Self::AtMost(bound) => format!("at most {bound:.3}"),
            Self::Below(bound) => format!("below {bound:.2}"),
        }
    }
}

fn largest_default_ring(ring: &[RingRow]) -> Option<&RingCost> {
    ring.iter().find(|row| row.distribution == Distribution::default().name())?.lists.last()
}

fn resident_mebibytes(idle: &[IdleRow]) -> Option<f64> {
    let ours = idle.iter().find(|row| row.is_ours())?;
    ours.figures.map(|figures| figures.resident_kib / 1024.0)
}

fn find<'a>(scenario: &str, standings: &'a [Standing]) -> Option<&'a Standing> {
    standings.iter().find(|standing| standing.id == scenario)
}

const fn target(scenario: &'static str, measure: Measure, bound: Bound) -> Target {
    Target { scenario, measure, bound }
}

static TARGETS: &[Target] = &[
    target("get-1", Measure::OpsToBestPeer, Bound::AtLeast(1.0)),
    target("get-64", Measure::OpsToBestPeer, Bound::AtLeast(3.5)),
    target("get-64", Measure::OpsToLockstep, Bound::AtLeast(0.85)),
    target("get-64", Measure::CpuToBestPeer, Bound::AtMost(1.0 / 7.0)),
    // What a small get costs is its value: the counter's own rounding and start-up are not a second allocation.
    target("get-64", Measure::AllocationsPerOp, Bound::AtMost(1.005)),
    target("get-64", Measure::SystemCallsPerOp, Bound::Below(0.1)),
    target("get-64", Measure::WireToBinary("remcache"), Bound::AtLeast(0.9)),
    target("get-64", Measure::WireToBinary("remcache-text"), Bound::AtLeast(0.8)),
    target("get-512", Measure::OpsToBestPeer, Bound::AtLeast(15.0)),
    target("get-512", Measure::OpsToLockstep, Bound::AtLeast(1.3)),
    target("get-512", Measure::CpuToBestPeer, Bound::AtMost(1.0 / 15.0)),
    target("get-4096", Measure::OpsToScenario("get-512"), Bound::AtLeast(0.8)),
    target("get-10000", Measure::OpsToScenario("get-512"), Bound::AtLeast(0.8)),
    target("many-100", Measure::OpsToBestPeer, Bound::AtLeast(1.1)),
    target("set-64", Measure::OpsToBestPeer, Bound::AtLeast(3.5)),
    target("get-1m-1", Measure::OpsToLockstep, Bound::AtLeast(0.95)),
    target("get-1m-1", Measure::OpsToBestPeer, Bound::AtLeast(1.0)),
    target("get-1m-4", Measure::OpsToLockstep, Bound::AtLeast(0.95)),
    target("get-1m-4", Measure::OpsToBestPeer, Bound::AtLeast(1.0)),
    target(IDLE.id, Measure::ResidentMebibytes, Bound::AtMost(16.0)),
    target(RING.id, Measure::LookupNanos, Bound::AtMost(100.0)),
    target(RING.id, Measure::BuildMillis, Bound::AtMost(50.0)),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contestant::Footprint;
    use crate::scenario::Scenario;

    #[test]
    fn every_target_names_scenarios_that_exist() {
        for target in TARGETS {
            assert!(Scenario::by_id(target.scenario).is_some(), "{}", target.scenario);
            match target.measure {
                Measure::OpsToScenario(other) => assert!(Scenario::by_id(other).is_some(), "{other}"),
                Measure::WireToBinary(wire) => assert!(wire.parse::<crate::contestant::Entry>().is_ok(), "{wire}"),
                _ => {}
            }
        }
    }

    fn standing(id: &str, outcomes: &[(&str, f64, f64)]) -> Standing {
        let outcome = |&(name, ops, cpu): &(&str, f64, f64)| {
            let figures = Figures { ops_per_second: ops, cpu_micros_per_op: cpu, ..Figures::default() };
            (name.parse().unwrap(), Ok(figures))
        };
        Standing::new(Scenario::by_id(id).unwrap(), outcomes.iter().map(outcome).collect())
    }

    /// The verdict on one measure of one scenario.
    fn verdict(standings: &[Standing], scenario: &'static str, measure: Measure, bound: Bound) -> &'static str {
        target(scenario, measure, bound).judge(standings, &[], &[]).verdict
    }

    #[test]
    fn targets_are_reached_missed_or_not_measured() {
        let standings = [
            standing("get-64", &[("lockstep", 500.0, 1.0), ("memcache-async", 100.0, 7.0), ("remcache", 440.0, 1.0)]),
            standing("get-512", &[("remcache", 400.0, 1.0)]),
        ];
        let check = |scenario, measure, bound| verdict(&standings, scenario, measure, bound);
        assert_eq!(check("get-64", Measure::OpsToBestPeer, Bound::AtLeast(4.4)), "reached");
        assert_eq!(check("get-64", Measure::OpsToLockstep, Bound::AtLeast(0.9)), "missed");
        assert_eq!(check("get-64", Measure::CpuToBestPeer, Bound::AtMost(0.143)), "reached");
        assert_eq!(check("get-64", Measure::OpsToScenario("get-512"), Bound::AtLeast(1.1)), "reached");
        assert_eq!(check("get-64", Measure::SystemCallsPerOp, Bound::Below(0.1)), "not measured");
        assert_eq!(check("get-512", Measure::OpsToBestPeer, Bound::AtLeast(1.0)), "not measured");
        assert_eq!(check("set-64", Measure::OpsToBestPeer, Bound::AtLeast(1.0)), "not measured");
    }

    #[test]
    fn the_ring_is_judged_by_the_default_with_the_longest_list() {
        let cost = |servers, lookup_nanos| RingCost { servers, lookup_nanos, build_millis: 60.0 };
        let row = |distribution| RingRow { distribution, lists: vec![cost(3, 500.0), cost(1000, 99.0)] };
        let verdicts = |ring: &[RingRow]| {
            let lookup = target(RING.id, Measure::LookupNanos, Bound::AtMost(100.0));
            let build = target(RING.id, Measure::BuildMillis, Bound::AtMost(50.0));
            [lookup, build].map(|target| target.judge(&[], &[], ring).verdict)
        };
        assert_eq!(verdicts(&[row("jump"), row("ketama")]), ["reached", "missed"]);
        assert_eq!(verdicts(&[row("jump")]), ["not measured", "not measured"]);
    }

    #[test]
    fn the_memory_of_idle_connections_is_judged_in_mebibytes() {
        let target = target(IDLE.id, Measure::ResidentMebibytes, Bound::AtMost(16.0));
        let row = |name: &str, mebibytes: u64| {
            let footprint = Footprint { resident_kib: mebibytes * 1024, heap_kib: None };
            IdleRow::new(&IDLE, name.parse().unwrap(), Ok(vec![footprint]))
        };
        let verdict = |idle: &[IdleRow]| target.judge(&[], idle, &[]).verdict;
        assert_eq!(verdict(&[row("memcache-async", 99), row("remcache+mt", 99), row("remcache", 16)]), "reached");
        assert_eq!(verdict(&[row("remcache", 17)]), "missed");
        assert_eq!(verdict(&[row("memcache-async", 1)]), "not measured");
    }
}
