//! Test vectors recorded from real servers: all 300 binary vectors in both directions here, those of the meta and text
//! protocols in `lines`.

mod lines;

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Buf, Bytes};
use remcache::Status;
use remcache::proto::binary::{self, Magic, Opcode, Packet};
use remcache::proto::{InputBuffer, Output, ProtocolError};
use remcache_testkit::vectors::{Protocol, Vector, vectors};

/// Why bytes do not round-trip through the codec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exception {
    /// The bytes are not complete packets of this direction.
    NotPackets,
    /// The packet is not a valid request.
    NoRequest,
    /// The encoder refuses the request.
    Refused,
    /// The request is encoded to different bytes.
    DifferentBytes,
}

/// The expected exceptions, with their reason and vectors.
type Exceptions = &'static [(Exception, &'static str, &'static [&'static str])];

const INVALID_REQUESTS: Exceptions = &[
    (
        Exception::NotPackets,
        "text on a binary connection: the server closes",
        &["ascii_to_binary_only_server", "sasl_text_on_sasl_server", "text_after_binary"],
    ),
    (
        Exception::NotPackets,
        "a magic byte that is not a request's",
        &["magic_00_after_valid", "magic_81_after_valid", "magic_81_first"],
    ),
    (
        Exception::NotPackets,
        "the announced length is above any limit",
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
        Exception::NotPackets,
        "extras and key are longer than the body",
        &["body_shorter_than_extras_plus_key", "body_shorter_than_key", "getq_body_shorter_than_key"],
    ),
    (
        Exception::NotPackets,
        "padding for the bytes that the server discards after an unknown opcode",
        &["unknown_opcode_then_padding_noop"],
    ),
];

const UNENCODABLE_REQUESTS: Exceptions = &[
    (
        Exception::NoRequest,
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
        Exception::NoRequest,
        "wrong extras for the opcode: the server answers 0x04 and closes",
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
        Exception::Refused,
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
        Exception::Refused,
        "an add with a CAS value would overwrite the item, as a set does",
        &["add_cas_match_existing", "add_cas_mismatch_existing", "add_cas_nonzero_missing_key"],
    ),
    (
        Exception::Refused,
        "the largest expiration is reserved: for counters it has another meaning",
        &["exp_ffffffff", "touch_negative_exp_then_get"],
    ),
    (Exception::Refused, "it would desynchronize the server", &["verbosity_4_extras"]),
    (Exception::Refused, "the reply has no end packet", &["stat_sizes_enable"]),
    (
        Exception::DifferentBytes,
        "an unexpected key or value: the server closes or is desynchronized",
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
    (
        Exception::DifferentBytes,
        "a flush with a past time is immediate, which needs no expiration",
        &["flush_past_absolute"],
    ),
    (
        Exception::DifferentBytes,
        "data type and virtual bucket are always 0",
        &["get_datatype_1", "get_reserved_ffff", "set_datatype_ff_then_get"],
    ),
    (
        Exception::DifferentBytes,
        "without creation of the counter the initial value is not used",
        &[
            "decr_missing_noseed",
            "decrq_missing_noseed",
            "incr_cas_missing_key_noseed",
            "incr_missing_noseed",
            "incrq_missing_noseed",
            "oom_incr_missing_noseed",
        ],
    ),
    (Exception::DifferentBytes, "an immediate flush needs no expiration", &["flush_extras_0"]),
    (
        Exception::DifferentBytes,
        "the largest expiration is reserved: in an increment it means that no counter is created",
        &["exp_ffffffff", "touch_negative_exp_then_get"],
    ),
];

const INVALID_REPLIES: Exceptions = &[(
    Exception::NotPackets,
    "the server answers in text",
    &["binary_to_ascii_only_server", "magic_81_first", "too_many_connections"],
)];

/// The exceptions found, by the vector's name without `bin/`.
type Found = BTreeMap<&'static str, (Exception, String)>;

fn assert_agrees(found: &Found, table: Exceptions) {
    let expected: BTreeMap<&str, Exception> =
        table.iter().flat_map(|(exception, _, names)| names.iter().map(move |name| (*name, *exception))).collect();
    let unexpected = found.iter().filter(|(name, (exception, _))| expected.get(*name) != Some(exception));
    let unexpected = unexpected.map(|(name, (exception, what))| format!("{name}: {exception:?}: {what}"));
    let outdated = expected.keys().filter(|name| !found.contains_key(*name));
    let outdated = outdated.map(|name| format!("{name}: no exception any more"));
    let differences: Vec<String> = unexpected.chain(outdated).collect();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// Larger than the body of any vector, and smaller than the impossible lengths that some announce.
const MAX_BODY: usize = 4 << 20;

fn binary_vectors() -> impl Iterator<Item = &'static Vector> {
    vectors().iter().filter(|it| it.protocol == Protocol::Binary)
}

fn name(vector: &Vector) -> &str {
    vector.name.strip_prefix("bin/").expect("a binary vector's name")
}

/// Returns all bytes that a vector sends.
fn sent(vector: &Vector) -> impl Iterator<Item = &Vec<u8>> {
    vector.setup.iter().chain([&vector.request])
}

/// Returns the replies of both server versions.
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

/// Returns the packets at the front of `bytes`, the rest, and the decoder's result for it.
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

/// Decodes and encodes the packets of a direction, and returns their number.
fn packets_round_trip(
    magic: Magic,
    bytes: impl Fn(&'static Vector) -> Vec<&'static Vec<u8>>,
    table: Exceptions,
) -> usize {
    let mut exceptions = Found::new();
    let mut count = 0;
    for vector in binary_vectors() {
        for bytes in bytes(vector) {
            let (packets, rest, end) = packets(bytes);
            let again = written(|output| packets.iter().for_each(|packet| packet.encode(output)));
            assert_eq!(again, bytes[..bytes.len() - rest.len()], "{}", vector.name);
            let other_way = packets.iter().filter(|packet| packet.header.magic != magic).count();
            if !rest.is_empty() || other_way > 0 {
                let what = format!("{end:?}, {} bytes left, {other_way} packets of the other direction", rest.len());
                exceptions.insert(name(vector), (Exception::NotPackets, what));
            }
            count += packets.len() - other_way;
        }
    }
    assert_agrees(&exceptions, table);
    count
}

#[test]
fn all_vectors_are_checked() {
    assert_eq!(binary_vectors().count(), 300);
}

#[test]
fn request_packets_decode_and_encode_to_the_same_bytes() {
    assert_eq!(packets_round_trip(Magic::Request, |vector| sent(vector).collect(), INVALID_REQUESTS), 504);
}

#[test]
fn reply_packets_decode_and_encode_to_the_same_bytes() {
    assert_eq!(packets_round_trip(Magic::Response, |vector| answered(vector).collect(), INVALID_REPLIES), 392);
}

/// Checks that a packet decodes to a request that encodes to the same bytes; the error is the reason if not.
fn re_encode(packet: &Packet) -> Result<(), (Exception, String)> {
    let request = binary::decode_request(packet).ok_or_else(|| (Exception::NoRequest, format!("{packet:?}")))?;
    let mut output = Output::new();
    let encoded = binary::encode(&request, packet.header.opaque, &mut output);
    let opcode = encoded.map_err(|invalid| (Exception::Refused, invalid.to_string()))?;
    assert_eq!(opcode, Opcode(packet.header.opcode), "the opcode that its reply will have");
    let again = output.copy_to_bytes(output.remaining());
    let original = written(|output| packet.encode(output));
    match again == original {
        true => Ok(()),
        false => Err((Exception::DifferentBytes, format!("{original:x} became {again:x}"))),
    }
}

#[test]
fn requests_decode_and_encode_to_the_same_bytes() {
    let mut exceptions = Found::new();
    let mut encoded = 0;
    for vector in binary_vectors() {
        let packets = sent(vector).flat_map(|bytes| packets(bytes).0);
        for packet in packets.filter(|packet| packet.header.magic == Magic::Request) {
            match re_encode(&packet) {
                Ok(()) => encoded += 1,
                Err(why) => drop(exceptions.insert(name(vector), why)),
            }
        }
    }
    assert_agrees(&exceptions, UNENCODABLE_REQUESTS);
    assert_eq!(encoded, 429);
}

/// A reply packet, parsed by the offsets of the specification, independently of the codec.
struct ParsedReply<'a> {
    opcode: u8,
    status: u16,
    opaque: u32,
    cas: u64,
    extras: &'a [u8],
    key: &'a [u8],
    value: &'a [u8],
}

impl<'a> ParsedReply<'a> {
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

    /// Only Stat has several replies, the last of which has neither key nor value.
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
            while let Some((seen, after)) = ParsedReply::split_first(rest) {
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

/// Returns the status of a code that servers are known to send.
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
        other => panic!("no server is known to send {other:#06x}"),
    }
}

#[test]
fn replies_encode_to_the_bytes_of_the_server() {
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
fn a_text_reply_on_a_binary_connection_is_reported() {
    let refused = binary_vectors().find(|vector| name(vector) == "too_many_connections").unwrap();
    let error = binary::decode(&mut input(&refused.reply), MAX_BODY).unwrap_err();
    assert_eq!(error, ProtocolError::TooManyConnections);
}

#[test]
fn every_known_opcode_occurs_in_a_vector() {
    let packets = binary_vectors().flat_map(sent).flat_map(|bytes| packets(bytes).0);
    let asked: BTreeSet<u8> = packets.map(|packet| packet.header.opcode).collect();
    let known: BTreeSet<u8> = (0..=u8::MAX).filter(|&opcode| Opcode(opcode).operation().is_some()).collect();
    assert_eq!(known, (0x00..=0x24).filter(|&opcode| opcode != 0x1f).collect());
    assert_eq!(known.difference(&asked).collect::<Vec<_>>(), [&0_u8; 0]);
}
