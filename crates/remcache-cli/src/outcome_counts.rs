//! Counts the outcomes of many keys or servers, and determines the exit code.

use std::collections::BTreeMap;
use std::io;

use remcache::Error;

use crate::exit::{Exit, print_error, words};
use crate::output::Output;

/// The outcomes so far.
#[derive(Debug, Default)]
pub(crate) struct OutcomeCounts {
    pub(crate) yes: u64,
    pub(crate) no: u64,
    failures: BTreeMap<String, (Exit, u64)>,
}

impl OutcomeCounts {
    /// Counts an answer.
    pub(crate) fn answer(&mut self, yes: bool) {
        if yes { self.yes += 1 } else { self.no += 1 }
    }

    /// Counts a failure; failures with the same message are reported together.
    pub(crate) fn error(&mut self, error: &Error) {
        self.failures(&words(error), Exit::of(error), 1);
    }

    /// Counts failures with the same message.
    pub(crate) fn failures(&mut self, message: &str, exit: Exit, count: u64) {
        self.failures.entry(message.to_owned()).or_insert((exit, 0)).1 += count;
    }

    /// Returns the number of failures.
    pub(crate) fn failed(&self) -> u64 {
        self.failures.values().map(|(_, count)| count).sum()
    }

    /// Flushes the output, then prints each failure once, with the number of `things` (plural) that failed so.
    pub(crate) fn report_failures(&self, things: &str, output: &mut Output) -> io::Result<()> {
        output.flush()?;
        for (message, (_, count)) in &self.failures {
            match count {
                1 => print_error(message),
                _ => print_error(format_args!("{message} ({count} {things})")),
            }
        }
        Ok(())
    }

    /// Returns the exit code for outcomes of keys: unreachable servers take precedence over errors, and errors over a
    /// no.
    pub(crate) fn exit(&self) -> Exit {
        let kinds = || self.failures.values().map(|(exit, _)| *exit);
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
        let worst = self.failures.values().map(|(exit, _)| *exit).max();
        match worst {
            Some(_) if self.yes + self.no > 0 => Exit::Partly,
            Some(worst) => worst,
            None => self.exit(),
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
}
