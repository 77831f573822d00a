//! The results of scenarios: medians of the rounds, and ratios to the lockstep pipeline and to the best peer.

use serde::Serialize;

use crate::adapter::{Entry, Footprint, Role, Runtime};
use crate::report::Report;
use crate::scenario::Scenario;

/// The results of one client in one scenario: medians of its rounds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Figures {
    pub(crate) rounds: usize,
    pub(crate) ops_per_second: f64,
    pub(crate) cpu_micros_per_op: f64,
    pub(crate) server_cpu_micros_per_op: f64,
    pub(crate) p50_micros: f64,
    pub(crate) p99_micros: f64,
    pub(crate) p999_micros: f64,
    pub(crate) allocations_per_op: Option<f64>,
    pub(crate) system_calls_per_op: Option<f64>,
    /// Calls with a wrong result, of all rounds.
    pub(crate) wrong: u64,
    /// Calls that returned an error, of all rounds.
    pub(crate) failed: u64,
    pub(crate) first_fault: Option<String>,
}

/// The counts of the counting round.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) allocations_per_op: Option<f64>,
    pub(crate) system_calls_per_op: Option<f64>,
}

impl Figures {
    /// Computes the medians of the timed rounds, and adds the counts of the counting round.
    pub(crate) fn of(rounds: &[Report], counts: Counts) -> Self {
        let median_of = |value: fn(&Report) -> f64| median(rounds.iter().map(value).collect());
        Self {
            rounds: rounds.len(),
            ops_per_second: median_of(|round| round.ops as f64 / round.seconds),
            cpu_micros_per_op: median_of(|round| round.cpu_micros / round.ops.max(1) as f64),
            server_cpu_micros_per_op: median_of(|round| round.server_cpu_micros_per_op),
            p50_micros: median_of(|round| round.p50),
            p99_micros: median_of(|round| round.p99),
            p999_micros: median_of(|round| round.p999),
            allocations_per_op: counts.allocations_per_op,
            system_calls_per_op: counts.system_calls_per_op,
            wrong: rounds.iter().map(|round| round.wrong).sum(),
            failed: rounds.iter().map(|round| round.failed).sum(),
            first_fault: rounds.iter().find_map(|round| round.first_fault.clone()),
        }
    }
}

/// A row: a client with its figures, or the reason why it has none.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ClientRow {
    pub(crate) client: String,
    pub(crate) role: Role,
    pub(crate) runtime: Runtime,
    pub(crate) figures: Option<Figures>,
    /// Why the figures are missing.
    pub(crate) absent: Option<String>,
    /// Why no client is compared with this one.
    pub(crate) unranked: Option<&'static str>,
    /// Operations per second, divided by those of the lockstep pipeline.
    pub(crate) to_lockstep: Option<f64>,
    /// Operations per second, divided by those of the best peer on the same runtime.
    pub(crate) to_best_peer: Option<f64>,
    /// Operations per second of remcache and its variants, divided by those of remcache with the binary protocol.
    pub(crate) to_binary: Option<f64>,
}

/// The rows of a scenario.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ScenarioResult {
    pub(crate) id: &'static str,
    pub(crate) title: &'static str,
    pub(crate) callers: usize,
    pub(crate) rows: Vec<ClientRow>,
}

impl ScenarioResult {
    /// Collects the results of a scenario, and computes the ratios.
    pub(crate) fn new(scenario: &Scenario, results: Vec<(Entry, Result<Figures, String>)>) -> Self {
        let rows = results.into_iter().map(|(entry, result)| row(scenario, entry, result)).collect();
        let mut result = Self { id: scenario.id, title: scenario.title, callers: scenario.callers, rows };
        result.compute_ratios();
        result
    }

    /// Returns the figures of a client.
    pub(crate) fn figures(&self, client: &str) -> Option<&Figures> {
        self.row(client)?.figures.as_ref()
    }

    /// Returns the row of a client.
    pub(crate) fn row(&self, client: &str) -> Option<&ClientRow> {
        self.rows.iter().find(|row| row.client == client)
    }

    /// Returns the figures of the lockstep pipeline.
    fn lockstep(&self) -> Option<&Figures> {
        self.ranked(Role::Baseline).find_map(|row| row.figures.as_ref())
    }

    /// Returns the figures of the fastest peer among those on the same tokio runtime and those without one.
    pub(crate) fn best_peer(&self, runtime: Runtime) -> Option<&Figures> {
        let runtime = if runtime == Runtime::Threads { Runtime::CurrentThread } else { runtime };
        let peers = self.ranked(Role::Peer).filter(|row| [runtime, Runtime::Threads].contains(&row.runtime));
        let figures = peers.filter_map(|row| row.figures.as_ref());
        figures.max_by(|a, b| a.ops_per_second.total_cmp(&b.ops_per_second))
    }

    fn ranked(&self, role: Role) -> impl Iterator<Item = &ClientRow> {
        self.rows.iter().filter(move |row| row.role == role && row.unranked.is_none())
    }

    fn compute_ratios(&mut self) {
        let lockstep = self.lockstep().map(|figures| figures.ops_per_second);
        let best_peer = |row: &ClientRow| self.best_peer(row.runtime).map(|figures| figures.ops_per_second);
        let best_peers: Vec<_> = self.rows.iter().map(best_peer).collect();
        let binary = self.row(BINARY).and_then(|row| row.figures.as_ref()).map(|figures| figures.ops_per_second);
        for (row, best_peer) in self.rows.iter_mut().zip(best_peers) {
            let own = row.figures.as_ref().map(|figures| figures.ops_per_second);
            row.to_lockstep = ratio(own, lockstep);
            row.to_best_peer = ratio(own, best_peer);
            let is_ours = [Role::Ours, Role::Variant].contains(&row.role) && row.runtime == Runtime::CurrentThread;
            row.to_binary = ratio(own, binary).filter(|_| is_ours && row.client != BINARY);
        }
    }
}

fn row(scenario: &Scenario, entry: Entry, result: Result<Figures, String>) -> ClientRow {
    let (figures, absent) = match result {
        Ok(figures) => (Some(figures), None),
        Err(reason) => (None, Some(reason)),
    };
    ClientRow {
        client: entry.to_string(),
        role: entry.profile.role,
        runtime: entry.runtime,
        figures,
        absent,
        unranked: entry.profile.unranked(scenario),
        to_lockstep: None,
        to_best_peer: None,
        to_binary: None,
    }
}

/// The memory of a client's idle connections: medians of its rounds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct IdleFigures {
    pub(crate) rounds: usize,
    pub(crate) resident_kib: f64,
    pub(crate) resident_kib_per_connection: f64,
    pub(crate) heap_kib: Option<f64>,
    pub(crate) heap_kib_per_connection: Option<f64>,
}

impl IdleFigures {
    fn of(rounds: &[Footprint], connections: usize) -> Self {
        let connections = connections as f64;
        let resident_kib = median(rounds.iter().map(|round| round.resident_kib as f64).collect());
        let heap = rounds.iter().map(|round| round.heap_kib.map(|kib| kib as f64));
        let heap_kib = heap.collect::<Option<_>>().map(median);
        Self {
            rounds: rounds.len(),
            resident_kib,
            resident_kib_per_connection: resident_kib / connections,
            heap_kib,
            heap_kib_per_connection: heap_kib.map(|kib| kib / connections),
        }
    }
}

/// A row: a client with the memory of its idle connections, or the reason why it was not measured.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct IdleRow {
    pub(crate) client: String,
    pub(crate) role: Role,
    pub(crate) runtime: Runtime,
    pub(crate) connections: usize,
    pub(crate) figures: Option<IdleFigures>,
    /// Why the figures are missing.
    pub(crate) absent: Option<String>,
}

impl IdleRow {
    pub(crate) fn new(scenario: &Scenario, entry: Entry, result: Result<Vec<Footprint>, String>) -> Self {
        let connections = scenario.callers;
        let (figures, absent) = match result {
            Ok(rounds) => (Some(IdleFigures::of(&rounds, connections)), None),
            Err(reason) => (None, Some(reason)),
        };
        let (client, role, runtime) = (entry.to_string(), entry.profile.role, entry.runtime);
        Self { client, role, runtime, connections, figures, absent }
    }
}

/// Returns a ratio, or `None` if a value is missing or the divisor is zero.
pub(crate) fn ratio(of: Option<f64>, to: Option<f64>) -> Option<f64> {
    let (of, to) = of.zip(to)?;
    (to > 0.0).then(|| of / to)
}

/// Returns the median, or 0 if there are no values.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    match values.len() {
        0 => 0.0,
        len if len % 2 == 1 => values[half],
        _ => f64::midpoint(values[half - 1], values[half]),
    }
}

/// The client that remcache's protocols are compared with.
const BINARY: &str = "remcache-binary";

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(ops_per_second: f64) -> Figures {
        Figures { ops_per_second, ..Figures::default() }
    }

    fn result(results: &[(&str, Option<f64>)]) -> ScenarioResult {
        let figures = |ops: Option<f64>| ops.map(figures).ok_or_else(|| "absent".to_owned());
        let results = results.iter().map(|&(name, ops)| (name.parse().unwrap(), figures(ops)));
        ScenarioResult::new(Scenario::by_id("get-64").unwrap(), results.collect())
    }

    #[test]
    fn the_median_is_the_middle_value() {
        assert_eq!(median(vec![]), 0.0);
        assert_eq!(median(vec![3.0]), 3.0);
        assert_eq!(median(vec![9.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 9.0]), 3.0);
    }

    #[test]
    fn figures_are_medians_and_faults_are_sums() {
        let round = |ops, wrong| Report {
            ops,
            claimed: ops,
            seconds: 0.5,
            cpu_micros: 100.0,
            server_cpu_micros_per_op: 0.8,
            p50: 1.0,
            p99: 2.0,
            p999: 3.0,
            wrong,
            failed: 0,
            first_fault: (wrong > 0).then(|| "wrong result".to_owned()),
            allocations: None,
        };
        let rounds = [round(10, 0), round(1_000, 1), round(20, 2)];
        let figures = Figures::of(&rounds, Counts::default());
        assert_eq!(figures.ops_per_second, 40.0);
        assert_eq!(figures.cpu_micros_per_op, 5.0);
        assert_eq!(figures.wrong, 3);
        assert_eq!(figures.first_fault.as_deref(), Some("wrong result"));
    }

    #[test]
    fn ratios_are_to_lockstep_and_to_the_best_peer_on_the_same_runtime() {
        let result = result(&[
            ("lockstep", Some(500.0)),
            ("memcache-async", Some(50.0)),
            ("memcache-async+mt", Some(100.0)),
            ("libmemcached", None),
            ("memcache-classic", Some(80.0)),
            ("remcache", Some(400.0)),
            ("remcache+mt", Some(200.0)),
        ]);
        let ratios = |index: usize| (result.rows[index].to_lockstep, result.rows[index].to_best_peer);
        assert_eq!(ratios(5), (Some(0.8), Some(5.0)));
        assert_eq!(ratios(6), (Some(0.4), Some(2.0)));
        assert_eq!(ratios(3), (None, None));
        assert_eq!(result.rows[3].absent.as_deref(), Some("absent"));
        assert_eq!(result.figures("remcache"), Some(&figures(400.0)));
    }

    #[test]
    fn protocols_are_compared_with_the_binary_one_and_not_with_peers() {
        let result = result(&[
            ("memcache-async", Some(50.0)),
            ("remcache", Some(360.0)),
            ("remcache-binary", Some(400.0)),
            ("remcache-text", None),
        ]);
        assert_eq!(result.row("remcache").unwrap().to_binary, Some(0.9));
        assert_eq!(result.row("remcache-text").unwrap().to_binary, None);
        assert_eq!((result.rows[2].to_binary, result.best_peer(Runtime::CurrentThread)), (None, Some(&figures(50.0))));
        assert_eq!(result.figures("remcache"), Some(&figures(360.0)));
    }

    #[test]
    fn a_client_without_confirmed_sets_is_not_the_best_peer_for_sets() {
        let best_peer = |id| {
            let results = [("memcache-async", 900.0), ("memcache-exp", 100.0)];
            let results = results.map(|(name, ops)| (name.parse().unwrap(), Ok(figures(ops))));
            let result = ScenarioResult::new(Scenario::by_id(id).unwrap(), results.into());
            result.best_peer(Runtime::CurrentThread).cloned()
        };
        assert_eq!(best_peer("set-64"), Some(figures(100.0)));
        assert_eq!(best_peer("get-64"), Some(figures(900.0)));
    }

    #[test]
    fn the_memory_of_idle_connections_is_in_total_and_per_connection() {
        let round = |resident_kib, heap_kib| Footprint { resident_kib, heap_kib };
        let rounds = [round(9_000, Some(900)), round(4_000, Some(500)), round(5_000, Some(400))];
        let figures = IdleFigures::of(&rounds, 1_000);
        assert_eq!((figures.resident_kib, figures.resident_kib_per_connection), (5_000.0, 5.0));
        assert_eq!((figures.heap_kib, figures.heap_kib_per_connection), (Some(500.0), Some(0.5)));
        assert_eq!(IdleFigures::of(&[round(1, None), round(2, Some(2))], 1_000).heap_kib, None);
    }

    #[test]
    fn without_a_value_there_is_no_ratio() {
        let result = result(&[("remcache", Some(400.0)), ("memcache-exp", Some(0.0))]);
        assert_eq!(result.rows[0].to_lockstep, None);
        assert_eq!(result.rows[0].to_best_peer, None);
    }
}
