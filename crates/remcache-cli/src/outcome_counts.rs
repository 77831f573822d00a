//! Counts the outcomes of many keys or servers, and determines the exit code.

use std::collections::BTreeMap;
use std::io;

use remcache::Error;

use crate::exit::{Exit, print_error, words};
use crate::output::{Output, number, text};

/// The outcomes so far.
#[derive(Debug, Default)]
pub(crate) struct OutcomeCounts {
    pub(crate) yes: u64,
    pub(crate) no: u64,
    failures: BTreeMap<String, SameFailures>,
}

/// Failures with the same message.
#[derive(Debug)]
struct SameFailures {
    exit: Exit,
    count: u64,
    /// The first keys that failed so, if they are known.
    keys: Vec<String>,
}

/// The number of keys that an error names.
const NAMED_KEYS: usize = 3;

impl OutcomeCounts {
    /// Counts an answer.
    pub(crate) fn answer(&mut self, yes: bool) {
        if yes { self.yes += 1 } else { self.no += 1 }
    }

    /// Counts a failure; failures with the same message are reported together.
    pub(crate) fn error(&mut self, error: &Error) {
        self.failures(&words(error), Exit::of(error), 1);
    }

    /// Counts the failure of a request for a key.
    pub(crate) fn key_error(&mut self, key: &[u8], error: &Error) {
        self.key_failure(key, &words(error), Exit::of(error));
    }

    /// Counts the failure of a request for a key, with its message.
    pub(crate) fn key_failure(&mut self, key: &[u8], message: &str, exit: Exit) {
        let failures = self.with_message(message, exit);
        failures.count += 1;
        if failures.keys.len() < NAMED_KEYS {
            failures.keys.push(text::inline(key).into_owned());
        }
    }

    /// Counts failures with the same message.
    pub(crate) fn failures(&mut self, message: &str, exit: Exit, count: u64) {
        self.with_message(message, exit).count += count;
    }

    fn with_message(&mut self, message: &str, exit: Exit) -> &mut SameFailures {
        self.failures.entry(message.to_owned()).or_insert(SameFailures { exit, count: 0, keys: Vec::new() })
    }

    /// Returns the number of failures.
    pub(crate) fn failed(&self) -> u64 {
        self.failures.values().map(|failures| failures.count).sum()
    }

    /// Flushes the output, then prints each failure once, with the keys or the number of `things` (plural) that failed
    /// so.
    pub(crate) fn report_failures(&self, things: &str, output: &mut Output) -> io::Result<()> {
        output.flush()?;
        for (message, failures) in &self.failures {
            match failures.affected(things) {
                Some(affected) => print_error(format_args!("{message} ({affected})")),
                None => print_error(message),
            }
        }
        Ok(())
    }

    /// Returns the exit code for outcomes of keys: unreachable servers take precedence over errors, and errors over a
    /// no.
    pub(crate) fn exit(&self) -> Exit {
        let kinds = || self.failures.values().map(|failures| failures.exit);
        let is_unreachable = kinds().any(|exit| exit == Exit::Unreachable);
        let others = kinds().filter(|exit| *exit != Exit::Unreachable).max();
        match (is_unreachable, others) {
            (true, None) if self.yes + self.no == 0 => Exit::Unreachable,
            (true, _) => Exit::Partly,
            (false, Some(exit)) => exit,
            (false, None) => Exit::answer(self.no == 0),
        }
    }

    /// Returns the exit code for outcomes of servers: if some failed for whatever reason, the results of the others
    /// were printed.
    pub(crate) fn exit_of_servers(&self) -> Exit {
        let worst = self.failures.values().map(|failures| failures.exit).max();
        match worst {
            Some(_) if self.yes + self.no > 0 => Exit::Partly,
            Some(worst) => worst,
            None => self.exit(),
        }
    }
}

impl SameFailures {
    /// Returns what failed: `key a`, `keys a, b, c and 97 more`, or `100 servers`; `None` for a single thing.
    fn affected(&self, things: &str) -> Option<String> {
        let others = self.count.saturating_sub(self.keys.len() as u64);
        let keys = self.keys.join(", ");
        match (self.keys.len(), others) {
            (0, 1) => None,
            (0, count) => Some(format!("{} {things}", number::exact(count))),
            (1, 0) => Some(format!("key {keys}")),
            (_, 0) => Some(format!("keys {keys}")),
            (_, others) => Some(format!("keys {keys} and {} more", number::exact(others))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_of_keys_determine_the_exit_code() {
        use Exit::{No, Partly, Server, Unreachable, Usage, Yes};
        let cases: [(u64, u64, &[Exit], Exit); 9] = [
            (0, 0, &[], Yes),
            (2, 0, &[], Yes),
            (2, 1, &[], No),
            (2, 1, &[Unreachable], Partly),
            (0, 1, &[Unreachable], Partly),
            (0, 0, &[Unreachable], Unreachable),
            (0, 0, &[Unreachable, Server], Partly),
            (1, 1, &[Server], Server),
            (1, 0, &[Server, Usage], Server),
        ];
        for (yes, no, failures, expected) in cases {
            let mut counts = OutcomeCounts { yes, no, ..OutcomeCounts::default() };
            for &exit in failures {
                counts.failures(&format!("{exit:?}"), exit, 1);
            }
            assert_eq!(counts.exit(), expected, "{yes} {no} {failures:?}");
        }
    }

    #[test]
    fn outcomes_of_servers_determine_the_exit_code() {
        use Exit::{Auth, Partly, Server, Unreachable, Yes};
        let cases: [(u64, &[Exit], Exit); 6] = [
            (2, &[], Yes),
            (1, &[Server], Partly),
            (1, &[Unreachable, Auth], Partly),
            (0, &[Unreachable], Unreachable),
            (0, &[Unreachable, Server], Server),
            (0, &[Auth, Server], Auth),
        ];
        for (yes, failures, expected) in cases {
            let mut counts = OutcomeCounts { yes, ..OutcomeCounts::default() };
            for &exit in failures {
                counts.failures(&format!("{exit:?}"), exit, 1);
            }
            assert_eq!(counts.exit_of_servers(), expected, "{yes} {failures:?}");
        }
    }

    #[test]
    fn failures_with_the_same_message_are_one() {
        let mut counts = OutcomeCounts::default();
        counts.failures("unreachable", Exit::Unreachable, 1);
        counts.failures("unreachable", Exit::Unreachable, 1);
        assert_eq!((counts.failures.len(), counts.failed()), (1, 2));
    }

    #[test]
    fn failures_name_their_first_keys() {
        let affected = |count: usize| {
            let mut counts = OutcomeCounts::default();
            (0..count).for_each(|number| counts.key_failure(format!("k{number}").as_bytes(), "no", Exit::Server));
            counts.failures["no"].affected("keys").unwrap()
        };
        assert_eq!(affected(1), "key k0");
        assert_eq!(affected(3), "keys k0, k1, k2");
        assert_eq!(affected(1503), "keys k0, k1, k2 and 1,500 more");
        let mut counts = OutcomeCounts::default();
        counts.failures("no", Exit::Server, 1);
        assert_eq!(counts.failures["no"].affected("servers"), None);
        counts.failures("no", Exit::Server, 1500);
        assert_eq!(counts.failures["no"].affected("servers").unwrap(), "1,501 servers");
    }
}
