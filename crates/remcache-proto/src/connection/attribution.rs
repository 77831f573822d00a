//! Attribution of binary replies: finds the request that a reply answers.

use super::pending::{KeyTracking, Owner};
use super::types::{Event, Tag};
use super::{Connection, multiget};
use crate::binary::{self, Header, Opcode};
use crate::buffer::input::InputBuffer;
use crate::types::error::ProtocolError;
use crate::types::reply::Reply;
use crate::types::status::Status;

impl Connection {
    /// Returns the next event from the packets of the input.
    #[inline]
    pub(super) fn poll_packets(&mut self, input: &mut InputBuffer) -> Result<Option<Event>, ProtocolError> {
        loop {
            let event = match self.confirmed.checked_sub(1) {
                Some(remaining) => self.complete_quiet(remaining),
                None => {
                    let Some(header) = binary::peek(input, self.max_body())? else { return Ok(None) };
                    self.attribute(&header, input)?
                }
            };
            if event.is_some() {
                return Ok(event);
            }
        }
    }

    /// Returns the longest body of a reply: a value with its key and extras.
    fn max_body(&self) -> usize {
        self.limits.max_value_size.saturating_add(1024)
    }

    /// Finds the request that a reply answers; quiet requests before a non-quiet reply are completed first.
    #[inline]
    fn attribute(&mut self, header: &Header, input: &mut InputBuffer) -> Result<Option<Event>, ProtocolError> {
        let opcode = Opcode(header.opcode);
        let index = self.in_flight.attribute(header.opaque, opcode)?;
        if index > 0 && !opcode.is_quiet() {
            self.confirmed = index;
            return Ok(None);
        }
        let (mut reply, last) = binary::take(input, header)?;
        if reply.status == Status::AuthError {
            self.on_auth_error(index, &mut reply);
        }
        Ok(self.mark_answered(index, last).map(|tag| Event { tag, reply, last }))
    }

    /// Marks a request as answered and returns its owner.
    #[inline]
    pub(super) fn mark_answered(&mut self, index: usize, last: bool) -> Option<Tag> {
        self.last_reply = self.last_input;
        let owner = match (index, last) {
            (0, true) => self.pop().map(|entry| entry.owner),
            (0, false) => self.in_flight.front().map(|entry| entry.owner),
            _ => self.advance_past(index),
        };
        match owner {
            Some(Owner::Caller(tag)) => Some(tag),
            _ => None,
        }
    }

    /// Moves the cursor past a quiet request that was answered, and returns its owner. The quiet requests before it are
    /// completed when a non-quiet reply confirms them.
    pub(super) fn advance_past(&mut self, index: usize) -> Option<Owner> {
        let owner = std::mem::replace(&mut self.in_flight.advance_past(index)?.owner, Owner::None);
        self.forget_abandoned(owner);
        Some(owner)
    }

    /// Completes the oldest request, a quiet one without a reply: a fetch missed, anything else succeeded.
    pub(super) fn complete_quiet(&mut self, remaining: usize) -> Option<Event> {
        self.confirmed = remaining;
        let entry = self.pop()?;
        let Owner::Caller(tag) = entry.owner else { return None };
        let reply = match entry.key_tracking {
            KeyTracking::MultigetKey => multiget::missing(),
            _ if entry.expected.operation.is_fetch() => Reply::new(Status::KeyNotFound),
            _ => Reply::new(Status::NoError),
        };
        Some(Event { tag, reply, last: true })
    }
}
