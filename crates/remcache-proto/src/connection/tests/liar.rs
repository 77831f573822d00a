//! A lying server of 100,000 seeds: whatever it does to its replies, it is never believed.

use bytes::{Buf, Bytes};

use super::Bench;
use crate::binary::{Opcode, Packet, decode_request};
use crate::*;

/// What a server may do to its replies.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Lie {
    None,
    Swap,
    Repeat,
    Drop,
    Opcode,
    Opaque,
    Cut,
}

/// A small random number generator: seeds must mean the same for ever.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// The truth about a key: even ones exist, with a value that names them.
pub(crate) fn truth(key: &[u8]) -> Option<Bytes> {
    let number: u64 = std::str::from_utf8(key).unwrap().parse().unwrap();
    number.is_multiple_of(2).then(|| Bytes::from(format!("value of {number}")))
}

/// What an honest server answers.
fn honest(packet: &Packet) -> Option<Packet> {
    let opcode = Opcode(packet.header.opcode);
    let request = decode_request(packet).unwrap();
    let reply = match request.operation() {
        Operation::NoOp => Reply::new(Status::NoError),
        _ => match truth(&packet.key) {
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

fn lie(lie: Lie, replies: &mut Vec<Packet>, random: &mut Random) {
    if replies.is_empty() {
        return;
    }
    let at = usize::try_from(random.below(replies.len() as u64)).unwrap();
    match lie {
        Lie::None | Lie::Cut => {}
        Lie::Swap => {
            let other = usize::try_from(random.below(replies.len() as u64)).unwrap();
            replies.swap(at, other);
        }
        Lie::Repeat => replies.insert(at, replies[at].clone()),
        Lie::Drop => drop(replies.remove(at)),
        Lie::Opcode => replies[at].header.opcode = [0x00, 0x01, 0x09, 0x0a][usize::try_from(random.below(4)).unwrap()],
        Lie::Opaque => replies[at].header.opaque = replies[at].header.opaque.wrapping_add(1 + random.below(9) as u32),
    }
}

/// One conversation: whatever the server does, a reply that is delivered is the truth or a missing
/// reply is reported as such, and every request ends exactly once.
fn conversation(seed: u64) {
    let mut random = Random(seed);
    let opaque = [0, u32::MAX - 5, 77][usize::try_from(random.below(3)).unwrap()];
    let mut bench = Bench::new(Limits::default(), opaque);
    let lies = [Lie::None, Lie::Swap, Lie::Repeat, Lie::Drop, Lie::Opcode, Lie::Opaque, Lie::Cut];
    let chosen = lies[usize::try_from(random.below(lies.len() as u64)).unwrap()];
    let count = 1 + random.below(12);
    // A quiet get cannot distinguish a withheld or renumbered reply from a miss,
    // which is why the client's gets are not quiet; only what such a server cannot hide is checked.
    let some_quiet = random.below(2) == 0;
    let deniable = some_quiet && matches!(chosen, Lie::Drop | Lie::Swap | Lie::Opaque);
    for number in 0..count {
        let key = number.to_string();
        let request = Request::get(&key);
        let quiet = some_quiet && random.below(2) == 0;
        let request = if quiet { request.quiet() } else { request };
        bench.submit(&request, number, 0).unwrap();
    }
    let mut replies: Vec<Packet> = bench.sent().iter().filter_map(honest).collect();
    lie(chosen, &mut replies, &mut random);
    let mut output = Output::new();
    replies.iter().for_each(|reply| reply.encode(&mut output));
    let mut bytes = output.copy_to_bytes(output.remaining()).to_vec();
    if let Lie::Cut = chosen {
        bytes.truncate(usize::try_from(random.below(bytes.len() as u64 + 1)).unwrap());
    }
    let mut ended = vec![0; usize::try_from(count).unwrap()];
    let mut broken = false;
    // The bytes come in random pieces.
    while !bytes.is_empty() && !broken {
        let piece = (1 + usize::try_from(random.below(40)).unwrap()).min(bytes.len());
        bench.input.extend(&bytes.drain(..piece).collect::<Vec<_>>());
        broken = take_events(&mut bench, &mut ended, deniable, seed, chosen).is_err();
    }
    bench.input = InputBuffer::new();
    bench.connection.close(&Bytes::from("gone"), bench.at(0));
    take_events(&mut bench, &mut ended, deniable, seed, chosen).unwrap();
    assert!(ended.iter().all(|&times| times == 1), "seed {seed}, {chosen:?}: {ended:?}");
}

fn take_events(bench: &mut Bench, ended: &mut [u32], deniable: bool, seed: u64, lie: Lie) -> Result<(), ProtocolError> {
    while let Some(event) = bench.connection.poll_event(&mut bench.input)? {
        let number = event.tag.0;
        ended[usize::try_from(number).unwrap()] += 1;
        let truth = truth(number.to_string().as_bytes());
        match event.reply.status {
            Status::NoError | Status::KeyNotFound if deniable => {}
            Status::NoError => assert_eq!(Some(event.reply.value), truth, "seed {seed}, {lie:?}: key {number}"),
            Status::KeyNotFound => assert_eq!(None, truth, "seed {seed}, {lie:?}: key {number}"),
            status => assert!(matches!(status, Status::Disconnected(_)), "seed {seed}, {lie:?}: {status}"),
        }
    }
    Ok(())
}

#[test]
fn a_lying_server_is_never_believed() {
    let first: u64 = std::env::var("REMCACHE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0);
    for seed in first..first + 100_000 {
        conversation(seed);
    }
}
