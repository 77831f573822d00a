//! The comparison: a child process for each contestant and round, interleaved, and the server's word on each claim.

use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde::de::DeserializeOwned;

use crate::contestant::{Contestant, Entry, Footprint, HOST, Runtime};
use crate::cores::Cores;
use crate::counting::{Counting, Round};
use crate::native;
use crate::options::{ChildOptions, Options};
use crate::report::Report;
use crate::results::{Counts, Figures, IdleRow, Standing};
use crate::scenario::{IDLE, Scenario, Verb};
use crate::server::Servers;

/// Everything a comparison needs, ready to run.
#[derive(Debug)]
pub(crate) struct Comparison {
    scenarios: Vec<&'static Scenario>,
    /// Whether idle connections are measured too.
    idle: bool,
    entries: Vec<Entry>,
    rounds: u32,
    seconds: f64,
    cores: Cores,
    servers: Servers,
    counting: Counting,
    /// The program that drives libmemcached, or why there is none.
    libmemcached: Result<PathBuf, String>,
    program: PathBuf,
    /// What a reader must know of this run.
    notes: Vec<String>,
}

impl Comparison {
    /// Starts the servers and builds what is built at run time.
    pub(crate) fn prepare(options: &Options) -> Result<Self> {
        let scenarios = options.scenarios();
        let (cores, warning) = Cores::find();
        let workshop = native::workshop()?;
        let (counting, mut notes) = Counting::find(&workshop);
        notes.extend(warning);
        let idle = options.idle().then_some(&IDLE);
        let needing_servers: Vec<_> = scenarios.iter().copied().chain(idle).collect();
        Ok(Self {
            entries: options.entries(),
            rounds: options.rounds(),
            seconds: options.seconds(),
            servers: Servers::start(&needing_servers, &cores)?,
            libmemcached: native::libmemcached(&workshop).map_err(|error| format!("{error:#}")),
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

    /// Runs every scenario, and hands each one's standing over as soon as it is known.
    pub(crate) fn run(&self, mut show: impl FnMut(&Standing)) -> Result<Vec<Standing>> {
        let mut standings = Vec::new();
        for scenario in &self.scenarios {
            let standing = self.scenario(scenario)?;
            show(&standing);
            standings.push(standing);
        }
        Ok(standings)
    }

    fn scenario(&self, scenario: &'static Scenario) -> Result<Standing> {
        let entries = self.entries.iter().filter(|entry| entry.profile.is_of_interest(scenario));
        let entries: Vec<_> = entries.copied().collect();
        let runs = self.rounds(&entries, scenario, |entry| self.timed_round(entry, scenario))?;
        let outcomes = runs.into_iter().map(|run| self.finish(run, scenario));
        Ok(Standing::new(scenario, outcomes.collect()))
    }

    /// What idle connections cost the contestants that can hold them; nothing when that was not asked for.
    pub(crate) fn run_idle(&self) -> Result<Vec<IdleRow>> {
        if !self.idle {
            return Ok(Vec::new());
        }
        let holders = self.entries.iter();
        let holders = holders.filter(|entry| entry.profile.holds_connections && entry.profile.is_of_interest(&IDLE));
        let holders: Vec<_> = holders.copied().collect();
        let runs = self.rounds(&holders, &IDLE, |entry| self.idle_round(entry))?;
        Ok(runs.into_iter().map(|run| IdleRow::new(&IDLE, run.entry, run.reports)).collect())
    }

    /// The interleaved rounds of a scenario.
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

    /// Adds the counting round to the timed ones.
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

    /// The heap is looked at in the same round: counting it costs time, which is not measured here.
    fn idle_round(&self, entry: Entry) -> Result<Footprint> {
        let round = self.counting.round_of_allocations()?;
        let mut words = self.cores.for_client(entry.runtime == Runtime::MultiThread);
        words.extend(round.iter().flat_map(Round::prefix));
        words.extend(self.child_words(entry, &IDLE, IDLE_SECONDS)?);
        run_child(&words)
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

    /// Runs one child, and believes its report only as far as the servers bear it out.
    fn child(&self, entry: Entry, scenario: &'static Scenario, seconds: f64, prefix: Vec<String>) -> Result<Report> {
        let mut words = self.cores.for_client(entry.runtime == Runtime::MultiThread);
        words.extend(prefix);
        words.extend(self.child_words(entry, scenario, seconds)?);
        let before = self.server_count(scenario)?;
        let report: Report = run_child(&words)?;
        self.check_claim(scenario, before, &report)?;
        Ok(report)
    }

    fn child_words(&self, entry: Entry, scenario: &'static Scenario, seconds: f64) -> Result<Vec<String>> {
        let ports = self.servers.ports(scenario);
        if entry.profile.contestant == Contestant::Libmemcached {
            let program = self.libmemcached.as_ref().map_err(|reason| anyhow!(reason.clone()))?;
            return Ok(libmemcached_words(&program.display().to_string(), scenario, &ports, seconds));
        }
        let authority = self.servers.authority(scenario);
        let options = ChildOptions { contestant: entry, scenario, ports, seconds, authority };
        let mut words = vec![self.program.display().to_string()];
        words.extend(options.words());
        Ok(words)
    }

    fn server_count(&self, scenario: &Scenario) -> Result<u64> {
        self.servers.counter(scenario, scenario.verb.server_counter())
    }

    /// A set that waits for no reply may still be on its way when its client has gone, so the count gets a moment.
    fn check_claim(&self, scenario: &Scenario, before: u64, report: &Report) -> Result<()> {
        let start = Instant::now();
        let mut counted = self.server_count(scenario)? - before;
        while counted < report.claimed && start.elapsed() < TIME_TO_CATCH_UP {
            thread::sleep(Duration::from_millis(20));
            counted = self.server_count(scenario)? - before;
        }
        ensure!(
            counted >= report.claimed,
            "it counts {} right answers where the servers count {counted}",
            report.claimed
        );
        if scenario.verb == Verb::Set {
            let spoilt = self.servers.spoilt(scenario)?;
            ensure!(spoilt == 0, "it left {spoilt} keys without their value");
        }
        Ok(())
    }
}

/// The rounds of one contestant in one scenario; after a failure it is out.
struct Run<R> {
    entry: Entry,
    reports: Result<Vec<R>, String>,
}

impl<R> Run<R> {
    fn new(entry: Entry, scenario: &Scenario) -> Self {
        let reports = entry.profile.unfit(scenario).map_or_else(|| Ok(Vec::new()), Err);
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

fn libmemcached_words(program: &str, scenario: &Scenario, ports: &[u16], seconds: f64) -> Vec<String> {
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

fn run_child<R: DeserializeOwned>(words: &[String]) -> Result<R> {
    let (program, arguments) = words.split_first().context("an empty command line")?;
    let output = Command::new(program).args(arguments).output();
    let output = output.with_context(|| format!("starting {program}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{} ({})", cause(&said), output.status);
    }
    serde_json::from_slice(&output.stdout).context("reading a child's report")
}

/// What a child gave as the cause of its failure: its error, or the last thing it said.
fn cause(text: &str) -> &str {
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let error = lines.clone().find_map(|line| line.strip_prefix("Error: "));
    error.or_else(|| lines.next_back()).unwrap_or("it said nothing")
}

fn progress(scenario: &Scenario, entry: Entry, what: &str) {
    eprintln!("{:<10} {entry:<20} {what}", scenario.id, entry = entry.to_string());
}

const COUNTING_SECONDS: f64 = 0.3;
const IDLE_SECONDS: f64 = 2.0;
const TIME_TO_CATCH_UP: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_of_a_failure_is_its_error_or_the_last_word() {
        let cases = [
            ("", "it said nothing"),
            ("connecting\nno route\n\n", "no route"),
            ("warning\nError: refused\n\nStack backtrace:\n 0: main\n", "refused"),
        ];
        for (said, told) in cases {
            assert_eq!(cause(said), told);
        }
    }
}
