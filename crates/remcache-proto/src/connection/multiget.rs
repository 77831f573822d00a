//! Fetches that share a line: on the protocols of lines, plain gets in a row leave as `gets a b c`.
//!
//! memcached executes such a line as one command and answers it in one write, where it makes a system
//! call for each text `get`, and one for every twenty requests of the other protocols (docs/protocol.md
//! 4.8). Each hit is an item with its key, in the order that was asked for; what has no item before
//! the line's `END` is missing.
//!
//! In the queue the fetches of a line are quiet, but for the last one, which its `END` answers.

use std::time::Instant;

use bytes::Bytes;

use super::encode::Encoded;
use super::{Connection, Deadline, Event, Ticket};
use crate::binary::Opcode;
use crate::buffer::input::InputBuffer;
use crate::connection::pending::{KeyTracking, Owner};
use crate::connection::text::Step;
use crate::line::error_line as refusal;
use crate::types::error::{ProtocolError, Rejected};
use crate::types::operation::Operation;
use crate::types::protocol::Protocol;
use crate::types::reply::Reply;
use crate::types::reply_shape::Expected;
use crate::types::request::Request;
use crate::types::status::Status;
use crate::types::status_table::said_of;
use crate::{line, text};

/// The line at the end of the output, while more fetches can be put into it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OpenMultiget {
    /// Where it begins in the stream of all bytes submitted.
    start: u64,
    keys: usize,
}

impl Connection {
    /// Says how many plain gets in a row leave as one line, where the protocol is one of lines: 1 at first.
    ///
    /// More is for servers that answer for each key by itself; of a proxy, one of whose servers is
    /// away, an error would answer the whole line.
    pub fn set_max_keys_per_line(&mut self, keys_in_line: usize) {
        self.keys_in_line = keys_in_line.max(1);
    }

    /// Announces a batch of `count` requests of one caller, who needs all replies; 0 ends it.
    pub fn begin_batch(&mut self, requests: usize) {
        self.run = requests;
    }

    /// How many keys a line may have now.
    ///
    /// A server answers a line when it has executed all of it. Of callers that wait for one reply each
    /// a line takes at most a quarter: the server is at one line, and has the next, while the callers of
    /// another ask again. A run has two lines at least: its caller works on one half while the server
    /// works on the other.
    #[inline]
    fn keys_in_next_line(&self) -> usize {
        let keys = match self.run {
            0 => (self.in_flight_at_flush / 4).max(SHORT_LINE),
            requests => requests.div_ceil(2).max(SHORT_PART),
        };
        keys.min(self.keys_in_line)
    }

    /// The key of a request that may share its line.
    #[inline]
    pub(crate) fn key_to_gather<'r>(&self, request: &'r Request<'_>) -> Option<&'r [u8]> {
        let has_lines = self.keys_in_line > 1 && matches!(self.protocol, Some(Protocol::Meta | Protocol::Text));
        let is_plain = request.operation() == Operation::Get && request.meta.is_none();
        if !has_lines || !is_plain || request.quiet || request.with_key {
            return None;
        }
        request.key().ok().map(|key| key.as_bytes()).filter(|key| line::is_printable(key))
    }

    /// Submits the fetch of a key that may share its line: the usual case, which what all other requests
    /// need would cost a twentieth.
    #[inline]
    pub(crate) fn submit_to_line(
        &mut self,
        key: &[u8],
        owner: Owner,
        deadline: Deadline,
        now: Instant,
    ) -> Result<Ticket, Rejected> {
        if !self.has_room(0) {
            return Err(Rejected::Full);
        }
        let opaque = self.in_flight.next_opaque();
        let entry = self.gather(key).entry(owner, deadline);
        self.enqueue(entry, now);
        Ok(Ticket(opaque))
    }

    /// Puts a fetch into the line at the end of the output, or into a new one.
    #[inline]
    pub(crate) fn gather(&mut self, key: &[u8]) -> Encoded {
        let line = match self.open_multiget {
            Some(line) if self.fits(line, key) => {
                self.output.put_word(key);
                if let Some(last) = self.in_flight.back_mut() {
                    last.expected.quiet = true;
                }
                OpenMultiget { keys: line.keys.saturating_add(1), ..line }
            }
            _ => {
                self.output.put_line(self.without_gets.command(), key);
                OpenMultiget { start: self.submitted, keys: 1 }
            }
        };
        self.open_multiget = Some(line);
        self.in_flight.remember_key(key);
        Encoded { opcode: Opcode::NOOP, expected: Expected::GET, start: line.start, kept: KeyTracking::KeyInLine }
    }

    #[inline]
    fn fits(&self, line: OpenMultiget, key: &[u8]) -> bool {
        let length = self.submitted.saturating_sub(line.start).saturating_add(key.len() as u64);
        line.keys < self.keys_in_next_line() && length < LONGEST_LINE
    }

    /// The usual case: the next fetch of the line at the front is answered by its item, all of which is
    /// complete and a caller waits for it. Everything else takes the slow path.
    #[inline]
    pub(crate) fn next_hit_in_line(&mut self, input: &mut InputBuffer) -> Option<Event> {
        // While silent requests are settled the input begins with what settles them, which is no item of
        // the fetch at the front.
        if !self.events.is_empty() || self.broken.is_some() {
            return None;
        }
        let (fetch, key) = self.in_flight.next_in_line()?;
        let Owner::Caller(tag) = fetch.owner else { return None };
        let (head, value, length) = text::read_item_of(key, input.as_slice())?;
        if value.len() >= InputBuffer::SHARE_FROM || value.len() > self.limits.value {
            return None;
        }
        let value = if fetch.is_of_run() { self.values.copy(value) } else { Bytes::copy_from_slice(value) };
        let reply = item(&head, value);
        let is_last = !fetch.expected.quiet;
        input.skip(length);
        let place = self.in_flight.turn();
        // What has been passed before is settled by the end of the line, and not here.
        let ends = is_last && place == 0 && input.as_slice().starts_with(END_OF_LINE);
        if ends {
            input.skip(END_OF_LINE.len());
        }
        self.item_came(place, ends);
        Some(Event { tag, reply, last: true })
    }

    /// Takes the next item of the line at the front, or its end.
    pub(crate) fn poll_line_of_fetches(&mut self, input: &mut InputBuffer) -> Result<Step, ProtocolError> {
        let Some((text, length)) = line::peek(input.as_slice())? else { return Ok(Step::Incomplete) };
        if text == b"END" {
            return Ok(self.end_line(input, length));
        }
        if let Some((key, head)) = text::read_item(text, length)? {
            let place = self.in_flight.place_in_line(key)?;
            return self.take_item(input, &head, place);
        }
        match refusal::read(text, Expected::new(Operation::Get))? {
            None => Err(ProtocolError::UnexpectedLine(line::excerpt(text))),
            Some(refusal) => {
                input.skip(length);
                if self.is_unknown_gets(refusal.reply.status) {
                    self.send_again_as_get(self.in_flight.end_of_line().map_or(1, |end| end.saturating_add(1)));
                    return Ok(Step::Taken(None));
                }
                self.broken = refusal.fatal;
                self.auth_required |= refusal.reply.status == Status::AuthError;
                Ok(Step::Taken(self.refuse_line(&refusal.reply)))
            }
        }
    }

    /// Takes the item whose line was read, and with it that fetch's turn.
    fn take_item(
        &mut self,
        input: &mut InputBuffer,
        head: &text::ItemHead,
        place: usize,
    ) -> Result<Step, ProtocolError> {
        let Some(value) = head.take_value(input, self.limits.value)? else { return Ok(Step::Incomplete) };
        let owner = self.in_flight.get(place).map(|entry| entry.owner);
        self.item_came(place, false);
        Ok(Step::Taken(match owner {
            Some(Owner::Caller(tag)) => Some(Event { tag, reply: item(head, value), last: true }),
            _ => None,
        }))
    }

    /// A fetch of the line at the front has its item; the last one stays until the line `has_ended`.
    #[inline]
    fn item_came(&mut self, place: usize, has_ended: bool) {
        self.last_reply = self.last_input;
        if place == 0 && (has_ended || self.in_flight.front().is_some_and(|oldest| oldest.expected.quiet)) {
            self.without_gets.forget(self.in_flight.first_opaque());
            let owner = self.in_flight.pop().map_or(Owner::None, |entry| entry.owner);
            self.forget_abandoned(owner);
        } else {
            self.pass(place);
        }
    }

    /// The end of a line: its fetches that have no item are missing.
    fn end_line(&mut self, input: &mut InputBuffer, length: usize) -> Step {
        match self.in_flight.end_of_line() {
            Some(end @ 1..) => {
                self.silent = end;
                Step::Silent
            }
            _ => {
                input.skip(length);
                Step::Taken(self.answered(0, true).map(|tag| Event { tag, reply: missing(), last: true }))
            }
        }
    }

    /// An error in place of a line's rest answers all its fetches that have no item.
    fn refuse_line(&mut self, reply: &Reply) -> Option<Event> {
        self.last_reply = self.last_input;
        for _ in 0..=self.in_flight.end_of_line().unwrap_or(0) {
            let Some(entry) = self.pop() else { break };
            if let Owner::Caller(tag) = entry.owner {
                self.events.push_back(Event { tag, reply: reply.clone(), last: true });
            }
        }
        self.events.pop_front()
    }

    /// Whether a line can be the first one that answers a line of fetches.
    pub(crate) fn check_begin_of_line(input: &InputBuffer) -> Result<(), ProtocolError> {
        let Some((text, length)) = line::peek(input.as_slice())? else { return Ok(()) };
        match text == b"END" || text::read_item(text, length)?.is_some() {
            true => Ok(()),
            false => Err(ProtocolError::UnexpectedLine(line::excerpt(text))),
        }
    }
}

#[inline]
fn item(head: &text::ItemHead, value: Bytes) -> Reply {
    Reply { flags: head.flags, cas: head.cas, value, ..Reply::new(Status::NoError) }
}

/// The reply to a fetch whose line has ended without its item.
#[inline]
pub(crate) fn missing() -> Reply {
    Reply { value: said_of(Status::KeyNotFound), ..Reply::new(Status::KeyNotFound) }
}

/// What a server says when it has executed a line.
const END_OF_LINE: &[u8] = b"END\r\n";
/// Keys that a line may have however little is in flight: with fewer, a line costs more than separate requests.
const SHORT_LINE: usize = 8;
/// Smallest line of a batch, in keys: fewer take the server less time than writing their reply.
const SHORT_PART: usize = 32;
/// A server reads longer lines too, but keeps less than this ready for them.
const LONGEST_LINE: u64 = 2000;
