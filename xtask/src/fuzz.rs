//! Fuzzes the protocol layer: runs one target after the other for a given time.

use std::fs;
use std::process::{Command, Output};

use crate::step::Step;
use crate::{Failure, root};

/// Runs the selected fuzz targets, and prints the number of executions and of findings of each.
pub(crate) fn run(args: &[String]) -> Result<(), Failure> {
    let options = Options::read(args)?;
    ensure_cargo_fuzz()?;
    let mut found = Vec::new();
    for target in &options.targets {
        let seconds = options.seconds.to_string();
        println!("== {target}: {seconds} s");
        let output = cargo_fuzz(
            &["run", "--fuzz-dir", "tools/fuzz", "-s", "none", target, "--", "-print_final_stats=1"],
            &seconds,
        )?;
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        let executions = executions(&log).map_or_else(|| "an unknown number of".to_owned(), |count| count.to_string());
        match output.status.success() {
            true => println!("== {target}: {executions} executions, 0 findings"),
            false => {
                println!("{}", last_lines(&log, 40));
                println!("== {target}: {executions} executions, 1 finding");
                found.push(target.as_str());
            }
        }
    }
    match found.is_empty() {
        true => Ok(()),
        false => Err(format!("findings in {}; the inputs are in tools/fuzz/artifacts", found.join(", "))),
    }
}

/// The targets to run, and the time for each.
#[derive(Debug, PartialEq)]
struct Options {
    seconds: u64,
    targets: Vec<String>,
}

impl Options {
    fn read(args: &[String]) -> Result<Self, Failure> {
        let known = targets()?;
        let mut options = Self { seconds: 60, targets: Vec::new() };
        let mut words = args.iter();
        while let Some(word) = words.next() {
            match word.as_str() {
                "--minutes" => {
                    let minutes = words.next().and_then(|number| number.parse::<f64>().ok());
                    let seconds = minutes.map(|minutes| minutes * 60.0).filter(|seconds| (1.0..1e9).contains(seconds));
                    options.seconds = seconds.ok_or("--minutes needs a positive number")? as u64;
                }
                target if known.iter().any(|name| name == target) => options.targets.push(target.to_owned()),
                other => {
                    return Err(format!(
                        "unknown argument {other:?}; use --minutes N or a target: {}",
                        known.join(", ")
                    ));
                }
            }
        }
        if options.targets.is_empty() {
            options.targets = known;
        }
        Ok(options)
    }
}

/// Returns the names of the targets, which are the binaries of the fuzzing workspace.
fn targets() -> Result<Vec<String>, Failure> {
    let manifest = root().join("tools/fuzz/Cargo.toml");
    let text = fs::read_to_string(&manifest).map_err(|error| format!("{}: {error}", manifest.display()))?;
    let bins = text.split("[[bin]]").skip(1);
    let name =
        |bin: &str| bin.lines().find_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"').map(str::to_owned));
    Ok(bins.filter_map(name).collect())
}

/// Installs cargo-fuzz if it is missing.
fn ensure_cargo_fuzz() -> Result<(), Failure> {
    if Command::new("cargo").args(["fuzz", "--version"]).output().is_ok_and(|output| output.status.success()) {
        return Ok(());
    }
    Step::cargo("cargo-fuzz", ["install", "--locked", "cargo-fuzz"]).run()
}

/// Runs cargo-fuzz, with `RUSTC_BOOTSTRAP` because it uses compiler flags that are unstable.
fn cargo_fuzz(args: &[&str], seconds: &str) -> Result<Output, Failure> {
    let mut command = Command::new("cargo");
    command.arg("fuzz").args(args).arg(format!("-max_total_time={seconds}"));
    command.current_dir(root()).env("RUSTC_BOOTSTRAP", "1");
    command.output().map_err(|error| format!("cargo fuzz: {error}"))
}

/// Returns the number of executions, from the statistics that libFuzzer prints at the end of a run.
fn executions(log: &str) -> Option<u64> {
    let line = log.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"))?;
    line.trim().parse().ok()
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(words: &[&str]) -> Result<Options, Failure> {
        Options::read(&words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn targets_and_files_correspond() {
        let mut named = targets().unwrap();
        let files = fs::read_dir(root().join("tools/fuzz/fuzz_targets")).unwrap().flatten();
        let mut files: Vec<_> =
            files.filter_map(|file| file.file_name().to_str()?.strip_suffix(".rs").map(str::to_owned)).collect();
        named.sort();
        files.sort();
        assert_eq!(named, files);
        assert!(named.len() >= 5);
    }

    #[test]
    fn options_are_parsed_and_unknown_arguments_refused() {
        assert_eq!(options(&["--minutes", "2"]).unwrap(), Options { seconds: 120, targets: targets().unwrap() });
        assert_eq!(options(&["lines"]).unwrap(), Options { seconds: 60, targets: vec!["lines".to_owned()] });
        for words in [&["--minutes"][..], &["--minutes", "x"], &["--minutes", "-1"], &["nothing"]] {
            let error = options(words).unwrap_err();
            assert!(error.contains("--minutes") || error.contains("replies"), "{error}");
        }
    }

    #[test]
    fn executions_are_read_from_the_statistics() {
        let log = "Done 5 runs\nstat::number_of_executed_units: 1234567\nstat::average_exec_per_sec:     9\n";
        assert_eq!(executions(log), Some(1_234_567));
        assert_eq!(executions("nothing"), None);
    }
}
