//! Questions to the user.

use std::fmt;
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::sync::Arc;

use crate::escape::escape;
use crate::exit::Failure;
use crate::wrap::{fold, stderr_columns};

/// Asks a question on a terminal that it reads itself, and returns the answer.
#[derive(Clone)]
pub(crate) struct Prompter(Arc<Ask>);

type Ask = dyn Fn(&str) -> Result<String, Failure> + Send + Sync;

impl Prompter {
    pub(crate) fn new(ask: impl Fn(&str) -> Result<String, Failure> + Send + Sync + 'static) -> Self {
        Self(Arc::new(ask))
    }

    /// Asks a question, and returns the answer.
    pub(crate) fn ask(&self, question: &str) -> Result<String, Failure> {
        (self.0)(question)
    }
}

impl fmt::Debug for Prompter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Prompter")
    }
}

/// Fails without a terminal, on which an action could be confirmed.
pub(crate) fn require_terminal(action: &str) -> Result<(), Failure> {
    match io::stdin().is_terminal() {
        true => Ok(()),
        false => Err(Failure::usage(format!("refusing to {action} without a terminal; pass --yes"))),
    }
}

/// Asks a question on the terminal.
pub(crate) fn ask(question: &str) -> Result<String, Failure> {
    let _ = write!(io::stderr(), "{} ", fold(&escape(question), stderr_columns()));
    let _ = io::stderr().flush();
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    read.map_err(|error| Failure::Io("standard input".into(), error))?;
    if !answer.ends_with('\n') {
        // Ctrl-D leaves the cursor behind the question.
        let _ = writeln!(io::stderr());
    }
    Ok(answer.trim().to_owned())
}
