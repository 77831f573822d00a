//! The state machine of a connection: pending requests and the attribution of replies to them.
//!
//! No I/O, no clock, no locks. Requests are [submitted](Connection::submit) and their bytes
//! [taken](Connection::take_output); received bytes are collected in an [`InputBuffer`] and turned into
//! [events](Connection::poll_event); instants are passed in. Every tag gets exactly one last event.
pub(crate) mod abandon;
pub(crate) mod attribution;
pub(crate) mod auth;
pub(crate) mod key_queue;
pub(crate) mod multiget;
pub(crate) mod negotiation;
pub(crate) mod pending;
pub(crate) mod text;
pub(crate) mod timeouts;
pub(crate) mod types;

mod encode;
#[cfg(test)]
mod tests;
mod without_gets;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};

pub use crate::connection::types::{Deadline, Event, Limits, RequestId, Tag};

use crate::buffer::arena::ValueArena;
use crate::buffer::input::InputBuffer;
use crate::buffer::output::Output;
use crate::connection::multiget::OpenMultiget;
use crate::connection::negotiation::Backlog;
use crate::connection::pending::{Entry, InFlight, Owner};
use crate::connection::without_gets::WithoutGets;
use crate::types::error::{InvalidRequest, ProtocolError, Rejected};
use crate::types::operation::Operation;
use crate::types::protocol::Protocol;
use crate::types::reply::Reply;
use crate::types::request::Request;
use crate::types::status::{Delivery, Status};
use crate::types::version::ServerVersion;

/// The state machine of a connection.
///
/// ```
/// use std::time::{Duration, Instant};
/// use remcache_proto::{binary, Connection, Deadline, InputBuffer, Limits, Output, Reply, Request, Status, Tag};
///
/// # let now = Instant::now();
/// let mut connection = Connection::new(Limits::default(), 0, now);
/// let deadline = Deadline { at: now + Duration::from_secs(1), extend_by: Duration::ZERO };
/// connection.submit(&Request::get("Hello"), Some(Tag(42)), deadline, now)?;
///
/// let mut output = Output::new();
/// connection.take_output(&mut output); // … which a socket writes …
///
/// let mut input = InputBuffer::new(); // … and this is what it reads.
/// let mut answer = Output::new();
/// binary::encode_reply(&Reply::with_text(Status::NoError, "World"), binary::Opcode::GET, 0, &mut answer);
/// input.extend(answer.small());
///
/// let event = connection.poll_event(&mut input)?.unwrap();
/// assert_eq!((event.tag, &event.reply.value[..]), (Tag(42), &b"World"[..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Connection {
    limits: Limits,
    /// The protocol; `None` before negotiation.
    protocol: Option<Protocol>,
    /// Whether the protocol is negotiated again on each connection.
    detecting: bool,
    server_version: ServerVersion,
    /// The pending requests while the protocol is not known.
    backlog: Backlog,
    /// The most keys in a multiget line, and the line that more keys can be added to.
    max_keys_per_multiget: usize,
    open_multiget: Option<OpenMultiget>,
    without_gets: WithoutGets,
    /// The number of requests in flight when output was last taken.
    in_flight_at_flush: usize,
    /// The number of requests in the batch that is being submitted; 0 without one.
    batch_len: usize,
    /// Whether a request is in flight that needs an exclusive connection.
    exclusive: bool,
    /// A fatal error, to be returned after the reply that revealed it was delivered.
    fatal: Option<ProtocolError>,
    /// Whether the server has refused a request for lack of authentication.
    auth_required: bool,
    in_flight: InFlight,
    /// The arena for the small values of a batch.
    values: ValueArena,
    output: Output,
    /// Offsets in the stream of request bytes: bytes submitted, taken by the I/O loop, and written.
    submitted: u64,
    taken: u64,
    written: u64,
    /// The number of quiet requests at the front that a non-quiet reply has confirmed.
    confirmed: usize,
    /// Events that were not caused by input.
    events: VecDeque<Event>,
    /// A lower bound of the deadlines in flight.
    earliest: Option<Instant>,
    abandoned: usize,
    abandoned_since: Option<Instant>,
    last_input: Instant,
    last_reply: Instant,
    /// When the queue last became non-empty, or the silence timer was reset.
    outstanding_since: Instant,
}

impl Connection {
    /// Creates a state machine of the binary protocol, whose first request has this opaque.
    pub fn new(limits: Limits, first_opaque: u32, now: Instant) -> Self {
        Self::with_protocol(Protocol::Binary, ServerVersion::default(), limits, first_opaque, now)
    }

    /// Creates a state machine for a known protocol and server version.
    pub fn with_protocol(
        protocol: Protocol,
        server_version: ServerVersion,
        limits: Limits,
        first_opaque: u32,
        now: Instant,
    ) -> Self {
        Self {
            protocol: Some(protocol),
            server_version,
            detecting: false,
            ..Self::detecting(limits, first_opaque, now)
        }
    }

    /// Creates a state machine that accepts requests before its protocol is known.
    ///
    /// It stores them until [`Connection::set_protocol`], subject to limits and deadlines, and has no output until
    /// then. After [`Connection::close`] its protocol is unknown again.
    pub fn detecting(limits: Limits, first_opaque: u32, now: Instant) -> Self {
        Self {
            limits,
            protocol: None,
            detecting: true,
            server_version: ServerVersion::default(),
            backlog: Backlog::default(),
            max_keys_per_multiget: 1,
            open_multiget: None,
            without_gets: WithoutGets::default(),
            in_flight_at_flush: 0,
            batch_len: 0,
            exclusive: false,
            fatal: None,
            auth_required: false,
            in_flight: InFlight::new(first_opaque),
            values: ValueArena::default(),
            output: Output::new(),
            submitted: 0,
            taken: 0,
            written: 0,
            confirmed: 0,
            events: VecDeque::new(),
            earliest: None,
            abandoned: 0,
            abandoned_since: None,
            last_input: now,
            last_reply: now,
            outstanding_since: now,
        }
    }

    /// Encodes and queues a request; without a tag its reply is discarded.
    ///
    /// # Errors
    /// [`Rejected`] if the request cannot be sent, or the limits are reached; nothing is queued then.
    #[inline]
    pub fn submit(
        &mut self,
        request: &Request<'_>,
        tag: Option<Tag>,
        deadline: Deadline,
        now: Instant,
    ) -> Result<RequestId, Rejected> {
        let owner = tag.map_or(Owner::None, Owner::Caller);
        if let Some(key) = self.coalescible_key(request) {
            return self.submit_coalesced(key, owner, deadline, now);
        }
        self.check_limits(request)?;
        if request.operation() == Operation::Flush && matches!(self.protocol, None | Some(Protocol::Binary)) {
            self.probe_auth(now)?;
        }
        let opaque = self.in_flight.next_opaque();
        let encoded = self.encode(request, opaque)?;
        self.enqueue(encoded.entry(owner, deadline), now);
        Ok(RequestId(opaque))
    }

    /// Queues a new request, whose bytes were just appended to the output.
    #[inline]
    fn enqueue(&mut self, entry: Entry, now: Instant) {
        if self.in_flight.is_empty() {
            self.outstanding_since = now;
        }
        if entry.owner != Owner::None {
            self.earliest = Some(self.earliest.map_or(entry.deadline, |earliest| earliest.min(entry.deadline)));
        }
        self.push(entry);
    }

    #[inline]
    fn check_limits(&self, request: &Request<'_>) -> Result<(), Rejected> {
        let (length, limit) = (request.value().len(), self.limits.max_value_size);
        if length > limit {
            return Err(InvalidRequest::ValueTooLarge { length, limit }.into());
        }
        if !self.has_capacity(length) {
            return Err(Rejected::Full);
        }
        if request.operation().is_exclusive() && !self.in_flight.is_empty() {
            return Err(InvalidRequest::Unsupported("dumps and logs need an idle connection of their own").into());
        }
        Ok(())
    }

    /// Queues an entry, whose bytes were just appended to the output.
    #[inline]
    fn push(&mut self, entry: Entry) {
        self.exclusive |= entry.expected.operation.is_exclusive();
        self.in_flight.push(entry);
        self.submitted = self.taken.saturating_add(self.output.remaining() as u64);
    }

    /// Returns the protocol; `None` while it is not known.
    #[inline]
    pub fn protocol(&self) -> Option<Protocol> {
        self.protocol
    }

    /// Returns whether there are bytes to write.
    #[inline]
    pub fn has_output(&self) -> bool {
        self.output.has_remaining()
    }

    /// Moves the bytes to write into `output`, which must be empty; its memory is reused.
    ///
    /// If the last request is quiet, a no-op is appended, whose reply confirms the quiet requests before it.
    pub fn take_output(&mut self, output: &mut Output) {
        debug_assert!(!output.has_remaining(), "bytes that were taken must be written first");
        if self.protocol.is_none() {
            return;
        }
        if self.in_flight.back().is_some_and(|entry| entry.expected.quiet) {
            self.push_noop();
        }
        self.open_multiget = None;
        self.in_flight_at_flush = self.in_flight.len();
        std::mem::swap(&mut self.output, output);
        self.taken = self.submitted;
    }

    fn push_noop(&mut self) {
        let opaque = self.in_flight.next_opaque();
        // A no-op has nothing that could be refused.
        if let Ok(encoded) = self.encode(&Request::noop(), opaque) {
            let deadline = Deadline { at: self.last_input, extend_by: Duration::ZERO };
            self.push(encoded.entry(Owner::None, deadline));
        }
    }

    /// Records that the socket accepted `count` bytes.
    pub fn handle_written(&mut self, count: usize) {
        self.written = self.written.saturating_add(count as u64);
    }

    /// Records that all taken bytes may have been written, because the I/O loop that took them has been abandoned.
    pub fn assume_written(&mut self) {
        self.written = self.taken;
    }

    /// Returns the number of taken and unwritten bytes that form whole requests: as many requests as fit into `limit`
    /// bytes, or exactly one that is longer.
    ///
    /// A TLS record that ends within a request can stall servers (docs/protocol.md), so over TLS bytes are written in
    /// these units.
    pub fn whole_requests_len(&self, limit: usize) -> usize {
        let reach = self.written.saturating_add(limit as u64);
        let end = match reach < self.taken {
            true => self.in_flight.boundary(self.written, reach).map_or(self.taken, |end| end.min(self.taken)),
            false => self.taken,
        };
        usize::try_from(end.saturating_sub(self.written)).unwrap_or(usize::MAX)
    }

    /// Records that bytes were received.
    pub fn handle_received(&mut self, now: Instant) {
        self.last_input = now;
    }

    /// Returns the next event: first those that input did not cause, then those from the input; `None` if it contains
    /// no complete reply.
    ///
    /// # Errors
    /// [`ProtocolError`] if the server violates the protocol: call [`Connection::close`] then.
    #[inline]
    pub fn poll_event(&mut self, input: &mut InputBuffer) -> Result<Option<Event>, ProtocolError> {
        if let Some(hit) = self.next_multiget_hit(input) {
            return Ok(Some(hit));
        }
        if let Some(event) = self.poll_local_event() {
            return Ok(Some(event));
        }
        if self.protocol != Some(Protocol::Binary) {
            return self.poll_lines(input);
        }
        self.poll_packets(input)
    }

    /// Returns the next event that input did not cause: a timeout or a lost connection.
    #[inline]
    pub fn poll_local_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    #[inline]
    fn pop(&mut self) -> Option<Entry> {
        self.without_gets.forget(self.in_flight.first_opaque());
        let entry = self.in_flight.pop()?;
        self.exclusive &= !self.in_flight.is_empty();
        self.forget_abandoned(entry.owner);
        Some(entry)
    }

    /// Fails all requests in flight, because the connection is closed for this reason.
    ///
    /// The state machine can then be used for the next connection; one that was created
    /// [detecting](Connection::detecting) is so again.
    pub fn close(&mut self, reason: &Bytes, now: Instant) {
        while let Some(entry) = self.pop() {
            let delivery = if entry.start < self.written { Delivery::MaybeSent } else { Delivery::NotSent };
            if let Owner::Caller(tag) = entry.owner {
                let reply = match (entry.expected.operation, delivery) {
                    // On the meta and text protocols a quit is answered by closing the connection.
                    (Operation::Quit, Delivery::MaybeSent) if self.protocol != Some(Protocol::Binary) => {
                        Reply::new(Status::NoError)
                    }
                    _ => Reply::disconnected(delivery, reason.clone()),
                };
                self.events.push_back(Event { tag, reply, last: true });
            }
        }
        self.open_multiget = None;
        self.without_gets = WithoutGets::default();
        self.output.clear(KEPT_OUTPUT);
        self.in_flight.shrink(KEPT_ENTRIES);
        self.taken = self.submitted;
        self.written = self.submitted;
        self.confirmed = 0;
        self.fatal = None;
        self.auth_required = false;
        self.backlog = Backlog::default();
        if self.detecting {
            self.protocol = None;
            self.server_version = ServerVersion::default();
        }
        self.earliest = None;
        self.last_input = now;
        self.last_reply = now;
    }

    /// Releases memory that an idle connection does not need.
    pub fn shrink(&mut self) {
        if self.in_flight.is_empty() {
            self.output.clear(KEPT_OUTPUT);
            self.in_flight.shrink(KEPT_ENTRIES);
            self.events.shrink_to(KEPT_ENTRIES);
            self.values.release();
        }
    }

    /// Returns whether the limits allow another request with a value of this length.
    #[inline]
    pub fn has_capacity(&self, length: usize) -> bool {
        let waiting = self.unwritten_bytes();
        // A single request is always accepted: otherwise a large one never would be.
        let fits = waiting == 0 || waiting.saturating_add(length as u64) <= self.limits.max_output as u64;
        fits && self.in_flight.len() < self.limits.max_in_flight && !self.exclusive
    }

    /// Returns the number of unanswered requests, including abandoned ones.
    #[inline]
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Returns the number of unanswered requests with a waiting caller.
    pub fn waiting_callers(&self) -> usize {
        self.in_flight.iter().filter(|entry| matches!(entry.owner, Owner::Caller(_))).count()
    }

    /// Returns the number of unwritten bytes.
    #[inline]
    pub fn unwritten_bytes(&self) -> u64 {
        self.submitted.saturating_sub(self.written).saturating_add(self.backlog.bytes())
    }
}

/// The memory that an idle connection keeps: bytes of output, and entries of its queues.
const KEPT_OUTPUT: usize = 1024;
const KEPT_ENTRIES: usize = 16;
