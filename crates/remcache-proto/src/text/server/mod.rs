//! The text protocol for servers: parses a line into a command, as memcached 1.6.18 or a newer version does.
//!
//! [`split_line`] splits a line off the input, [`parse`] parses it: classic commands, meta commands
//! ([`meta::server`](crate::meta::server)), and administrative ones, whose arguments are left to the server.
//! [`split_value`] splits off the data block of a storage command.
//!
//! ```
//! use remcache_proto::text::server::{self, Command};
//!
//! let input = b"set Hello 0 0 5\r\nWorld\r\n";
//! let (line, length) = server::split_line(input).unwrap();
//! let Ok(Command::Store(store)) = server::parse(line) else { panic!() };
//! assert_eq!((store.key, store.length), (&b"Hello"[..], 5));
//! assert_eq!(server::split_value(&input[length..], store.length), Some(Ok(&b"World"[..])));
//! ```

use crate::line::command::{MAX_LENGTH, MAX_WORDS};
use crate::meta::server as meta;
use crate::types::key::Key;
use crate::types::version::{Feature, ServerVersion};

pub use crate::line::command::{
    BAD_DATA, BAD_FORMAT, BAD_TTL, CommandError, LINE_END, UNKNOWN, Words, number, split_line,
};

/// A parsed command.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Command<'a> {
    /// `get`, `gets`, `gat`, `gats`.
    Get(Get<'a>),
    /// `set`, `add`, `replace`, `append`, `prepend`, `cas`; a data block follows.
    Store(Store<'a>),
    /// `incr`, `decr`.
    Arithmetic(Arithmetic<'a>),
    /// `touch`.
    Touch(Touch<'a>),
    /// `delete`.
    Delete(Delete<'a>),
    /// A meta command.
    Meta(meta::MetaCommand<'a>),
    /// `flush_all`.
    FlushAll(FlushAll),
    /// `version`.
    Version,
    /// `quit`.
    Quit,
    /// An administrative command: its name and its arguments.
    Admin(&'a [u8], Words<'a>),
}

/// A fetch of one or more keys.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Get<'a> {
    /// Whether CAS values are returned.
    pub with_cas: bool,
    /// The new TTL, unparsed.
    pub touch: Option<i32>,
    /// The keys, which are not checked for their length.
    pub keys: Words<'a>,
}

/// A storage command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Store<'a> {
    /// The kind of store.
    pub operation: StoreOperation,
    /// Its key.
    pub key: &'a [u8],
    /// The client's flags.
    pub flags: u32,
    /// The TTL, unparsed.
    pub ttl: i32,
    /// The length of the value in bytes.
    pub length: usize,
    /// The expected CAS value; 0 unless the command is `cas`.
    pub cas: u64,
    /// Whether it has `noreply`.
    pub quiet: bool,
}

/// The kinds of stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the protocol has no others")]
pub enum StoreOperation {
    /// Stores unconditionally.
    Set,
    /// Stores if the key does not exist.
    Add,
    /// Stores if the key exists.
    Replace,
    /// Appends to the existing value.
    Append,
    /// Prepends to the existing value.
    Prepend,
    /// Stores if the item has this CAS value.
    Cas,
}

/// A change of a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Arithmetic<'a> {
    /// Whether it is incremented.
    pub is_increment: bool,
    /// Its key.
    pub key: &'a [u8],
    /// The amount of the change.
    pub delta: u64,
    /// Whether it has `noreply`.
    pub quiet: bool,
}

/// A change of an item's TTL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Touch<'a> {
    /// The key.
    pub key: &'a [u8],
    /// The TTL, unparsed.
    pub ttl: i32,
    /// Whether it has `noreply`.
    pub quiet: bool,
}

/// A delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Delete<'a> {
    /// The key.
    pub key: &'a [u8],
    /// Whether nothing is answered.
    pub quiet: bool,
}

/// A flush of all items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FlushAll {
    /// The delay in seconds, unparsed; `None` if it was not a number.
    pub delay: Option<i32>,
    /// Whether it has `noreply`.
    pub quiet: bool,
}

const BAD_DELTA: &str = "CLIENT_ERROR invalid numeric delta argument";
const BAD_DELETE: &str = "CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]";
const ERROR: CommandError = CommandError::reply(UNKNOWN);

/// Parses a line as the oldest version with clean meta commands does.
///
/// # Errors
/// [`CommandError`] if the line is answered without being executed.
pub fn parse(line: &[u8]) -> Result<Command<'_>, CommandError> {
    parse_for_version(line, ServerVersion::default())
}

/// Parses a line as a server of this version does.
///
/// # Errors
/// [`CommandError`] if the line is answered without being executed.
pub fn parse_for_version(line: &[u8], server_version: ServerVersion) -> Result<Command<'_>, CommandError> {
    let strict = server_version.has(Feature::StrictLines);
    let all = Words::new(line);
    let mut words = all.clone();
    let malformed = if strict { CommandError::reply(BAD_FORMAT) } else { ERROR };
    let name = words.next().filter(|name| name.len() >= 2).ok_or(malformed)?;
    if strict && line.starts_with(b" ") {
        return Err(ERROR);
    }
    // memcached does not count further than this.
    let count = all.count_up_to(MAX_WORDS);
    let quiet = count > 1 && all.clone().nth(count.saturating_sub(1)) == Some(b"noreply");
    if let &[b'm', letter] = name {
        return meta::parse(letter, words, count, server_version).map(Command::Meta);
    }
    if let Some(operation) = operation(name) {
        let least = if operation == StoreOperation::Cas { 6 } else { 5 };
        if count < least {
            return Err(malformed);
        }
        at_most(least.saturating_add(1), count)?;
        let stored = store(operation, words, quiet).map(Command::Store);
        // Newer servers discard the value that follows, if its length is known.
        let length = all.clone().nth(4).filter(|_| strict).and_then(number::unsigned_32);
        return stored.map_err(|refusal| match (refusal, length) {
            (CommandError::Reply { text, quiet, .. }, Some(length)) => CommandError::with_value(text, quiet, length),
            _ => refusal,
        });
    }
    let at_least = |least| if count < least { Err(malformed) } else { Ok(()) };
    let in_range = |least, most| at_least(least).and_then(|()| at_most(most, count));
    match name {
        b"bget" if strict => Err(ERROR),
        b"get" | b"gets" | b"gat" | b"gats" | b"bget" => at_least(2).and_then(|()| get(name, words)),
        b"incr" | b"decr" => in_range(3, 4).and_then(|()| counter(name == b"incr", words, quiet)),
        b"touch" => in_range(3, 4).and_then(|()| touch(words, quiet)),
        b"delete" => in_range(2, 4).and_then(|()| delete(words, count, quiet, strict)),
        b"flush_all" => in_range(1, 3).map(|()| Command::FlushAll(flush(words, count, quiet))),
        b"version" => Ok(Command::Version),
        b"quit" => Ok(Command::Quit),
        _ if ADMIN.contains(&name) => Ok(Command::Admin(name, words)),
        // Commands that begin with another letter are not checked for HTTP.
        _ if !is_common(name) && is_http(&all, count) => Err(CommandError::Close),
        _ => Err(ERROR),
    }
}

/// The administrative commands.
const ADMIN: &[&[u8]] = &[
    b"stats",
    b"shutdown",
    b"slabs",
    b"cache_memlimit",
    b"lru_crawler",
    b"watch",
    b"verbosity",
    b"lru",
    b"extstore",
    b"refresh_certs",
    b"config",
];

fn is_common(name: &[u8]) -> bool {
    name.first().is_some_and(|first| b"gsacidt".contains(first))
}

fn is_http(all: &Words<'_>, count: usize) -> bool {
    all.clone().nth(count.saturating_sub(1)).is_some_and(|last| last.starts_with(b"HTTP/"))
}

fn at_most(most: usize, count: usize) -> Result<(), CommandError> {
    if count > most { Err(ERROR) } else { Ok(()) }
}

fn operation(name: &[u8]) -> Option<StoreOperation> {
    Some(match name {
        b"set" => StoreOperation::Set,
        b"add" => StoreOperation::Add,
        b"replace" => StoreOperation::Replace,
        b"append" => StoreOperation::Append,
        b"prepend" => StoreOperation::Prepend,
        b"cas" => StoreOperation::Cas,
        _ => return None,
    })
}

fn get<'a>(name: &[u8], mut words: Words<'a>) -> Result<Command<'a>, CommandError> {
    let touches = name.starts_with(b"gat");
    let touch = match touches.then(|| words.next().and_then(number::signed)) {
        Some(None) => return Err(CommandError::reply(BAD_TTL)),
        Some(ttl) => ttl,
        None => None,
    };
    Ok(Command::Get(Get { with_cas: name.ends_with(b"s"), touch, keys: words }))
}

/// Returns the key of a command, unless it is too long.
fn key<'a>(words: &mut Words<'a>, quiet: bool) -> Result<&'a [u8], CommandError> {
    let key = words.next().unwrap_or_default();
    if key.len() > Key::MAX_LEN { Err(CommandError::reply_unless_quiet(BAD_FORMAT, quiet)) } else { Ok(key) }
}

fn store<'a>(operation: StoreOperation, mut words: Words<'a>, quiet: bool) -> Result<Store<'a>, CommandError> {
    let bad = CommandError::reply_unless_quiet(BAD_FORMAT, quiet);
    let key = key(&mut words, quiet)?;
    let flags = words.next().and_then(number::unsigned_32).ok_or(bad)?;
    let ttl = words.next().and_then(number::signed).ok_or(bad)?;
    let length = words.next().and_then(number::signed).ok_or(bad)?;
    let cas = match operation {
        StoreOperation::Cas => words.next().and_then(number::unsigned_64).ok_or(bad)?,
        _ => 0,
    };
    let length = usize::try_from(length).ok().filter(|_| length <= MAX_LENGTH).ok_or(bad)?;
    Ok(Store { operation, key, flags, ttl, length, cas, quiet })
}

fn counter(is_increment: bool, mut words: Words<'_>, quiet: bool) -> Result<Command<'_>, CommandError> {
    let key = key(&mut words, quiet)?;
    let delta =
        words.next().and_then(number::unsigned_64).ok_or_else(|| CommandError::reply_unless_quiet(BAD_DELTA, quiet))?;
    Ok(Command::Arithmetic(Arithmetic { is_increment, key, delta, quiet }))
}

fn touch(mut words: Words<'_>, quiet: bool) -> Result<Command<'_>, CommandError> {
    let key = key(&mut words, quiet)?;
    let ttl = words.next().and_then(number::signed).ok_or_else(|| CommandError::reply_unless_quiet(BAD_TTL, quiet))?;
    Ok(Command::Touch(Touch { key, ttl, quiet }))
}

/// Parses a delete: the key may be followed by a time, which must be 0, and `noreply`.
fn delete(mut words: Words<'_>, count: usize, quiet: bool, anything: bool) -> Result<Command<'_>, CommandError> {
    let key = words.next().unwrap_or_default();
    let zero = words.next() == Some(b"0") || anything;
    // A key named `noreply` does not count.
    let quiet = quiet && count > 2;
    if !(count == 2 || (count == 3 && (zero || quiet)) || (count == 4 && zero && quiet)) {
        return Err(CommandError::reply_unless_quiet(BAD_DELETE, quiet));
    }
    match key.len() > Key::MAX_LEN {
        true => Err(CommandError::reply_unless_quiet(BAD_FORMAT, quiet)),
        false => Ok(Command::Delete(Delete { key, quiet })),
    }
}

fn flush(mut words: Words<'_>, count: usize, quiet: bool) -> FlushAll {
    let without_delay = if quiet { 2 } else { 1 };
    let delay = match count == without_delay {
        true => Some(0),
        false => words.next().and_then(number::signed),
    };
    FlushAll { delay, quiet }
}

/// Returns the value at the front of the input, if it and its line end are complete; an error if it has no line end.
/// The value takes two bytes more than its length.
pub fn split_value(input: &[u8], length: usize) -> Option<Result<&[u8], ()>> {
    let (block, _) = input.split_at_checked(length.checked_add(LINE_END.len())?)?;
    Some(block.strip_suffix(LINE_END).ok_or(()))
}

#[cfg(test)]
mod tests;
