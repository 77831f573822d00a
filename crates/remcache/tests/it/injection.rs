//! Command injection: no byte of an argument starts a second command. Every byte value at every position of every
//! argument yields exactly one command or none, in each protocol.

use std::time::Duration;

use bytes::Buf;
use remcache::proto::binary::{self, Packet};
use remcache::proto::text::server as text_server;
use remcache::proto::{InputBuffer, InvalidRequest, MetaOptions, Output, Request, ServerVersion, meta, text};

/// An argument of a caller, and a function that returns a request with it.
type Argument = (&'static str, fn(Vec<u8>) -> Request<'static>);

const ARGUMENTS: &[Argument] = &[
    ("key of a get", |bytes| Request::get(bytes)),
    ("key of a get with its key", |bytes| Request::get(bytes).with_key().quiet()),
    ("key of a get-and-touch", |bytes| Request::get_and_touch(bytes, Duration::from_secs(9))),
    ("key of a set", |bytes| Request::set(bytes, "value").flags(7).quiet()),
    ("key of an add", |bytes| Request::add(bytes, "value")),
    ("key of a replace", |bytes| Request::replace(bytes, "value").cas(5)),
    ("key of an append", |bytes| Request::append(bytes, "value")),
    ("key of a prepend", |bytes| Request::prepend(bytes, "value")),
    ("key of a delete", |bytes| Request::delete(bytes)),
    ("key of an increment", |bytes| Request::increment(bytes, 1)),
    ("key of a decrement", |bytes| Request::decrement(bytes, 1).initial(3)),
    ("key of a touch", |bytes| Request::touch(bytes, Duration::from_secs(9))),
    ("key of a debug", |bytes| Request::debug(bytes)),
    ("key of an inspection", |bytes| Request::inspect(bytes)),
    ("key of an invalidation", |bytes| Request::delete(bytes).meta(MetaOptions::new().stale())),
    ("value of a set", |bytes| Request::set("key", bytes)),
    ("value of an append", |bytes| Request::append("key", bytes).quiet()),
    ("value of a cas", |bytes| Request::set("key", bytes).cas(7)),
    ("group of statistics", |bytes| Request::stat(bytes)),
    ("mechanism", |bytes| Request::sasl_auth(bytes, "data")),
    ("data of an authentication", |bytes| Request::sasl_auth("PLAIN", bytes)),
    ("data of a step", |bytes| Request::sasl_step("PLAIN", bytes)),
    ("user", |bytes| Request::authenticate(&latin1(&bytes), "password")),
    ("password", |bytes| Request::authenticate("user", &latin1(&bytes))),
    ("classes of a metadump", |bytes| Request::metadump(bytes)),
    ("classes of an mgdump", |bytes| Request::mgdump(bytes)),
    ("streams", |bytes| Request::watch(bytes)),
    ("command for the slabs", |bytes| Request::slabs(bytes)),
    ("command for the LRU", |bytes| Request::lru(bytes)),
    ("command for the crawler", |bytes| Request::lru_crawler(bytes)),
];

fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| char::from(byte)).collect()
}

/// Counts the commands in the bytes, as a server would parse lengths and line endings.
fn count_lines(mut bytes: &[u8]) -> usize {
    let mut count = 0;
    while !bytes.is_empty() {
        let end = bytes.iter().position(|&byte| byte == b'\n').expect("a line ending");
        let line = bytes[..end].strip_suffix(b"\r").expect("CR LF");
        assert!(!line.contains(&b'\r') && !line.contains(&0), "{}", line.escape_ascii());
        bytes = &bytes[end + 1..];
        let words: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
        assert!(words.iter().all(|word| !word.is_empty()), "{}", line.escape_ascii());
        assert!(!matches!(text_server::parse(line), Err(text_server::CommandError::Close)), "{}", line.escape_ascii());
        let length = match words[0] {
            b"ms" => Some(words[2]),
            b"set" | b"add" | b"replace" | b"append" | b"prepend" | b"cas" => Some(words[4]),
            _ => None,
        };
        if let Some(length) = length {
            let length: usize = std::str::from_utf8(length).expect("digits").parse().expect("a length");
            assert_eq!(&bytes[length..length + 2], b"\r\n");
            bytes = &bytes[length + 2..];
        }
        count += 1;
    }
    count
}

fn count_packets(bytes: &[u8]) -> usize {
    let mut input = InputBuffer::new();
    input.extend(bytes);
    let packets = std::iter::from_fn(|| Packet::decode(&mut input, 1 << 20).expect("packets"));
    let count = packets.count();
    assert!(input.is_empty());
    count
}

/// Encodes a request and returns whether the encoder accepted it, with its output.
fn encode_request<T>(encode: impl FnOnce(&mut Output) -> Result<T, InvalidRequest>) -> (bool, Vec<u8>) {
    let mut output = Output::new();
    let accepted = encode(&mut output).is_ok();
    (accepted, output.copy_to_bytes(output.remaining()).to_vec())
}

#[test]
fn any_byte_at_any_position_yields_at_most_one_command() {
    let newest = ServerVersion::parse("1.6.45");
    let mut total_accepted = 0;
    for (name, request) in ARGUMENTS {
        for byte in 0..=u8::MAX {
            for length in [1, 2, 7, 24, 250] {
                // All positions of long arguments would take minutes.
                let positions = (0..length).filter(|at| *at < 24 || *at % 24 == 0 || *at > length - 3);
                for at in positions {
                    let mut bytes = vec![b'x'; length];
                    bytes[at] = byte;
                    let request = request(bytes);
                    let encodings = [
                        (
                            encode_request(|output| binary::encode(&request, 7, output)),
                            count_packets as fn(&[u8]) -> usize,
                        ),
                        (encode_request(|output| meta::encode(&request, 7, newest, output)), count_lines),
                        (encode_request(|output| text::encode(&request, output)), count_lines),
                    ];
                    for ((accepted, bytes), count) in encodings {
                        assert_eq!(count(&bytes), usize::from(accepted), "{name}: {byte:#04x} at {at} of {length}");
                        total_accepted += usize::from(accepted);
                    }
                }
            }
        }
    }
    assert!(total_accepted > 200_000, "{total_accepted}");
}

#[test]
fn a_command_within_an_argument_stays_an_argument() {
    let newest = ServerVersion::parse("1.6.45");
    for attack in
        ["k\r\nflush_all\r\n", "k\nflush_all", "k 0 0 1\r\nx\r\nflush_all", " flush_all", "k noreply", "\r\n", "k\0"]
    {
        for (name, request) in ARGUMENTS {
            let request = request(attack.into());
            let meta = encode_request(|output| meta::encode(&request, 7, newest, output));
            let text = encode_request(|output| text::encode(&request, output));
            for (accepted, bytes) in [meta, text] {
                assert_eq!(count_lines(&bytes), usize::from(accepted), "{name}: {attack:?}");
            }
        }
    }
}

mod on_a_server {
    //! The same with a client and a real server: what is accepted round-trips, and other requests in the pipeline are
    //! not affected.

    use remcache::{Client, ErrorKind};
    use remcache_testkit::{Memcached, Proxy};

    use crate::support::ProtocolMode;
    use crate::support::patient_config;

    /// Stores and fetches an item among other requests. Returns whether the client accepted the key.
    async fn round_trip(client: &Client, key: &[u8], value: &[u8]) -> bool {
        let (before, set, get, delete, after) = tokio::join!(
            client.get("neighbour"),
            client.set(key, value),
            client.get(key),
            client.delete(key),
            client.get("neighbour")
        );
        for other in [before, after] {
            assert_eq!(other.expect("a reply").expect("a hit").value, "fine");
        }
        match set {
            Ok(change) => {
                assert!(change.is_applied());
                assert_eq!(get.expect("the key is valid").expect("a hit").value, value, "{}", key.escape_ascii());
                assert!(delete.expect("the key is valid").is_applied());
                true
            }
            Err(error) => {
                assert!(error.kind() == ErrorKind::InvalidKey, "{error:?}");
                assert!(get.is_err() && delete.is_err() && !error.may_have_executed());
                false
            }
        }
    }

    #[tokio::test]
    async fn any_byte_in_a_key_or_value_round_trips_or_is_rejected() {
        // Keys of the text protocol have no control characters and spaces; the other protocols accept any byte.
        for mode in ProtocolMode::ALL {
            let rejected = if mode == ProtocolMode::Text { 34 } else { 0 };
            let server = Memcached::start(&[]);
            let proxy = Proxy::start(server.addr()).await;
            let client = Client::with_config([proxy.addr()], mode.config(patient_config())).expect("an address");
            assert!(client.set("neighbour", "fine").await.expect("a reply").is_applied());
            for at in [0, 3, 6] {
                let mut accepted = 0;
                for byte in 0..=u8::MAX {
                    let mut bytes = *b"k:12345";
                    bytes[at] = byte;
                    accepted += usize::from(round_trip(&client, &bytes, &bytes).await);
                }
                assert_eq!(accepted, 256 - rejected, "{mode:?}, position {at}");
            }
            for key in [vec![b'k'; 251], Vec::new(), b"k\r\nflush_all\r\n".repeat(18)] {
                assert!(!round_trip(&client, &key, b"value").await, "{mode:?}: {}", key.escape_ascii());
            }
            assert_eq!(proxy.accepted(), 1, "{mode:?}: the connection was kept");
        }
    }
}
