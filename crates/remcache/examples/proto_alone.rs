//! The protocol layer alone, on a blocking socket of the standard library: no runtime, no client.
//!
//! This needs `remcache` with `default-features = false`; the runtime below is the embedded server's.
//! `cargo run -p remcache --no-default-features --example proto_alone` prints:
//!
//! ```text
//! set: success
//! get: success, World
//! get of an absent key: key not found
//! quiet set: success
//! the bytes of a get: 80 00 00 05 00 00 00 00 00 00 00 05 00 00 00 2a 00 00 00 00 00 00 00 00 48 65 6c 6c 6f
//! ```

use std::error::Error;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use bytes::Buf;
use remcache::proto::{Connection, Deadline, Event, InputBuffer, Limits, Output, Request, Tag, binary};
use remcache_server::Server;

fn main() -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let server = runtime.block_on(Server::start())?;

    let mut connection = BlockingConnection::connect(&server.address())?;
    let requests = [
        ("set", Request::set("Hello", "World")),
        ("get", Request::get("Hello")),
        ("get of an absent key", Request::get("Goodbye")),
        // The server does not confirm a quiet request; the no-op that follows shows that it succeeded.
        ("quiet set", Request::set("Hello", "again").quiet()),
    ];
    let mut events: Vec<Event> = connection.send(requests.iter().map(|(_, request)| request))?;
    events.sort_by_key(|event| event.tag.0);
    for ((name, _), Event { reply, .. }) in requests.iter().zip(events) {
        let value =
            if reply.is_ok() && !reply.value.is_empty() { format!(", {}", reply.text()) } else { String::new() };
        println!("{name}: {}{value}", reply.status);
    }

    // Packets can also be encoded without a connection.
    let mut output = Output::new();
    binary::encode(&Request::get("Hello"), 42, &mut output)?;
    let hex: Vec<String> = output.small().iter().map(|byte| format!("{byte:02x}")).collect();
    println!("the bytes of a get: {}", hex.join(" "));
    Ok(())
}

/// A socket, and the state machine of its connection.
struct BlockingConnection {
    socket: TcpStream,
    state: Connection,
    input: InputBuffer,
}

impl BlockingConnection {
    fn connect(address: &str) -> io::Result<Self> {
        let socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(Duration::from_secs(1)))?;
        let state = Connection::new(Limits::default(), 0, Instant::now());
        Ok(Self { socket, state, input: InputBuffer::new() })
    }

    /// Sends all requests in one write, and reads until each has its result.
    fn send<'r>(&mut self, requests: impl Iterator<Item = &'r Request<'r>>) -> Result<Vec<Event>, Box<dyn Error>> {
        for (tag, request) in requests.enumerate() {
            let now = Instant::now();
            let deadline = Deadline { at: now + Duration::from_secs(1), extend_by: Duration::ZERO };
            self.state.submit(request, Some(Tag(tag as u64)), deadline, now)?;
        }
        let mut output = Output::new();
        self.state.take_output(&mut output);
        let bytes = output.copy_to_bytes(output.remaining());
        self.socket.write_all(&bytes)?;
        self.state.handle_written(bytes.len());

        let mut events = Vec::new();
        while self.state.in_flight() > 0 {
            self.read()?;
            while let Some(event) = self.state.poll_event(&mut self.input)? {
                events.push(event);
            }
        }
        Ok(events)
    }

    fn read(&mut self) -> io::Result<()> {
        let mut bytes = [0; 4096];
        let count = self.socket.read(&mut bytes)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.input.extend(bytes.get(..count).unwrap_or_default());
        self.state.handle_received(Instant::now());
        Ok(())
    }
}
