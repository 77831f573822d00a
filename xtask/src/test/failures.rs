//! The tests that failed, read from the output of `cargo test` or `cargo nextest run`.

use std::fmt;

/// The names of failed tests, and the arguments of the cargo commands that repeat their suites.
#[derive(Debug, Default)]
pub(super) struct FailedTests {
    tests: Vec<String>,
    suites: Vec<String>,
}

impl FailedTests {
    /// Reads one line of output.
    pub(super) fn read_line(&mut self, line: &str) {
        if let Some(test) = failed_test(line).or_else(|| failed_in_nextest(line)) {
            // nextest repeats the failures at its end.
            if !self.tests.iter().any(|known| known == test) {
                self.tests.push(test.to_owned());
            }
        } else if let Some(suite) = failed_suite(line) {
            self.suites.push(suite.to_owned());
        }
    }
}

impl fmt::Display for FailedTests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for test in &self.tests {
            writeln!(f, "   failed test: {test}")?;
        }
        for suite in &self.suites {
            writeln!(f, "   failed suite: cargo test {suite}")?;
        }
        Ok(())
    }
}

/// Returns the test of a line such as `test module::name ... FAILED`.
fn failed_test(line: &str) -> Option<&str> {
    line.strip_prefix("test ")?.strip_suffix(" ... FAILED")
}

/// Returns the test of a line such as `FAIL [   0.004s] (12/34) package::binary module::name`.
fn failed_in_nextest(line: &str) -> Option<&str> {
    let (status, rest) = line.trim_start().split_once(" [")?;
    if !(["FAIL", "TIMEOUT", "ABORT"].contains(&status) || status.starts_with("SIG")) {
        return None;
    }
    let (_, test) = rest.split_once("s] ")?;
    let test = test.trim_start();
    let after_count = test.strip_prefix('(').and_then(|test| test.split_once(") "));
    Some(after_count.map_or(test, |(_, test)| test))
}

/// Returns the suite of a line such as "    `-p remcache --test it`", which cargo prints at its end.
fn failed_suite(line: &str) -> Option<&str> {
    line.trim().strip_prefix('`')?.strip_suffix('`').filter(|suite| suite.starts_with("-p "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(output: &str) -> FailedTests {
        let mut failed = FailedTests::default();
        output.lines().for_each(|line| failed.read_line(line));
        failed
    }

    #[test]
    fn failures_of_cargo_test_are_read() {
        let output = "\
running 2 tests
test cancel::passes ... ok
test cancel::fails ... FAILED
test tests::panics - should panic ... FAILED
test crates/remcache/src/lib.rs - (line 12) ... FAILED

error: 2 targets failed:
    `-p remcache --lib`
    `-p remcache --test it`
";
        let failed = read(output);
        let tests = ["cancel::fails", "tests::panics - should panic", "crates/remcache/src/lib.rs - (line 12)"];
        assert_eq!(failed.tests, tests);
        assert_eq!(failed.suites, ["-p remcache --lib", "-p remcache --test it"]);
        assert!(failed.to_string().contains("cargo test -p remcache --test it\n"), "{failed}");
    }

    #[test]
    fn failures_of_nextest_are_read_once() {
        let output = "\
        PASS [   0.005s] (1/3) remcache::it cancel::passes
        FAIL [   0.004s] (2/3) remcache::it cancel::fails
     SIGABRT [   1.250s] remcache memory::aborts
     Summary [   1.250s] 3 tests run: 1 passed, 2 failed, 0 skipped
        FAIL [   0.004s] (2/3) remcache::it cancel::fails
     SIGABRT [   1.250s] remcache memory::aborts
";
        assert_eq!(read(output).tests, ["remcache::it cancel::fails", "remcache memory::aborts"]);
    }

    #[test]
    fn without_failures_nothing_is_printed() {
        assert_eq!(read("test one ... ok\nSummary [   1.0s] 1 test run\n").to_string(), "");
    }
}
