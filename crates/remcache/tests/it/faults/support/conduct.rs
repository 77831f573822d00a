//! How a server behaves: honestly, or with a fault, as a value.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use remcache::proto::Protocol;
use tokio::io::AsyncWriteExt;
use tokio::time::sleep;

use super::serve::Peer;

/// How a server treats a connection.
#[derive(Clone, Debug)]
pub(crate) enum Conduct {
    /// As it should.
    Honest,
    /// Refuses to connect.
    Refuses,
    /// Nothing comes of an attempt to connect.
    Unreachable,
    /// Ends the connection when it has sent so many bytes.
    Cuts(usize, Ending),
    /// Resets the connection when it has read so many bytes; what is whole in them is executed.
    Hears(usize),
    /// Sends random pieces of at most so many bytes.
    Splits(usize, u64),
    /// Answers whatever is asked with these bytes.
    Says(Bytes),
    /// The same from the first byte on: not even the question for its version is answered.
    Stranger(Bytes),
    /// Tells one lie among the first replies that leave together, and none after.
    Lies(Lie, u64),
    /// Sends replies of 100 kB and more at one byte in this time.
    Drips(Duration),
    /// Reads, and never answers.
    Silent,
    /// Accepts, and never reads.
    Deaf,
}

impl Conduct {
    /// Whether it begins only when a client that asks for the version first has its answer.
    pub(crate) fn begins_after_the_greeting(&self) -> bool {
        matches!(self, Self::Says(_) | Self::Silent | Self::Deaf)
    }
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// In order.
    Fin,
    /// By a reset.
    Rst,
}

/// What a server does to its replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    Swaps,
    Repeats,
    Withholds,
    /// What a reply is to: its opcode, its return code or its first word.
    ChangesKind,
    /// Whose a reply is: its opaque, or where there is none the key of an item.
    ChangesOwner,
    Babbles,
}

impl Lie {
    pub(crate) const ALL: [Self; 6] =
        [Self::Swaps, Self::Repeats, Self::Withholds, Self::ChangesKind, Self::ChangesOwner, Self::Babbles];
}

/// The mouth of a server on one connection.
#[derive(Debug)]
pub(crate) struct Speaker {
    protocol: Protocol,
    conduct: Conduct,
    rng: Rng,
    sent: usize,
}

/// Whether the connection goes on.
pub(crate) type Spoken = Result<(), Ending>;

impl Speaker {
    pub(crate) fn new(protocol: Protocol, conduct: Conduct) -> Self {
        let seed = match conduct {
            Conduct::Splits(_, seed) | Conduct::Lies(_, seed) => seed,
            _ => 0,
        };
        Self { protocol, conduct, rng: Rng::with_seed(seed), sent: 0 }
    }

    /// Sends the frames of one turn, each the whole of a reply.
    pub(crate) async fn speak(&mut self, stream: &mut impl Peer, mut frames: Vec<Bytes>) -> Spoken {
        if frames.is_empty() {
            return Ok(());
        }
        match self.conduct.clone() {
            Conduct::Cuts(after, how) => return self.cut(stream, &frames.concat(), after, how).await,
            Conduct::Splits(longest, _) => return self.split(stream, &frames.concat(), longest).await,
            Conduct::Says(bytes) | Conduct::Stranger(bytes) => return self.send(stream, &bytes).await,
            Conduct::Drips(pace) => return self.drip(stream, &frames, pace).await,
            Conduct::Lies(lie, _) => {
                if self.lie(lie, &mut frames) {
                    self.conduct = Conduct::Honest;
                }
            }
            Conduct::Silent => return Ok(()),
            Conduct::Honest | Conduct::Hears(_) | Conduct::Refuses | Conduct::Unreachable | Conduct::Deaf => {}
        }
        self.send(stream, &frames.concat()).await
    }

    async fn send(&mut self, stream: &mut impl Peer, bytes: &[u8]) -> Spoken {
        self.sent += bytes.len();
        stream.write_all(bytes).await.map_err(|_| Ending::Rst)
    }

    async fn cut(&mut self, stream: &mut impl Peer, bytes: &[u8], after: usize, how: Ending) -> Spoken {
        let room = after - self.sent;
        let (now, _) = bytes.split_at(room.min(bytes.len()));
        self.send(stream, now).await?;
        if self.sent < after { Ok(()) } else { Err(how) }
    }

    async fn split(&mut self, stream: &mut impl Peer, mut bytes: &[u8], longest: usize) -> Spoken {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(self.rng.usize(1..=longest).min(bytes.len()));
            self.send(stream, now).await?;
            // Gives the receiver a turn: else the pieces would meet again in its socket.
            tokio::task::yield_now().await;
            bytes = later;
        }
        Ok(())
    }

    async fn drip(&mut self, stream: &mut impl Peer, frames: &[Bytes], pace: Duration) -> Spoken {
        for frame in frames {
            if frame.len() < DRIPPED_FROM {
                self.send(stream, frame).await?;
                continue;
            }
            for byte in frame.chunks(1) {
                self.send(stream, byte).await?;
                sleep(pace).await;
            }
        }
        Ok(())
    }

    /// Whether there was a reply to lie about.
    fn lie(&mut self, lie: Lie, frames: &mut Vec<Bytes>) -> bool {
        let candidates: Vec<usize> =
            (0..frames.len()).filter(|&at| can_be_seen(self.protocol, lie, &frames[at])).collect();
        let Some(&at) = self.rng.choice(&candidates) else { return false };
        match lie {
            Lie::Swaps => {
                let other = *self.rng.choice(&candidates).expect("there is one at least");
                frames.swap(at, other);
            }
            Lie::Repeats => frames.insert(at, frames[at].clone()),
            Lie::Withholds => drop(frames.remove(at)),
            Lie::ChangesKind => frames[at] = with_byte(&frames[at], 1, self.rng.u8(1..)),
            Lie::Babbles => frames.insert(at, babble(self.protocol, &mut self.rng)),
            Lie::ChangesOwner => {
                let places = owner(self.protocol, &frames[at]).expect("a candidate names its owner");
                // Beyond ASCII, a key becomes none of those that share its line.
                let difference = if self.protocol == Protocol::Binary { self.rng.u8(1..) } else { self.rng.u8(0x80..) };
                frames[at] = with_byte(&frames[at], self.rng.usize(places), difference);
            }
        }
        true
    }
}

/// Whether a client can tell that a server lies in this way about a reply.
///
/// Statistics are alike in any order. On the text protocol a number alone and an `END` say of nobody whose they
/// are: a client takes them at their word where it waits for one.
fn can_be_seen(protocol: Protocol, lie: Lie, frame: &[u8]) -> bool {
    let says_nothing = match protocol {
        Protocol::Binary => frame[1] == STAT,
        _ => frame.starts_with(b"STAT") || frame == b"END\r\n" || (frame[0].is_ascii_digit() && lie != Lie::Swaps),
    };
    !says_nothing && (lie != Lie::ChangesOwner || owner(protocol, frame).is_some())
}

/// Where a reply says whose it is.
fn owner(protocol: Protocol, frame: &[u8]) -> Option<Range<usize>> {
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

/// Bytes that mean nothing; half of them begin as a reply does.
pub(crate) fn babble(protocol: Protocol, rng: &mut Rng) -> Bytes {
    let length = rng.usize(1..200);
    let beginning = if protocol == Protocol::Binary { 0x81 } else { b"VHESD"[rng.usize(..5)] };
    let first = if rng.bool() { beginning } else { rng.u8(..) };
    std::iter::once(first).chain(std::iter::repeat_with(|| rng.u8(..))).take(length).collect()
}

/// The frame with one byte changed, by what is not 0.
fn with_byte(frame: &[u8], at: usize, difference: u8) -> Bytes {
    let mut frame = frame.to_vec();
    frame[at] ^= difference;
    frame.into()
}

const STAT: u8 = 0x10;
const DRIPPED_FROM: usize = 100_000;
