//! Arbitrary bytes as a script for the connection state machine on each protocol, and before negotiation: requests,
//! correct replies, garbage, elapsed time. Every request completes once, and nothing panics.

use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use remcache::proto::{
    Connection, Deadline, InputBuffer, Limits, Output, Protocol, Request, RequestId, ServerVersion, Status, Tag,
};

pub(crate) fn run(data: &[u8]) {
    let Some((&first, mut script)) = data.split_first() else { return };
    let mut simulation = Simulation::new(first);
    while let Some((&action, rest)) = script.split_first() {
        script = rest;
        let number = script.first().copied().unwrap_or_default();
        match action % 12 {
            0..=3 => simulation.submit(action, number),
            4 => simulation.begin(),
            5 | 6 => simulation.write(),
            7 | 8 => simulation.answer(number),
            9 => {
                let garbage = script.get(..usize::from(number % 32).min(script.len())).unwrap_or_default().to_vec();
                simulation.receive(&garbage);
            }
            10 => simulation.pass_time(number),
            _ => simulation.abandon_or_close(number),
        }
        assert!(simulation.connection.waiting_callers() <= simulation.connection.in_flight());
    }
    simulation.close();
    assert!(simulation.open.iter().all(|open| !open), "{:?}", simulation.open);
}

struct Simulation {
    connection: Connection,
    protocol: Protocol,
    input: InputBuffer,
    now: Instant,
    /// For each tag, whether its last event is pending.
    open: Vec<bool>,
    request_ids: Vec<RequestId>,
    /// Lines that the server has read and not answered.
    received: Vec<String>,
}

impl Simulation {
    fn new(first: u8) -> Self {
        let now = Instant::now();
        let protocol = Protocol::ALL[usize::from(first) % 3];
        let mut limits = Limits::default();
        limits.max_in_flight = 40;
        limits.max_output = 5_000;
        limits.max_value_size = 10_000;
        limits.max_abandoned = (10, SECOND);
        let opaque = u32::from(first).wrapping_sub(100);
        let mut connection = match first.is_multiple_of(2) {
            true => Connection::detecting(limits, opaque, now),
            false => Connection::with_protocol(protocol, ServerVersion::default(), limits, opaque, now),
        };
        connection.set_max_keys_per_multiget(usize::from(first / 6) % 4);
        let input = InputBuffer::new();
        Self { connection, protocol, input, now, open: Vec::new(), request_ids: Vec::new(), received: Vec::new() }
    }

    fn submit(&mut self, kind: u8, number: u8) {
        let tag = self.open.len();
        let key = tag.to_string();
        let request = match number % 9 {
            0 | 1 => Request::get(key),
            2 => Request::set(key, vec![b'v'; usize::from(number) * 30]),
            3 => Request::increment(key, 1).initial(u64::from(number)),
            4 => Request::stat(""),
            5 => Request::delete(key).cas(u64::from(number % 2)),
            6 => Request::get("a key with spaces"),
            7 => Request::metadump("all"),
            _ => Request::noop(),
        };
        let request = if kind.is_multiple_of(3) { request.quiet() } else { request };
        let deadline = Deadline { at: self.now + SECOND, extend_by: Duration::ZERO };
        if let Ok(request_id) = self.connection.submit(&request, Some(Tag(tag as u64)), deadline, self.now) {
            self.request_ids.push(request_id);
            self.open.push(true);
        }
    }

    fn begin(&mut self) {
        if self.connection.protocol().is_none() {
            self.connection.set_protocol(self.protocol, ServerVersion::default());
            self.take_events();
        }
    }

    fn write(&mut self) {
        let mut output = Output::new();
        self.connection.take_output(&mut output);
        let bytes = output.copy_to_bytes(output.remaining());
        self.connection.handle_written(bytes.len());
        if self.connection.protocol().is_some_and(|protocol| protocol != Protocol::Binary) {
            let text = String::from_utf8(bytes.to_vec()).expect("these requests are text");
            self.received
                .extend(text.lines().filter(|line| !line.starts_with("vv") && !line.is_empty()).map(str::to_owned));
        }
    }

    /// Answers the oldest line with one of its valid replies.
    fn answer(&mut self, number: u8) {
        if self.received.is_empty() {
            return;
        }
        let line = self.received.remove(0);
        let words: Vec<&str> = line.split(' ').collect();
        let opaque = words.last().filter(|word| word.starts_with('O')).copied().unwrap_or_default();
        let reply = match (words[0], number % 4) {
            (_, 3) => "SERVER_ERROR out of memory storing object\r\n".to_owned(),
            ("mn", _) => "MN\r\n".to_owned(),
            ("version", _) => "VERSION 1.6.18\r\n".to_owned(),
            ("stats", _) => "STAT pid 1\r\nEND\r\n".to_owned(),
            ("lru_crawler", _) => "OK\r\nkey=k exp=-1\nEND\r\n".to_owned(),
            ("mg", 0) => format!("VA 2 f1 c2 {opaque}\r\nhi\r\n"),
            ("mg", _) => format!("EN {opaque}\r\n"),
            ("ma", _) => format!("VA 2 c2 {opaque}\r\n42\r\n"),
            ("ms" | "md", _) => format!("HD c9 {opaque}\r\n"),
            ("gets", _) => {
                // Some of the keys have items, and sometimes in the wrong order.
                let reported = |index: usize| number.rotate_right(index as u32) & 4 != 0;
                let keys = words.iter().enumerate().skip(1).filter(|(index, _)| reported(*index));
                let mut items: Vec<_> = keys.map(|(_, key)| format!("VALUE {key} 1 2 3\r\nhi\r\n")).collect();
                if number > 250 {
                    items.reverse();
                }
                items.concat() + "END\r\n"
            }
            ("set", _) => "STORED\r\n".to_owned(),
            _ => "DELETED\r\n".to_owned(),
        };
        self.receive(reply.as_bytes());
    }

    fn receive(&mut self, bytes: &[u8]) {
        self.input.extend(bytes);
        self.connection.handle_received(self.now);
        self.take_events();
    }

    fn pass_time(&mut self, number: u8) {
        self.now += Duration::from_millis(u64::from(number) * 20);
        let outcome = self.connection.handle_timeout(self.now);
        self.take_events();
        if outcome.is_err() {
            self.close();
        }
    }

    fn abandon_or_close(&mut self, number: u8) {
        match number % 4 {
            0 => self.close(),
            1 => self.connection.shrink(),
            2 => self.connection.expire_due(self.now),
            _ => {
                if let Some((index, &request_id)) = self.request_ids.iter().enumerate().nth(usize::from(number)) {
                    self.connection.abandon(request_id, self.now);
                    self.open[index] = false;
                }
            }
        }
        self.take_events();
    }

    fn take_events(&mut self) {
        loop {
            match self.connection.poll_event(&mut self.input) {
                Ok(None) => return,
                Ok(Some(event)) => {
                    let open = &mut self.open[usize::try_from(event.tag.0).expect("a small tag")];
                    assert!(*open, "{event:?}");
                    *open = !event.last;
                    assert_ne!(event.reply.status, Status::Overloaded);
                }
                Err(_) => return self.close(),
            }
        }
    }

    fn close(&mut self) {
        self.connection.close(&Bytes::from_static(b"gone"), self.now);
        self.input = InputBuffer::new();
        self.received.clear();
        while let Some(event) = self.connection.poll_event(&mut self.input).expect("there is no input") {
            let open = &mut self.open[usize::try_from(event.tag.0).expect("a small tag")];
            assert!(*open && event.last, "{event:?}");
            *open = false;
        }
        assert_eq!((self.connection.in_flight(), self.connection.unwritten_bytes()), (0, 0));
        assert_eq!((self.connection.abandoned(), self.connection.has_output()), (0, false));
    }
}

const SECOND: Duration = Duration::from_secs(1);
