//! Requests that a server denies: to strangers, or to everybody.

use std::time::{Duration, Instant};

use super::Connection;
use crate::connection::Deadline;
use crate::connection::pending::Owner;
use crate::line::error_line as refusal;
use crate::types::error::InvalidRequest;
use crate::types::operation::Operation;
use crate::types::reply::Reply;
use crate::types::request::Request;

impl Connection {
    /// Whether the server has refused something because nobody has logged in, since the connection was
    /// opened, whoever waited for it.
    pub fn is_unwelcome(&self) -> bool {
        self.unwelcome
    }

    /// Puts a no-op before a flush.
    ///
    /// The binary protocol has one code for a flush that the server allows nobody and for whatever a
    /// stranger asks (docs/protocol.md 1.5). The no-op is denied to strangers alone, so its reply
    /// tells which of the two is meant.
    #[cold]
    pub(crate) fn ask_for_a_welcome(&mut self, now: Instant) -> Result<(), InvalidRequest> {
        let opaque = self.in_flight.next_opaque();
        let encoded = self.encode(&Request::noop(), opaque)?;
        if self.in_flight.is_empty() {
            self.outstanding_since = now;
        }
        let deadline = Deadline { at: self.last_input, patience: Duration::ZERO };
        self.push(encoded.entry(Owner::Nobody, deadline));
        Ok(())
    }

    /// Takes the reply to the request at this place that says that it was not allowed.
    #[cold]
    pub(crate) fn denied(&mut self, place: usize, reply: &mut Reply) {
        match self.expected_at(place).operation() {
            Operation::Flush if !self.unwelcome => *reply = refusal::no_flush(),
            Operation::SaslAuth | Operation::SaslStep => {}
            _ => self.unwelcome = true,
        }
    }
}
