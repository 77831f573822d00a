//! The lockstep pipeline: a blocking socket that writes a whole pipeline and reads every reply before the next.
//!
//! It is a floor for what one connection can do, and no ceiling, since it never overlaps.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::{Answer, Sample, Setup, failed};
use crate::course::Fault;
use crate::scenario::Verb;
use crate::wire::{self, Reply};

/// One connection for each server.
pub(super) struct Lockstep {
    verb: Verb,
    servers: Vec<Connection>,
}

impl Lockstep {
    pub(super) fn connect(setup: &Setup) -> Result<Self> {
        let addresses = setup.addresses();
        let servers = addresses.iter().map(|address| Connection::open(address));
        Ok(Self { verb: setup.scenario.verb, servers: servers.collect::<Result<_>>()? })
    }

    /// One turn: a pipeline with every sample, out and back.
    pub(super) fn turn(&mut self, samples: &[Sample]) -> Answer {
        self.place(samples);
        for server in &mut self.servers {
            server.write_pipeline(self.verb, samples).map_err(failed)?;
        }
        let mut right = true;
        for server in &mut self.servers {
            right &= server.read_replies(self.verb, samples).map_err(failed)?;
        }
        if right { Ok(()) } else { Err(Fault::Wrong) }
    }

    /// Shares the samples out over the servers by a hash of the key.
    fn place(&mut self, samples: &[Sample]) {
        let count = self.servers.len();
        for server in &mut self.servers {
            server.asked.clear();
        }
        for (index, sample) in samples.iter().enumerate() {
            self.servers[server_of(sample, count)].asked.push(index);
        }
    }
}

/// Hashing is left out where there is nothing to choose: it would slow down the floor.
fn server_of(sample: &Sample, servers: usize) -> usize {
    match servers {
        1 => 0,
        _ => {
            let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(sample.key());
            hash as usize % servers
        }
    }
}

struct Connection {
    stream: TcpStream,
    output: Vec<u8>,
    input: Vec<u8>,
    /// The samples of this turn that this server is asked for; a position in it is an opaque.
    asked: Vec<usize>,
}

impl Connection {
    fn open(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address).with_context(|| format!("connecting to {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        Ok(Self { stream, output: Vec::new(), input: vec![0; READ_LEN], asked: Vec::new() })
    }

    fn write_pipeline(&mut self, verb: Verb, samples: &[Sample]) -> Result<()> {
        self.output.clear();
        for (opaque, &index) in self.asked.iter().enumerate() {
            encode(verb, opaque as u32, &samples[index], &mut self.output);
        }
        if verb == Verb::GetMany {
            wire::encode_noop(self.asked.len() as u32, &mut self.output);
        }
        Ok(self.stream.write_all(&self.output)?)
    }

    /// Reads the reply to everything asked; says whether all were right.
    fn read_replies(&mut self, verb: Verb, samples: &[Sample]) -> Result<bool> {
        let fences = usize::from(verb == Verb::GetMany);
        let expected = self.asked.len() + fences;
        let (mut answered, mut start, mut end, mut right) = (0, 0, 0, true);
        while answered < expected {
            let Some(reply) = complete_reply(&self.input[start..end])? else {
                (start, end) = self.read_more(start, end)?;
                continue;
            };
            let bytes = &self.input[start..start + reply.len()];
            right &= is_right(verb, &reply, bytes, answered, &self.asked, samples)?;
            start += reply.len();
            answered += 1;
        }
        Ok(right)
    }

    /// Reads what is there behind `start..end`; moves a cut reply to the front, and makes room for a large one.
    fn read_more(&mut self, start: usize, end: usize) -> Result<(usize, usize)> {
        self.input.copy_within(start..end, 0);
        let kept = end - start;
        let needed = Reply::parse(&self.input[..kept])?.map_or(0, |reply| reply.len());
        if self.input.len() < needed {
            self.input.resize(needed, 0);
        }
        let read = self.stream.read(&mut self.input[kept..])?;
        ensure!(read > 0, "the server closed the connection");
        Ok((0, kept + read))
    }
}

fn encode(verb: Verb, opaque: u32, sample: &Sample, out: &mut Vec<u8>) {
    let key = sample.as_ref();
    match verb {
        Verb::Get => wire::encode_get(wire::GET, opaque, key, out),
        Verb::GetMany => wire::encode_get(wire::GET_QUIET, opaque, key, out),
        Verb::Set => wire::encode_set(wire::SET, opaque, key, sample.value(), out),
    }
}

/// The next reply, once all of it is there.
fn complete_reply(bytes: &[u8]) -> Result<Option<Reply>> {
    let reply = Reply::parse(bytes)?;
    Ok(reply.filter(|reply| reply.len() <= bytes.len()))
}

/// Whether the n-th reply answers the n-th request; one out of step is an error, as nothing after it can be trusted.
fn is_right(verb: Verb, reply: &Reply, bytes: &[u8], nth: usize, asked: &[usize], samples: &[Sample]) -> Result<bool> {
    if reply.opaque as usize != nth {
        bail!("reply {nth} carries opaque {}", reply.opaque);
    }
    let Some(&index) = asked.get(nth) else {
        return Ok(reply.opcode == wire::NOOP);
    };
    let stored = verb == Verb::Set;
    Ok(reply.status == 0 && (stored || samples[index].holds(reply.value(bytes)?)))
}

/// A pipeline so deep that both sides block on writing would otherwise hang.
const TIMEOUT: Duration = Duration::from_secs(10);
const READ_LEN: usize = 256 * 1024;
