//! One vector over a connection: what is set up, what is asked, what comes, what is left.

use super::frames::{Frame, NOOP, VERSION, request};
use super::{After, Preparation, Protocol, Vector};
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::thread;
use std::time::{Duration, Instant};

/// What came of a vector.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Replayed {
    /// All bytes that answered the request.
    pub reply: Vec<u8>,
    /// What the connection was like then.
    pub after: After,
}

/// Replays a vector over a new connection to a server that was just started with the arguments
/// and the preparation that the vector names.
///
/// Nothing depends on the speed of the machine where the connection stays in step: a request that
/// is answered in any case marks the end of the reply.
///
/// # Panics
/// When the server cannot be reached, or does not answer what sets the vector up.
#[must_use]
pub fn replay(vector: &Vector, addr: impl ToSocketAddrs) -> Replayed {
    let mut wire = Wire::connect(addr);
    wire.set_up(vector);
    thread::sleep(vector.delay);
    // A server without a free connection speaks unasked; a request could cost us its words.
    if vector.preparation() != Preparation::NoConnectionLeft {
        wire.send(&vector.request);
    }
    wire.read_until(|got| vector.may_be_complete(got));
    let after = wire.end(vector);
    Replayed { reply: wire.got, after }
}

#[derive(Debug)]
struct Wire {
    stream: TcpStream,
    got: Vec<u8>,
    closed: bool,
}

impl Wire {
    fn connect(addr: impl ToSocketAddrs) -> Self {
        let stream = TcpStream::connect(addr).expect("the server listens");
        stream.set_nodelay(true).expect("a fresh socket");
        Self { stream, got: Vec::new(), closed: false }
    }

    /// Sends what sets the vector up, and reads away what that answers.
    fn set_up(&mut self, vector: &Vector) {
        if vector.setup.is_empty() {
            return;
        }
        for packet in &vector.setup {
            self.send(packet);
            if vector.protocol == Protocol::TextAuth {
                // Replies may be merged here, and no request is answered in any case.
                self.read_for(QUIET);
            }
        }
        match vector.protocol {
            // Answered before authentication too, and between its steps.
            Protocol::Binary => self.pass_fence(&request(VERSION, FENCE, b"", b"", b""), ends_with_fence),
            Protocol::Meta | Protocol::Text => self.pass_fence(b"mn\r\n", ends_with_mn),
            Protocol::TextAuth => {}
        }
        if vector.protocol != Protocol::Binary {
            // As when the vectors were taken: what the text commands tell of the server's inside
            // is there when its background threads have seen the item.
            thread::sleep(SETTLING);
        }
        self.got.clear();
    }

    fn pass_fence(&mut self, fence: &[u8], passed: impl Fn(&[u8]) -> bool) {
        self.send(fence);
        self.read_until(&passed);
        let got = self.got.escape_ascii();
        assert!(passed(&self.got), "the setup was not answered: {got}");
    }

    /// Reads what may still come, and tells what the connection is like.
    fn end(&mut self, vector: &Vector) -> After {
        let expected = |after| vector.outcomes().any(|outcome| outcome.after == after);
        if expected(After::InStep) || expected(After::Refused) {
            return self.probe(vector.protocol, expected(After::Refused));
        }
        self.read_for(QUIET);
        match self.closed {
            true => After::Closed,
            // Some connections are closed only when more bytes come.
            false if !expected(After::OutOfStep) => self.probe(vector.protocol, false),
            false => After::OutOfStep,
        }
    }

    fn probe(&mut self, protocol: Protocol, refusal_expected: bool) -> After {
        match protocol {
            // Refused before authentication, where the version is not.
            Protocol::Binary if refusal_expected => self.probe_binary(NOOP),
            Protocol::Binary => self.probe_binary(VERSION),
            _ => self.probe_text(),
        }
    }

    fn probe_binary(&mut self, opcode: u8) -> After {
        self.send(&request(opcode, FENCE, b"", b"", b""));
        self.read_until(|got| find_fence(got, opcode).is_some());
        let Some((at, accepted)) = find_fence(&self.got, opcode) else {
            return self.closed_or(After::OutOfStep);
        };
        if !accepted {
            self.read_until(|_| false);
        }
        self.got.truncate(at);
        match (accepted, self.closed) {
            (true, _) => After::InStep,
            (false, true) => After::Refused,
            (false, false) => After::OutOfStep,
        }
    }

    fn probe_text(&mut self) -> After {
        let before = self.got.len();
        self.send(b"mn\r\n");
        self.read_until(|got| got.len() > before && ends_with_mn(got));
        if self.got.len() > before && ends_with_mn(&self.got) {
            self.got.truncate(self.got.len() - MN_REPLY.len());
            return After::InStep;
        }
        self.closed_or(After::OutOfStep)
    }

    fn closed_or(&self, otherwise: After) -> After {
        if self.closed { After::Closed } else { otherwise }
    }

    fn send(&mut self, bytes: &[u8]) {
        // A server that has closed is found out by reading.
        let _ = self.stream.write_all(bytes);
    }

    /// Reads until enough has come, the server closes, or the patience is at its end.
    fn read_until(&mut self, enough: impl Fn(&[u8]) -> bool) {
        let start = Instant::now();
        while !enough(&self.got) {
            let left = PATIENCE.saturating_sub(start.elapsed());
            if left.is_zero() || !self.read_some(left) {
                return;
            }
        }
    }

    /// Reads until nothing has come for so long.
    fn read_for(&mut self, quiet: Duration) {
        while self.read_some(quiet) {}
    }

    /// Whether something came.
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

/// Where the answer to a fence begins, and whether it says that all is well.
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

// An opaque that no vector uses.
const FENCE: [u8; 4] = *b"\x7e\x57\xe2\xd0";
const MN_REPLY: &[u8] = b"MN\r\n";
// Met only by a server that does not do what the vector says.
const PATIENCE: Duration = Duration::from_secs(5);
const SETTLING: Duration = Duration::from_millis(100);
// How long silence is listened to where nothing else marks the end.
const QUIET: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::super::vectors;
    use super::*;

    #[test]
    fn no_vector_uses_the_opaque_of_a_fence() {
        for vector in vectors() {
            let sent = vector.setup.iter().chain([&vector.request]);
            let mut windows = sent.flat_map(|bytes| bytes.windows(FENCE.len()));
            assert!(windows.all(|window| window != FENCE), "{}", vector.name);
        }
    }
}
