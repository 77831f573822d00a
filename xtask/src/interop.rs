//! Compares remcache with other clients on the same servers, and installs those clients first.

use crate::Failure;
use crate::step::{Step, output_of};
use crate::tools::{self, Need};

/// Installs the selected clients and runs the comparison; its table lists those that could not be installed.
pub(crate) fn run(args: Vec<String>) -> Result<(), Failure> {
    tools::ensure(&[Need::Tests])?;
    let compares = !args.iter().any(|arg| arg == "--list" || arg == "--help");
    if compares {
        let packages = packages(&args)?;
        if let Err(failure) = tools::ensure_packages(&packages) {
            println!("{failure}");
        }
    }
    Step::cargo("interoperability", COMPARISON.iter().copied()).args(args).run()
}

/// Returns the Debian packages of the selected clients, which `remcache-interop` lists.
fn packages(args: &[String]) -> Result<Vec<String>, Failure> {
    let words = ["cargo"].into_iter().chain(COMPARISON.iter().copied()).chain(["--packages"]);
    let words: Vec<&str> = words.chain(args.iter().map(String::as_str)).collect();
    Ok(output_of(&words)?.lines().map(str::to_owned).collect())
}

const COMPARISON: &[&str] = &["run", "--quiet", "-p", "remcache-interop", "--"];
