//! Replays a vector over a connection.

use super::frames::{Frame, NOOP, VERSION, request};
use super::{After, Preparation, Protocol, Vector};
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::thread;
use std::time::{Duration, Instant};

/// The behaviour of a server when a vector was replayed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Replayed {
    /// The reply.
    pub reply: Vec<u8>,
    /// The state of the connection afterwards.
    pub after: After,
}

/// Replays a vector over a new connection to a server that was just started with the vector's arguments and
/// preparation.
///
/// If the connection stays in sync, the result does not depend on the speed of the machine: a request that is always
/// answered marks the end of the reply.
///
/// # Panics
/// Panics if the server cannot be reached or does not answer the setup of the vector.
#[must_use]
pub fn replay(vector: &Vector, addr: impl ToSocketAddrs) -> Replayed {
    let mut exchange = Exchange::connect(addr);
    exchange.set_up(vector);
    thread::sleep(vector.delay);
    // A server without a free connection sends an error at once. If it closes with a request unread, the error is lost.
    if vector.preparation() != Preparation::ConnectionsExhausted {
        exchange.send(&vector.request);
    }
    exchange.read_until(|got| vector.may_be_complete(got));
    let after = exchange.end(vector);
    Replayed { reply: exchange.got, after }
}

/// The connection and what was received so far.
#[derive(Debug)]
struct Exchange {
    stream: TcpStream,
    got: Vec<u8>,
    closed: bool,
}

impl Exchange {
    fn connect(addr: impl ToSocketAddrs) -> Self {
        let stream = TcpStream::connect(addr).expect("the server listens");
        stream.set_nodelay(true).expect("a new socket");
        Self { stream, got: Vec::new(), closed: false }
    }

    /// Sends the setup of the vector and discards the replies.
    fn set_up(&mut self, vector: &Vector) {
        if vector.setup.is_empty() {
            return;
        }
        for packet in &vector.setup {
            self.send(packet);
            if vector.protocol == Protocol::TextAuth {
                // Before authentication several requests may get one reply, and no request is always answered.
                self.read_for(QUIET);
            }
        }
        match vector.protocol {
            // `version` is answered before and during authentication too.
            Protocol::Binary => self.await_fence(&request(VERSION, FENCE, b"", b"", b""), ends_with_fence),
            Protocol::Meta | Protocol::Text => self.await_fence(b"mn\r\n", ends_with_mn),
            Protocol::TextAuth => {}
        }
        if vector.protocol != Protocol::Binary {
            // As when the vectors were recorded: statistics and dumps include an item once the background threads have
            // seen it.
            thread::sleep(SETTLING);
        }
        self.got.clear();
    }

    fn await_fence(&mut self, fence: &[u8], passed: impl Fn(&[u8]) -> bool) {
        self.send(fence);
        self.read_until(&passed);
        let got = self.got.escape_ascii();
        assert!(passed(&self.got), "the setup was not answered, got {got}");
    }

    /// Reads what may still arrive and returns the state of the connection.
    fn end(&mut self, vector: &Vector) -> After {
        let expected = |after| vector.outcomes().any(|outcome| outcome.after == after);
        if expected(After::InSync) || expected(After::Refused) {
            return self.probe(vector.protocol, expected(After::Refused));
        }
        match vector.outcomes().all(|outcome| outcome.after == After::Closed) {
            // A probe that the server reads together with the request could change what it does, so it must have time
            // to close the connection by itself.
            true => self.read_for(PATIENCE),
            false => self.read_for(QUIET),
        }
        match self.closed {
            true => After::Closed,
            // memcached closes some connections only when more bytes arrive.
            false if !expected(After::OutOfSync) => self.probe(vector.protocol, false),
            false => After::OutOfSync,
        }
    }

    fn probe(&mut self, protocol: Protocol, refusal_expected: bool) -> After {
        match protocol {
            // Unlike `version`, a no-op is refused before authentication.
            Protocol::Binary if refusal_expected => self.probe_binary(NOOP),
            Protocol::Binary => self.probe_binary(VERSION),
            _ => self.probe_text(),
        }
    }

    fn probe_binary(&mut self, opcode: u8) -> After {
        self.send(&request(opcode, FENCE, b"", b"", b""));
        self.read_until(|got| find_fence(got, opcode).is_some());
        let Some((at, accepted)) = find_fence(&self.got, opcode) else {
            return self.closed_or(After::OutOfSync);
        };
        if !accepted {
            self.read_until(|_| false);
        }
        self.got.truncate(at);
        match (accepted, self.closed) {
            (true, _) => After::InSync,
            (false, true) => After::Refused,
            (false, false) => After::OutOfSync,
        }
    }

    fn probe_text(&mut self) -> After {
        let before = self.got.len();
        self.send(b"mn\r\n");
        self.read_until(|got| got.len() > before && ends_with_mn(got));
        if self.got.len() > before && ends_with_mn(&self.got) {
            self.got.truncate(self.got.len() - MN_REPLY.len());
            return After::InSync;
        }
        self.closed_or(After::OutOfSync)
    }

    fn closed_or(&self, otherwise: After) -> After {
        if self.closed { After::Closed } else { otherwise }
    }

    fn send(&mut self, bytes: &[u8]) {
        // If the server has closed the connection, reading reports it.
        let _ = self.stream.write_all(bytes);
    }

    /// Reads until `enough` returns true, the connection is closed or the time limit has passed.
    fn read_until(&mut self, enough: impl Fn(&[u8]) -> bool) {
        let start = Instant::now();
        while !enough(&self.got) {
            let remaining = PATIENCE.saturating_sub(start.elapsed());
            if remaining.is_zero() || !self.read_some(remaining) {
                return;
            }
        }
    }

    /// Reads until nothing has arrived for this time.
    fn read_for(&mut self, quiet: Duration) {
        while self.read_some(quiet) {}
    }

    /// Reads once. Returns whether anything arrived.
    fn read_some(&mut self, limit: Duration) -> bool {
        let mut buffer = [0; 4096];
        self.stream.set_read_timeout(Some(limit)).expect("the limit is not zero");
        match self.stream.read(&mut buffer) {
            Ok(0) => self.closed = true,
            Ok(len) => {
                self.got.extend(&buffer[..len]);
                return true;
            }
            Err(error) => {
                self.closed |= !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
            }
        }
        false
    }
}

/// Returns the offset of the reply to a fence and whether it is a success.
fn find_fence(got: &[u8], opcode: u8) -> Option<(usize, bool)> {
    (0..got.len()).find_map(|at| {
        let (frame, _) = Frame::split_first(&got[at..])?;
        let is_fence = frame.opcode() == opcode && frame.opaque() == FENCE;
        is_fence.then(|| (at, frame.status() == 0))
    })
}

fn ends_with_fence(got: &[u8]) -> bool {
    let (frames, rest) = super::frames::frames(got);
    rest.is_empty() && frames.last().is_some_and(|last| last.opaque() == FENCE)
}

fn ends_with_mn(got: &[u8]) -> bool {
    got.ends_with(MN_REPLY)
}

/// An opaque that no vector uses, for the request that marks the end of a reply.
const FENCE: [u8; 4] = *b"\x7e\x57\xe2\xd0";
const MN_REPLY: &[u8] = b"MN\r\n";
// Reached only if the server does not behave as the vector says.
const PATIENCE: Duration = Duration::from_secs(5);
const SETTLING: Duration = Duration::from_millis(100);
// The time without data that ends a reply if nothing else marks its end.
const QUIET: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::super::vectors;
    use super::*;

    #[test]
    fn no_vector_uses_the_fence_opaque() {
        for vector in vectors() {
            let sent = vector.setup.iter().chain([&vector.request]);
            let mut windows = sent.flat_map(|bytes| bytes.windows(FENCE.len()));
            assert!(windows.all(|window| window != FENCE), "{}", vector.name);
        }
    }
}
