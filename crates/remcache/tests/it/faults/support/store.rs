//! The items of a fake server, and a record of the requests it executed.

use std::collections::HashMap;

use bytes::Bytes;
use remcache::proto::{Operation, Reply, Status};

use crate::support::ServerRequest;

/// The items of a server and the number of executions per key.
///
/// A key that begins with `fixed:` always exists and has its [`expected_value`]. One that begins with `doomed:`
/// exists until it is deleted.
#[derive(Debug, Default)]
pub(crate) struct Store {
    items: HashMap<Bytes, Bytes>,
    executions: HashMap<Bytes, u32>,
    bytes: usize,
}

/// Returns the value of a key; both the value and its length are derived from the key.
pub(crate) fn expected_value(key: &[u8]) -> Bytes {
    let hash = key
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    let length = match key {
        [b'f', b'i', b'x', b'e', b'd', b':', b'H', ..] => HUGE,
        [b'f', b'i', b'x', b'e', b'd', b':', b'L', ..] => LARGE,
        _ => 1 + usize::try_from(hash % 23).expect("a number below 23"),
    };
    let pattern = format!("<{hash:x}>");
    pattern.bytes().cycle().take(length).collect()
}

/// The length of the value of a key that begins with `fixed:L`: it is not copied out of the input buffer.
const LARGE: usize = 9_000;
/// The length of the value of a key that begins with `fixed:H`.
pub(crate) const HUGE: usize = 1_000_000;

/// Returns the server's statistics.
pub(crate) fn statistics() -> Vec<(Bytes, Bytes)> {
    let pair = |number: u32| {
        let name = Bytes::from(format!("statistic_{number}"));
        (name.clone(), expected_value(&name))
    };
    (0..STATISTICS).map(pair).collect()
}

const STATISTICS: u32 = 11;

impl Store {
    /// Returns how many requests that change this key were executed.
    pub(crate) fn executions(&self, key: &[u8]) -> u32 {
        self.executions.get(key).copied().unwrap_or_default()
    }

    /// Returns the number of bytes sent so far.
    pub(crate) fn bytes_answered(&self) -> usize {
        self.bytes
    }

    /// Executes a request and appends the frames of its replies.
    pub(crate) fn execute(&mut self, request: &ServerRequest, frames: &mut Vec<Bytes>) {
        let encoded = request.encode_replies(&self.replies(request));
        self.bytes += encoded.iter().map(Bytes::len).sum::<usize>();
        frames.extend(encoded);
    }

    fn replies(&mut self, request: &ServerRequest) -> Vec<Reply> {
        let key = request.key();
        let reply = match request.operation {
            Operation::Get => return request.keys.iter().map(|key| self.get(key)).collect(),
            Operation::Set => self.set(key, &request.value),
            Operation::Delete => self.delete(key),
            Operation::Increment => self.increment(key),
            Operation::Stat => return stat(),
            Operation::NoOp => Reply::new(Status::NoError),
            Operation::Version => Reply::with_text(Status::NoError, "1.6.18"),
            other => panic!("unexpected operation: {other:?}"),
        };
        vec![reply]
    }

    fn get(&self, key: &Bytes) -> Reply {
        let value = match self.items.get(key) {
            None if key.starts_with(b"fixed:") => Some(expected_value(key)),
            stored => stored.cloned(),
        };
        match value {
            Some(value) => Reply::with_text(Status::NoError, value),
            None => missing(),
        }
    }

    fn set(&mut self, key: Bytes, value: &[u8]) -> Reply {
        if key.starts_with(b"fixed:") {
            assert_eq!(value, expected_value(&key), "a request arrived incomplete: {key:?}");
        } else {
            self.items.insert(key.clone(), Bytes::copy_from_slice(value));
        }
        self.count(key);
        done()
    }

    fn delete(&mut self, key: Bytes) -> Reply {
        let existed = key.starts_with(b"doomed:") && self.executions(&key) == 0;
        self.count(key);
        if existed { done() } else { missing() }
    }

    /// The value of a counter is the number of executed increments, which the tests check.
    fn increment(&mut self, key: Bytes) -> Reply {
        self.count(key.clone());
        let mut reply = done();
        reply.number = Some(u64::from(self.executions(&key)));
        reply
    }

    fn count(&mut self, key: Bytes) {
        *self.executions.entry(key).or_default() += 1;
    }
}

fn done() -> Reply {
    let mut reply = Reply::new(Status::NoError);
    reply.cas = 1;
    reply
}

fn missing() -> Reply {
    Reply::with_text(Status::KeyNotFound, "Not found")
}

fn stat() -> Vec<Reply> {
    let end = (Bytes::new(), Bytes::new());
    let reply = |(key, value)| {
        let mut reply = Reply::with_text(Status::NoError, value);
        reply.key = key;
        reply
    };
    statistics().into_iter().chain([end]).map(reply).collect()
}
