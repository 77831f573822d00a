//! Refusals for lack of authentication, and their distinction from disabled commands.

use std::time::{Duration, Instant};

use super::Connection;
use crate::connection::Deadline;
use crate::connection::pending::Owner;
use crate::line::error_line;
use crate::types::error::InvalidRequest;
use crate::types::operation::Operation;
use crate::types::reply::Reply;
use crate::types::request::Request;

impl Connection {
    /// Returns whether the server has refused a request for lack of authentication since the connection was opened.
    pub fn is_auth_required(&self) -> bool {
        self.auth_required
    }

    /// Queues a no-op before a flush.
    ///
    /// The binary protocol has one status for a disabled flush and for any request of an unauthenticated
    /// client (docs/protocol.md 1.5). A no-op is refused only without authentication, so its reply distinguishes the
    /// two.
    #[cold]
    pub(crate) fn probe_auth(&mut self, now: Instant) -> Result<(), InvalidRequest> {
        let opaque = self.in_flight.next_opaque();
        let encoded = self.encode(&Request::noop(), opaque)?;
        if self.in_flight.is_empty() {
            self.outstanding_since = now;
        }
        let deadline = Deadline { at: self.last_input, extend_by: Duration::ZERO };
        self.push(encoded.entry(Owner::None, deadline));
        Ok(())
    }

    /// Handles an authentication error in reply to the request at this index.
    #[cold]
    pub(crate) fn on_auth_error(&mut self, index: usize, reply: &mut Reply) {
        match self.expected_at(index).operation() {
            Operation::Flush if !self.auth_required => *reply = error_line::no_flush(),
            Operation::SaslAuth | Operation::SaslStep => {}
            _ => self.auth_required = true,
        }
    }
}
