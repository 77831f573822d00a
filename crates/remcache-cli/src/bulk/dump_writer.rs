//! Writes a dump to standard output, or to a file that replaces the old one when it is complete.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::atomic_file::AtomicFile;
use crate::exit::Failure;
use crate::output::Output;

/// The destination of a dump.
#[derive(Debug)]
pub(crate) enum DumpWriter<'o> {
    Output(&'o mut Output),
    File(AtomicFile),
}

impl<'o> DumpWriter<'o> {
    /// Opens the file, or standard output if it is absent or `-`.
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

    /// Ends the dump. A complete file replaces the old one; an incomplete one is kept as `FILE.partial`, and that
    /// path is returned.
    pub(crate) fn end(self, is_complete: bool) -> Result<Option<PathBuf>, Failure> {
        match self {
            Self::Output(output) => Ok(output.flush().map(|()| None)?),
            Self::File(file) => {
                let path = file.path().to_owned();
                let ended = if is_complete { file.commit_durably().map(|()| None) } else { file.keep_partial() };
                ended.map_err(|error| Failure::file(&path, error))
            }
        }
    }
}
