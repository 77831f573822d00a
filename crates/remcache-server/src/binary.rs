//! The binary wire as a server speaks it: bytes in, operations on the store, replies out.

mod config;
mod request;

use bytes::{Buf, Bytes};
use remcache_proto::binary::{Magic, Opcode, Packet};
use remcache_proto::{CowBytes, Operation, Reply, Status};

use crate::conversation::{Pause, Turn};
use crate::counter::Direction;
use crate::expiry::Expiry;
use crate::input::Input;
use crate::login::Login;
use crate::replies::Replies;
use crate::state::{State, add};
use crate::stats;
use crate::store::{Count, End, Marks, Mode, NewItem, Store};

use request::{Call, Checked, Refusal};

/// One connection's conversation on the binary wire.
#[derive(Debug)]
pub(crate) struct Conversation {
    login: Login,
    /// The connection's number.
    number: u64,
    /// Bytes that are thrown away before anything is read as a request.
    skipping: Option<Skipping>,
    /// How many requests were executed or refused.
    pub(crate) requests: usize,
}

/// Bytes that are thrown away, and what is answered afterwards.
#[derive(Debug)]
struct Skipping {
    left: u64,
    answer: Answer,
}

#[derive(Debug)]
struct Answer {
    opcode: Opcode,
    opaque: u32,
    reply: Reply,
    closes: bool,
}

impl Conversation {
    pub(crate) fn new(state: &State, number: u64) -> Self {
        Self { login: Login::new(&state.settings.users), number, skipping: None, requests: 0 }
    }

    /// Answers what the input holds, until there are about `limit` bytes of replies.
    pub(crate) fn go_on(&mut self, input: &mut Input, state: &State, replies: &mut Replies, limit: usize) -> Pause {
        let mut store = state.store();
        store.watchers.set_speaker(self.number);
        while replies.len() < limit {
            let turn = match self.skipping.take() {
                Some(skipping) => self.skip(skipping, input, replies),
                None => self.turn(input, &mut store, state, replies),
            };
            match turn {
                Turn::Done => {}
                Turn::Incomplete(length) => {
                    input.want(length);
                    return Pause::NeedsInput;
                }
                Turn::Closed => return Pause::Closed,
            }
        }
        Pause::Full
    }

    fn turn(&mut self, input: &mut Input, store: &mut Store, state: &State, replies: &mut Replies) -> Turn {
        if input.as_slice().first().is_some_and(|byte| *byte != Magic::Request.byte()) {
            return Turn::Closed;
        }
        if self.login.is_complete()
            && let Some(asked) = config::answer(input.as_slice(), state)
        {
            return self.tell_config(asked, input, replies);
        }
        let checked = request::check(input.as_slice(), self.login, &state.settings.limits);
        let length = match checked {
            Err(length) => return Turn::Incomplete(length),
            Ok(Checked::Call(call)) if input.is_worth_taking(call.length) => call.length,
            Ok(Checked::Call(call)) => {
                let (turn, length) = (self.execute(&call, store, state, replies), call.length);
                input.skip(length);
                return turn;
            }
            Ok(Checked::Refused(refusal)) => {
                let (skipping, consumed) = refuse(refusal, store);
                self.requests += 1;
                input.skip(consumed);
                return self.skip(skipping, input, replies);
            }
        };
        // The memory that holds a large request becomes its value's.
        let whole = input.take(length);
        let Ok(Checked::Call(mut call)) = request::check(&whole, self.login, &state.settings.limits) else {
            return Turn::Closed;
        };
        call.value = CowBytes::Shared(whole.slice_ref(call.value.as_slice()));
        self.execute(&call, store, state, replies)
    }

    fn tell_config(&mut self, asked: Result<(Packet, usize), usize>, input: &mut Input, replies: &mut Replies) -> Turn {
        let (reply, length) = match asked {
            Ok(told) => told,
            Err(length) => return Turn::Incomplete(length),
        };
        self.requests += 1;
        input.skip(length);
        replies.push_packet(&reply);
        Turn::Done
    }

    /// Throws away what is there of the bytes to skip, and answers once all of them were.
    fn skip(&mut self, mut skipping: Skipping, input: &mut Input, replies: &mut Replies) -> Turn {
        let there = usize::try_from(skipping.left).unwrap_or(usize::MAX).min(input.len());
        input.skip(there);
        skipping.left -= there as u64;
        if skipping.left > 0 {
            self.skipping = Some(skipping);
            return Turn::Incomplete(0);
        }
        let Answer { opcode, opaque, reply, closes } = skipping.answer;
        replies.push_binary(&worded(reply, opcode, &[]), opcode, opaque);
        if closes { Turn::Closed } else { Turn::Done }
    }

    fn execute(&mut self, call: &Call<'_>, store: &mut Store, state: &State, replies: &mut Replies) -> Turn {
        self.requests += 1;
        let reply = match call.operation {
            Operation::Stat => return answer_statistics(call, store, state, replies),
            Operation::SaslList => self.login.list(),
            Operation::SaslAuth | Operation::SaslStep => self.log_in(call, state),
            Operation::Version => Reply::with_text(Status::NoError, state.settings.version.text().to_owned()),
            _ => operate(call, store),
        };
        answer(call, reply, replies);
        if call.operation == Operation::Quit { Turn::Closed } else { Turn::Done }
    }

    fn log_in(&mut self, call: &Call<'_>, state: &State) -> Reply {
        let users = &state.settings.users;
        let reply = match call.operation {
            Operation::SaslAuth => self.login.start(call.key, call.value.as_slice(), users),
            _ => self.login.step(call.value.as_slice(), users),
        };
        add(&state.traffic.logins, 1);
        add(&state.traffic.failed_logins, usize::from(reply.status == Status::AuthError));
        reply
    }
}

/// What is thrown away and answered for a request that is refused, and what it takes itself.
fn refuse(refusal: Refusal<'_>, store: &mut Store) -> (Skipping, usize) {
    let Refusal { opcode, opaque, status, mode, key, consumed, skipped, closes } = refusal;
    let reply = match status {
        Status::ValueTooLarge | Status::OutOfMemory => store.refuse(mode, key, status),
        _ => Reply::new(status),
    };
    (Skipping { left: skipped, answer: Answer { opcode, opaque, reply, closes } }, consumed)
}

/// What the store does for a request.
fn operate(call: &Call<'_>, store: &mut Store) -> Reply {
    let &Call { operation, cas, mut extras, key, ref value, .. } = call;
    let now = store.now();
    // The lengths of the extras were checked, so no number is missing.
    let expiry = |extras: &mut &[u8]| Expiry::from_wire(extras.try_get_u32().unwrap_or_default(), now);
    match operation {
        Operation::Get => store.get(key),
        Operation::GetAndTouch => store.get_and_touch(key, expiry(&mut extras)),
        Operation::Touch => store.touch(key, expiry(&mut extras)),
        Operation::Set | Operation::Add | Operation::Replace => {
            let flags = extras.try_get_u32().unwrap_or_default();
            let expiry = expiry(&mut extras);
            // With a CAS value exactly that item is needed, whatever the operation
            // (`docs/protocol.md` of remcache 1.3).
            let mode = match request::mode(operation) {
                Some(mode) if cas == 0 || !store.limits().cas => mode,
                _ => Mode::Cas,
            };
            let item = NewItem { key, value: value.clone(), flags, expiry, marks: Marks::default() };
            store.store(mode, item, cas)
        }
        Operation::Append => store.extend(End::Back, key, value.as_slice(), cas),
        Operation::Prepend => store.extend(End::Front, key, value.as_slice(), cas),
        Operation::Delete => store.delete(key, cas),
        Operation::Increment => store.count(key, count(Direction::Up, extras, now), cas),
        Operation::Decrement => store.count(key, count(Direction::Down, extras, now), cas),
        Operation::Flush => store.flush(expiry(&mut extras)),
        _ => Reply::new(Status::NoError),
    }
}

fn count(direction: Direction, mut extras: &[u8], now: u64) -> Count {
    let delta = extras.try_get_u64().unwrap_or_default();
    let initial = extras.try_get_u64().unwrap_or_default();
    let seconds = extras.try_get_u32().unwrap_or(DO_NOT_CREATE);
    let expiry = Expiry::from_wire(seconds, now);
    Count { direction, delta, initial: (seconds != DO_NOT_CREATE).then_some((initial, expiry)) }
}

/// The expiration of a counter's request that says that an absent counter stays absent.
const DO_NOT_CREATE: u32 = u32::MAX;

fn answer(call: &Call<'_>, reply: Reply, replies: &mut Replies) {
    if !is_silent(call, reply.status) {
        replies.push_binary(&worded(reply, call.opcode, call.key), call.opcode, call.opaque);
    }
}

/// Whether a quiet request is not answered.
fn is_silent(call: &Call<'_>, status: Status) -> bool {
    let usual = if call.operation.is_fetch() { Status::KeyNotFound } else { Status::NoError };
    call.opcode.is_quiet() && status == usual
}

fn answer_statistics(call: &Call<'_>, store: &mut Store, state: &State, replies: &mut Replies) -> Turn {
    let Some(statistics) = stats::of_group(call.key, store, state) else {
        answer(call, Reply::new(Status::KeyNotFound), replies);
        return Turn::Done;
    };
    for (name, value) in statistics {
        let mut reply = Reply::with_text(Status::NoError, value);
        reply.key = name.into();
        replies.push_binary(&reply, call.opcode, call.opaque);
    }
    replies.push_binary(&Reply::new(Status::NoError), call.opcode, call.opaque);
    Turn::Done
}

/// The reply as this wire puts it: with the key where it was asked for, with a text for errors.
fn worded(mut reply: Reply, opcode: Opcode, key: &[u8]) -> Reply {
    let with_key = opcode.returns_key();
    match reply.status {
        Status::NoError | Status::KeyNotFound if with_key => reply.key = Bytes::copy_from_slice(key),
        Status::NoError => {}
        status => reply.value = Bytes::from_static(text(status, opcode).as_bytes()),
    }
    reply
}

/// What memcached says about an error.
fn text(status: Status, opcode: Opcode) -> &'static str {
    let counts = matches!(opcode.operation(), Some(Operation::Increment | Operation::Decrement));
    match status {
        Status::KeyNotFound => "Not found",
        Status::KeyExists => "Data exists for key.",
        Status::ValueTooLarge => "Too large.",
        Status::InvalidArguments => "Invalid arguments",
        Status::ItemNotStored => "Not stored.",
        Status::NonNumericValue => "Non-numeric server-side value for incr or decr",
        Status::AuthError => "Auth failure.",
        Status::UnknownCommand => "Unknown command",
        Status::OutOfMemory if counts => "Out of memory allocating new item",
        Status::OutOfMemory => "Out of memory allocating item",
        // A challenge, which is empty for PLAIN.
        _ => "",
    }
}
