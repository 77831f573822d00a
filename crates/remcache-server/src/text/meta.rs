//! The meta commands.

use bytes::Bytes;
use remcache_proto::meta::server::{
    BAD_COUNT_MODE, LONG_OPAQUE, MetaCommand, MetaOperation, ReplyLine, is_long_opaque,
};
use remcache_proto::{CowBytes, Feature, Reply, Status};

use super::messages::{NO_MEMORY, NOT_NUMERIC, TOO_LARGE};
use crate::arithmetic::Direction;
use crate::expiry::Expiry;
use crate::reply_buffer::ReplyBuffer;
use crate::store::{Arithmetic, DeleteOptions, DeleteResult, Extension, Item, ItemState, Mode, NewItem, Store};
use crate::version::{Behaviour, Version};

const NO_MEMORY_FOR_COUNTER: &str = "SERVER_ERROR Out of memory allocating new item";

/// The reply to a meta command: a line with an optional value. `None` if the command is quiet and its result is the one
/// that the quiet flag suppresses. An error line is always sent.
type MetaResult = Result<Option<(ReplyLine, Option<Bytes>)>, &'static str>;

/// Executes a command. Returns whether it was a no-op.
pub(super) fn execute(
    command: &MetaCommand<'_>,
    value: Option<CowBytes<'_>>,
    version: &Version,
    store: &mut Store,
    replies: &mut ReplyBuffer,
) -> bool {
    let result = match command.operation {
        MetaOperation::NoOp => Ok(Some((ReplyLine::code("MN"), None))),
        MetaOperation::Get => get(command, version, store),
        MetaOperation::Set { .. } => set(command, value, version, store),
        MetaOperation::Delete => delete(command, store),
        MetaOperation::Arithmetic => arithmetic(command, version, store),
        MetaOperation::Debug => debug(command, version, store),
    };
    match result {
        Ok(None) => {}
        Ok(Some((answer, value))) => {
            replies.put(&answer.into_line());
            if let Some(value) = value {
                replies.put_value(value);
                replies.put(b"\r\n");
            }
            replies.end_reply();
        }
        Err(line) => replies.push_line(line),
    }
    command.operation == MetaOperation::NoOp
}

fn get(command: &MetaCommand<'_>, version: &Version, store: &mut Store) -> MetaResult {
    let (options, key) = (&command.options, &command.key[..]);
    let now = store.now();
    let [ttl, vivify, recache] =
        [options.ttl, options.vivify, options.recache].map(|time| time.map(|time| store.expiry_from_text(time)));
    let found = store.find(key).is_some();
    store.count_meta_get(ttl.is_some(), found);
    let item = match (found, vivify) {
        (true, _) => store.item(key),
        (false, Some(_)) => store.autovivify(key),
        (false, None) => None,
    };
    let Some(item) = item else { return miss(command) };
    // Flags that report the last use must see the item before the bump.
    if !options.reads_metadata_first && !options.no_bump {
        item.bump(now);
    }
    if let (false, Some(cas)) = (found, options.new_cas) {
        item.cas = cas;
    }
    let is_unchanged = version.has_feature(Feature::OmitValueIfCas) && options.cas == Some(item.cas);
    let with_value = options.value && !is_unchanged;
    let mut answer = if with_value { ReplyLine::value(item.value.len()) } else { ReplyLine::code("HD") };
    let mut wins = !found;
    for (flag, token) in command.flags() {
        match flag {
            b'T' => item.expiry = ttl.unwrap_or(item.expiry),
            b'N' if !found => item.expiry = vivify.unwrap_or(item.expiry),
            b'R' => wins |= found && !item.state.win_sent && expires_before(item.expiry, recache),
            b'O' if is_long_opaque(token) => return Err(LONG_OPAQUE),
            b'O' => answer.token(b'O', token),
            b'k' => answer.key(key, item.state.base64_key),
            _ => push_item_flag(&mut answer, flag, item, now),
        }
    }
    push_recache_flags(&mut answer, item, wins);
    if options.reads_metadata_first && !options.no_bump {
        item.bump(now);
    }
    Ok(Some((answer, with_value.then(|| item.value.clone()))))
}

/// Returns whether an item expires before a time. One that never expires does not.
fn expires_before(expiry: Expiry, threshold: Option<Expiry>) -> bool {
    let times = (expiry.at(), threshold.and_then(Expiry::at));
    matches!(times, (Some(at), Some(threshold)) if at < threshold)
}

fn miss(command: &MetaCommand<'_>) -> MetaResult {
    let mut answer = ReplyLine::code("EN");
    push_reflected_flags(command, &mut answer)?;
    Ok((!command.options.quiet).then_some((answer, None)))
}

/// Appends the flag that reports a property of the item.
fn push_item_flag(answer: &mut ReplyLine, flag: u8, item: &Item, now: u64) {
    match flag {
        b't' => push_remaining_ttl(answer, item.expiry, now),
        b's' => answer.number(b's', item.value.len() as u64),
        b'c' => answer.number(b'c', item.cas),
        b'f' => answer.number(b'f', item.flags.into()),
        b'h' => answer.number(b'h', item.state.fetched.into()),
        b'l' => answer.number(b'l', now.saturating_sub(item.used_at)),
        _ => {}
    }
}

fn push_remaining_ttl(answer: &mut ReplyLine, expiry: Expiry, now: u64) {
    match expiry.at() {
        None => answer.token(b't', b"-1"),
        Some(_) => answer.number(b't', expiry.remaining(now).into()),
    }
}

/// Appends the flags that coordinate recaching: W for the one client that wins, Z for all others, X for a stale item.
fn push_recache_flags(answer: &mut ReplyLine, item: &mut Item, mut wins: bool) {
    if item.state.win_sent {
        answer.flag(b'Z');
    }
    if item.state.stale {
        answer.flag(b'X');
        wins |= !item.state.win_sent;
    }
    if wins {
        answer.flag(b'W');
        item.state.win_sent = true;
    }
}

/// Appends the opaque and the key as the client sent them, in their order.
fn push_reflected_flags(command: &MetaCommand<'_>, answer: &mut ReplyLine) -> Result<(), &'static str> {
    for (flag, token) in command.flags() {
        match flag {
            b'O' if is_long_opaque(token) => return Err(LONG_OPAQUE),
            b'O' => answer.token(b'O', token),
            b'k' => answer.key(&command.key, command.options.base64),
            _ => {}
        }
    }
    Ok(())
}

fn set(command: &MetaCommand<'_>, value: Option<CowBytes<'_>>, version: &Version, store: &mut Store) -> MetaResult {
    let append_creates = version.has_feature(Feature::VivifyingAppend);
    let mut reply = store_value(command, value.unwrap_or_else(|| CowBytes::from(&b""[..])), append_creates, store);
    if let (true, Some(cas), Some(item)) = (reply.is_ok(), command.options.new_cas, store.item(&command.key)) {
        (item.cas, reply.cas) = (cas, cas);
    }
    let is_add = command.options.mode == Some(b'E');
    let mut answer = match reply.status {
        Status::NoError if command.options.quiet => return Ok(None),
        Status::NoError => ReplyLine::code("HD"),
        Status::ValueTooLarge => return Err(TOO_LARGE),
        Status::OutOfMemory => {
            store.remove(&command.key);
            return Err(NO_MEMORY);
        }
        Status::KeyExists if !is_add => ReplyLine::code("EX"),
        Status::KeyNotFound if command.options.cas.is_some() => ReplyLine::code("NF"),
        _ => ReplyLine::code("NS"),
    };
    for (flag, token) in command.flags() {
        match flag {
            // The parser has checked the length.
            b'O' => answer.token(b'O', token),
            b'k' => answer.key(&command.key, command.options.base64),
            b'c' => answer.number(b'c', reply.cas),
            // `s` came with the same version.
            b's' if append_creates => {
                let length = store.item(&command.key).map_or(0, |item| item.value.len());
                answer.number(b's', length as u64);
            }
            _ => {}
        }
    }
    Ok(Some((answer, None)))
}

fn store_value(command: &MetaCommand<'_>, value: CowBytes<'_>, append_creates: bool, store: &mut Store) -> Reply {
    let (options, key) = (&command.options, &command.key[..]);
    let vivify = options.vivify.filter(|_| append_creates);
    let cas = options.cas.unwrap_or_default();
    let mode = match (options.mode, options.cas) {
        (Some(b'A' | b'P'), None) if vivify.is_some() && store.find(key).is_none() => Mode::Set,
        (Some(b'A'), _) => return store.extend(Extension::Append, key, value.as_slice(), cas),
        (Some(b'P'), _) => return store.extend(Extension::Prepend, key, value.as_slice(), cas),
        (Some(b'E'), _) => Mode::Add,
        (_, Some(_)) if options.stale => Mode::CasOrStale,
        (_, Some(_)) => Mode::Cas,
        (Some(b'R'), None) => Mode::Replace,
        _ => Mode::Set,
    };
    let is_extension = matches!(options.mode, Some(b'A' | b'P'));
    let ttl = if is_extension { vivify } else { options.ttl };
    let expiry = ttl.map_or(Expiry::NEVER, |ttl| store.expiry_from_text(ttl));
    let state = ItemState { base64_key: options.base64, ..ItemState::default() };
    let item = NewItem { key, value, flags: options.client_flags, expiry, state };
    store.store(mode, item, cas)
}

fn delete(command: &MetaCommand<'_>, store: &mut Store) -> MetaResult {
    let options = &command.options;
    // An opaque that is too long must be refused before anything is deleted.
    push_reflected_flags(command, &mut ReplyLine::code(""))?;
    let expiry = options.ttl.map(|ttl| store.expiry_from_text(ttl));
    let delete = DeleteOptions {
        invalidate: options.stale,
        remove_value: options.remove_value,
        expiry,
        new_cas: options.new_cas,
    };
    let code = match store.meta_delete(&command.key, options.cas, delete) {
        DeleteResult::Done if options.quiet => return Ok(None),
        DeleteResult::Done => "HD",
        DeleteResult::CasMismatch => "EX",
        DeleteResult::NotFound => "NF",
    };
    let mut answer = ReplyLine::code(code);
    push_reflected_flags(command, &mut answer)?;
    Ok(Some((answer, None)))
}

fn arithmetic(command: &MetaCommand<'_>, version: &Version, store: &mut Store) -> MetaResult {
    let (options, key) = (&command.options, &command.key[..]);
    let direction = match options.mode {
        None | Some(b'I' | b'+') => Direction::Increment,
        Some(b'D' | b'-') => Direction::Decrement,
        Some(_) => return Err(BAD_COUNT_MODE),
    };
    let [ttl, vivify] = [options.ttl, options.vivify].map(|time| time.map(|time| store.expiry_from_text(time)));
    let old_len = store.item(key).map_or(0, |item| item.value.len());
    let is_new = vivify.is_some() && store.find(key).is_none();
    let initial = vivify.map(|_| (options.initial.unwrap_or_default(), Expiry::NEVER));
    let operation = Arithmetic { direction, delta: options.delta.unwrap_or(1), initial };
    let reply = store.arithmetic(key, operation, options.cas.unwrap_or_default());
    let code = match reply.status {
        Status::NoError => {
            let update = if is_new { CounterUpdate::Created } else { CounterUpdate::new(old_len, &reply) };
            if let (Some(cas), Some(item)) = (options.new_cas, store.item(key)) {
                item.cas = cas;
            }
            // Older versions answer even a quiet command that creates the counter.
            let is_suppressed = options.quiet && (!is_new || version.has(Behaviour::QuietAutovivify));
            let answer = arithmetic_answer(command, &reply, update, [ttl, vivify], store)?;
            return Ok(answer.filter(|_| !is_suppressed));
        }
        Status::NonNumericValue => return Err(NOT_NUMERIC),
        Status::OutOfMemory | Status::ValueTooLarge => return Err(NO_MEMORY_FOR_COUNTER),
        Status::KeyExists => "EX",
        _ => "NF",
    };
    let mut answer = ReplyLine::code(code);
    push_reflected_flags(command, &mut answer)?;
    Ok(Some((answer, None)))
}

/// The way in which memcached stores the new number of a counter.
#[derive(Clone, Copy, PartialEq)]
enum CounterUpdate {
    Created,
    /// The number was written over the old one.
    InPlace,
    /// The number has more digits, so it was stored as a new item. memcached still reads the flags of the old one.
    Reallocated,
}

impl CounterUpdate {
    fn new(old_len: usize, reply: &Reply) -> Self {
        let digits = reply.number.unwrap_or_default().to_string().len();
        if digits > old_len { Self::Reallocated } else { Self::InPlace }
    }
}

fn arithmetic_answer(
    command: &MetaCommand<'_>,
    reply: &Reply,
    update: CounterUpdate,
    [ttl, vivify]: [Option<Expiry>; 2],
    store: &mut Store,
) -> MetaResult {
    let options = &command.options;
    let number = reply.number.unwrap_or_default().to_string();
    let mut answer = if options.value { ReplyLine::value(number.len()) } else { ReplyLine::code("HD") };
    let now = store.now();
    let Some(item) = store.item(&command.key) else { return miss(command) };
    let old_expiry = item.expiry;
    for (flag, token) in command.flags() {
        match flag {
            b'c' | b't' => push_item_flag(&mut answer, flag, item, now),
            b'T' => item.expiry = ttl.unwrap_or(item.expiry),
            b'N' if update == CounterUpdate::Created => item.expiry = vivify.unwrap_or(item.expiry),
            b'O' if is_long_opaque(token) => return Err(LONG_OPAQUE),
            b'O' => answer.token(b'O', token),
            b'k' => answer.key(&command.key, options.base64),
            _ => {}
        }
    }
    if update == CounterUpdate::Reallocated {
        // memcached sets the new TTL on the old item: it is reported but lost.
        item.expiry = old_expiry;
    }
    Ok(Some((answer, options.value.then(|| number.into()))))
}

fn debug(command: &MetaCommand<'_>, version: &Version, store: &mut Store) -> MetaResult {
    store.counters.metas += 1;
    // Logs the fetch for watchers.
    let _ = store.find(&command.key);
    let now = store.now();
    let Some(entry) = store.inspect(&command.key) else { return Ok(Some((ReplyLine::code("EN"), None))) };
    let item = entry.item;
    let mut answer = ReplyLine::code("ME ");
    answer.bare_key(&command.key, item.state.base64_key);
    let signed = |second: u64| i64::try_from(second).unwrap_or(i64::MAX);
    let sign = if version.has(Behaviour::SignedDebugExpiry) { -1 } else { 1 };
    let exp = item.expiry.at().map_or(-1, |at| sign * (signed(now) - signed(at)));
    let (idle, cas, size, class) = (now.saturating_sub(item.used_at), item.cas, entry.size, entry.class);
    let fetched = if item.state.fetched { "yes" } else { "no" };
    answer.text(&format!(" exp={exp} la={idle} cas={cas} fetch={fetched} cls={class} size={size}"));
    Ok(Some((answer, None)))
}
