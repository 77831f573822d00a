//! What a command is given: keys from the command line or standard input, values from files.

use std::ffi::OsString;
use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Split, StdinLock};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Args;
use remcache::Key;

use crate::exit::Failure;

/// Keys on the command line, or a key a line on standard input.
#[derive(Debug, Args)]
pub(crate) struct Keys {
    /// The keys; - reads a key a line from standard input
    #[arg(required = true, value_name = "KEY")]
    keys: Vec<OsString>,
}

impl Keys {
    /// The keys in blocks, so that any number of them takes no more memory than one block.
    ///
    /// The first block was checked: fewer keys than that are all good before anything is sent.
    pub(crate) fn blocks(&self) -> Result<Blocks<'_>, Failure> {
        let mut blocks = Blocks { args: self.keys.iter(), lines: None, first: None, is_last: false };
        blocks.first = Some(blocks.fill()?);
        Ok(blocks)
    }
}

/// Whether standard input is read by somebody else, line by line.
static IS_TAKEN: AtomicBool = AtomicBool::new(false);

/// Takes standard input for a shell: the commands of its lines get none of it.
pub(crate) fn take_stdin() {
    IS_TAKEN.store(true, Ordering::SeqCst);
}

/// Standard input, unless a shell reads it.
pub(crate) fn stdin() -> Result<StdinLock<'static>, Failure> {
    match IS_TAKEN.load(Ordering::SeqCst) {
        true => Err(Failure::usage("standard input is the shell's own: give it on the line, or @FILE for a value")),
        false => Ok(io::stdin().lock()),
    }
}

/// Keys in blocks.
pub(crate) struct Blocks<'k> {
    args: std::slice::Iter<'k, OsString>,
    /// Standard input while it is read, and the number of the line that was read last.
    lines: Option<(Split<StdinLock<'static>>, u64)>,
    first: Option<Vec<Vec<u8>>>,
    /// Whether no block follows those that were read.
    is_last: bool,
}

impl Blocks<'_> {
    /// All keys, if one block holds them.
    pub(crate) fn all(&self) -> Option<&[Vec<u8>]> {
        self.first.as_deref().filter(|_| self.is_last)
    }

    /// The next block; `None` after the last.
    pub(crate) fn next(&mut self) -> Result<Option<Vec<Vec<u8>>>, Failure> {
        let block = match self.first.take() {
            Some(first) => first,
            None if self.is_last => return Ok(None),
            None => self.fill()?,
        };
        Ok(Some(block).filter(|block| !block.is_empty()))
    }

    fn fill(&mut self) -> Result<Vec<Vec<u8>>, Failure> {
        let mut block = Vec::new();
        while block.len() < BLOCK {
            match self.next_key()? {
                Some(key) => block.push(key),
                None => {
                    self.is_last = true;
                    break;
                }
            }
        }
        Ok(block)
    }

    fn next_key(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        loop {
            if let Some((lines, number)) = &mut self.lines {
                if let Some(line) = lines.next() {
                    let mut line = line.map_err(|error| Failure::Io("standard input".into(), error))?;
                    if line.last() == Some(&b'\r') {
                        line.pop();
                    }
                    *number += 1;
                    return checked(line, &format!("line {number}: ")).map(Some);
                }
                self.lines = None;
            }
            match self.args.next().map(|arg| arg.as_encoded_bytes()) {
                None => return Ok(None),
                Some(b"-") => self.lines = Some((stdin()?.split(b'\n'), 0)),
                Some(bytes) => return checked(bytes.to_vec(), "").map(Some),
            }
        }
    }
}

/// How many keys a block has at most.
const BLOCK: usize = 10_000;

fn checked(key: Vec<u8>, place: &str) -> Result<Vec<u8>, Failure> {
    match Key::new(key.as_slice()) {
        Ok(_) => Ok(key),
        Err(invalid) => Err(Failure::usage(format!("{place}{invalid}"))),
    }
}

/// One key of the command line.
pub(crate) fn key(key: &OsString) -> Result<Vec<u8>, Failure> {
    checked(key.as_encoded_bytes().to_vec(), "")
}

/// A value: given as it is, `@FILE`, or `-` and nothing for standard input.
pub(crate) fn value(value: Option<&OsString>) -> Result<Vec<u8>, Failure> {
    let bytes = value.map(|value| value.as_encoded_bytes());
    match bytes {
        Some(b"-") => read_value(),
        None if io::stdin().is_terminal() => {
            Err(Failure::usage("no value: give one, @FILE to read a file, or - to type it"))
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
    let name = name.ok_or_else(|| Failure::usage("the file's name behind @ is no UTF-8: use - and a pipe"))?;
    std::fs::read(name).map_err(|error| Failure::file(Path::new(name), error))
}
