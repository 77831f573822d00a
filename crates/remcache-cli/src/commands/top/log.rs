//! A server's own log (`watch`), followed while its page is looked at.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use remcache::ServerHandle;
use remcache::proto::text::LogLine;
use tokio::task::AbortHandle;

use super::screen::Stream;
use crate::output::text;
use crate::stats::reason;

/// The log of one server, on a connection of its own that ends with this value.
#[derive(Debug)]
pub(super) struct Log {
    /// The server that it is of.
    pub(super) place: usize,
    pub(super) stream: Stream,
    tail: Arc<Mutex<Tail>>,
    task: AbortHandle,
}

/// The end of the log.
#[derive(Clone, Debug, Default)]
pub(super) struct Tail {
    /// The newest first.
    pub(super) lines: VecDeque<String>,
    /// All that came.
    pub(super) events: u64,
    /// What the server left out, for nobody could have read it so fast.
    pub(super) skipped: u64,
    /// Why nothing comes any more.
    pub(super) failure: Option<String>,
}

impl Log {
    /// Begins to follow the log of a server.
    pub(super) fn follow(server: ServerHandle, place: usize, stream: Stream) -> Self {
        let tail = Arc::new(Mutex::new(Tail::default()));
        let task = tokio::spawn(follow(server, stream, Arc::clone(&tail))).abort_handle();
        Self { place, stream, tail, task }
    }

    /// The end of the log now.
    pub(super) fn tail(&self) -> Tail {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn follow(server: ServerHandle, stream: Stream, tail: Arc<Mutex<Tail>>) {
    let mut log = server.watch(stream.name());
    while let Some(line) = log.next().await {
        let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
        match line {
            Ok(line) => tail.push(&line),
            Err(error) => tail.failure = Some(reason(&server, &error)),
        }
    }
}

impl Tail {
    fn push(&mut self, bytes: &[u8]) {
        let line = LogLine::parse(bytes);
        self.skipped += line.skipped();
        self.events += 1;
        self.lines.push_front(shown(&line));
        self.lines.truncate(KEPT);
    }
}

/// The kind of the event, the key, and what else is told.
fn shown(line: &LogLine<'_>) -> String {
    let mut words: Vec<String> = line.kind().map(|kind| format!("{:<14}", text::inline(kind))).into_iter().collect();
    words.extend(line.key().map(|key| text::inline(&key).into_owned()));
    let rest = line.fields().filter(|(name, _)| !matches!(*name, b"key" | b"type" | b"gid" | b"ts"));
    words.extend(rest.map(|(name, value)| format!("{}={}", text::inline(name), text::inline(value))));
    words.join(" ")
}

/// How many lines are kept: more than a screen has.
const KEPT: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_line_stands_first_and_the_tail_is_short() {
        let mut tail = Tail::default();
        for number in 0..KEPT + 5 {
            tail.push(format!("ts=1.2 gid={number} type=eviction key=k{number} fetch=no cfd=-1").as_bytes());
        }
        assert_eq!(tail.lines[0], format!("eviction       k{} fetch=no cfd=-1", KEPT + 4));
        assert_eq!((tail.lines.len(), tail.events, tail.skipped), (KEPT, KEPT as u64 + 5, 0));
    }
}
