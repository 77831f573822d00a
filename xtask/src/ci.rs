//! Everything that has to pass before a change is merged, fastest checks first.

use crate::step::Step;
use crate::tools::{self, Need};
use crate::{Failure, imports, language, proto_deps, public_api, root, test, unix_only};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// Runs all steps.
pub(crate) fn run() -> Result<(), Failure> {
    tools::ensure(&[Need::Checks, Need::Tests])?;
    let mut steps = lints_and_checks()?;
    steps.push(Step::check("all tests", "cargo xtask test", test::run_all));
    run_all(&steps)
}

/// Runs steps, stops at the first that fails, and prints how long each took.
fn run_all(steps: &[Step]) -> Result<(), Failure> {
    let mut durations = Vec::new();
    let result = run_steps(steps, &mut durations);
    print_durations(&durations);
    result
}

fn run_steps(steps: &[Step], durations: &mut Vec<(String, Duration)>) -> Result<(), Failure> {
    for step in steps {
        let start = Instant::now();
        let result = step.run();
        durations.push((step.name().to_owned(), start.elapsed()));
        result?;
    }
    Ok(())
}

fn print_durations(durations: &[(String, Duration)]) {
    println!();
    for (name, duration) in durations {
        println!("{:>8.1} s  {name}", duration.as_secs_f64());
    }
    let total: Duration = durations.iter().map(|(_, duration)| duration).sum();
    println!("{:>8.1} s  in total", total.as_secs_f64());
}

/// Runs the steps before the tests.
pub(crate) fn lint() -> Result<(), Failure> {
    tools::ensure(&[Need::Checks])?;
    run_all(&lints_and_checks()?)
}

fn lints_and_checks() -> Result<Vec<Step>, Failure> {
    let mut steps = vec![
        Step::cargo("format", ["fmt", "--all", "--check"]),
        Step::check("imports", "cargo xtask check-imports", imports::check),
        Step::check("public API", "cargo xtask public-api", || public_api::run(&[])),
        Step::check("language", "cargo xtask check-language", language::check),
        Step::check("portability", "cargo xtask check-unix-only", unix_only::check),
    ];
    steps.extend(packages()?.iter().map(|package| lints(package)));
    steps.extend(CORES.iter().map(|core| lints_without_defaults(core)));
    steps.extend([
        Step::cargo("protocol layer alone", ["check", "-p", "remcache-proto"]),
        Step::check("dependencies of crates without I/O", "cargo xtask check-proto-deps", proto_deps::check),
        fuzz_targets(),
        documentation(),
    ]);
    Ok(steps)
}

/// Lints one package: in a common build, the features that one package enables would hide that another needs them.
fn lints(package: &str) -> Step {
    let args = ["clippy", "-p", package, "--all-targets", "--all-features"];
    Step::cargo(format!("lints of {package}"), args).args(DENY_WARNINGS)
}

fn lints_without_defaults(package: &str) -> Step {
    let name = format!("lints of {package} without default features");
    let args = ["clippy", "-p", package, "--no-default-features"];
    Step::cargo(name, args).args(DENY_WARNINGS)
}

/// Checks that the fuzz targets compile; they are a separate workspace.
fn fuzz_targets() -> Step {
    Step::cargo("fuzz targets", ["check", "--manifest-path", "tools/fuzz/Cargo.toml", "--target-dir", "target"])
}

fn documentation() -> Step {
    let args = ["doc", "--workspace", "--no-deps", "--all-features", "--document-private-items"];
    Step::cargo("documentation", args).env("RUSTDOCFLAGS", "-D warnings")
}

/// The names of the workspace's packages.
fn packages() -> Result<Vec<String>, Failure> {
    let mut packages = vec!["xtask".to_owned()];
    for folder in ["crates", "integrations", "tools"] {
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

/// Packages that are also used without their default features.
const CORES: &[&str] = &["remcache"];
const DENY_WARNINGS: [&str; 3] = ["--", "-D", "warnings"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_package_is_found() {
        let packages = packages().unwrap();
        for package in ["remcache", "remcache-bench", "remcache-testkit", "remcache-tower", "xtask"] {
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
