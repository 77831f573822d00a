//! Multigets: on the meta and text protocols, consecutive plain gets are coalesced into one line, `gets a b c`.
//!
//! memcached executes such a line as one command and answers it with one write. Otherwise it makes a system call for
//! each text `get`, and one for every twenty requests of the other protocols (docs/protocol.md 4.8). Each hit is an
//! item with its key, in the requested order; keys without an item before `END` are misses.
//!
//! In the queue all gets of a line are quiet except the last one, which `END` answers.

use std::time::Instant;

use bytes::Bytes;

use super::encode::EncodedRequest;
use super::{Connection, Deadline, Event, RequestId};
use crate::binary::Opcode;
use crate::buffer::input::InputBuffer;
use crate::connection::pending::{KeyTracking, Owner};
use crate::connection::text::Step;
use crate::line::error_line;
use crate::types::error::{ProtocolError, Rejected};
use crate::types::operation::Operation;
use crate::types::protocol::Protocol;
use crate::types::reply::Reply;
use crate::types::reply_shape::ReplyShape;
use crate::types::request::Request;
use crate::types::status::Status;
use crate::types::status_table::status_text;
use crate::{line, text};

/// The line at the end of the output, while more keys can be added to it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OpenMultiget {
    /// The offset of its first byte in the stream of all submitted bytes.
    start: u64,
    keys: usize,
}

impl Connection {
    /// Sets how many consecutive plain gets may be coalesced into one line, on the meta and text protocols (default:
    /// 1).
    ///
    /// A proxy answers the whole line with an error if one of its servers is down, so it needs 1.
    pub fn set_max_keys_per_multiget(&mut self, max_keys_per_multiget: usize) {
        self.max_keys_per_multiget = max_keys_per_multiget.max(1);
    }

    /// Announces a batch of requests of one caller, who needs all replies; 0 ends the batch.
    pub fn begin_batch(&mut self, requests: usize) {
        self.batch_len = requests;
    }

    /// Returns the current limit of keys per line.
    ///
    /// A server answers a line after executing all of it. A line contains at most a quarter of the single requests in
    /// flight, so that the server always has another line to work on while callers send their next requests. A batch
    /// is split into at least two lines: its caller works on one half while the server works on the other.
    #[inline]
    fn max_keys_in_next_line(&self) -> usize {
        let keys = match self.batch_len {
            0 => (self.in_flight_at_flush / 4).max(MIN_LINE_KEYS),
            requests => requests.div_ceil(2).max(MIN_BATCH_LINE_KEYS),
        };
        keys.min(self.max_keys_per_multiget)
    }

    /// Returns the key of a request that may be coalesced.
    #[inline]
    pub(crate) fn coalescible_key<'r>(&self, request: &'r Request<'_>) -> Option<&'r [u8]> {
        let has_lines =
            self.max_keys_per_multiget > 1 && matches!(self.protocol, Some(Protocol::Meta | Protocol::Text));
        let is_plain = request.operation() == Operation::Get && request.meta.is_none();
        if !has_lines || !is_plain || request.quiet || request.with_key {
            return None;
        }
        request.key().ok().map(|key| key.as_bytes()).filter(|key| line::is_printable(key))
    }

    /// Submits a get that may be coalesced. This is the common case, and the steps that other requests need would make
    /// it five percent slower.
    #[inline]
    pub(crate) fn submit_coalesced(
        &mut self,
        key: &[u8],
        owner: Owner,
        deadline: Deadline,
        now: Instant,
    ) -> Result<RequestId, Rejected> {
        if !self.has_capacity(0) {
            return Err(Rejected::Full);
        }
        let opaque = self.in_flight.next_opaque();
        let entry = self.append_key(key).entry(owner, deadline);
        self.enqueue(entry, now);
        Ok(RequestId(opaque))
    }

    /// Adds a key to the open line, or to a new one.
    #[inline]
    pub(crate) fn append_key(&mut self, key: &[u8]) -> EncodedRequest {
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
        EncodedRequest {
            opcode: Opcode::NOOP,
            expected: ReplyShape::GET,
            start: line.start,
            key_tracking: KeyTracking::MultigetKey,
        }
    }

    #[inline]
    fn fits(&self, line: OpenMultiget, key: &[u8]) -> bool {
        let length = self.submitted.saturating_sub(line.start).saturating_add(key.len() as u64);
        line.keys < self.max_keys_in_next_line() && length < MAX_LINE
    }

    /// The fast path: takes the item of the next get of the oldest line, if it is complete and a caller waits for it.
    /// Everything else takes the slow path.
    #[inline]
    pub(crate) fn next_multiget_hit(&mut self, input: &mut InputBuffer) -> Option<Event> {
        // While quiet requests are being completed, the input begins with the reply that completes them, which is not
        // an item of this line.
        if !self.events.is_empty() || self.fatal.is_some() {
            return None;
        }
        let (fetch, key) = self.in_flight.next_in_multiget()?;
        let Owner::Caller(tag) = fetch.owner else { return None };
        let (head, value, length) = text::read_item_of(key, input.as_slice())?;
        if value.len() >= InputBuffer::MIN_SHARED_LEN || value.len() > self.limits.max_value_size {
            return None;
        }
        let value = if fetch.is_batched() { self.values.copy(value) } else { Bytes::copy_from_slice(value) };
        let reply = item(&head, value);
        let is_last = !fetch.expected.quiet;
        input.skip(length);
        let index = self.in_flight.cursor();
        // If earlier gets of the line have missed, the end of the line completes them.
        let ends = is_last && index == 0 && input.as_slice().starts_with(END_OF_LINE);
        if ends {
            input.skip(END_OF_LINE.len());
        }
        self.on_item(index, ends);
        Some(Event { tag, reply, last: true })
    }

    /// Takes the next item of the oldest line, or its end.
    pub(crate) fn poll_multiget(&mut self, input: &mut InputBuffer) -> Result<Step, ProtocolError> {
        let Some((text, length)) = line::peek(input.as_slice())? else { return Ok(Step::Incomplete) };
        if text == b"END" {
            return Ok(self.end_multiget(input, length));
        }
        if let Some((key, head)) = text::read_item(text, length)? {
            let index = self.in_flight.index_in_multiget(key)?;
            return self.take_item(input, &head, index);
        }
        match error_line::read(text, ReplyShape::new(Operation::Get))? {
            None => Err(ProtocolError::UnexpectedLine(line::excerpt(text))),
            Some(error) => {
                input.skip(length);
                if self.is_unknown_gets(error.reply.status) {
                    self.resend_as_get(self.in_flight.multiget_end().map_or(1, |end| end.saturating_add(1)));
                    return Ok(Step::Taken(None));
                }
                self.fatal = error.fatal;
                self.auth_required |= error.reply.status == Status::AuthError;
                Ok(Step::Taken(self.fail_multiget(&error.reply)))
            }
        }
    }

    /// Takes an item, and completes its get.
    fn take_item(
        &mut self,
        input: &mut InputBuffer,
        head: &text::ItemHead,
        index: usize,
    ) -> Result<Step, ProtocolError> {
        let Some(value) = head.take_value(input, self.limits.max_value_size)? else { return Ok(Step::Incomplete) };
        let owner = self.in_flight.get(index).map(|entry| entry.owner);
        self.on_item(index, false);
        Ok(Step::Taken(match owner {
            Some(Owner::Caller(tag)) => Some(Event { tag, reply: item(head, value), last: true }),
            _ => None,
        }))
    }

    /// Records that a get of the oldest line has its item; the last get stays pending until the line `has_ended`.
    #[inline]
    fn on_item(&mut self, index: usize, has_ended: bool) {
        self.last_reply = self.last_input;
        if index == 0 && (has_ended || self.in_flight.front().is_some_and(|oldest| oldest.expected.quiet)) {
            self.without_gets.forget(self.in_flight.first_opaque());
            let owner = self.in_flight.pop().map_or(Owner::None, |entry| entry.owner);
            self.forget_abandoned(owner);
        } else {
            self.advance_past(index);
        }
    }

    /// Handles the end of a line: its remaining gets are misses.
    fn end_multiget(&mut self, input: &mut InputBuffer, length: usize) -> Step {
        match self.in_flight.multiget_end() {
            Some(end @ 1..) => {
                self.confirmed = end;
                Step::QuietFirst
            }
            _ => {
                input.skip(length);
                Step::Taken(self.mark_answered(0, true).map(|tag| Event { tag, reply: missing(), last: true }))
            }
        }
    }

    /// Fails the remaining gets of the oldest line, after an error line.
    fn fail_multiget(&mut self, reply: &Reply) -> Option<Event> {
        self.last_reply = self.last_input;
        for _ in 0..=self.in_flight.multiget_end().unwrap_or(0) {
            let Some(entry) = self.pop() else { break };
            if let Owner::Caller(tag) = entry.owner {
                self.events.push_back(Event { tag, reply: reply.clone(), last: true });
            }
        }
        self.events.pop_front()
    }

    /// Checks whether the first line of the input can be the first reply to a multiget.
    pub(crate) fn check_multiget_start(input: &InputBuffer) -> Result<(), ProtocolError> {
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

/// Returns the reply to a get whose line has ended without its item.
#[inline]
pub(crate) fn missing() -> Reply {
    Reply { value: status_text(Status::KeyNotFound), ..Reply::new(Status::KeyNotFound) }
}

/// The last line of the reply to a multiget.
const END_OF_LINE: &[u8] = b"END\r\n";
/// The minimal limit of keys per line: with fewer, a line costs more than separate requests.
const MIN_LINE_KEYS: usize = 8;
/// The minimal limit of keys per line of a batch: fewer take the server less time than writing their reply.
const MIN_BATCH_LINE_KEYS: usize = 32;
/// The longest line, in bytes. Servers accept longer ones, but must enlarge their read buffer for them.
const MAX_LINE: u64 = 2000;
