//! The server's side of each protocol: requests as a server hears them, and its answers in their words.

use bytes::{Buf, Bytes, BytesMut};
use remcache::proto::binary::{Opcode, Packet, decode_request, encode_reply};
use remcache::proto::meta::server::{Answer, Operation as Verb};
use remcache::proto::text::server::{self as text_server, Command};
use remcache::proto::{InputBuffer, Operation, Output, Protocol, Reply, Status};

/// What a server has read of a connection and not understood yet.
#[derive(Debug)]
pub(crate) enum Ear {
    Packets(InputBuffer),
    /// The meta commands and the classic ones.
    Lines(BytesMut),
}

/// A request, and how its answer is said.
#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) operation: Operation,
    /// Only a fetch has more than one, and no more than that if it is in text.
    pub(crate) keys: Vec<Bytes>,
    pub(crate) value: Bytes,
    is_quiet: bool,
    manner: Manner,
}

/// How an answer is said.
#[derive(Debug)]
enum Manner {
    Packet {
        opcode: Opcode,
        opaque: u32,
    },
    /// A meta command with its flags.
    Meta {
        flags: Vec<(u8, Bytes)>,
    },
    Classic {
        with_cas: bool,
    },
}

impl Ear {
    pub(crate) fn new(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Binary => Self::Packets(InputBuffer::new()),
            _ => Self::Lines(BytesMut::new()),
        }
    }

    /// Where more bytes are read into.
    pub(crate) fn spare(&mut self) -> &mut BytesMut {
        match self {
            Self::Packets(input) => input.spare(),
            Self::Lines(input) => {
                input.reserve(SPARE);
                input
            }
        }
    }

    /// The next request that is there as a whole.
    ///
    /// # Panics
    /// When the bytes are none: a client sends requests that are some.
    pub(crate) fn next(&mut self) -> Option<Heard> {
        match self {
            Self::Packets(input) => Packet::decode(input, LONGEST_BODY).expect("a request").as_ref().map(packet),
            Self::Lines(input) => line(input),
        }
    }
}

fn packet(packet: &Packet) -> Heard {
    let request = decode_request(packet).expect("a request");
    Heard {
        operation: request.operation(),
        keys: request.key().into_iter().map(|key| Bytes::copy_from_slice(key.as_bytes())).collect(),
        value: Bytes::copy_from_slice(request.value()),
        is_quiet: request.is_quiet(),
        manner: Manner::Packet { opcode: Opcode(packet.header.opcode), opaque: packet.header.opaque },
    }
}

fn line(input: &mut BytesMut) -> Option<Heard> {
    let (line, length) = text_server::line(input)?;
    let refused = |refusal| panic!("{} is no request: {refusal:?}", line.escape_ascii());
    let command = text_server::parse(line).unwrap_or_else(refused);
    let mut heard = command_heard(&command);
    let announced = match &command {
        Command::Store(store) => Some(store.length),
        Command::Meta(command) => match command.operation {
            Verb::Set { length } => Some(length),
            _ => None,
        },
        _ => None,
    };
    let mut whole = length;
    if let Some(announced) = announced {
        let value = text_server::value(&input[length..], announced)?.expect("a value with its end");
        heard.value = Bytes::copy_from_slice(value);
        whole += announced + text_server::LINE_END.len();
    }
    input.advance(whole);
    Some(heard)
}

fn command_heard(command: &Command<'_>) -> Heard {
    let classic = |operation, key: &[u8], is_quiet| {
        let manner = Manner::Classic { with_cas: matches!(command, Command::Get(get) if get.with_cas) };
        Heard { operation, keys: vec![Bytes::copy_from_slice(key)], value: Bytes::new(), is_quiet, manner }
    };
    match command {
        Command::Get(get) => {
            let keys = get.keys.clone().map(Bytes::copy_from_slice).collect();
            Heard { keys, ..classic(Operation::Get, b"", false) }
        }
        Command::Store(store) if store.verb == text_server::Verb::Set => {
            classic(Operation::Set, store.key, store.quiet)
        }
        Command::Count(count) if count.up => classic(Operation::Increment, count.key, count.quiet),
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
            let manner = Manner::Meta { flags: flags.collect() };
            Heard { is_quiet: command.terms.quiet, manner, ..classic(operation, &command.key, false) }
        }
        other => panic!("nobody asks for {other:?}"),
    }
}

impl Heard {
    /// The key of a request that has one at most.
    pub(crate) fn key(&self) -> Bytes {
        self.keys.first().cloned().unwrap_or_default()
    }

    /// The answer, in pieces that each are the whole of a reply: a packet, or all lines that answer a line.
    pub(crate) fn say(&self, replies: &[Reply]) -> Vec<Bytes> {
        if self.is_quiet && replies.iter().all(|reply| self.is_usual(reply)) {
            return Vec::new();
        }
        if let (Operation::Get, Manner::Classic { with_cas }) = (self.operation, &self.manner) {
            return vec![self.say_items(replies, *with_cas)];
        }
        let said = replies.iter().map(|reply| match &self.manner {
            Manner::Packet { opcode, opaque } => say_packet(reply, *opcode, *opaque),
            Manner::Meta { flags } => self.say_meta(reply, flags),
            Manner::Classic { .. } => self.say_classic(reply),
        });
        said.collect()
    }

    /// Whether a quiet request is not answered with this.
    fn is_usual(&self, reply: &Reply) -> bool {
        reply.status == if self.operation.is_fetch() { Status::KeyNotFound } else { Status::NoError }
    }

    fn say_meta(&self, reply: &Reply, flags: &[(u8, Bytes)]) -> Bytes {
        let value = match (self.operation, reply.number) {
            _ if reply.status != Status::NoError => None,
            (Operation::Get, _) => Some(reply.value.clone()),
            (_, number) => number.map(|number| number.to_string().into()),
        };
        let mut answer = match (self.operation, reply.status, &value) {
            (Operation::NoOp, ..) => Answer::code("MN"),
            (.., Some(value)) => Answer::value(value.len()),
            (_, Status::NoError, None) => Answer::code("HD"),
            (Operation::Get, ..) => Answer::code("EN"),
            _ => Answer::code("NF"),
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

    /// All items that were found, and the end.
    fn say_items(&self, replies: &[Reply], with_cas: bool) -> Bytes {
        let mut said = Vec::new();
        for (key, reply) in self.keys.iter().zip(replies).filter(|(_, reply)| reply.is_ok()) {
            let cas = if with_cas { format!(" {}", reply.cas) } else { String::new() };
            let head = format!(" {} {}{cas}\r\n", reply.flags, reply.value.len());
            for piece in [b"VALUE ", &key[..], head.as_bytes(), &reply.value, b"\r\n"] {
                said.extend_from_slice(piece);
            }
        }
        said.extend_from_slice(b"END\r\n");
        said.into()
    }

    fn say_classic(&self, reply: &Reply) -> Bytes {
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

fn say_packet(reply: &Reply, opcode: Opcode, opaque: u32) -> Bytes {
    let mut output = Output::new();
    encode_reply(reply, opcode, opaque, &mut output);
    output.copy_to_bytes(output.remaining())
}

const LONGEST_BODY: usize = 2 << 20;
/// How much is read at once where there is room for it.
const SPARE: usize = 16 << 10;
