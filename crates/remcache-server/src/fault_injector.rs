//! Applies faults: turns reply packets into operations on the socket.

mod text_reply;

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use fastrand::Rng;
use tokio::time::Instant;

use crate::fault::{Close, Fault};
use crate::fault_registry::GlobalFaults;

/// Applies the faults of one connection.
///
/// It knows neither the socket nor the clock: replies and the time are passed in, socket operations are returned.
#[derive(Debug, Default)]
pub(crate) struct FaultInjector {
    faults: Vec<ActiveFault>,
    /// The number of faults on all connections that have been added here.
    known_global: usize,
    generation: u64,
    /// Whether an operation that closes the connection was returned.
    closed: bool,
}

/// An operation on the socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SocketOp {
    /// Write these bytes by themselves, not together with others.
    Write(Bytes),
    WaitUntil(Instant),
    /// Yield to other tasks, so that the peer can read what was written before more follows.
    Yield,
    Close(Close),
}

/// A fault in effect on a connection, with its progress.
#[derive(Debug)]
struct ActiveFault {
    fault: Fault,
    /// Whether it affects one reply only.
    once: bool,
    /// The number of bytes that have passed.
    passed: usize,
    rng: Rng,
    /// The time at which the next byte may be written.
    next_write_at: Option<Instant>,
    /// A reply that is held back until the next one.
    held: Option<Bytes>,
}

impl FaultInjector {
    /// Creates the injector of a new connection that has its own faults.
    pub(crate) fn new(own: Vec<Fault>, generation: u64) -> Self {
        let faults = own.into_iter().map(|fault| ActiveFault::new(fault, false)).collect();
        Self { faults, generation, ..Self::default() }
    }

    /// Adds new faults on all connections, or removes all faults if they were cleared.
    pub(crate) fn update(&mut self, global: &GlobalFaults<'_>) {
        if global.generation != self.generation {
            self.generation = global.generation;
            self.known_global = 0;
            self.faults.clear();
        }
        let new = global.faults.iter().skip(self.known_global);
        self.faults.extend(new.map(|fault| ActiveFault::new(fault.clone(), false)));
        self.known_global = global.faults.len();
    }

    pub(crate) fn is_active(&self) -> bool {
        !self.faults.is_empty() || self.closed
    }

    pub(crate) fn stops_reading(&self) -> bool {
        self.has(&Fault::StopReading)
    }

    pub(crate) fn is_black_hole(&self) -> bool {
        self.has(&Fault::BlackHole)
    }

    /// Returns the bytes to send on a new connection instead of serving it.
    pub(crate) fn canned_response(&self) -> Option<Bytes> {
        self.faults.iter().find_map(|active| match &active.fault {
            Fault::SendAndClose(bytes) => Some(bytes.clone()),
            _ => None,
        })
    }

    /// Appends the operations for a reply that is produced at `now`. `once` are the faults of this reply alone.
    pub(crate) fn apply(&mut self, reply: Bytes, once: Vec<Fault>, now: Instant, ops: &mut impl Extend<SocketOp>) {
        self.faults.extend(once.into_iter().map(|fault| ActiveFault::new(fault, true)));
        let mut replies = vec![reply];
        for active in &mut self.faults {
            replies = replies.into_iter().flat_map(|reply| active.transform(reply)).collect();
        }
        let mut planned: Vec<SocketOp> = replies.into_iter().map(SocketOp::Write).collect();
        for active in &mut self.faults {
            planned = planned.into_iter().flat_map(|op| active.schedule(op, now)).collect();
        }
        self.faults.retain(|active| !active.is_finished());
        for op in planned {
            if !self.closed {
                self.closed = matches!(op, SocketOp::Close(_));
                ops.extend([op]);
            }
        }
    }

    fn has(&self, fault: &Fault) -> bool {
        self.faults.iter().any(|active| active.fault == *fault)
    }
}

impl ActiveFault {
    fn new(fault: Fault, once: bool) -> Self {
        let seed = match fault {
            Fault::Split { seed } | Fault::Garbage { seed } => seed,
            _ => 0,
        };
        let rng = Rng::with_seed(seed);
        Self { fault, once, passed: 0, rng, next_write_at: None, held: None }
    }

    fn is_finished(&self) -> bool {
        // These two last as long as the connection once they have started, even if one reply triggered them.
        let is_permanent = matches!(self.fault, Fault::StopReading | Fault::BlackHole);
        self.once && !is_permanent && self.held.is_none()
    }

    /// Returns the replies that are sent instead of this one: none, one or several.
    fn transform(&mut self, reply: Bytes) -> Vec<Bytes> {
        match self.fault {
            Fault::Drop | Fault::BlackHole => vec![],
            Fault::Duplicate => vec![reply.clone(), reply],
            Fault::Swap => match self.held.take() {
                Some(held) => vec![reply, held],
                None => {
                    self.held = Some(reply);
                    vec![]
                }
            },
            Fault::Garbage { .. } => vec![self.garbage(&reply)],
            Fault::HugeLength if text_reply::is_text(&reply) => vec![text_reply::with_huge_length(reply)],
            Fault::WrongOpaque { xor } if text_reply::is_text(&reply) => {
                vec![text_reply::with_wrong_opaque(reply, xor)]
            }
            // The offsets are those of the fields in a binary header.
            Fault::WrongMagic(byte) => vec![with_field(reply, 0, |field: &mut [u8; 1]| *field = [byte])],
            Fault::WrongOpcode(byte) => vec![with_field(reply, 1, |field: &mut [u8; 1]| *field = [byte])],
            Fault::HugeLength => vec![with_field(reply, 8, |field: &mut [u8; 4]| *field = [0xff; 4])],
            Fault::WrongOpaque { xor } => vec![with_field(reply, 12, |field: &mut [u8; 4]| {
                *field = (u32::from_be_bytes(*field) ^ xor).to_be_bytes();
            })],
            _ => vec![reply],
        }
    }

    fn garbage(&mut self, reply: &[u8]) -> Bytes {
        let mut bytes = vec![0; reply.len()];
        self.rng.fill(&mut bytes);
        // Binary replies start with 0x81, text replies with a letter or digit: replace such a first byte by another.
        let is_valid = |first: u8| if text_reply::is_text(reply) { first < 0x80 } else { first == 0x81 };
        if let Some(first) = bytes.first_mut().filter(|first| is_valid(**first)) {
            *first = if *first == 0x81 { 0x18 } else { *first | 0x80 };
        }
        bytes.into()
    }

    /// Returns the operations that perform this one when and how the fault demands.
    fn schedule(&mut self, op: SocketOp, now: Instant) -> Vec<SocketOp> {
        let SocketOp::Write(bytes) = op else { return vec![op] };
        match &self.fault {
            Fault::Delay(delay) => vec![SocketOp::WaitUntil(add(now, *delay)), SocketOp::Write(bytes)],
            &Fault::Disconnect { after, close } => self.disconnect(bytes, after, close),
            Fault::ByteByByte => separate_writes(bytes, |_| 1),
            Fault::Split { .. } => separate_writes(bytes, |remaining| split_length(&mut self.rng, remaining)),
            &Fault::Throttle { bytes_per_second } => self.throttle(bytes, bytes_per_second.max(1), now),
            Fault::SendAndClose(response) if self.once => {
                vec![SocketOp::Write(response.clone()), SocketOp::Close(Close::Fin)]
            }
            _ => vec![SocketOp::Write(bytes)],
        }
    }

    fn disconnect(&mut self, mut bytes: Bytes, after: usize, close: Close) -> Vec<SocketOp> {
        let remaining = after.saturating_sub(self.passed);
        self.passed = self.passed.saturating_add(bytes.len());
        if bytes.len() < remaining {
            return vec![SocketOp::Write(bytes)];
        }
        bytes.truncate(remaining);
        let last = Some(bytes).filter(|bytes| !bytes.is_empty()).map(SocketOp::Write);
        last.into_iter().chain([SocketOp::Close(close)]).collect()
    }

    fn throttle(&mut self, bytes: Bytes, bytes_per_second: u32, now: Instant) -> Vec<SocketOp> {
        // A hundred writes per second are smooth enough; below that rate each byte is written alone.
        let length = (bytes_per_second / 100).max(1);
        let pause = Duration::from_secs_f64(f64::from(length) / f64::from(bytes_per_second));
        let mut ops = Vec::new();
        for piece in pieces(bytes, |_| length as usize) {
            let at = self.next_write_at.map_or(now, |next| next.max(now));
            self.next_write_at = Some(at + pause);
            ops.extend([SocketOp::WaitUntil(at), SocketOp::Write(piece)]);
        }
        ops
    }
}

/// Returns the reply with a field changed. A reply that is too short for it is unchanged.
fn with_field<const N: usize>(reply: Bytes, offset: usize, change: impl FnOnce(&mut [u8; N])) -> Bytes {
    let mut bytes = BytesMut::from(&reply[..]);
    if let Some(field) = bytes.get_mut(offset..).and_then(|rest| rest.first_chunk_mut()) {
        change(field);
    }
    bytes.freeze()
}

/// Adds a delay. One that overflows becomes a year, which no test waits for.
fn add(now: Instant, delay: Duration) -> Instant {
    now.checked_add(delay).unwrap_or(now + MAX_DELAY)
}

const MAX_DELAY: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Returns operations that write each piece by itself.
fn separate_writes(bytes: Bytes, length: impl FnMut(usize) -> usize) -> Vec<SocketOp> {
    pieces(bytes, length).into_iter().flat_map(|piece| [SocketOp::Write(piece), SocketOp::Yield]).collect()
}

/// Splits bytes into pieces. `length` returns the length of the next one for the number of remaining bytes.
fn pieces(mut bytes: Bytes, mut length: impl FnMut(usize) -> usize) -> Vec<Bytes> {
    let mut pieces = Vec::new();
    while !bytes.is_empty() {
        let length = length(bytes.len()).clamp(1, bytes.len());
        pieces.push(bytes.split_to(length));
    }
    pieces
}

/// Returns a random length: half of them short enough to split a header, the others so that a large value does not
/// need thousands of pieces.
fn split_length(rng: &mut Rng, remaining: usize) -> usize {
    let longest = if rng.bool() { remaining } else { remaining.min(24) };
    rng.usize(1..=longest)
}

#[cfg(test)]
mod tests;
