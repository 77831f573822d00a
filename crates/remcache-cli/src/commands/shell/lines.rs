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
use crate::prompt::Prompter;

/// An event of the input.
#[derive(Debug)]
pub(super) enum InputEvent {
    /// A line, without its end.
    Line(Vec<u8>),
    /// Ctrl-C: the typed text is discarded.
    Interrupted,
    /// The end of the input.
    End,
}

/// The source of lines.
#[derive(Debug)]
pub(super) struct LineSource {
    requests: mpsc::Sender<InputRequest>,
}

/// A request to the thread.
enum InputRequest {
    /// Read a line, with this before it on a terminal.
    Line { prompt: String, typed: oneshot::Sender<io::Result<InputEvent>> },
    /// Read the answer to a question.
    Answer { question: String, typed: mpsc::Sender<io::Result<InputEvent>> },
    /// Add a line to the history.
    Remember(String),
}

impl LineSource {
    /// Lines that are typed on a terminal.
    pub(super) fn from_editor(LineEditor(mut editor): LineEditor, completion: Completion) -> Result<Self, Failure> {
        Self::start(move || {
            editor.set_helper(Some(completion));
            let history = History::of_user();
            for line in history.lines() {
                editor.add_history_entry(line).map_err(failed)?;
            }
            Ok(TerminalReader { editor, history })
        })
    }

    /// Lines from a pipe or a file.
    pub(super) fn from_pipe() -> Result<Self, Failure> {
        Self::start(|| Ok(PipeReader))
    }

    fn start<R: LineReader>(begin: impl FnOnce() -> io::Result<R> + Send + 'static) -> Result<Self, Failure> {
        let (requests, received) = mpsc::channel();
        let reading = thread::Builder::new().name("lines".into()).spawn(move || {
            let mut reader = begin();
            let read = |reader: &mut io::Result<R>, prompt: &str| match reader {
                Ok(reader) => reader.read(prompt),
                Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
            };
            // The thread ends when its answer is no longer awaited.
            while let Ok(request) = received.recv() {
                match request {
                    InputRequest::Line { prompt, typed } => drop(typed.send(read(&mut reader, &prompt))),
                    InputRequest::Answer { question, typed } => drop(typed.send(read(&mut reader, &question))),
                    InputRequest::Remember(line) => {
                        if let Ok(reader) = &mut reader {
                            reader.add_history(&line);
                        }
                    }
                }
            }
        });
        reading.map_err(|error| Failure::Io("thread".into(), error))?;
        Ok(Self { requests })
    }

    /// Returns the next line.
    pub(super) async fn next(&self, prompt: &str) -> Result<InputEvent, Failure> {
        let (typed, waiting) = oneshot::channel();
        let _ = self.requests.send(InputRequest::Line { prompt: prompt.to_owned(), typed });
        waiting.await.unwrap_or(Ok(InputEvent::End)).map_err(|error| Failure::Io("standard input".into(), error))
    }

    /// Adds a line to the history.
    pub(super) fn add_history(&self, line: &[u8]) {
        let _ = self.requests.send(InputRequest::Remember(String::from_utf8_lossy(line).into_owned()));
    }

    /// Returns the prompter for questions of commands while this source reads the lines.
    pub(super) fn prompter(&self) -> Prompter {
        let requests = self.requests.clone();
        Prompter::new(move |question| {
            let (typed, answer) = mpsc::channel();
            let _ = requests.send(InputRequest::Answer { question: format!("{question} "), typed });
            match answer.recv().unwrap_or(Ok(InputEvent::End)) {
                Ok(InputEvent::Line(line)) => Ok(String::from_utf8_lossy(&line).trim().to_owned()),
                // Leaving a question means no.
                Ok(InputEvent::Interrupted | InputEvent::End) => Ok(String::new()),
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
trait LineReader {
    fn read(&mut self, prompt: &str) -> io::Result<InputEvent>;
    fn add_history(&mut self, line: &str);
}

struct TerminalReader {
    editor: Editor<Completion, MemHistory>,
    history: History,
}

impl LineReader for TerminalReader {
    fn read(&mut self, prompt: &str) -> io::Result<InputEvent> {
        match self.editor.readline(prompt) {
            Ok(line) => Ok(InputEvent::Line(line.into_bytes())),
            Err(ReadlineError::Interrupted | ReadlineError::Signal(_)) => Ok(InputEvent::Interrupted),
            Err(ReadlineError::Eof) => Ok(InputEvent::End),
            Err(error) => Err(failed(error)),
        }
    }

    fn add_history(&mut self, line: &str) {
        if !is_secret(line) {
            // A failure to write the history does not affect the line.
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

struct PipeReader;

impl LineReader for PipeReader {
    fn read(&mut self, _: &str) -> io::Result<InputEvent> {
        let mut line = Vec::new();
        if io::stdin().lock().read_until(b'\n', &mut line)? == 0 {
            return Ok(InputEvent::End);
        }
        line.pop_if(|byte| *byte == b'\n');
        Ok(InputEvent::Line(line))
    }

    fn add_history(&mut self, _: &str) {}
}
