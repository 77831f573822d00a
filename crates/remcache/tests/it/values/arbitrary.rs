//! Arbitrary flags and bytes: decoding never panics and never exceeds the limit.

use bytes::Bytes;
use fastrand::Rng;
use remcache::value::{ClientFormat, Codec, Compression, Value};
use remcache_testkit::seed;

#[test]
fn arbitrary_bytes_under_arbitrary_flags() {
    let seed = seed();
    let mut rng = seed.rng();
    for _ in 0..100_000 {
        let bytes = bytes(&mut rng);
        let flags = flags(&mut rng);
        for client_format in ClientFormat::ALL {
            let value = client_format.decode_with_limit(flags, bytes.clone(), LIMIT);
            if let Ok(value) = value {
                assert!(length(&value) <= LIMIT.max(bytes.len()), "{client_format}, {flags:#x}: {bytes:x?}");
            }
        }
        let _ = Codec::bytes().max_decompressed_size(LIMIT).decode(flags, bytes.clone());
        let _ = Codec::<Vec<String>>::json().max_decompressed_size(LIMIT).decode(flags, bytes.clone());
        let _ = Codec::<Vec<String>>::msgpack().max_decompressed_size(LIMIT).decode(flags, bytes.clone());
        let _ = Codec::<Vec<String>>::postcard().max_decompressed_size(LIMIT).decode(flags, bytes);
    }
}

#[test]
fn damaged_compressed_bytes_are_errors_or_short_values() {
    let seed = seed();
    let mut rng = seed.rng();
    let text: Vec<u8> = (0..2_000).map(|n| b'a' + (n / 9 % 7) as u8).collect();
    for compression in [Compression::Zstd, Compression::Lz4, Compression::Zlib, Compression::Gzip] {
        let good = compression.compress(&text).unwrap();
        for _ in 0..5_000 {
            let mut damaged = good.clone();
            for _ in 0..rng.usize(1..4) {
                let position = rng.usize(..damaged.len());
                damaged[position] = rng.u8(..);
            }
            damaged.truncate(rng.usize(..=damaged.len()));
            if let Ok(value) = compression.decompress(&damaged, LIMIT) {
                assert!(value.len() <= LIMIT && value.capacity() <= LIMIT, "{compression}: {damaged:x?}");
            }
        }
    }
    for _ in 0..50_000 {
        if let Ok(value) = Compression::FastLz.decompress(&bytes(&mut rng), LIMIT) {
            assert!(value.len() <= LIMIT && value.capacity() <= LIMIT);
        }
    }
}

fn length(value: &Value) -> usize {
    match value {
        Value::Serialized { bytes, .. } => bytes.len(),
        other => other.as_bytes().map_or(0, <[u8]>::len),
    }
}

/// Returns random flags, more often than not plausible ones.
fn flags(rng: &mut Rng) -> u32 {
    match rng.u8(..4) {
        0 => rng.u32(..),
        1 => 0x7265_0000 | rng.u32(..0x600),
        2 => 1 << rng.u32(..16) | 1 << rng.u32(..16),
        _ => rng.u32(..0x200),
    }
}

/// Returns random bytes, more often than not with the start of a known encoding.
fn bytes(rng: &mut Rng) -> Bytes {
    let start: &[u8] = STARTS[rng.usize(..STARTS.len())];
    let rest: Vec<u8> = (0..rng.usize(..40)).map(|_| if rng.bool() { rng.u8(..) } else { rng.u8(..4) }).collect();
    [start, &rest].concat().into()
}

const STARTS: &[&[u8]] =
    &[b"", b"", b"\x1f\x8b\x08\0\0\0\0\0\0\x03", b"\x78\x9c", b"\x28\xb5\x2f\xfd", b"\xff\xff\xff\x7f", b"-1", b"[["];
/// The limit of these tests, in bytes.
const LIMIT: usize = 10_000;
