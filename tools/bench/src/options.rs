//! The command line.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{Args, Parser, Subcommand};

use crate::contestant::Entry;
use crate::scenario::{IDLE, RING, SCENARIOS, Scenario};
use crate::tools::ToolOptions;

/// remcache side by side with its peers: same servers, same keys, interleaved rounds, medians.
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct CommandLine {
    #[command(subcommand)]
    pub(crate) child: Option<Child>,
    #[command(flatten)]
    pub(crate) options: Options,
}

/// What a comparison is made of.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Timed rounds of each contestant in each scenario [default: 3, with --quick 1]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: Option<u32>,
    /// Length of the timed part of a round [default: 1.0, with --quick 0.2]
    #[arg(long, value_parser = seconds)]
    seconds: Option<f64>,
    /// Short rounds, to see that everything works; the figures mean little
    #[arg(long)]
    quick: bool,
    /// Only these scenarios, by name
    #[arg(long, value_delimiter = ',', value_name = "SCENARIO", value_parser = scenario)]
    only: Vec<&'static Scenario>,
    /// Only these contestants, by name; `name+mt` is one on tokio's multi-threaded runtime
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    contestants: Vec<Entry>,
    /// Also write the results to this file, as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Also draw the results into this file, as SVG
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
        SCENARIOS.iter().filter(|scenario| self.wants(scenario)).collect()
    }

    /// Whether idle connections are measured too.
    pub(crate) fn idle(&self) -> bool {
        self.wants(&IDLE)
    }

    /// Whether placing keys is measured too.
    pub(crate) fn ring(&self) -> bool {
        self.wants(&RING)
    }

    fn wants(&self, scenario: &Scenario) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only.id == scenario.id)
    }

    pub(crate) fn entries(&self) -> Vec<Entry> {
        if self.contestants.is_empty() { Entry::all() } else { self.contestants.clone() }
    }
}

/// What is done in place of the comparison of clients, or as a part of it.
#[derive(Debug, Subcommand)]
pub(crate) enum Child {
    /// One contestant, one scenario, one line of JSON
    #[command(hide = true)]
    Child(ChildOptions),
    /// `remcache bench` beside memcaslap, and its figures beside a second measurement of the same load
    Tools(ToolOptions),
}

#[derive(Args, Debug)]
pub(crate) struct ChildOptions {
    #[arg(long)]
    pub(crate) contestant: Entry,
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
    /// The command line that these options are read from.
    pub(crate) fn words(&self) -> Vec<String> {
        let ports: Vec<_> = self.ports.iter().map(ToString::to_string).collect();
        let mut words = vec![
            "child".to_owned(),
            format!("--contestant={}", self.contestant),
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
        bail!("no scenario is called {id:?}; there are {}", known.join(", "));
    };
    Ok(scenario)
}

fn seconds(text: &str) -> Result<f64> {
    let seconds: f64 = text.parse()?;
    if !(0.01..=3600.0).contains(&seconds) {
        bail!("a round lasts from 0.01 to 3600 seconds");
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
    fn without_options_everything_runs_three_times_for_a_second() {
        let options = parse(&[]).unwrap().options;
        assert_eq!((options.rounds(), options.seconds()), (3, 1.0));
        assert_eq!(options.scenarios().len(), SCENARIOS.len());
        assert!(options.idle());
        assert_eq!(options.entries().len(), Entry::all().len());
    }

    #[test]
    fn quick_is_short_and_yields_to_what_is_said() {
        let options = parse(&["--quick", "--seconds", "0.5"]).unwrap().options;
        assert_eq!((options.rounds(), options.seconds()), (1, 0.5));
    }

    #[test]
    fn scenarios_and_contestants_are_chosen_by_name() {
        let words = ["--only", "get-1,set-64", "--contestants", "remcache+mt,lockstep"];
        let options = parse(&words).unwrap().options;
        let ids: Vec<_> = options.scenarios().iter().map(|scenario| scenario.id).collect();
        assert_eq!(ids, ["get-1", "set-64"]);
        assert!(!options.idle());
        let names: Vec<_> = options.entries().iter().map(ToString::to_string).collect();
        assert_eq!(names, ["remcache+mt", "lockstep"]);
    }

    #[test]
    fn idle_connections_can_be_all_that_is_measured() {
        let options = parse(&["--only", "idle-1000"]).unwrap().options;
        assert!(options.idle() && options.scenarios().is_empty());
    }

    #[test]
    fn placing_keys_can_be_all_that_is_measured() {
        let options = parse(&["--only", "ring"]).unwrap().options;
        assert!(options.ring() && !options.idle() && options.scenarios().is_empty());
    }

    #[test]
    fn what_is_not_known_is_refused_by_name() {
        for words in [["--only", "get-2"], ["--contestants", "redis"], ["--seconds", "0"], ["--rounds", "0"]] {
            let error = parse(&words).unwrap_err().to_string();
            assert!(error.contains(words[1]), "{error}");
        }
    }

    #[test]
    fn a_child_reads_what_its_parent_wrote() {
        let written = ChildOptions {
            contestant: "memcache-exp+mt".parse().unwrap(),
            scenario: Scenario::by_id("three-64").unwrap(),
            ports: vec![1, 2, 3],
            seconds: 0.25,
            authority: Some("/tmp/authority.pem".into()),
        };
        let words = written.words();
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        let Some(Child::Child(read)) = parse(&words).unwrap().child else {
            panic!("no child in {words:?}");
        };
        assert_eq!(read.contestant.to_string(), "memcache-exp+mt");
        assert_eq!((read.scenario.id, read.ports, read.seconds), ("three-64", vec![1, 2, 3], 0.25));
        assert_eq!(read.authority, written.authority);
    }
}
