//! The same random commands to memcached and to the embedded server, over text and meta: their
//! replies are the same, byte for byte but for what tells the time.

mod random_commands;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use random_commands::command;
use remcache_server::Server;
use remcache_testkit::{Memcached, seed};
use tokio::runtime::Runtime;

/// How many commands there are, and after how many both servers are emptied.
const COMMANDS: usize = 4_000;
const ROUND: usize = 200;

/// Without threads that hold items for a moment: a counter that is held is not padded.
const QUIET: &str = "no_lru_maintainer,no_lru_crawler";

/// Sent behind each command: the last of them is read as a command whatever came before.
const FENCE: &[u8] = b"mn\r\nversion\r\n";
// Met only by a server that does not answer.
const PATIENCE: Duration = Duration::from_secs(20);

struct Client {
    stream: TcpStream,
    end: Vec<u8>,
}

impl Client {
    fn connect(address: &str) -> Self {
        let mut stream = TcpStream::connect(address).expect("the server listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a fresh socket");
        stream.set_nodelay(true).expect("a fresh socket");
        stream.write_all(b"version\r\n").expect("the server reads");
        let mut end = vec![0; b"VERSION 1.6.18\r\n".len()];
        stream.read_exact(&mut end).expect("the server answers");
        Self { stream, end }
    }

    /// What comes for these bytes.
    fn ask(&mut self, bytes: &[u8]) -> Vec<u8> {
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
fn replies_are_those_of_memcached() {
    let seed = seed();
    let mut rng = seed.rng();
    let runtime = Runtime::new().expect("a runtime");
    let mut last = Vec::new();
    for round in 0..COMMANDS / ROUND {
        let memcached = Memcached::start(&["-o", QUIET]);
        let embedded = runtime.block_on(Server::start()).expect("a loopback port");
        let (mut real, mut own) = (Client::connect(&memcached.addr()), Client::connect(&embedded.address()));
        last.clear();
        for _ in 0..ROUND {
            let asked = command(&mut rng);
            let (wanted, got) = (real.ask(&asked), own.ask(&asked));
            last.push(asked.escape_ascii().to_string());
            let told = [&wanted, &got].map(|reply| timeless(reply).escape_ascii().to_string());
            let before = &last[last.len().saturating_sub(30)..];
            assert_eq!(told[0], told[1], "round {round}, memcached left, after\n{}", before.join("\n"));
        }
    }
}

/// The reply without what tells the time.
fn timeless(reply: &[u8]) -> Vec<u8> {
    let words = reply.split(|byte| *byte == b' ').map(|word| {
        let named = [&b"t"[..], b"l", b"exp=", b"la="].into_iter().find_map(|name| {
            let number = word.strip_prefix(name)?;
            let positive = number.strip_prefix(b"-").unwrap_or(number);
            let digits = positive.iter().take_while(|byte| byte.is_ascii_digit()).count();
            // -1 is for ever and no time.
            let tells_time = digits > 0 && (digits > 1 || !number.starts_with(b"-"));
            tells_time.then(|| [name, b"?", &positive[digits..]].concat())
        });
        named.unwrap_or_else(|| word.to_vec())
    });
    words.collect::<Vec<_>>().join(&b' ')
}

#[test]
fn only_the_time_is_left_out() {
    assert_eq!(timeless(b"VA 3 t99 c10 l0\r\nval\r\n"), b"VA 3 t? c10 l?\r\nval\r\n");
    assert_eq!(timeless(b"ME k exp=-99 la=10 cas=12"), b"ME k exp=? la=? cas=12");
    assert_eq!(timeless(b"HD t-1\r\n"), b"HD t-1\r\n");
}
