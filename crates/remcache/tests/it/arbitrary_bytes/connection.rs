//! Arbitrary bytes as a script for the connection state machine: requests, correct and wrong replies, elapsed time,
//! dropped callers. Every request completes once, and nothing panics.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use remcache::proto::binary::{Opcode, Packet, encode_reply};
use remcache::proto::{
    Connection, Deadline, Delivery, InputBuffer, Limits, Output, ProtocolError, Reply, Request, RequestId, Status, Tag,
};

pub(crate) fn run(data: &[u8]) {
    let mut script = Script(data);
    let mut simulation = Simulation::new(script.number());
    while let Some(action) = script.next() {
        simulation.act(action, &mut script);
    }
    simulation.finish();
}

/// The unused bytes of the script.
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

/// The state of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RequestState {
    Pending,
    Abandoned,
    Completed,
}

struct Simulation {
    connection: Connection,
    input: InputBuffer,
    /// Bytes taken from the connection and not yet written.
    output: Output,
    /// Bytes that the server has read.
    received: InputBuffer,
    /// Packets that the server has read and not answered.
    unanswered: Vec<Packet>,
    now: Instant,
    request_ids: Vec<RequestId>,
    states: BTreeMap<u64, RequestState>,
    /// The requests that were reported as not sent.
    not_sent: BTreeSet<u64>,
}

impl Simulation {
    fn new(first: u8) -> Self {
        let now = Instant::now();
        let opaque = u32::from(first).wrapping_sub(100);
        let mut limits = Limits::default();
        limits.max_in_flight = 40;
        limits.max_output = 5_000;
        limits.max_value_size = 10_000;
        limits.max_abandoned = (10, SECOND);
        Self {
            connection: Connection::new(limits, opaque, now),
            input: InputBuffer::new(),
            output: Output::new(),
            received: InputBuffer::new(),
            unanswered: Vec::new(),
            now,
            request_ids: Vec::new(),
            states: BTreeMap::new(),
            not_sent: BTreeSet::new(),
        }
    }

    fn act(&mut self, action: u8, script: &mut Script<'_>) {
        match action % 16 {
            0..=4 => self.submit(action, script.number()),
            5 | 6 => self.write(script.number()),
            7..=9 => self.answer(script.number(), None),
            10 => self.answer(script.number(), Some((script.number(), script.number()))),
            11 => self.receive_bytes(script),
            12 => self.abandon(script.number()),
            13 => self.pass_time(script.number()),
            14 => self.expire_due(),
            _ => self.abandon_or_close(script.number()),
        }
        assert!(self.connection.waiting_callers() <= self.connection.in_flight());
    }

    fn submit(&mut self, kind: u8, number: u8) {
        let tag = self.states.len() as u64;
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
        if let Ok(request_id) = self.connection.submit(&request, owner, deadline, self.now) {
            self.request_ids.push(request_id);
            self.states.insert(tag, if owner.is_some() { RequestState::Pending } else { RequestState::Completed });
        }
    }

    /// Writes some bytes, which the server reads.
    fn write(&mut self, number: u8) {
        if !self.output.has_remaining() {
            self.connection.take_output(&mut self.output);
        }
        let count = self.output.remaining().min(usize::from(number) * 40);
        let bytes = self.output.copy_to_bytes(count);
        self.connection.handle_written(count);
        self.received.extend(&bytes);
        let packets =
            std::iter::from_fn(|| Packet::decode(&mut self.received, 1 << 20).expect("the client sends valid packets"));
        let before = self.unanswered.len();
        self.unanswered.extend(packets);
        self.unanswered[before..].iter().for_each(|packet| self.check_sent(packet));
    }

    /// Checks that a request reported as not sent was not sent; the key of a request is its tag.
    fn check_sent(&self, packet: &Packet) {
        let tag = std::str::from_utf8(&packet.key).ok().and_then(|key| key.parse().ok());
        let was_reported_unsent = tag.is_some_and(|tag: u64| self.not_sent.contains(&tag));
        assert!(!was_reported_unsent, "{tag:?} was sent although it was reported as not sent");
    }

    /// Answers the oldest request; with `change`, any request, with one byte of the reply changed.
    fn answer(&mut self, number: u8, change: Option<(u8, u8)>) {
        let index = if change.is_some() { usize::from(number) % self.unanswered.len().max(1) } else { 0 };
        if index >= self.unanswered.len() {
            return;
        }
        let request = self.unanswered.remove(index);
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

    fn receive_bytes(&mut self, script: &mut Script<'_>) {
        let count = usize::from(script.number());
        self.receive(script.bytes(count));
    }

    fn receive(&mut self, bytes: &[u8]) {
        self.input.extend(bytes);
        self.connection.handle_received(self.now);
        self.take_events();
    }

    fn abandon(&mut self, number: u8) {
        if let Some(&request_id) = self.request_ids.get(usize::from(number)) {
            self.connection.abandon(request_id, self.now);
            // Request ids are in the order of the tags.
            self.mark_abandoned(u64::from(number));
        }
    }

    fn mark_abandoned(&mut self, tag: u64) {
        if let Some(state) = self.states.get_mut(&tag).filter(|state| **state == RequestState::Pending) {
            *state = RequestState::Abandoned;
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

    /// Abandons all requests of a caller, releases spare memory, or closes the connection.
    fn abandon_or_close(&mut self, number: u8) {
        match number % 3 {
            0 => {
                self.connection.abandon_where(|tag| tag.0 % 4 == 1, self.now);
                let tags: Vec<_> = self.states.keys().copied().filter(|tag| tag % 4 == 1).collect();
                tags.into_iter().for_each(|tag| self.mark_abandoned(tag));
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
            let state = self.states.get_mut(&event.tag.0).expect("a known tag");
            assert_eq!(*state, RequestState::Pending, "{event:?}");
            if event.last {
                *state = RequestState::Completed;
            }
            if let Status::TimedOut(Delivery::NotSent) | Status::Disconnected(Delivery::NotSent) = event.reply.status {
                self.not_sent.insert(event.tag.0);
            }
        }
        Ok(())
    }

    /// Closes the connection and drops all bytes in flight; the state machine is reused for the next connection.
    fn close(&mut self) {
        self.connection.close(&Bytes::from_static(b"gone"), self.now);
        self.input = InputBuffer::new();
        self.poll_events().expect("there is no input");
        self.output.clear(0);
        self.received = InputBuffer::new();
        self.unanswered.clear();
        assert!(!self.states.values().any(|state| *state == RequestState::Pending), "{:?}", self.states);
        assert_eq!((self.connection.in_flight(), self.connection.unwritten_bytes()), (0, 0));
        assert_eq!((self.connection.abandoned(), self.connection.has_output()), (0, false));
    }

    fn finish(mut self) {
        self.close();
        assert_eq!(self.connection.earliest_deadline(), None);
    }
}

const SECOND: Duration = Duration::from_secs(1);
