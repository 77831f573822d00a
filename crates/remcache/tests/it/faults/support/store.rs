//! A small honest memcached: requests in, frames out, and a record of what was executed.

use std::collections::HashMap;

use bytes::Bytes;
use remcache::proto::{Operation, Reply, Status};

use crate::support::Heard;

/// The items of a server, and how often what was executed.
///
/// A key that begins with `fixed:` always exists, with its [`truth`] for a value. One that begins
/// with `doomed:` exists until it is deleted.
#[derive(Debug, Default)]
pub(crate) struct Store {
    items: HashMap<Bytes, Bytes>,
    executions: HashMap<Bytes, u32>,
    bytes: usize,
}

/// The value of a key: another one for each, of a length that the key decides.
pub(crate) fn truth(key: &[u8]) -> Bytes {
    let hash = key
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    let length = match key {
        [b'f', b'i', b'x', b'e', b'd', b':', b'H', ..] => HUGE,
        [b'f', b'i', b'x', b'e', b'd', b':', b'L', ..] => LARGE,
        _ => 1 + usize::try_from(hash % 23).expect("a number below 23"),
    };
    let mark = format!("<{hash:x}>");
    mark.bytes().cycle().take(length).collect()
}

/// The length of a value whose key begins with `fixed:L`: shared with the input buffer, not copied.
const LARGE: usize = 9_000;
/// The length of a value whose key begins with `fixed:H`.
pub(crate) const HUGE: usize = 1_000_000;

/// What the server's statistics are.
pub(crate) fn statistics() -> Vec<(Bytes, Bytes)> {
    let pair = |number: u32| {
        let name = Bytes::from(format!("statistic_{number}"));
        (name.clone(), truth(&name))
    };
    (0..STATISTICS).map(pair).collect()
}

const STATISTICS: u32 = 11;

impl Store {
    /// How often a request that changes this key was executed.
    pub(crate) fn executions(&self, key: &[u8]) -> u32 {
        self.executions.get(key).copied().unwrap_or_default()
    }

    /// How many bytes were answered until now.
    pub(crate) fn answered(&self) -> usize {
        self.bytes
    }

    /// Executes a request, and puts the frames of its answer behind the others.
    pub(crate) fn execute(&mut self, request: &Heard, frames: &mut Vec<Bytes>) {
        let answer = request.say(&self.replies(request));
        self.bytes += answer.iter().map(Bytes::len).sum::<usize>();
        frames.extend(answer);
    }

    fn replies(&mut self, request: &Heard) -> Vec<Reply> {
        let key = request.key();
        let reply = match request.operation {
            Operation::Get => return request.keys.iter().map(|key| self.get(key)).collect(),
            Operation::Set => self.set(key, &request.value),
            Operation::Delete => self.delete(key),
            Operation::Increment => self.increment(key),
            Operation::Stat => return stat(),
            Operation::NoOp => Reply::new(Status::NoError),
            Operation::Version => Reply::with_text(Status::NoError, "1.6.18"),
            other => panic!("nobody asks for {other:?}"),
        };
        vec![reply]
    }

    fn get(&self, key: &Bytes) -> Reply {
        let value = match self.items.get(key) {
            None if key.starts_with(b"fixed:") => Some(truth(key)),
            stored => stored.cloned(),
        };
        match value {
            Some(value) => Reply::with_text(Status::NoError, value),
            None => missing(),
        }
    }

    fn set(&mut self, key: Bytes, value: &[u8]) -> Reply {
        if key.starts_with(b"fixed:") {
            assert_eq!(value, truth(&key), "a request came whole: {key:?}");
        } else {
            self.items.insert(key.clone(), Bytes::copy_from_slice(value));
        }
        self.count(key);
        done()
    }

    fn delete(&mut self, key: Bytes) -> Reply {
        let was_there = key.starts_with(b"doomed:") && self.executions(&key) == 0;
        self.count(key);
        if was_there { done() } else { missing() }
    }

    /// A counter tells how often it was raised, which is what is checked.
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
