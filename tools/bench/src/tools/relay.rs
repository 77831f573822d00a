//! A slow way to the server that measures what it makes slow: latencies by a clock and a histogram of its own.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hdrhistogram::Histogram;

use crate::contestant::HOST;
use crate::wire::{GET, HEADER_LEN};

/// A relay of the binary wire, which keeps replies for a while.
#[derive(Debug)]
pub(crate) struct Relay {
    port: u16,
    seen: Arc<Mutex<Seen>>,
}

/// What passes, as the relay sees it.
#[derive(Debug)]
struct Seen {
    /// When a get with this opaque came, on this connection.
    asked: HashMap<(usize, u32), Instant>,
    /// From a get to its reply, in nanoseconds.
    latency: Histogram<u64>,
}

impl Relay {
    /// Begins to relay to the server on this port.
    pub(crate) fn start(server: u16) -> Result<Self> {
        let listener = TcpListener::bind((HOST, 0)).context("a port for the relay")?;
        let port = listener.local_addr()?.port();
        let latency = Histogram::new_with_max(MAX_LATENCY, 3).context("a histogram")?;
        let seen = Arc::new(Mutex::new(Seen { asked: HashMap::new(), latency }));
        let shared = Arc::clone(&seen);
        thread::spawn(move || {
            for (connection, client) in listener.incoming().flatten().enumerate() {
                // Whoever cannot be relayed sees that his connection ends.
                let _ = relay(client, server, connection, &shared);
            }
        });
        Ok(Self { port, seen })
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// A latency that `fraction` of the gets did not exceed, in microseconds.
    pub(crate) fn latency(&self, fraction: f64) -> f64 {
        lock(&self.seen).latency.value_at_quantile(fraction) as f64 / 1_000.0
    }
}

/// Both directions of a connection, a thread each.
fn relay(client: TcpStream, server: u16, connection: usize, seen: &Arc<Mutex<Seen>>) -> io::Result<()> {
    let server = TcpStream::connect((HOST, server))?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_server) = (client.try_clone()?, server.try_clone()?);
    let shared = Arc::clone(seen);
    thread::spawn(move || {
        let note = |opaque| {
            lock(&shared).asked.insert((connection, opaque), Instant::now());
        };
        pass(from_client, to_server, |_| (), note)
    });
    let shared = Arc::clone(seen);
    thread::spawn(move || {
        let note = |opaque| {
            let mut seen = lock(&shared);
            if let Some(asked) = seen.asked.remove(&(connection, opaque)) {
                let nanos = u64::try_from(asked.elapsed().as_nanos()).unwrap_or(u64::MAX);
                seen.latency.saturating_record(nanos);
            }
        };
        pass(server, client, |chunk| thread::sleep(delay(chunk)), note)
    });
    Ok(())
}

/// Passes bytes on until there are no more: `wait` before each chunk, `note` the opaque of each get or reply to one.
fn pass(mut from: TcpStream, mut to: TcpStream, wait: impl Fn(u64), note: impl Fn(u32)) -> io::Result<()> {
    let (mut frames, mut chunk) = (Frames::default(), vec![0; 64 * 1024]);
    for number in 0.. {
        let length = from.read(&mut chunk)?;
        if length == 0 {
            break;
        }
        wait(number);
        frames.read(&chunk[..length], &note);
        to.write_all(&chunk[..length])?;
    }
    to.shutdown(std::net::Shutdown::Write)
}

/// How long a chunk of replies is kept: a few are kept ten times as long, so that percentiles differ.
fn delay(chunk: u64) -> Duration {
    if chunk % 16 == 15 { LONG } else { SHORT }
}

/// Finds where packets begin in a stream of the binary wire.
#[derive(Debug, Default)]
struct Frames {
    header: Vec<u8>,
    /// Bytes of the body that are still to come.
    body: usize,
}

impl Frames {
    fn read(&mut self, mut bytes: &[u8], note: impl Fn(u32)) {
        while !bytes.is_empty() {
            let skipped = self.body.min(bytes.len());
            self.body -= skipped;
            bytes = &bytes[skipped..];
            let taken = (HEADER_LEN - self.header.len()).min(bytes.len());
            self.header.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            if let Ok(header) = <[u8; HEADER_LEN]>::try_from(self.header.as_slice()) {
                let word = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
                self.body = word(8) as usize;
                self.header.clear();
                if header[1] == GET {
                    note(word(12));
                }
            }
        }
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

const SHORT: Duration = Duration::from_millis(5);
const LONG: Duration = Duration::from_millis(50);
const MAX_LATENCY: u64 = 60_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    #[test]
    fn packets_are_found_however_the_stream_is_cut() {
        let packet = |opcode: u8, opaque: u8, body: usize| {
            let mut packet = vec![0; HEADER_LEN + body];
            (packet[1], packet[11], packet[15]) = (opcode, body as u8, opaque);
            packet
        };
        let stream =
            [packet(GET, 1, 9), packet(0x0a, 2, 0), packet(GET, 3, 0), packet(0x01, 4, 30), packet(GET, 5, 1)].concat();
        for size in [1, 2, 7, 24, 25, stream.len()] {
            let found = RefCell::new(Vec::new());
            let mut frames = Frames::default();
            stream.chunks(size).for_each(|chunk| frames.read(chunk, |opaque| found.borrow_mut().push(opaque)));
            assert_eq!(*found.borrow(), [1, 3, 5], "{size}");
        }
    }
}
