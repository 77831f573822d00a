//! The meta commands.

use bytes::Bytes;
use remcache_proto::meta::server::{Answer, BAD_COUNT_MODE, Command, LONG_OPAQUE, Operation, is_long_opaque};
use remcache_proto::{CowBytes, Feature, Reply, Status};

use super::{NO_MEMORY, TOO_LARGE};
use crate::counter::Direction;
use crate::expiry::Expiry;
use crate::replies::Replies;
use crate::store::{Count, Deleted, End, Fate, Item, Marks, Mode, NewItem, Store};
use crate::version::{Novelty, Version};

const NOT_NUMERIC: &str = "CLIENT_ERROR cannot increment or decrement non-numeric value";
const NO_MEMORY_FOR_COUNTER: &str = "SERVER_ERROR Out of memory allocating new item";

/// What is answered: a line, with the value behind it if there is one. Nothing where the outcome
/// is the usual one of a quiet command; an error is told in any case.
type Outcome = Result<Option<(Answer, Option<Bytes>)>, &'static str>;

/// Executes a command; whether it was a no-op.
pub(super) fn execute(
    command: &Command<'_>,
    value: Option<CowBytes<'_>>,
    version: &Version,
    store: &mut Store,
    replies: &mut Replies,
) -> bool {
    let outcome = match command.operation {
        Operation::NoOp => Ok(Some((Answer::code("MN"), None))),
        Operation::Get => get(command, version, store),
        Operation::Set { .. } => set(command, value, version, store),
        Operation::Delete => delete(command, store),
        Operation::Arithmetic => count(command, version, store),
        Operation::Debug => debug(command, version, store),
    };
    match outcome {
        Ok(None) => {}
        Ok(Some((answer, value))) => {
            replies.put(&answer.into_line());
            if let Some(value) = value {
                replies.put_value(value);
                replies.put(b"\r\n");
            }
            replies.end_reply();
        }
        Err(text) => replies.push_line(text),
    }
    command.operation == Operation::NoOp
}

fn get(command: &Command<'_>, version: &Version, store: &mut Store) -> Outcome {
    let (terms, key) = (&command.terms, &command.key[..]);
    let now = store.now();
    let [ttl, vivify, recache] =
        [terms.ttl, terms.vivify, terms.recache].map(|time| time.map(|time| store.expiry(time)));
    let found = store.find(key).is_some();
    store.count_meta_get(ttl.is_some(), found);
    let item = match (found, vivify) {
        (true, _) => store.item(key),
        (false, Some(_)) => store.vivify(key),
        (false, None) => None,
    };
    let Some(item) = item else { return missed(command) };
    if !terms.looks_first && !terms.no_bump {
        item.bump(now);
    }
    if let (false, Some(cas)) = (found, terms.chosen_cas) {
        item.cas = cas;
    }
    let is_known = version.dialect().has(Feature::UnlessCas) && terms.cas == Some(item.cas);
    let with_value = terms.value && !is_known;
    let mut answer = if with_value { Answer::value(item.value.len()) } else { Answer::code("HD") };
    let mut wins = !found;
    for (flag, token) in command.flags() {
        match flag {
            b'T' => item.expiry = ttl.unwrap_or(item.expiry),
            b'N' if !found => item.expiry = vivify.unwrap_or(item.expiry),
            b'R' => wins |= found && !item.marks.won && is_before(item.expiry, recache),
            b'O' if is_long_opaque(token) => return Err(LONG_OPAQUE),
            b'O' => answer.token(b'O', token),
            b'k' => answer.key(key, item.marks.base64),
            _ => put_fact(&mut answer, flag, item, now),
        }
    }
    put_state(&mut answer, item, wins);
    if terms.looks_first && !terms.no_bump {
        item.bump(now);
    }
    Ok(Some((answer, with_value.then(|| item.value.clone()))))
}

/// Whether an item ends before that time; one that never ends does not.
fn is_before(expiry: Expiry, other: Option<Expiry>) -> bool {
    let ends = (expiry.at(), other.and_then(Expiry::at));
    matches!(ends, (Some(at), Some(other)) if at < other)
}

fn missed(command: &Command<'_>) -> Outcome {
    let mut answer = Answer::code("EN");
    reflect(command, &mut answer)?;
    Ok((!command.terms.quiet).then_some((answer, None)))
}

/// What a flag asks about an item.
fn put_fact(answer: &mut Answer, flag: u8, item: &Item, now: u64) {
    match flag {
        b't' => put_time_left(answer, item.expiry, now),
        b's' => answer.number(b's', item.value.len() as u64),
        b'c' => answer.number(b'c', item.cas),
        b'f' => answer.number(b'f', item.flags.into()),
        b'h' => answer.number(b'h', item.marks.fetched.into()),
        b'l' => answer.number(b'l', now.saturating_sub(item.used_at)),
        _ => {}
    }
}

fn put_time_left(answer: &mut Answer, expiry: Expiry, now: u64) {
    match expiry.at() {
        None => answer.token(b't', b"-1"),
        Some(_) => answer.number(b't', expiry.left(now).into()),
    }
}

/// Tells who renews the item: whoever wins, and nobody else until it was stored.
fn put_state(answer: &mut Answer, item: &mut Item, mut wins: bool) {
    if item.marks.won {
        answer.flag(b'Z');
    }
    if item.marks.stale {
        answer.flag(b'X');
        wins |= !item.marks.won;
    }
    if wins {
        answer.flag(b'W');
        item.marks.won = true;
    }
}

/// The opaque and the key as they were given, in their order.
fn reflect(command: &Command<'_>, answer: &mut Answer) -> Result<(), &'static str> {
    for (flag, token) in command.flags() {
        match flag {
            b'O' if is_long_opaque(token) => return Err(LONG_OPAQUE),
            b'O' => answer.token(b'O', token),
            b'k' => answer.key(&command.key, command.terms.base64),
            _ => {}
        }
    }
    Ok(())
}

fn set(command: &Command<'_>, value: Option<CowBytes<'_>>, version: &Version, store: &mut Store) -> Outcome {
    let creates = version.dialect().has(Feature::VivifyingAppend);
    let mut reply = put(command, value.unwrap_or_else(|| CowBytes::from(&b""[..])), creates, store);
    if let (true, Some(cas), Some(item)) = (reply.is_ok(), command.terms.chosen_cas, store.item(&command.key)) {
        (item.cas, reply.cas) = (cas, cas);
    }
    let mut answer = match reply.status {
        Status::NoError if command.terms.quiet => return Ok(None),
        Status::NoError => Answer::code("HD"),
        Status::ValueTooLarge => return Err(TOO_LARGE),
        Status::OutOfMemory => {
            store.remove(&command.key);
            return Err(NO_MEMORY);
        }
        Status::KeyExists if !adds(command) => Answer::code("EX"),
        Status::KeyNotFound if command.terms.cas.is_some() => Answer::code("NF"),
        _ => Answer::code("NS"),
    };
    for (flag, token) in command.flags() {
        match flag {
            // Its length was checked before the value was read.
            b'O' => answer.token(b'O', token),
            b'k' => answer.key(&command.key, command.terms.base64),
            b'c' => answer.number(b'c', reply.cas),
            b's' if creates => {
                let length = store.item(&command.key).map_or(0, |item| item.value.len());
                answer.number(b's', length as u64);
            }
            _ => {}
        }
    }
    Ok(Some((answer, None)))
}

fn adds(command: &Command<'_>) -> bool {
    command.terms.mode == Some(b'E')
}

fn put(command: &Command<'_>, value: CowBytes<'_>, creates: bool, store: &mut Store) -> Reply {
    let (terms, key) = (&command.terms, &command.key[..]);
    let vivify = terms.vivify.filter(|_| creates);
    let mode = match (terms.mode, terms.cas) {
        (Some(b'A' | b'P'), None) if vivify.is_some() && store.find(key).is_none() => Mode::Set,
        (Some(b'A'), cas) => return store.extend(End::Back, key, value.as_slice(), cas.unwrap_or_default()),
        (Some(b'P'), cas) => return store.extend(End::Front, key, value.as_slice(), cas.unwrap_or_default()),
        (Some(b'E'), _) => Mode::Add,
        (_, Some(_)) if terms.stale => Mode::CasOrStale,
        (_, Some(_)) => Mode::Cas,
        (Some(b'R'), None) => Mode::Replace,
        _ => Mode::Set,
    };
    let extends = matches!(terms.mode, Some(b'A' | b'P'));
    let ttl = if extends { vivify } else { terms.ttl };
    let expiry = ttl.map_or(Expiry::NEVER, |ttl| store.expiry(ttl));
    let marks = Marks { base64: terms.base64, ..Marks::default() };
    let item = NewItem { key, value, flags: terms.client_flags, expiry, marks };
    store.store(mode, item, terms.cas.unwrap_or_default())
}

fn delete(command: &Command<'_>, store: &mut Store) -> Outcome {
    let terms = &command.terms;
    let mut reflected = Answer::code("");
    reflect(command, &mut reflected)?;
    let ttl = terms.ttl.map(|ttl| store.expiry(ttl));
    let fate = Fate { stale: terms.stale, empty: terms.drop_value, ttl, chosen_cas: terms.chosen_cas };
    let code = match store.meta_delete(&command.key, terms.cas, fate) {
        Deleted::Yes if terms.quiet => return Ok(None),
        Deleted::Yes => "HD",
        Deleted::OtherCas => "EX",
        Deleted::Absent => "NF",
    };
    let mut answer = Answer::code(code);
    reflect(command, &mut answer)?;
    Ok(Some((answer, None)))
}

fn count(command: &Command<'_>, version: &Version, store: &mut Store) -> Outcome {
    let (terms, key) = (&command.terms, &command.key[..]);
    let direction = match terms.mode {
        None | Some(b'I' | b'+') => Direction::Up,
        Some(b'D' | b'-') => Direction::Down,
        Some(_) => return Err(BAD_COUNT_MODE),
    };
    let [ttl, vivify] = [terms.ttl, terms.vivify].map(|time| time.map(|time| store.expiry(time)));
    let length = store.item(key).map_or(0, |item| item.value.len());
    let created = vivify.is_some() && store.find(key).is_none();
    let initial = vivify.map(|_| (terms.initial.unwrap_or_default(), Expiry::NEVER));
    let count = Count { direction, delta: terms.delta.unwrap_or(1), initial };
    let reply = store.count(key, count, terms.cas.unwrap_or_default());
    let code = match reply.status {
        Status::NoError => {
            let made = if created { Made::New } else { Made::from_length(length, &reply) };
            if let (Some(cas), Some(item)) = (terms.chosen_cas, store.item(key)) {
                item.cas = cas;
            }
            // A counter that is made is told of even to the quiet, by older versions.
            let silent = terms.quiet && (made != Made::New || version.has(Novelty::QuietVivifying));
            let answer = counted(command, &reply, made, [ttl, vivify], store)?;
            return Ok(answer.filter(|_| !silent));
        }
        Status::NonNumericValue => return Err(NOT_NUMERIC),
        Status::OutOfMemory | Status::ValueTooLarge => return Err(NO_MEMORY_FOR_COUNTER),
        Status::KeyExists => "EX",
        _ => "NF",
    };
    let mut answer = Answer::code(code);
    reflect(command, &mut answer)?;
    Ok(Some((answer, None)))
}

/// How a counter's new number came to be stored.
#[derive(Clone, Copy, PartialEq)]
enum Made {
    /// There was none.
    New,
    /// In the old one's place.
    InPlace,
    /// As a new item, since it is longer; memcached looks at the old one still.
    Longer,
}

impl Made {
    fn from_length(length: usize, reply: &Reply) -> Self {
        let digits = reply.number.unwrap_or_default().to_string().len();
        if digits > length { Self::Longer } else { Self::InPlace }
    }
}

fn counted(
    command: &Command<'_>,
    reply: &Reply,
    made: Made,
    [ttl, vivify]: [Option<Expiry>; 2],
    store: &mut Store,
) -> Outcome {
    let terms = &command.terms;
    let number = reply.number.unwrap_or_default().to_string();
    let mut answer = if terms.value { Answer::value(number.len()) } else { Answer::code("HD") };
    let now = store.now();
    let Some(item) = store.item(&command.key) else { return missed(command) };
    let kept = item.expiry;
    for (flag, token) in command.flags() {
        match flag {
            b'c' | b't' => put_fact(&mut answer, flag, item, now),
            b'T' => item.expiry = ttl.unwrap_or(item.expiry),
            b'N' if made == Made::New => item.expiry = vivify.unwrap_or(item.expiry),
            b'O' if is_long_opaque(token) => return Err(LONG_OPAQUE),
            b'O' => answer.token(b'O', token),
            b'k' => answer.key(&command.key, terms.base64),
            _ => {}
        }
    }
    if made == Made::Longer {
        // A new time to live is told, and lost.
        item.expiry = kept;
    }
    Ok(Some((answer, terms.value.then(|| number.into()))))
}

fn debug(command: &Command<'_>, version: &Version, store: &mut Store) -> Outcome {
    store.counts.metas += 1;
    // A fetch as any other to whoever watches.
    let _ = store.find(&command.key);
    let now = store.now();
    let Some(listed) = store.inspect(&command.key) else { return Ok(Some((Answer::code("EN"), None))) };
    let item = listed.item;
    let mut answer = Answer::code("ME ");
    answer.bare_key(&command.key, item.marks.base64);
    let signed = |second: u64| i64::try_from(second).unwrap_or(i64::MAX);
    let sign = if version.has(Novelty::DebugWithSign) { -1 } else { 1 };
    let exp = item.expiry.at().map_or(-1, |at| sign * (signed(now) - signed(at)));
    let (unused, cas, size, class) = (now.saturating_sub(item.used_at), item.cas, listed.size, listed.class);
    let fetched = if item.marks.fetched { "yes" } else { "no" };
    answer.text(&format!(" exp={exp} la={unused} cas={cas} fetch={fetched} cls={class} size={size}"));
    Ok(Some((answer, None)))
}
