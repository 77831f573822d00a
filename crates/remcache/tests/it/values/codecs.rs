//! remcache's own codecs: round trips of every format with every compression.

use std::collections::BTreeMap;
use std::fmt::Debug;

use bytes::Bytes;
use fastrand::Rng;
use remcache::value::{Codec, Compression, Flags, Format, ValueError};
use remcache_testkit::seed;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct User {
    name: String,
    age: u8,
    scores: Vec<i64>,
    tags: BTreeMap<String, Option<f64>>,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Kind {
    Guest,
    Member { since: u32 },
    Friend(String),
}

#[test]
fn values_round_trip_in_every_format_and_compression() {
    let seed = seed();
    let mut rng = seed.rng();
    for _ in 0..200 {
        let user = user(&mut rng);
        for codec in [Codec::json(), Codec::msgpack(), Codec::postcard()] {
            check(codec, &user, |back| *back == user);
        }
        let bytes = Bytes::from(bytes(&mut rng));
        check(Codec::bytes(), &bytes, |back| *back == bytes);
        let text: String = (0..rng.usize(..200)).map(|_| rng.char(..)).collect();
        check(Codec::text(), &text, |back| **back == *text);
        let number = rng.i64(..);
        check(Codec::integer(), &number, |back| *back == number);
    }
}

/// Writes a value with every compression, and reads it with a codec that has none.
#[track_caller]
fn check<T: Debug, B: ?Sized>(codec: Codec<T, B>, value: &B, is_the_value: impl Fn(&T) -> bool) {
    let plain = codec.encode(value).unwrap().bytes.len();
    for compression in [Compression::Zstd, Compression::Lz4, Compression::Zlib, Compression::Gzip] {
        let encoded = codec.clone().compress(compression, 0).encode(value).unwrap();
        assert!(encoded.bytes.len() <= plain, "{compression}: compressed only if that is smaller");
        let back = codec.decode(encoded.flags, encoded.bytes.into_bytes()).unwrap();
        assert!(is_the_value(&back), "{codec:?}, {compression}: {back:?}");
    }
}

fn user(rng: &mut Rng) -> User {
    let word = |rng: &mut Rng| (0..rng.usize(..20)).map(|_| rng.alphanumeric()).collect::<String>();
    let kind = match rng.u8(..3) {
        0 => Kind::Guest,
        1 => Kind::Member { since: rng.u32(..) },
        _ => Kind::Friend(word(rng)),
    };
    let scores = (0..rng.usize(..50)).map(|_| rng.i64(..)).collect();
    let tags = (0..rng.usize(..5)).map(|_| (word(rng), rng.bool().then(|| rng.f64()))).collect();
    User { name: word(rng), age: rng.u8(..), scores, tags, kind }
}

/// Returns compressible or incompressible bytes.
fn bytes(rng: &mut Rng) -> Vec<u8> {
    let most = if rng.bool() { 1 } else { u8::MAX };
    (0..rng.usize(..5_000)).map(|_| rng.u8(..=most)).collect()
}

#[test]
fn incompressible_values_are_stored_uncompressed() {
    let codec = Codec::text().compress(Compression::Zlib, 0);
    let encoded = codec.encode("ab").unwrap();
    assert_eq!(encoded.bytes.as_slice(), b"ab");
    assert_eq!(Flags::from_bits(encoded.flags), Ok(Flags::new(Format::Text, None)));
}

#[test]
fn the_threshold_is_the_first_length_that_is_compressed() {
    let codec = Codec::text().compress(Compression::Zstd, 1024);
    for (length, compressed) in [(1023, false), (1024, true)] {
        let text = "a".repeat(length);
        let flags = Flags::from_bits(codec.encode(&text).unwrap().flags).unwrap();
        assert_eq!(flags.compression.is_some(), compressed, "{length}");
    }
}

#[test]
fn flags_of_zero_are_read_as_bytes_text_or_an_integer() {
    let value = || Bytes::from_static(b"42");
    assert_eq!(Codec::bytes().decode(0, value()), Ok(value()));
    assert_eq!(Codec::text().decode(0, value()).as_deref(), Ok("42"));
    assert_eq!(Codec::<u8>::integer().decode(0, value()), Ok(42));
    assert_eq!(Codec::<u8>::json().decode(0, value()), Err(ValueError::UnknownFlags(0)));
}

#[test]
fn a_wrong_format_is_an_error_that_names_both() {
    let encoded = Codec::<u8>::integer().encode(&1).unwrap();
    let error = Codec::<u8>::json().decode(encoded.flags, encoded.bytes.into_bytes()).unwrap_err();
    assert_eq!(error, ValueError::WrongFormat { expected: Format::Json, found: Format::Integer });
    assert_eq!(error.to_string(), "the value is an integer, and JSON was expected");
}

#[test]
fn bytes_that_contradict_the_flags_are_errors() {
    let flags = |format| Flags::new(format, None).to_bits();
    let value = || Bytes::from_static(b"\xff\xfe");
    let errors = [
        Codec::text().decode(flags(Format::Text), value()).err(),
        Codec::<u8>::integer().decode(flags(Format::Integer), value()).err(),
        Codec::<User>::json().decode(flags(Format::Json), value()).err(),
        Codec::<User>::msgpack().decode(flags(Format::MessagePack), value()).err(),
        Codec::<User>::postcard().decode(flags(Format::Postcard), value()).err(),
        Codec::<u8>::postcard().decode(flags(Format::Postcard), value()).err(),
    ];
    for error in errors {
        assert!(matches!(error, Some(ValueError::Malformed { .. })), "{error:?}");
    }
}

#[test]
fn custom_formats_have_distinct_numbers() {
    let codec = |number| Codec::<u8>::custom(number, |value| Ok(vec![*value].into()), |bytes| Ok(bytes[0]));
    let flags: Vec<u32> = (0..=255).map(|number| codec(number).encode(&7).unwrap().flags).collect();
    let bytes = || Bytes::from_static(&[7]);
    for (number, flags) in flags.iter().enumerate() {
        assert_eq!(codec(number as u8).decode(*flags, bytes()), Ok(7), "{number}");
    }
    let error = codec(72).decode(flags[200], bytes()).unwrap_err();
    assert_eq!(error, ValueError::WrongFormat { expected: Format::Custom(72), found: Format::Custom(200) });
    let distinct: std::collections::BTreeSet<_> = flags.iter().collect();
    assert_eq!(distinct.len(), 256);
}

#[test]
fn closures_of_a_custom_codec_can_capture() {
    let key = seed().rng().u8(1..);
    let codec: Codec<u8> = Codec::custom(0, move |value| Ok(vec![value ^ key].into()), move |bytes| Ok(bytes[0] ^ key));
    let encoded = codec.encode(&42).unwrap();
    assert_ne!(encoded.bytes.as_slice(), [42]);
    assert_eq!(codec.decode(encoded.flags, encoded.bytes.into_bytes()), Ok(42));
}

#[test]
fn a_decompression_bomb_is_rejected() {
    let zeros = vec![0; 2 << 20];
    for compression in [Compression::Zstd, Compression::Lz4, Compression::Zlib, Compression::Gzip] {
        let bomb = Bytes::from(compression.compress(&zeros).unwrap());
        assert!(bomb.len() < 20_000, "{compression}");
        let flags = Flags::new(Format::Bytes, Some(compression)).to_bits();
        let error = Codec::bytes().max_decompressed_size(1 << 20).decode(flags, bomb.clone()).unwrap_err();
        assert_eq!(error, ValueError::TooLarge { limit: 1 << 20 }, "{compression}");
        assert_eq!(Codec::bytes().max_decompressed_size(2 << 20).decode(flags, bomb).unwrap(), zeros, "{compression}");
    }
}

#[test]
fn fields_can_be_added_to_a_type_in_self_describing_formats() {
    #[derive(Serialize)]
    struct Old {
        name: &'static str,
    }
    #[derive(Debug, PartialEq, Deserialize, Serialize)]
    struct New {
        name: String,
        #[serde(default)]
        age: u8,
    }
    let old = serde_json::to_vec(&Old { name: "Ada" }).unwrap();
    let new = Codec::<New>::json().decode(Flags::new(Format::Json, None).to_bits(), old.into()).unwrap();
    assert_eq!(new, New { name: "Ada".to_owned(), age: 0 });
}
