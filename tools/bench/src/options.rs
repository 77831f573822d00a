//! The command line.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{Args, Parser, Subcommand};

use crate::adapter::Entry;
use crate::scenario::{IDLE, RING, SCENARIOS, Scenario};
use crate::tools::ToolOptions;

/// Measures remcache and other clients on the same servers, with the same keys, in interleaved rounds.
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct CommandLine {
    #[command(subcommand)]
    pub(crate) child: Option<Child>,
    #[command(flatten)]
    pub(crate) options: Options,
}

/// The options of a comparison.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Timed rounds per client and scenario [default: 3, with --quick 1]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: Option<u32>,
    /// Duration of a timed round [default: 1.0, with --quick 0.2]
    #[arg(long, value_parser = seconds)]
    seconds: Option<f64>,
    /// Run short rounds, to check that everything works; the results are not accurate
    #[arg(long)]
    quick: bool,
    /// Run only these scenarios
    #[arg(long, value_delimiter = ',', value_name = "SCENARIO", value_parser = scenario)]
    only: Vec<&'static Scenario>,
    /// Measure only these clients; `NAME+mt` is a client on tokio's multi-threaded runtime
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    clients: Vec<Entry>,
    /// Write the results to this file as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Draw the results into this file as SVG
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
}

impl Options {
    pub(crate) fn rounds(&self) -> u32 {
        self.rounds.unwrap_or(if self.quick { 1 } else { 3 })
    }

    pub(crate) fn seconds(&self) -> f64 {
        self.seconds.unwrap_or(if self.quick { 0.2 } else { 1.0 })
    }

    pub(crate) fn scenarios(&self) -> Vec<&'static Scenario> {
        SCENARIOS.iter().filter(|scenario| self.selects(scenario)).collect()
    }

    /// Returns whether the memory of idle connections is measured.
    pub(crate) fn idle(&self) -> bool {
        self.selects(&IDLE)
    }

    /// Returns whether key placement is measured.
    pub(crate) fn ring(&self) -> bool {
        self.selects(&RING)
    }

    fn selects(&self, scenario: &Scenario) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only.id == scenario.id)
    }

    pub(crate) fn entries(&self) -> Vec<Entry> {
        if self.clients.is_empty() { Entry::all() } else { self.clients.clone() }
    }
}

/// A subcommand instead of the comparison of clients.
#[derive(Debug, Subcommand)]
pub(crate) enum Child {
    /// Measure one client in one scenario, and print one line of JSON
    #[command(hide = true)]
    Child(ChildOptions),
    /// Compare `remcache bench` with memcaslap, and its results with a second measurement of the same load
    Tools(ToolOptions),
}

#[derive(Args, Debug)]
pub(crate) struct ChildOptions {
    #[arg(long)]
    pub(crate) client: Entry,
    #[arg(long, value_parser = scenario)]
    pub(crate) scenario: &'static Scenario,
    #[arg(long, value_delimiter = ',')]
    pub(crate) ports: Vec<u16>,
    #[arg(long, value_parser = seconds)]
    pub(crate) seconds: f64,
    #[arg(long)]
    pub(crate) authority: Option<PathBuf>,
}

impl ChildOptions {
    /// Returns the command line that these options are parsed from.
    pub(crate) fn command_line(&self) -> Vec<String> {
        let ports: Vec<_> = self.ports.iter().map(ToString::to_string).collect();
        let mut words = vec![
            "child".to_owned(),
            format!("--client={}", self.client),
            format!("--scenario={}", self.scenario.id),
            format!("--ports={}", ports.join(",")),
            format!("--seconds={}", self.seconds),
        ];
        words.extend(self.authority.iter().map(|file| format!("--authority={}", file.display())));
        words
    }
}

fn scenario(id: &str) -> Result<&'static Scenario> {
    let Some(scenario) = Scenario::by_id(id) else {
        let known: Vec<_> = SCENARIOS.iter().chain([&IDLE, &RING]).map(|scenario| scenario.id).collect();
        bail!("unknown scenario {id:?}; the scenarios are {}", known.join(", "));
    };
    Ok(scenario)
}

fn seconds(text: &str) -> Result<f64> {
    let seconds: f64 = text.parse()?;
    if !(0.01..=3600.0).contains(&seconds) {
        bail!("{text} is not between 0.01 and 3600");
    }
    Ok(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<CommandLine, clap::Error> {
        CommandLine::try_parse_from(std::iter::once(&"remcache-bench").chain(words))
    }

    #[test]
    fn by_default_everything_runs_three_times_for_a_second() {
        let options = parse(&[]).unwrap().options;
        assert_eq!((options.rounds(), options.seconds()), (3, 1.0));
        assert_eq!(options.scenarios().len(), SCENARIOS.len());
        assert!(options.idle());
        assert_eq!(options.entries().len(), Entry::all().len());
    }

    #[test]
    fn quick_is_overridden_by_other_options() {
        let options = parse(&["--quick", "--seconds", "0.5"]).unwrap().options;
        assert_eq!((options.rounds(), options.seconds()), (1, 0.5));
    }

    #[test]
    fn scenarios_and_clients_are_selected_by_name() {
        let words = ["--only", "get-1,set-64", "--clients", "remcache+mt,lockstep"];
        let options = parse(&words).unwrap().options;
        let ids: Vec<_> = options.scenarios().iter().map(|scenario| scenario.id).collect();
        assert_eq!(ids, ["get-1", "set-64"]);
        assert!(!options.idle());
        let names: Vec<_> = options.entries().iter().map(ToString::to_string).collect();
        assert_eq!(names, ["remcache+mt", "lockstep"]);
    }

    #[test]
    fn idle_connections_can_be_measured_alone() {
        let options = parse(&["--only", "idle-1000"]).unwrap().options;
        assert!(options.idle() && options.scenarios().is_empty());
    }

    #[test]
    fn key_placement_can_be_measured_alone() {
        let options = parse(&["--only", "ring"]).unwrap().options;
        assert!(options.ring() && !options.idle() && options.scenarios().is_empty());
    }

    #[test]
    fn unknown_values_are_refused_by_name() {
        for words in [["--only", "get-2"], ["--clients", "redis"], ["--seconds", "0"], ["--rounds", "0"]] {
            let error = parse(&words).unwrap_err().to_string();
            assert!(error.contains(words[1]), "{error}");
        }
    }

    #[test]
    fn the_options_of_a_child_survive_its_command_line() {
        let written = ChildOptions {
            client: "memcache-exp+mt".parse().unwrap(),
            scenario: Scenario::by_id("three-64").unwrap(),
            ports: vec![1, 2, 3],
            seconds: 0.25,
            authority: Some("/tmp/authority.pem".into()),
        };
        let words = written.command_line();
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        let Some(Child::Child(read)) = parse(&words).unwrap().child else {
            panic!("{words:?} is not a child's command line");
        };
        assert_eq!(read.client.to_string(), "memcache-exp+mt");
        assert_eq!((read.scenario.id, read.ports, read.seconds), ("three-64", vec![1, 2, 3], 0.25));
        assert_eq!(read.authority, written.authority);
    }
}
