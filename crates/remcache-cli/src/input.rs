//! The input of commands: keys from the command line or standard input, values from files.

use std::ffi::OsString;
use std::io::{self, BufRead as _, BufReader, IsTerminal as _, Read as _, Split, Stdin};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use remcache::Key;
use serde::Deserialize;
use tokio::sync::mpsc;

use crate::exit::Failure;
use crate::interrupt::Interrupt;
use crate::output::Notes;

/// Keys on the command line or on standard input.
#[derive(Debug, Args)]
pub(crate) struct Keys {
    /// The keys; - reads one key per line from standard input
    #[arg(required = true, value_name = "KEY")]
    keys: Vec<OsString>,

    /// Each key on standard input ends with a NUL byte, as keys -0 prints them
    #[arg(short = '0', long)]
    null: bool,

    /// Each line of standard input is a JSON document with key or key_b64, as keys -f ndjson prints them
    #[arg(long, conflicts_with = "null")]
    ndjson: bool,
}

/// The format of keys on standard input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeyFormat {
    Line,
    Null,
    Ndjson,
}

/// The key of a JSON document. Other fields are ignored: the documents describe items.
#[derive(Deserialize)]
struct JsonKey {
    key: Option<String>,
    key_b64: Option<String>,
}

impl KeyFormat {
    /// Returns the byte that ends a key, or a document.
    fn end(self) -> u8 {
        if self == Self::Null { b'\0' } else { b'\n' }
    }

    /// Parses what precedes the end byte; `None` for an empty line between documents.
    fn parse(self, mut text: Vec<u8>) -> Result<Option<Vec<u8>>, String> {
        match self {
            Self::Null => Ok(Some(text)),
            Self::Line => {
                // A file with the line ends of another system.
                text.pop_if(|last| *last == b'\r');
                Ok(Some(text))
            }
            Self::Ndjson if text.trim_ascii().is_empty() => Ok(None),
            Self::Ndjson => {
                let document: JsonKey = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
                match (document.key, document.key_b64) {
                    (Some(key), None) => Ok(Some(key.into_bytes())),
                    (None, Some(key)) => {
                        STANDARD.decode(key).map(Some).map_err(|error| format!("key_b64 is not base64: {error}"))
                    }
                    _ => Err("expected a JSON document with key or key_b64".into()),
                }
            }
        }
    }
}

impl Keys {
    /// Returns the keys in blocks, so that any number of keys takes no more memory than a few blocks.
    ///
    /// The first block is checked here: if there are no more keys, all are valid before the first request.
    pub(crate) fn blocks(&self) -> Result<Blocks, Failure> {
        let format = match (self.null, self.ndjson) {
            (true, _) => KeyFormat::Null,
            (_, true) => KeyFormat::Ndjson,
            _ => KeyFormat::Line,
        };
        let mut reader = KeyReader { args: self.keys.clone().into_iter(), format, lines: None };
        let (first, is_last) = reader.block()?;
        let rest = if is_last { None } else { Some(reader.begin()?) };
        Ok(Blocks { first: Some(first), rest })
    }
}

impl Keys {
    /// Suggests a command that takes patterns, if an argument looks like one: its key was not found.
    pub(crate) fn suggest_patterns(&self, command: &str, notes: Notes) {
        let mut arguments = self.keys.iter().filter_map(|key| key.to_str());
        if let Some(pattern) = arguments.find(|key| key.contains('*')) {
            notes.print(format_args!("keys are not patterns here; for a pattern: remcache {command} '{pattern}'"));
        }
    }
}

/// Whether a shell reads standard input.
static IS_TAKEN: AtomicBool = AtomicBool::new(false);

/// Reserves standard input for a shell: the commands on its lines cannot read it.
pub(crate) fn take_stdin() {
    IS_TAKEN.store(true, Ordering::SeqCst);
}

/// Returns standard input, unless a shell has reserved it.
pub(crate) fn stdin() -> Result<Stdin, Failure> {
    match IS_TAKEN.load(Ordering::SeqCst) {
        true => Err(Failure::usage(
            "standard input belongs to the shell: pass keys and values on the line, or @FILE for a value",
        )),
        false => Ok(io::stdin()),
    }
}

/// Valid keys.
type Block = Vec<Vec<u8>>;

/// Keys in blocks.
pub(crate) struct Blocks {
    first: Option<Block>,
    /// The blocks after the first one, if there may be any.
    rest: Option<mpsc::Receiver<Result<Block, Failure>>>,
}

impl Blocks {
    /// Returns all keys, if they are in one block.
    pub(crate) fn all(&self) -> Option<&[Vec<u8>]> {
        self.first.as_deref().filter(|_| self.rest.is_none())
    }

    /// Returns the next block; `None` after the last one, and after an interrupt.
    pub(crate) async fn next(&mut self, interrupt: &Interrupt) -> Result<Option<Block>, Failure> {
        if interrupt.is_raised() {
            return Ok(None);
        }
        let block = match (self.first.take(), &mut self.rest) {
            (Some(first), _) => Some(first),
            (None, None) => None,
            (None, Some(rest)) => tokio::select! {
                block = rest.recv() => block.transpose()?,
                () = interrupt.raised() => None,
            },
        };
        Ok(block.filter(|block| !block.is_empty()))
    }
}

/// Reads keys from the arguments and standard input.
struct KeyReader {
    args: std::vec::IntoIter<OsString>,
    format: KeyFormat,
    /// Standard input while it is being read, and the number of the last line.
    lines: Option<(Split<BufReader<Stdin>>, u64)>,
}

impl KeyReader {
    /// Continues to read on a separate thread, so that the user can end the command while it waits for input.
    fn begin(mut self) -> Result<mpsc::Receiver<Result<Block, Failure>>, Failure> {
        let (blocks, rest) = mpsc::channel(1);
        let read = move || {
            let mut is_last = false;
            while !is_last {
                let block = self.block();
                is_last = block.as_ref().map_or(true, |(_, is_last)| *is_last);
                if blocks.blocking_send(block.map(|(block, _)| block)).is_err() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("keys".into()).spawn(read);
        thread.map_err(|error| Failure::Io("reading keys".into(), error))?;
        Ok(rest)
    }

    /// Reads the next keys; returns them, and whether they are the last.
    fn block(&mut self) -> Result<(Block, bool), Failure> {
        let mut block = Vec::new();
        while block.len() < BLOCK {
            match self.next_key()? {
                Some(key) => block.push(key),
                None => return Ok((block, true)),
            }
        }
        Ok((block, false))
    }

    fn next_key(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        loop {
            if let Some((lines, number)) = &mut self.lines {
                if let Some(line) = lines.next() {
                    let line = line.map_err(|error| Failure::Io("standard input".into(), error))?;
                    *number += 1;
                    let position =
                        format!("{} {number}: ", if self.format == KeyFormat::Null { "key" } else { "line" });
                    let key = self.format.parse(line).map_err(|error| Failure::usage(format!("{position}{error}")))?;
                    match key {
                        Some(key) => return checked(key, &position).map(Some),
                        None => continue,
                    }
                }
                self.lines = None;
            }
            match self.args.next() {
                None => return Ok(None),
                Some(arg) if arg == "-" => self.lines = Some((BufReader::new(stdin()?).split(self.format.end()), 0)),
                Some(arg) => return checked(arg.into_encoded_bytes(), "").map(Some),
            }
        }
    }
}

/// The maximum number of keys in a block.
const BLOCK: usize = 10_000;

fn checked(key: Vec<u8>, position: &str) -> Result<Vec<u8>, Failure> {
    match Key::new(key.as_slice()) {
        Ok(_) => Ok(key),
        Err(invalid) => Err(Failure::usage(format!("{position}{invalid}"))),
    }
}

/// Checks a key on the command line.
pub(crate) fn key(key: &OsString) -> Result<Vec<u8>, Failure> {
    checked(key.as_encoded_bytes().to_vec(), "")
}

/// Reads a value: the argument itself, `@FILE`, or standard input for `-` or no argument.
pub(crate) fn value(value: Option<&OsString>) -> Result<Vec<u8>, Failure> {
    let bytes = value.map(|value| value.as_encoded_bytes());
    match bytes {
        Some(b"-") => read_value(),
        None if io::stdin().is_terminal() => {
            Err(Failure::usage("no value: pass one, @FILE to read a file, or - to type it"))
        }
        None => read_value(),
        Some([b'@', b'@', rest @ ..]) => Ok([b"@", rest].concat()),
        Some([b'@', ..]) => read_file(value),
        Some(bytes) => Ok(bytes.to_vec()),
    }
}

fn read_value() -> Result<Vec<u8>, Failure> {
    let mut value = Vec::new();
    let read = stdin()?.read_to_end(&mut value);
    read.map_err(|error| Failure::Io("standard input".into(), error))?;
    Ok(value)
}

fn read_file(value: Option<&OsString>) -> Result<Vec<u8>, Failure> {
    let name = value.and_then(|value| value.to_str()).and_then(|text| text.strip_prefix('@'));
    let name = name.ok_or_else(|| Failure::usage("the file name after @ is not UTF-8: use - and a pipe"))?;
    std::fs::read(name).map_err(|error| Failure::file(Path::new(name), error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_format_has_its_end_and_its_documents() {
        let parse = |format: KeyFormat, text: &[u8]| format.parse(text.to_vec());
        assert_eq!(parse(KeyFormat::Line, b"a b\r"), Ok(Some(b"a b".to_vec())));
        assert_eq!(parse(KeyFormat::Null, b"a\n\r"), Ok(Some(b"a\n\r".to_vec())));
        let documents: [(&[u8], Option<&[u8]>); 3] = [
            (br#"{"key":"x\ny","size":7}"#, Some(b"x\ny")),
            (br#"{"key_b64":"/w=="}"#, Some(b"\xff")),
            (b"  \r", None),
        ];
        for (document, key) in documents {
            assert_eq!(parse(KeyFormat::Ndjson, document), Ok(key.map(<[u8]>::to_vec)));
        }
        for (document, word) in
            [("k", "expected value"), ("{}", "key or key_b64"), ("{\"key_b64\":\"*\"}", "not base64")]
        {
            let error = parse(KeyFormat::Ndjson, document.as_bytes()).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
    }
}
