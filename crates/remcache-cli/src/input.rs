//! What a command is given: keys from the command line or standard input, values from files.

use std::ffi::OsString;
use std::io::{self, BufRead as _, IsTerminal as _, Read as _, StdinLock};
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
    /// All keys; each was checked, so that a bad one stops the command before anything is sent.
    pub(crate) fn read(&self) -> Result<Vec<Vec<u8>>, Failure> {
        let mut keys = Vec::with_capacity(self.keys.len());
        for key in &self.keys {
            match key.as_encoded_bytes() {
                b"-" => read_lines(&mut keys)?,
                bytes => keys.push(checked(bytes.to_vec(), "")?),
            }
        }
        Ok(keys)
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

fn read_lines(keys: &mut Vec<Vec<u8>>) -> Result<(), Failure> {
    for (index, line) in stdin()?.split(b'\n').enumerate() {
        let mut line = line.map_err(|error| Failure::Io("standard input".into(), error))?;
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        keys.push(checked(line, &format!("line {}: ", index + 1))?);
    }
    Ok(())
}

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
