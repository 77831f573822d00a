//! Everything that has to hold before a change is taken, in the order of what fails fastest.

use crate::step::Step;
use crate::tools::{self, Need};
use crate::{Failure, imports, proto_deps, root};
use std::fs;
use std::path::Path;
use std::time::Instant;

/// Runs all steps, and stops at the first that fails.
pub(crate) fn run() -> Result<(), Failure> {
    let start = Instant::now();
    tools::ensure(&[Need::Checks, Need::Tests])?;
    let steps = steps()?;
    for step in &steps {
        step.run()?;
    }
    let seconds = start.elapsed().as_secs();
    println!("\nall {} steps passed in {seconds} s", steps.len());
    Ok(())
}

/// All tests: of units, of integration, of the documentation; examples are built with them.
pub(crate) fn tests(args: Vec<String>) -> Step {
    Step::cargo("tests", ["test", "--workspace", "--all-features"]).args(args)
}

fn steps() -> Result<Vec<Step>, Failure> {
    let mut steps = vec![
        Step::cargo("format", ["fmt", "--all", "--check"]),
        Step::check("imports", "cargo xtask check-imports", imports::check),
    ];
    steps.extend(packages()?.iter().map(|package| lints(package)));
    steps.extend(CORES.iter().map(|core| lints_without_defaults(core)));
    steps.extend([
        Step::cargo("protocol alone", ["check", "-p", "remcache", "--no-default-features"]),
        Step::check("dependencies of the protocol", "cargo xtask check-proto-deps", proto_deps::check),
        documentation(),
        tests(Vec::new()),
    ]);
    Ok(steps)
}

/// One package at a time: together, the features of one would hide what another forgot to name.
fn lints(package: &str) -> Step {
    let args = ["clippy", "-p", package, "--all-targets", "--all-features"];
    Step::cargo(format!("lints of {package}"), args).args(DENY_WARNINGS)
}

fn lints_without_defaults(package: &str) -> Step {
    let name = format!("lints of {package} without default features");
    let args = ["clippy", "-p", package, "--no-default-features"];
    Step::cargo(name, args).args(DENY_WARNINGS)
}

fn documentation() -> Step {
    let args = ["doc", "--workspace", "--no-deps", "--all-features", "--document-private-items"];
    Step::cargo("documentation", args).env("RUSTDOCFLAGS", "-D warnings")
}

/// The names of the workspace's packages.
fn packages() -> Result<Vec<String>, Failure> {
    let mut packages = vec!["xtask".to_owned()];
    for folder in ["crates", "tools"] {
        packages.extend(packages_in(&root().join(folder))?);
    }
    packages.sort_unstable();
    Ok(packages)
}

/// The names of the packages whose folders are in `parent`, without those that are a workspace of their own.
fn packages_in(parent: &Path) -> Result<Vec<String>, Failure> {
    let unreadable = |error| format!("{}: {error}", parent.display());
    let mut packages = Vec::new();
    for entry in fs::read_dir(parent).map_err(unreadable)? {
        let manifest = entry.map_err(unreadable)?.path().join("Cargo.toml");
        let Ok(text) = fs::read_to_string(&manifest) else { continue };
        if text.lines().any(|line| line == "[workspace]") {
            continue;
        }
        let name = text.lines().find_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'));
        packages.push(name.ok_or_else(|| format!("{}: no package name", manifest.display()))?.to_owned());
    }
    Ok(packages)
}

/// Packages that are something else without their default features.
const CORES: &[&str] = &["remcache"];
const DENY_WARNINGS: [&str; 3] = ["--", "-D", "warnings"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_package_is_found() {
        let packages = packages().unwrap();
        for package in ["remcache", "remcache-bench", "remcache-testkit", "xtask"] {
            assert!(packages.iter().any(|it| it == package), "{packages:?}");
        }
        assert!(!packages.iter().any(|it| it == "remcache-fuzz"), "a workspace of its own: {packages:?}");
    }

    #[test]
    fn every_core_is_a_package() {
        let packages = packages().unwrap();
        assert!(CORES.iter().all(|core| packages.iter().any(|it| it == core)));
    }
}
