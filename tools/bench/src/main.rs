//! Side by side: remcache and its peers on the same servers, in interleaved rounds, printed, as JSON and as a chart.

mod chart;
mod child;
mod comparison;
mod contestant;
mod cores;
mod counting;
mod course;
mod machine;
mod native;
mod options;
mod preload;
mod probe;
mod report;
mod results;
mod ring;
mod samples;
mod scenario;
mod server;
mod table;
mod targets;
mod tools;
mod wire;

use std::fs;
use std::io::Write;

use anyhow::{Context, Result};
use clap::Parser;
use serde::Serialize;

use crate::comparison::Comparison;
use crate::contestant::Setup;
use crate::machine::Machine;
use crate::options::{Child, ChildOptions, CommandLine, Options};
use crate::results::{IdleRow, Standing};
use crate::ring::RingRow;
use crate::scenario::IDLE;
use crate::targets::Verdict;

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
        serde_json::to_string(&child::measure_idle(options.contestant, &setup, options.seconds)?)
    } else {
        serde_json::to_string(&child::measure(options.contestant, setup, options.seconds)?)
    };
    println!("{}", line?);
    Ok(())
}

fn compare(options: &Options) -> Result<()> {
    let machine = Machine::look()?;
    let comparison = Comparison::prepare(options)?;
    let mut notes = comparison.notes().to_vec();
    notes.extend(machine.warning());
    println!("{}; {}", machine.describe(), comparison.cores().describe());
    println!("medians of {} rounds of {} s each", options.rounds(), options.seconds());
    notes.iter().for_each(|note| println!("Note: {note}"));

    let standings = comparison.run(|standing| println!("{}", table::standing(standing)))?;
    let idle = comparison.run_idle()?;
    if !idle.is_empty() {
        println!("{}", table::idle(&idle));
    }
    let ring = if options.ring() { ring::measure(options.rounds()) } else { Vec::new() };
    if !ring.is_empty() {
        println!("{}", table::ring(&ring));
    }
    let targets = targets::judge(&standings, &idle, &ring);
    println!("{}", table::verdicts(&targets));

    let pinning = comparison.cores().describe();
    let document = Document {
        machine,
        pinning,
        rounds: options.rounds(),
        seconds: options.seconds(),
        notes,
        contestants: contestants(&comparison),
        standings,
        idle,
        ring,
        targets,
    };
    document.write(options)
}

/// Everything that was found, as it is stored.
#[derive(Serialize)]
struct Document {
    machine: Machine,
    pinning: String,
    rounds: u32,
    seconds: f64,
    notes: Vec<String>,
    contestants: Vec<About>,
    standings: Vec<Standing>,
    idle: Vec<IdleRow>,
    ring: Vec<RingRow>,
    targets: Vec<Verdict>,
}

/// Who a contestant is.
#[derive(Serialize)]
struct About {
    contestant: String,
    note: &'static str,
}

fn contestants(comparison: &Comparison) -> Vec<About> {
    let about = |entry: &contestant::Entry| About { contestant: entry.to_string(), note: entry.profile.note };
    comparison.entries().iter().map(about).collect()
}

impl Document {
    /// Writes the files that were asked for.
    fn write(&self, options: &Options) -> Result<()> {
        if let Some(path) = &options.json {
            let mut json = serde_json::to_vec_pretty(self)?;
            json.write_all(b"\n")?;
            fs::write(path, json).with_context(|| format!("writing {}", path.display()))?;
        }
        if let Some(path) = &options.svg {
            let svg = chart::draw(&self.standings, &self.machine.describe())?;
            fs::write(path, svg).with_context(|| format!("writing {}", path.display()))?;
        }
        Ok(())
    }
}
