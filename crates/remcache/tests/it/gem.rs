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

    /// Returns the address of a key's server by the gem's rule: the key as one big number, modulo the number of connected
    /// servers.
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

const SOURCES: &str = concat!(include_str!("gem.rs"), include_str!("gem/examples.rs"));

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
    assert!(client.cast(Request::set("k", "v")), "no callback");
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
async fn quiet_commands_have_replies_too() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    for (request, opcode, status) in [
        (Request::get("k"), 0x09, Status::KeyNotFound),
        (Request::add("k", "v"), 0x12, Status::NoError),
        (Request::add("k", "v"), 0x12, Status::KeyExists),
        (Request::set("k", "v"), 0x11, Status::NoError),
        (Request::get("k"), 0x09, Status::NoError),
        (Request::delete("k"), 0x14, Status::NoError),
        (Request::delete("k"), 0x14, Status::KeyNotFound),
    ] {
        let request = request.quiet();
        assert_eq!(encoded(&request)[1], opcode);
        assert_eq!(client.call(request).await.status, status, "{opcode:#04x}");
    }
}

/// Reads requests up to the first non-quiet one, answers it with success, and returns all opcodes.
async fn serve_one_batch(listener: &TcpListener) -> Vec<u8> {
    let (mut stream, _) = listener.accept().await.unwrap();
    let (mut input, mut opcodes) = (InputBuffer::new(), Vec::new());
    loop {
        while let Some(packet) = Packet::decode(&mut input, 1024).unwrap() {
            opcodes.push(packet.header.opcode);
            let opcode = Opcode(packet.header.opcode);
            if !opcode.is_quiet() {
                let reply = Reply::new(Status::NoError);
                let answer = bytes_of(|output| binary::encode_reply(&reply, opcode, packet.header.opaque, output));
                stream.write_all(&answer).await.unwrap();
                return opcodes;
            }
        }
        assert!(stream.read_buf(input.spare()).await.unwrap() > 0, "the client disconnected");
    }
}

#[tokio::test]
async fn multi_commands_are_quiet_except_the_last() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let client = || Client::with_config([&address], patient_config().protocol(ProtocolSetting::Binary)).unwrap();
    let pairs = || (0..5).map(|n| (format!("k{n}"), "v"));

    let (set_client, add_client, delete_client) = (client(), client(), client());
    let (opcodes, stored) = tokio::join!(serve_one_batch(&listener), set_client.set_many(pairs()).into_future());
    assert_eq!((opcodes, stored.made().count()), (vec![0x11, 0x11, 0x11, 0x11, 0x01], 5));
    let (opcodes, added) = tokio::join!(serve_one_batch(&listener), add_client.add_many(pairs()).into_future());
    assert_eq!((opcodes, added.made().count()), (vec![0x12, 0x12, 0x12, 0x12, 0x02], 5));
    let keys = pairs().map(|(key, _)| key);
    let (opcodes, deleted) = tokio::join!(serve_one_batch(&listener), delete_client.delete_many(keys).into_future());
    assert_eq!((opcodes, deleted.made().count()), (vec![0x14, 0x14, 0x14, 0x14, 0x04], 5));
}

#[tokio::test]
async fn multi_commands_return_a_result_for_every_key() {
    let (server, dead) = (Memcached::start(&[]), format!("127.0.0.1:{}", unused_port()));
    let client = Client::with_config([server.addr(), dead.clone()], patient_config()).unwrap();
    let keys: Vec<String> = (0..1000).map(|n| format!("key{n}")).collect();
    let is_dead = |key: &str| client.locate(key).unwrap().unwrap().name() == dead;
    let alive = keys.iter().filter(|key| !is_dead(key)).count();
    assert!((100..900).contains(&alive));
    let stored = client.set_many(keys.iter().step_by(2).map(|key| (key, key))).await;
    assert_eq!((stored.len(), stored.made().count() + stored.failed().count()), (500, 500));
    let fetched = client.get_many(&keys).await;
    assert_eq!(fetched.found().count() + fetched.missing().count(), alive);
    for (n, (key, result)) in fetched.iter().enumerate() {
        match result {
            Ok(Some(item)) => assert!(n % 2 == 0 && item.value == key.as_bytes()),
            Ok(None) => assert!(n % 2 == 1),
            Err(error) => assert!(is_dead(key) && error.is_disconnected(), "{key}: {error}"),
        }
    }
}

#[test]
fn server_addresses_may_omit_the_port() {
    let client = Client::new(["localhost", "localhost:11212", "cache.example:11213"]).unwrap();
    let names: Vec<String> = client.servers().iter().map(|server| server.name().to_owned()).collect();
    assert_eq!(names, ["localhost:11211", "localhost:11212", "cache.example:11213"]);
}

#[tokio::test]
async fn keys_are_distributed_over_connected_servers() {
    let mut suite = Suite::start().await;
    for n in 0..300 {
        let key = format!("key{n}");
        assert_eq!(suite.client.locate(&key).unwrap().unwrap().name(), suite.server_of(&key), "{key}");
        suite.client.set(&key, "v").await.unwrap();
        assert_eq!(text_query(&suite.server_of(&key), &format!("mg {key}")), "HD", "{key} is on its server");
    }
    suite.second.kill();
    wait_until("the server is down", async || {
        let [_, second, ..] = &suite.client.servers()[..] else { panic!("four servers") };
        second.noop().await.is_err()
    })
    .await;
    for n in 0..300 {
        let key = format!("key{n}");
        assert_eq!(suite.client.locate(&key).unwrap().unwrap().name(), suite.first.addr(), "{key}");
        assert!(suite.client.set(&key, "v").await.unwrap().is_applied(), "servers that are down are skipped");
    }
    assert!(suite.client.servers()[0].name() == suite.dead && suite.client.is_usable());
}

#[test]
fn ketama_is_implemented() {
    let client = Client::new(["10.0.1.1", "10.0.1.2", "10.0.1.3:11212"]).unwrap();
    let names = ["10.0.1.1:11211", "10.0.1.2:11211", "10.0.1.3:11212"];
    // The placement of libmemcached itself.
    for (n, server_of) in [1, 2, 0, 2, 2, 1, 1, 2, 2, 1].into_iter().enumerate() {
        let server = client.locate(format!("key-{n}")).unwrap().unwrap();
        assert_eq!(server.name(), names[server_of], "key-{n}");
    }
}

#[tokio::test]
async fn servers_can_be_replaced_at_runtime() {
    let (old, new) = (Memcached::start(&[]), Memcached::start(&[]));
    let (before, after) = (Proxy::start(old.addr()).await, Proxy::start(new.addr()).await);
    let client = Client::with_config([before.addr()], patient_config()).unwrap();
    assert_eq!(before.accepted(), 0, "connections are lazy");
    client.set("k", "old").await.unwrap();
    client.set_servers([after.addr()]).unwrap();
    assert_eq!((before.accepted(), after.accepted()), (1, 0));
    assert_eq!(client.get("k").await.unwrap(), None);
    client.set("k", "new").await.unwrap();
    assert_eq!((before.accepted(), after.accepted()), (1, 1));
    assert_eq!(text_query(&old.addr(), "mg k v"), "VA 3");
}

#[tokio::test]
async fn the_client_reports_what_is_usable() {
    let suite = Suite::start().await;
    let servers = suite.client.servers();
    let connected: Vec<_> = servers
        .iter()
        .filter(|server| server.state().condition == ConnectionState::Connected)
        .map(|it| it.name())
        .collect();
    assert_eq!(connected, [suite.second.addr(), suite.first.addr(), suite.first.addr()]);
    assert!(matches!(&servers[0].state().condition, ConnectionState::Down(reason) if reason.contains("refused")));
    assert!(suite.client.is_usable());
    assert!(suite.client.locate("Hello").unwrap().is_some());
}

#[tokio::test]
async fn a_lost_connection_is_reestablished() {
    let mut server = Memcached::start(&[]);
    let client = client_of(&server);
    client.set("k", "v").await.unwrap();
    server.kill();
    wait_until("the server is down", async || client.get("k").await.is_err()).await;
    assert!(!client.is_usable());
    server.restart();
    wait_until("the client reconnects by itself", async || client.is_usable()).await;
    assert_eq!(client.get("k").await.unwrap(), None);
}

#[tokio::test]
async fn an_idle_connection_is_probed() {
    let server = Memcached::start(&[]);
    let proxy = Proxy::start(server.addr()).await;
    let client_with_silence = |limit| {
        let config = patient_config().keepalive(Duration::from_millis(50), limit);
        Client::with_config([proxy.addr()], config).unwrap()
    };
    let client = client_with_silence(seconds(60));
    client.set("k", "v").await.unwrap();
    let before = proxy.passed(Direction::Requests);
    wait_until("no-ops are sent to the idle server", async || proxy.passed(Direction::Requests) >= before + 3 * 24)
        .await;
    assert_eq!((proxy.accepted(), only_server(&client).state().condition), (1, ConnectionState::Connected));

    let client = client_with_silence(seconds(1));
    wait_until("the client connects", async || client.get("k").await.is_ok()).await;
    proxy.change(|rules| rules.replies.black_hole = true);
    wait_until("the unresponsive server is down", async || !client.is_usable()).await;
    assert!(matches!(only_server(&client).state().condition, ConnectionState::Down(_)));
    proxy.change(|rules| rules.replies.black_hole = false);
}

#[test]
fn keepalive_has_the_defaults_of_the_gem() {
    let limits = Limits::default();
    assert_eq!((limits.keepalive, limits.silence), (seconds(5), seconds(15)));
}

/// The protocol layer alone, on a blocking socket.
struct BlockingClient {
    connection: Connection,
    stream: TcpStream,
    input: InputBuffer,
}

impl BlockingClient {
    fn connect(server: &Memcached, first_opaque: u32) -> Self {
        let stream = TcpStream::connect(server.addr()).unwrap();
        let connection = Connection::new(Limits::default(), first_opaque, Instant::now());
        Self { connection, stream, input: InputBuffer::new() }
    }

    fn submit(&mut self, request: &Request<'_>, tag: u64) {
        let now = Instant::now();
        let deadline = Deadline { at: now + seconds(60), extend_by: Duration::ZERO };
        self.connection.submit(request, Some(Tag(tag)), deadline, now).unwrap();
    }

    /// Writes all submitted requests and reads until all are answered.
    fn exchange(&mut self) -> Vec<(u64, Reply)> {
        let mut output = Output::new();
        self.connection.take_output(&mut output);
        let bytes = output.copy_to_bytes(output.remaining());
        self.stream.write_all(&bytes).unwrap();
        self.connection.handle_written(bytes.len());
        let mut replies = Vec::new();
        let mut buffer = [0; 4096];
        while self.connection.in_flight() > 0 {
            let count = self.stream.read(&mut buffer).unwrap();
            assert!(count > 0, "the server closed");
            self.input.extend(&buffer[..count]);
            self.connection.handle_received(Instant::now());
            while let Some(event) = self.connection.poll_event(&mut self.input).unwrap() {
                replies.push((event.tag.0, event.reply));
            }
        }
        replies
    }
}

#[test]
fn opaques_wrap() {
    let server = Memcached::start(&[]);
    let mut client = BlockingClient::connect(&server, u32::MAX - 500);
    for n in 0..100 {
        client.submit(&Request::set(format!("k{n}"), format!("v{n}")).quiet(), n);
    }
    assert_eq!(client.exchange().len(), 100);
    for round in 0..5 {
        for n in 0..200 {
            let request = Request::get(format!("k{n}"));
            client.submit(&if n % 3 == 0 { request.quiet() } else { request }, n);
        }
        let replies = client.exchange();
        assert_eq!(replies.len(), 200, "round {round}");
        for (index, (n, reply)) in replies.into_iter().enumerate() {
            assert_eq!(n, index as u64, "replies are in order");
            match n < 100 {
                true => assert_eq!(reply.text(), format!("v{n}")),
                false => assert_eq!(reply.status, Status::KeyNotFound),
            }
        }
    }
}

#[tokio::test]
async fn each_layer_can_be_used_alone() {
    let server = Memcached::start(&[]);
    // The protocol.
    let mut client = BlockingClient::connect(&server, 0);
    client.submit(&Request::set("k", "v"), 7);
    assert!(matches!(&client.exchange()[..], [(7, reply)] if reply.is_ok()));
    // Requests and replies.
    let client = client_of(&server);
    assert_eq!(client.call(Request::get("k")).await.text(), "v");
    assert_eq!(only_server(&client).call(Request::get("k")).await.text(), "v");
    // Typed operations.
    assert_eq!(client.get("k").await.unwrap().unwrap().value, "v");
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
