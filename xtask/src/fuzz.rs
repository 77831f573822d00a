//! Arbitrary bytes for the protocol layer, target after target, for as long as one likes.

use std::fs;
use std::process::{Command, Output};

use crate::step::Step;
use crate::{Failure, root};

/// Runs each fuzz target for so many minutes, and says how often it was executed and what was found.
pub(crate) fn run(args: &[String]) -> Result<(), Failure> {
    let order = Order::read(args)?;
    ensure_cargo_fuzz()?;
    let mut found = Vec::new();
    for target in &order.targets {
        let seconds = order.seconds.to_string();
        println!("== {target}: {seconds} s");
        let output = cargo_fuzz(
            &["run", "--fuzz-dir", "tools/fuzz", "-s", "none", target, "--", "-print_final_stats=1"],
            &seconds,
        )?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let executions = executions(&said).map_or_else(|| "an unknown number of".to_owned(), |count| count.to_string());
        match output.status.success() {
            true => println!("== {target}: {executions} executions, 0 findings"),
            false => {
                println!("{}", last_lines(&said, 40));
                println!("== {target}: {executions} executions, a finding");
                found.push(target.as_str());
            }
        }
    }
    match found.is_empty() {
        true => Ok(()),
        false => Err(format!("found something: {} (the input is in tools/fuzz/artifacts)", found.join(", "))),
    }
}

/// What is to be run, and for how long.
#[derive(Debug, PartialEq)]
struct Order {
    seconds: u64,
    targets: Vec<String>,
}

impl Order {
    fn read(args: &[String]) -> Result<Self, Failure> {
        let known = targets()?;
        let mut order = Self { seconds: 60, targets: Vec::new() };
        let mut words = args.iter();
        while let Some(word) = words.next() {
            match word.as_str() {
                "--minutes" => {
                    let minutes = words.next().and_then(|number| number.parse::<f64>().ok());
                    let seconds = minutes.map(|minutes| minutes * 60.0).filter(|seconds| (1.0..1e9).contains(seconds));
                    order.seconds = seconds.ok_or("--minutes needs a positive number")? as u64;
                }
                target if known.iter().any(|name| name == target) => order.targets.push(target.to_owned()),
                other => return Err(format!("{other:?} is neither --minutes N nor one of {}", known.join(", "))),
            }
        }
        if order.targets.is_empty() {
            order.targets = known;
        }
        Ok(order)
    }
}

/// The names of the targets, from the manifest of their workspace.
fn targets() -> Result<Vec<String>, Failure> {
    let manifest = root().join("tools/fuzz/Cargo.toml");
    let text = fs::read_to_string(&manifest).map_err(|error| format!("{}: {error}", manifest.display()))?;
    let bins = text.split("[[bin]]").skip(1);
    let name =
        |bin: &str| bin.lines().find_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"').map(str::to_owned));
    Ok(bins.filter_map(name).collect())
}

/// cargo-fuzz comes from the registry, as any crate does.
fn ensure_cargo_fuzz() -> Result<(), Failure> {
    if Command::new("cargo").args(["fuzz", "--version"]).output().is_ok_and(|output| output.status.success()) {
        return Ok(());
    }
    Step::cargo("cargo-fuzz", ["install", "--locked", "cargo-fuzz"]).run()
}

/// cargo-fuzz wants compiler flags that a stable compiler has, but does not give to everybody.
fn cargo_fuzz(args: &[&str], seconds: &str) -> Result<Output, Failure> {
    let mut command = Command::new("cargo");
    command.arg("fuzz").args(args).arg(format!("-max_total_time={seconds}"));
    command.current_dir(root()).env("RUSTC_BOOTSTRAP", "1");
    command.output().map_err(|error| format!("cargo fuzz: {error}"))
}

/// How often a target was executed, from the statistics at the end of its run.
fn executions(said: &str) -> Option<u64> {
    let line = said.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"))?;
    line.trim().parse().ok()
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(words: &[&str]) -> Result<Order, Failure> {
        Order::read(&words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn every_target_has_a_file_and_the_other_way_round() {
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
    fn an_order_is_read_or_refused_by_name() {
        assert_eq!(order(&["--minutes", "2"]).unwrap(), Order { seconds: 120, targets: targets().unwrap() });
        assert_eq!(order(&["lines"]).unwrap(), Order { seconds: 60, targets: vec!["lines".to_owned()] });
        for words in [&["--minutes"][..], &["--minutes", "x"], &["--minutes", "-1"], &["nothing"]] {
            let refusal = order(words).unwrap_err();
            assert!(refusal.contains("--minutes") || refusal.contains("replies"), "{refusal}");
        }
    }

    #[test]
    fn the_executions_are_read_from_the_statistics() {
        let said = "Done 5 runs\nstat::number_of_executed_units: 1234567\nstat::average_exec_per_sec:     9\n";
        assert_eq!(executions(said), Some(1_234_567));
        assert_eq!(executions("nothing"), None);
    }
}
