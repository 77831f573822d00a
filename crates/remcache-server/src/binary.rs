//! The server side of the binary protocol: executes requests on the store and encodes the replies.

mod cluster_config;
mod request;
mod sasl;

use bytes::{Buf, Bytes};
use remcache_proto::binary::{Magic, Opcode, Packet};
use remcache_proto::{CowBytes, Operation, Reply, Status};

use crate::arithmetic::Direction;
use crate::buffers::Buffers;
use crate::expiry::Expiry;
use crate::reply_buffer::ReplyBuffer;
use crate::request_buffer::RequestBuffer;
use crate::state::{ServerState, add};
use crate::stats;
use crate::step::{Step, YieldReason};
use crate::store::{Arithmetic, Extension, ItemState, Mode, NewItem, Store};

use request::{BinaryRequest, Parsed, Rejection};
use sasl::SaslAuth;

/// The session of a connection that speaks the binary protocol.
#[derive(Debug)]
pub(crate) struct BinarySession {
    sasl: SaslAuth,
    /// The connection number.
    number: u64,
    /// Bytes to discard before the next request.
    discard: Option<BinaryDiscard>,
    /// The number of requests that were executed or refused.
    requests: usize,
}

/// Bytes to discard, and the reply to send afterwards.
#[derive(Debug)]
struct BinaryDiscard {
    remaining: u64,
    reply: PendingReply,
}

#[derive(Debug)]
struct PendingReply {
    opcode: Opcode,
    opaque: u32,
    reply: Reply,
    /// Whether the connection is closed after the reply.
    close: bool,
}

impl BinarySession {
    pub(crate) fn new(state: &ServerState, number: u64) -> Self {
        Self { sasl: SaslAuth::new(&state.settings.sasl_users), number, discard: None, requests: 0 }
    }

    pub(crate) fn take_request_count(&mut self) -> usize {
        std::mem::take(&mut self.requests)
    }

    /// Processes the requests in the buffer until the limit of pending replies is reached.
    pub(crate) fn process(&mut self, buffers: Buffers<'_>, state: &ServerState) -> YieldReason {
        let Buffers { input, replies, limit } = buffers;
        let mut store = state.store();
        store.watchers.set_connection(self.number);
        while replies.len() < limit {
            let step = match self.discard.take() {
                Some(discard) => self.discard(discard, input, replies),
                None => self.process_request(input, &mut store, state, replies),
            };
            match step {
                Step::Done => {}
                Step::Incomplete(length) => {
                    input.expect(length);
                    return YieldReason::NeedsInput;
                }
                Step::Close => return YieldReason::Close,
            }
        }
        YieldReason::OutputFull
    }

    fn process_request(
        &mut self,
        input: &mut RequestBuffer,
        store: &mut Store,
        state: &ServerState,
        replies: &mut ReplyBuffer,
    ) -> Step {
        if input.as_slice().first().is_some_and(|byte| *byte != Magic::Request.byte()) {
            return Step::Close;
        }
        if self.sasl.is_authenticated()
            && let Some(reply) = cluster_config::reply(input.as_slice(), state)
        {
            return self.reply_cluster_config(reply, input, replies);
        }
        let parsed = request::parse(input.as_slice(), self.sasl, &state.settings.limits);
        let length = match parsed {
            Err(length) => return Step::Incomplete(length),
            Ok(Parsed::Request(request)) if input.should_take(request.length) => request.length,
            Ok(Parsed::Request(request)) => {
                let (step, length) = (self.execute(&request, store, state, replies), request.length);
                input.skip(length);
                return step;
            }
            Ok(Parsed::Rejected(rejection)) => {
                let (discard, consumed) = reject(rejection, store);
                self.requests += 1;
                input.skip(consumed);
                return self.discard(discard, input, replies);
            }
        };
        // Take the memory of a large request, so that its value can be stored without a copy.
        let packet = input.take(length);
        let Ok(Parsed::Request(mut request)) = request::parse(&packet, self.sasl, &state.settings.limits) else {
            return Step::Close;
        };
        request.value = CowBytes::Shared(packet.slice_ref(request.value.as_slice()));
        self.execute(&request, store, state, replies)
    }

    fn reply_cluster_config(
        &mut self,
        reply: Result<(Packet, usize), usize>,
        input: &mut RequestBuffer,
        replies: &mut ReplyBuffer,
    ) -> Step {
        let (packet, length) = match reply {
            Ok(reply) => reply,
            Err(length) => return Step::Incomplete(length),
        };
        self.requests += 1;
        input.skip(length);
        replies.push_packet(&packet);
        Step::Done
    }

    /// Discards the bytes that have arrived. Replies once all of them have.
    fn discard(&mut self, mut discard: BinaryDiscard, input: &mut RequestBuffer, replies: &mut ReplyBuffer) -> Step {
        let available = usize::try_from(discard.remaining).unwrap_or(usize::MAX).min(input.len());
        input.skip(available);
        discard.remaining -= available as u64;
        if discard.remaining > 0 {
            self.discard = Some(discard);
            return Step::Incomplete(0);
        }
        let PendingReply { opcode, opaque, reply, close } = discard.reply;
        replies.push_binary(&with_key_or_text(reply, opcode, &[]), opcode, opaque);
        if close { Step::Close } else { Step::Done }
    }

    fn execute(
        &mut self,
        request: &BinaryRequest<'_>,
        store: &mut Store,
        state: &ServerState,
        replies: &mut ReplyBuffer,
    ) -> Step {
        self.requests += 1;
        let reply = match request.operation {
            Operation::Stat => return reply_stats(request, store, state, replies),
            Operation::SaslList => self.sasl.list(),
            Operation::SaslAuth | Operation::SaslStep => self.authenticate(request, state),
            Operation::Version => Reply::with_text(Status::NoError, state.settings.version.text().to_owned()),
            _ => apply(request, store),
        };
        push_reply(request, reply, replies);
        if request.operation == Operation::Quit { Step::Close } else { Step::Done }
    }

    fn authenticate(&mut self, request: &BinaryRequest<'_>, state: &ServerState) -> Reply {
        let users = &state.settings.sasl_users;
        let reply = match request.operation {
            Operation::SaslAuth => self.sasl.start(request.key, request.value.as_slice(), users),
            _ => self.sasl.step(request.value.as_slice(), users),
        };
        add(&state.traffic.auth_attempts, 1);
        add(&state.traffic.auth_failures, usize::from(reply.status == Status::AuthError));
        reply
    }
}

/// Returns the bytes to discard for a rejected request, with its reply, and the number of bytes that it consumes
/// itself.
fn reject(rejection: Rejection<'_>, store: &mut Store) -> (BinaryDiscard, usize) {
    let Rejection { opcode, opaque, status, mode, key, consumed, skipped, close } = rejection;
    let reply = match status {
        Status::ValueTooLarge | Status::OutOfMemory => store.refuse(mode, key, status),
        _ => Reply::new(status),
    };
    (BinaryDiscard { remaining: skipped, reply: PendingReply { opcode, opaque, reply, close } }, consumed)
}

/// Executes a request on the store.
fn apply(request: &BinaryRequest<'_>, store: &mut Store) -> Reply {
    let &BinaryRequest { operation, cas, mut extras, key, ref value, .. } = request;
    let now = store.now();
    // The lengths of the extras have been checked, so the defaults are never used.
    let expiry = |extras: &mut &[u8]| Expiry::from_binary(extras.try_get_u32().unwrap_or_default(), now);
    match operation {
        Operation::Get => store.get(key),
        Operation::GetAndTouch => store.get_and_touch(key, expiry(&mut extras)),
        Operation::Touch => store.touch(key, expiry(&mut extras)),
        Operation::Set | Operation::Add | Operation::Replace => {
            let flags = extras.try_get_u32().unwrap_or_default();
            let expiry = expiry(&mut extras);
            // A CAS value turns any of the three into a compare-and-swap (`docs/protocol.md` of remcache 1.3).
            let mode = match request::mode(operation) {
                Some(mode) if cas == 0 || !store.limits().cas => mode,
                _ => Mode::Cas,
            };
            let item = NewItem { key, value: value.clone(), flags, expiry, state: ItemState::default() };
            store.store(mode, item, cas)
        }
        Operation::Append => store.extend(Extension::Append, key, value.as_slice(), cas),
        Operation::Prepend => store.extend(Extension::Prepend, key, value.as_slice(), cas),
        Operation::Delete => store.delete(key, cas),
        Operation::Increment => store.arithmetic(key, arithmetic(Direction::Increment, extras, now), cas),
        Operation::Decrement => store.arithmetic(key, arithmetic(Direction::Decrement, extras, now), cas),
        Operation::Flush => store.flush(expiry(&mut extras)),
        _ => Reply::new(Status::NoError),
    }
}

fn arithmetic(direction: Direction, mut extras: &[u8], now: u64) -> Arithmetic {
    let delta = extras.try_get_u64().unwrap_or_default();
    let initial = extras.try_get_u64().unwrap_or_default();
    let seconds = extras.try_get_u32().unwrap_or(DO_NOT_CREATE);
    let expiry = Expiry::from_binary(seconds, now);
    Arithmetic { direction, delta, initial: (seconds != DO_NOT_CREATE).then_some((initial, expiry)) }
}

/// The expiration in an increment or decrement that must not create an absent counter.
const DO_NOT_CREATE: u32 = u32::MAX;

fn push_reply(request: &BinaryRequest<'_>, reply: Reply, replies: &mut ReplyBuffer) {
    if !is_suppressed(request, reply.status) {
        replies.push_binary(&with_key_or_text(reply, request.opcode, request.key), request.opcode, request.opaque);
    }
}

/// Returns whether a quiet request gets no reply: quiet fetches are silent on a miss, other quiet requests on success.
fn is_suppressed(request: &BinaryRequest<'_>, status: Status) -> bool {
    let expected = if request.operation.is_fetch() { Status::KeyNotFound } else { Status::NoError };
    request.opcode.is_quiet() && status == expected
}

fn reply_stats(request: &BinaryRequest<'_>, store: &mut Store, state: &ServerState, replies: &mut ReplyBuffer) -> Step {
    let Some(stats) = stats::group(request.key, store, state) else {
        push_reply(request, Reply::new(Status::KeyNotFound), replies);
        return Step::Done;
    };
    for (name, value) in stats {
        let mut reply = Reply::with_text(Status::NoError, value);
        reply.key = name.into();
        replies.push_binary(&reply, request.opcode, request.opaque);
    }
    replies.push_binary(&Reply::new(Status::NoError), request.opcode, request.opaque);
    Step::Done
}

/// Adds the key if the opcode asks for it, or the text of an error.
fn with_key_or_text(mut reply: Reply, opcode: Opcode, key: &[u8]) -> Reply {
    let with_key = opcode.returns_key();
    match reply.status {
        Status::NoError | Status::KeyNotFound if with_key => reply.key = Bytes::copy_from_slice(key),
        Status::NoError => {}
        status => reply.value = Bytes::from_static(error_text(status, opcode).as_bytes()),
    }
    reply
}

/// Returns memcached's text for an error.
fn error_text(status: Status, opcode: Opcode) -> &'static str {
    let is_arithmetic = matches!(opcode.operation(), Some(Operation::Increment | Operation::Decrement));
    match status {
        Status::KeyNotFound => "Not found",
        Status::KeyExists => "Data exists for key.",
        Status::ValueTooLarge => "Too large.",
        Status::InvalidArguments => "Invalid arguments",
        Status::ItemNotStored => "Not stored.",
        Status::NonNumericValue => "Non-numeric server-side value for incr or decr",
        Status::AuthError => "Auth failure.",
        Status::UnknownCommand => "Unknown command",
        Status::OutOfMemory if is_arithmetic => "Out of memory allocating new item",
        Status::OutOfMemory => "Out of memory allocating item",
        // A SASL challenge. PLAIN sends an empty one.
        _ => "",
    }
}
