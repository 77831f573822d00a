//! 100,000 random conversations with a server that sends wrong replies: none is delivered to a caller.

use std::time::Instant;

use bytes::{Buf, Bytes};

use super::Harness;
use crate::binary::{Opcode, Packet, decode_request};
use crate::*;

/// A corruption of the replies of a server.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Corruption {
    None,
    Swap,
    Repeat,
    Drop,
    Opcode,
    Opaque,
    Truncate,
}

/// A random number generator whose sequence for a seed never changes.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// Returns the value of a key: keys with even numbers exist.
pub(crate) fn expected_value(key: &[u8]) -> Option<Bytes> {
    let number: u64 = std::str::from_utf8(key).unwrap().parse().unwrap();
    number.is_multiple_of(2).then(|| Bytes::from(format!("value of {number}")))
}

/// Returns the correct reply to a request.
fn correct_reply(packet: &Packet) -> Option<Packet> {
    let opcode = Opcode(packet.header.opcode);
    let request = decode_request(packet).unwrap();
    let reply = match request.operation() {
        Operation::NoOp => Reply::new(Status::NoError),
        _ => match expected_value(&packet.key) {
            Some(value) => Reply { value, ..Reply::new(Status::NoError) },
            None if request.is_quiet() => return None,
            None => Reply::with_text(Status::KeyNotFound, "Not found"),
        },
    };
    let mut output = Output::new();
    binary::encode_reply(&reply, opcode, packet.header.opaque, &mut output);
    let mut input = InputBuffer::new();
    input.extend(output.small());
    Packet::decode(&mut input, 1 << 20).unwrap()
}

fn corrupt(corruption: Corruption, replies: &mut Vec<Packet>, random: &mut Random) {
    if replies.is_empty() {
        return;
    }
    let at = usize::try_from(random.below(replies.len() as u64)).unwrap();
    match corruption {
        Corruption::None | Corruption::Truncate => {}
        Corruption::Swap => {
            let other = usize::try_from(random.below(replies.len() as u64)).unwrap();
            replies.swap(at, other);
        }
        Corruption::Repeat => replies.insert(at, replies[at].clone()),
        Corruption::Drop => drop(replies.remove(at)),
        Corruption::Opcode => {
            replies[at].header.opcode = [0x00, 0x01, 0x09, 0x0a][usize::try_from(random.below(4)).unwrap()]
        }
        Corruption::Opaque => {
            replies[at].header.opaque = replies[at].header.opaque.wrapping_add(1 + random.below(9) as u32)
        }
    }
}

/// Runs a conversation with corrupted replies: every delivered reply is correct, a missing one is reported as
/// `Disconnected`, and every request completes exactly once.
fn conversation(seed: u64) {
    let mut random = Random(seed);
    let opaque = [0, u32::MAX - 5, 77][usize::try_from(random.below(3)).unwrap()];
    let mut harness = Harness::new(Limits::default(), opaque);
    let corruptions = [
        Corruption::None,
        Corruption::Swap,
        Corruption::Repeat,
        Corruption::Drop,
        Corruption::Opcode,
        Corruption::Opaque,
        Corruption::Truncate,
    ];
    let chosen = corruptions[usize::try_from(random.below(corruptions.len() as u64)).unwrap()];
    let count = 1 + random.below(12);
    // With quiet gets, a missing or renumbered reply looks like a miss, which is why the client's own gets are not
    // quiet.
    let some_quiet = random.below(2) == 0;
    let is_undetectable = some_quiet && matches!(chosen, Corruption::Drop | Corruption::Swap | Corruption::Opaque);
    for number in 0..count {
        let key = number.to_string();
        let request = Request::get(&key);
        let quiet = some_quiet && random.below(2) == 0;
        let request = if quiet { request.quiet() } else { request };
        harness.submit(&request, number, 0).unwrap();
    }
    let mut replies: Vec<Packet> = harness.sent().iter().filter_map(correct_reply).collect();
    corrupt(chosen, &mut replies, &mut random);
    let mut output = Output::new();
    replies.iter().for_each(|reply| reply.encode(&mut output));
    let mut bytes = output.copy_to_bytes(output.remaining()).to_vec();
    if let Corruption::Truncate = chosen {
        bytes.truncate(usize::try_from(random.below(bytes.len() as u64 + 1)).unwrap());
    }
    let mut completions = vec![0; usize::try_from(count).unwrap()];
    let Harness { connection, input, .. } = &mut harness;
    receive(connection, input, bytes, &mut random, |connection, input| {
        take_events(connection, input, &mut completions, is_undetectable, seed, chosen)
    });
    assert!(completions.iter().all(|&times| times == 1), "seed {seed}, {chosen:?}: {completions:?}");
}

/// Receives bytes in random pieces until `take` rejects them or none are left, then closes the connection; returns
/// whether they were rejected.
pub(crate) fn receive(
    connection: &mut Connection,
    input: &mut InputBuffer,
    mut bytes: Vec<u8>,
    random: &mut Random,
    mut take: impl FnMut(&mut Connection, &mut InputBuffer) -> Result<(), ProtocolError>,
) -> bool {
    let mut is_rejected = false;
    while !bytes.is_empty() && !is_rejected {
        let piece = (1 + usize::try_from(random.below(40)).unwrap()).min(bytes.len());
        input.extend(&bytes.drain(..piece).collect::<Vec<_>>());
        is_rejected = take(connection, input).is_err();
    }
    *input = InputBuffer::new();
    connection.close(&Bytes::from("gone"), Instant::now());
    take(connection, input).unwrap();
    is_rejected
}

fn take_events(
    connection: &mut Connection,
    input: &mut InputBuffer,
    completions: &mut [u32],
    is_undetectable: bool,
    seed: u64,
    corruption: Corruption,
) -> Result<(), ProtocolError> {
    while let Some(event) = connection.poll_event(input)? {
        let number = event.tag.0;
        completions[usize::try_from(number).unwrap()] += 1;
        let expected_value = expected_value(number.to_string().as_bytes());
        match event.reply.status {
            Status::NoError | Status::KeyNotFound if is_undetectable => {}
            Status::NoError => {
                assert_eq!(Some(event.reply.value), expected_value, "seed {seed}, {corruption:?}: key {number}")
            }
            Status::KeyNotFound => assert_eq!(None, expected_value, "seed {seed}, {corruption:?}: key {number}"),
            status => assert!(matches!(status, Status::Disconnected(_)), "seed {seed}, {corruption:?}: {status}"),
        }
    }
    Ok(())
}

#[test]
fn wrong_replies_are_never_delivered() {
    let first: u64 = std::env::var("REMCACHE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0);
    for seed in first..first + 100_000 {
        conversation(seed);
    }
}
