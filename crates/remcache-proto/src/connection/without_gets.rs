//! Fallback for text servers that do not support `gets`: fetches are sent again as `get`, without CAS values.
//!
//! Some proxies and early versions of Dragonfly answer `gets` with `ERROR`. Nothing was executed then, and the
//! connection is still synchronized, so the pending fetches move to the end of the queue.

use crate::binary::Opcode;
use crate::buffer::input::InputBuffer;
use crate::connection::Connection;
use crate::connection::encode::EncodedRequest;
use crate::connection::pending::{Entry, KeyTracking, Owner};
use crate::line;
use crate::types::error::ProtocolError;
use crate::types::operation::Operation;
use crate::types::protocol::Protocol;
use crate::types::status::Status;

/// The state of the fallback.
#[derive(Debug, Default)]
pub(crate) struct WithoutGets {
    /// The offset in the stream of submitted bytes before which `gets` was sent; `None` while it is in use.
    since: Option<u64>,
    /// The original and current opaques of fetches that were sent again.
    moved: Vec<(u32, u32)>,
}

impl WithoutGets {
    /// Returns the command of a fetch, with the space after it.
    #[inline]
    pub(crate) fn command(&self) -> &'static [u8] {
        if self.since.is_some() { b"get " } else { b"gets " }
    }

    /// Returns whether the server does not support `gets`.
    pub(crate) fn is_active(&self) -> bool {
        self.since.is_some()
    }

    /// Returns the current opaque of the request that was submitted with this one.
    pub(crate) fn current(&self, opaque: u32) -> u32 {
        self.moved.iter().find(|(old, _)| *old == opaque).map_or(opaque, |(_, new)| *new)
    }

    /// Forgets a request that is no longer pending.
    #[inline]
    pub(crate) fn forget(&mut self, opaque: u32) {
        if !self.moved.is_empty() {
            self.moved.retain(|(_, new)| *new != opaque);
        }
    }

    fn record(&mut self, old: u32, new: u32) {
        match self.moved.iter_mut().find(|(_, current)| *current == old) {
            Some(moved) => moved.1 = new,
            None => self.moved.push((old, new)),
        }
    }
}

impl Connection {
    /// Returns whether this status of a reply shows that the server does not support the oldest request's `gets`.
    pub(crate) fn is_unknown_gets(&self, status: Status) -> bool {
        let Some(oldest) = self.in_flight.front() else { return false };
        status == Status::UnknownCommand
            && self.protocol == Some(Protocol::Text)
            && oldest.expected.operation == Operation::Get
            && self.in_flight.cursor() == 0
            && self.without_gets.since.is_none_or(|since| oldest.start < since)
    }

    /// Sends the first fetches again as `get`, which is used from now on.
    #[cold]
    pub(crate) fn resend_as_get(&mut self, fetches: usize) {
        self.without_gets.since.get_or_insert(self.submitted);
        self.last_reply = self.last_input;
        // A key added to the open line would be sent with `gets`.
        self.open_multiget = None;
        for _ in 0..fetches {
            let key = self.in_flight.first_key().map(<[u8]>::to_vec);
            let old = self.in_flight.first_opaque();
            let (Some(entry), Some(key)) = (self.in_flight.pop(), key) else { return };
            match entry.owner {
                Owner::Caller(_) => {
                    self.without_gets.record(old, self.in_flight.next_opaque());
                    self.resend(entry, &key);
                }
                owner => self.forget_abandoned(owner),
            }
        }
    }

    /// Rejects a reply to a request that was not written yet: one that is sent again.
    pub(crate) fn check_was_written(&self, input: &InputBuffer) -> Result<(), ProtocolError> {
        match self.in_flight.front() {
            Some(oldest) if oldest.start >= self.written => {
                Err(ProtocolError::UnexpectedLine(line::excerpt(input.as_slice())))
            }
            _ => Ok(()),
        }
    }

    fn resend(&mut self, entry: Entry, key: &[u8]) {
        let encoded = match entry.key_tracking {
            KeyTracking::MultigetKey => self.append_key(key),
            key_tracking => {
                self.open_multiget = None;
                let start = self.submitted;
                self.output.put_line(self.without_gets.command(), key);
                self.in_flight.remember_key(key);
                EncodedRequest { opcode: Opcode::NOOP, expected: entry.expected, start, key_tracking }
            }
        };
        self.push(encoded.replace(entry));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moved_request_is_found_by_its_first_opaque_until_it_is_forgotten() {
        let mut without_gets = WithoutGets::default();
        without_gets.record(7, 20);
        without_gets.record(8, 21);
        without_gets.record(21, 30);
        assert_eq!([7, 8, 9].map(|opaque| without_gets.current(opaque)), [20, 30, 9]);
        without_gets.forget(20);
        assert_eq!([7, 8, 9].map(|opaque| without_gets.current(opaque)), [7, 30, 9]);
    }
}
