//! Every feature of the Ruby gem `remcached`, and its own 34 examples.
//!
//! | feature of the gem | tests |
//! |---|---|
//! | asynchronous, on an event loop | `a_thousand_requests_are_pending_on_one_thread` |
//! | packets with all fields, with a public encoder and parser | `every_field_of_a_packet_is_public` |
//! | the binary protocol | `the_binary_protocol_is_supported` |
//! | add, get, set, delete, no-op, stats | `all_operations_are_supported` |
//! | named request options | `options_are_set_by_name` |
//! | an optional callback that receives the status | `a_callback_is_optional_and_receives_the_status` |
//! | a callback is called again while it returns `:proceed` | `a_callback_is_called_while_it_returns_proceed` |
//! | status codes | `statuses_have_the_gems_codes` |
//! | a callback is called even if the connection is lost | `every_request_has_exactly_one_result` |
//! | quiet commands | `quiet_commands_have_replies_too` |
//! | multi-commands, quiet except for the last, with one result per key | `multi_commands_are_quiet_except_the_last`, `multi_commands_return_a_result_for_every_key` |
//! | several servers, default port 11211 | `server_addresses_may_omit_the_port` |
//! | distribution over the connected servers | `keys_are_distributed_over_connected_servers` |
//! | ketama (a to-do of the gem) | `ketama_is_implemented` |
//! | servers can be replaced at runtime; connections are lazy | `servers_can_be_replaced_at_runtime` |
//! | usable?, usable_clients, client_for_key | `the_client_reports_what_is_usable` |
//! | reconnects after a disconnect | `a_lost_connection_is_reestablished` |
//! | keepalive | `an_idle_connection_is_probed`, `keepalive_has_the_defaults_of_the_gem` |
//! | opaques are sequential, wrap at 32 bits, and identify replies | `opaques_wrap` |
//! | layers that can be used alone | `each_layer_can_be_used_alone` |
//! | the number of items that fit into a server | `a_server_can_be_filled` |
//! | 34 RSpec examples | `should_count_100_times`, `the_examples_are_34` |

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod examples;
mod multi;
mod protocol_layer;
mod servers;

use std::future::{Future, IntoFuture};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use remcache::config::ProtocolSetting;
use remcache::distribution::Distribution;
use remcache::health::ConnectionState;
use remcache::proto::binary::{self, Header, Magic, Opcode, Packet};
use remcache::proto::{Connection, Deadline, InputBuffer, Limits, Operation, Output, Tag};
use remcache::{Client, Delivery, ErrorKind, Outcomes, Reply, Request, Status, Ttl, WriteOutcome};
use remcache_testkit::{Close, Direction, Memcached, Proxy, unused_port};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::support::{flags_and_ttl, only_server, patient_config, stat, text_query, wait_until};

/// The servers of the gem's own test suite: a dead one and two live ones, one of which is listed twice.
struct Suite {
    client: Client,
    dead: String,
    first: Memcached,
    second: Memcached,
}

impl Suite {
    /// Starts the servers and waits, as the gem's suite did, until the live ones are connected.
    async fn start() -> Self {
        let (first, second) = (Memcached::start(&[]), Memcached::start(&[]));
        let dead = format!("127.0.0.1:{}", unused_port());
        let addresses = [dead.clone(), second.addr(), first.addr(), first.addr()];
        let config = patient_config().distribution(Distribution::REMCACHED);
        let client = Client::with_config(addresses, config).unwrap();
        let connected: Vec<bool> = client.noop().await.into_iter().map(|(_, outcome)| outcome.is_ok()).collect();
        assert_eq!(connected, [false, true, true, true]);
        Self { client, dead, first, second }
    }

    /// Returns the address of a key's server by the gem's rule: the key as one big number, modulo the number of
    /// connected servers.
    fn server_of(&self, key: &str) -> String {
        let number = key.bytes().fold(0_u128, |number, byte| number << 8 | u128::from(byte));
        let connected = [&self.second, &self.first, &self.first];
        connected[(number % 3) as usize].addr()
    }
}

fn client_of(server: &Memcached) -> Client {
    Client::with_config([server.addr()], patient_config()).unwrap()
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn bytes_of(encode: impl FnOnce(&mut Output)) -> Bytes {
    let mut output = Output::new();
    encode(&mut output);
    output.copy_to_bytes(output.remaining())
}

/// Encodes a request.
fn encoded(request: &Request<'_>) -> Bytes {
    bytes_of(|output| {
        binary::encode(request, 0, output).unwrap();
    })
}

/// Parses the first packet and returns it with the bytes that follow it.
fn parsed(bytes: &[u8]) -> (Packet, Bytes) {
    let mut input = InputBuffer::new();
    input.extend(bytes);
    let packet = Packet::decode(&mut input, 1024).unwrap().expect("a complete packet");
    (packet, Bytes::copy_from_slice(input.as_slice()))
}

// ---- The table of features ----

fn features() -> Vec<(&'static str, Vec<&'static str>)> {
    let rows = SOURCES.lines().filter_map(|line| line.strip_prefix("//! | ")?.strip_suffix(" |"));
    let rows = rows.filter_map(|row| row.split_once(" | ")).skip(1);
    rows.map(|(feature, tests)| (feature, tests.split('`').skip(1).step_by(2).collect())).collect()
}

const SOURCES: &str = concat!(
    include_str!("gem.rs"),
    include_str!("gem/examples.rs"),
    include_str!("gem/protocol_layer.rs"),
    include_str!("gem/multi.rs"),
    include_str!("gem/servers.rs"),
);

#[test]
fn every_row_names_existing_tests() {
    let features = features();
    assert_eq!(features.len(), 22);
    for (feature, tests) in features {
        assert!(!tests.is_empty(), "{feature}");
        for test in tests {
            let function = format!("fn {test}() {{\n");
            let (before, _) = SOURCES.split_once(&function).unwrap_or_else(|| panic!("{feature}: no test {test}"));
            assert!(before.trim_end_matches("async ").trim_end().ends_with("test]"), "{test} is not a test");
        }
    }
}

#[test]
fn the_examples_are_34() {
    let examples = include_str!("gem/examples.rs");
    assert_eq!(examples.matches("test]\n").count(), 34);
    assert_eq!(examples.matches("fn should_").count(), 34);
}

// ---- Features ----

#[tokio::test]
async fn a_thousand_requests_are_pending_on_one_thread() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    client.set("k", "v").await.unwrap();
    let mut gets: Vec<_> = (0..1000).map(|_| Box::pin(client.get("k"))).collect();
    for get in &mut gets {
        assert!(get.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    assert_eq!(only_server(&client).waiting(), 1000);
    for get in gets {
        assert_eq!(get.await.unwrap().unwrap().value, "v");
    }
}

#[test]
fn every_field_of_a_packet_is_public() {
    let header = Header {
        magic: Magic::Response,
        opcode: 0x0c,
        key_length: 3,
        extras_length: 4,
        data_type: 5,
        vbucket_or_status: 0x86,
        body_length: 12,
        opaque: 0xdead_beef,
        cas: u64::MAX - 1,
    };
    let packet = Packet { header, extras: "extr".into(), key: "key".into(), value: "value".into() };
    let bytes = bytes_of(|output| packet.encode(output));
    let expected =
        b"\x81\x0c\x00\x03\x04\x05\x00\x86\x00\x00\x00\x0c\xde\xad\xbe\xef\xff\xff\xff\xff\xff\xff\xff\xfeextrkeyvalue";
    assert_eq!(bytes, &expected[..]);
    assert_eq!(parsed(&bytes), (packet, Bytes::new()));
    assert_eq!((header.status(), header.value_length()), (Status::TemporaryFailure, Some(5)));
}

#[tokio::test]
async fn the_binary_protocol_is_supported() {
    let server = Memcached::start(&["-B", "binary"]);
    let client = client_of(&server);
    client.set("k", "v").await.unwrap();
    assert_eq!(client.get("k").await.unwrap().unwrap().value, "v");
}

#[tokio::test]
async fn all_operations_are_supported() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    assert!(client.add("k", "v").await.unwrap().is_applied());
    assert_eq!(client.get("k").await.unwrap().unwrap().value, "v");
    assert!(client.set("k", "w").await.unwrap().is_applied());
    assert!(client.delete("k").await.unwrap().is_applied());
    assert!(client.noop().await[0].1.is_ok());
    assert!(only_server(&client).stats("").collect().await.unwrap().len() > 20);
}

#[tokio::test]
async fn options_are_set_by_name() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    let stored = client.set("k", "v").flags(7).ttl(seconds(600)).await.unwrap();
    let (flags, ttl) = flags_and_ttl(&server.addr(), "k").unwrap();
    assert!(flags == 7 && (540..=600).contains(&ttl), "{flags} {ttl}");
    let cas = stored.cas().unwrap();
    let request = Request::set("k", "w").ttl(Ttl::Never).cas(cas + 1).flags(8);
    assert_eq!(client.call(request).await.status, Status::KeyExists);
    assert_eq!(flags_and_ttl(&server.addr(), "k").unwrap().0, 7);
}

/// Returns the replies that a callback receives.
fn callback(client: &Client, request: Request<'_>) -> mpsc::UnboundedReceiver<Reply> {
    let (sender, replies) = mpsc::unbounded_channel();
    client.call_with(request, move |reply| {
        sender.send(reply).unwrap();
        ControlFlow::Continue(())
    });
    replies
}

#[tokio::test]
async fn a_callback_is_optional_and_receives_the_status() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    assert!(client.send_no_reply(Request::set("k", "v")), "no callback");
    let mut replies = callback(&client, Request::get("k"));
    assert_eq!(replies.recv().await.unwrap().text(), "v");
    let mut replies = callback(&client, Request::get("absent"));
    assert_eq!(replies.recv().await.unwrap().status, Status::KeyNotFound);
    assert_eq!(client.call(Request::add("k", "w")).await.status, Status::KeyExists);
}

#[tokio::test]
async fn a_callback_is_called_while_it_returns_proceed() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    let mut replies = callback(&client, Request::stat(""));
    let mut names = Vec::new();
    while let Some(reply) = replies.recv().await {
        names.push(reply.key);
    }
    assert!(names.len() > 20 && names.pop().unwrap().is_empty(), "the end is reported once");
    assert!(names.iter().all(|name| !name.is_empty()));

    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let (sender, mut stopped) = mpsc::unbounded_channel::<()>();
    client.call_with(Request::stat(""), move |_| {
        let _dropped_with_the_callback = &sender;
        if counted.fetch_add(1, Ordering::Relaxed) == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(stopped.recv().await.is_none());
    assert_eq!(calls.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn statuses_have_the_gems_codes() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    client.set("k", "v").await.unwrap();
    let cases = [
        (Request::get("k"), 0),
        (Request::get("absent"), 1),
        (Request::add("k", "w"), 2),
        (Request::set("large", vec![0; 1 << 20]), 3),
        (Request::get(""), 4),
        (Request::append("absent", "w"), 5),
        (Request::increment("k", 1), 6),
    ];
    for (request, code) in cases {
        assert_eq!(client.call(request).await.status.code(), code);
    }
    let dead = Client::new([format!("127.0.0.1:{}", unused_port())]).unwrap();
    assert_eq!(dead.call(Request::get("k")).await.status.code(), 0xffff);
}

#[tokio::test]
async fn every_request_has_exactly_one_result() {
    const EACH: usize = 100;
    let server = Memcached::start(&[]);
    let proxy = Proxy::start(server.addr()).await;
    let client = Client::with_config([proxy.addr()], patient_config()).unwrap();
    client.set("k", "v").await.unwrap();
    for answered in [true, false] {
        proxy.change(|rules| rules.replies.black_hole = !answered);
        let requests = (0..EACH).flat_map(|n| {
            let non_quiet = Request::get("k");
            let quiet = if n % 2 == 0 { Request::set("k", "v") } else { Request::get("absent") };
            [non_quiet, quiet.quiet()]
        });
        let received: Vec<_> = requests.map(|request| callback(&client, request)).collect();
        let handle = only_server(&client);
        if !answered {
            wait_until("all requests are in flight", async || handle.waiting() == 2 * EACH).await;
            proxy.close_connections(Close::Rst);
        }
        for mut replies in received {
            let reply = replies.recv().await.expect("a callback is called");
            let gone = matches!(reply.status, Status::Disconnected(_));
            assert_eq!(gone, !answered, "{}: {}", reply.status, reply.text());
            assert!(replies.recv().await.is_none(), "a callback is called once");
        }
        assert_eq!((handle.in_flight(), handle.waiting()), (0, 0));
    }
}

#[tokio::test]
async fn a_server_can_be_filled() {
    let server = Memcached::start(&["-M", "-m", "4"]);
    let client = client_of(&server);
    let mut count = 0;
    let error = loop {
        match client.add(format!("item{count}"), vec![0; 10_000]).await {
            Ok(outcome) => assert!(outcome.is_applied()),
            Err(error) => break error,
        }
        count += 1;
    };
    assert_eq!(error.kind(), ErrorKind::OutOfMemory);
    assert!(count > 100, "{count}");
    assert_eq!(stat(&only_server(&client), "curr_items").await, count);
}
