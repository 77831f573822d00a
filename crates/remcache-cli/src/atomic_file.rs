//! Files that replace the old one only when they are complete: a failure in between leaves the old file unchanged.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::exit::Failure;

/// A file that is written under a temporary name, and renamed when it is complete.
#[derive(Debug)]
pub(crate) struct AtomicFile {
    path: PathBuf,
    /// The path with symbolic links resolved.
    target: PathBuf,
    /// The temporary name; `None` for a device or a pipe, which is written directly.
    temporary: Option<PathBuf>,
    out: BufWriter<File>,
}

/// Replaces a file with these bytes, completely or not at all.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    write_with(path, bytes, Access::AsBefore)
}

/// Writes a file that only its owner can read.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    write_with(path, bytes, Access::OwnerOnly)
}

fn write_with(path: &Path, bytes: &[u8], access: Access) -> Result<(), Failure> {
    let write = || {
        let mut file = AtomicFile::open(path, access)?;
        file.write_all(bytes)?;
        file.commit()
    };
    write().map_err(|error| Failure::file(path, error))
}

/// The users that can read a new file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    /// The permissions of the old file, or the umask default without one.
    AsBefore,
    OwnerOnly,
}

impl AtomicFile {
    pub(crate) fn create(path: &Path) -> Result<Self, Failure> {
        Self::open(path, Access::AsBefore).map_err(|error| Failure::file(path, error))
    }

    fn open(path: &Path, access: Access) -> io::Result<Self> {
        let old = fs::metadata(path).ok();
        let target = match &old {
            Some(old) if old.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
            Some(old) if !old.is_file() => return Ok(Self::new(path, path, None, File::create(path)?)),
            Some(_) => fs::canonicalize(path)?,
            None => path.to_owned(),
        };
        let temporary = temporary_name(&target);
        let file = create(&temporary, access)?;
        let file = Self::new(path, &target, Some(temporary), file);
        if let Some(old) = old.filter(|_| access == Access::AsBefore) {
            // A file that few can read must not become readable for more.
            file.set_permissions(old.permissions())?;
        }
        Ok(file)
    }

    fn new(path: &Path, target: &Path, temporary: Option<PathBuf>, file: File) -> Self {
        let out = BufWriter::with_capacity(BUFFER, file);
        Self { path: path.to_owned(), target: target.to_owned(), temporary, out }
    }

    fn set_permissions(&self, permissions: Permissions) -> io::Result<()> {
        self.out.get_ref().set_permissions(permissions)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Renames the complete file to its name.
    pub(crate) fn commit(mut self) -> io::Result<()> {
        self.out.flush()?;
        let target = self.target.clone();
        self.rename(&target)
    }

    /// Renames the complete file to its name and syncs it to the disk, for data that cannot be produced again.
    pub(crate) fn commit_durably(mut self) -> io::Result<()> {
        self.sync()?;
        let target = self.target.clone();
        self.rename(&target)
    }

    /// Keeps an incomplete file as `PATH.partial`; the old file stays. Returns that path, except for a device or a
    /// pipe.
    pub(crate) fn keep_partial(mut self) -> io::Result<Option<PathBuf>> {
        self.sync()?;
        let partial = with_suffix(&self.path, ".partial");
        let is_renamed = self.temporary.is_some();
        self.rename(&partial)?;
        Ok(is_renamed.then_some(partial))
    }

    fn sync(&mut self) -> io::Result<()> {
        self.out.flush()?;
        match &self.temporary {
            // The new name could survive a crash that the data does not.
            Some(_) => self.out.get_ref().sync_all(),
            None => Ok(()),
        }
    }

    fn rename(&mut self, name: &Path) -> io::Result<()> {
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
        // A file that failed in the middle of a line is useless, and takes space on a disk that may be full.
        if let Some(temporary) = &self.temporary {
            let _ = fs::remove_file(temporary);
        }
    }
}

fn create(path: &Path, access: Access) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    if access == Access::OwnerOnly {
        // The mode applies from the start: there is no moment at which others can open the file.
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    }
    #[cfg(not(unix))]
    let _ = access;
    options.open(path)
}

/// Returns the temporary name of a file.
fn temporary_name(path: &Path) -> PathBuf {
    let suffix = format!(".partial.{}", std::process::id());
    match path.file_name().is_some_and(|name| name.len() > LONG_NAME) {
        // With the suffix the name would be too long for the file system.
        true => path.with_file_name(suffix),
        false => with_suffix(path, &suffix),
    }
}

const LONG_NAME: usize = 200;

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
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
    fn a_file_is_replaced_when_it_is_complete() {
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
        let partial = file.keep_partial().unwrap().unwrap();
        assert_eq!((fs::read(&partial).unwrap(), fs::read(&path).unwrap()), (b"half".to_vec(), b"old".to_vec()));
        assert_eq!(names(directory.path()), ["a", "a.partial"]);
        assert!(write(directory.path(), b"x").is_err());
        let long = directory.path().join("x".repeat(255));
        write(&long, b"x").unwrap();
        assert_eq!((fs::read(&long).unwrap(), names(directory.path()).len()), (b"x".to_vec(), 3));
    }

    #[cfg(unix)]
    #[test]
    fn links_and_permissions_are_kept() {
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

    #[cfg(unix)]
    #[test]
    fn a_private_file_is_readable_by_its_owner_only() {
        use std::os::unix::fs::PermissionsExt as _;

        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        for _ in 0..2 {
            write_private(&path, b"secret").unwrap();
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            // A file that was readable for others before is private again.
            fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        }
    }
}
