//! The project's performance targets, and the results compared with them.

use remcache::distribution::Distribution;
use serde::Serialize;

use crate::placement::{RingCost, RingRow};
use crate::results::{Figures, IdleRow, ScenarioResult, ratio};
use crate::scenario::{IDLE, RING, Scenario};

/// A value that a client must reach in a scenario.
#[derive(Debug)]
struct Target {
    scenario: &'static str,
    /// The client's name in the tables: `remcache`, or `remcache+mt` on the multi-threaded runtime.
    client: &'static str,
    measure: Measure,
    bound: Bound,
}

#[derive(Clone, Copy, Debug)]
enum Measure {
    /// Operations per second, divided by those of the best peer on the same runtime.
    OpsToBestPeer,
    /// Operations per second, divided by those of the lockstep pipeline.
    OpsToLockstep,
    /// Operations per second, divided by those of the same client in another scenario.
    OpsToScenario(&'static str),
    /// Operations per second, divided by those of another client in the same scenario.
    OpsToClient(&'static str),
    /// CPU time per operation, divided by that of the best peer on the same runtime.
    CpuToBestPeer,
    /// CPU time per operation, divided by that of another client in the same scenario.
    CpuToClient(&'static str),
    AllocationsPerOp,
    SystemCallsPerOp,
    /// Resident memory that idle connections added, in MiB.
    ResidentMebibytes,
    /// Time of a lookup in the default distribution with 1,000 servers, in nanoseconds.
    LookupNanos,
    /// Time to build that ring, in milliseconds.
    BuildMillis,
}

#[derive(Clone, Copy, Debug)]
enum Bound {
    AtLeast(f64),
    AtMost(f64),
    Below(f64),
}

/// A target and the measured value.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct TargetResult {
    pub(crate) scenario: &'static str,
    pub(crate) client: &'static str,
    pub(crate) measure: String,
    pub(crate) required: String,
    pub(crate) measured: Option<f64>,
    pub(crate) status: &'static str,
}

/// Compares the results with all targets. A missed target is reported, but is not a failure.
pub(crate) fn evaluate(results: &[ScenarioResult], idle: &[IdleRow], ring: &[RingRow]) -> Vec<TargetResult> {
    let measurements = Measurements { results, idle, ring };
    TARGETS.iter().map(|target| target.evaluate(&measurements)).collect()
}

impl Target {
    fn evaluate(&self, measurements: &Measurements<'_>) -> TargetResult {
        let measured = measurements.value(self);
        let status = match measured {
            None => "not measured",
            Some(value) if self.bound.admits(value) => "reached",
            Some(value) if self.is_limited_by_servers(value, measurements) => "limited by the servers",
            Some(_) => "missed",
        };
        TargetResult {
            scenario: self.scenario,
            client: self.client,
            measure: self.measure.describe(),
            required: self.bound.describe(),
            measured,
            status,
        }
    }
}

impl Target {
    /// Returns whether the target is a rate that the servers of this run do not have enough CPU time for.
    fn is_limited_by_servers(&self, value: f64, measurements: &Measurements<'_>) -> bool {
        let (Measure::OpsToBestPeer | Measure::OpsToLockstep, Bound::AtLeast(bound)) = (self.measure, self.bound)
        else {
            return false;
        };
        let Some(scenario) = Scenario::by_id(self.scenario) else { return false };
        let Some(own) = measurements.scenario(self.scenario).and_then(|result| result.figures(self.client)) else {
            return false;
        };
        let most = scenario.servers as f64 * 1e6 / own.server_cpu_micros_per_op;
        own.ops_per_second / value * bound > most
    }
}

/// The results of all scenarios.
struct Measurements<'a> {
    results: &'a [ScenarioResult],
    idle: &'a [IdleRow],
    ring: &'a [RingRow],
}

impl Measurements<'_> {
    /// Returns the value that a target limits, or `None` if it was not measured.
    fn value(&self, target: &Target) -> Option<f64> {
        let row = self.scenario(target.scenario).and_then(|result| result.row(target.client));
        let own = row.and_then(|row| row.figures.as_ref());
        let other = |client: &str| self.scenario(target.scenario)?.figures(client);
        match target.measure {
            Measure::OpsToBestPeer => row?.to_best_peer,
            Measure::OpsToLockstep => row?.to_lockstep,
            Measure::OpsToScenario(id) => ratio(own.map(ops), self.scenario(id)?.figures(target.client).map(ops)),
            Measure::OpsToClient(client) => ratio(own.map(ops), other(client).map(ops)),
            Measure::CpuToBestPeer => {
                let best_peer = self.scenario(target.scenario)?.best_peer(row?.runtime);
                ratio(own.map(cpu), best_peer.map(cpu))
            }
            Measure::CpuToClient(client) => ratio(own.map(cpu), other(client).map(cpu)),
            Measure::AllocationsPerOp => own?.allocations_per_op,
            Measure::SystemCallsPerOp => own?.system_calls_per_op,
            Measure::ResidentMebibytes => self.resident_mebibytes(target.client),
            Measure::LookupNanos => self.largest_default_ring().map(|cost| cost.lookup_nanos),
            Measure::BuildMillis => self.largest_default_ring().map(|cost| cost.build_millis),
        }
    }

    fn scenario(&self, id: &str) -> Option<&ScenarioResult> {
        self.results.iter().find(|result| result.id == id)
    }

    fn resident_mebibytes(&self, client: &str) -> Option<f64> {
        let row = self.idle.iter().find(|row| row.client == client)?;
        row.figures.map(|figures| figures.resident_kib / 1024.0)
    }

    fn largest_default_ring(&self) -> Option<&RingCost> {
        self.ring.iter().find(|row| row.distribution == Distribution::default().name())?.lists.last()
    }
}

fn ops(figures: &Figures) -> f64 {
    figures.ops_per_second
}

fn cpu(figures: &Figures) -> f64 {
    figures.cpu_micros_per_op
}

impl Measure {
    fn describe(self) -> String {
        match self {
            Self::OpsToBestPeer => "ops/s, x best peer".to_owned(),
            Self::OpsToLockstep => "ops/s, x lockstep".to_owned(),
            Self::OpsToScenario(id) => format!("ops/s, x {id}"),
            Self::OpsToClient(client) => format!("ops/s, x {client}"),
            Self::CpuToBestPeer => "CPU/op, x best peer".to_owned(),
            Self::CpuToClient(client) => format!("CPU/op, x {client}"),
            Self::AllocationsPerOp => "allocations/op".to_owned(),
            Self::SystemCallsPerOp => "system calls/op".to_owned(),
            Self::ResidentMebibytes => "resident MiB".to_owned(),
            Self::LookupNanos => "lookup ns, 1,000 servers".to_owned(),
            Self::BuildMillis => "build ms, 1,000 servers".to_owned(),
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

const fn target(scenario: &'static str, client: &'static str, measure: Measure, bound: Bound) -> Target {
    Target { scenario, client, measure, bound }
}

const ONE: &str = "remcache";
const MULTI: &str = "remcache+mt";
const POLLING: &str = "remcache-polling";
const TEXT: &str = "remcache-text";
const BINARY: &str = "remcache-binary";

static TARGETS: &[Target] = &[
    target("get-1", ONE, Measure::OpsToBestPeer, Bound::AtLeast(1.0)),
    target("get-1", POLLING, Measure::OpsToBestPeer, Bound::AtLeast(2.0)),
    target("get-64", ONE, Measure::OpsToBestPeer, Bound::AtLeast(7.0)),
    target("get-64", ONE, Measure::OpsToLockstep, Bound::AtLeast(0.85)),
    target("get-64", ONE, Measure::CpuToBestPeer, Bound::AtMost(1.0 / 7.0)),
    // A small get allocates its value once; the tolerance is for start-up and rounding.
    target("get-64", ONE, Measure::AllocationsPerOp, Bound::AtMost(1.005)),
    target("get-64", ONE, Measure::SystemCallsPerOp, Bound::Below(0.1)),
    target("get-64", ONE, Measure::OpsToClient(BINARY), Bound::AtLeast(0.9)),
    target("get-64", TEXT, Measure::OpsToClient(BINARY), Bound::AtLeast(0.8)),
    target("get-64", MULTI, Measure::OpsToBestPeer, Bound::AtLeast(6.0)),
    target("get-64", MULTI, Measure::CpuToClient(ONE), Bound::AtMost(1.4)),
    target("get-512", ONE, Measure::OpsToBestPeer, Bound::AtLeast(20.0)),
    target("get-512", ONE, Measure::OpsToLockstep, Bound::AtLeast(1.3)),
    target("get-512", ONE, Measure::CpuToBestPeer, Bound::AtMost(1.0 / 15.0)),
    target("get-512", MULTI, Measure::OpsToBestPeer, Bound::AtLeast(12.0)),
    target("get-512", MULTI, Measure::OpsToClient(ONE), Bound::AtLeast(0.8)),
    target("get-512", MULTI, Measure::CpuToClient(ONE), Bound::AtMost(1.4)),
    target("get-4096", ONE, Measure::OpsToScenario("get-512"), Bound::AtLeast(0.8)),
    target("get-10000", ONE, Measure::OpsToScenario("get-512"), Bound::AtLeast(0.8)),
    target("many-100", ONE, Measure::OpsToBestPeer, Bound::AtLeast(1.7)),
    target("many-100", MULTI, Measure::OpsToBestPeer, Bound::AtLeast(1.3)),
    target("many-100", MULTI, Measure::CpuToClient(ONE), Bound::AtMost(1.4)),
    target("set-64", ONE, Measure::OpsToBestPeer, Bound::AtLeast(4.5)),
    target("set-64", ONE, Measure::OpsToLockstep, Bound::AtLeast(1.0)),
    target("set-64", MULTI, Measure::OpsToBestPeer, Bound::AtLeast(4.0)),
    target("set-64", MULTI, Measure::CpuToClient(ONE), Bound::AtMost(1.4)),
    target("get-1m-1", ONE, Measure::OpsToLockstep, Bound::AtLeast(0.95)),
    target("get-1m-1", ONE, Measure::OpsToBestPeer, Bound::AtLeast(1.0)),
    target("get-1m-4", ONE, Measure::OpsToLockstep, Bound::AtLeast(0.95)),
    target("get-1m-4", ONE, Measure::OpsToBestPeer, Bound::AtLeast(1.0)),
    target(IDLE.id, ONE, Measure::ResidentMebibytes, Bound::AtMost(16.0)),
    target(RING.id, ONE, Measure::LookupNanos, Bound::AtMost(100.0)),
    target(RING.id, ONE, Measure::BuildMillis, Bound::AtMost(50.0)),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::{Entry, Footprint};

    #[test]
    fn every_target_names_scenarios_and_clients_that_exist() {
        let is_client = |name: &str| name.parse::<Entry>().is_ok();
        for target in TARGETS {
            assert!(Scenario::by_id(target.scenario).is_some(), "{}", target.scenario);
            assert!(is_client(target.client), "{}", target.client);
            match target.measure {
                Measure::OpsToScenario(id) => assert!(Scenario::by_id(id).is_some(), "{id}"),
                Measure::OpsToClient(client) | Measure::CpuToClient(client) => assert!(is_client(client), "{client}"),
                _ => {}
            }
        }
    }

    fn result(id: &str, rows: &[(&str, f64, f64)]) -> ScenarioResult {
        let row = |&(name, ops, cpu): &(&str, f64, f64)| {
            let figures = Figures { ops_per_second: ops, cpu_micros_per_op: cpu, ..Figures::default() };
            (name.parse().unwrap(), Ok(figures))
        };
        ScenarioResult::new(Scenario::by_id(id).unwrap(), rows.iter().map(row).collect())
    }

    fn status(target: &Target, results: &[ScenarioResult], idle: &[IdleRow], ring: &[RingRow]) -> &'static str {
        target.evaluate(&Measurements { results, idle, ring }).status
    }

    #[test]
    fn targets_are_reached_missed_or_not_measured() {
        let results = [
            result("get-64", &[("lockstep", 500.0, 1.0), ("memcache-async", 100.0, 7.0), ("remcache", 440.0, 1.0)]),
            result("get-512", &[("remcache", 400.0, 1.0)]),
        ];
        let check = |scenario, measure, bound| status(&target(scenario, ONE, measure, bound), &results, &[], &[]);
        assert_eq!(check("get-64", Measure::OpsToBestPeer, Bound::AtLeast(4.4)), "reached");
        assert_eq!(check("get-64", Measure::OpsToLockstep, Bound::AtLeast(0.9)), "missed");
        assert_eq!(check("get-64", Measure::CpuToBestPeer, Bound::AtMost(0.143)), "reached");
        assert_eq!(check("get-64", Measure::OpsToScenario("get-512"), Bound::AtLeast(1.1)), "reached");
        assert_eq!(check("get-64", Measure::SystemCallsPerOp, Bound::Below(0.1)), "not measured");
        assert_eq!(check("get-512", Measure::OpsToBestPeer, Bound::AtLeast(1.0)), "not measured");
        assert_eq!(check("set-64", Measure::OpsToBestPeer, Bound::AtLeast(1.0)), "not measured");
    }

    #[test]
    fn a_rate_for_which_the_server_has_too_little_cpu_time_is_limited_by_the_servers() {
        let figures = |ops_per_second| Figures { ops_per_second, server_cpu_micros_per_op: 0.8, ..Figures::default() };
        let rows = [("memcache-async", 100_000.0), ("remcache", 1_000_000.0)];
        let rows = rows.map(|(name, ops)| (name.parse().unwrap(), Ok(figures(ops))));
        let results = [ScenarioResult::new(Scenario::by_id("get-512").unwrap(), rows.into())];
        let check = |measure, bound| status(&target("get-512", ONE, measure, bound), &results, &[], &[]);
        assert_eq!(check(Measure::OpsToBestPeer, Bound::AtLeast(12.0)), "missed");
        assert_eq!(check(Measure::OpsToBestPeer, Bound::AtLeast(13.0)), "limited by the servers");
        assert_eq!(check(Measure::OpsToBestPeer, Bound::AtLeast(10.0)), "reached");
    }

    #[test]
    fn a_client_is_compared_with_peers_on_its_runtime_and_with_other_clients() {
        let results = [result(
            "get-64",
            &[
                ("memcache-async", 100.0, 7.0),
                ("memcache-async+mt", 40.0, 10.0),
                ("remcache", 400.0, 1.0),
                ("remcache+mt", 200.0, 2.0),
            ],
        )];
        let value = |measure| {
            let target = target("get-64", MULTI, measure, Bound::AtLeast(0.0));
            target.evaluate(&Measurements { results: &results, idle: &[], ring: &[] }).measured
        };
        assert_eq!(value(Measure::OpsToBestPeer), Some(5.0));
        assert_eq!(value(Measure::OpsToClient(ONE)), Some(0.5));
        assert_eq!(value(Measure::CpuToBestPeer), Some(0.2));
        assert_eq!(value(Measure::CpuToClient(ONE)), Some(2.0));
        assert_eq!(value(Measure::OpsToClient(TEXT)), None);
    }

    #[test]
    fn placement_is_evaluated_with_the_default_distribution_and_the_longest_list() {
        let cost = |servers, lookup_nanos| RingCost { servers, lookup_nanos, build_millis: 60.0 };
        let row = |distribution| RingRow { distribution, lists: vec![cost(3, 500.0), cost(1000, 99.0)] };
        let statuses = |ring: &[RingRow]| {
            let lookup = target(RING.id, ONE, Measure::LookupNanos, Bound::AtMost(100.0));
            let build = target(RING.id, ONE, Measure::BuildMillis, Bound::AtMost(50.0));
            [lookup, build].map(|target| status(&target, &[], &[], ring))
        };
        assert_eq!(statuses(&[row("jump"), row("ketama")]), ["reached", "missed"]);
        assert_eq!(statuses(&[row("jump")]), ["not measured", "not measured"]);
    }

    #[test]
    fn the_memory_of_idle_connections_is_evaluated_in_mebibytes() {
        let target = target(IDLE.id, ONE, Measure::ResidentMebibytes, Bound::AtMost(16.0));
        let row = |name: &str, mebibytes: u64| {
            let footprint = Footprint { resident_kib: mebibytes * 1024, heap_kib: None };
            IdleRow::new(&IDLE, name.parse().unwrap(), Ok(vec![footprint]))
        };
        let status = |idle: &[IdleRow]| status(&target, &[], idle, &[]);
        assert_eq!(status(&[row("memcache-async", 99), row("remcache+mt", 99), row("remcache", 16)]), "reached");
        assert_eq!(status(&[row("remcache", 17)]), "missed");
        assert_eq!(status(&[row("memcache-async", 1)]), "not measured");
    }
}
