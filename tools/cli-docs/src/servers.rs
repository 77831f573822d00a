//! Example servers: three with items and load, and the address of one that is down.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result};
use remcache_testkit::Memcached;

/// Servers with items, and threads that send requests to them.
pub(crate) struct ExampleServers {
    servers: Vec<Memcached>,
    is_stopped: Arc<AtomicBool>,
    load: Vec<JoinHandle<()>>,
}

/// Fixed ports, so that screenshots only change with the tool.
const PORTS: [u16; 3] = [11_311, 11_312, 11_313];
/// A port without a server.
const DOWN: u16 = 11_314;

/// The kinds of items: prefix of the keys, number of keys, size of values, TTL, and share of requests in thousandths.
const ITEM_KINDS: [(&str, usize, usize, u32, u32); 4] = [
    ("session", 9_000, 700, 3600, 620),
    ("user", 5_000, 300, 0, 240),
    ("feed:front", 40, 9_000, 60, 120),
    ("report", 1_500, 1_800, 86_400, 20),
];

impl ExampleServers {
    /// Starts the servers, stores the items, and starts the load.
    pub(crate) fn start() -> Result<Self> {
        let servers = PORTS.map(|port| {
            let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
            Memcached::start_at(address, &["-m", "16"]).with_context(|| format!("port {port} is in use"))
        });
        let servers = servers.into_iter().collect::<Result<Vec<_>>>()?;
        let is_stopped = Arc::new(AtomicBool::new(false));
        let mut load = Vec::new();
        for (index, port) in PORTS.into_iter().enumerate() {
            let mut client = Load::connect(port, index)?;
            client.fill()?;
            let is_stopped = Arc::clone(&is_stopped);
            load.push(thread::spawn(move || {
                // Fails when the server is stopped.
                while !is_stopped.load(Ordering::Relaxed) && client.send_burst().is_ok() {}
            }));
        }
        Ok(Self { servers, is_stopped, load })
    }

    /// Returns the addresses of the servers.
    pub(crate) fn addresses(&self) -> String {
        self.servers.iter().map(|server| format!("localhost:{}", server.port())).collect::<Vec<_>>().join(",")
    }

    /// Returns the addresses of the servers, and that of one that is down.
    pub(crate) fn addresses_with_one_down(&self) -> String {
        format!("{},localhost:{DOWN}", self.addresses())
    }
}

impl Drop for ExampleServers {
    fn drop(&mut self) {
        self.is_stopped.store(true, Ordering::Relaxed);
        for thread in self.load.drain(..) {
            // A thread that panicked has printed its message.
            let _ = thread.join();
        }
    }
}

/// A client that sends load to one server.
struct Load {
    stream: BufReader<TcpStream>,
    /// The index of the server: each server has other keys.
    index: usize,
    random: u64,
}

impl Load {
    fn connect(port: u16, index: usize) -> Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).context("connecting to a server")?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        Ok(Self {
            stream: BufReader::new(stream),
            index,
            random: (index as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15),
        })
    }

    fn fill(&mut self) -> Result<()> {
        for (kind, keys, size, ttl, _) in ITEM_KINDS {
            for key in 0..keys {
                let (size, key) = (size / 2 + self.below(size), self.key_number(key));
                write!(self.stream.get_mut(), "set {kind}:{key} 0 {ttl} {size} noreply\r\n{}\r\n", "x".repeat(size))?;
            }
        }
        self.send("version\r\n", "VERSION")
    }

    /// Sends a burst of commands, and pauses.
    fn send_burst(&mut self) -> Result<()> {
        for _ in 0..BURST {
            let choice = self.below(1000) as u32;
            let mut bound = 0;
            let kind = ITEM_KINDS.iter().find(|(.., share)| {
                bound += share;
                choice < bound
            });
            let &(kind, keys, size, ttl, _) = kind.unwrap_or(&ITEM_KINDS[0]);
            // Low numbers are more frequent; numbers beyond the stored keys are misses.
            let popular = self.below(keys) + 1;
            let key = self.below(popular) + if choice.is_multiple_of(17) { keys } else { 0 };
            let key = self.key_number(key);
            if choice.is_multiple_of(12) {
                let value = "x".repeat(size / 2 + self.below(size));
                write!(self.stream.get_mut(), "set {kind}:{key} 0 {ttl} {} noreply\r\n{value}\r\n", value.len())?;
            } else {
                self.send(&format!("get {kind}:{key}\r\n"), "END")?;
            }
        }
        thread::sleep(Duration::from_millis(60 + self.below(40) as u64));
        Ok(())
    }

    /// Returns the number of the n-th key of this server.
    fn key_number(&self, key: usize) -> usize {
        key * PORTS.len() + self.index
    }

    fn send(&mut self, line: &str, last: &str) -> Result<()> {
        self.stream.get_mut().write_all(line.as_bytes())?;
        let mut reply = String::new();
        while !reply.starts_with(last) {
            reply.clear();
            anyhow::ensure!(self.stream.read_line(&mut reply)? > 0, "the server closed the connection");
        }
        Ok(())
    }

    fn below(&mut self, bound: usize) -> usize {
        // xorshift with a fixed seed: the same numbers in every run.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random % bound.max(1) as u64) as usize
    }
}

/// Commands between two pauses.
const BURST: usize = 80;
