//! Attribution on the protocols whose replies are lines.

use bytes::Bytes;

use super::{Connection, Event};
use crate::buffer::input::InputBuffer;
use crate::connection::pending::KeyTracking;
use crate::line::error_line as refusal;
use crate::meta::{self, Peeked};
use crate::types::error::ProtocolError;
use crate::types::operation::Operation;
use crate::types::protocol::Protocol;
use crate::types::reply::Reply;
use crate::types::reply_shape::Expected;
use crate::types::status::Status;
use crate::{line, text};

/// What came of a look at the input.
pub(crate) enum Step {
    /// No reply is complete.
    Incomplete,
    /// A reply was consumed, and its owner may have to be notified.
    Taken(Option<Event>),
    /// Requests that were silent have their turn first.
    Silent,
}

impl Connection {
    /// The next event that the input holds.
    // Apart from the path of packets, which is kept short.
    #[inline(never)]
    pub(crate) fn poll_lines(&mut self, input: &mut InputBuffer) -> Result<Option<Event>, ProtocolError> {
        loop {
            let event = match self.silent.checked_sub(1) {
                Some(left) => self.settle_silent(left),
                None => {
                    if let Some(error) = &self.broken {
                        return Err(error.clone());
                    }
                    match self.poll_reply(input)? {
                        Step::Incomplete => return Ok(None),
                        Step::Taken(event) => event,
                        Step::Silent => None,
                    }
                }
            };
            if event.is_some() {
                return Ok(event);
            }
        }
    }

    /// Takes the next reply.
    fn poll_reply(&mut self, input: &mut InputBuffer) -> Result<Step, ProtocolError> {
        if self.without_gets.is_active() && !input.is_empty() {
            self.check_was_written(input)?;
        }
        if self.in_flight.front().is_some_and(|oldest| oldest.kept == KeyTracking::KeyInLine) {
            return self.poll_line_of_fetches(input);
        }
        match self.protocol {
            Some(Protocol::Meta) => self.poll_meta(input),
            Some(Protocol::Text) if input.is_empty() => Ok(Step::Incomplete),
            Some(Protocol::Text) => self.answer_in_order(input, 0),
            _ => Ok(Step::Incomplete),
        }
    }

    /// A reply with an opaque answers the request that has it; any other the one whose turn it is.
    fn poll_meta(&mut self, input: &mut InputBuffer) -> Result<Step, ProtocolError> {
        let Some(peeked) = meta::peek(input, self.limits.value)? else { return Ok(Step::Incomplete) };
        let head = match peeked {
            Peeked::Item(head) => head,
            Peeked::Line { refusal } => return self.answer_loud(input, refusal),
        };
        let Some(opaque) = head.opaque else { return self.answer_loud(input, false) };
        let place = self.in_flight.place_in_order(opaque)?;
        let expected = self.expected_at(place);
        // Before anything else is believed because of it.
        let status = meta::check(input, &head, expected)?;
        if place > 0 && !expected.quiet {
            self.silent = place;
            return Ok(Step::Silent);
        }
        let mut reply = meta::take(input, &head, status, expected)?;
        if expected.returns_key {
            self.restore_key(place, &mut reply);
        }
        Ok(Step::Taken(self.answered(place, true).map(|tag| Event { tag, reply, last: true })))
    }

    /// Puts the key into a reply whose server could not be asked for it.
    #[cold]
    fn restore_key(&self, place: usize, reply: &mut Reply) {
        let Some(key) = self.in_flight.key_at(place) else { return };
        reply.key = Bytes::copy_from_slice(key);
        // As on the binary protocol, a miss has the key and no text.
        if reply.status == Status::KeyNotFound {
            reply.value = Bytes::new();
        }
    }

    pub(crate) fn expected_at(&self, place: usize) -> Expected {
        self.in_flight.get(place).map_or(Expected::NOOP, |entry| entry.expected)
    }

    /// A line without an opaque answers the first request that must be answered.
    fn answer_loud(&mut self, input: &mut InputBuffer, refusal: bool) -> Result<Step, ProtocolError> {
        let turn = self.in_flight.turn();
        let Some(place) = self.in_flight.first_non_quiet() else {
            return Err(self.unowned(input, turn < self.in_flight.len()));
        };
        if refusal && place > turn {
            return self.answer_quiet(input, turn, place);
        }
        if let Some(begin) = self.in_flight.first_in_line().filter(|begin| *begin <= place) {
            // Any of the quiet requests before it may have been refused.
            return match refusal && begin > turn {
                true => Err(self.unowned(input, true)),
                false => self.begin_line(input, begin),
            };
        }
        let expected = self.expected_at(place);
        let has_opaque = meta::verb_answers(expected.operation) && expected.operation != Operation::Debug;
        if has_opaque && !refusal {
            return Err(self.unowned(input, false));
        }
        if place > 0 {
            text::check(input, expected)?;
            self.silent = place;
            return Ok(Step::Silent);
        }
        self.answer_in_order(input, place)
    }

    /// Handles an error line while quiet requests wait from `turn` on and a non-quiet one at `place`.
    fn answer_quiet(&mut self, input: &mut InputBuffer, turn: usize, place: usize) -> Result<Step, ProtocolError> {
        // A no-op has nothing that could be refused, so a single request before it has the line; with
        // more of them, any may have been refused.
        match place.saturating_sub(turn) == 1 && self.expected_at(place).is_noop() {
            true => self.answer_in_order(input, turn),
            false => Err(self.unowned(input, true)),
        }
    }

    /// What stands before a line of fetches was silent.
    fn begin_line(&mut self, input: &InputBuffer, begin: usize) -> Result<Step, ProtocolError> {
        Self::check_begin_of_line(input)?;
        self.silent = begin;
        Ok(Step::Silent)
    }

    /// Takes the lines that answer the oldest request.
    fn answer_in_order(&mut self, input: &mut InputBuffer, place: usize) -> Result<Step, ProtocolError> {
        let Some(expected) = self.in_flight.get(place).map(|entry| entry.expected) else {
            return match line::peek(input.as_slice())? {
                Some(_) => Err(self.unowned(input, false)),
                None => Ok(Step::Incomplete),
            };
        };
        let answer = match expected.operation {
            Operation::Debug if meta::is_miss(input) => meta::take_miss(input, expected)?,
            _ => text::take(input, expected, self.in_flight.first_key(), self.limits.value)?,
        };
        let Some(mut answer) = answer else { return Ok(Step::Incomplete) };
        if answer.reply.status == Status::UnknownCommand {
            if self.is_unknown_gets(Status::UnknownCommand) {
                self.send_again_as_get(1);
                return Ok(Step::Taken(None));
            }
            text::name_unknown_command(expected.operation, &mut answer.reply);
            if self.protocol == Some(Protocol::Text) && expected.operation.is_fetch() {
                // A text server that does not know the command has read the line, and nothing else.
                answer.fatal = None;
            }
        }
        if answer.fatal.is_some() {
            self.broken = answer.fatal;
        }
        self.auth_required |= answer.reply.status == Status::AuthError && expected.operation != Operation::Authenticate;
        let (reply, last) = (answer.reply, answer.last);
        Ok(Step::Taken(self.answered(place, last).map(|tag| Event { tag, reply, last })))
    }

    /// What a line is that no single request can have caused.
    fn unowned(&mut self, input: &InputBuffer, may_be_quiet: bool) -> ProtocolError {
        let text = match line::peek(input.as_slice()) {
            Ok(Some((text, _))) => text,
            Ok(None) => &[],
            Err(error) => return error,
        };
        match refusal::read(text, Expected::NOOP) {
            Err(error) => error,
            Ok(Some(refusal)) if may_be_quiet => {
                self.auth_required |= refusal.reply.status == Status::AuthError;
                ProtocolError::UnownedError(line::excerpt(text))
            }
            Ok(_) => ProtocolError::UnexpectedLine(line::excerpt(text)),
        }
    }
}
