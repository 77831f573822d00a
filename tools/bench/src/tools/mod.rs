//! Compares the tool's `bench` with memcaslap and with the library, and its results with the server's counters and with
//! Little's law.

mod comparison;
mod counters;
mod proxy;
mod tool;

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
pub(crate) use comparison::Check;
use proxy::Proxy;
use tool::{Load, Measured, Tool};

/// Compares `remcache bench` with memcaslap: gets of 100 bytes, one thread each, on one `memcached -t 1`.
#[derive(Args, Debug)]
pub(crate) struct ToolOptions {
    /// The command-line tool
    #[arg(long, value_name = "FILE", default_value = "target/dist/remcache")]
    program: PathBuf,
    /// Rounds per program; results are medians
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Seconds per round
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(2..=600))]
    seconds: u32,
    /// Write the results to this file as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Runs interleaved rounds of all programs, and prints the results.
pub(crate) fn run(options: &ToolOptions) -> Result<()> {
    let machine = Machine::detect()?;
    let (cores, warning) = Cores::find();
    println!("{}; {}", machine.describe(), cores.describe());
    machine.warning().into_iter().chain(warning).for_each(|note| println!("Note: {note}"));
    let scenario = Scenario::by_id(SCENARIO).context("unknown scenario")?;
    let servers = Servers::start(&[scenario], &cores)?;
    servers.preload(scenario)?;
    let ports = servers.ports(scenario);
    let load = Load {
        program: fs::canonicalize(&options.program)
            .with_context(|| format!("{}: cargo build --profile dist -p remcache-cli", options.program.display()))?,
        cores,
        scenario,
        server: ports[0],
        ports,
        seconds: options.seconds,
    };
    let mut rounds = Vec::new();
    for round in 1..=options.rounds {
        for tool in Tool::ALL {
            eprintln!("round {round}: {}", tool.name());
            rounds.push((tool, load.run(tool)?));
        }
    }
    eprintln!("with a slow proxy: {}", Tool::Remcache.name());
    let proxy = Proxy::start(load.server)?;
    let slow = Load { ports: vec![proxy.port()], ..load }.run(Tool::Remcache)?;
    let mut document = ToolDocument::new(machine, scenario.callers, &rounds);
    document.checks.extend(comparison::latencies(&slow, &proxy));
    println!("\n{}", table::tools(&document.rows));
    println!("{}", table::checks(&document.checks));
    document.write(options)
}

/// The JSON document with all results.
#[derive(Debug, Serialize)]
struct ToolDocument {
    machine: Machine,
    rows: Vec<ToolRow>,
    checks: Vec<Check>,
}

/// The medians of one program.
#[derive(Debug, Serialize)]
pub(crate) struct ToolRow {
    pub(crate) tool: &'static str,
    pub(crate) median: Measured,
    /// The gets per second of the first program, divided by those of this one, both counted by the server.
    pub(crate) first_to_this: f64,
}

impl ToolDocument {
    fn new(machine: Machine, callers: usize, rounds: &[(Tool, Measured)]) -> Self {
        let medians = Tool::ALL.map(|tool| {
            let own: Vec<_> = rounds.iter().filter(|(other, _)| *other == tool).map(|(_, run)| run).collect();
            (tool, Measured::median(&own))
        });
        let first = medians[0].1.counted_per_second;
        let row = |(tool, median): &(Tool, Measured)| ToolRow {
            tool: tool.name(),
            first_to_this: first / median.counted_per_second,
            median: median.clone(),
        };
        Self {
            machine,
            rows: medians.iter().map(row).collect(),
            checks: comparison::compare(&medians, rounds, callers),
        }
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

/// The scenario that the library is measured with; the load of the other programs is the same.
const SCENARIO: &str = "get-64";
