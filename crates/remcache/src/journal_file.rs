//! The file of a delete journal, which keeps failed deletes for the next process.
//!
//! It is a log. Each line adds a key of a server or removes it again, and begins with a checksum of the rest; server
//! and key are percent-encoded. The file is locked while it is in use, and rewritten when most of it is obsolete.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

use crate::error::Error;
use crate::percent_encoding::{percent_decoded, percent_encoded};

/// The keys of deletes that failed, of all servers of a client, in a file.
///
/// Changes are queued without I/O, so that callers can queue them under their own lock, which orders the changes of a
/// key; they are written in that order without that lock.
pub(crate) struct JournalFile {
    path: PathBuf,
    queue: Mutex<Vec<QueuedChange>>,
    state: Mutex<FileState>,
}

/// A change that is not written yet.
struct QueuedChange {
    server: Arc<str>,
    change: Change,
    key: Bytes,
}

struct FileState {
    file: File,
    keys: Keys,
    /// The number of lines in the file.
    lines: usize,
    /// Whether the last write failed.
    is_failing: bool,
}

type Keys = HashMap<Arc<str>, HashSet<Bytes>>;

/// The change that a line records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Add,
    Remove,
}

impl JournalFile {
    /// Opens the file, or creates it, and reads the keys of an earlier process.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::error::ErrorKind::Config) if it is not a delete journal or is damaged, cannot be
    /// opened, or is in use by another client; the file is then not changed.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let failed = |what: &str| Error::config(format!("delete journal {}: {what}", path.display()));
        let unusable = |error: io::Error| failed(&error.to_string()).caused_by(error);
        let mut file = open_locked(path).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => failed("another client or process uses it: give each a file of its own"),
            _ => unusable(error),
        })?;
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(unusable)?;
        let Contents { keys, lines, length } = parse(&text).map_err(|what| failed(&what))?;
        if text.is_empty() {
            file.write_all(HEADER).map_err(unusable)?;
        } else if length < text.len() {
            // The process ended while it wrote the last line.
            file.set_len(length as u64).map_err(unusable)?;
        }
        let state = Mutex::new(FileState { file, keys, lines, is_failing: false });
        Ok(Self { path: path.to_owned(), queue: Mutex::default(), state })
    }

    fn lock(&self) -> MutexGuard<'_, FileState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the keys of a server.
    pub(crate) fn keys(&self, server: &str) -> Vec<Bytes> {
        self.write_queued();
        self.lock().keys.get(server).into_iter().flatten().cloned().collect()
    }

    /// Queues the addition of a key of a server.
    pub(crate) fn queue_add(&self, server: &Arc<str>, key: &Bytes) {
        self.enqueue(server, Change::Add, key);
    }

    /// Queues the removal of a key of a server.
    pub(crate) fn queue_removal(&self, server: &Arc<str>, key: &Bytes) {
        self.enqueue(server, Change::Remove, key);
    }

    fn enqueue(&self, server: &Arc<str>, change: Change, key: &Bytes) {
        let queued = QueuedChange { server: Arc::clone(server), change, key: key.clone() };
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).push(queued);
    }

    /// Writes the queued changes. When it returns, everything that was queued before is in the file: changes that
    /// another caller took from the queue were written before that caller released the file's lock.
    pub(crate) fn write_queued(&self) {
        let mut state = self.lock();
        let queued = mem::take(&mut *self.queue.lock().unwrap_or_else(PoisonError::into_inner));
        if queued.is_empty() {
            return;
        }
        let mut lines = String::new();
        for QueuedChange { server, change, key } in &queued {
            if apply(&mut state.keys, server, *change, key) {
                lines.push_str(&line(server, *change, key));
                state.lines += 1;
            }
        }
        // After a failure the end of the file may be incomplete.
        let written = match state.is_failing || state.is_obsolete() {
            true => self.compact(&mut state),
            false => state.file.write_all(lines.as_bytes()),
        };
        if let Err(error) = &written
            && !state.is_failing
        {
            let path = self.path.display();
            tracing::error!(%path, %error, "the delete journal cannot be written: it is kept in memory only");
        }
        state.is_failing = written.is_err();
    }

    /// Replaces the file by one without obsolete lines.
    fn compact(&self, state: &mut FileState) -> io::Result<()> {
        let new = self.path.with_file_name({
            let mut name = self.path.file_name().unwrap_or_default().to_owned();
            name.push(".new");
            name
        });
        let _ = fs::remove_file(&new);
        let mut file = open(&new)?;
        file.lock()?;
        let keys = || state.keys.iter().flat_map(|(server, keys)| keys.iter().map(move |key| (server, key)));
        let text: String = keys().map(|(server, key)| line(server, Change::Add, key)).collect();
        file.write_all(&[HEADER, text.as_bytes()].concat())?;
        fs::rename(&new, &self.path)?;
        (state.lines, state.file) = (keys().count(), file);
        Ok(())
    }
}

impl FileState {
    /// Returns whether most lines are obsolete.
    fn is_obsolete(&self) -> bool {
        let keys: usize = self.keys.values().map(HashSet::len).sum();
        self.lines > 2 * keys + SPARE_LINES
    }
}

impl fmt::Debug for JournalFile {
    // Keys may be private.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JournalFile").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Opens a file that only its owner can read, since keys may be private.
fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
        let file = options.mode(OWNER_ONLY).open(path)?;
        if file.metadata()?.permissions().mode() & 0o077 != 0 {
            file.set_permissions(fs::Permissions::from_mode(OWNER_ONLY))?;
        }
        Ok(file)
    }
    #[cfg(not(unix))]
    options.open(path)
}

/// Opens a file and locks it; an error of kind `WouldBlock` if another client has it.
fn open_locked(path: &Path) -> io::Result<File> {
    loop {
        let file = open(path)?;
        match file.try_lock() {
            // Another client may have replaced the file before it released its lock.
            Ok(()) if is_at(&file, path)? => return Ok(file),
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}

#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt as _;
    match fs::metadata(path) {
        Ok(there) => Ok(there.ino() == file.metadata()?.ino()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "the other one reads metadata")]
fn is_at(_: &File, _: &Path) -> io::Result<bool> {
    Ok(true)
}

/// The contents of a file.
struct Contents {
    keys: Keys,
    lines: usize,
    /// Its length without an incomplete last line.
    length: usize,
}

fn parse(text: &[u8]) -> Result<Contents, String> {
    let mut keys = Keys::new();
    if text.is_empty() {
        return Ok(Contents { keys, lines: 0, length: 0 });
    }
    let Some(lines) = text.strip_prefix(HEADER) else {
        return Err("it is another kind of file, or of another version of remcache: name a file of its own".into());
    };
    let (mut count, mut length) = (0, HEADER.len());
    for line in lines.split_inclusive(|&byte| byte == b'\n').filter(|line| line.ends_with(b"\n")) {
        count += 1;
        length += line.len();
        let Some((server, change, key)) = std::str::from_utf8(line).ok().and_then(parse_line) else {
            let number = count + 1;
            return Err(format!(
                "line {number} is damaged: remove it, or move the file away to go on without its keys"
            ));
        };
        apply(&mut keys, &server, change, &key);
    }
    Ok(Contents { keys, lines: count, length })
}

fn parse_line(line: &str) -> Option<(Arc<str>, Change, Bytes)> {
    let (checksum, rest) = line.strip_suffix('\n')?.split_once(' ')?;
    if u64::from_str_radix(checksum, 16).ok()? != xxh3_64(rest.as_bytes()) {
        return None;
    }
    let (change, rest) = rest.split_once(' ')?;
    let (server, key) = rest.split_once(' ')?;
    let change = match change {
        "+" => Change::Add,
        "-" => Change::Remove,
        _ => return None,
    };
    let server = String::from_utf8(percent_decoded(server)?).ok()?;
    Some((server.into(), change, percent_decoded(key)?.into()))
}

fn line(server: &str, change: Change, key: &[u8]) -> String {
    let change = match change {
        Change::Add => '+',
        Change::Remove => '-',
    };
    let text = format!("{change} {} {}", percent_encoded(server.as_bytes()), percent_encoded(key));
    format!("{:016x} {text}\n", xxh3_64(text.as_bytes()))
}

/// Applies a change; returns whether it changed anything.
fn apply(keys: &mut Keys, server: &Arc<str>, change: Change, key: &Bytes) -> bool {
    match change {
        Change::Add => keys.entry(Arc::clone(server)).or_default().insert(key.clone()),
        Change::Remove => {
            let Some(of_server) = keys.get_mut(server) else { return false };
            let is_removed = of_server.remove(key);
            if of_server.is_empty() {
                keys.remove(server);
            }
            is_removed
        }
    }
}

const HEADER: &[u8] = b"remcache delete journal 1\n";
/// Obsolete lines that a file may have in addition to as many as it has keys.
const SPARE_LINES: usize = 1_000;
#[cfg(unix)]
const OWNER_ONLY: u32 = 0o600;

#[cfg(test)]
mod tests;
