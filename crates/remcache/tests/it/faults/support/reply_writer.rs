//! Writes the replies of a fake server to a connection, with the configured fault.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use remcache::proto::Protocol;
use tokio::io::AsyncWriteExt;
use tokio::time::sleep;

use super::fake_server::ServerStream;
use super::server_fault::{CloseKind, Corruption, ServerFault};

/// Writes replies to one connection.
#[derive(Debug)]
pub(crate) struct ReplyWriter {
    protocol: Protocol,
    fault: ServerFault,
    rng: Rng,
    sent: usize,
}

/// `Err` if the connection is to be closed.
pub(crate) type WriteResult = Result<(), CloseKind>;

impl ReplyWriter {
    pub(crate) fn new(protocol: Protocol, fault: ServerFault) -> Self {
        let seed = match fault {
            ServerFault::SplitReplies(_, seed) | ServerFault::CorruptReply(_, seed) => seed,
            _ => 0,
        };
        Self { protocol, fault, rng: Rng::with_seed(seed), sent: 0 }
    }

    /// Writes a batch of frames, each of which is one complete reply.
    pub(crate) async fn write(&mut self, stream: &mut impl ServerStream, mut frames: Vec<Bytes>) -> WriteResult {
        if frames.is_empty() {
            return Ok(());
        }
        match self.fault.clone() {
            ServerFault::CloseAfterSending(limit, how) => {
                return self.cut(stream, &frames.concat(), limit, how).await;
            }
            ServerFault::SplitReplies(longest, _) => return self.split(stream, &frames.concat(), longest).await,
            ServerFault::AnswerWith(bytes) | ServerFault::NotMemcached(bytes) => {
                return self.send(stream, &bytes).await;
            }
            ServerFault::Drip(interval) => return self.drip(stream, &frames, interval).await,
            ServerFault::CorruptReply(corruption, _) => {
                if self.corrupt(corruption, &mut frames) {
                    self.fault = ServerFault::None;
                }
            }
            ServerFault::NeverAnswer => return Ok(()),
            ServerFault::None
            | ServerFault::ResetAfterReading(_)
            | ServerFault::RefuseConnections
            | ServerFault::Unreachable
            | ServerFault::NeverRead => {}
        }
        self.send(stream, &frames.concat()).await
    }

    async fn send(&mut self, stream: &mut impl ServerStream, bytes: &[u8]) -> WriteResult {
        self.sent += bytes.len();
        stream.write_all(bytes).await.map_err(|_| CloseKind::Rst)
    }

    async fn cut(&mut self, stream: &mut impl ServerStream, bytes: &[u8], limit: usize, how: CloseKind) -> WriteResult {
        let remaining = limit - self.sent;
        let (now, _) = bytes.split_at(remaining.min(bytes.len()));
        self.send(stream, now).await?;
        if self.sent < limit { Ok(()) } else { Err(how) }
    }

    async fn split(&mut self, stream: &mut impl ServerStream, mut bytes: &[u8], longest: usize) -> WriteResult {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(self.rng.usize(1..=longest).min(bytes.len()));
            self.send(stream, now).await?;
            // Let the client read: otherwise the pieces would be joined again in its socket buffer.
            tokio::task::yield_now().await;
            bytes = later;
        }
        Ok(())
    }

    async fn drip(&mut self, stream: &mut impl ServerStream, frames: &[Bytes], interval: Duration) -> WriteResult {
        for frame in frames {
            if frame.len() < MIN_DRIPPED {
                self.send(stream, frame).await?;
                continue;
            }
            for byte in frame.chunks(1) {
                self.send(stream, byte).await?;
                sleep(interval).await;
            }
        }
        Ok(())
    }

    /// Corrupts one reply; returns whether there was one whose corruption a client can detect.
    fn corrupt(&mut self, corruption: Corruption, frames: &mut Vec<Bytes>) -> bool {
        let candidates: Vec<usize> =
            (0..frames.len()).filter(|&at| is_detectable(self.protocol, corruption, &frames[at])).collect();
        let Some(&at) = self.rng.choice(&candidates) else { return false };
        match corruption {
            Corruption::Swap => {
                let other = *self.rng.choice(&candidates).expect("there is at least one");
                frames.swap(at, other);
            }
            Corruption::Repeat => frames.insert(at, frames[at].clone()),
            Corruption::Omit => drop(frames.remove(at)),
            Corruption::ChangeKind => frames[at] = with_byte(&frames[at], 1, self.rng.u8(1..)),
            Corruption::InsertGarbage => frames.insert(at, random_garbage(self.protocol, &mut self.rng)),
            Corruption::ChangeOwner => {
                let range = owner_range(self.protocol, &frames[at]).expect("a candidate names its owner");
                // A difference outside ASCII cannot turn the key into another key of the same multiget.
                let difference = if self.protocol == Protocol::Binary { self.rng.u8(1..) } else { self.rng.u8(0x80..) };
                frames[at] = with_byte(&frames[at], self.rng.usize(range), difference);
            }
        }
        true
    }
}

/// Returns whether a client can detect this corruption of a reply.
///
/// Statistics may come in any order. In the text protocol a bare number and an `END` do not identify the request
/// they answer: a client accepts them wherever it waits for one.
fn is_detectable(protocol: Protocol, corruption: Corruption, frame: &[u8]) -> bool {
    let is_anonymous = match protocol {
        Protocol::Binary => frame[1] == STAT,
        _ => {
            frame.starts_with(b"STAT")
                || frame == b"END\r\n"
                || (frame[0].is_ascii_digit() && corruption != Corruption::Swap)
        }
    };
    !is_anonymous && (corruption != Corruption::ChangeOwner || owner_range(protocol, frame).is_some())
}

/// Returns where a reply identifies the request it answers.
fn owner_range(protocol: Protocol, frame: &[u8]) -> Option<Range<usize>> {
    match protocol {
        Protocol::Binary => Some(12..16),
        _ if frame.starts_with(b"VALUE ") => {
            let end = frame[6..].iter().position(|byte| *byte == b' ')?;
            Some(6..6 + end)
        }
        _ => {
            let opaque = frame.windows(2).position(|pair| pair == b" O")? + 2;
            Some(opaque..opaque + 8)
        }
    }
}

/// Returns random bytes; half of the time the first byte is that of a valid reply.
pub(crate) fn random_garbage(protocol: Protocol, rng: &mut Rng) -> Bytes {
    let length = rng.usize(1..200);
    let valid = if protocol == Protocol::Binary { 0x81 } else { b"VHESD"[rng.usize(..5)] };
    let first = if rng.bool() { valid } else { rng.u8(..) };
    std::iter::once(first).chain(std::iter::repeat_with(|| rng.u8(..))).take(length).collect()
}

/// Returns the frame with one byte changed by a nonzero difference.
fn with_byte(frame: &[u8], at: usize, difference: u8) -> Bytes {
    let mut frame = frame.to_vec();
    frame[at] ^= difference;
    frame.into()
}

const STAT: u8 = 0x10;
const MIN_DRIPPED: usize = 100_000;
