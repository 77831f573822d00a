//! Deletes that failed, repeated before a new connection to their server is used.
//!
//! A failed delete may leave an outdated value. If the server comes back with its memory, because it was only stopped
//! or unreachable, that value would be read again. The journal keeps the keys of such deletes, and each new connection
//! repeats them before any other request.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

use crate::config::journal::JournalSettings;
use crate::connection::handshake::Negotiated;
use crate::connection_failure::Failure;
use crate::journal_file::JournalFile;
use crate::proto::{Connection, Deadline, InputBuffer, Limits, Operation, Output, Request, Status, Tag};
use crate::time::after;
use crate::transport::Stream;

/// The keys of one server's failed deletes.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    state: Mutex<JournalState>,
    /// Maximum number of keys; 0 disables the journal.
    capacity: usize,
    /// The file that has the keys too, and what the server is called there.
    file: Option<(Arc<JournalFile>, Arc<str>)>,
}

#[derive(Debug, Default)]
struct JournalState {
    /// The keys, each with the sequence number of its last failed delete.
    keys: HashMap<Bytes, u64>,
    recorded: u64,
    dropped: u64,
}

impl Journal {
    /// Creates the journal of a server, with the keys that its file has.
    pub(crate) fn new(server: &Arc<str>, settings: &JournalSettings) -> Self {
        let file = settings.file.as_ref().map(|file| (Arc::clone(file), Arc::clone(server)));
        let keys = file.iter().flat_map(|(file, server)| file.keys(server)).map(|key| (key, 0)).collect();
        let state = Mutex::new(JournalState { keys, ..JournalState::default() });
        Self { state, capacity: settings.capacity, file }
    }

    fn lock(&self) -> MutexGuard<'_, JournalState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records the key of a request that failed with this status, if it is a delete without a condition; returns
    /// whether it did.
    pub(crate) fn record(&self, request: &Request<'_>, status: Status) -> bool {
        let is_delete = request.operation() == Operation::Delete && request.expected_cas() == 0;
        if self.capacity == 0 || !is_delete || !is_lost(status) {
            return false;
        }
        let Ok(key) = request.key() else { return false };
        let mut state = self.lock();
        if state.keys.len() >= self.capacity && !state.keys.contains_key(key.as_bytes()) {
            state.dropped += 1;
            return false;
        }
        state.recorded += 1;
        let (key, number) = (Bytes::copy_from_slice(key.as_bytes()), state.recorded);
        let is_new = state.keys.insert(key.clone(), number).is_none();
        if let (true, Some((file, server))) = (is_new, &self.file) {
            file.queue_add(server, &key);
        }
        drop(state);
        self.write_file();
        true
    }

    /// Returns the number of keys whose deletes have to be repeated.
    pub(crate) fn pending(&self) -> usize {
        self.lock().keys.len()
    }

    /// Returns the number of keys that did not fit, and of deletes that the server refused.
    pub(crate) fn dropped(&self) -> u64 {
        self.lock().dropped
    }

    /// Returns as many keys as fit into one write.
    fn batch(&self) -> Vec<(Bytes, u64)> {
        let mut length = 0;
        let state = self.lock();
        let keys = state.keys.iter().take_while(|(key, _)| {
            length += key.len() + COMMAND;
            length <= BATCH
        });
        keys.map(|(key, number)| (key.clone(), *number)).collect()
    }

    /// Removes keys whose deletes were answered, unless another delete of the key has failed in the meantime.
    fn confirm(&self, batch: &[(Bytes, u64)], refused: u64) {
        let mut state = self.lock();
        state.dropped += refused;
        for (key, number) in batch {
            if state.keys.get(key) == Some(number) {
                state.keys.remove(key);
                if let Some((file, server)) = &self.file {
                    file.queue_removal(server, key);
                }
            }
        }
        if state.keys.is_empty() {
            state.keys = HashMap::new();
        }
        drop(state);
        self.write_file();
    }

    /// Writes the queued changes to the file: without the lock, because a disk may be slow.
    fn write_file(&self) {
        if let Some((file, _)) = &self.file {
            file.write_queued();
        }
    }
}

/// Returns whether a delete with this status may have left the item in place.
fn is_lost(status: Status) -> bool {
    matches!(status, Status::Disconnected(_) | Status::TimedOut(_) | Status::Overloaded)
}

/// Repeats the journal's deletes on a new connection, before anything else uses it.
pub(crate) async fn replay(
    stream: &mut Box<dyn Stream>,
    negotiated: Negotiated,
    journal: &Journal,
    timeout: Duration,
) -> Result<(), Failure> {
    loop {
        let batch = journal.batch();
        if batch.is_empty() {
            return Ok(());
        }
        let deletes = delete_all(stream, negotiated, &batch);
        let refused = match timeout_at(after(Instant::now(), timeout), deletes).await {
            Ok(done) => done?,
            Err(_) => return Err(failure("no answer to deletes that are repeated")),
        };
        journal.confirm(&batch, refused);
    }
}

/// Deletes keys with one write; returns how many deletes the server refused.
async fn delete_all(
    stream: &mut Box<dyn Stream>,
    negotiated: Negotiated,
    batch: &[(Bytes, u64)],
) -> Result<u64, Failure> {
    let now = std::time::Instant::now();
    // The caller applies the timeout.
    let deadline = Deadline { at: now, extend_by: Duration::ZERO };
    let mut limits = Limits::default();
    limits.max_in_flight = batch.len();
    let mut connection = Connection::with_protocol(negotiated.protocol, negotiated.server_version, limits, 0, now);
    let (mut unanswered, mut refused) = (0_usize, 0);
    for (key, _) in batch {
        match connection.submit(&Request::delete(key.clone()), Some(Tag(0)), deadline, now) {
            Ok(_) => unanswered += 1,
            // The protocol cannot express the key.
            Err(_) => refused += 1,
        }
    }
    let mut output = Output::new();
    connection.take_output(&mut output);
    stream.write_all_buf(&mut output).await.map_err(|error| failure(&error.to_string()))?;
    stream.flush().await.map_err(|error| failure(&error.to_string()))?;
    let mut input = InputBuffer::new();
    while unanswered > 0 {
        let count = stream.read_buf(input.spare_capacity()).await.map_err(|error| failure(&error.to_string()))?;
        if count == 0 {
            return Err(failure("the server closed the connection"));
        }
        input.record_read(count);
        while let Some(event) = connection.poll_event(&mut input).map_err(|error| failure(&error.to_string()))? {
            unanswered -= 1;
            refused += u64::from(!matches!(event.reply.status, Status::NoError | Status::KeyNotFound));
        }
    }
    Ok(refused)
}

fn failure(reason: &str) -> Failure {
    Failure::Unreachable(format!("while failed deletes were repeated: {reason}").into())
}

/// The longest encoded delete without its key, in bytes; and the length of one write, which fits into a TLS record.
const COMMAND: usize = 100;
const BATCH: usize = 16_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::Delivery;

    const LOST: Status = Status::TimedOut(Delivery::MaybeSent);

    fn journal_of(capacity: usize) -> Journal {
        Journal::new(&"cache1".into(), &JournalSettings { capacity, ..JournalSettings::default() })
    }

    #[test]
    fn only_deletes_that_may_not_have_happened_are_recorded() {
        let journal = journal_of(10);
        assert!(journal.record(&Request::delete("k"), LOST));
        assert!(journal.record(&Request::delete("k"), Status::Overloaded), "the same key");
        assert!(!journal.record(&Request::delete("done"), Status::NoError));
        assert!(!journal.record(&Request::delete("absent"), Status::KeyNotFound));
        assert!(!journal.record(&Request::delete("conditional").cas(7), LOST));
        assert!(!journal.record(&Request::set("set", "v"), LOST));
        assert_eq!((journal.pending(), journal.dropped()), (1, 0));
        assert!(!journal_of(0).record(&Request::delete("k"), LOST), "it is off");
    }

    #[test]
    fn dropped_deletes_are_counted() {
        let journal = journal_of(2);
        for key in ["a", "b", "c", "a"] {
            journal.record(&Request::delete(key), LOST);
        }
        assert_eq!((journal.pending(), journal.dropped()), (2, 1));
    }

    #[test]
    fn a_delete_that_fails_during_the_replay_is_repeated_again() {
        let journal = journal_of(10);
        journal.record(&Request::delete("a"), LOST);
        journal.record(&Request::delete("b"), LOST);
        let batch = journal.batch();
        assert_eq!(batch.len(), 2);
        journal.record(&Request::delete("a"), LOST);
        journal.confirm(&batch, 0);
        assert_eq!(journal.batch().into_iter().map(|(key, _)| key).collect::<Vec<_>>(), ["a"]);
    }

    #[test]
    fn a_batch_fits_into_one_write() {
        let journal = journal_of(1000);
        for number in 0..1000 {
            journal.record(&Request::delete(format!("{number:0250}")), LOST);
        }
        let batch = journal.batch();
        assert!(batch.len() > 1 && batch.len() * (250 + COMMAND) <= BATCH, "{}", batch.len());
    }
}
