//! Any bytes as a script for the whole machine: requests, replies true and false, time, callers who
//! give up. Every request ends once, and nothing panics.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use remcache::proto::binary::{Opcode, Packet, encode_reply};
use remcache::proto::{
    Connection, Deadline, Delivery, InputBuffer, Limits, Output, ProtocolError, Reply, Request, Status, Tag, Ticket,
};

pub(crate) fn run(data: &[u8]) {
    let mut script = Script(data);
    let mut play = Play::new(script.number());
    while let Some(action) = script.next() {
        play.act(action, &mut script);
    }
    play.end();
}

/// The bytes that were not used yet.
struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    fn next(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    fn number(&mut self) -> u8 {
        self.next().unwrap_or_default()
    }

    fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }
}

/// What is known of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stand {
    Waiting,
    GivenUp,
    Ended,
}

struct Play {
    connection: Connection,
    input: InputBuffer,
    /// Bytes that were taken and not written.
    output: Output,
    /// The packets that a server has read and not answered.
    heard: InputBuffer,
    unanswered: Vec<Packet>,
    now: Instant,
    tickets: Vec<Ticket>,
    stands: BTreeMap<u64, Stand>,
    /// The requests of which it was said that no byte was sent.
    not_sent: BTreeSet<u64>,
}

impl Play {
    fn new(first: u8) -> Self {
        let now = Instant::now();
        let opaque = u32::from(first).wrapping_sub(100);
        let limits =
            Limits { in_flight: 40, output: 5_000, value: 10_000, abandoned: (10, SECOND), ..Limits::default() };
        Self {
            connection: Connection::new(limits, opaque, now),
            input: InputBuffer::new(),
            output: Output::new(),
            heard: InputBuffer::new(),
            unanswered: Vec::new(),
            now,
            tickets: Vec::new(),
            stands: BTreeMap::new(),
            not_sent: BTreeSet::new(),
        }
    }

    fn act(&mut self, action: u8, script: &mut Script<'_>) {
        match action % 16 {
            0..=4 => self.submit(action, script.number()),
            5 | 6 => self.write(script.number()),
            7..=9 => self.answer(script.number(), None),
            10 => self.answer(script.number(), Some((script.number(), script.number()))),
            11 => self.hear(script),
            12 => self.abandon(script.number()),
            13 => self.pass_time(script.number()),
            14 => self.expire_due(),
            _ => self.leave(script.number()),
        }
        assert!(self.connection.awaited() <= self.connection.in_flight());
    }

    fn submit(&mut self, kind: u8, number: u8) {
        let tag = self.stands.len() as u64;
        let key = tag.to_string();
        let request = match number % 7 {
            0 | 1 => Request::get(key),
            2 => Request::set(key, vec![number; usize::from(number) * 30]),
            3 => Request::increment(key, 1),
            4 => Request::stat(""),
            5 => Request::delete(key),
            _ => Request::noop(),
        };
        let request = if kind.is_multiple_of(5) { request.quiet() } else { request };
        let extend_by = if number.is_multiple_of(3) { SECOND } else { Duration::ZERO };
        let deadline = Deadline { at: self.now + SECOND, extend_by };
        let owner = (kind % 16 < 4).then_some(Tag(tag));
        if let Ok(ticket) = self.connection.submit(&request, owner, deadline, self.now) {
            self.tickets.push(ticket);
            self.stands.insert(tag, if owner.is_some() { Stand::Waiting } else { Stand::Ended });
        }
    }

    /// The socket takes some bytes, and the server reads them.
    fn write(&mut self, number: u8) {
        if !self.output.has_remaining() {
            self.connection.take_output(&mut self.output);
        }
        let count = self.output.remaining().min(usize::from(number) * 40);
        let bytes = self.output.copy_to_bytes(count);
        self.connection.handle_written(count);
        self.heard.extend(&bytes);
        let packets = std::iter::from_fn(|| Packet::decode(&mut self.heard, 1 << 20).expect("packets are sent"));
        let before = self.unanswered.len();
        self.unanswered.extend(packets);
        self.unanswered[before..].iter().for_each(|packet| self.check_sent(packet));
    }

    /// The key of a request is its tag.
    fn check_sent(&self, packet: &Packet) {
        let tag = std::str::from_utf8(&packet.key).ok().and_then(|key| key.parse().ok());
        let was_denied = tag.is_some_and(|tag: u64| self.not_sent.contains(&tag));
        assert!(!was_denied, "{tag:?} was sent although it was said not to be");
    }

    /// The server answers a request, the oldest if it is honest; one byte of it may be changed.
    fn answer(&mut self, number: u8, change: Option<(u8, u8)>) {
        let place = if change.is_some() { usize::from(number) % self.unanswered.len().max(1) } else { 0 };
        if place >= self.unanswered.len() {
            return;
        }
        let request = self.unanswered.remove(place);
        let opcode = Opcode(request.header.opcode);
        let mut reply = Reply::new(if number.is_multiple_of(4) { Status::KeyNotFound } else { Status::NoError });
        match opcode.0 {
            0x05 | 0x15 => reply.number = Some(1),
            0x00 | 0x09 => reply.value = vec![number; usize::from(number) * 40].into(),
            _ => {}
        }
        let mut frame = Output::new();
        encode_reply(&reply, opcode, request.header.opaque, &mut frame);
        let mut frame = frame.copy_to_bytes(frame.remaining()).to_vec();
        if let Some((at, difference)) = change {
            let at = usize::from(at) % frame.len();
            frame[at] ^= difference;
        }
        self.receive(&frame);
    }

    fn hear(&mut self, script: &mut Script<'_>) {
        let count = usize::from(script.number());
        self.receive(script.bytes(count));
    }

    fn receive(&mut self, bytes: &[u8]) {
        self.input.extend(bytes);
        self.connection.handle_received(self.now);
        self.take_events();
    }

    fn abandon(&mut self, number: u8) {
        if let Some(&ticket) = self.tickets.get(usize::from(number)) {
            self.connection.abandon(ticket, self.now);
            // The tickets are in the order of the tags.
            self.mark_given_up(u64::from(number));
        }
    }

    fn mark_given_up(&mut self, tag: u64) {
        if let Some(stand) = self.stands.get_mut(&tag).filter(|stand| **stand == Stand::Waiting) {
            *stand = Stand::GivenUp;
        }
    }

    fn pass_time(&mut self, number: u8) {
        self.now += Duration::from_millis(u64::from(number) * 20);
        let outcome = self.connection.handle_timeout(self.now);
        self.take_events();
        if outcome.is_err() {
            self.close();
        }
    }

    fn expire_due(&mut self) {
        self.connection.expire_due(self.now);
        self.take_events();
    }

    /// A caller of many requests gives up all of them; or the connection ends, or has nothing to do.
    fn leave(&mut self, number: u8) {
        match number % 3 {
            0 => {
                self.connection.abandon_where(|tag| tag.0 % 4 == 1, self.now);
                let tags: Vec<_> = self.stands.keys().copied().filter(|tag| tag % 4 == 1).collect();
                tags.into_iter().for_each(|tag| self.mark_given_up(tag));
            }
            1 => self.connection.shrink(),
            _ => self.close(),
        }
    }

    fn take_events(&mut self) {
        if self.poll_events().is_err() {
            self.close();
        }
    }

    fn poll_events(&mut self) -> Result<(), ProtocolError> {
        while let Some(event) = self.connection.poll_event(&mut self.input)? {
            let stand = self.stands.get_mut(&event.tag.0).expect("a tag that was given");
            assert_eq!(*stand, Stand::Waiting, "{event:?}");
            if event.last {
                *stand = Stand::Ended;
            }
            if let Status::TimedOut(Delivery::NotSent) | Status::Disconnected(Delivery::NotSent) = event.reply.status {
                self.not_sent.insert(event.tag.0);
            }
        }
        Ok(())
    }

    /// The connection is gone, and what was on its way with it; the machine serves the next one.
    fn close(&mut self) {
        self.connection.close(&Bytes::from_static(b"gone"), self.now);
        self.input = InputBuffer::new();
        self.poll_events().expect("nothing came that could be wrong");
        self.output.clear(0);
        self.heard = InputBuffer::new();
        self.unanswered.clear();
        assert!(!self.stands.values().any(|stand| *stand == Stand::Waiting), "{:?}", self.stands);
        assert_eq!((self.connection.in_flight(), self.connection.waiting_output()), (0, 0));
        assert_eq!((self.connection.abandoned(), self.connection.has_output()), (0, false));
    }

    fn end(mut self) {
        self.close();
        assert_eq!(self.connection.earliest_deadline(), None);
    }
}

const SECOND: Duration = Duration::from_secs(1);
