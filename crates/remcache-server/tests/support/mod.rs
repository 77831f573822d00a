//! A minimal client: it writes packets and lines and reads bytes.

#![expect(dead_code, reason = "each test binary uses a part of it")]

use std::io::{self, ErrorKind};
use std::time::Duration;

use remcache_proto::binary::{Header, Opcode, Packet};
use remcache_proto::{Output, Status};
use remcache_server::Server;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A connection to a server.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
}

/// The way in which a connection was closed.
#[derive(Debug, PartialEq)]
pub(crate) enum End {
    Fin,
    Rst,
}

// Reached only if the server misbehaves.
const PATIENCE: Duration = Duration::from_secs(20);

impl Client {
    pub(crate) async fn connect(server: &Server) -> Self {
        let stream = TcpStream::connect(server.address()).await.expect("the server listens");
        stream.set_nodelay(true).expect("a fresh socket");
        Self { stream }
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("the server reads");
    }

    /// Reads a packet.
    pub(crate) async fn packet(&mut self) -> Packet {
        let mut header = [0; Header::LEN];
        self.read_exact(&mut header).await.expect("a header");
        let header = Header::from_bytes(&header).expect("a packet");
        let mut body = vec![0; header.body_length as usize];
        self.read_exact(&mut body).await.expect("a body");
        let value = body.split_off(usize::from(header.extras_length) + usize::from(header.key_length));
        let key = body.split_off(usize::from(header.extras_length));
        Packet { header, extras: body.into(), key: key.into(), value: value.into() }
    }

    pub(crate) async fn read_exact(&mut self, target: &mut [u8]) -> io::Result<usize> {
        timeout(PATIENCE, self.stream.read_exact(target)).await.expect("the server answers")
    }

    /// Sends a request and reads its reply.
    pub(crate) async fn request(&mut self, request: &[u8]) -> Packet {
        self.send(request).await;
        self.packet().await
    }

    /// Reads up to this end.
    pub(crate) async fn until(&mut self, end: &str) -> String {
        let mut bytes = Vec::new();
        while !bytes.ends_with(end.as_bytes()) {
            let mut byte = [0];
            self.read_exact(&mut byte).await.unwrap_or_else(|error| panic!("{error} after {}", bytes.escape_ascii()));
            bytes.extend(byte);
        }
        String::from_utf8(bytes).expect("text")
    }

    /// Sends lines and reads the replies up to this end.
    pub(crate) async fn command(&mut self, lines: &str, end: &str) -> String {
        self.send(lines.as_bytes()).await;
        self.until(end).await
    }

    /// Reads to the end of the stream. Returns the bytes and the way in which the connection was closed.
    pub(crate) async fn rest(&mut self) -> (Vec<u8>, End) {
        let mut bytes = Vec::new();
        let end = timeout(PATIENCE, self.stream.read_to_end(&mut bytes)).await.expect("the server closes");
        match end {
            Ok(_) => (bytes, End::Fin),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => (bytes, End::Rst),
            Err(error) => panic!("{error}"),
        }
    }

    /// Returns whether nothing arrives for a while.
    pub(crate) async fn receives_nothing(&self) -> bool {
        let mut byte = [0];
        timeout(Duration::from_millis(100), self.stream.peek(&mut byte)).await.is_err()
    }
}

/// Encodes a request.
pub(crate) fn request(opcode: u8, opaque: u32, extras: &[u8], key: &str, value: &[u8]) -> Vec<u8> {
    let (extras, key, value) = (extras.to_vec(), key.to_owned(), value.to_vec());
    let mut packet = Packet::request(Opcode(opcode), extras, key, value);
    packet.header.opaque = opaque;
    let mut output = Output::new();
    packet.encode(&mut output);
    // Large values are kept apart from the other bytes; copying them out joins everything in order.
    let length = bytes::Buf::remaining(&output);
    bytes::Buf::copy_to_bytes(&mut output, length).to_vec()
}

pub(crate) fn get(opaque: u32, key: &str) -> Vec<u8> {
    request(0x00, opaque, &[], key, &[])
}

pub(crate) fn set(opaque: u32, key: &str, value: &[u8]) -> Vec<u8> {
    request(0x01, opaque, &[0; 8], key, value)
}

pub(crate) fn set_until(opaque: u32, key: &str, seconds: u32) -> Vec<u8> {
    let extras = [[0; 4], seconds.to_be_bytes()].concat();
    request(0x01, opaque, &extras, key, b"v")
}

pub(crate) fn noop(opaque: u32) -> Vec<u8> {
    request(0x0a, opaque, &[], "", &[])
}

/// Encodes the reply to a no-op with this opaque.
pub(crate) fn noop_reply(opaque: u32) -> Vec<u8> {
    let mut header = Header::response(Opcode::NOOP, Status::NoError);
    header.opaque = opaque;
    header.to_bytes().to_vec()
}
