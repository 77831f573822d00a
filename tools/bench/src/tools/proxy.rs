//! A proxy that delays replies and measures the latencies, with another clock and histogram than the tool's.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hdrhistogram::Histogram;

use crate::adapter::HOST;
use crate::binary_protocol::{GET, HEADER_LEN};

/// A proxy for the binary protocol that delays replies.
#[derive(Debug)]
pub(crate) struct Proxy {
    port: u16,
    observed: Arc<Mutex<Observed>>,
}

/// The requests and the latencies that the proxy has observed.
#[derive(Debug)]
struct Observed {
    /// When a get was received, by connection and opaque.
    pending: HashMap<(usize, u32), Instant>,
    /// The time from a get to its reply, in nanoseconds.
    latency: Histogram<u64>,
}

impl Proxy {
    /// Starts a proxy for the server on this port.
    pub(crate) fn start(server: u16) -> Result<Self> {
        let listener = TcpListener::bind((HOST, 0)).context("no port for the proxy")?;
        let port = listener.local_addr()?.port();
        let latency = Histogram::new_with_max(MAX_LATENCY, 3).context("creating a histogram")?;
        let observed = Arc::new(Mutex::new(Observed { pending: HashMap::new(), latency }));
        let shared = Arc::clone(&observed);
        thread::spawn(move || {
            for (connection, client) in listener.incoming().flatten().enumerate() {
                // On an error the client's connection is closed.
                let _ = forward(client, server, connection, &shared);
            }
        });
        Ok(Self { port, observed })
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Returns a quantile of the latency of gets, in microseconds.
    pub(crate) fn latency(&self, fraction: f64) -> f64 {
        lock(&self.observed).latency.value_at_quantile(fraction) as f64 / 1_000.0
    }
}

/// Forwards both directions of a connection, each in a thread.
fn forward(client: TcpStream, server: u16, connection: usize, observed: &Arc<Mutex<Observed>>) -> io::Result<()> {
    let server = TcpStream::connect((HOST, server))?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_server) = (client.try_clone()?, server.try_clone()?);
    let shared = Arc::clone(observed);
    thread::spawn(move || {
        let on_get = |opaque| {
            lock(&shared).pending.insert((connection, opaque), Instant::now());
        };
        copy(from_client, to_server, |_| (), on_get)
    });
    let shared = Arc::clone(observed);
    thread::spawn(move || {
        let on_get = |opaque| {
            let mut observed = lock(&shared);
            if let Some(received) = observed.pending.remove(&(connection, opaque)) {
                let nanos = u64::try_from(received.elapsed().as_nanos()).unwrap_or(u64::MAX);
                observed.latency.saturating_record(nanos);
            }
        };
        copy(server, client, |chunk| thread::sleep(delay(chunk)), on_get)
    });
    Ok(())
}

/// Copies bytes until the end of the stream. Calls `before_chunk` before it writes a chunk, and `on_get` with the
/// opaque of each get or reply to a get.
fn copy(mut from: TcpStream, mut to: TcpStream, before_chunk: impl Fn(u64), on_get: impl Fn(u32)) -> io::Result<()> {
    let (mut packets, mut chunk) = (PacketScanner::default(), vec![0; 64 * 1024]);
    for number in 0.. {
        let length = from.read(&mut chunk)?;
        if length == 0 {
            break;
        }
        before_chunk(number);
        packets.scan(&chunk[..length], &on_get);
        to.write_all(&chunk[..length])?;
    }
    to.shutdown(std::net::Shutdown::Write)
}

/// Returns the delay of a chunk of replies: every 16th is ten times as long as the others, so that the percentiles
/// differ.
fn delay(chunk: u64) -> Duration {
    if chunk % 16 == 15 { LONG } else { SHORT }
}

/// Finds the packets in a stream of the binary protocol.
#[derive(Debug, Default)]
struct PacketScanner {
    header: Vec<u8>,
    /// The number of bytes of the body that have not been read.
    remaining_body: usize,
}

impl PacketScanner {
    fn scan(&mut self, mut bytes: &[u8], on_get: impl Fn(u32)) {
        while !bytes.is_empty() {
            let skipped = self.remaining_body.min(bytes.len());
            self.remaining_body -= skipped;
            bytes = &bytes[skipped..];
            let length = (HEADER_LEN - self.header.len()).min(bytes.len());
            self.header.extend_from_slice(&bytes[..length]);
            bytes = &bytes[length..];
            if let Ok(header) = <[u8; HEADER_LEN]>::try_from(self.header.as_slice()) {
                let word = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
                self.remaining_body = word(8) as usize;
                self.header.clear();
                if header[1] == GET {
                    on_get(word(12));
                }
            }
        }
    }
}

fn lock(observed: &Mutex<Observed>) -> MutexGuard<'_, Observed> {
    observed.lock().unwrap_or_else(PoisonError::into_inner)
}

const SHORT: Duration = Duration::from_millis(5);
const LONG: Duration = Duration::from_millis(50);
const MAX_LATENCY: u64 = 60_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    #[test]
    fn packets_are_found_in_chunks_of_any_size() {
        let packet = |opcode: u8, opaque: u8, body: usize| {
            let mut packet = vec![0; HEADER_LEN + body];
            (packet[1], packet[11], packet[15]) = (opcode, body as u8, opaque);
            packet
        };
        let stream =
            [packet(GET, 1, 9), packet(0x0a, 2, 0), packet(GET, 3, 0), packet(0x01, 4, 30), packet(GET, 5, 1)].concat();
        for size in [1, 2, 7, 24, 25, stream.len()] {
            let found = RefCell::new(Vec::new());
            let mut packets = PacketScanner::default();
            stream.chunks(size).for_each(|chunk| packets.scan(chunk, |opaque| found.borrow_mut().push(opaque)));
            assert_eq!(*found.borrow(), [1, 3, 5], "{size}");
        }
    }
}
