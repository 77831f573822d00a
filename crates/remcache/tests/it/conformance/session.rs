//! A connection state machine on a blocking socket.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use bytes::Buf;
use remcache::proto::{
    Connection, Deadline, InputBuffer, Limits, Output, Protocol, ProtocolError, Rejected, Reply, Request,
    ServerVersion, Tag,
};
use remcache_testkit::Memcached;

/// A connection state machine, and the socket that it uses.
pub(crate) struct Session {
    pub(crate) connection: Connection,
    pub(crate) stream: TcpStream,
    pub(crate) input: InputBuffer,
    next: u64,
}

impl Session {
    pub(crate) fn open(server: &Memcached, protocol: Protocol) -> Self {
        Self::open_at(&server.addr(), real_version(), protocol)
    }

    /// Connects to a server of this version.
    pub(crate) fn open_at(address: &str, version: ServerVersion, protocol: Protocol) -> Self {
        let stream = TcpStream::connect(address).expect("the server listens");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a new socket");
        let now = Instant::now();
        let connection = Connection::with_protocol(protocol, version, Limits::default(), u32::MAX - 3, now);
        Self { connection, stream, input: InputBuffer::new(), next: 0 }
    }

    pub(crate) fn submit(&mut self, request: &Request<'_>) -> Result<u64, Reply> {
        let now = Instant::now();
        let deadline = Deadline { at: now + Duration::from_secs(10), extend_by: Duration::ZERO };
        self.next += 1;
        match self.connection.submit(request, Some(Tag(self.next)), deadline, now) {
            Ok(_) => Ok(self.next),
            Err(Rejected::Invalid(invalid)) => Err(Reply::invalid(&invalid)),
            Err(rejected) => panic!("{rejected}"),
        }
    }

    pub(crate) fn send(&mut self) {
        let mut output = Output::new();
        self.connection.take_output(&mut output);
        let bytes = output.copy_to_bytes(output.remaining());
        self.stream.write_all(&bytes).expect("the server reads");
        self.connection.handle_written(bytes.len());
    }

    /// Reads until this number of requests is completed, and returns all replies.
    pub(crate) fn replies(&mut self, mut requests: usize) -> Result<Vec<(u64, Reply)>, ProtocolError> {
        let mut replies = Vec::new();
        while requests > 0 {
            while let Some(event) = self.connection.poll_event(&mut self.input)? {
                requests -= usize::from(event.last);
                replies.push((event.tag.0, event.reply));
            }
            if requests == 0 {
                break;
            }
            let mut buffer = [0; 4096];
            let count = match self.stream.read(&mut buffer) {
                // A signal because the server of another test has ended.
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                count => count.expect("the server answers"),
            };
            if count == 0 {
                // Completes requests that the end of the connection answers, and fails all others.
                self.connection.close(&"the server closed".into(), Instant::now());
            }
            self.input.extend(&buffer[..count]);
            self.connection.handle_received(Instant::now());
        }
        Ok(replies)
    }

    /// Sends a request and returns all its replies.
    pub(crate) fn call(&mut self, request: &Request<'_>) -> Vec<Reply> {
        if let Err(refused) = self.submit(request) {
            return vec![refused];
        }
        self.send();
        let replies = self.replies(1).unwrap_or_else(|error| panic!("{request:?}: {error}"));
        replies.into_iter().map(|(_, reply)| reply).collect()
    }

    pub(crate) fn call_one(&mut self, request: &Request<'_>) -> Reply {
        self.call(request).pop().expect("a reply")
    }
}

/// Returns the version of the installed memcached.
pub(crate) fn real_version() -> ServerVersion {
    let (major, minor, patch) = Memcached::version();
    ServerVersion::parse(&format!("{major}.{minor}.{patch}"))
}
