//! Memory use of codecs: no allocation for text and bytes, and never more than the limit.

use bytes::Bytes;
use remcache::value::{ClientFormat, Codec, Compression, Flags, Format};
use remcache::{Client, Request};
use stats_alloc::{Region, Stats};

use crate::{ALLOCATOR, take_turn};

/// Returns the result of a function, and its allocations.
fn cost<T>(work: impl FnOnce() -> T) -> (T, Stats) {
    let region = Region::new(ALLOCATOR);
    let result = work();
    (result, region.change())
}

const TIMES: usize = 20;

/// Asserts that a function allocates nothing in one of several runs: the test harness may allocate during some.
#[track_caller]
fn assert_allocates_nothing<T>(what: &str, mut work: impl FnMut() -> T) {
    let costs: Vec<Stats> = (0..TIMES).map(|_| cost(&mut work).1).collect();
    let is_free = |stats: &Stats| (stats.allocations, stats.reallocations) == (0, 0);
    assert!(costs.iter().any(is_free), "{what}: {costs:?}");
}

/// Returns a received value for each run.
fn replies() -> Vec<Bytes> {
    (0..TIMES).map(|_| Bytes::from(b"a small text".to_vec())).collect()
}

#[test]
fn a_text_is_written_and_read_without_an_allocation() {
    let _turn = take_turn();
    let codec = Codec::text().compress(Compression::Zstd, 1024);
    let request = || {
        let encoded = codec.encode("a small text").unwrap();
        Request::set("key", encoded.bytes).flags(encoded.flags)
    };
    assert_allocates_nothing("a request from a text", || drop(request()));
    let flags = request().item_flags();
    let mut replies = replies();
    assert_allocates_nothing("a text from a reply", || {
        assert_eq!(codec.decode(flags, replies.pop().unwrap()).unwrap(), "a small text");
    });
}

#[test]
fn bytes_are_written_and_read_without_an_allocation() {
    let _turn = take_turn();
    let bytes = Bytes::from_static(b"some bytes");
    let codec = Codec::bytes();
    assert_allocates_nothing("a round trip of bytes", || {
        let encoded = codec.encode(&bytes).unwrap();
        let request = Request::set("key", encoded.bytes).flags(encoded.flags);
        assert_eq!(codec.decode(request.item_flags(), bytes.clone()).unwrap(), bytes);
    });
}

/// Text of another client shares the bytes of the reply.
#[test]
fn text_of_other_clients_is_read_without_an_allocation() {
    let _turn = take_turn();
    let mut replies = replies();
    assert_allocates_nothing("a value of pylibmc", || {
        let value = ClientFormat::Pylibmc.decode(16, replies.pop().unwrap()).unwrap();
        assert_eq!(value.as_str(), Some("a small text"));
    });
}

#[test]
fn a_decompression_bomb_allocates_no_more_than_the_limit() {
    let _turn = take_turn();
    let zeros = vec![0; 64 << 20];
    for compression in [Compression::Zstd, Compression::Lz4, Compression::Zlib, Compression::Gzip] {
        let bomb = Bytes::from(compression.compress(&zeros).unwrap());
        let flags = Flags::new(Format::Bytes, Some(compression)).to_bits();
        let codec = Codec::bytes().max_decompressed_size(1 << 20);
        let (result, stats) = cost(|| codec.decode(flags, bomb));
        assert!(result.is_err());
        let allocated = stats.bytes_allocated;
        // The buffer grows by doubling, so its earlier sizes count too; the rest is state of the compression library.
        assert!(allocated <= (2 << 20) + (128 << 10), "{compression}: {allocated} bytes");
    }
}

#[test]
fn an_announced_length_allocates_nothing() {
    let _turn = take_turn();
    for (name, value) in [
        ("lz4", (Compression::Lz4, &b"\xff\xff\xff\xff\x10a"[..])),
        // A frame that announces 4 GiB and ends there.
        ("zstd", (Compression::Zstd, b"\x28\xb5\x2f\xfd\xa0\0\0\0\xff")),
    ] {
        let (result, stats) = cost(|| value.0.decompress(value.1, 1 << 30));
        assert!(result.is_err(), "{name}");
        assert!(stats.bytes_allocated < 64 << 10, "{name}: {stats:?}");
    }
    for flags in [0x30, 0x50, 0x90] {
        let (result, stats) = cost(|| ClientFormat::PhpMemcached.decode(flags, b"\xff\xff\xff\x7f\x02abc"[..].into()));
        assert!(result.is_err(), "{flags:#x}");
        assert!(stats.bytes_allocated < 64 << 10, "{flags:#x}: {stats:?}");
    }
}

/// A typed get through a client allocates as much as a plain get.
#[test]
fn a_codec_adds_no_allocation_to_a_get() {
    let _turn = take_turn();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let server = remcache_testkit::Memcached::start(&[]);
        let client = Client::new([server.addr()]).unwrap();
        let codec = Codec::text();
        for _ in 0..100 {
            let encoded = codec.encode("a small text").unwrap();
            client.set("key", encoded.bytes).flags(encoded.flags).await.unwrap();
            client.get("key").await.unwrap();
        }
        // The minimum of several runs: a buffer may grow at any time.
        let (mut plain, mut with_codec) = (usize::MAX, usize::MAX);
        for _ in 0..20 {
            let region = Region::new(ALLOCATOR);
            let item = client.get("key").await.unwrap().unwrap();
            plain = plain.min(region.change().allocations);
            let region = Region::new(ALLOCATOR);
            let typed = client.get("key").await.unwrap().unwrap();
            let text = codec.decode(typed.flags, typed.value).unwrap();
            with_codec = with_codec.min(region.change().allocations);
            assert_eq!(*text.as_bytes(), item.value);
        }
        assert_eq!(with_codec, plain);
    });
}
