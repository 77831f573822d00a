//! The machine of one connection: it matches replies to requests.
//!
//! No I/O, no clock, no locks. Requests are [submitted](Connection::submit) and their bytes
//! [taken](Connection::take_output); what the socket gives is gathered in an [`InputBuffer`] and
//! turned into [events](Connection::poll_event); instants are handed in. Every request ends in
//! exactly one event that is the last one of its tag.
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

pub use crate::connection::types::{Deadline, Event, Limits, Tag, Ticket};

use super::binary::{self, Header, Opcode};
use crate::buffer::arena::ValueArena;
use crate::buffer::input::InputBuffer;
use crate::buffer::output::Output;
use crate::connection::multiget::OpenMultiget;
use crate::connection::negotiation::Backlog;
use crate::connection::pending::{Entry, InFlight, KeyTracking, Owner};
use crate::connection::without_gets::WithoutGets;
use crate::types::error::{InvalidRequest, ProtocolError, Rejected};
use crate::types::operation::Operation;
use crate::types::protocol::Protocol;
use crate::types::reply::Reply;
use crate::types::request::Request;
use crate::types::status::{Delivery, Status};
use crate::types::version::ServerVersion;

/// The machine of one connection.
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
    /// What the connection speaks; `None` while that is not known.
    protocol: Option<Protocol>,
    /// Whether the protocol is negotiated again on each connection.
    undecided: bool,
    dialect: ServerVersion,
    /// The requests in flight, while it is not known how to say them.
    backlog: Backlog,
    /// How many plain gets may share a line, and the line that takes more.
    keys_in_line: usize,
    open_multiget: Option<OpenMultiget>,
    without_gets: WithoutGets,
    /// How many requests were in flight when output was last taken.
    in_flight_at_flush: usize,
    /// How many requests the run of one caller has that is submitted now; 0 without one.
    run: usize,
    /// Whether a request is in flight that needs the connection to itself.
    exclusive: bool,
    /// Why nothing that follows can be trusted, once the reply that showed it was delivered.
    broken: Option<ProtocolError>,
    /// Whether the server has refused a request for lack of authentication.
    auth_required: bool,
    in_flight: InFlight,
    /// Where the small values of a run are.
    values: ValueArena,
    output: Output,
    /// The stream of request bytes: how many were submitted, handed to the driver, written.
    submitted: u64,
    taken: u64,
    written: u64,
    /// Quiet requests at the front whose success a non-quiet reply has confirmed.
    silent: usize,
    /// Events that no input caused.
    events: VecDeque<Event>,
    /// A lower bound of the deadlines in flight.
    earliest: Option<Instant>,
    abandoned: usize,
    abandoned_since: Option<Instant>,
    last_input: Instant,
    last_reply: Instant,
    /// When the queue last went from empty to waiting.
    outstanding_since: Instant,
}

impl Connection {
    /// A machine of the binary protocol without anything in flight, whose first request has this opaque.
    pub fn new(limits: Limits, first_opaque: u32, now: Instant) -> Self {
        Self::speaking(Protocol::Binary, ServerVersion::default(), limits, first_opaque, now)
    }

    /// Creates a state machine for a known protocol and server version.
    pub fn speaking(
        protocol: Protocol,
        dialect: ServerVersion,
        limits: Limits,
        first_opaque: u32,
        now: Instant,
    ) -> Self {
        Self { protocol: Some(protocol), dialect, undecided: false, ..Self::undecided(limits, first_opaque, now) }
    }

    /// A machine that takes requests before it is known what the connection speaks.
    ///
    /// It keeps them until [`Connection::begin`], with their limits and deadlines, and has no output
    /// till then. After [`Connection::close`] it is undecided again.
    pub fn undecided(limits: Limits, first_opaque: u32, now: Instant) -> Self {
        Self {
            limits,
            protocol: None,
            undecided: true,
            dialect: ServerVersion::default(),
            backlog: Backlog::default(),
            keys_in_line: 1,
            open_multiget: None,
            without_gets: WithoutGets::default(),
            in_flight_at_flush: 0,
            run: 0,
            exclusive: false,
            broken: None,
            auth_required: false,
            in_flight: InFlight::new(first_opaque),
            values: ValueArena::default(),
            output: Output::new(),
            submitted: 0,
            taken: 0,
            written: 0,
            silent: 0,
            events: VecDeque::new(),
            earliest: None,
            abandoned: 0,
            abandoned_since: None,
            last_input: now,
            last_reply: now,
            outstanding_since: now,
        }
    }

    /// Encodes a request and queues it; without a tag its reply is discarded.
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
    ) -> Result<Ticket, Rejected> {
        let owner = tag.map_or(Owner::None, Owner::Caller);
        if let Some(key) = self.key_to_gather(request) {
            return self.submit_to_line(key, owner, deadline, now);
        }
        self.check_limits(request)?;
        if request.operation() == Operation::Flush && matches!(self.protocol, None | Some(Protocol::Binary)) {
            self.ask_for_a_welcome(now)?;
        }
        let opaque = self.in_flight.next_opaque();
        let encoded = self.encode(request, opaque)?;
        self.enqueue(encoded.entry(owner, deadline), now);
        Ok(Ticket(opaque))
    }

    /// Queues a new request, whose bytes were just appended.
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
        let (length, limit) = (request.value().len(), self.limits.value);
        if length > limit {
            return Err(InvalidRequest::ValueTooLarge { length, limit }.into());
        }
        if !self.has_room(length) {
            return Err(Rejected::Full);
        }
        if request.operation().is_exclusive() && !self.in_flight.is_empty() {
            return Err(InvalidRequest::Unsupported("dumps and logs need an idle connection of their own").into());
        }
        Ok(())
    }

    /// Queues an entry whose bytes were just appended.
    #[inline]
    fn push(&mut self, entry: Entry) {
        self.exclusive |= entry.expected.operation.is_exclusive();
        self.in_flight.push(entry);
        self.submitted = self.taken.saturating_add(self.output.remaining() as u64);
    }

    /// What the connection speaks; `None` while that is not known.
    #[inline]
    pub fn protocol(&self) -> Option<Protocol> {
        self.protocol
    }

    /// Whether there are bytes to write.
    #[inline]
    pub fn has_output(&self) -> bool {
        self.output.has_remaining()
    }

    /// Moves the bytes to write into `output`, which must be empty; its memory is used again.
    ///
    /// A run that ends quiet is closed with a no-op, whose reply shows what was silent.
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

    /// Records that all bytes that were taken may have been written: the I/O loop that took them reports no more.
    pub fn assume_written(&mut self) {
        self.written = self.taken;
    }

    /// How many of the bytes that were taken and not written make whole requests: as many as are at
    /// most `limit` bytes together, or exactly one that is longer.
    ///
    /// A TLS record that ends within a request stalls servers (docs/protocol.md), so over TLS bytes
    /// are written by this measure.
    pub fn next_boundary(&self, limit: usize) -> usize {
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

    /// The next event: first those that no input caused, then what the input holds; `None` if it
    /// holds no complete reply.
    ///
    /// # Errors
    /// [`ProtocolError`] if the input cannot be trusted: call [`Connection::close`] then.
    #[inline]
    pub fn poll_event(&mut self, input: &mut InputBuffer) -> Result<Option<Event>, ProtocolError> {
        if let Some(hit) = self.next_hit_in_line(input) {
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

    /// The next event that no input caused: a request was given up, or its connection is gone.
    #[inline]
    pub fn poll_local_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The next event that the packets of the input cause.
    #[inline]
    fn poll_packets(&mut self, input: &mut InputBuffer) -> Result<Option<Event>, ProtocolError> {
        loop {
            let event = match self.silent.checked_sub(1) {
                Some(left) => self.settle_silent(left),
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

    /// The longest body of a reply: a value with its key and extras.
    fn max_body(&self) -> usize {
        self.limits.value.saturating_add(1024)
    }

    /// Finds the request that a reply answers; quiet requests before a non-quiet reply are settled first.
    #[inline]
    fn attribute(&mut self, header: &Header, input: &mut InputBuffer) -> Result<Option<Event>, ProtocolError> {
        let opcode = Opcode(header.opcode);
        let place = self.in_flight.attribute(header.opaque, opcode)?;
        if place > 0 && !opcode.is_quiet() {
            self.silent = place;
            return Ok(None);
        }
        let (mut reply, last) = binary::take(input, header)?;
        if reply.status == Status::AuthError {
            self.denied(place, &mut reply);
        }
        Ok(self.answered(place, last).map(|tag| Event { tag, reply, last }))
    }

    /// Marks a request as answered and returns its owner.
    #[inline]
    fn answered(&mut self, place: usize, last: bool) -> Option<Tag> {
        self.last_reply = self.last_input;
        let owner = match (place, last) {
            (0, true) => self.pop().map(|entry| entry.owner),
            (0, false) => self.in_flight.front().map(|entry| entry.owner),
            _ => self.pass(place),
        };
        match owner {
            Some(Owner::Caller(tag)) => Some(tag),
            _ => None,
        }
    }

    /// A quiet request spoke, and its turn has passed; whether the quiet ones before it were silent,
    /// only a non-quiet reply confirms.
    fn pass(&mut self, place: usize) -> Option<Owner> {
        let owner = std::mem::replace(&mut self.in_flight.pass(place)?.owner, Owner::None);
        self.forget_abandoned(owner);
        Some(owner)
    }

    /// A request that said nothing had its usual outcome: a fetch missed, anything else succeeded. So
    /// many more follow.
    fn settle_silent(&mut self, left: usize) -> Option<Event> {
        self.silent = left;
        let entry = self.pop()?;
        let Owner::Caller(tag) = entry.owner else { return None };
        let reply = match entry.kept {
            KeyTracking::KeyInLine => multiget::missing(),
            _ if entry.expected.operation.is_fetch() => Reply::new(Status::KeyNotFound),
            _ => Reply::new(Status::NoError),
        };
        Some(Event { tag, reply, last: true })
    }

    #[inline]
    fn pop(&mut self) -> Option<Entry> {
        self.without_gets.forget(self.in_flight.first_opaque());
        let entry = self.in_flight.pop()?;
        self.exclusive &= !self.in_flight.is_empty();
        self.forget_abandoned(entry.owner);
        Some(entry)
    }

    #[inline]
    fn forget_abandoned(&mut self, owner: Owner) {
        if owner == Owner::Abandoned {
            self.abandoned = self.abandoned.saturating_sub(1);
            if self.abandoned <= self.limits.abandoned.0 {
                self.abandoned_since = None;
            }
        }
    }

    /// Gives up a request; its reply will be read and discarded.
    pub fn abandon(&mut self, ticket: Ticket, now: Instant) {
        if let Some(entry) = self.in_flight.get_mut(self.without_gets.current(ticket.0))
            && matches!(entry.owner, Owner::Caller(_))
        {
            entry.owner = Owner::Abandoned;
            self.count_abandoned(1, now);
        }
    }

    /// Abandons every request whose tag fits.
    pub fn abandon_where(&mut self, fits: impl Fn(Tag) -> bool, now: Instant) {
        let mut count = 0_usize;
        for (_, entry) in self.in_flight.iter_mut() {
            if matches!(entry.owner, Owner::Caller(tag) if fits(tag)) {
                entry.owner = Owner::Abandoned;
                count = count.saturating_add(1);
            }
        }
        self.count_abandoned(count, now);
    }

    fn count_abandoned(&mut self, count: usize, now: Instant) {
        self.abandoned = self.abandoned.saturating_add(count);
        if self.abandoned > self.limits.abandoned.0 {
            self.abandoned_since.get_or_insert(now);
        }
    }

    /// Ends everything in flight: the connection is gone, for this reason.
    ///
    /// The machine can serve the next connection then; if it was [undecided](Connection::undecided)
    /// at first, it is so again.
    pub fn close(&mut self, reason: &Bytes, now: Instant) {
        while let Some(entry) = self.pop() {
            let delivery = if entry.start < self.written { Delivery::MaybeSent } else { Delivery::NotSent };
            if let Owner::Caller(tag) = entry.owner {
                let reply = match (entry.expected.operation, delivery) {
                    // On the protocols of lines the end is the answer.
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
        self.silent = 0;
        self.broken = None;
        self.auth_required = false;
        self.backlog = Backlog::default();
        if self.undecided {
            self.protocol = None;
            self.dialect = ServerVersion::default();
        }
        self.earliest = None;
        self.last_input = now;
        self.last_reply = now;
    }

    /// Gives back memory that an idle connection does not need.
    pub fn shrink(&mut self) {
        if self.in_flight.is_empty() {
            self.output.clear(KEPT_OUTPUT);
            self.in_flight.shrink(KEPT_ENTRIES);
            self.events.shrink_to(KEPT_ENTRIES);
            self.values.release();
        }
    }

    /// Whether the limits leave room for a request with a value of this length.
    #[inline]
    pub fn has_room(&self, length: usize) -> bool {
        let waiting = self.waiting_output();
        // One request is always taken, however large: else it never could be.
        let fits = waiting == 0 || waiting.saturating_add(length as u64) <= self.limits.output as u64;
        fits && self.in_flight.len() < self.limits.in_flight && !self.exclusive
    }

    /// How many requests are unanswered, abandoned ones included.
    #[inline]
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Number of unanswered requests that were given up.
    pub fn abandoned(&self) -> usize {
        self.abandoned
    }

    /// Number of unanswered requests with a waiting caller.
    pub fn awaited(&self) -> usize {
        self.in_flight.iter().filter(|entry| matches!(entry.owner, Owner::Caller(_))).count()
    }

    /// How many bytes wait to be written.
    #[inline]
    pub fn waiting_output(&self) -> u64 {
        self.submitted.saturating_sub(self.written).saturating_add(self.backlog.bytes())
    }
}

/// What an idle machine keeps: bytes of output, entries of its queues.
const KEPT_OUTPUT: usize = 1024;
const KEPT_ENTRIES: usize = 16;
