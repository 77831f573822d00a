//! Compares client formats with values that real clients wrote: `tests/vectors/values.json` has the values, and the
//! versions and options of the clients.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use remcache::value::{ClientFormat, Codec, Compression, Value, ValueError};

/// A value, and the bytes that a client wrote for it.
struct Written {
    client: String,
    client_format: ClientFormat,
    name: String,
    flags: u32,
    bytes: Bytes,
    value: Expected,
}

enum Expected {
    Value(Value),
    NotANumber,
    Serialized(String),
}

#[test]
fn values_of_other_clients_are_read_unchanged() {
    for written in vectors() {
        let Written { client, client_format, name, flags, bytes, value } = written;
        let read = client_format.decode(flags, bytes);
        let fits = match (&read, &value) {
            (Ok(read), Expected::Value(value)) => read == value,
            (Ok(Value::Float(number)), Expected::NotANumber) => number.is_nan(),
            (Ok(Value::Serialized { by, .. }), Expected::Serialized(name)) => by.name() == name,
            _ => false,
        };
        assert!(fits, "{client}, {name}: {read:?}");
    }
}

#[test]
fn every_client_format_except_gomemcache_has_vectors() {
    let mut counts = BTreeMap::new();
    for written in vectors() {
        *counts.entry(written.client_format.name()).or_insert(0) += 1;
    }
    for client_format in ClientFormat::ALL.iter().filter(|client_format| **client_format != ClientFormat::Gomemcache) {
        assert!(counts.get(client_format.name()).is_some_and(|count| *count >= 6), "{client_format}: {counts:?}");
    }
}

/// Values that a client encodes in only one way are written with the same bytes.
#[test]
fn written_values_are_byte_identical_to_other_clients() {
    let mut same = 0;
    for written in vectors() {
        let Written { client, client_format, name, flags, bytes, value: Expected::Value(value) } = written else {
            continue;
        };
        let encoded = client_format.encode(&value).unwrap_or_else(|error| panic!("{client}, {name}: {error}"));
        if encoded.flags == flags {
            assert!(
                encoded.bytes.as_slice() == bytes || has_another_notation(client_format, &value),
                "{client}, {name}: {:x?} instead of {bytes:x?}",
                encoded.bytes.as_slice()
            );
            same += 1;
        }
        let back = client_format.decode(encoded.flags, encoded.bytes.into_bytes());
        assert_eq!(back, Ok(value), "{client}, {name}");
    }
    assert!(same >= 200, "only {same} values have the same flags");
}

/// PHP omits the zero before the decimal point, and writes a plus sign in the exponent, but reads both forms.
fn has_another_notation(client_format: ClientFormat, value: &Value) -> bool {
    client_format == ClientFormat::PhpMemcached && matches!(value, Value::Float(_))
}

#[test]
fn compressed_values_round_trip_in_every_client_format() {
    let text = Value::from("a text that repeats itself; ".repeat(200));
    for (client_format, compression) in [
        (ClientFormat::Pylibmc, Compression::Zlib),
        (ClientFormat::Pymemcache, Compression::Zlib),
        (ClientFormat::PythonMemcached, Compression::Zlib),
        (ClientFormat::MetaMemcache, Compression::Zlib),
        (ClientFormat::MetaMemcache, Compression::Zstd),
        (ClientFormat::Dalli, Compression::Zlib),
        (ClientFormat::PhpMemcached, Compression::Zlib),
        (ClientFormat::PhpMemcached, Compression::Zstd),
        (ClientFormat::Spymemcached, Compression::Gzip),
        (ClientFormat::Whalin, Compression::Gzip),
    ] {
        let codec = Codec::client_format(client_format).compress(compression, 100);
        let encoded = codec.encode(&text).unwrap();
        assert!(encoded.bytes.len() < 1000, "{client_format}: {} bytes", encoded.bytes.len());
        let back = codec.decode(encoded.flags, encoded.bytes.into_bytes()).unwrap();
        assert_eq!(back.as_bytes(), text.as_bytes(), "{client_format}");
        let number = codec.encode(&Value::Integer(1)).map(|encoded| encoded.flags & 0xa);
        assert!(number.is_err() || client_format.encode(&Value::Integer(1)).is_ok(), "{client_format}");
    }
}

#[test]
fn a_compression_that_a_client_cannot_read_is_rejected() {
    let text = Value::from("a".repeat(1000));
    for (client_format, compression) in [
        (ClientFormat::Pylibmc, Compression::Zstd),
        (ClientFormat::Spymemcached, Compression::Zlib),
        (ClientFormat::Dalli, Compression::Gzip),
        (ClientFormat::Gomemcache, Compression::Zlib),
    ] {
        let error = Codec::client_format(client_format).compress(compression, 100).encode(&text).unwrap_err();
        assert_eq!(error, ValueError::UnsupportedCompression(client_format, compression));
    }
}

#[test]
fn values_that_need_a_serializer_are_rejected() {
    for (client_format, value) in [
        (ClientFormat::Pylibmc, Value::Float(1.5)),
        (ClientFormat::Pymemcache, Value::Bool(true)),
        (ClientFormat::PythonMemcached, Value::Date(UNIX_EPOCH)),
        (ClientFormat::Dalli, Value::Integer(1)),
        (ClientFormat::PhpMemcached, Value::Date(UNIX_EPOCH)),
        (ClientFormat::Spymemcached, Value::Integer(1 << 64)),
        (ClientFormat::Gomemcache, Value::Bool(true)),
    ] {
        let error = client_format.encode(&value).unwrap_err();
        assert!(matches!(error, ValueError::Unwritable { .. }), "{client_format}: {error}");
    }
}

#[test]
fn values_are_bounded_and_escaped_in_debug_output() {
    assert_eq!(format!("{:?}", Value::from("a\x1b[2J\n")), r#"Text("a\x1b[2J\n")"#);
    assert_eq!(format!("{:?}", Value::Integer(5_371)), "Integer(5371)");
    for value in [Value::from("v".repeat(10_000)), Value::from(vec![b'v'; 10_000])] {
        let text = format!("{value:?}");
        assert!(text.len() < 200 && text.contains("10000 bytes"), "{text}");
    }
}

fn vectors() -> Vec<Written> {
    let rows: Vec<serde_json::Value> = serde_json::from_str(include_str!("../../vectors/values.json")).unwrap();
    rows.iter().map(written).collect()
}

fn written(row: &serde_json::Value) -> Written {
    let text = |name: &str| row[name].as_str().unwrap_or_else(|| panic!("{row} has no {name}")).to_owned();
    Written {
        client: text("client"),
        client_format: text("convention").parse().unwrap(),
        name: text("name"),
        flags: row["flags"].as_u64().unwrap().try_into().unwrap(),
        bytes: unhex(&text("bytes")).into(),
        value: expected(&row["value"]),
    }
}

fn expected(value: &serde_json::Value) -> Expected {
    let (kind, value) = value.as_object().unwrap().iter().next().unwrap();
    let text = || value.as_str().unwrap().to_owned();
    Expected::Value(match kind.as_str() {
        "bytes" => unhex(&text()).into(),
        "text" => text().into(),
        "repeated_text" => repeated(value).into(),
        "repeated_bytes" => unhex(&repeated(value)).into(),
        "integer" => text().parse().map_or_else(|_| Value::BigInteger(text().into()), Value::Integer),
        "float" if value == "NaN" => return Expected::NotANumber,
        "float" => Value::Float(text().parse().unwrap()),
        "bool" => Value::Bool(value.as_bool().unwrap()),
        "date" => Value::Date(date(value.as_i64().unwrap())),
        "lines" => lines(value).into_bytes().into(),
        "serialized" => return Expected::Serialized(text()),
        other => panic!("unknown type {other}"),
    })
}

fn date(milliseconds: i64) -> SystemTime {
    let distance = Duration::from_millis(milliseconds.unsigned_abs());
    if milliseconds < 0 { UNIX_EPOCH - distance } else { UNIX_EPOCH + distance }
}

/// Returns a repeated text.
fn repeated(rule: &serde_json::Value) -> String {
    rule[0].as_str().unwrap().repeat(rule[1].as_u64().unwrap().try_into().unwrap())
}

/// Returns a long text: lines of two numbers.
fn lines(rule: &serde_json::Value) -> String {
    let number = |place: usize| rule[place].as_u64().unwrap();
    let line = |n| format!("line {} of {}\n", n * number(1) % number(2), n % number(3));
    (0..number(0)).map(line).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}
