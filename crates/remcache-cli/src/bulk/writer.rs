//! Where a dump goes: standard output, or a file that gets its name when it is whole.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::atomic_file::AtomicFile;
use crate::exit::Failure;
use crate::output::Output;

/// Where a dump goes.
#[derive(Debug)]
pub(crate) enum DumpWriter<'o> {
    Output(&'o mut Output),
    File(AtomicFile),
}

impl<'o> DumpWriter<'o> {
    /// A writer for this file; for standard output without one, or with `-`.
    pub(crate) fn open(path: Option<&Path>, output: &'o mut Output) -> Result<Self, Failure> {
        match path {
            Some(path) if path != Path::new("-") => Ok(Self::File(AtomicFile::create(path)?)),
            _ => Ok(Self::Output(output)),
        }
    }

    /// Writes lines.
    pub(crate) fn write(&mut self, lines: &[u8]) -> Result<(), Failure> {
        match self {
            Self::Output(output) => Ok(output.bytes(lines)?),
            Self::File(file) => file.write_all(lines).map_err(|error| Failure::file(file.path(), error)),
        }
    }

    /// Ends. A file gets its name if it is whole; what there is else is kept beside it. Tells where that
    /// is.
    pub(crate) fn end(self, is_whole: bool) -> Result<Option<PathBuf>, Failure> {
        match self {
            Self::Output(output) => Ok(output.flush().map(|()| None)?),
            Self::File(file) => {
                let path = file.path().to_owned();
                let named = if is_whole { file.end_safely().map(|()| None) } else { file.keep() };
                named.map_err(|error| Failure::file(&path, error))
            }
        }
    }
}
