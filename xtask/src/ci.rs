//! All checks that must pass before a change is merged, fastest first.

use crate::step::Step;
use crate::tools::{self, Need};
use crate::{Failure, imports, language, proto_deps, public_api, test, unix_only};
use std::time::{Duration, Instant};

/// Runs all steps.
pub(crate) fn run() -> Result<(), Failure> {
    tools::ensure(&[Need::Checks, Need::Tests])?;
    let mut steps = lints_and_checks();
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
    run_all(&lints_and_checks())
}

fn lints_and_checks() -> Vec<Step> {
    vec![
        Step::cargo("format", ["fmt", "--all", "--check"]),
        Step::check("imports", "cargo xtask check-imports", imports::check),
        Step::check("public API", "cargo xtask public-api", || public_api::run(&[])),
        Step::check("language", "cargo xtask check-language", language::check),
        Step::check("portability", "cargo xtask check-unix-only", unix_only::check),
        lints(),
        lints_without_defaults(),
        tool_with_default_features(),
        Step::cargo("protocol layer alone", ["check", "-p", "remcache-proto"]),
        Step::check("dependencies of crates without I/O", "cargo xtask check-proto-deps", proto_deps::check),
        fuzz_targets(),
        lock_file_of_sccache(),
        documentation(),
    ]
}

/// Lints all packages in one build. `cargo xtask check-features` finds a feature that a package needs and only another
/// one enables.
fn lints() -> Step {
    Step::cargo("lints", ["clippy", "--workspace", "--all-targets", "--all-features"]).args(DENY_WARNINGS)
}

fn lints_without_defaults() -> Step {
    let args = ["clippy", "-p", "remcache", "--no-default-features", "--lib", "--tests"];
    Step::cargo("lints of the library and its tests without default features", args).args(DENY_WARNINGS)
}

/// Checks that the tool compiles with its default features, as the README builds it: the lints enable all.
fn tool_with_default_features() -> Step {
    Step::cargo("the tool with its default features", ["check", "-p", "remcache-cli"])
}

/// Checks that the fuzz targets compile; they are a separate workspace.
fn fuzz_targets() -> Step {
    Step::cargo("fuzz targets", ["check", "--manifest-path", "tools/fuzz/Cargo.toml", "--target-dir", "target"])
}

/// Checks that the lock file of the workspace that only `cargo xtask sccache` builds has the dependencies of the library.
fn lock_file_of_sccache() -> Step {
    let args = ["update", "--quiet", "--workspace", "--locked", "--manifest-path", crate::SCCACHE_MANIFEST];
    Step::cargo("lock file of sccache", args)
}

fn documentation() -> Step {
    let args = ["doc", "--workspace", "--no-deps", "--all-features", "--document-private-items"];
    Step::cargo("documentation", args).env("RUSTDOCFLAGS", "-D warnings")
}

const DENY_WARNINGS: [&str; 3] = ["--", "-D", "warnings"];
