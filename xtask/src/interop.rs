//! remcache and other clients on the same servers: installs the clients, and compares.

use crate::Failure;
use crate::step::{Step, output_of};
use crate::tools::{self, Need};

/// Installs the clients that are asked for, and runs the comparison; what cannot be had is in its table.
pub(crate) fn run(args: Vec<String>) -> Result<(), Failure> {
    tools::ensure(&[Need::Tests])?;
    let does_run = !args.iter().any(|arg| arg == "--list" || arg == "--help");
    if does_run {
        let packages = packages(&args)?;
        if let Err(failure) = tools::ensure_packages(&packages) {
            println!("{failure}");
        }
    }
    Step::cargo("interoperability", COMPARISON.iter().copied()).args(args).run()
}

/// The packages of Debian that these clients come in: the comparison has the table of them.
fn packages(args: &[String]) -> Result<Vec<String>, Failure> {
    let words = ["cargo"].into_iter().chain(COMPARISON.iter().copied()).chain(["--packages"]);
    let words: Vec<&str> = words.chain(args.iter().map(String::as_str)).collect();
    Ok(output_of(&words)?.lines().map(str::to_owned).collect())
}

const COMPARISON: &[&str] = &["run", "--quiet", "-p", "remcache-interop", "--"];
