//! The tool's `bench` beside memcaslap, and its figures beside what others say of the same load: the
//! server's counters, Little's law, and the library measured alone.

mod contender;
mod relay;
mod verdict;
mod watch;

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use serde::Serialize;

use crate::cores::Cores;
use crate::machine::Machine;
use crate::scenario::Scenario;
use crate::server::Servers;
use crate::table;
use contender::{Contender, Course, Measured};
use relay::Relay;
pub(crate) use verdict::Agreement;

/// `remcache bench` beside memcaslap: gets of 100 bytes, one thread each, on one `memcached -t 1`.
#[derive(Args, Debug)]
pub(crate) struct ToolOptions {
    /// The tool, built for release
    #[arg(long, value_name = "FILE", default_value = "target/dist/remcache")]
    program: PathBuf,
    /// Rounds of each; figures are medians
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// How long each runs in a round
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(2..=600))]
    seconds: u32,
    /// Also write the results to this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Runs the rounds, interleaved, and prints what came out.
pub(crate) fn run(options: &ToolOptions) -> Result<()> {
    let machine = Machine::look()?;
    let (cores, warning) = Cores::find();
    println!("{}; {}", machine.describe(), cores.describe());
    machine.warning().into_iter().chain(warning).for_each(|note| println!("Note: {note}"));
    let scenario = Scenario::by_id(SCENARIO).context("the scenario is gone")?;
    let servers = Servers::start(&[scenario], &cores)?;
    servers.preload(scenario)?;
    let ports = servers.ports(scenario);
    let course = Course {
        tool: fs::canonicalize(&options.program)
            .with_context(|| format!("{}: cargo build --release -p remcache-cli", options.program.display()))?,
        cores,
        scenario,
        server: ports[0],
        ports,
        seconds: options.seconds,
    };
    let mut rounds = Vec::new();
    for round in 1..=options.rounds {
        for contender in Contender::ALL {
            eprintln!("round {round}: {}", contender.name());
            rounds.push((contender, course.run(contender)?));
        }
    }
    eprintln!("through a slow relay: {}", Contender::Tool.name());
    let relay = Relay::start(course.server)?;
    let slow = Course { ports: vec![relay.port()], ..course }.run(Contender::Tool)?;
    let mut document = Document::new(machine, scenario.callers, &rounds);
    document.agreements.extend(verdict::latencies(&slow, &relay));
    println!("\n{}", table::tools(&document.rows));
    println!("{}", table::agreements(&document.agreements));
    document.write(options)
}

/// What came out, as it is stored.
#[derive(Debug, Serialize)]
struct Document {
    machine: Machine,
    rows: Vec<Row>,
    agreements: Vec<Agreement>,
}

/// A contender's medians.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) contender: &'static str,
    pub(crate) median: Measured,
    /// The gets a second of the first, by this one's; both as the server counts them.
    pub(crate) first_to_this: f64,
}

impl Document {
    fn new(machine: Machine, callers: usize, rounds: &[(Contender, Measured)]) -> Self {
        let medians = Contender::ALL.map(|contender| {
            let of_it: Vec<_> = rounds.iter().filter(|(other, _)| *other == contender).map(|(_, it)| it).collect();
            (contender, Measured::median(&of_it))
        });
        let first = medians[0].1.counted_per_second;
        let row = |(contender, median): &(Contender, Measured)| Row {
            contender: contender.name(),
            first_to_this: first / median.counted_per_second,
            median: median.clone(),
        };
        Self { machine, rows: medians.iter().map(row).collect(), agreements: verdict::judge(&medians, rounds, callers) }
    }

    fn write(&self, options: &ToolOptions) -> Result<()> {
        if let Some(path) = &options.json {
            let mut json = serde_json::to_vec_pretty(self)?;
            json.write_all(b"\n")?;
            fs::write(path, json).with_context(|| format!("writing {}", path.display()))?;
        }
        Ok(())
    }
}

/// What everybody is asked to do, and the library alone is measured with.
const SCENARIO: &str = "get-64";
