//! One step of a command: announced, timed, and on failure reported with the command line that repeats it.

use crate::{Failure, root};
use std::io::{BufRead as _, BufReader};
use std::process::{Command, ExitStatus};
use std::time::Instant;

/// A program to run in the root of the workspace, or a check that xtask performs itself.
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
    /// Creates a step that runs a cargo command.
    pub(crate) fn cargo(name: impl Into<String>, args: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let step = Self::program(name, "cargo");
        step.args(args)
    }

    /// Creates a step that runs a program in the root of the workspace.
    pub(crate) fn program(name: impl Into<String>, program: &str) -> Self {
        let work = Work::Program { words: vec![program.to_owned()], env: Vec::new() };
        let name = name.into();
        Self { name, work }
    }

    /// Creates a step that runs a check; `repeat` is the command that runs it alone.
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

    /// Runs the step, and prints its name before and its duration after.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        self.run_timed(|| match &self.work {
            Work::Program { words, env } => run_program(words, env),
            Work::Check { check, .. } => check(),
        })
    }

    /// Runs the step as [`run`](Self::run) does, but passes each line of the output to a function instead of printing
    /// it.
    pub(crate) fn run_with_lines(&self, on_line: &mut dyn FnMut(&str)) -> Result<(), Failure> {
        self.run_timed(|| match &self.work {
            Work::Program { words, env } => run_with_lines(words, env, on_line),
            Work::Check { check, .. } => check(),
        })
    }

    fn run_timed(&self, work: impl FnOnce() -> Result<(), Failure>) -> Result<(), Failure> {
        let (name, line) = (&self.name, self.command_line());
        println!("== {name}: {line}");
        let start = Instant::now();
        let result = work();
        let seconds = start.elapsed().as_secs_f64();
        match result {
            Ok(()) => {
                println!("== {name}: passed in {seconds:.1} s");
                Ok(())
            }
            Err(reason) => Err(format!("== {name} FAILED after {seconds:.1} s: {reason}\n   repeat it with: {line}")),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Returns the command line that runs this step alone.
    pub(crate) fn command_line(&self) -> String {
        match &self.work {
            Work::Program { words, env } => {
                let env = env.iter().map(|(name, value)| format!("{name}={}", shell_quoted(value)));
                let words = words.iter().map(|word| shell_quoted(word));
                env.chain(words).collect::<Vec<_>>().join(" ")
            }
            Work::Check { repeat, .. } => (*repeat).to_owned(),
        }
    }
}

/// Runs a program in the root of the workspace, and returns its standard output.
pub(crate) fn output_of(words: &[&str]) -> Result<String, Failure> {
    let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
    let output = command(&words).output().map_err(|error| format!("{}: {error}", words[0]))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{}: {stderr}", words.join(" ")));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn run_program(words: &[String], env: &[(&str, String)]) -> Result<(), Failure> {
    let status = command(words).envs(env.iter().map(|(name, value)| (name, value))).status();
    check_status(&words[0], status)
}

/// Runs a program whose standard output and error arrive in one pipe, so that their lines keep their order.
fn run_with_lines(words: &[String], env: &[(&str, String)], on_line: &mut dyn FnMut(&str)) -> Result<(), Failure> {
    let with_name = |error| format!("{}: {error}", words[0]);
    let (reader, writer) = std::io::pipe().map_err(with_name)?;
    let mut command = command(words);
    command.envs(env.iter().map(|(name, value)| (name, value)));
    command.stdout(writer.try_clone().map_err(with_name)?).stderr(writer);
    let mut child = command.spawn().map_err(with_name)?;
    // The command holds the writing end of the pipe, so the reader would wait forever.
    drop(command);
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).map_err(with_name)? > 0 {
        on_line(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']));
        line.clear();
    }
    check_status(&words[0], child.wait())
}

fn check_status(program: &str, status: std::io::Result<ExitStatus>) -> Result<(), Failure> {
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(status.to_string()),
        Err(error) => Err(format!("{program}: {error}")),
    }
}

fn command(words: &[String]) -> Command {
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).current_dir(root());
    if is_ci() {
        command.envs(LOG_OUTPUT.iter().copied());
    }
    command
}

/// Returns whether this is a CI run, whose output is a log.
fn is_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value != "false" && !value.is_empty())
}

fn shell_quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Environment variables that turn off colours and progress bars.
const LOG_OUTPUT: &[(&str, &str)] =
    &[("CARGO_TERM_COLOR", "never"), ("CARGO_TERM_PROGRESS_WHEN", "never"), ("NO_COLOR", "1")];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_quoted_for_a_shell() {
        let step = Step::cargo("docs", ["doc", "--", "it's"]).env("RUSTDOCFLAGS", "-D warnings");
        let line = r"RUSTDOCFLAGS='-D warnings' cargo doc -- 'it'\''s'";
        assert_eq!(step.command_line(), line);
    }

    #[test]
    fn a_failure_names_the_step_and_the_line() {
        let failure = Step::program("nothing", "false").run().unwrap_err();
        assert!(failure.contains("nothing FAILED"), "{failure}");
        assert!(failure.ends_with("repeat it with: false"), "{failure}");
    }

    #[test]
    fn lines_of_both_outputs_arrive_in_order() {
        let mut lines = Vec::new();
        let step = Step::program("both", "sh").args(["-c", "echo one; echo two >&2; printf three"]);
        step.run_with_lines(&mut |line| lines.push(line.to_owned())).unwrap();
        assert_eq!(lines, ["one", "two", "three"]);
    }

    #[test]
    fn a_missing_program_is_named() {
        let failure = Step::program("absent", "no-such-program").run();
        assert!(failure.unwrap_err().contains("no-such-program: "));
    }

    #[test]
    fn a_failed_check_is_reported_with_its_reason() {
        let step = Step::check("ours", "cargo xtask ours", || Err("the reason".to_owned()));
        let failure = step.run().unwrap_err();
        assert!(failure.contains("the reason"), "{failure}");
        assert!(failure.ends_with("cargo xtask ours"), "{failure}");
    }
}
