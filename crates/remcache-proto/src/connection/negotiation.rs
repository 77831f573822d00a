//! The backlog: requests that wait until the connection's protocol is known.

use std::collections::VecDeque;

use super::{Connection, Event};
use crate::connection::pending::{Entry, Owner};
use crate::types::error::InvalidRequest;
use crate::types::protocol::Protocol;
use crate::types::reply::Reply;
use crate::types::request::Request;
use crate::types::version::ServerVersion;

/// Requests in the order of their pending entries, owned because they are encoded later.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    requests: VecDeque<Request<'static>>,
    bytes: u64,
}

impl Backlog {
    #[cold]
    pub(crate) fn push(&mut self, request: &Request<'_>) -> Result<(), InvalidRequest> {
        // Requests that no protocol can express are refused at once.
        if request.operation().has_key() {
            request.key()?;
        }
        request.time_to_live().seconds()?;
        self.bytes = self.bytes.saturating_add(backlog_bytes(request));
        self.requests.push_back(request.clone().into_owned());
        Ok(())
    }

    /// Returns the approximate encoded size of the requests.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Replaces the revoked requests by no-ops; the iterator has an element for each request.
    pub(crate) fn revoke(&mut self, is_revoked: impl Iterator<Item = bool>) {
        for (request, _) in self.requests.iter_mut().zip(is_revoked).filter(|(_, revoked)| *revoked) {
            let noop = Request::noop();
            self.bytes = self.bytes.saturating_sub(backlog_bytes(request)).saturating_add(backlog_bytes(&noop));
            *request = noop;
        }
    }
}

fn backlog_bytes(request: &Request<'_>) -> u64 {
    let key = request.key().map_or(0, |key| key.as_bytes().len());
    key.saturating_add(request.value().len()).saturating_add(HEAD) as u64
}

/// Approximate encoded size of a request without key and value.
const HEAD: usize = 32;

impl Connection {
    /// Sets the protocol and the server version of an [detecting](Connection::detecting) connection, and encodes the
    /// backlog in order.
    ///
    /// Requests that the protocol cannot express fail with an event, and are replaced by no-ops.
    pub fn set_protocol(&mut self, protocol: Protocol, server_version: ServerVersion) {
        debug_assert!(self.protocol.is_none(), "a connection begins once");
        self.protocol = Some(protocol);
        self.server_version = server_version;
        self.exclusive = false;
        let entries = self.in_flight.take_entries();
        let requests = std::mem::take(&mut self.backlog).requests;
        for (mut entry, request) in entries.into_iter().zip(requests) {
            let opaque = self.in_flight.next_opaque();
            let encoded = self.encode(&request, opaque).or_else(|invalid| {
                self.reject(&mut entry, &invalid);
                self.encode(&Request::noop(), opaque)
            });
            // A no-op is never refused.
            if let Ok(encoded) = encoded {
                self.push(encoded.replace(entry));
            }
        }
    }

    fn reject(&mut self, entry: &mut Entry, invalid: &InvalidRequest) {
        let owner = std::mem::replace(&mut entry.owner, Owner::None);
        self.forget_abandoned(owner);
        if let Owner::Caller(tag) = owner {
            self.events.push_back(Event { tag, reply: Reply::invalid(invalid), last: true });
        }
    }
}
