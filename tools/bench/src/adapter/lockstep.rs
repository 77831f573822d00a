//! The lockstep pipeline: a blocking socket that writes a whole pipeline, and reads every reply before the next one.
//!
//! It is a baseline for one connection, not a limit, because it never overlaps writing and reading.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::{CallResult, Item, Setup, failed};
use crate::binary_protocol::{self as binary, Reply};
use crate::scenario::Verb;
use crate::workload::Fault;

/// One connection per server.
pub(super) struct Lockstep {
    verb: Verb,
    servers: Vec<LockstepConnection>,
}

impl Lockstep {
    pub(super) fn connect(setup: &Setup) -> Result<Self> {
        let addresses = setup.addresses();
        let servers = addresses.iter().map(|address| LockstepConnection::open(address));
        Ok(Self { verb: setup.scenario.verb, servers: servers.collect::<Result<_>>()? })
    }

    /// Sends a pipeline with every item, and reads all replies.
    pub(super) fn call(&mut self, items: &[Item]) -> CallResult {
        self.distribute(items);
        for server in &mut self.servers {
            server.write_pipeline(self.verb, items).map_err(failed)?;
        }
        let mut correct = true;
        for server in &mut self.servers {
            correct &= server.read_replies(self.verb, items).map_err(failed)?;
        }
        if correct { Ok(()) } else { Err(Fault::Wrong) }
    }

    /// Distributes the items over the servers by a hash of the key.
    fn distribute(&mut self, items: &[Item]) {
        let count = self.servers.len();
        for server in &mut self.servers {
            server.requested.clear();
        }
        for (index, item) in items.iter().enumerate() {
            self.servers[server_of(item, count)].requested.push(index);
        }
    }
}

/// Returns the server of an item. With one server nothing is hashed, which would slow down the baseline.
fn server_of(item: &Item, servers: usize) -> usize {
    match servers {
        1 => 0,
        _ => {
            let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(item.key());
            hash as usize % servers
        }
    }
}

struct LockstepConnection {
    stream: TcpStream,
    output: Vec<u8>,
    input: Vec<u8>,
    /// The indices of the items requested from this server; a position in this list is an opaque.
    requested: Vec<usize>,
}

impl LockstepConnection {
    fn open(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address).with_context(|| format!("connecting to {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        Ok(Self { stream, output: Vec::new(), input: vec![0; READ_LEN], requested: Vec::new() })
    }

    fn write_pipeline(&mut self, verb: Verb, items: &[Item]) -> Result<()> {
        self.output.clear();
        for (opaque, &index) in self.requested.iter().enumerate() {
            encode(verb, opaque as u32, &items[index], &mut self.output);
        }
        if verb == Verb::GetMany {
            binary::encode_noop(self.requested.len() as u32, &mut self.output);
        }
        Ok(self.stream.write_all(&self.output)?)
    }

    /// Reads all replies, and returns whether all are correct.
    fn read_replies(&mut self, verb: Verb, items: &[Item]) -> Result<bool> {
        // A no-op ends a pipeline of quiet gets.
        let noops = usize::from(verb == Verb::GetMany);
        let expected = self.requested.len() + noops;
        let (mut received, mut start, mut end, mut correct) = (0, 0, 0, true);
        while received < expected {
            let Some(reply) = complete_reply(&self.input[start..end])? else {
                (start, end) = self.read_more(start, end)?;
                continue;
            };
            let bytes = &self.input[start..start + reply.len()];
            correct &= is_correct(verb, &reply, bytes, received, &self.requested, items)?;
            start += reply.len();
            received += 1;
        }
        Ok(correct)
    }

    /// Reads more bytes after `start..end`, moved to the front; grows the buffer if the reply there does not fit.
    fn read_more(&mut self, start: usize, end: usize) -> Result<(usize, usize)> {
        self.input.copy_within(start..end, 0);
        let buffered = end - start;
        let needed = Reply::parse(&self.input[..buffered])?.map_or(0, |reply| reply.len());
        if self.input.len() < needed {
            self.input.resize(needed, 0);
        }
        let read = self.stream.read(&mut self.input[buffered..])?;
        ensure!(read > 0, "the server closed the connection");
        Ok((0, buffered + read))
    }
}

fn encode(verb: Verb, opaque: u32, item: &Item, out: &mut Vec<u8>) {
    let key = item.as_ref();
    match verb {
        Verb::Get => binary::encode_get(binary::GET, opaque, key, out),
        Verb::GetMany => binary::encode_get(binary::GET_QUIET, opaque, key, out),
        Verb::Set => binary::encode_set(binary::SET, opaque, key, item.value(), out),
    }
}

/// Returns the next reply if all of it has been read.
fn complete_reply(bytes: &[u8]) -> Result<Option<Reply>> {
    let reply = Reply::parse(bytes)?;
    Ok(reply.filter(|reply| reply.len() <= bytes.len()))
}

/// Returns whether the n-th reply is the correct one to the n-th request. A reply to another request is an error,
/// because nothing after it can be trusted.
fn is_correct(
    verb: Verb,
    reply: &Reply,
    bytes: &[u8],
    nth: usize,
    requested: &[usize],
    items: &[Item],
) -> Result<bool> {
    if reply.opaque as usize != nth {
        bail!("reply {nth} has opaque {}", reply.opaque);
    }
    let Some(&index) = requested.get(nth) else {
        return Ok(reply.opcode == binary::NOOP);
    };
    let stored = verb == Verb::Set;
    Ok(reply.status == 0 && (stored || items[index].holds(reply.value(bytes)?)))
}

/// A pipeline that is too deep would hang, because both sides would block on writing.
const TIMEOUT: Duration = Duration::from_secs(10);
const READ_LEN: usize = 256 * 1024;
