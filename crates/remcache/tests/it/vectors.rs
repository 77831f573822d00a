//! The codec against bytes that were seen on a real server: all 300 binary vectors, both directions;
//! those of the protocols of lines in `lines`.

mod lines;

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Buf, Bytes};
use remcache::Status;
use remcache::proto::binary::{self, Magic, Opcode, Packet};
use remcache::proto::{InputBuffer, Output, ProtocolError};
use remcache_testkit::vectors::{Protocol, Vector, vectors};

/// What the codec does with bytes that it cannot decode and encode again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Odd {
    /// The bytes are not whole packets of the direction they go.
    NotPackets,
    /// The packet is one, and means no request.
    NoRequest,
    /// The packet means a request that is refused before it is sent.
    Refused,
    /// The packet means a request that is said with other bytes.
    SaidOtherwise,
}

/// The deliberate exceptions: what happens, why, and to which vectors.
type Exceptions = &'static [(Odd, &'static str, &'static [&'static str])];

const ODD_REQUESTS: Exceptions = &[
    (
        Odd::NotPackets,
        "text on a binary connection: the server closes",
        &["ascii_to_binary_only_server", "sasl_text_on_sasl_server", "text_after_binary"],
    ),
    (
        Odd::NotPackets,
        "a magic byte that is not a request's",
        &["magic_00_after_valid", "magic_81_after_valid", "magic_81_first"],
    ),
    (
        Odd::NotPackets,
        "more bytes are announced than anybody takes",
        &[
            "body_len_40000001_set",
            "body_len_7fffffff_set",
            "body_len_80000000_set",
            "body_len_80000000_unknown",
            "body_len_ffffffff_get",
            "body_len_ffffffff_set",
            "body_len_ffffffff_unknown",
        ],
    ),
    (
        Odd::NotPackets,
        "extras and key are longer than the body",
        &["body_shorter_than_extras_plus_key", "body_shorter_than_key", "getq_body_shorter_than_key"],
    ),
    (
        Odd::NotPackets,
        "bytes that fill up what the server swallows after an unknown opcode",
        &["unknown_opcode_then_padding_noop"],
    ),
];

const UNSAID_REQUESTS: Exceptions = &[
    (
        Odd::NoRequest,
        "memcached does not know the opcode",
        &[
            "elasticache_config_get_60_on_plain_server",
            "sasl_unknown_opcode_unauth",
            "unknown_opcode_1f",
            "unknown_opcode_25",
            "unknown_opcode_2f",
            "unknown_opcode_30",
            "unknown_opcode_3c",
            "unknown_opcode_3d",
            "unknown_opcode_40",
            "unknown_opcode_45",
            "unknown_opcode_50",
            "unknown_opcode_91",
            "unknown_opcode_c7",
            "unknown_opcode_ff",
            "unknown_opcode_ff_with_key_desync",
            "unknown_opcode_ff_with_value_only",
            "unknown_opcode_then_padding_noop",
        ],
    ),
    (
        Odd::NoRequest,
        "the extras are not those of the opcode: the server answers 0x04 and closes",
        &[
            "append_extras_8",
            "delete_extras_4",
            "flush_extras_8",
            "gat_extras_0",
            "get_with_extras4",
            "incr_extras_0",
            "incr_extras_16",
            "noop_with_extras",
            "sasl_auth_extras",
            "set_extras_0",
            "set_extras_12",
            "set_extras_4",
            "setq_extras_0",
            "stat_extras_4",
            "touch_extras_0",
            "touch_extras_8",
            "verbosity_no_body",
        ],
    ),
    (
        Odd::Refused,
        "an empty key, or one of 251 bytes: the server answers 0x04 and closes",
        &[
            "append_key_0",
            "delete_key_0",
            "get_key_0",
            "get_key_251",
            "getq_key_0",
            "getq_key_251",
            "incr_key_0",
            "partial_then_error",
            "sasl_auth_mech_empty",
            "set_key_0",
            "set_key_251",
            "touch_key_0",
        ],
    ),
    (
        Odd::Refused,
        "an add with a CAS value runs as a set: it would overwrite the item",
        &["add_cas_match_existing", "add_cas_mismatch_existing", "add_cas_nonzero_missing_key"],
    ),
    (
        Odd::Refused,
        "the last second of the protocol is no time: for counters it means something else",
        &["exp_ffffffff", "touch_negative_exp_then_get"],
    ),
    (Odd::Refused, "the server would lose step over it", &["verbosity_4_extras"]),
    (Odd::Refused, "the server answers without an end", &["stat_sizes_enable"]),
    (
        Odd::SaidOtherwise,
        "a key or a value that the operation has no use for: the server closes, or loses step",
        &[
            "delete_with_value",
            "flush_with_key",
            "flushq_with_key",
            "gat_with_value_desync",
            "get_with_value",
            "incr_with_value",
            "noop_with_key",
            "quit_with_key",
            "stat_with_value_desync",
            "touch_with_value_desync",
            "version_with_key",
        ],
    ),
    (Odd::SaidOtherwise, "a flush with a past time flushes now, which needs no time", &["flush_past_absolute"]),
    (
        Odd::SaidOtherwise,
        "data type and virtual bucket are always 0",
        &["get_datatype_1", "get_reserved_ffff", "set_datatype_ff_then_get"],
    ),
    (
        Odd::SaidOtherwise,
        "a counter that is not to be created needs no initial number",
        &[
            "decr_missing_noseed",
            "decrq_missing_noseed",
            "incr_cas_missing_key_noseed",
            "incr_missing_noseed",
            "incrq_missing_noseed",
            "oom_incr_missing_noseed",
        ],
    ),
    (Odd::SaidOtherwise, "a flush at once needs no time", &["flush_extras_0"]),
    (
        Odd::SaidOtherwise,
        "the largest expiry is reserved: in an increment it means that no counter is created",
        &["exp_ffffffff", "touch_negative_exp_then_get"],
    ),
];

const ODD_REPLIES: Exceptions = &[(
    Odd::NotPackets,
    "the server answers in text",
    &["binary_to_ascii_only_server", "magic_81_first", "too_many_connections"],
)];

/// What was found, by the vector's name without its `bin/`.
type Found = BTreeMap<&'static str, (Odd, String)>;

fn assert_agrees(found: &Found, table: Exceptions) {
    let expected: BTreeMap<&str, Odd> =
        table.iter().flat_map(|(odd, _, names)| names.iter().map(move |name| (*name, *odd))).collect();
    let surprises = found.iter().filter(|(name, (odd, _))| expected.get(*name) != Some(odd));
    let surprises = surprises.map(|(name, (odd, what))| format!("{name}: {odd:?}: {what}"));
    let outdated = expected.keys().filter(|name| !found.contains_key(*name));
    let outdated = outdated.map(|name| format!("{name}: nothing is odd about it"));
    let differences: Vec<String> = surprises.chain(outdated).collect();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// More than any vector's body, and less than those that only announce one.
const MAX_BODY: usize = 4 << 20;

fn binary_vectors() -> impl Iterator<Item = &'static Vector> {
    vectors().iter().filter(|it| it.protocol == Protocol::Binary)
}

fn name(vector: &Vector) -> &str {
    vector.name.strip_prefix("bin/").expect("a binary vector's name")
}

/// All that a vector sends.
fn sent(vector: &Vector) -> impl Iterator<Item = &Vec<u8>> {
    vector.setup.iter().chain([&vector.request])
}

/// All that servers answered, of both versions.
fn answered(vector: &Vector) -> impl Iterator<Item = &Vec<u8>> {
    [&vector.reply].into_iter().chain(vector.newer.as_ref().map(|newer| &newer.reply))
}

fn input(bytes: &[u8]) -> InputBuffer {
    let mut input = InputBuffer::new();
    input.extend(bytes);
    input
}

fn written(encode: impl FnOnce(&mut Output)) -> Bytes {
    let mut output = Output::new();
    encode(&mut output);
    output.copy_to_bytes(output.remaining())
}

/// The packets at the front of `bytes`, what is left, and what the decoder said of that.
fn packets(bytes: &[u8]) -> (Vec<Packet>, Bytes, Result<(), ProtocolError>) {
    let mut input = input(bytes);
    let mut packets = Vec::new();
    let end = loop {
        match Packet::decode(&mut input, MAX_BODY) {
            Ok(Some(packet)) => packets.push(packet),
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    (packets, Bytes::copy_from_slice(input.as_slice()), end)
}

/// Decodes and encodes the packets of a direction; how many there were.
fn packets_survive(magic: Magic, bytes: impl Fn(&'static Vector) -> Vec<&'static Vec<u8>>, table: Exceptions) -> usize {
    let mut odd = Found::new();
    let mut count = 0;
    for vector in binary_vectors() {
        for bytes in bytes(vector) {
            let (packets, rest, end) = packets(bytes);
            let again = written(|output| packets.iter().for_each(|packet| packet.encode(output)));
            assert_eq!(again, bytes[..bytes.len() - rest.len()], "{}", vector.name);
            let other_way = packets.iter().filter(|packet| packet.header.magic != magic).count();
            if !rest.is_empty() || other_way > 0 {
                let what = format!("{end:?}, {} bytes left, {other_way} packets of the other direction", rest.len());
                odd.insert(name(vector), (Odd::NotPackets, what));
            }
            count += packets.len() - other_way;
        }
    }
    assert_agrees(&odd, table);
    count
}

#[test]
fn all_vectors_are_looked_at() {
    assert_eq!(binary_vectors().count(), 300);
}

#[test]
fn request_packets_decode_and_encode_to_the_same_bytes() {
    assert_eq!(packets_survive(Magic::Request, |vector| sent(vector).collect(), ODD_REQUESTS), 504);
}

#[test]
fn reply_packets_decode_and_encode_to_the_same_bytes() {
    assert_eq!(packets_survive(Magic::Response, |vector| answered(vector).collect(), ODD_REPLIES), 392);
}

/// Whether a packet means a request that encodes to the packet's bytes; if not, why.
fn say_again(packet: &Packet) -> Result<(), (Odd, String)> {
    let request = binary::decode_request(packet).ok_or_else(|| (Odd::NoRequest, format!("{packet:?}")))?;
    let mut output = Output::new();
    let encoded = binary::encode(&request, packet.header.opaque, &mut output);
    let opcode = encoded.map_err(|invalid| (Odd::Refused, invalid.to_string()))?;
    assert_eq!(opcode, Opcode(packet.header.opcode), "the opcode that its reply will have");
    let again = output.copy_to_bytes(output.remaining());
    let original = written(|output| packet.encode(output));
    match again == original {
        true => Ok(()),
        false => Err((Odd::SaidOtherwise, format!("{original:x} became {again:x}"))),
    }
}

#[test]
fn requests_decode_to_the_model_and_encode_to_the_same_bytes() {
    let mut odd = Found::new();
    let mut said = 0;
    for vector in binary_vectors() {
        let packets = sent(vector).flat_map(|bytes| packets(bytes).0);
        for packet in packets.filter(|packet| packet.header.magic == Magic::Request) {
            match say_again(&packet) {
                Ok(()) => said += 1,
                Err(why) => drop(odd.insert(name(vector), why)),
            }
        }
    }
    assert_agrees(&odd, UNSAID_REQUESTS);
    assert_eq!(said, 429);
}

/// A reply packet, read by the offsets of the specification and by nothing of the codec's.
struct Seen<'a> {
    opcode: u8,
    status: u16,
    opaque: u32,
    cas: u64,
    extras: &'a [u8],
    key: &'a [u8],
    value: &'a [u8],
}

impl<'a> Seen<'a> {
    fn split_first(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let header = bytes.get(..24).filter(|header| header[0] == 0x81)?;
        let number = |from: usize, to: usize| header[from..to].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        let (extras_end, key_length) = (24 + usize::from(header[4]), number(2, 4) as usize);
        let end = 24 + number(8, 12) as usize;
        let seen = Self {
            opcode: header[1],
            status: number(6, 8) as u16,
            opaque: number(12, 16) as u32,
            cas: number(16, 24),
            extras: bytes.get(24..extras_end)?,
            key: bytes.get(extras_end..extras_end + key_length)?,
            value: bytes.get(extras_end + key_length..end)?,
        };
        Some((seen, &bytes[end..]))
    }

    fn number(&self) -> Option<u64> {
        let counts = matches!(self.opcode, 0x05 | 0x06 | 0x15 | 0x16) && self.status == 0;
        counts.then(|| u64::from_be_bytes(self.value.try_into().expect("a counter's reply has 8 bytes")))
    }

    fn flags(&self) -> u32 {
        self.extras.try_into().map_or(0, u32::from_be_bytes)
    }

    /// Only a Stat goes on after a reply, until a packet that has neither key nor value.
    fn is_last(&self) -> bool {
        self.opcode != 0x10 || self.status != 0 || (self.key.is_empty() && self.value.is_empty())
    }
}

#[test]
fn replies_decode_to_the_fields_of_their_headers() {
    let (mut replies, mut last) = (0, 0);
    for vector in binary_vectors() {
        for mut rest in answered(vector).map(Vec::as_slice) {
            let mut input = input(rest);
            while let Some((seen, after)) = Seen::split_first(rest) {
                let frame = binary::decode(&mut input, MAX_BODY).unwrap().expect("the packet is whole");
                let reply = frame.reply;
                assert_eq!((frame.opcode, frame.opaque), (Opcode(seen.opcode), seen.opaque), "{}", vector.name);
                assert_eq!(reply.status, status(seen.status), "{}", vector.name);
                assert_eq!((reply.cas, reply.flags), (seen.cas, seen.flags()), "{}", vector.name);
                assert_eq!(reply.number, seen.number(), "{}", vector.name);
                let value = if reply.number.is_some() { &[][..] } else { seen.value };
                assert_eq!((&reply.key[..], &reply.value[..]), (seen.key, value), "{}", vector.name);
                assert_eq!(frame.last, seen.is_last(), "{}", vector.name);
                (replies, last) = (replies + 1, last + usize::from(frame.last));
                rest = after;
            }
            assert_eq!(input.as_slice(), rest, "{}", vector.name);
        }
    }
    assert_eq!((replies, last), (392, 358));
}

/// The statuses of the codes that servers were seen to send.
fn status(code: u16) -> Status {
    match code {
        0x00 => Status::NoError,
        0x01 => Status::KeyNotFound,
        0x02 => Status::KeyExists,
        0x03 => Status::ValueTooLarge,
        0x04 => Status::InvalidArguments,
        0x05 => Status::ItemNotStored,
        0x06 => Status::NonNumericValue,
        0x20 => Status::AuthError,
        0x21 => Status::AuthContinue,
        0x81 => Status::UnknownCommand,
        0x82 => Status::OutOfMemory,
        other => panic!("no server was seen to send {other:#06x}"),
    }
}

#[test]
fn replies_encode_again_as_servers_send_them() {
    let mut count = 0;
    for vector in binary_vectors() {
        for bytes in answered(vector) {
            let mut left = input(bytes);
            while let Ok(Some(frame)) = binary::decode(&mut left, MAX_BODY) {
                count += 1;
                let again = written(|output| binary::encode_reply(&frame.reply, frame.opcode, frame.opaque, output));
                assert!(bytes.windows(again.len()).any(|window| window == again), "{}: {again:x}", vector.name);
            }
        }
    }
    assert_eq!(count, 392);
}

#[test]
fn text_instead_of_a_reply_is_named() {
    let refused = binary_vectors().find(|vector| name(vector) == "too_many_connections").unwrap();
    let error = binary::decode(&mut input(&refused.reply), MAX_BODY).unwrap_err();
    assert_eq!(error, ProtocolError::TooManyConnections);
}

#[test]
fn every_known_opcode_is_asked_for_by_some_vector() {
    let packets = binary_vectors().flat_map(sent).flat_map(|bytes| packets(bytes).0);
    let asked: BTreeSet<u8> = packets.map(|packet| packet.header.opcode).collect();
    let known: BTreeSet<u8> = (0..=u8::MAX).filter(|&opcode| Opcode(opcode).operation().is_some()).collect();
    assert_eq!(known, (0x00..=0x24).filter(|&opcode| opcode != 0x1f).collect());
    assert_eq!(known.difference(&asked).collect::<Vec<_>>(), [&0_u8; 0]);
}
