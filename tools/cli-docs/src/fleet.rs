//! Servers that look as in life: three that are used and one that is down.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result};
use remcache_testkit::Memcached;

/// Servers with items, and programs that use them.
pub(crate) struct Fleet {
    servers: Vec<Memcached>,
    is_over: Arc<AtomicBool>,
    users: Vec<JoinHandle<()>>,
}

/// Their ports: the same in every run, so that pictures change only where the tool does.
const PORTS: [u16; 3] = [11_311, 11_312, 11_313];
/// Nobody listens there.
const DEAD: u16 = 11_314;

/// What the keys begin with: how many there are, how large the values, how long they live, and how often
/// they are read, in turns of a thousand.
const KINDS: [(&str, usize, usize, u32, u32); 4] = [
    ("session", 9_000, 700, 3600, 620),
    ("user", 5_000, 300, 0, 240),
    ("feed:front", 40, 9_000, 60, 120),
    ("report", 1_500, 1_800, 86_400, 20),
];

impl Fleet {
    /// Starts the servers, fills them, and begins to use them.
    pub(crate) fn start() -> Result<Self> {
        let servers = PORTS.map(|port| {
            let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
            Memcached::start_at(address, &["-m", "16"]).with_context(|| format!("port {port} is in use"))
        });
        let servers = servers.into_iter().collect::<Result<Vec<_>>>()?;
        let is_over = Arc::new(AtomicBool::new(false));
        let mut users = Vec::new();
        for (place, port) in PORTS.into_iter().enumerate() {
            let mut user = User::connect(port, place)?;
            user.fill()?;
            let is_over = Arc::clone(&is_over);
            users.push(thread::spawn(move || {
                // A server that is stopped has no use any more.
                while !is_over.load(Ordering::Relaxed) && user.turn().is_ok() {}
            }));
        }
        Ok(Self { servers, is_over, users })
    }

    /// The addresses, as they are given to a tool.
    pub(crate) fn addresses(&self) -> String {
        self.servers.iter().map(|server| format!("localhost:{}", server.port())).collect::<Vec<_>>().join(",")
    }

    /// The same, and one where nobody listens.
    pub(crate) fn addresses_with_a_dead_one(&self) -> String {
        format!("{},localhost:{DEAD}", self.addresses())
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        for user in self.users.drain(..) {
            // Whoever panicked has said so.
            let _ = user.join();
        }
    }
}

/// A program that uses a server.
struct User {
    stream: BufReader<TcpStream>,
    /// Which of the servers it is: each has keys of its own.
    place: usize,
    random: u64,
}

impl User {
    fn connect(port: u16, place: usize) -> Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).context("connecting to a server")?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        Ok(Self {
            stream: BufReader::new(stream),
            place,
            random: (place as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15),
        })
    }

    fn fill(&mut self) -> Result<()> {
        for (kind, keys, size, ttl, _) in KINDS {
            for key in 0..keys {
                let (size, key) = (size / 2 + self.below(size), self.own(key));
                write!(self.stream.get_mut(), "set {kind}:{key} 0 {ttl} {size} noreply\r\n{}\r\n", "x".repeat(size))?;
            }
        }
        self.ask("version\r\n", "VERSION")
    }

    /// Some hundred commands, and a rest.
    fn turn(&mut self) -> Result<()> {
        for _ in 0..BURST {
            let turn = self.below(1000) as u32;
            let mut bound = 0;
            let kind = KINDS.iter().find(|(.., share)| {
                bound += share;
                turn < bound
            });
            let &(kind, keys, size, ttl, _) = kind.unwrap_or(&KINDS[0]);
            // Half of the range is asked for, and some keys beyond it: those miss.
            let popular = self.below(keys) + 1;
            let key = self.below(popular) + if turn.is_multiple_of(17) { keys } else { 0 };
            let key = self.own(key);
            if turn.is_multiple_of(12) {
                let value = "x".repeat(size / 2 + self.below(size));
                write!(self.stream.get_mut(), "set {kind}:{key} 0 {ttl} {} noreply\r\n{value}\r\n", value.len())?;
            } else {
                self.ask(&format!("get {kind}:{key}\r\n"), "END")?;
            }
        }
        thread::sleep(Duration::from_millis(60 + self.below(40) as u64));
        Ok(())
    }

    /// The number of the n-th key on this server.
    fn own(&self, key: usize) -> usize {
        key * PORTS.len() + self.place
    }

    fn ask(&mut self, line: &str, last: &str) -> Result<()> {
        self.stream.get_mut().write_all(line.as_bytes())?;
        let mut reply = String::new();
        while !reply.starts_with(last) {
            reply.clear();
            anyhow::ensure!(self.stream.read_line(&mut reply)? > 0, "the server has gone");
        }
        Ok(())
    }

    fn below(&mut self, bound: usize) -> usize {
        // xorshift: good enough for a crowd, and the same in every run.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random % bound.max(1) as u64) as usize
    }
}

/// Commands between two rests.
const BURST: usize = 80;
