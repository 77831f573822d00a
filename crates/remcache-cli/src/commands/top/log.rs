//! The log of the selected server (`watch`), followed while its page is shown.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use remcache::ServerHandle;
use remcache::proto::text::LogLine;
use tokio::task::AbortHandle;

use super::screen::EventStream;
use crate::output::text;
use crate::stats::reason;

/// Follows the log of one server, on a connection of its own, until it is dropped.
#[derive(Debug)]
pub(super) struct LogFollower {
    /// Index of the server.
    pub(super) index: usize,
    pub(super) stream: EventStream,
    tail: Arc<Mutex<LogTail>>,
    task: AbortHandle,
}

/// The end of the log.
#[derive(Clone, Debug, Default)]
pub(super) struct LogTail {
    /// The newest first.
    pub(super) lines: VecDeque<String>,
    /// Number of all events.
    pub(super) events: u64,
    /// Number of events that the server dropped.
    pub(super) skipped: u64,
    /// Why the log has ended.
    pub(super) failure: Option<String>,
}

impl LogFollower {
    /// Starts to follow the log of a server.
    pub(super) fn follow(server: ServerHandle, index: usize, stream: EventStream) -> Self {
        let tail = Arc::new(Mutex::new(LogTail::default()));
        let task = tokio::spawn(follow(server, stream, Arc::clone(&tail))).abort_handle();
        Self { index, stream, tail, task }
    }

    /// Returns the end of the log.
    pub(super) fn tail(&self) -> LogTail {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for LogFollower {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn follow(server: ServerHandle, stream: EventStream, tail: Arc<Mutex<LogTail>>) {
    let mut log = server.watch(stream.name());
    while let Some(line) = log.next().await {
        let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
        match line {
            Ok(line) => tail.push(&line),
            Err(error) => tail.failure = Some(reason(&server, &error)),
        }
    }
}

impl LogTail {
    fn push(&mut self, bytes: &[u8]) {
        let line = LogLine::parse(bytes);
        self.skipped += line.skipped();
        self.events += 1;
        self.lines.push_front(shown(&line));
        self.lines.truncate(MAX_LINES);
    }
}

/// Formats an event: its kind, its key, and the other fields.
fn shown(line: &LogLine<'_>) -> String {
    let mut words: Vec<String> = line.kind().map(|kind| format!("{:<14}", text::inline(kind))).into_iter().collect();
    words.extend(line.key().map(|key| text::inline(&key).into_owned()));
    let rest = line.fields().filter(|(name, _)| !matches!(*name, b"key" | b"type" | b"gid" | b"ts"));
    words.extend(rest.map(|(name, value)| format!("{}={}", text::inline(name), text::inline(value))));
    words.join(" ")
}

/// More lines than a screen has.
const MAX_LINES: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_line_comes_first_and_the_tail_is_bounded() {
        let mut tail = LogTail::default();
        for number in 0..MAX_LINES + 5 {
            tail.push(format!("ts=1.2 gid={number} type=eviction key=k{number} fetch=no cfd=-1").as_bytes());
        }
        assert_eq!(tail.lines[0], format!("eviction       k{} fetch=no cfd=-1", MAX_LINES + 4));
        assert_eq!((tail.lines.len(), tail.events, tail.skipped), (MAX_LINES, MAX_LINES as u64 + 5, 0));
    }
}
