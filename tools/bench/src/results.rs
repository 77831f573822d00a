//! From rounds to figures: medians, and ratios to the lockstep pipeline and to the best peer.

use serde::Serialize;

use crate::contestant::{Entry, Footprint, Role, Runtime};
use crate::report::Report;
use crate::scenario::Scenario;

/// The figures of one contestant in one scenario: each the median of its rounds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Figures {
    pub(crate) rounds: usize,
    pub(crate) ops_per_second: f64,
    pub(crate) cpu_micros_per_op: f64,
    pub(crate) p50_micros: f64,
    pub(crate) p99_micros: f64,
    pub(crate) p999_micros: f64,
    pub(crate) allocations_per_op: Option<f64>,
    pub(crate) system_calls_per_op: Option<f64>,
    /// Wrong answers, over all rounds; they earn nothing.
    pub(crate) wrong: u64,
    /// Errors, over all rounds.
    pub(crate) failed: u64,
    pub(crate) first_fault: Option<String>,
}

/// What the counting round found.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) allocations_per_op: Option<f64>,
    pub(crate) system_calls_per_op: Option<f64>,
}

impl Figures {
    /// The medians of the timed rounds, with what the counting round found.
    pub(crate) fn of(rounds: &[Report], counts: Counts) -> Self {
        let middle = |figure: fn(&Report) -> f64| median(rounds.iter().map(figure).collect());
        Self {
            rounds: rounds.len(),
            ops_per_second: middle(|round| round.ops as f64 / round.seconds),
            cpu_micros_per_op: middle(|round| round.cpu_micros / round.ops.max(1) as f64),
            p50_micros: middle(|round| round.p50),
            p99_micros: middle(|round| round.p99),
            p999_micros: middle(|round| round.p999),
            allocations_per_op: counts.allocations_per_op,
            system_calls_per_op: counts.system_calls_per_op,
            wrong: rounds.iter().map(|round| round.wrong).sum(),
            failed: rounds.iter().map(|round| round.failed).sum(),
            first_fault: rounds.iter().find_map(|round| round.first_fault.clone()),
        }
    }
}

/// A row: a contestant with its figures, or the reason why it has none.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) contestant: String,
    pub(crate) role: Role,
    pub(crate) runtime: Runtime,
    pub(crate) figures: Option<Figures>,
    /// Why there are no figures.
    pub(crate) absent: Option<String>,
    /// Why the figures are no measure for others.
    pub(crate) unranked: Option<&'static str>,
    pub(crate) to_lockstep: Option<f64>,
    pub(crate) to_best_peer: Option<f64>,
    /// Of ours on this wire, to ours on the binary one.
    pub(crate) to_binary: Option<f64>,
}

/// A scenario's rows.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Standing {
    pub(crate) id: &'static str,
    pub(crate) title: &'static str,
    pub(crate) callers: usize,
    pub(crate) rows: Vec<Row>,
}

impl Standing {
    /// Places the outcomes of a scenario beside one another.
    pub(crate) fn new(scenario: &Scenario, outcomes: Vec<(Entry, Result<Figures, String>)>) -> Self {
        let rows = outcomes.into_iter().map(|(entry, outcome)| row(scenario, entry, outcome)).collect();
        let mut standing = Self { id: scenario.id, title: scenario.title, callers: scenario.callers, rows };
        standing.compare();
        standing
    }

    /// The figures of our client on the current-thread runtime: what targets speak of.
    pub(crate) fn ours(&self) -> Option<&Figures> {
        let row = self.rows.iter().find(|row| row.role == Role::Ours && row.runtime == OUR_RUNTIME)?;
        row.figures.as_ref()
    }

    /// How much ours reaches on a wire, to ours on the binary one.
    pub(crate) fn wire_to_binary(&self, contestant: &str) -> Option<f64> {
        self.of(contestant)?.to_binary
    }

    fn of(&self, contestant: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.contestant == contestant)
    }

    /// The figures of the lockstep pipeline.
    pub(crate) fn floor(&self) -> Option<&Figures> {
        self.ranked(Role::Floor).find_map(|row| row.figures.as_ref())
    }

    /// The figures of the fastest peer that ours is held against.
    pub(crate) fn best_peer(&self) -> Option<&Figures> {
        self.best_peer_beside(OUR_RUNTIME)
    }

    /// The fastest peer among those on the same tokio runtime and those that need none.
    fn best_peer_beside(&self, runtime: Runtime) -> Option<&Figures> {
        let runtime = if runtime == Runtime::Threads { OUR_RUNTIME } else { runtime };
        let peers = self.ranked(Role::Peer).filter(|row| [runtime, Runtime::Threads].contains(&row.runtime));
        let figures = peers.filter_map(|row| row.figures.as_ref());
        figures.max_by(|a, b| a.ops_per_second.total_cmp(&b.ops_per_second))
    }

    fn ranked(&self, role: Role) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(move |row| row.role == role && row.unranked.is_none())
    }

    fn compare(&mut self) {
        let floor = self.floor().map(|figures| figures.ops_per_second);
        let best_peer = |row: &Row| self.best_peer_beside(row.runtime).map(|figures| figures.ops_per_second);
        let best_peers: Vec<_> = self.rows.iter().map(best_peer).collect();
        let binary = self.of(BINARY).and_then(|row| row.figures.as_ref()).map(|figures| figures.ops_per_second);
        for (row, best_peer) in self.rows.iter_mut().zip(best_peers) {
            let own = row.figures.as_ref().map(|figures| figures.ops_per_second);
            row.to_lockstep = ratio(own, floor);
            row.to_best_peer = ratio(own, best_peer);
            let is_ours = row.role == Role::Wire || (row.role == Role::Ours && row.runtime == OUR_RUNTIME);
            row.to_binary = ratio(own, binary).filter(|_| is_ours && row.contestant != BINARY);
        }
    }
}

fn row(scenario: &Scenario, entry: Entry, outcome: Result<Figures, String>) -> Row {
    let (figures, absent) = match outcome {
        Ok(figures) => (Some(figures), None),
        Err(reason) => (None, Some(reason)),
    };
    Row {
        contestant: entry.to_string(),
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

/// What idle connections cost a contestant: each figure the median of its rounds.
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

/// A contestant with what idle connections cost it, or the reason why that is not known.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct IdleRow {
    pub(crate) contestant: String,
    pub(crate) role: Role,
    pub(crate) runtime: Runtime,
    pub(crate) connections: usize,
    pub(crate) figures: Option<IdleFigures>,
    /// Why there are no figures.
    pub(crate) absent: Option<String>,
}

impl IdleRow {
    pub(crate) fn new(scenario: &Scenario, entry: Entry, outcome: Result<Vec<Footprint>, String>) -> Self {
        let connections = scenario.callers;
        let (figures, absent) = match outcome {
            Ok(rounds) => (Some(IdleFigures::of(&rounds, connections)), None),
            Err(reason) => (None, Some(reason)),
        };
        let (contestant, role, runtime) = (entry.to_string(), entry.profile.role, entry.runtime);
        Self { contestant, role, runtime, connections, figures, absent }
    }

    /// Whether targets speak of it.
    pub(crate) fn is_ours(&self) -> bool {
        self.role == Role::Ours && self.runtime == OUR_RUNTIME
    }
}

/// The runtime that the targets speak of; the other is reported beside.
const OUR_RUNTIME: Runtime = Runtime::CurrentThread;

/// A ratio, unless one side is missing or nothing was reached.
pub(crate) fn ratio(of: Option<f64>, to: Option<f64>) -> Option<f64> {
    let (of, to) = of.zip(to)?;
    (to > 0.0).then(|| of / to)
}

/// The middle value, or the mean of the two in the middle; 0 of none.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    match values.len() {
        0 => 0.0,
        len if len % 2 == 1 => values[half],
        _ => f64::midpoint(values[half - 1], values[half]),
    }
}

/// Ours on the wire that the others are held against.
const BINARY: &str = "remcache-binary";

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(ops_per_second: f64) -> Figures {
        Figures { ops_per_second, ..Figures::default() }
    }

    fn standing(outcomes: &[(&str, Option<f64>)]) -> Standing {
        let outcome = |ops: Option<f64>| ops.map(figures).ok_or_else(|| "absent".to_owned());
        let outcomes = outcomes.iter().map(|&(name, ops)| (name.parse().unwrap(), outcome(ops)));
        Standing::new(Scenario::by_id("get-64").unwrap(), outcomes.collect())
    }

    #[test]
    fn the_median_is_in_the_middle() {
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
            p50: 1.0,
            p99: 2.0,
            p999: 3.0,
            wrong,
            failed: 0,
            first_fault: (wrong > 0).then(|| "a wrong answer".to_owned()),
            allocations: None,
        };
        let rounds = [round(10, 0), round(1_000, 1), round(20, 2)];
        let figures = Figures::of(&rounds, Counts::default());
        assert_eq!(figures.ops_per_second, 40.0);
        assert_eq!(figures.cpu_micros_per_op, 5.0);
        assert_eq!(figures.wrong, 3);
        assert_eq!(figures.first_fault.as_deref(), Some("a wrong answer"));
    }

    #[test]
    fn ratios_are_to_lockstep_and_to_the_best_peer_on_the_same_runtime() {
        let standing = standing(&[
            ("lockstep", Some(500.0)),
            ("memcache-async", Some(50.0)),
            ("memcache-async+mt", Some(100.0)),
            ("libmemcached", None),
            ("memcache-classic", Some(80.0)),
            ("remcache", Some(400.0)),
            ("remcache+mt", Some(200.0)),
        ]);
        let ratios = |index: usize| (standing.rows[index].to_lockstep, standing.rows[index].to_best_peer);
        assert_eq!(ratios(5), (Some(0.8), Some(5.0)));
        assert_eq!(ratios(6), (Some(0.4), Some(2.0)));
        assert_eq!(ratios(3), (None, None));
        assert_eq!(standing.rows[3].absent.as_deref(), Some("absent"));
        assert_eq!(standing.ours(), Some(&figures(400.0)));
    }

    #[test]
    fn other_wires_are_held_against_the_binary_one_and_are_no_peers() {
        let standing = standing(&[
            ("memcache-async", Some(50.0)),
            ("remcache", Some(360.0)),
            ("remcache-binary", Some(400.0)),
            ("remcache-text", None),
        ]);
        assert_eq!(standing.wire_to_binary("remcache"), Some(0.9));
        assert_eq!(standing.wire_to_binary("remcache-text"), None);
        assert_eq!((standing.rows[2].to_binary, standing.best_peer()), (None, Some(&figures(50.0))));
        assert_eq!(standing.ours(), Some(&figures(360.0)));
    }

    #[test]
    fn who_confirms_no_sets_is_no_measure_for_sets() {
        let outcomes = |id| {
            let outcomes = [("memcache-async", 900.0), ("memcache-exp", 100.0)];
            let outcomes = outcomes.map(|(name, ops)| (name.parse().unwrap(), Ok(figures(ops))));
            Standing::new(Scenario::by_id(id).unwrap(), outcomes.into())
        };
        assert_eq!(outcomes("set-64").best_peer(), Some(&figures(100.0)));
        assert_eq!(outcomes("get-64").best_peer(), Some(&figures(900.0)));
    }

    #[test]
    fn idle_connections_have_medians_in_total_and_each() {
        let round = |resident_kib, heap_kib| Footprint { resident_kib, heap_kib };
        let rounds = [round(9_000, Some(900)), round(4_000, Some(500)), round(5_000, Some(400))];
        let figures = IdleFigures::of(&rounds, 1_000);
        assert_eq!((figures.resident_kib, figures.resident_kib_per_connection), (5_000.0, 5.0));
        assert_eq!((figures.heap_kib, figures.heap_kib_per_connection), (Some(500.0), Some(0.5)));
        assert_eq!(IdleFigures::of(&[round(1, None), round(2, Some(2))], 1_000).heap_kib, None);
    }

    #[test]
    fn nothing_is_compared_with_what_is_not_there() {
        let standing = standing(&[("remcache", Some(400.0)), ("memcache-exp", Some(0.0))]);
        assert_eq!(standing.rows[0].to_lockstep, None);
        assert_eq!(standing.rows[0].to_best_peer, None);
    }
}
