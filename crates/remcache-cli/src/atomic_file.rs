//! Files that get their name when they are whole: what fails half-way leaves what was there before.

use std::fs::{self, File, Permissions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::exit::Failure;

/// A file that is being written under another name.
#[derive(Debug)]
pub(crate) struct AtomicFile {
    path: PathBuf,
    /// The file that a link leads to, else the path.
    target: PathBuf,
    /// The name until it is whole; `None` for a device or a pipe, which is written as it is.
    temporary: Option<PathBuf>,
    out: BufWriter<File>,
}

/// Writes a file, whole or not at all.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let mut file = AtomicFile::create(path)?;
    file.write_all(bytes).map_err(|error| Failure::file(path, error))?;
    file.end().map_err(|error| Failure::file(path, error))
}

impl AtomicFile {
    pub(crate) fn create(path: &Path) -> Result<Self, Failure> {
        Self::begin(path).map_err(|error| Failure::file(path, error))
    }

    fn begin(path: &Path) -> io::Result<Self> {
        let known = fs::metadata(path).ok();
        let target = match &known {
            Some(known) if known.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
            Some(known) if !known.is_file() => return Self::at(path, path.to_owned(), None, None),
            Some(_) => fs::canonicalize(path)?,
            None => path.to_owned(),
        };
        let temporary = temporary(&target);
        Self::at(path, target, Some(temporary), known.map(|known| known.permissions()))
    }

    fn at(path: &Path, target: PathBuf, temporary: Option<PathBuf>, like: Option<Permissions>) -> io::Result<Self> {
        let file = File::create(temporary.as_deref().unwrap_or(&target))?;
        let unfinished = Self { path: path.to_owned(), target, temporary, out: BufWriter::with_capacity(BUFFER, file) };
        if let Some(permissions) = like {
            // What few may read is not to be read by more.
            unfinished.out.get_ref().set_permissions(permissions)?;
        }
        Ok(unfinished)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the whole file its name.
    pub(crate) fn end(mut self) -> io::Result<()> {
        self.out.flush()?;
        let target = self.target.clone();
        self.name(&target)
    }

    /// The same of a file that nobody could make again: it survives a crash of the machine under its name.
    pub(crate) fn end_safely(mut self) -> io::Result<()> {
        self.sync()?;
        let target = self.target.clone();
        self.name(&target)
    }

    /// Keeps what there is beside the file's own name, which stays as it was; tells where, if there is such
    /// a place.
    pub(crate) fn keep(mut self) -> io::Result<Option<PathBuf>> {
        self.sync()?;
        let kept = beside(&self.path, ".partial");
        let has_place = self.temporary.is_some();
        self.name(&kept)?;
        Ok(has_place.then_some(kept))
    }

    fn sync(&mut self) -> io::Result<()> {
        self.out.flush()?;
        match &self.temporary {
            // A name that outlives a crash must not be that of half a file.
            Some(_) => self.out.get_ref().sync_all(),
            None => Ok(()),
        }
    }

    fn name(&mut self, name: &Path) -> io::Result<()> {
        let Some(temporary) = &self.temporary else { return Ok(()) };
        fs::rename(temporary, name)?;
        self.temporary = None;
        Ok(())
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        // What failed in the middle of a line is of no use, and takes a disk that may be full.
        if let Some(temporary) = &self.temporary {
            let _ = fs::remove_file(temporary);
        }
    }
}

/// The name of a file until it is whole.
fn temporary(path: &Path) -> PathBuf {
    let suffix = format!(".partial.{}", std::process::id());
    match path.file_name().is_some_and(|name| name.len() > LONG_NAME) {
        // With more behind it the name would be too long for the file system.
        true => path.with_file_name(suffix),
        false => beside(path, &suffix),
    }
}

const LONG_NAME: usize = 200;

/// A name beside a file's own.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

const BUFFER: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn a_file_has_its_name_when_it_is_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        write(&path, b"old").unwrap();
        let mut file = AtomicFile::create(&path).unwrap();
        file.write_all(b"half").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        drop(file);
        assert_eq!(names(directory.path()), ["a"]);
        let mut file = AtomicFile::create(&path).unwrap();
        file.write_all(b"half").unwrap();
        let kept = file.keep().unwrap().unwrap();
        assert_eq!((fs::read(&kept).unwrap(), fs::read(&path).unwrap()), (b"half".to_vec(), b"old".to_vec()));
        assert_eq!(names(directory.path()), ["a", "a.partial"]);
        assert!(write(directory.path(), b"x").is_err());
        let long = directory.path().join("x".repeat(255));
        write(&long, b"x").unwrap();
        assert_eq!((fs::read(&long).unwrap(), names(directory.path()).len()), (b"x".to_vec(), 3));
    }

    #[cfg(unix)]
    #[test]
    fn links_and_permissions_stay() {
        use std::os::unix::fs::{PermissionsExt as _, symlink};

        let directory = tempfile::tempdir().unwrap();
        let (path, link) = (directory.path().join("a"), directory.path().join("b"));
        write(&path, b"old").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        symlink(&path, &link).unwrap();
        write(&link, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    }
}
