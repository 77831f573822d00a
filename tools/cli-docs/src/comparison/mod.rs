//! The comparison of command-line tools: a table of features whose cells are commands that are run.

mod features;
mod page;
mod runner;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use clap::Args;

use features::{Cell, FEATURES, Feature};
use runner::{CheckResult, Runner};

/// The options of `compare-tools`.
#[derive(Args, Debug)]
pub(crate) struct ComparisonOptions {
    /// Check only features whose title contains this text, and print the table instead of writing it
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// The command-line tool
    #[arg(long, value_name = "FILE", default_value = "target/dist/remcache")]
    program: PathBuf,
    /// The directory of programs outside the search path: mc, mtop and memcached_exporter
    #[arg(long, value_name = "DIR", default_value = "target/tools/bin")]
    programs: PathBuf,
    /// The file for the table
    #[arg(long, value_name = "FILE", default_value = "crates/remcache-cli/docs/tools.md")]
    into: PathBuf,
}

/// A compared tool.
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
    /// Returns the program that is checked.
    fn program(&self) -> &'static str {
        if self.program.is_empty() { self.tool.name() } else { self.program }
    }
}

/// A feature, and the results of its cells.
type Row = (&'static Feature, Vec<(&'static Cell, CheckResult)>);

/// Runs all checks, and writes the table.
pub(crate) fn run(options: &ComparisonOptions) -> Result<()> {
    let runner = Runner::prepare(&absolute(&options.program)?, &options.programs)?;
    let is_selected =
        |feature: &&Feature| options.only.as_ref().is_none_or(|text| feature.title.contains(text.as_str()));
    let mut rows: Vec<Row> = Vec::new();
    for feature in FEATURES.iter().filter(is_selected) {
        let mut cells = Vec::new();
        for cell in feature.cells {
            let result = runner.check(feature, cell)?;
            eprintln!("{:<60} {:<20} {}", feature.title, cell.program(), result.mark());
            cells.push((cell, result));
        }
        rows.push((feature, cells));
    }
    let page = page::write(&runner.versions(), &rows);
    match options.only {
        Some(_) => println!("{page}"),
        None => fs::write(&options.into, page).with_context(|| format!("writing {}", options.into.display()))?,
    }
    let ours = rows.iter().flat_map(|(feature, cells)| cells.iter().map(move |(cell, result)| (feature, cell, result)));
    let failed: Vec<&str> = ours
        .filter(|(_, cell, result)| cell.tool == Tool::Remcache && !matches!(result, CheckResult::Yes))
        .map(|(feature, ..)| feature.title)
        .collect();
    ensure!(failed.is_empty(), "remcache failed: {}", failed.join("; "));
    Ok(())
}

fn absolute(program: &Path) -> Result<PathBuf> {
    fs::canonicalize(program)
        .with_context(|| format!("{}: cargo build --profile dist -p remcache-cli", program.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_feature_is_checked_for_remcache_and_once_per_tool() {
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
    fn every_check_runs_its_program() {
        for (feature, cell) in FEATURES.iter().flat_map(|feature| feature.cells.iter().map(move |cell| (feature, cell)))
        {
            assert!(cell.script.contains(cell.program()), "{}: {}", feature.title, cell.script);
            // In Markdown it would be a broken link.
            assert!(!cell.script.contains("]("), "{}: {}", feature.title, cell.script);
        }
    }
}
