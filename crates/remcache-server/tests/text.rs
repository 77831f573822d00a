//! Tests of protocol detection and of the text protocol: administrative commands, authentication, log watching,
//! cluster configuration, faults, and arbitrary input.

mod support;

use std::time::Duration;

use fastrand::Rng;
use remcache_proto::Status;
use remcache_server::{BindingProtocol, Builder, Close, ClusterNode, Fault, Injection, ManualClock, Server};
use remcache_testkit::seed;
use support::{Client, End, get, noop, request};
use tokio::io::AsyncWriteExt;

async fn start(builder: Builder) -> (Server, Client) {
    let server = builder.start().await.expect("a loopback port");
    let client = Client::connect(&server).await;
    (server, client)
}

async fn start_default() -> (Server, Client) {
    start(Server::builder()).await
}

#[tokio::test]
async fn the_first_byte_selects_the_protocol_of_a_connection() {
    let (server, mut text) = start_default().await;
    assert_eq!(text.command("set k 0 0 1\r\nv\r\n", "STORED\r\n").await, "STORED\r\n");
    let mut binary = Client::connect(&server).await;
    assert_eq!(binary.request(&get(1, "k")).await.value, "v", "both protocols see the same items");
    text.send(&[noop(1), b"\r\nmn\r\n".to_vec()].concat()).await;
    // The opcode of a no-op is a line feed, so the packet is two lines.
    assert_eq!(text.until("MN\r\n").await, "ERROR\r\nERROR\r\nMN\r\n", "a packet is two unknown commands");
    binary.send(b"get k\r\n and so on, a header's length").await;
    assert_eq!(binary.rest().await, (vec![], End::Fin));
}

#[tokio::test]
async fn a_server_can_be_limited_to_one_protocol() {
    for builder in
        [Server::builder().binding_protocol(BindingProtocol::Binary), Server::builder().sasl_user("bob", "secret")]
    {
        let (_server, mut client) = start(builder).await;
        client.send(b"version\r\n").await;
        assert_eq!(client.rest().await, (vec![], End::Fin));
    }
    let (_server, mut client) = start(Server::builder().binding_protocol(BindingProtocol::Text)).await;
    client.send(&[noop(1), b"\r\n".to_vec()].concat()).await;
    assert_eq!(client.until("\r\n").await, "ERROR\r\n");
}

#[tokio::test]
async fn the_cluster_configuration_can_change_while_the_server_runs() {
    let (server, mut client) = start_default().await;
    assert_eq!(client.command("config get cluster\r\n", "\r\n").await, "ERROR\r\n");
    server.set_cluster(1, [ClusterNode::new("a.example", "10.0.0.1", 11211)]);
    let reply = client.command("config get cluster\r\n", "END\r\n").await;
    assert_eq!(reply, "CONFIG cluster 0 27\r\n1\na.example|10.0.0.1|11211\n\r\nEND\r\n");
    let nodes = [ClusterNode::new("a.example", "", 11211), ClusterNode::new("b.example", "", 11212)];
    server.set_cluster(2, nodes);
    let reply = client.command("config get cluster\r\n", "END\r\n").await;
    assert_eq!(reply, "CONFIG cluster 0 36\r\n2\na.example||11211 b.example||11212\n\r\nEND\r\n");
    let reply = client.command("get AmazonElastiCache:cluster\r\n", "END\r\n").await;
    let old = "VALUE AmazonElastiCache:cluster 0 36\r\n2\na.example||11211 b.example||11212\n\r\nEND\r\n";
    assert_eq!(reply, old, "for clients that do not know the command");
    assert_eq!(client.command("config set cluster\r\n", "\r\n").await, "ERROR\r\n");
    let builder = Server::builder().cluster(7, [ClusterNode::new("n", "", 1)]);
    let (_server, mut client) = start(builder).await;
    let reply = client.command("config get cluster\r\n", "END\r\n").await;
    assert_eq!(reply, "CONFIG cluster 0 7\r\n7\nn||1\n\r\nEND\r\n");
}

#[tokio::test]
async fn the_cluster_configuration_is_available_in_binary() {
    let get_config = |opaque, key| request(0x60, opaque, &[], key, &[]);
    let (server, _) = start(Server::builder().cluster(7, [ClusterNode::new("n", "", 1)])).await;
    let mut client = Client::connect(&server).await;
    let reply = client.request(&get_config(5, "cluster")).await;
    assert_eq!((reply.header.opaque, &reply.extras[..], &reply.value[..]), (5, &[0; 4][..], &b"7\nn||1\n"[..]));
    assert_eq!(client.request(&get_config(6, "another")).await.header.status(), Status::KeyNotFound);
    assert_eq!(client.request(&noop(7)).await.header.opaque, 7, "the connection is in sync");
}

#[tokio::test]
async fn a_text_user_must_authenticate_first() {
    let (_server, mut client) = start(Server::builder().text_user("foo", "bar")).await;
    for (command, reply) in [
        ("get k\r\n", "CLIENT_ERROR unauthenticated\r\n"),
        ("set x 0 0 7\r\nfoo baz\r\n", "CLIENT_ERROR authentication failure\r\n"),
        ("set x 0 0 3\r\nfoo\r\n", "CLIENT_ERROR bad authentication token format\r\n"),
        ("set x 0 0 7\r\nfoo bar\r\n", "STORED\r\n"),
        ("get x\r\n", "END\r\n"),
    ] {
        assert_eq!(client.command(command, "\r\n").await, reply, "{command}");
    }
}

#[tokio::test]
async fn a_client_can_shut_the_server_down_if_allowed() {
    let (_server, mut client) = start_default().await;
    assert_eq!(client.command("shutdown\r\n", "\r\n").await, "ERROR: shutdown not enabled\r\n");
    let (server, mut client) = start(Server::builder().allow_shutdown(true)).await;
    client.send(b"shutdown\r\n").await;
    client.rest().await;
    let refused = async {
        while tokio::net::TcpStream::connect(server.address()).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), refused).await.expect("the server stops listening");
    server.restart().await.expect("the port is kept");
    assert_eq!(Client::connect(&server).await.command("mn\r\n", "\r\n").await, "MN\r\n");
}

#[tokio::test]
async fn watchers_receive_log_lines() {
    let (server, mut client) = start(Server::builder().memory(400)).await;
    let mut watcher = Client::connect(&server).await;
    assert_eq!(watcher.command("watch fetchers mutations evictions\r\n", "\r\n").await, "OK\r\n");
    client.command("set k%20 0 50 1\r\na\r\nget k%20\r\nget none\r\nmg k%20 v\r\n", "VA 1\r\na\r\n").await;
    client.command("set large 0 0 300\r\n", "").await;
    client.send(&[&[b'x'; 300][..], b"\r\n"].concat()).await;
    let lines = watcher.until("type=item_store key=large status=stored cmd=set ttl=0 clsid=7 cfd=1 size=300\n").await;
    let events: Vec<&str> =
        lines.lines().filter_map(|line| line.split_once(" type=")).map(|(_, event)| event).collect();
    let expected = [
        "item_get key=k%2520 status=not_found clsid=0 cfd=1 size=0",
        "item_store key=k%2520 status=stored cmd=set ttl=50 clsid=1 cfd=1 size=1",
        "item_get key=k%2520 status=found clsid=1 cfd=1 size=1",
        "item_get key=none status=not_found clsid=0 cfd=1 size=0",
        "item_get key=k%2520 status=found clsid=1 cfd=1 size=1",
        "eviction key=k%2520 fetch=yes ttl=50 la=0 clsid=1 size=1",
        "item_get key=large status=not_found clsid=0 cfd=1 size=0",
        "item_store key=large status=stored cmd=set ttl=0 clsid=7 cfd=1 size=300",
    ];
    assert_eq!(events, expected);
    assert!(lines.lines().all(|line| line.starts_with("ts=") && line.contains(" gid=")), "{lines}");
    watcher.send(b"mn\r\n").await;
    assert!(watcher.receives_nothing().await, "a watching connection answers no commands");
    drop(watcher);
    client.command("get none\r\n", "END\r\n").await;
}

#[tokio::test]
async fn statistics_report_items_by_size() {
    let (_server, mut client) = start(Server::builder().track_sizes(true)).await;
    let large = "x".repeat(1000);
    client
        .command(&format!("set a 0 0 1\r\nx\r\nset b 0 0 1\r\nx\r\nset c 0 0 1000\r\n{large}\r\nmn\r\n"), "MN\r\n")
        .await;
    let items = client.command("stats items\r\n", "END\r\n").await;
    for line in ["STAT items:1:number 2", "STAT items:1:mem_requested 122", "STAT items:12:number 1"] {
        assert!(items.contains(line), "{line} in {items}");
    }
    let slabs = client.command("stats slabs\r\n", "END\r\n").await;
    for line in ["STAT 1:chunk_size 96", "STAT 1:used_chunks 2", "STAT 12:chunk_size 1184", "STAT active_slabs 2"] {
        assert!(slabs.contains(line), "{line} in {slabs}");
    }
    assert_eq!(client.command("stats sizes\r\n", "END\r\n").await, "STAT 64 2\r\nSTAT 1088 1\r\nEND\r\n");
    let conns = client.command("stats conns\r\n", "END\r\n").await;
    let own = client.stream.local_addr().expect("an address");
    assert_eq!(conns, format!("STAT 1:addr tcp:{own}\r\nSTAT 1:state conn_parse_cmd\r\nEND\r\n"));
    let general = client.command("stats\r\n", "END\r\n").await;
    assert!(general.contains("STAT curr_items 3\r\n") && general.contains("STAT version 1.6.18\r\n"), "{general}");
    assert_eq!(client.command("stats reset\r\n", "\r\n").await, "RESET\r\n");
}

#[tokio::test]
async fn keys_are_dumped_if_allowed() {
    let builder = Server::builder().mgdump(true);
    let (_server, mut client) = start(builder).await;
    client.command("set k 0 0 1\r\nx\r\nms AAH/IGJpbg== 1 b\r\nx\r\n", "HD\r\n").await;
    assert_eq!(client.command("lru_crawler mgdump all\r\n", "EN\r\n").await, "mg k\r\nmg AAH/IGJpbg== b\r\nEN\r\n");
    let dump = client.command("lru_crawler metadump 1\r\n", "END\r\n").await;
    assert!(dump.starts_with("key=k exp=-1 la=") && dump.contains("\nkey=%00%01%FF%20bin exp=-1"), "{dump}");
    let (_server, mut client) = start(Server::builder().allow_dumps(false)).await;
    assert_eq!(client.command("lru_crawler metadump all\r\n", "\r\n").await, "ERROR metadump not allowed\r\n");
}

#[tokio::test]
async fn meta_flags_follow_the_manual_clock() {
    let clock = ManualClock::new();
    let (_server, mut client) = start(Server::builder().clock(&clock)).await;
    client.command("ms k 1 T100\r\nx\r\n", "HD\r\n").await;
    clock.advance(Duration::from_secs(80));
    assert_eq!(client.command("mg k t l h R30\r\n", "\r\n").await, "HD t20 l80 h0 W\r\n");
    assert_eq!(client.command("mg k t l h R30\r\n", "\r\n").await, "HD t20 l0 h1 Z\r\n");
    clock.advance(Duration::from_secs(20));
    assert_eq!(client.command("mg k N10 t\r\n", "\r\n").await, "HD t10 W\r\n", "the expired item is created again");
}

async fn command_with_fault(fault: impl Into<Injection>, command: &str, end: &str) -> String {
    let (server, mut client) = start_default().await;
    client.command("set k 0 0 3\r\nval\r\n", "STORED\r\n").await;
    server.inject(fault);
    client.command(command, end).await
}

#[tokio::test]
async fn faults_change_text_replies() {
    const COMMANDS: &str = "get k k\r\nmg k O7 v\r\nversion\r\n";
    let (values, meta, version) =
        ("VALUE k 0 3\r\nval\r\nVALUE k 0 3\r\nval\r\nEND\r\n", "VA 3 O7\r\nval\r\n", "VERSION 1.6.18\r\n");
    let cases = [
        (Fault::Drop.on_reply(1), format!("{meta}{version}")),
        (Fault::Duplicate.on_reply(2), format!("{values}{meta}{meta}{version}")),
        (Fault::Swap.on_reply(1), format!("{meta}{values}{version}")),
        (Fault::WrongOpaque { xor: 1 }.into(), format!("{values}VA 3 O6\r\nval\r\n{version}")),
        (Fault::HugeLength.on_reply(2), format!("{values}VA 4294967295 O7\r\nval\r\n{version}")),
        (Fault::HugeLength.on_reply(1), values.replacen(" 3\r\n", " 4294967295\r\n", 1) + meta + version),
        (Fault::ByteByByte.into(), format!("{values}{meta}{version}")),
        (Fault::Split { seed: 5 }.into(), format!("{values}{meta}{version}")),
        (Fault::Delay(Duration::from_millis(20)).into(), format!("{values}{meta}{version}")),
    ];
    for (fault, expected) in cases {
        assert_eq!(command_with_fault(fault.clone(), COMMANDS, version).await, expected, "{fault:?}");
    }
}

#[tokio::test]
async fn a_text_connection_is_closed_within_a_reply() {
    for (close, end) in [(Close::Fin, End::Fin), (Close::Rst, End::Rst)] {
        let (server, mut client) = start_default().await;
        client.command("set k 0 0 3\r\nval\r\n", "STORED\r\n").await;
        server.inject(Fault::Disconnect { after: 15, close }.on_reply(1));
        client.send(b"get k\r\n").await;
        let mut bytes = [0; 15];
        client.read_exact(&mut bytes).await.expect("the bytes before the close");
        assert_eq!(&bytes, b"VALUE k 0 3\r\nva");
        assert_eq!(client.rest().await, (vec![], end), "{close:?}");
    }
}

#[tokio::test]
async fn garbage_does_not_look_like_a_text_reply() {
    let (server, mut client) = start_default().await;
    server.inject(Fault::Garbage { seed: 3 }.on_reply(1));
    client.send(b"version\r\n").await;
    let mut bytes = [0; 16];
    client.read_exact(&mut bytes).await.expect("garbage of the same length");
    assert!(bytes[0] >= 0x80);
}

#[tokio::test]
async fn a_black_hole_discards_text_commands() {
    let (server, mut client) = start_default().await;
    server.inject(Fault::BlackHole);
    client.send(b"set k 0 0 1\r\nv\r\n").await;
    assert!(client.receives_nothing().await);
    assert_eq!(server.items(), 0);
}

#[tokio::test]
async fn a_large_value_is_stored_and_returned() {
    let (server, mut client) = start_default().await;
    let value: Vec<u8> = (0..1_000_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    client.send(&[b"ms k 1000000 c\r\n", &value[..], b"\r\n"].concat()).await;
    assert_eq!(client.until("\r\n").await, "HD c1\r\n");
    client.send(b"mg k v\r\n").await;
    let mut reply = vec![0; b"VA 1000000\r\n".len() + value.len() + 2];
    client.read_exact(&mut reply).await.expect("the value");
    assert_eq!(reply, [b"VA 1000000\r\n", &value[..], b"\r\n"].concat());
    assert_eq!(server.requests(), 2);
}

/// Sends words of the protocol and random bytes, in writes of random length.
#[tokio::test]
async fn arbitrary_input_does_no_harm() {
    let seed = seed();
    let mut rng = seed.rng();
    let server = Server::start().await.expect("a loopback port");
    let with_password = Server::builder().text_user("foo", "bar").start().await.expect("a loopback port");
    for round in 0..300 {
        let server = if round % 10 == 0 { &with_password } else { &server };
        let mut client = Client::connect(server).await;
        let input = arbitrary_input(&mut rng);
        send_in_pieces(&mut client, &input, &mut rng).await;
        // After the client shuts down its sending side, the server must close the connection, whatever it received.
        let _ = client.stream.shutdown().await;
        client.rest().await;
    }
    assert_eq!(Client::connect(&server).await.command("mn\r\n", "\r\n").await, "MN\r\n");
}

/// Returns words of the protocol with random bytes between them.
fn arbitrary_input(rng: &mut Rng) -> Vec<u8> {
    let mut input = Vec::new();
    for _ in 0..rng.usize(1..200) {
        match rng.u8(..8) {
            0 => {
                let mut noise = vec![0; rng.usize(..20)];
                rng.fill(&mut noise);
                input.extend(noise);
            }
            _ => input.extend(WORDS[rng.usize(..WORDS.len())].bytes()),
        }
    }
    input
}

/// Writes bytes in pieces of random length, until the server closes the connection.
async fn send_in_pieces(client: &mut Client, mut bytes: &[u8], rng: &mut Rng) {
    while !bytes.is_empty() {
        let (piece, remaining) = bytes.split_at(rng.usize(1..=bytes.len()));
        if client.stream.write_all(piece).await.is_err() {
            break;
        }
        tokio::task::yield_now().await;
        bytes = remaining;
    }
}

const WORDS: &[&str] = &[
    "get ",
    "gets ",
    "gat ",
    "set ",
    "add ",
    "cas ",
    "append ",
    "incr ",
    "touch ",
    "delete ",
    "mg ",
    "ms ",
    "md ",
    "ma ",
    "me ",
    "mn",
    "stats ",
    "flush_all ",
    "lru_crawler ",
    "metadump ",
    "slabs ",
    "lru ",
    "watch",
    "k ",
    "3 ",
    "0 ",
    "-1 ",
    "4294967295 ",
    "2147483645 ",
    "noreply",
    "b ",
    "q ",
    "T5 ",
    "N-1 ",
    "C1 ",
    "MA ",
    "\r\n",
    "\r\n",
    "\r\n",
    "\n",
    "\r",
    "\0",
    " ",
];
