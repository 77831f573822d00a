//! `shell`: commands line by line, on connections that stay open.

mod completion;
mod history;
mod lines;
mod protocol;
mod raw;
mod terminal;

use std::ffi::OsString;
use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

use clap::Command;
use remcache::Client;

use crate::exit::{Exit, Failure, Outcome, print_error};
use crate::input;
use crate::output::{Cell, Column, Output, Table, TextStyle};
use crate::session::Session;
use completion::{Completion, KnownKeys, OWN};
pub(crate) use lines::LineEditor;
use lines::{InputEvent, LineSource};
use protocol::{COMMANDS, ProtocolLine};
use raw::TextConnections;
use terminal::Modes;

/// Run commands interactively, on connections that stay open
///
/// A line is a command of the tool, without its name, or a command of the text or meta protocol, which is sent
/// to the server unchanged: mg user:42 v t. Tab completes commands, flags and keys. Global options of the shell
/// apply to every line, which can override them. From a pipe the shell reads one command per line, and exits
/// with the exit code of the last command that failed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Lines:
  get user:42 --meta      a command of the tool
  mg user:42 v t          a command of the protocol
  raw stats detail dump   a command of the protocol whose name the tool has, too
  help, help get          list the commands, or describe one
  quit                    or Ctrl-D

The history is ~/.local/state/remcache/history. Not recorded are lines with a
password in a URL, lines that begin with a blank, data of protocol commands, and
answers to questions.")]
pub(crate) struct Args {}

/// The number of keys of a server that are read for completion, and their maximum age.
const SAMPLED_KEYS: usize = 1000;
const SAMPLE_AGE: Duration = Duration::from_secs(30);

/// Returns the line editor, if there is a terminal for it.
pub(crate) fn editor() -> Result<Option<LineEditor>, Failure> {
    let is_interactive = io::stdin().is_terminal() && io::stdout().is_terminal();
    is_interactive.then(LineEditor::new).transpose().map_err(|error| Failure::Io("terminal".into(), error))
}

/// Runs the shell; `run_tool` runs the words of a line as a command of the tool.
pub(crate) async fn run(editor: Option<LineEditor>, run_tool: impl RunTool, session: &mut Session) -> Outcome {
    input::take_stdin();
    session.interrupt.enter_shell();
    let client = session.client()?;
    let keys = KnownKeys::default();
    let is_interactive = editor.is_some();
    let modes = Modes::save();
    let lines = match editor {
        Some(editor) => {
            let namespace = String::from_utf8_lossy(client.namespace()).into_owned();
            LineSource::from_editor(editor, Completion::new(session.definition(), keys.clone(), namespace))?
        }
        None => LineSource::from_pipe()?,
    };
    session.share(client.clone(), is_interactive.then(|| lines.prompter()));
    let prompt = match &session.context {
        Some(context) => format!("remcache {}> ", context.name),
        None => "remcache> ".into(),
    };
    let (definition, connections) = (session.definition(), TextConnections::default());
    let mut shell =
        Shell { lines, prompt, is_interactive, client, keys, sampled_at: None, connections, definition, run_tool };
    let outcome = tokio::select! {
        outcome = shell.run(session) => outcome,
        () = terminal::terminated() => Ok(Exit::Interrupted),
    };
    drop(modes);
    outcome
}

/// Runs the words of a line as a command of the tool; the error is a usage error or a request for help.
pub(crate) trait RunTool: AsyncFn(Vec<OsString>, &Session) -> Result<Outcome, clap::Error> {}

impl<F: AsyncFn(Vec<OsString>, &Session) -> Result<Outcome, clap::Error>> RunTool for F {}

/// A running shell.
struct Shell<R> {
    lines: LineSource,
    prompt: String,
    is_interactive: bool,
    client: Client,
    keys: KnownKeys,
    /// When the keys for completion were looked at.
    sampled_at: Option<Instant>,
    connections: TextConnections,
    /// The tool's commands.
    definition: Command,
    run_tool: R,
}

/// The decision whether the shell continues after a line.
enum NextStep {
    Continue(Exit),
    Quit,
}

impl<R: RunTool> Shell<R> {
    async fn run(&mut self, session: &mut Session) -> Outcome {
        let mut last_failure = Exit::Yes;
        loop {
            self.sample_keys();
            let typed = tokio::select! {
                typed = self.lines.next(&self.prompt) => typed?,
                () = session.interrupt.raised(), if !self.is_interactive => return Ok(Exit::Interrupted),
            };
            let line = match typed {
                InputEvent::Line(line) => line,
                InputEvent::Interrupted => continue,
                InputEvent::End => break,
            };
            let exit = match self.execute_unless_interrupted(line.trim_ascii_end(), session).await {
                Ok(NextStep::Quit) => break,
                Ok(NextStep::Continue(exit)) => exit,
                Err(Failure::ClosedPipe) => return Err(Failure::ClosedPipe),
                Err(failure) => {
                    print_error(&failure);
                    failure.exit()
                }
            };
            if exit != Exit::Yes {
                last_failure = exit;
            }
            if session.interrupt.is_raised() && !self.is_interactive {
                return Ok(Exit::Interrupted);
            }
        }
        // On a terminal, the user has seen the failures.
        Ok(if self.is_interactive { Exit::Yes } else { last_failure })
    }

    /// Executes one line. An interrupt ends the command, and not the shell.
    async fn execute_unless_interrupted(&mut self, line: &[u8], session: &mut Session) -> Result<NextStep, Failure> {
        if !line.trim_ascii().is_empty() {
            self.lines.add_history(line);
        }
        // A signal that arrived between two commands has no effect.
        session.interrupt.renew();
        let interrupt = session.interrupt.clone();
        tokio::select! {
            next = self.execute(line.trim_ascii(), session) => next,
            () = interrupt.forced() => Ok(NextStep::Continue(Exit::Interrupted)),
        }
    }

    async fn execute(&mut self, line: &[u8], session: &mut Session) -> Result<NextStep, Failure> {
        let words = words(line)?;
        let first = words.first().and_then(|word| word.to_str()).unwrap_or_default();
        let exit = match first {
            "" => Exit::Yes,
            "quit" | "exit" => return Ok(NextStep::Quit),
            "help" | "?" => self.help(&words[1..], session).await?,
            "raw" => self.send(line.trim_ascii_start().strip_prefix(b"raw").unwrap_or_default(), session).await?,
            name if self.is_tool_command(name) || ProtocolLine::parse(line).is_none() => {
                refuse_operators(line, &words)?;
                self.run_tool_command(words, session).await?
            }
            _ => self.send(line, session).await?,
        };
        Ok(NextStep::Continue(exit))
    }

    /// Sends a line of the protocol as it is, with the data that it announces.
    async fn send(&mut self, line: &[u8], session: &mut Session) -> Outcome {
        let line = line.trim_ascii();
        let Some(parsed) = ProtocolLine::parse(line) else {
            let known: Vec<_> = COMMANDS.iter().map(|word| word.name).collect();
            return Err(Failure::usage(format!("no command of the protocol; known are {}", known.join(", "))));
        };
        if parsed.command.key.is_some() && parsed.key().is_none() {
            return Err(Failure::usage(format!("{} needs a key: {}", parsed.command.name, parsed.command.help)));
        }
        if parsed.is_destructive() && !self.confirm(&parsed, session)? {
            return Ok(Exit::No);
        }
        let mut request = [line, b"\r\n"].concat();
        match parsed.data() {
            Some(length) => {
                request.extend(self.data(length).await?);
                request.extend(b"\r\n");
            }
            None if parsed.command.length.is_some() => {
                return Err(Failure::usage(format!("the length of the value is missing: {}", parsed.command.help)));
            }
            None => {}
        }
        self.connections.send(&parsed, &request, session).await
    }

    fn confirm(&self, parsed: &ProtocolLine<'_>, session: &Session) -> Result<bool, Failure> {
        if !self.is_interactive {
            let instead = if parsed.closes_connection() { "end the server by its process" } else { "say flush --yes" };
            let name = parsed.command.name;
            return Err(Failure::usage(format!("{name} asks first, and there is no terminal to ask on; {instead}")));
        }
        let servers: Vec<_> = self.client.servers().iter().map(|server| server.name().to_owned()).collect();
        let done = if parsed.closes_connection() { "End the process of" } else { "Remove ALL items of" };
        session.confirm(parsed.command.name, &format!("{done} {}?", servers.join(", ")))
    }

    /// Reads a value of the given length, on one line or on several.
    async fn data(&self, length: usize) -> Result<Vec<u8>, Failure> {
        let mut data = Vec::new();
        let mut is_first = true;
        loop {
            let InputEvent::Line(line) = self.lines.next("value> ").await? else {
                let got = data.len();
                return Err(Failure::usage(format!("{got} of {length} bytes were given: nothing was sent")));
            };
            if !std::mem::replace(&mut is_first, false) {
                data.push(b'\n');
            }
            data.extend(line);
            if data.len() == length + 1 {
                // A file with the line ends of another system.
                data.pop_if(|byte| *byte == b'\r');
            }
            match data.len() {
                given if given == length => return Ok(data),
                given if given > length => {
                    let message = format!("the value has {given} bytes, and {length} were announced: nothing was sent");
                    return Err(Failure::usage(message));
                }
                _ => {}
            }
        }
    }

    /// Samples keys of the servers in the background.
    fn sample_keys(&mut self) {
        let is_fresh = self.sampled_at.is_some_and(|at| at.elapsed() < SAMPLE_AGE);
        if !self.is_interactive || is_fresh {
            return;
        }
        self.sampled_at = Some(Instant::now());
        let (servers, keys) = (self.client.servers(), self.keys.clone());
        tokio::spawn(async move {
            let mut all = Vec::new();
            for server in servers {
                let mut items = server.metadump();
                let end = all.len() + SAMPLED_KEYS;
                // A server that does not list its keys has none to offer.
                while let Some(Ok(item)) = items.next().await {
                    // Text that cannot be typed is not offered.
                    all.extend(String::from_utf8(item.key.to_vec()).ok().filter(|key| !key.contains(char::is_control)));
                    if all.len() >= end {
                        break;
                    }
                }
            }
            keys.set(all);
        });
    }

    fn is_tool_command(&self, name: &str) -> bool {
        self.definition.find_subcommand(name).is_some()
    }

    /// Runs a command of the tool.
    async fn run_tool_command(&self, words: Vec<OsString>, session: &Session) -> Outcome {
        let name = words.first().and_then(|word| word.to_str()).unwrap_or_default().to_owned();
        let error = match (self.run_tool)(words, session).await {
            Ok(outcome) => return outcome,
            Err(error) => error,
        };
        // A closed stream cannot be written to.
        let _ = error.print();
        if error.use_stderr() && COMMANDS.iter().any(|word| word.name == name) {
            session.output.notes().print(format_args!("raw {name} … sends a line of the protocol as it is"));
        }
        Ok(if error.use_stderr() { Exit::Usage } else { Exit::Yes })
    }

    /// Lists the commands, or shows the options of one.
    async fn help(&self, words: &[OsString], session: &mut Session) -> Outcome {
        let Some(name) = words.first() else { return self.list(&mut session.output) };
        if name == "fields" {
            return self.run_tool_command([&["help".into()], words].concat(), session).await;
        }
        let is_name = |known: &str| name.to_str() == Some(known);
        let protocol = COMMANDS.iter().find(|word| is_name(word.name)).map(|word| word.help);
        let own = OWN.iter().find(|(known, _)| is_name(known)).map(|(_, help)| *help);
        match protocol.or(own) {
            Some(help) if !name.to_str().is_some_and(|name| self.is_tool_command(name)) => {
                session.output.line(help)?;
                session.output.flush()?;
                Ok(Exit::Yes)
            }
            _ => self.run_tool_command([words, &["--help".into()]].concat(), session).await,
        }
    }

    fn list(&self, output: &mut Output) -> Outcome {
        let mut table = Table::new([Column::left("COMMAND"), Column::left("")]);
        let mut row = |name: &str, help: &str| table.row([Cell::new(name).style(TextStyle::Name), Cell::new(help)]);
        OWN.iter().for_each(|(name, help)| row(name, help));
        for command in self.definition.get_subcommands().filter(|command| command.get_name() != "shell") {
            row(command.get_name(), &command.get_about().map(ToString::to_string).unwrap_or_default());
        }
        COMMANDS.iter().filter(|word| !self.is_tool_command(word.name)).for_each(|word| row(word.name, word.help));
        output.table(&table)?;
        output.flush()?;
        Ok(Exit::Yes)
    }
}

/// Refuses the operators of other shells, which would be keys here unless they are quoted.
fn refuse_operators(line: &[u8], words: &[OsString]) -> Result<(), Failure> {
    let is_unquoted = |operator: &&str| line.split(u8::is_ascii_whitespace).any(|word| word == operator.as_bytes());
    let operator =
        OPERATORS.iter().find(|operator| words.iter().any(|word| word == *operator) && is_unquoted(operator));
    match operator {
        Some(operator) => Err(Failure::usage(format!(
            "there is no {operator} here: quote it if it is a key; run remcache COMMAND in your shell for pipes and files"
        ))),
        None => Ok(()),
    }
}

const OPERATORS: &[&str] = &["|", ">", ">>", "<", "&", "&&", "||", ";"];

/// Returns the words of a line, quoted as in other shells.
fn words(line: &[u8]) -> Result<Vec<OsString>, Failure> {
    let words = shlex::bytes::split(line).ok_or_else(|| Failure::usage("a quotation mark has no partner"))?;
    words.into_iter().map(os_string).collect()
}

#[cfg(unix)]
#[expect(clippy::unnecessary_wraps, reason = "on other systems a word may be no text")]
fn os_string(word: Vec<u8>) -> Result<OsString, Failure> {
    Ok(std::os::unix::ffi::OsStringExt::from_vec(word))
}

#[cfg(not(unix))]
fn os_string(word: Vec<u8>) -> Result<OsString, Failure> {
    String::from_utf8(word).map(Into::into).map_err(|_| Failure::usage("a word of the line is no UTF-8"))
}
