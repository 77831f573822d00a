//! Runs the clients: one child process per client and round, interleaved, each report checked by the servers' counters.

use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde::de::DeserializeOwned;

use crate::adapter::{Adapter, Entry, Footprint, HOST, Runtime};
use crate::cores::Cores;
use crate::counting::{Counting, Round};
use crate::native;
use crate::options::{ChildOptions, Options};
use crate::report::Report;
use crate::results::{Counts, Figures, IdleRow, ScenarioResult};
use crate::scenario::{IDLE, Scenario, Verb};
use crate::server::{ServerWork, Servers};

/// A comparison that is ready to run.
#[derive(Debug)]
pub(crate) struct Comparison {
    scenarios: Vec<&'static Scenario>,
    /// Whether to measure the memory of idle connections.
    idle: bool,
    entries: Vec<Entry>,
    rounds: u32,
    seconds: f64,
    cores: Cores,
    servers: Servers,
    counting: Counting,
    /// The program that drives libmemcached, or the reason why it is missing.
    libmemcached: Result<PathBuf, String>,
    program: PathBuf,
    /// Notes about this run, printed with the results.
    notes: Vec<String>,
}

impl Comparison {
    /// Starts the servers, and compiles the C programs.
    pub(crate) fn prepare(options: &Options) -> Result<Self> {
        let scenarios = options.scenarios();
        let (cores, warning) = Cores::find();
        let work_dir = native::work_dir()?;
        let (counting, mut notes) = Counting::find(&work_dir);
        notes.extend(warning);
        let idle = options.idle().then_some(&IDLE);
        let needing_servers: Vec<_> = scenarios.iter().copied().chain(idle).collect();
        Ok(Self {
            entries: options.entries(),
            rounds: options.rounds(),
            seconds: options.seconds(),
            servers: Servers::start(&needing_servers, &cores)?,
            libmemcached: native::libmemcached(&work_dir).map_err(|error| format!("{error:#}")),
            program: std::env::current_exe().context("looking for this program")?,
            scenarios,
            idle: options.idle(),
            cores,
            counting,
            notes,
        })
    }

    pub(crate) fn notes(&self) -> &[String] {
        &self.notes
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub(crate) fn cores(&self) -> &Cores {
        &self.cores
    }

    /// Runs every scenario, and passes each result to `show` as soon as it is known.
    pub(crate) fn run(&self, mut show: impl FnMut(&ScenarioResult)) -> Result<Vec<ScenarioResult>> {
        let mut results = Vec::new();
        for scenario in &self.scenarios {
            let result = self.scenario(scenario)?;
            show(&result);
            results.push(result);
        }
        Ok(results)
    }

    fn scenario(&self, scenario: &'static Scenario) -> Result<ScenarioResult> {
        let entries = self.entries.iter().filter(|entry| entry.profile.runs_in(scenario));
        let entries: Vec<_> = entries.copied().collect();
        let runs = self.rounds(&entries, scenario, |entry| self.timed_round(entry, scenario))?;
        let results = runs.into_iter().map(|run| self.finish(run, scenario));
        Ok(ScenarioResult::new(scenario, results.collect()))
    }

    /// Measures the idle connections of the clients that support them; empty if that scenario is not selected.
    pub(crate) fn run_idle(&self) -> Result<Vec<IdleRow>> {
        if !self.idle {
            return Ok(Vec::new());
        }
        let entries =
            self.entries.iter().filter(|entry| entry.profile.holds_connections && entry.profile.runs_in(&IDLE));
        let entries: Vec<_> = entries.copied().collect();
        let runs = self.rounds(&entries, &IDLE, |entry| self.idle_round(entry))?;
        Ok(runs.into_iter().map(|run| IdleRow::new(&IDLE, run.entry, run.reports)).collect())
    }

    /// Runs the interleaved rounds of a scenario.
    fn rounds<R>(
        &self,
        entries: &[Entry],
        scenario: &'static Scenario,
        round: impl Fn(Entry) -> Result<R>,
    ) -> Result<Vec<Run<R>>> {
        self.servers.preload(scenario)?;
        let mut runs: Vec<_> = entries.iter().map(|entry| Run::new(*entry, scenario)).collect();
        for number in 1..=self.rounds {
            for run in &mut runs {
                run.attempt(|entry| {
                    progress(scenario, entry, &format!("round {number} of {}", self.rounds));
                    round(entry)
                });
            }
        }
        Ok(runs)
    }

    /// Runs the counting round, and combines it with the timed rounds.
    fn finish(&self, run: Run<Report>, scenario: &'static Scenario) -> (Entry, Result<Figures, String>) {
        let entry = run.entry;
        let figures = run.reports.and_then(|reports| {
            progress(scenario, entry, "counting");
            let counts = self.counting_round(entry, scenario).map_err(|error| format!("{error:#}"))?;
            Ok(Figures::of(&reports, counts))
        });
        (entry, figures)
    }

    fn timed_round(&self, entry: Entry, scenario: &'static Scenario) -> Result<Report> {
        self.child(entry, scenario, self.seconds, Vec::new())
    }

    /// Counts the heap in the same round: counting takes time, but no time is measured here.
    fn idle_round(&self, entry: Entry) -> Result<Footprint> {
        let round = self.counting.round_of_allocations()?;
        let mut command = self.cores.client_prefix(entry.runtime == Runtime::MultiThread);
        command.extend(round.iter().flat_map(Round::prefix));
        command.extend(self.child_command(entry, &IDLE, IDLE_SECONDS)?);
        run_child(&command)
    }

    fn counting_round(&self, entry: Entry, scenario: &'static Scenario) -> Result<Counts> {
        let Some(round) = self.counting.round()? else {
            return Ok(Counts::default());
        };
        let report = self.child(entry, scenario, self.seconds.min(COUNTING_SECONDS), round.prefix())?;
        let per_op = |count: u64| count as f64 / report.ops.max(1) as f64;
        Ok(Counts {
            allocations_per_op: report.allocations.map(per_op),
            system_calls_per_op: round.system_calls()?.map(per_op),
        })
    }

    /// Runs one child, and checks its report against the servers' counters.
    fn child(&self, entry: Entry, scenario: &'static Scenario, seconds: f64, prefix: Vec<String>) -> Result<Report> {
        let mut command = self.cores.client_prefix(entry.runtime == Runtime::MultiThread);
        command.extend(prefix);
        command.extend(self.child_command(entry, scenario, seconds)?);
        let before = self.servers.work(scenario)?;
        let mut report: Report = run_child(&command)?;
        let after = self.check_claim(scenario, before, &report)?;
        let count = (after.count - before.count).max(1);
        report.server_cpu_micros_per_op = (after.cpu_micros - before.cpu_micros) / count as f64;
        Ok(report)
    }

    fn child_command(&self, entry: Entry, scenario: &'static Scenario, seconds: f64) -> Result<Vec<String>> {
        let ports = self.servers.ports(scenario);
        if entry.profile.adapter == Adapter::Libmemcached {
            let program = self.libmemcached.as_ref().map_err(|reason| anyhow!(reason.clone()))?;
            return Ok(libmemcached_command(&program.display().to_string(), scenario, &ports, seconds));
        }
        let authority = self.servers.authority(scenario);
        let options = ChildOptions { client: entry, scenario, ports, seconds, authority };
        let mut command = vec![self.program.display().to_string()];
        command.extend(options.command_line());
        Ok(command)
    }

    /// Checks a report against the servers' counters, which may lag behind: a client may end before its sets arrive.
    /// Returns the work that the servers have done by then.
    fn check_claim(&self, scenario: &Scenario, before: ServerWork, report: &Report) -> Result<ServerWork> {
        let start = Instant::now();
        let mut after = self.servers.work(scenario)?;
        while after.count - before.count < report.claimed && start.elapsed() < MAX_COUNTER_LAG {
            thread::sleep(Duration::from_millis(20));
            after = self.servers.work(scenario)?;
        }
        let counted = after.count - before.count;
        ensure!(
            counted >= report.claimed,
            "it reports {} correct results, but the servers count {counted}",
            report.claimed
        );
        if scenario.verb == Verb::Set {
            let lost = self.servers.count_lost_values(scenario)?;
            ensure!(lost == 0, "{lost} keys lost their value");
        }
        Ok(after)
    }
}

/// The rounds of one client in one scenario; it is skipped after its first failure.
struct Run<R> {
    entry: Entry,
    reports: Result<Vec<R>, String>,
}

impl<R> Run<R> {
    fn new(entry: Entry, scenario: &Scenario) -> Self {
        let reports = entry.profile.unsupported(scenario).map_or_else(|| Ok(Vec::new()), Err);
        Self { entry, reports }
    }

    fn attempt(&mut self, round: impl FnOnce(Entry) -> Result<R>) {
        let Ok(reports) = &mut self.reports else {
            return;
        };
        match round(self.entry) {
            Ok(report) => reports.push(report),
            Err(error) => self.reports = Err(format!("{error:#}")),
        }
    }
}

fn libmemcached_command(program: &str, scenario: &Scenario, ports: &[u16], seconds: f64) -> Vec<String> {
    let ports: Vec<_> = ports.iter().map(ToString::to_string).collect();
    [
        program.to_owned(),
        HOST.to_owned(),
        ports.join(","),
        scenario.verb.name().to_owned(),
        scenario.callers.to_string(),
        scenario.batch.to_string(),
        scenario.keys.to_string(),
        scenario.value_len.to_string(),
        seconds.to_string(),
    ]
    .to_vec()
}

fn run_child<R: DeserializeOwned>(command: &[String]) -> Result<R> {
    let (program, arguments) = command.split_first().context("an empty command line")?;
    let output = Command::new(program).args(arguments).output();
    let output = output.with_context(|| format!("starting {program}"))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("{} ({})", cause(&stderr), output.status);
    }
    serde_json::from_slice(&output.stdout).context("reading a child's report")
}

/// Returns the cause of a child's failure: its error, or otherwise the last line that it printed.
fn cause(text: &str) -> &str {
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let error = lines.clone().find_map(|line| line.strip_prefix("Error: "));
    error.or_else(|| lines.next_back()).unwrap_or("no message")
}

fn progress(scenario: &Scenario, entry: Entry, what: &str) {
    eprintln!("{:<10} {entry:<20} {what}", scenario.id, entry = entry.to_string());
}

const COUNTING_SECONDS: f64 = 0.3;
const IDLE_SECONDS: f64 = 2.0;
const MAX_COUNTER_LAG: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_of_a_failure_is_its_error_or_the_last_line() {
        let cases = [
            ("", "no message"),
            ("connecting\nno route\n\n", "no route"),
            ("warning\nError: refused\n\nStack backtrace:\n 0: main\n", "refused"),
        ];
        for (stderr, expected) in cases {
            assert_eq!(cause(stderr), expected);
        }
    }
}
