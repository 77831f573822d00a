//! A DNS server that answers, truncates, fails or never answers.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

/// The type of a query for IPv4 addresses.
pub const A: u16 = 1;
/// The type of a query for IPv6 addresses.
pub const AAAA: u16 = 28;
/// The type of a query for the servers of a service.
pub const SRV: u16 = 33;

/// The name server's answer to one type of query.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum Answer {
    /// The name exists but has no records of this type.
    #[default]
    NoData,
    /// The data of records: see [`addresses`] and [`service`].
    Records(Vec<Vec<u8>>),
    /// Records that do not fit into a datagram: sent over TCP only.
    Long(Vec<Vec<u8>>),
    /// The name does not exist.
    NoSuchName,
    /// The name server reports that it failed (`SERVFAIL`).
    ServerFailure,
    /// No reply.
    None,
    /// A reply that is not DNS.
    Garbage,
}

/// A name server on UDP and TCP, which gives the same answers for all names.
#[derive(Debug)]
pub struct NameServer {
    address: SocketAddr,
    answers: Arc<Answers>,
}

/// The answers by type of query.
#[derive(Debug, Default)]
struct Answers(Mutex<HashMap<u16, Answer>>);

impl Answers {
    fn set(&self, kind: u16, answer: Answer) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(kind, answer);
    }

    fn get(&self, kind: u16) -> Answer {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&kind).cloned().unwrap_or_default()
    }
}

impl NameServer {
    /// Starts a server whose tasks run on the current runtime.
    ///
    /// # Panics
    /// Panics if no port is free.
    pub async fn start() -> Self {
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().expect("a bound socket")).await {
                break (udp, tcp);
            }
        };
        let address = udp.local_addr().expect("a bound socket");
        let answers = Arc::<Answers>::default();
        tokio::spawn(serve_udp(udp, Arc::clone(&answers)));
        tokio::spawn(serve_tcp(tcp, Arc::clone(&answers)));
        Self { address, answers }
    }

    /// Returns the address of the server.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets the answer to one type of query.
    pub fn answer(&self, kind: u16, answer: Answer) {
        self.answers.set(kind, answer);
    }
}

async fn serve_udp(socket: UdpSocket, answers: Arc<Answers>) {
    let mut question = [0; 1024];
    while let Ok((length, from)) = socket.recv_from(&mut question).await {
        if let Some(reply) = reply(&question[..length], &answers, true) {
            let _ = socket.send_to(&reply, from).await;
        }
    }
}

async fn serve_tcp(listener: TcpListener, answers: Arc<Answers>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let answers = Arc::clone(&answers);
        tokio::spawn(async move {
            while let Ok(length) = stream.read_u16().await {
                let mut question = vec![0; usize::from(length)];
                if stream.read_exact(&mut question).await.is_err() {
                    break;
                }
                let Some(reply) = reply(&question, &answers, false) else { continue };
                let framed = [&u16::try_from(reply.len()).expect("a short reply").to_be_bytes()[..], &reply].concat();
                if stream.write_all(&framed).await.is_err() {
                    break;
                }
            }
        });
    }
}

/// Encodes a reply (RFC 1035, 4.1): header, question, and records whose name points at the question.
fn reply(question: &[u8], answers: &Answers, is_udp: bool) -> Option<Vec<u8>> {
    let name_end = 12 + question[12..].iter().position(|&byte| byte == 0)? + 1;
    let kind = u16::from_be_bytes([question[name_end], question[name_end + 1]]);
    let answer = answers.get(kind);
    let (records, truncated, code) = match answer {
        Answer::None => return None,
        Answer::Garbage => return Some([&question[..2], b"\xff\xff garbage"].concat()),
        Answer::NoData => (vec![], false, 0),
        Answer::Records(records) => (records, false, 0),
        Answer::Long(_) if is_udp => (vec![], true, 0),
        Answer::Long(records) => (records, false, 0),
        Answer::NoSuchName => (vec![], false, 3),
        Answer::ServerFailure => (vec![], false, 2),
    };
    let count = u8::try_from(records.len()).expect("at most 255 records");
    let flags = [0x81 | u8::from(truncated) << 1, 0x80 | code];
    let mut reply = [&question[..2], &flags, &[0, 1, 0, count, 0, 0, 0, 0], &question[12..name_end + 4]].concat();
    for data in records {
        let length = u16::try_from(data.len()).expect("a short record");
        reply.extend_from_slice(&[0xc0, 12]);
        reply.extend_from_slice(&kind.to_be_bytes());
        reply.extend_from_slice(&[0, 1, 0, 0, 0, 30]);
        reply.extend_from_slice(&length.to_be_bytes());
        reply.extend_from_slice(&data);
    }
    Some(reply)
}

/// Encodes the data of address records.
///
/// # Panics
/// Panics if a text is not an IP address.
#[must_use]
pub fn addresses(texts: &[&str]) -> Vec<Vec<u8>> {
    let octets = |text: &&str| match text.parse().expect("an IP address") {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    texts.iter().map(octets).collect()
}

/// Encodes the data of a service record.
///
/// # Panics
/// Panics if a label of the target is longer than 255 bytes.
#[must_use]
pub fn service(priority: u16, weight: u16, port: u16, target: &str) -> Vec<u8> {
    let mut data: Vec<u8> = [priority, weight, port].iter().flat_map(|number| number.to_be_bytes()).collect();
    for label in target.split('.') {
        data.push(u8::try_from(label.len()).expect("a short label"));
        data.extend_from_slice(label.as_bytes());
    }
    data.push(0);
    data
}
