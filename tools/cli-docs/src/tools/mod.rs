//! The table of tools: feature by feature, each cell a command that is run.

mod check;
mod features;
mod page;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use clap::Args;

use check::{Bench, Outcome};
use features::{Cell, FEATURES, Feature};

/// What is compared, and where the table goes.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Only features whose title contains this; the table is printed and not written
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// The tool, built for release
    #[arg(long, value_name = "FILE", default_value = "target/dist/remcache")]
    program: PathBuf,
    /// Where programs are that are not on the search path: mc and mtop, memcached_exporter
    #[arg(long, value_name = "DIR", default_value = "target/tools/bin")]
    programs: PathBuf,
    /// The file that the table goes into
    #[arg(long, value_name = "FILE", default_value = "crates/remcache-cli/docs/tools.md")]
    into: PathBuf,
}

/// A tool that is compared, with the name of its column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tool {
    Remcache,
    Libmemcached,
    Script,
    Mc,
    Mtop,
    Exporter,
}

impl Tool {
    const ALL: [(Self, &'static str); 6] = [
        (Self::Remcache, "remcache"),
        (Self::Libmemcached, "libmemcached-tools"),
        (Self::Script, "memcached-tool"),
        (Self::Mc, "mc"),
        (Self::Mtop, "mtop"),
        (Self::Exporter, "memcached_exporter"),
    ];

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(tool, _)| *tool == self).map_or("", |(_, name)| name)
    }
}

impl Cell {
    /// The program that is put to the test.
    fn program(&self) -> &'static str {
        if self.program.is_empty() { self.tool.name() } else { self.program }
    }
}

/// A feature, and what came of each of its cells.
type Row = (&'static Feature, Vec<(&'static Cell, Outcome)>);

/// Runs every check, and writes the table.
pub(crate) fn run(options: &Options) -> Result<()> {
    let bench = Bench::prepare(&absolute(&options.program)?, &options.programs)?;
    let wanted = |feature: &&Feature| options.only.as_ref().is_none_or(|text| feature.title.contains(text.as_str()));
    let mut rows: Vec<Row> = Vec::new();
    for feature in FEATURES.iter().filter(wanted) {
        let mut cells = Vec::new();
        for cell in feature.cells {
            let outcome = bench.check(feature, cell)?;
            eprintln!("{:<60} {:<20} {}", feature.title, cell.program(), outcome.mark());
            cells.push((cell, outcome));
        }
        rows.push((feature, cells));
    }
    let page = page::write(&bench.versions(), &rows);
    match options.only {
        Some(_) => println!("{page}"),
        None => fs::write(&options.into, page).with_context(|| format!("writing {}", options.into.display()))?,
    }
    let ours =
        rows.iter().flat_map(|(feature, cells)| cells.iter().map(move |(cell, outcome)| (feature, cell, outcome)));
    let failed: Vec<&str> = ours
        .filter(|(_, cell, outcome)| cell.tool == Tool::Remcache && !matches!(outcome, Outcome::Yes))
        .map(|(feature, ..)| feature.title)
        .collect();
    ensure!(failed.is_empty(), "remcache does not do what it should: {}", failed.join("; "));
    Ok(())
}

fn absolute(program: &Path) -> Result<PathBuf> {
    fs::canonicalize(program).with_context(|| format!("{}: cargo build --release -p remcache-cli", program.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_feature_is_checked_of_remcache_and_once_of_each_tool() {
        let titles: HashSet<_> = FEATURES.iter().map(|feature| feature.title).collect();
        assert_eq!(titles.len(), FEATURES.len());
        for feature in FEATURES {
            assert_eq!(feature.cells[0].tool, Tool::Remcache, "{}", feature.title);
            let programs: HashSet<_> = feature.cells.iter().map(Cell::program).collect();
            assert_eq!(programs.len(), feature.cells.len(), "{}", feature.title);
            let is_named = |cell: &Cell| cell.program.is_empty() != (cell.tool == Tool::Libmemcached);
            assert!(feature.cells.iter().all(is_named), "{}", feature.title);
        }
    }

    #[test]
    fn every_check_runs_the_program_that_it_is_about() {
        for (feature, cell) in FEATURES.iter().flat_map(|feature| feature.cells.iter().map(move |cell| (feature, cell)))
        {
            assert!(cell.script.contains(cell.program()), "{}: {}", feature.title, cell.script);
            // In a document it would be a link that leads nowhere.
            assert!(!cell.script.contains("]("), "{}: {}", feature.title, cell.script);
        }
    }
}
