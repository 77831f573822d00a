//! Timeouts of requests, keepalive, and detection of unresponsive servers.

use std::time::Instant;

use super::encode::EncodedRequest;
use super::{Connection, Event};
use crate::binary::Opcode;
use crate::buffer::output::Output;
use crate::connection::pending::{Entry, KeyTracking, Owner};
use crate::types::error::ProtocolError;
use crate::types::operation::Operation;
use crate::types::reply::Reply;
use crate::types::reply_shape::ReplyShape;
use crate::types::request::Request;
use crate::types::status::{Delivery, Status};

impl Connection {
    /// Returns the instant by which [`Connection::handle_timeout`] must be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let abandoned = self.abandoned_since.and_then(|since| since.checked_add(self.limits.max_abandoned.1));
        let overdue = self.in_flight.front().and_then(|entry| self.overdue_at(entry));
        let quiet = match self.in_flight.is_empty() {
            true => self.last_input.checked_add(self.limits.keepalive_interval),
            false if self.is_log() => None,
            false => self.last_input.max(self.outstanding_since).checked_add(self.limits.keepalive_timeout),
        };
        [self.earliest, abandoned, overdue, quiet].into_iter().flatten().min()
    }

    /// Returns whether the connection streams the server's log, which may be idle for long.
    fn is_log(&self) -> bool {
        self.exclusive && self.in_flight.front().is_some_and(|entry| entry.expected.operation == Operation::Watch)
    }

    fn overdue_at(&self, entry: &Entry) -> Option<Instant> {
        match entry.owner {
            Owner::None => None,
            // `reset_silence_timer` also postpones this, because unread replies are not overdue.
            _ => entry
                .effective_deadline(self.last_reply)
                .max(self.outstanding_since)
                .checked_add(self.limits.max_overdue),
        }
    }

    /// Times out due requests, and sends a no-op on an idle connection.
    ///
    /// # Errors
    /// [`ProtocolError`] if the server is unresponsive: call [`Connection::close`] then.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), ProtocolError> {
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if is_due(self.earliest) {
            self.expire_due(now);
        }
        if is_due(self.abandoned_since.and_then(|since| since.checked_add(self.limits.max_abandoned.1))) {
            return Err(ProtocolError::TooManyAbandoned(self.abandoned));
        }
        if is_due(self.in_flight.front().and_then(|entry| self.overdue_at(entry))) {
            return Err(ProtocolError::Unresponsive);
        }
        let quiet_since = self.last_input.max(self.outstanding_since);
        match self.in_flight.is_empty() {
            false if self.is_log() => Ok(()),
            false if is_due(quiet_since.checked_add(self.limits.keepalive_timeout)) => Err(ProtocolError::Unresponsive),
            true if self.protocol.is_some() && is_due(self.last_input.checked_add(self.limits.keepalive_interval)) => {
                self.outstanding_since = now;
                self.push_noop();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Returns the instant since which requests have been outstanding without any reply.
    pub fn no_reply_since(&self) -> Instant {
        self.last_reply.max(self.outstanding_since)
    }

    /// Resets the silence timer after a stall of the I/O loop, during which replies could not be read.
    pub fn reset_silence_timer(&mut self, now: Instant) {
        self.outstanding_since = now;
    }

    /// Returns a lower bound of the deadlines.
    ///
    /// Before a socket is connected, this and [`Connection::expire_due`] are the only timeouts.
    pub fn earliest_deadline(&self) -> Option<Instant> {
        self.earliest
    }

    /// Times out every due request, with an event for each.
    pub fn expire_due(&mut self, now: Instant) {
        let mut revoked = false;
        let mut count = 0_usize;
        self.earliest = None;
        for (_, entry) in self.in_flight.iter_mut() {
            let Owner::Caller(tag) = entry.owner else { continue };
            let deadline = entry.effective_deadline(self.last_reply);
            if deadline > now {
                self.earliest = Some(self.earliest.map_or(deadline, |earliest| earliest.min(deadline)));
                continue;
            }
            // Output that the I/O loop has taken may still reach the server.
            let untaken = entry.start >= self.taken;
            let delivery = if untaken { Delivery::NotSent } else { Delivery::MaybeSent };
            self.events.push_back(Event { tag, reply: Reply::new(Status::TimedOut(delivery)), last: true });
            entry.owner = if untaken { Owner::None } else { Owner::Abandoned };
            if untaken {
                entry.opcode = Opcode::NOOP;
                entry.expected = ReplyShape::NOOP;
                revoked = true;
            } else {
                count = count.saturating_add(1);
            }
        }
        self.count_abandoned(count, now);
        match self.protocol {
            _ if !revoked => {}
            Some(_) => self.rewrite_output(),
            None => self.backlog.revoke(self.in_flight.iter().map(|entry| entry.expected.is_noop())),
        }
    }

    /// Removes the bytes of timed out requests from the output, because they were reported as not sent.
    ///
    /// Each is replaced by a no-op, which keeps the opaques consecutive.
    fn rewrite_output(&mut self) {
        let (entries, keys) = (self.in_flight.take_entries(), self.in_flight.take_keys());
        let old = Rewritten { output: std::mem::take(&mut self.output), begin: self.taken, end: self.submitted };
        self.submitted = self.taken;
        self.open_multiget = None;
        let cursor = self.in_flight.cursor();
        let mut keys = keys.iter();
        let mut entries = entries.into_iter().enumerate().peekable();
        while let Some((index, entry)) = entries.next() {
            let key = if index >= cursor && entry.key_tracking != KeyTracking::Nothing { keys.next() } else { None };
            if entry.start < old.begin {
                key.into_iter().for_each(|key| self.in_flight.remember_key(key));
                self.in_flight.push(entry);
                continue;
            }
            let end = entries.peek().map_or(old.end, |(_, next)| next.start);
            self.push_rewritten(entry, key, &old, end);
        }
    }

    fn push_rewritten(&mut self, entry: Entry, key: Option<&[u8]>, old: &Rewritten, end: u64) {
        let encoded = match (entry.key_tracking, key) {
            _ if entry.expected.is_noop() => match self.encode(&Request::noop(), self.in_flight.next_opaque()) {
                Ok(encoded) => encoded,
                // A no-op is never refused.
                Err(_) => return,
            },
            (KeyTracking::MultigetKey, Some(key)) => self.append_key(key),
            (key_tracking, key) => {
                self.open_multiget = None;
                key.into_iter().for_each(|key| self.in_flight.remember_key(key));
                let start = self.submitted;
                old.output.copy_range(offset(entry.start, old.begin)..offset(end, old.begin), &mut self.output);
                EncodedRequest { opcode: entry.opcode, expected: entry.expected, start, key_tracking }
            }
        };
        self.push(encoded.replace(entry));
    }
}

/// An output that is rewritten, and its range in the stream of all submitted bytes.
struct Rewritten {
    output: Output,
    begin: u64,
    end: u64,
}

fn offset(position: u64, from: u64) -> usize {
    usize::try_from(position.saturating_sub(from)).unwrap_or(usize::MAX)
}
