//! Measures remcache and other clients on the same servers, in interleaved rounds. The results are printed as tables,
//! and written as JSON and as a chart on request.

mod adapter;
mod binary_protocol;
mod chart;
mod child;
mod comparison;
mod cores;
mod counting;
mod items;
mod machine;
mod native;
mod options;
mod placement;
mod preload;
mod probe;
mod report;
mod results;
mod scenario;
mod server;
mod table;
mod targets;
mod tools;
mod workload;

use std::fs;
use std::io::Write;

use anyhow::{Context, Result};
use clap::Parser;
use serde::Serialize;

use crate::adapter::Setup;
use crate::comparison::Comparison;
use crate::machine::Machine;
use crate::options::{Child, ChildOptions, CommandLine, Options};
use crate::placement::RingRow;
use crate::results::{IdleRow, ScenarioResult};
use crate::scenario::IDLE;
use crate::targets::TargetResult;

fn main() -> Result<()> {
    let command_line = CommandLine::parse();
    match command_line.child {
        Some(Child::Child(options)) => run_child(options),
        Some(Child::Tools(options)) => tools::run(&options),
        None => compare(&command_line.options),
    }
}

fn run_child(options: ChildOptions) -> Result<()> {
    let setup = Setup { scenario: options.scenario, ports: options.ports, authority: options.authority };
    let line = if setup.scenario.id == IDLE.id {
        serde_json::to_string(&child::measure_idle(options.client, &setup, options.seconds)?)
    } else {
        serde_json::to_string(&child::measure(options.client, setup, options.seconds)?)
    };
    println!("{}", line?);
    Ok(())
}

fn compare(options: &Options) -> Result<()> {
    let machine = Machine::detect()?;
    let comparison = Comparison::prepare(options)?;
    let mut notes = comparison.notes().to_vec();
    notes.extend(machine.warning());
    println!("{}; {}", machine.describe(), comparison.cores().describe());
    println!("medians of {} rounds of {} s", options.rounds(), options.seconds());
    notes.iter().for_each(|note| println!("Note: {note}"));

    let results = comparison.run(|result| println!("{}", table::result(result)))?;
    let idle = comparison.run_idle()?;
    if !idle.is_empty() {
        println!("{}", table::idle(&idle));
    }
    let ring = if options.ring() { placement::measure(options.rounds()) } else { Vec::new() };
    if !ring.is_empty() {
        println!("{}", table::ring(&ring));
    }
    let targets = targets::evaluate(&results, &idle, &ring);
    println!("{}", table::targets(&targets));

    let pinning = comparison.cores().describe();
    let document = ResultDocument {
        machine,
        pinning,
        rounds: options.rounds(),
        seconds: options.seconds(),
        notes,
        clients: clients(&comparison),
        results,
        idle,
        ring,
        targets,
    };
    document.write(options)
}

/// The JSON document with all results.
#[derive(Serialize)]
struct ResultDocument {
    machine: Machine,
    pinning: String,
    rounds: u32,
    seconds: f64,
    notes: Vec<String>,
    clients: Vec<ClientInfo>,
    results: Vec<ScenarioResult>,
    idle: Vec<IdleRow>,
    ring: Vec<RingRow>,
    targets: Vec<TargetResult>,
}

/// The description of a client.
#[derive(Serialize)]
struct ClientInfo {
    client: String,
    note: &'static str,
}

fn clients(comparison: &Comparison) -> Vec<ClientInfo> {
    let info = |entry: &adapter::Entry| ClientInfo { client: entry.to_string(), note: entry.profile.note };
    comparison.entries().iter().map(info).collect()
}

impl ResultDocument {
    /// Writes the files that the options name.
    fn write(&self, options: &Options) -> Result<()> {
        if let Some(path) = &options.json {
            let mut json = serde_json::to_vec_pretty(self)?;
            json.write_all(b"\n")?;
            fs::write(path, json).with_context(|| format!("writing {}", path.display()))?;
        }
        if let Some(path) = &options.svg {
            let svg = chart::draw(&self.results, &self.machine.describe())?;
            fs::write(path, svg).with_context(|| format!("writing {}", path.display()))?;
        }
        Ok(())
    }
}
