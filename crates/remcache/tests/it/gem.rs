//! What the Ruby gem `remcached` could do, remcache can: every point of it, and its own 34 examples.
//!
//! | the gem | shown by |
//! |---|---|
//! | asynchronous on a reactor | `a_thousand_requests_wait_on_one_thread` |
//! | packets with every field, serialised and parsed in public | `every_field_of_a_packet_is_public` |
//! | the binary protocol | `the_binary_protocol_is_spoken` |
//! | add, get, set, delete, no-op, stats | `the_operations_are_there` |
//! | options of a request by name | `options_go_by_name` |
//! | an optional callback; the caller looks at the status | `a_callback_is_optional_and_looks_at_the_status` |
//! | a callback is kept while it says proceed | `a_callback_is_kept_while_it_proceeds` |
//! | status codes | `statuses_have_the_gems_codes` |
//! | a callback is called, whatever becomes of the connection | `every_request_ends_in_one_outcome` |
//! | quiet commands as requests of their own | `quiet_commands_are_requests` |
//! | multi-commands, quiet but for the last, one outcome for each key | `multi_commands_are_quiet_but_for_the_last`, `multi_commands_answer_for_every_key` |
//! | several servers, default port 11211 | `servers_are_hosts_with_or_without_a_port` |
//! | placement over the servers that are connected | `keys_are_placed_over_connected_servers` |
//! | to do: ketama | `ketama_is_done` |
//! | servers are replaced while running; nothing connects at once | `servers_are_replaced_while_running` |
//! | usable?, usable_clients, client_for_key | `the_client_tells_what_is_usable` |
//! | reconnects after a loss | `a_lost_connection_comes_back` |
//! | keepalive | `silence_is_looked_into`, `keepalive_has_the_gems_figures` |
//! | opaques count, wrap at 32 bits, and distinguish replies | `opaques_wrap` |
//! | a layer to build others on | `each_layer_can_be_used_alone` |
//! | how many items fit into a server | `a_server_is_filled` |
//! | 34 RSpec examples | `should_count_100_times`, `the_examples_are_34` |

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod examples;

use std::future::{Future, IntoFuture};
use std::io::{Read, Write};
use std::net::TcpStream;
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
use remcache::{Client, Delivery, ErrorKind, Flow, Outcomes, Reply, Request, Status, Ttl, WriteOutcome};
use remcache_testkit::{Close, Direction, Memcached, Proxy, unused_port};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::support::{flags_and_ttl, only_server, patient_config, stat, text_query, wait_until};

/// The servers of the gem's own suite: one that is dead, two that live, one of them listed twice.
struct Suite {
    client: Client,
    dead: String,
    first: Memcached,
    second: Memcached,
}

impl Suite {
    /// Starts the servers, and waits as the gem's suite did until those that live are connected.
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

    /// The address of a key's server, by the gem's rule: the key as one big number, modulo the
    /// servers that are connected.
    fn home(&self, key: &str) -> String {
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

/// What a request's bytes are on the protocol.
fn serialised(request: &Request<'_>) -> Bytes {
    bytes_of(|output| {
        binary::encode(request, 0, output).unwrap();
    })
}

/// The packet at the front of some bytes, and the bytes that follow it.
fn parsed(bytes: &[u8]) -> (Packet, Bytes) {
    let mut input = InputBuffer::new();
    input.extend(bytes);
    let packet = Packet::decode(&mut input, 1024).unwrap().expect("a whole packet");
    (packet, Bytes::copy_from_slice(input.as_slice()))
}

// ---- The table above ----

fn table() -> Vec<(&'static str, Vec<&'static str>)> {
    let rows = SOURCES.lines().filter_map(|line| line.strip_prefix("//! | ")?.strip_suffix(" |"));
    let rows = rows.filter_map(|row| row.split_once(" | ")).skip(1);
    rows.map(|(point, tests)| (point, tests.split('`').skip(1).step_by(2).collect())).collect()
}

const SOURCES: &str = concat!(include_str!("gem.rs"), include_str!("gem/examples.rs"));

#[test]
fn every_point_names_tests_that_are_there() {
    let table = table();
    assert_eq!(table.len(), 22);
    for (point, tests) in table {
        assert!(!tests.is_empty(), "{point}");
        for test in tests {
            let function = format!("fn {test}() {{\n");
            let (before, _) = SOURCES.split_once(&function).unwrap_or_else(|| panic!("{point}: no test {test}"));
            assert!(before.trim_end_matches("async ").trim_end().ends_with("test]"), "{test} is no test");
        }
    }
}

#[test]
fn the_examples_are_34() {
    let examples = include_str!("gem/examples.rs");
    assert_eq!(examples.matches("test]\n").count(), 34);
    assert_eq!(examples.matches("fn should_").count(), 34);
}

// ---- Point by point ----

#[tokio::test]
async fn a_thousand_requests_wait_on_one_thread() {
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
    let by_hand =
        b"\x81\x0c\x00\x03\x04\x05\x00\x86\x00\x00\x00\x0c\xde\xad\xbe\xef\xff\xff\xff\xff\xff\xff\xff\xfeextrkeyvalue";
    assert_eq!(bytes, &by_hand[..]);
    assert_eq!(parsed(&bytes), (packet, Bytes::new()));
    assert_eq!((header.status(), header.value_length()), (Status::TemporaryFailure, Some(5)));
}

#[tokio::test]
async fn the_binary_protocol_is_spoken() {
    let server = Memcached::start(&["-B", "binary"]);
    let client = client_of(&server);
    client.set("k", "v").await.unwrap();
    assert_eq!(client.get("k").await.unwrap().unwrap().value, "v");
}

#[tokio::test]
async fn the_operations_are_there() {
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
async fn options_go_by_name() {
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

/// The replies that a callback hears.
fn callback(client: &Client, request: Request<'_>) -> mpsc::UnboundedReceiver<Reply> {
    let (sender, replies) = mpsc::unbounded_channel();
    client.call_with(request, move |reply| {
        sender.send(reply).unwrap();
        Flow::Proceed
    });
    replies
}

#[tokio::test]
async fn a_callback_is_optional_and_looks_at_the_status() {
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
async fn a_callback_is_kept_while_it_proceeds() {
    let server = Memcached::start(&[]);
    let client = client_of(&server);
    let mut replies = callback(&client, Request::stat(""));
    let mut names = Vec::new();
    while let Some(reply) = replies.recv().await {
        names.push(reply.key);
    }
    assert!(names.len() > 20 && names.pop().unwrap().is_empty(), "the end is heard of, once");
    assert!(names.iter().all(|name| !name.is_empty()));

    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let (sender, mut stopped) = mpsc::unbounded_channel::<()>();
    client.call_with(Request::stat(""), move |_| {
        let _dropped_with_the_callback = &sender;
        if counted.fetch_add(1, Ordering::Relaxed) == 2 { Flow::Stop } else { Flow::Proceed }
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
async fn every_request_ends_in_one_outcome() {
    const EACH: usize = 100;
    let server = Memcached::start(&[]);
    let proxy = Proxy::start(server.addr()).await;
    let client = Client::with_config([proxy.addr()], patient_config()).unwrap();
    client.set("k", "v").await.unwrap();
    for answered in [true, false] {
        proxy.change(|rules| rules.replies.black_hole = !answered);
        let requests = (0..EACH).flat_map(|n| {
            let not_quiet = Request::get("k");
            let quiet = if n % 2 == 0 { Request::set("k", "v") } else { Request::get("absent") };
            [not_quiet, quiet.quiet()]
        });
        let heard: Vec<_> = requests.map(|request| callback(&client, request)).collect();
        let handle = only_server(&client);
        if !answered {
            wait_until("all are in flight", async || handle.waiting() == 2 * EACH).await;
            proxy.close_connections(Close::Rst);
        }
        for mut replies in heard {
            let reply = replies.recv().await.expect("a callback is called");
            let gone = matches!(reply.status, Status::Disconnected(_));
            assert_eq!(gone, !answered, "{}: {}", reply.status, reply.text());
            assert!(replies.recv().await.is_none(), "and only once");
        }
        assert_eq!((handle.in_flight(), handle.waiting()), (0, 0));
    }
}

#[tokio::test]
async fn quiet_commands_are_requests() {
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
        assert_eq!(serialised(&request)[1], opcode);
        assert_eq!(client.call(request).await.status, status, "{opcode:#04x}");
    }
}

/// Reads requests up to the first non-quiet one, answers that with success, and gives all opcodes.
async fn serve_one_run(listener: &TcpListener) -> Vec<u8> {
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
        assert!(stream.read_buf(input.spare()).await.unwrap() > 0, "the client went away");
    }
}

#[tokio::test]
async fn multi_commands_are_quiet_but_for_the_last() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let client = || Client::with_config([&address], patient_config().protocol(ProtocolSetting::Binary)).unwrap();
    let pairs = || (0..5).map(|n| (format!("k{n}"), "v"));

    let (setting, adding, deleting) = (client(), client(), client());
    let (opcodes, stored) = tokio::join!(serve_one_run(&listener), setting.set_many(pairs()).into_future());
    assert_eq!((opcodes, stored.made().count()), (vec![0x11, 0x11, 0x11, 0x11, 0x01], 5));
    let (opcodes, added) = tokio::join!(serve_one_run(&listener), adding.add_many(pairs()).into_future());
    assert_eq!((opcodes, added.made().count()), (vec![0x12, 0x12, 0x12, 0x12, 0x02], 5));
    let keys = pairs().map(|(key, _)| key);
    let (opcodes, deleted) = tokio::join!(serve_one_run(&listener), deleting.delete_many(keys).into_future());
    assert_eq!((opcodes, deleted.made().count()), (vec![0x14, 0x14, 0x14, 0x14, 0x04], 5));
}

#[tokio::test]
async fn multi_commands_answer_for_every_key() {
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
    for (place, (key, outcome)) in fetched.iter().enumerate() {
        match outcome {
            Ok(Some(item)) => assert!(place % 2 == 0 && item.value == key.as_bytes()),
            Ok(None) => assert!(place % 2 == 1),
            Err(error) => assert!(is_dead(key) && error.is_disconnected(), "{key}: {error}"),
        }
    }
}

#[test]
fn servers_are_hosts_with_or_without_a_port() {
    let client = Client::new(["localhost", "localhost:11212", "cache.example:11213"]).unwrap();
    let names: Vec<String> = client.servers().iter().map(|server| server.name().to_owned()).collect();
    assert_eq!(names, ["localhost:11211", "localhost:11212", "cache.example:11213"]);
}

#[tokio::test]
async fn keys_are_placed_over_connected_servers() {
    let mut suite = Suite::start().await;
    for n in 0..300 {
        let key = format!("key{n}");
        assert_eq!(suite.client.locate(&key).unwrap().unwrap().name(), suite.home(&key), "{key}");
        suite.client.set(&key, "v").await.unwrap();
        assert_eq!(text_query(&suite.home(&key), &format!("mg {key}")), "HD", "{key} is where it belongs");
    }
    suite.second.kill();
    wait_until("the loss is noticed", async || {
        let [_, second, ..] = &suite.client.servers()[..] else { panic!("four servers") };
        second.noop().await.is_err()
    })
    .await;
    for n in 0..300 {
        let key = format!("key{n}");
        assert_eq!(suite.client.locate(&key).unwrap().unwrap().name(), suite.first.addr(), "{key}");
        assert!(suite.client.set(&key, "v").await.unwrap().is_applied(), "servers that are away drop out");
    }
    assert!(suite.client.servers()[0].name() == suite.dead && suite.client.is_usable());
}

#[test]
fn ketama_is_done() {
    let client = Client::new(["10.0.1.1", "10.0.1.2", "10.0.1.3:11212"]).unwrap();
    let names = ["10.0.1.1:11211", "10.0.1.2:11211", "10.0.1.3:11212"];
    // Where libmemcached itself puts them.
    for (n, home) in [1, 2, 0, 2, 2, 1, 1, 2, 2, 1].into_iter().enumerate() {
        let server = client.locate(format!("key-{n}")).unwrap().unwrap();
        assert_eq!(server.name(), names[home], "key-{n}");
    }
}

#[tokio::test]
async fn servers_are_replaced_while_running() {
    let (old, new) = (Memcached::start(&[]), Memcached::start(&[]));
    let (before, after) = (Proxy::start(old.addr()).await, Proxy::start(new.addr()).await);
    let client = Client::with_config([before.addr()], patient_config()).unwrap();
    assert_eq!(before.accepted(), 0, "nothing connects at once");
    client.set("k", "old").await.unwrap();
    client.set_servers([after.addr()]).unwrap();
    assert_eq!((before.accepted(), after.accepted()), (1, 0));
    assert_eq!(client.get("k").await.unwrap(), None);
    client.set("k", "new").await.unwrap();
    assert_eq!((before.accepted(), after.accepted()), (1, 1));
    assert_eq!(text_query(&old.addr(), "mg k v"), "VA 3");
}

#[tokio::test]
async fn the_client_tells_what_is_usable() {
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
async fn a_lost_connection_comes_back() {
    let mut server = Memcached::start(&[]);
    let client = client_of(&server);
    client.set("k", "v").await.unwrap();
    server.kill();
    wait_until("the loss is noticed", async || client.get("k").await.is_err()).await;
    assert!(!client.is_usable());
    server.restart();
    wait_until("it comes back by itself", async || client.is_usable()).await;
    assert_eq!(client.get("k").await.unwrap(), None);
}

#[tokio::test]
async fn silence_is_looked_into() {
    let server = Memcached::start(&[]);
    let proxy = Proxy::start(server.addr()).await;
    let config = patient_config().keepalive(Duration::from_millis(50), Duration::from_secs(2));
    let client = Client::with_config([proxy.addr()], config).unwrap();
    client.set("k", "v").await.unwrap();
    let before = proxy.passed(Direction::Requests);
    wait_until("no-ops ask the idle server", async || proxy.passed(Direction::Requests) >= before + 3 * 24).await;
    assert_eq!((proxy.accepted(), only_server(&client).state().condition), (1, ConnectionState::Connected));

    proxy.change(|rules| rules.replies.black_hole = true);
    wait_until("a silent server is given up", async || !client.is_usable()).await;
    assert!(matches!(only_server(&client).state().condition, ConnectionState::Down(_)));
    proxy.change(|rules| rules.replies.black_hole = false);
}

#[test]
fn keepalive_has_the_gems_figures() {
    let limits = Limits::default();
    assert_eq!((limits.keepalive, limits.silence), (seconds(5), seconds(15)));
}

/// The protocol alone, on a blocking socket.
struct Protocol {
    machine: Connection,
    stream: TcpStream,
    input: InputBuffer,
}

impl Protocol {
    fn connect(server: &Memcached, first_opaque: u32) -> Self {
        let stream = TcpStream::connect(server.addr()).unwrap();
        let machine = Connection::new(Limits::default(), first_opaque, Instant::now());
        Self { machine, stream, input: InputBuffer::new() }
    }

    fn submit(&mut self, request: &Request<'_>, tag: u64) {
        let now = Instant::now();
        let deadline = Deadline { at: now + seconds(60), extend_by: Duration::ZERO };
        self.machine.submit(request, Some(Tag(tag)), deadline, now).unwrap();
    }

    /// Writes all that was submitted, and reads until all is answered.
    fn exchange(&mut self) -> Vec<(u64, Reply)> {
        let mut output = Output::new();
        self.machine.take_output(&mut output);
        let bytes = output.copy_to_bytes(output.remaining());
        self.stream.write_all(&bytes).unwrap();
        self.machine.handle_written(bytes.len());
        let mut replies = Vec::new();
        let mut buffer = [0; 4096];
        while self.machine.in_flight() > 0 {
            let count = self.stream.read(&mut buffer).unwrap();
            assert!(count > 0, "the server closed");
            self.input.extend(&buffer[..count]);
            self.machine.handle_received(Instant::now());
            while let Some(event) = self.machine.poll_event(&mut self.input).unwrap() {
                replies.push((event.tag.0, event.reply));
            }
        }
        replies
    }
}

#[test]
fn opaques_wrap() {
    let server = Memcached::start(&[]);
    let mut protocol = Protocol::connect(&server, u32::MAX - 500);
    for n in 0..100 {
        protocol.submit(&Request::set(format!("k{n}"), format!("v{n}")).quiet(), n);
    }
    assert_eq!(protocol.exchange().len(), 100);
    for round in 0..5 {
        for n in 0..200 {
            let request = Request::get(format!("k{n}"));
            protocol.submit(&if n % 3 == 0 { request.quiet() } else { request }, n);
        }
        let replies = protocol.exchange();
        assert_eq!(replies.len(), 200, "round {round}");
        for (place, (n, reply)) in replies.into_iter().enumerate() {
            assert_eq!(n, place as u64, "in order");
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
    // Bytes.
    let mut protocol = Protocol::connect(&server, 0);
    protocol.submit(&Request::set("k", "v"), 7);
    assert!(matches!(&protocol.exchange()[..], [(7, reply)] if reply.is_ok()));
    // Outcomes as data.
    let client = client_of(&server);
    assert_eq!(client.call(Request::get("k")).await.text(), "v");
    assert_eq!(only_server(&client).call(Request::get("k")).await.text(), "v");
    // Types.
    assert_eq!(client.get("k").await.unwrap().unwrap().value, "v");
}

#[tokio::test]
async fn a_server_is_filled() {
    let server = Memcached::start(&["-M", "-m", "4"]);
    let client = client_of(&server);
    let mut count = 0;
    let error = loop {
        match client.add(format!("item{count}"), vec![0; 10_000]).await {
            Ok(change) => assert!(change.is_applied()),
            Err(error) => break error,
        }
        count += 1;
    };
    assert_eq!(error.kind(), ErrorKind::OutOfMemory);
    assert!(count > 100, "{count}");
    assert_eq!(stat(&only_server(&client), "curr_items").await, count);
}
