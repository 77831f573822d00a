//! One step of a command: said, timed, and when it fails told with the line that repeats it.

use crate::{Failure, root};
use std::process::Command;
use std::time::Instant;

/// A program to run in the root of the workspace, or a check of our own.
#[derive(Debug)]
pub(crate) struct Step {
    name: String,
    work: Work,
}

#[derive(Debug)]
enum Work {
    Program { words: Vec<String>, env: Vec<(&'static str, String)> },
    Check { check: fn() -> Result<(), Failure>, repeat: &'static str },
}

impl Step {
    /// A cargo command.
    pub(crate) fn cargo(name: impl Into<String>, args: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let step = Self::program(name, "cargo");
        step.args(args)
    }

    pub(crate) fn program(name: impl Into<String>, program: &str) -> Self {
        let work = Work::Program { words: vec![program.to_owned()], env: Vec::new() };
        let name = name.into();
        Self { name, work }
    }

    /// A check that `repeat` runs alone.
    pub(crate) fn check(name: impl Into<String>, repeat: &'static str, check: fn() -> Result<(), Failure>) -> Self {
        let work = Work::Check { check, repeat };
        let name = name.into();
        Self { name, work }
    }

    pub(crate) fn args(mut self, args: impl IntoIterator<Item = impl Into<String>>) -> Self {
        if let Work::Program { words, .. } = &mut self.work {
            words.extend(args.into_iter().map(Into::into));
        }
        self
    }

    pub(crate) fn env(mut self, name: &'static str, value: impl Into<String>) -> Self {
        if let Work::Program { env, .. } = &mut self.work {
            env.push((name, value.into()));
        }
        self
    }

    /// Runs the step, and says before what it is and afterwards how long it took.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        println!("== {}: {}", self.name, self.line());
        let start = Instant::now();
        let outcome = match &self.work {
            Work::Program { words, env } => run_program(words, env),
            Work::Check { check, .. } => check(),
        };
        let seconds = start.elapsed().as_secs_f64();
        match outcome {
            Ok(()) => {
                println!("== {}: passed in {seconds:.1} s", self.name);
                Ok(())
            }
            Err(reason) => Err(format!(
                "== {} FAILED after {seconds:.1} s: {reason}\n   repeat it with: {}",
                self.name,
                self.line()
            )),
        }
    }

    /// What to type to run this step alone.
    fn line(&self) -> String {
        match &self.work {
            Work::Program { words, env } => {
                let env = env.iter().map(|(name, value)| format!("{name}={}", quoted(value)));
                let words = words.iter().map(|word| quoted(word));
                env.chain(words).collect::<Vec<_>>().join(" ")
            }
            Work::Check { repeat, .. } => (*repeat).to_owned(),
        }
    }
}

/// What a program writes to its standard output, run in the root of the workspace.
pub(crate) fn output_of(words: &[&str]) -> Result<String, Failure> {
    let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
    let output = command(&words).output().map_err(|error| format!("{}: {error}", words[0]))?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{}: {complaint}", words.join(" ")));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn run_program(words: &[String], env: &[(&str, String)]) -> Result<(), Failure> {
    let status = command(words).envs(env.iter().map(|(name, value)| (name, value))).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(status.to_string()),
        Err(error) => Err(format!("{}: {error}", words[0])),
    }
}

fn command(words: &[String]) -> Command {
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).current_dir(root());
    if is_ci() {
        command.envs(PLAIN_OUTPUT.iter().copied());
    }
    command
}

/// Whether nobody watches: colours and progress bars would only garble a log.
fn is_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value != "false" && !value.is_empty())
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

const PLAIN_OUTPUT: &[(&str, &str)] =
    &[("CARGO_TERM_COLOR", "never"), ("CARGO_TERM_PROGRESS_WHEN", "never"), ("NO_COLOR", "1")];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_can_be_typed() {
        let step = Step::cargo("docs", ["doc", "--", "it's"]).env("RUSTDOCFLAGS", "-D warnings");
        let line = r"RUSTDOCFLAGS='-D warnings' cargo doc -- 'it'\''s'";
        assert_eq!(step.line(), line);
    }

    #[test]
    fn a_failure_names_the_step_and_the_line() {
        let failure = Step::program("nothing", "false").run().unwrap_err();
        assert!(failure.contains("nothing FAILED"), "{failure}");
        assert!(failure.ends_with("repeat it with: false"), "{failure}");
    }

    #[test]
    fn a_missing_program_is_named() {
        let failure = Step::program("absent", "no-such-program").run();
        assert!(failure.unwrap_err().contains("no-such-program: "));
    }

    #[test]
    fn a_check_fails_with_its_own_words() {
        let step = Step::check("ours", "cargo xtask ours", || Err("not so".to_owned()));
        let failure = step.run().unwrap_err();
        assert!(failure.contains("not so"), "{failure}");
        assert!(failure.ends_with("cargo xtask ours"), "{failure}");
    }
}
