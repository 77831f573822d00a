//! The server side of each protocol: decodes requests and encodes replies.

use bytes::{Buf, Bytes, BytesMut};
use remcache::proto::binary::{Opcode, Packet, decode_request, encode_reply};
use remcache::proto::meta::server::{MetaOperation as Verb, ReplyLine};
use remcache::proto::text::server::{self as text_server, Command};
use remcache::proto::{InputBuffer, Operation, Output, Protocol, Reply, Status};

/// Decodes requests from the bytes read so far.
#[derive(Debug)]
pub(crate) enum RequestDecoder {
    Binary(InputBuffer),
    /// Meta and classic text commands.
    Lines(BytesMut),
}

/// A decoded request and the format of its replies.
#[derive(Debug)]
pub(crate) struct ServerRequest {
    pub(crate) operation: Operation,
    /// One key, or several for a classic `get`.
    pub(crate) keys: Vec<Bytes>,
    pub(crate) value: Bytes,
    is_quiet: bool,
    format: ReplyFormat,
}

/// The format of a reply.
#[derive(Debug)]
enum ReplyFormat {
    Packet {
        opcode: Opcode,
        opaque: u32,
    },
    /// Meta command flags.
    Meta {
        flags: Vec<(u8, Bytes)>,
    },
    Classic {
        with_cas: bool,
    },
}

impl RequestDecoder {
    pub(crate) fn new(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Binary => Self::Binary(InputBuffer::new()),
            _ => Self::Lines(BytesMut::new()),
        }
    }

    /// Returns the buffer that more bytes are read into.
    pub(crate) fn spare(&mut self) -> &mut BytesMut {
        match self {
            Self::Binary(input) => input.spare_capacity(),
            Self::Lines(input) => {
                input.reserve(READ_CAPACITY);
                input
            }
        }
    }

    /// Returns the next complete request.
    ///
    /// # Panics
    /// If the bytes are not a valid request.
    pub(crate) fn next(&mut self) -> Option<ServerRequest> {
        match self {
            Self::Binary(input) => Packet::decode(input, MAX_BODY).expect("a valid packet").as_ref().map(packet),
            Self::Lines(input) => line(input),
        }
    }
}

fn packet(packet: &Packet) -> ServerRequest {
    let request = decode_request(packet).expect("a valid request");
    ServerRequest {
        operation: request.operation(),
        keys: request.key().into_iter().map(|key| Bytes::copy_from_slice(key.as_bytes())).collect(),
        value: Bytes::copy_from_slice(request.value()),
        is_quiet: request.is_quiet(),
        format: ReplyFormat::Packet { opcode: Opcode(packet.header.opcode), opaque: packet.header.opaque },
    }
}

fn line(input: &mut BytesMut) -> Option<ServerRequest> {
    let (line, length) = text_server::split_line(input)?;
    let invalid = |refusal| panic!("invalid request {}: {refusal:?}", line.escape_ascii());
    let command = text_server::parse(line).unwrap_or_else(invalid);
    let mut request = command_request(&command);
    let announced = match &command {
        Command::Store(store) => Some(store.length),
        Command::Meta(command) => match command.operation {
            Verb::Set { length } => Some(length),
            _ => None,
        },
        _ => None,
    };
    let mut total = length;
    if let Some(announced) = announced {
        let value = text_server::split_value(&input[length..], announced)?.expect("a value with its terminator");
        request.value = Bytes::copy_from_slice(value);
        total += announced + text_server::LINE_END.len();
    }
    input.advance(total);
    Some(request)
}

fn command_request(command: &Command<'_>) -> ServerRequest {
    let classic = |operation, key: &[u8], is_quiet| {
        let format = ReplyFormat::Classic { with_cas: matches!(command, Command::Get(get) if get.with_cas) };
        ServerRequest { operation, keys: vec![Bytes::copy_from_slice(key)], value: Bytes::new(), is_quiet, format }
    };
    match command {
        Command::Get(get) => {
            let keys = get.keys.clone().map(Bytes::copy_from_slice).collect();
            ServerRequest { keys, ..classic(Operation::Get, b"", false) }
        }
        Command::Store(store) if store.operation == text_server::StoreOperation::Set => {
            classic(Operation::Set, store.key, store.quiet)
        }
        Command::Arithmetic(arithmetic) if arithmetic.is_increment => {
            classic(Operation::Increment, arithmetic.key, arithmetic.quiet)
        }
        Command::Delete(delete) => classic(Operation::Delete, delete.key, delete.quiet),
        Command::Version => classic(Operation::Version, b"", false),
        Command::Admin(b"stats", _) => classic(Operation::Stat, b"", false),
        Command::Meta(command) => {
            let operation = match command.operation {
                Verb::Get => Operation::Get,
                Verb::Set { .. } => Operation::Set,
                Verb::Delete => Operation::Delete,
                Verb::Arithmetic => Operation::Increment,
                Verb::NoOp => Operation::NoOp,
                Verb::Debug => Operation::Debug,
            };
            let flags = command.flags().map(|(flag, token)| (flag, Bytes::copy_from_slice(token)));
            let format = ReplyFormat::Meta { flags: flags.collect() };
            ServerRequest { is_quiet: command.options.quiet, format, ..classic(operation, &command.key, false) }
        }
        other => panic!("unexpected command: {other:?}"),
    }
}

impl ServerRequest {
    /// Returns the key of a request that has at most one.
    pub(crate) fn key(&self) -> Bytes {
        self.keys.first().cloned().unwrap_or_default()
    }

    /// Encodes the replies; each element is one complete reply: a packet, or all lines that answer one command line.
    pub(crate) fn encode_replies(&self, replies: &[Reply]) -> Vec<Bytes> {
        if self.is_quiet && replies.iter().all(|reply| self.is_suppressed(reply)) {
            return Vec::new();
        }
        if let (Operation::Get, ReplyFormat::Classic { with_cas }) = (self.operation, &self.format) {
            return vec![self.encode_items(replies, *with_cas)];
        }
        let encoded = replies.iter().map(|reply| match &self.format {
            ReplyFormat::Packet { opcode, opaque } => encode_packet(reply, *opcode, *opaque),
            ReplyFormat::Meta { flags } => self.encode_meta(reply, flags),
            ReplyFormat::Classic { .. } => self.encode_classic(reply),
        });
        encoded.collect()
    }

    /// Returns whether a quiet request suppresses this reply.
    fn is_suppressed(&self, reply: &Reply) -> bool {
        reply.status == if self.operation.is_fetch() { Status::KeyNotFound } else { Status::NoError }
    }

    fn encode_meta(&self, reply: &Reply, flags: &[(u8, Bytes)]) -> Bytes {
        let value = match (self.operation, reply.number) {
            _ if reply.status != Status::NoError => None,
            (Operation::Get, _) => Some(reply.value.clone()),
            (_, number) => number.map(|number| number.to_string().into()),
        };
        let mut answer = match (self.operation, reply.status, &value) {
            (Operation::NoOp, ..) => ReplyLine::code("MN"),
            (.., Some(value)) => ReplyLine::value(value.len()),
            (_, Status::NoError, None) => ReplyLine::code("HD"),
            (Operation::Get, ..) => ReplyLine::code("EN"),
            _ => ReplyLine::code("NF"),
        };
        for (flag, token) in flags {
            match flag {
                b'O' => answer.token(b'O', token),
                b'k' => answer.key(&self.key(), flags.iter().any(|(flag, _)| *flag == b'b')),
                b'f' if reply.is_ok() => answer.number(b'f', reply.flags.into()),
                b'c' if reply.is_ok() => answer.number(b'c', reply.cas),
                _ => {}
            }
        }
        let end = if value.is_some() { text_server::LINE_END } else { b"" };
        [&answer.into_line(), value.as_deref().unwrap_or_default(), end].concat().into()
    }

    /// Encodes the items that were found, followed by `END`.
    fn encode_items(&self, replies: &[Reply], with_cas: bool) -> Bytes {
        let mut output = Vec::new();
        for (key, reply) in self.keys.iter().zip(replies).filter(|(_, reply)| reply.is_ok()) {
            let cas = if with_cas { format!(" {}", reply.cas) } else { String::new() };
            let head = format!(" {} {}{cas}\r\n", reply.flags, reply.value.len());
            for piece in [b"VALUE ", &key[..], head.as_bytes(), &reply.value, b"\r\n"] {
                output.extend_from_slice(piece);
            }
        }
        output.extend_from_slice(b"END\r\n");
        output.into()
    }

    fn encode_classic(&self, reply: &Reply) -> Bytes {
        let is_found = reply.status == Status::NoError;
        match self.operation {
            Operation::Set => Bytes::from_static(b"STORED\r\n"),
            Operation::Version => format!("VERSION {}\r\n", reply.text()).into(),
            Operation::Stat if reply.key.is_empty() => Bytes::from_static(b"END\r\n"),
            Operation::Stat => [b"STAT ", &reply.key[..], b" ", &reply.value, b"\r\n"].concat().into(),
            _ if !is_found => Bytes::from_static(b"NOT_FOUND\r\n"),
            Operation::Increment => format!("{}\r\n", reply.number.unwrap_or_default()).into(),
            _ => Bytes::from_static(b"DELETED\r\n"),
        }
    }
}

fn encode_packet(reply: &Reply, opcode: Opcode, opaque: u32) -> Bytes {
    let mut output = Output::new();
    encode_reply(reply, opcode, opaque, &mut output);
    output.copy_to_bytes(output.remaining())
}

const MAX_BODY: usize = 2 << 20;
/// Bytes read at once.
const READ_CAPACITY: usize = 16 << 10;
