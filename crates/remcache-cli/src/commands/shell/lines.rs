//! The sources of a shell's lines: a line editor on a terminal, or a pipe.
//!
//! Both block, so they have a thread of their own: the connections are served while the user types.

use std::io::{self, BufRead as _};
use std::sync::mpsc;
use std::thread;

use rustyline::error::ReadlineError;
use rustyline::history::MemHistory;
use rustyline::{CompletionType, Config, Editor};
use tokio::sync::oneshot;

use super::completion::Completion;
use super::history::{History, is_secret};
use crate::exit::Failure;
use crate::session::Prompter;

/// An event of the input.
#[derive(Debug)]
pub(super) enum Typed {
    /// A line, without its end.
    Line(Vec<u8>),
    /// Ctrl-C: the typed text is discarded.
    Interrupted,
    /// The end of the input.
    End,
}

/// The source of lines.
#[derive(Debug)]
pub(super) struct Lines {
    wanted: mpsc::Sender<Wanted>,
}

/// A request to the thread.
enum Wanted {
    /// Read a line, with this before it on a terminal.
    Line { prompt: String, typed: oneshot::Sender<io::Result<Typed>> },
    /// Read the answer to a question.
    Answer { question: String, typed: mpsc::Sender<io::Result<Typed>> },
    /// Keep a line for later.
    Keep(String),
}

impl Lines {
    /// Lines that are typed on a terminal.
    pub(super) fn typed(LineEditor(mut editor): LineEditor, completion: Completion) -> Result<Self, Failure> {
        Self::start(move || {
            editor.set_helper(Some(completion));
            let history = History::of_user();
            for line in history.lines() {
                editor.add_history_entry(line).map_err(failed)?;
            }
            Ok(Typing { editor, history })
        })
    }

    /// Lines from a pipe or a file.
    pub(super) fn piped() -> Result<Self, Failure> {
        Self::start(|| Ok(Piping))
    }

    fn start<R: Read>(begin: impl FnOnce() -> io::Result<R> + Send + 'static) -> Result<Self, Failure> {
        let (wanted, wants) = mpsc::channel();
        let reading = thread::Builder::new().name("lines".into()).spawn(move || {
            let mut reader = begin();
            let read = |reader: &mut io::Result<R>, prompt: &str| match reader {
                Ok(reader) => reader.read(prompt),
                Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
            };
            // The thread ends when its answer is no longer awaited.
            while let Ok(wanted) = wants.recv() {
                match wanted {
                    Wanted::Line { prompt, typed } => drop(typed.send(read(&mut reader, &prompt))),
                    Wanted::Answer { question, typed } => drop(typed.send(read(&mut reader, &question))),
                    Wanted::Keep(line) => {
                        if let Ok(reader) = &mut reader {
                            reader.keep(&line);
                        }
                    }
                }
            }
        });
        reading.map_err(|error| Failure::Io("thread".into(), error))?;
        Ok(Self { wanted })
    }

    /// The next line.
    pub(super) async fn next(&self, prompt: &str) -> Result<Typed, Failure> {
        let (typed, waiting) = oneshot::channel();
        let _ = self.wanted.send(Wanted::Line { prompt: prompt.to_owned(), typed });
        waiting.await.unwrap_or(Ok(Typed::End)).map_err(|error| Failure::Io("standard input".into(), error))
    }

    /// Keeps a line, so that it can be had again.
    pub(super) fn keep(&self, line: &[u8]) {
        let _ = self.wanted.send(Wanted::Keep(String::from_utf8_lossy(line).into_owned()));
    }

    /// Returns the prompter for questions of commands while this source reads the lines.
    pub(super) fn asking(&self) -> Prompter {
        let wanted = self.wanted.clone();
        Prompter::new(move |question| {
            let (typed, answer) = mpsc::channel();
            let _ = wanted.send(Wanted::Answer { question: format!("{question} "), typed });
            match answer.recv().unwrap_or(Ok(Typed::End)) {
                Ok(Typed::Line(line)) => Ok(String::from_utf8_lossy(&line).trim().to_owned()),
                // Leaving a question means no.
                Ok(Typed::Interrupted | Typed::End) => Ok(String::new()),
                Err(error) => Err(Failure::Io("standard input".into(), error)),
            }
        })
    }
}

/// A line editor on a terminal.
///
/// It listens for SIGINT from now on, without forwarding it: later listeners receive it.
pub(crate) struct LineEditor(Editor<Completion, MemHistory>);

impl LineEditor {
    pub(super) fn new() -> io::Result<Self> {
        let config = Config::builder()
            .completion_type(CompletionType::List)
            // Pasted text is executed line by line, as in a pipe.
            .bracketed_paste(false)
            .auto_add_history(false)
            .build();
        let history = MemHistory::with_config(&config);
        Editor::with_history(config, history).map(Self).map_err(failed)
    }
}

/// Something that reads lines.
trait Read {
    fn read(&mut self, prompt: &str) -> io::Result<Typed>;
    fn keep(&mut self, line: &str);
}

struct Typing {
    editor: Editor<Completion, MemHistory>,
    history: History,
}

impl Read for Typing {
    fn read(&mut self, prompt: &str) -> io::Result<Typed> {
        match self.editor.readline(prompt) {
            Ok(line) => Ok(Typed::Line(line.into_bytes())),
            Err(ReadlineError::Interrupted | ReadlineError::Signal(_)) => Ok(Typed::Interrupted),
            Err(ReadlineError::Eof) => Ok(Typed::End),
            Err(error) => Err(failed(error)),
        }
    }

    fn keep(&mut self, line: &str) {
        if !is_secret(line) {
            // A line that cannot be kept was executed all the same.
            let _ = self.editor.add_history_entry(line);
            let _ = self.history.add(line);
        }
    }
}

fn failed(error: ReadlineError) -> io::Error {
    match error {
        ReadlineError::Io(error) => error,
        other => io::Error::other(other.to_string()),
    }
}

struct Piping;

impl Read for Piping {
    fn read(&mut self, _: &str) -> io::Result<Typed> {
        let mut line = Vec::new();
        if io::stdin().lock().read_until(b'\n', &mut line)? == 0 {
            return Ok(Typed::End);
        }
        line.pop_if(|byte| *byte == b'\n');
        Ok(Typed::Line(line))
    }

    fn keep(&mut self, _: &str) {}
}
