//! Attribution of replies on the meta and text protocols.

use bytes::Bytes;

use super::{Connection, Event};
use crate::buffer::input::InputBuffer;
use crate::connection::pending::KeyTracking;
use crate::line::error_line;
use crate::meta::{self, Peeked};
use crate::types::error::ProtocolError;
use crate::types::operation::Operation;
use crate::types::protocol::Protocol;
use crate::types::reply::Reply;
use crate::types::reply_shape::ReplyShape;
use crate::types::status::Status;
use crate::{line, text};

/// The result of examining the input.
pub(crate) enum Step {
    /// No reply is complete.
    Incomplete,
    /// A reply was consumed, with the event for its owner if there is one.
    Taken(Option<Event>),
    /// Quiet requests before the reply must be completed first.
    QuietFirst,
}

impl Connection {
    /// Returns the next event from the input.
    // Not inlined, to keep the path of the binary protocol short.
    #[inline(never)]
    pub(crate) fn poll_lines(&mut self, input: &mut InputBuffer) -> Result<Option<Event>, ProtocolError> {
        loop {
            let event = match self.confirmed.checked_sub(1) {
                Some(remaining) => self.complete_quiet(remaining),
                None => {
                    if let Some(error) = &self.fatal {
                        return Err(error.clone());
                    }
                    match self.poll_reply(input)? {
                        Step::Incomplete => return Ok(None),
                        Step::Taken(event) => event,
                        Step::QuietFirst => None,
                    }
                }
            };
            if event.is_some() {
                return Ok(event);
            }
        }
    }

    /// Consumes the next reply.
    fn poll_reply(&mut self, input: &mut InputBuffer) -> Result<Step, ProtocolError> {
        if self.without_gets.is_active() && !input.is_empty() {
            self.check_was_written(input)?;
        }
        if self.in_flight.front().is_some_and(|oldest| oldest.key_tracking == KeyTracking::MultigetKey) {
            return self.poll_multiget(input);
        }
        match self.protocol {
            Some(Protocol::Meta) => self.poll_meta(input),
            Some(Protocol::Text) if input.is_empty() => Ok(Step::Incomplete),
            Some(Protocol::Text) => self.attribute_in_order(input, 0),
            _ => Ok(Step::Incomplete),
        }
    }

    /// Attributes a reply on the meta protocol: one with an opaque to the request that has it, any other in order.
    fn poll_meta(&mut self, input: &mut InputBuffer) -> Result<Step, ProtocolError> {
        let Some(peeked) = meta::peek(input, self.limits.max_value_size)? else { return Ok(Step::Incomplete) };
        let head = match peeked {
            Peeked::Item(head) => head,
            Peeked::Line { is_error } => return self.attribute_non_quiet(input, is_error),
        };
        let Some(opaque) = head.opaque else { return self.attribute_non_quiet(input, false) };
        let index = self.in_flight.index_in_order(opaque)?;
        let expected = self.expected_at(index);
        // Checked before the reply has any effect.
        let status = meta::check(input, &head, expected)?;
        if index > 0 && !expected.quiet {
            self.confirmed = index;
            return Ok(Step::QuietFirst);
        }
        let mut reply = meta::take(input, &head, status, expected)?;
        if expected.returns_key {
            self.restore_key(index, &mut reply);
        }
        Ok(Step::Taken(self.mark_answered(index, true).map(|tag| Event { tag, reply, last: true })))
    }

    /// Sets the key of a reply for which the server could not return it.
    #[cold]
    fn restore_key(&self, index: usize, reply: &mut Reply) {
        let Some(key) = self.in_flight.key_at(index) else { return };
        reply.key = Bytes::copy_from_slice(key);
        // As on the binary protocol, a miss has the key and no text.
        if reply.status == Status::KeyNotFound {
            reply.value = Bytes::new();
        }
    }

    pub(crate) fn expected_at(&self, index: usize) -> ReplyShape {
        self.in_flight.get(index).map_or(ReplyShape::NOOP, |entry| entry.expected)
    }

    /// Attributes a line without an opaque to the first non-quiet request.
    fn attribute_non_quiet(&mut self, input: &mut InputBuffer, is_error: bool) -> Result<Step, ProtocolError> {
        let cursor = self.in_flight.cursor();
        // Quiet requests are sent together with a non-quiet one: without it, nothing was sent.
        let Some(index) = self.in_flight.first_non_quiet() else { return Err(self.unattributable(input, false)) };
        if is_error && index > cursor {
            return self.attribute_quiet(input, cursor, index);
        }
        if let Some(begin) = self.in_flight.first_multiget().filter(|begin| *begin <= index) {
            return self.confirm_before_multiget(input, begin);
        }
        let expected = self.expected_at(index);
        let has_opaque = meta::has_meta_reply(expected.operation) && expected.operation != Operation::Debug;
        if has_opaque && !is_error {
            return Err(self.unattributable(input, false));
        }
        if index > 0 {
            text::check(input, expected)?;
            self.confirmed = index;
            return Ok(Step::QuietFirst);
        }
        self.attribute_in_order(input, index)
    }

    /// Attributes an error line while quiet requests are pending from `cursor` on and a non-quiet one at `index`.
    fn attribute_quiet(&mut self, input: &mut InputBuffer, cursor: usize, index: usize) -> Result<Step, ProtocolError> {
        // A no-op is never refused, so if there is a single request before it, that was refused; of several, any may
        // have been.
        match index.saturating_sub(cursor) == 1 && self.expected_at(index).is_noop() {
            true => self.attribute_in_order(input, cursor),
            false => Err(self.unattributable(input, true)),
        }
    }

    /// Completes the quiet requests before a multiget.
    fn confirm_before_multiget(&mut self, input: &InputBuffer, begin: usize) -> Result<Step, ProtocolError> {
        Self::check_multiget_start(input)?;
        self.confirmed = begin;
        Ok(Step::QuietFirst)
    }

    /// Consumes the lines that answer the oldest request.
    fn attribute_in_order(&mut self, input: &mut InputBuffer, index: usize) -> Result<Step, ProtocolError> {
        let Some(expected) = self.in_flight.get(index).map(|entry| entry.expected) else {
            return match line::peek(input.as_slice())? {
                Some(_) => Err(self.unattributable(input, false)),
                None => Ok(Step::Incomplete),
            };
        };
        let answer = match expected.operation {
            Operation::Debug if meta::is_miss(input) => meta::take_miss(input, expected)?,
            _ => text::take(input, expected, self.in_flight.first_key(), self.limits.max_value_size)?,
        };
        let Some(mut answer) = answer else { return Ok(Step::Incomplete) };
        if answer.reply.status == Status::UnknownCommand {
            if self.is_unknown_gets(Status::UnknownCommand) {
                self.resend_as_get(1);
                return Ok(Step::Taken(None));
            }
            text::name_unknown_command(expected.operation, &mut answer.reply);
            if self.protocol == Some(Protocol::Text) && expected.operation.is_fetch() {
                // A text server that does not know the command has consumed exactly one line.
                answer.fatal = None;
            }
        }
        if answer.fatal.is_some() {
            self.fatal = answer.fatal;
        }
        self.auth_required |= answer.reply.status == Status::AuthError && expected.operation != Operation::Authenticate;
        let (reply, last) = (answer.reply, answer.last);
        Ok(Step::Taken(self.mark_answered(index, last).map(|tag| Event { tag, reply, last })))
    }

    /// Returns the error for a line that cannot be attributed to a single request.
    fn unattributable(&mut self, input: &InputBuffer, may_be_quiet: bool) -> ProtocolError {
        let text = match line::peek(input.as_slice()) {
            Ok(Some((text, _))) => text,
            Ok(None) => &[],
            Err(error) => return error,
        };
        match error_line::read(text, ReplyShape::NOOP) {
            Err(error) => error,
            Ok(Some(error)) if may_be_quiet => {
                self.auth_required |= error.reply.status == Status::AuthError;
                ProtocolError::UnattributedError(line::excerpt(text))
            }
            Ok(_) => ProtocolError::UnexpectedLine(line::excerpt(text)),
        }
    }
}
