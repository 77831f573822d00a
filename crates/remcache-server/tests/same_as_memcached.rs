//! Sends the same random text and meta commands to memcached and to the embedded server. The replies must be the same
//! byte for byte, except for times.

mod random_commands;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use random_commands::command;
use remcache_server::Server;
use remcache_testkit::{Memcached, seed};
use tokio::runtime::Runtime;

/// The number of commands.
const COMMANDS: usize = 4_000;
/// The number of commands after which both servers are restarted.
const ROUND: usize = 200;

/// Disables the threads that briefly hold references to items: memcached does not pad a counter that is referenced.
const QUIET: &str = "no_lru_maintainer,no_lru_crawler";

/// Sent after each command. Even if the command takes the first line as its value, the second is a command.
const FENCE: &[u8] = b"mn\r\nversion\r\n";
// Reached only if a server does not answer.
const PATIENCE: Duration = Duration::from_secs(20);

struct Client {
    stream: TcpStream,
    end: Vec<u8>,
}

impl Client {
    fn connect(address: &str) -> Self {
        let mut stream = TcpStream::connect(address).expect("the server listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a new socket");
        stream.set_nodelay(true).expect("a new socket");
        stream.write_all(b"version\r\n").expect("the server reads");
        let mut end = vec![0; b"VERSION 1.6.18\r\n".len()];
        stream.read_exact(&mut end).expect("the server answers");
        Self { stream, end }
    }

    /// Sends a command and returns everything up to the end of the fence.
    fn command(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.stream.write_all(&[bytes, FENCE].concat()).expect("the server reads");
        let mut reply = Vec::new();
        let mut buffer = [0; 16 * 1024];
        while !reply.ends_with(&self.end) {
            let count = self
                .stream
                .read(&mut buffer)
                .unwrap_or_else(|error| panic!("{error} after {} for {}", reply.escape_ascii(), bytes.escape_ascii()));
            assert!(count > 0, "closed after {} for {}", reply.escape_ascii(), bytes.escape_ascii());
            reply.extend_from_slice(&buffer[..count]);
        }
        reply
    }
}

#[test]
fn replies_are_the_same_as_those_of_memcached() {
    let seed = seed();
    let mut rng = seed.rng();
    let runtime = Runtime::new().expect("a runtime");
    let mut history = Vec::new();
    for round in 0..COMMANDS / ROUND {
        let memcached = Memcached::start(&["-o", QUIET]);
        let embedded = runtime.block_on(Server::start()).expect("a loopback port");
        let (mut real, mut own) = (Client::connect(&memcached.addr()), Client::connect(&embedded.address()));
        history.clear();
        for _ in 0..ROUND {
            let sent = command(&mut rng);
            let (expected, actual) = (real.command(&sent), own.command(&sent));
            history.push(sent.escape_ascii().to_string());
            let replies = [&expected, &actual].map(|reply| without_times(reply).escape_ascii().to_string());
            let before = &history[history.len().saturating_sub(30)..];
            assert_eq!(replies[0], replies[1], "round {round}; memcached is left; after\n{}", before.join("\n"));
        }
    }
}

/// memcached ignores times before its start, which is about a minute before that of the process; other past times flush
/// at once.
#[test]
fn a_flush_with_a_past_time_has_the_same_effect_as_in_memcached() {
    let runtime = Runtime::new().expect("a runtime");
    let memcached = Memcached::start(&[]);
    let embedded = runtime.block_on(Server::start()).expect("a loopback port");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970").as_secs();
    for (time, is_flushed) in [(now - 1, true), (now - 20, true), (now - 3600, false), (2_592_001, false)] {
        for address in [memcached.addr(), embedded.address()] {
            let mut client = Client::connect(&address);
            client.command(b"set k 0 0 1\r\nv\r\n");
            client.command(format!("flush_all {time}\r\n").as_bytes());
            let reply = client.command(b"get k\r\n");
            assert_eq!(reply.starts_with(b"END"), is_flushed, "{} seconds ago on {address}", now - time);
        }
    }
}

/// Without CAS values, memcached loses items that are stored in the same second after a flush.
#[test]
fn a_flush_without_cas_values_has_the_same_effect_as_in_memcached() {
    let runtime = Runtime::new().expect("a runtime");
    let memcached = Memcached::start(&["-C"]);
    let embedded = runtime.block_on(Server::builder().cas(false).start()).expect("a loopback port");
    for address in [memcached.addr(), embedded.address()] {
        let mut client = Client::connect(&address);
        let commands = b"set k 0 0 1\r\nv\r\nflush_all\r\nget k\r\nadd k 0 0 1\r\nv\r\nget k\r\nadd k 0 0 1\r\nv\r\n";
        let started = SystemTime::now();
        let mut reply = client.command(commands);
        // Try again in the unlikely case that a second ended between the commands.
        while started.elapsed().is_ok_and(|elapsed| elapsed < PATIENCE) && !reply.starts_with(LOST) {
            reply = client.command(commands);
        }
        assert!(reply.starts_with(LOST), "{address}: {}", reply.escape_ascii());
    }
}

const LOST: &[u8] = b"STORED\r\nOK\r\nEND\r\nSTORED\r\nEND\r\nSTORED\r\n";

/// Replaces the times in a reply by question marks.
fn without_times(reply: &[u8]) -> Vec<u8> {
    let words = reply.split(|byte| *byte == b' ').map(|word| {
        let named = [&b"t"[..], b"l", b"exp=", b"la="].into_iter().find_map(|name| {
            let number = word.strip_prefix(name)?;
            let positive = number.strip_prefix(b"-").unwrap_or(number);
            let digits = positive.iter().take_while(|byte| byte.is_ascii_digit()).count();
            // -1 means never.
            let is_time = digits > 0 && (digits > 1 || !number.starts_with(b"-"));
            is_time.then(|| [name, b"?", &positive[digits..]].concat())
        });
        named.unwrap_or_else(|| word.to_vec())
    });
    words.collect::<Vec<_>>().join(&b' ')
}

#[test]
fn only_times_are_replaced() {
    assert_eq!(without_times(b"VA 3 t99 c10 l0\r\nval\r\n"), b"VA 3 t? c10 l?\r\nval\r\n");
    assert_eq!(without_times(b"ME k exp=-99 la=10 cas=12"), b"ME k exp=? la=? cas=12");
    assert_eq!(without_times(b"HD t-1\r\n"), b"HD t-1\r\n");
}
