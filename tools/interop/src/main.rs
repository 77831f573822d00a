//! `cargo xtask interop`: compares remcache with other clients, and prints tables.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use fastrand::Rng;
use remcache_interop::{
    PEERS, Peer, PlacementResult, Report, Runner, Scale, Source, ValueComparison, compare_values, find, report,
};

/// Compares remcache with other clients on the same servers: each must find what the other has stored.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask interop")]
struct Options {
    /// Compare only these clients
    #[arg(long, value_delimiter = ',', value_name = "CLIENT", value_parser = client)]
    only: Vec<&'static Peer>,
    /// List the clients, their placements and the commands that install them
    #[arg(long)]
    list: bool,
    /// Print the Debian packages of the clients
    #[arg(long)]
    packages: bool,
    /// Use fewer lists and fewer keys
    #[arg(long)]
    quick: bool,
    /// Keys per list of servers and direction
    #[arg(long, value_name = "NUMBER")]
    keys: Option<usize>,
    /// Random lists of servers whose routes are compared; 0 for none
    #[arg(long, value_name = "NUMBER")]
    lists: Option<usize>,
    /// Keys per list of servers whose routes are compared
    #[arg(long, value_name = "NUMBER")]
    route_keys: Option<usize>,
    /// The seed of keys and lists, to repeat a run
    #[arg(long)]
    seed: Option<u64>,
    /// Write the results to this file as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the tables to this file as Markdown
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Record the items that the clients write for typed values in this file
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
}

impl Options {
    fn peers(&self) -> Vec<&'static Peer> {
        if self.only.is_empty() { PEERS.iter().collect() } else { self.only.clone() }
    }

    fn scale(&self) -> Scale {
        let scale = if self.quick { Scale::QUICK } else { Scale::FULL };
        Scale {
            keys: self.keys.unwrap_or(scale.keys),
            route_lists: self.lists.unwrap_or(scale.route_lists),
            route_keys: self.route_keys.unwrap_or(scale.route_keys),
            ..scale
        }
    }

    /// Returns whether a result is a failure. A client that cannot be installed is one only if it was selected.
    fn is_failure(&self, result: &PlacementResult) -> bool {
        let is_available = find(&result.client).is_some_and(|peer| !matches!(peer.source, Source::Absent(_)));
        result.misses() > 0 || result.failure.is_some() && (is_available || !self.only.is_empty())
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
    let has_failed =
        report.keys.iter().any(|result| options.is_failure(result)) || report.values.iter().any(|it| it.misses() > 0);
    Ok(if has_failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn compare(options: &Options) -> Result<Report> {
    let seed = options.seed.unwrap_or_else(|| fastrand::u64(..));
    println!("seed {seed}");
    let mut runner = Runner::new(options.scale(), Rng::with_seed(seed))?;
    let mut report = Report::default();
    for peer in options.peers() {
        let results = runner.compare(peer);
        let misses: usize = results.iter().map(PlacementResult::misses).sum();
        println!("{}: {misses} misses", peer.name);
        // The first table has the reason if a client could not run.
        if results.iter().all(|result| result.failure.is_none()) {
            report.values.extend(compare_values(peer).with_context(|| peer.name)?);
        }
        report.keys.extend(results);
    }
    Ok(report)
}

fn list(peers: &[&Peer]) {
    for peer in peers {
        println!("{}: {}", peer.name, peer.needs());
        for placement in peer.placements {
            println!("  {placement}");
        }
    }
}

fn print_packages(peers: &[&Peer]) {
    let packages: BTreeSet<&str> = peers.iter().flat_map(|peer| peer.packages).copied().collect();
    packages.iter().for_each(|package| println!("{package}"));
}

/// Writes the recorded items, one per line, so that a diff shows the changed ones.
fn write_record(peers: &[&Peer], file: &Path) -> Result<()> {
    let mut lines = Vec::new();
    for peer in peers.iter().filter(|peer| !peer.encodings.is_empty()) {
        let mut comparison = ValueComparison::new(peer)?;
        for encoding in peer.encodings {
            let recorded = comparison.record(peer, encoding)?;
            for item in recorded.iter().filter(|item| item.is_short()) {
                lines.push(serde_json::to_string(item)?);
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
        format!("unknown client; the clients are {}", names.join(", "))
    })
}
