//! Runs all tests, also after failures, and lists the failures at the end.

mod failures;

use crate::Failure;
use crate::step::{self, Step};
use crate::tools::{self, Need};
use failures::FailedTests;

/// Installs the test dependencies, and runs all tests, or those that the arguments of `cargo test` select.
pub(crate) fn run(args: Vec<String>) -> Result<(), Failure> {
    tools::ensure(&[Need::Tests])?;
    if args.is_empty() {
        return run_all();
    }
    run_steps(&[selected(args)])
}

fn selected(args: Vec<String>) -> Step {
    let names_package = args.iter().any(|arg| arg.starts_with("-p") || arg.starts_with("--package"));
    // `--workspace` would override the choice of a package.
    let options = if names_package { &ALL[1..] } else { &ALL[..] };
    Step::cargo("tests", ["test"]).args(options.iter().copied()).args(args)
}

/// Runs all tests of the workspace: unit tests, integration tests and those of the documentation.
pub(crate) fn run_all() -> Result<(), Failure> {
    run_steps(&steps(has_nextest()))
}

fn steps(has_nextest: bool) -> Vec<Step> {
    if !has_nextest {
        return vec![Step::cargo("tests", ["test"]).args(ALL), concurrency_tests()];
    }
    // nextest runs the tests of all binaries in parallel, but not those of the documentation.
    let binaries = Step::cargo("tests", ["nextest", "run"]).args(ALL);
    let documentation = Step::cargo("documentation tests", ["test", "--doc"]).args(ALL);
    vec![binaries, documentation, concurrency_tests()]
}

/// Creates the step for the tests on shuttle, which schedules their threads.
///
/// They have their own target directory, because their `RUSTFLAGS` would rebuild everything in the default one.
pub(crate) fn concurrency_tests() -> Step {
    let cargo = ["test", "--target-dir", "target/shuttle", "-p", "remcache", "--lib", "concurrency_tests"];
    Step::cargo("concurrency tests", cargo).env("RUSTFLAGS", "--cfg shuttle")
}

fn has_nextest() -> bool {
    step::output_of(&["cargo", "nextest", "--version"]).is_ok()
}

/// Runs all steps, also after one has failed.
fn run_steps(steps: &[Step]) -> Result<(), Failure> {
    let failures: Vec<Failure> = steps.iter().filter_map(|step| run_step(step).err()).collect();
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n")) }
}

fn run_step(step: &Step) -> Result<(), Failure> {
    let mut failed = FailedTests::default();
    let result = step.run_with_lines(&mut |line| {
        println!("{line}");
        failed.read_line(line);
    });
    result.map_err(|failure| format!("{failed}{failure}"))
}

/// A failing test or suite does not stop the others.
const ALL: [&str; 3] = ["--workspace", "--all-features", "--no-fail-fast"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_steps_run_and_all_failures_are_reported() {
        let step = |name: &str, script: &str| Step::program(name, "sh").args(["-c", script]);
        let steps = [
            step("first", "echo 'test one::fails ... FAILED'; exit 1"),
            step("second", "echo 'test two::passes ... ok'"),
            step("third", "echo 'test three::fails ... FAILED' >&2; exit 1"),
        ];
        let failure = run_steps(&steps).unwrap_err();
        for expected in ["one::fails", "three::fails", "first FAILED", "third FAILED"] {
            assert!(failure.contains(expected), "{failure}");
        }
        assert!(!failure.contains("two::passes"), "{failure}");
    }

    #[test]
    fn a_package_can_be_selected() {
        let line = |args: &[&str]| selected(args.iter().map(|&arg| arg.to_owned()).collect()).command_line();
        assert_eq!(line(&["-p", "remcache"]), "cargo test --all-features --no-fail-fast -p remcache");
        assert_eq!(line(&["cancel"]), "cargo test --workspace --all-features --no-fail-fast cancel");
    }

    #[test]
    fn the_tests_of_the_documentation_are_run_with_and_without_nextest() {
        let lines = |has_nextest| steps(has_nextest).iter().map(Step::command_line).collect::<Vec<_>>();
        assert_eq!(lines(false)[0], "cargo test --workspace --all-features --no-fail-fast");
        assert!(lines(true).iter().any(|line| line.starts_with("cargo test --doc --workspace")), "{:?}", lines(true));
    }
}
