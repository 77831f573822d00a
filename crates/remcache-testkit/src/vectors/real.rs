//! Real memcached servers, prepared for the vectors.

use super::frames::{NOOP, SETQ, VERSION, frames, request};
use super::{Preparation, Replayed, Vector, replay};
use crate::{Memcached, scratch};
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};

/// Replays a vector against a memcached that is started and prepared for it.
///
/// # Panics
/// Panics if the server does not start, or like [`replay()`].
#[must_use]
pub fn replay_on_memcached(vector: &Vector) -> Replayed {
    let dir = scratch();
    let users = dir.path().join("users");
    fs::write(&users, "foo:bar\nuser2:p:w2\nempty:\n").expect("the directory is writable");
    let args = vector.server_args.iter().map(|arg| match arg.as_str() {
        users_file if users_file.starts_with("<auth") => users.to_str().expect("a path in UTF-8"),
        // The unit is a byte in 1.6.18 and a kilobyte since 1.6.24.
        "slab_chunk_max=1024" if Memcached::version() >= (1, 6, 24) => "slab_chunk_max=1",
        other => other,
    });
    let args: Vec<&str> = args.filter(|&arg| arg != "-S").collect();
    let server = match vector.preparation() {
        Preparation::Sasl => Memcached::start_sasl(&args),
        _ => Memcached::start(&args),
    };
    let _held = prepare(vector.preparation(), &server.addr());
    replay(vector, server.addr())
}

fn prepare(preparation: Preparation, addr: &str) -> Vec<TcpStream> {
    match preparation {
        Preparation::FullMemory => {
            fill_memory(addr);
            Vec::new()
        }
        Preparation::ConnectionsExhausted => take_all_connections(addr),
        _ => Vec::new(),
    }
}

/// Stores small items (`s0000001`, `s0000002`, …, each with the value `1`) until the memory of a server that was
/// started with `-M` is full.
///
/// # Panics
/// Panics if the server cannot be reached or has too much memory.
pub fn fill_memory(addr: impl ToSocketAddrs) {
    let mut stream = TcpStream::connect(addr).expect("the server listens");
    for first in (1..MAX_ITEMS).step_by(BATCH) {
        let batch = first..first + BATCH;
        let mut requests: Vec<u8> =
            batch.flat_map(|n| request(SETQ, [0; 4], &[0; 8], format!("s{n:07}").as_bytes(), b"1")).collect();
        requests.extend(request(NOOP, [0; 4], b"", b"", b""));
        stream.write_all(&requests).expect("the server reads");
        // The sets are quiet, so any reply before that of the no-op is a refusal.
        if replies_up_to_noop(&mut stream) > 1 {
            return;
        }
    }
    panic!("{MAX_ITEMS} items fit into the server; start it with -M and a small -m");
}

/// Opens connections until the server accepts no more. Dropping one of them makes room for another.
///
/// # Panics
/// Panics if the server cannot be reached.
#[must_use]
pub fn take_all_connections(addr: impl ToSocketAddrs) -> Vec<TcpStream> {
    let mut connections = Vec::new();
    loop {
        let mut stream = TcpStream::connect(&addr).expect("the server listens");
        let version = request(VERSION, [0; 4], b"", b"", b"");
        let mut first = [0];
        let result = stream.write_all(&version).and_then(|()| stream.read_exact(&mut first));
        match (result, first) {
            (Ok(()), [0x81]) => connections.push(stream),
            _ => return connections,
        }
    }
}

/// Reads up to the reply to a no-op and returns the number of packets, including that one.
fn replies_up_to_noop(stream: &mut TcpStream) -> usize {
    let mut got = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let len = stream.read(&mut buffer).expect("the server answers");
        assert!(len > 0, "the server closed the connection while it was filled");
        got.extend(&buffer[..len]);
        let (frames, _) = frames(&got);
        if frames.last().is_some_and(|last| last.opcode() == NOOP) {
            return frames.len();
        }
    }
}

const BATCH: usize = 1_000;
const MAX_ITEMS: usize = 1_000_000;
