//! Where a dump goes: standard output, or a file that gets its name when it is whole.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use crate::exit::Failure;
use crate::output::Output;

/// Where a dump goes.
#[derive(Debug)]
pub(crate) enum Sink<'o> {
    Output(&'o mut Output),
    File(Unfinished),
}

/// A file that is being written under another name.
#[derive(Debug)]
pub(crate) struct Unfinished {
    path: PathBuf,
    /// The name until it is whole; `None` for a device or a pipe, which is written as it is.
    temporary: Option<PathBuf>,
    out: BufWriter<File>,
}

impl<'o> Sink<'o> {
    /// A sink for this file; for standard output without one, or with `-`.
    pub(crate) fn open(path: Option<&Path>, output: &'o mut Output) -> Result<Self, Failure> {
        match path {
            Some(path) if path != Path::new("-") => Ok(Self::File(Unfinished::create(path)?)),
            _ => Ok(Self::Output(output)),
        }
    }

    /// Writes lines.
    pub(crate) fn write(&mut self, lines: &[u8]) -> Result<(), Failure> {
        match self {
            Self::Output(output) => Ok(output.bytes(lines)?),
            Self::File(file) => file.out.write_all(lines).map_err(|error| Failure::file(&file.path, error)),
        }
    }

    /// Ends. A file gets its name if it is whole; what there is else is kept beside it. Tells where that
    /// is.
    pub(crate) fn end(self, is_whole: bool) -> Result<Option<PathBuf>, Failure> {
        match self {
            Self::Output(output) => Ok(output.flush().map(|()| None)?),
            Self::File(file) => file.end(is_whole),
        }
    }
}

impl Unfinished {
    fn create(path: &Path) -> Result<Self, Failure> {
        let is_device = fs::metadata(path).is_ok_and(|known| !known.is_file());
        let temporary = (!is_device).then(|| beside(path, &format!(".partial.{}", std::process::id())));
        let file = File::create(temporary.as_deref().unwrap_or(path)).map_err(|error| Failure::file(path, error))?;
        Ok(Self { path: path.to_owned(), temporary, out: BufWriter::with_capacity(BUFFER, file) })
    }

    fn end(mut self, is_whole: bool) -> Result<Option<PathBuf>, Failure> {
        let written = self.out.flush().and_then(|()| match &self.temporary {
            // A name that outlives a crash must not be that of half a file.
            Some(_) => self.out.get_ref().sync_all(),
            None => Ok(()),
        });
        let named = written.and_then(|()| self.name(is_whole));
        named.map_err(|error| Failure::file(&self.path, error))
    }

    /// Gives the file the name it is to have; tells it if it is another than was asked for.
    fn name(&mut self, is_whole: bool) -> io::Result<Option<PathBuf>> {
        let Some(temporary) = &self.temporary else { return Ok(None) };
        let kept = (!is_whole).then(|| beside(&self.path, ".partial"));
        fs::rename(temporary, kept.as_deref().unwrap_or(&self.path))?;
        self.temporary = None;
        Ok(kept)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // What failed in the middle of a line is of no use, and takes a disk that may be full.
        if let Some(temporary) = &self.temporary {
            let _ = fs::remove_file(temporary);
        }
    }
}

/// A name beside a file's own.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

const BUFFER: usize = 256 << 10;
