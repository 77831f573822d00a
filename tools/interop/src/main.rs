//! `cargo xtask interop`: holds remcache against the other clients, and prints tables.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use fastrand::Rng;
use remcache_interop::{Exchange, Extent, Outcome, PEERS, Peer, Report, Run, Source, compare_values, find, report};

/// remcache and other clients on the same servers: each finds what the other has stored.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask interop")]
struct Options {
    /// Only these clients, by name
    #[arg(long, value_delimiter = ',', value_name = "CLIENT", value_parser = client)]
    only: Vec<&'static Peer>,
    /// List the clients, how they place keys and what installs them, and do nothing else
    #[arg(long)]
    list: bool,
    /// Print the packages of Debian that the clients come in, and do nothing else
    #[arg(long)]
    packages: bool,
    /// Fewer lists and fewer keys, to see that everything works
    #[arg(long)]
    quick: bool,
    /// Keys for each list of servers, in each direction
    #[arg(long, value_name = "NUMBER")]
    keys: Option<usize>,
    /// Random lists of servers for routes; 0 leaves them out
    #[arg(long, value_name = "NUMBER")]
    lists: Option<usize>,
    /// Keys for each of those
    #[arg(long, value_name = "NUMBER")]
    route_keys: Option<usize>,
    /// The seed of keys and lists, to repeat a run
    #[arg(long)]
    seed: Option<u64>,
    /// Also write the outcomes to this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Also write the tables to this file, as Markdown
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Write down in this file what the clients write for values with a type, and do nothing else
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
}

impl Options {
    fn peers(&self) -> Vec<&'static Peer> {
        if self.only.is_empty() { PEERS.iter().collect() } else { self.only.clone() }
    }

    fn extent(&self) -> Extent {
        let extent = if self.quick { Extent::QUICK } else { Extent::FULL };
        Extent {
            keys: self.keys.unwrap_or(extent.keys),
            route_lists: self.lists.unwrap_or(extent.route_lists),
            route_keys: self.route_keys.unwrap_or(extent.route_keys),
            ..extent
        }
    }

    /// Whether an outcome is one to fail for: a client that cannot be had is only if it was asked for.
    fn is_bad(&self, outcome: &Outcome) -> bool {
        let can_be_had = find(&outcome.client).is_some_and(|peer| !matches!(peer.source, Source::Absent(_)));
        outcome.misses() > 0 || outcome.failure.is_some() && (can_be_had || !self.only.is_empty())
    }
}

fn main() -> Result<ExitCode> {
    let options = Options::parse();
    if options.list {
        list(&options.peers());
        return Ok(ExitCode::SUCCESS);
    }
    if options.packages {
        print_packages(&options.peers());
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(file) = &options.record {
        write_record(&options.peers(), file)?;
        return Ok(ExitCode::SUCCESS);
    }
    let report = compare(&options)?;
    println!("{}", report::terminal(&report));
    if let Some(file) = &options.json {
        write(file, &serde_json::to_string_pretty(&report)?)?;
    }
    if let Some(file) = &options.markdown {
        write(file, &report::markdown(&report, &format!("cargo xtask interop --markdown {}", file.display())))?;
    }
    let bad =
        report.keys.iter().any(|outcome| options.is_bad(outcome)) || report.values.iter().any(|it| it.misses() > 0);
    Ok(if bad { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn compare(options: &Options) -> Result<Report> {
    let seed = options.seed.unwrap_or_else(|| fastrand::u64(..));
    println!("seed {seed}");
    let mut run = Run::new(options.extent(), Rng::with_seed(seed))?;
    let mut report = Report::default();
    for peer in options.peers() {
        let outcomes = run.meet(peer);
        let misses: usize = outcomes.iter().map(Outcome::misses).sum();
        println!("{}: {misses} misses", peer.name);
        // What keeps a client from running stands in the first table already.
        if outcomes.iter().all(|outcome| outcome.failure.is_none()) {
            report.values.extend(compare_values(peer).with_context(|| peer.name)?);
        }
        report.keys.extend(outcomes);
    }
    Ok(report)
}

fn list(peers: &[&Peer]) {
    for peer in peers {
        println!("{}: {}", peer.name, peer.needs());
        for setup in peer.setups {
            println!("  {setup}");
        }
    }
}

fn print_packages(peers: &[&Peer]) {
    let packages: BTreeSet<&str> = peers.iter().flat_map(|peer| peer.packages).copied().collect();
    packages.iter().for_each(|package| println!("{package}"));
}

/// One value a line, so that a change shows what was changed.
fn write_record(peers: &[&Peer], file: &Path) -> Result<()> {
    let mut lines = Vec::new();
    for peer in peers.iter().filter(|peer| !peer.values.is_empty()) {
        let mut exchange = Exchange::new(peer)?;
        for writing in peer.values {
            let recorded = exchange.record(peer, writing)?;
            for it in recorded.iter().filter(|it| it.is_short()) {
                lines.push(serde_json::to_string(it)?);
            }
        }
    }
    println!("{} values", lines.len());
    write(file, &format!("[\n{}\n]\n", lines.join(",\n")))
}

fn write(file: &Path, text: &str) -> Result<()> {
    std::fs::write(file, text).with_context(|| file.display().to_string())
}

fn client(name: &str) -> Result<&'static Peer, String> {
    find(name).ok_or_else(|| {
        let names: Vec<&str> = PEERS.iter().map(|peer| peer.name).collect();
        format!("no such client; known: {}", names.join(", "))
    })
}
