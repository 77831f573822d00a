//! Meta commands for servers: parses a line into a command with its flags, as memcached 1.6.18 or a newer version
//! does, and builds reply lines.
//!
//! ```
//! use remcache_proto::meta::server::{ReplyLine, MetaOperation};
//! use remcache_proto::text::server::{self, Command};
//!
//! let (line, _) = server::split_line(b"mg Hello v t O7\r\n").unwrap();
//! let Ok(Command::Meta(command)) = server::parse(line) else { panic!() };
//! assert_eq!((command.operation, &command.key[..]), (MetaOperation::Get, &b"Hello"[..]));
//!
//! let mut answer = ReplyLine::value(5);
//! for (flag, token) in command.flags() {
//!     match flag {
//!         b't' => answer.number(b't', 60),
//!         b'O' => answer.token(b'O', token),
//!         _ => {}
//!     }
//! }
//! assert_eq!(answer.into_line(), b"VA 5 t60 O7\r\n");
//! ```

mod reply_line;

use std::borrow::Cow;

use crate::line::base64;
use crate::line::command::{BAD_FORMAT, CommandError, LINE_END, MAX_LENGTH, UNKNOWN, Words, number};
use crate::types::key::Key;
use crate::types::version::{Feature, ServerVersion};

pub use reply_line::ReplyLine;

/// The operation of a meta command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the protocol has no others")]
pub enum MetaOperation {
    /// `mg`.
    Get,
    /// `ms`; a data block follows.
    Set {
        /// The length of the value in bytes.
        length: usize,
    },
    /// `md`.
    Delete,
    /// `ma`.
    Arithmetic,
    /// `mn`.
    NoOp,
    /// `me`.
    Debug,
}

/// A meta command.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MetaCommand<'a> {
    /// The operation.
    pub operation: MetaOperation,
    /// The key, decoded if it was in base64.
    pub key: Cow<'a, [u8]>,
    /// The flags that affect execution.
    pub options: CommandOptions,
    flags: Words<'a>,
}

/// The flags that affect a command's execution; those that only request reply fields are not included.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct CommandOptions {
    /// `b`: the key is base64.
    pub base64: bool,
    /// `q`: the usual outcome has no reply.
    pub quiet: bool,
    /// `v`: the value is returned.
    pub value: bool,
    /// `u`: the item is not marked as used.
    pub no_bump: bool,
    /// Whether the item's metadata is read before it is marked as used: one of N, T, R, h and l is set.
    pub reads_metadata_first: bool,
    /// `I`: the item becomes stale.
    pub stale: bool,
    /// `N`: the TTL of an item that is created on a miss, unparsed.
    pub vivify: Option<i32>,
    /// `T`: the new TTL, unparsed.
    pub ttl: Option<i32>,
    /// `R`: the remaining TTL below which a client may recache, unparsed.
    pub recache: Option<i32>,
    /// `C`: the expected CAS value.
    pub cas: Option<u64>,
    /// `F`: the client's flags.
    pub client_flags: u32,
    /// `M`: the mode of a store or counter.
    pub mode: Option<u8>,
    /// `D`: the delta of a counter.
    pub delta: Option<u64>,
    /// `J`: the initial value of an absent counter.
    pub initial: Option<u64>,
    /// `E`: the item's new CAS value, since 1.6.27.
    pub new_cas: Option<u64>,
    /// `x` of a delete: the item is kept, without its value, since 1.6.27.
    pub remove_value: bool,
}

/// The reply to an unknown flag.
pub const INVALID_FLAG: &str = "CLIENT_ERROR invalid flag";
/// The reply to an opaque that is too long.
pub const LONG_OPAQUE: &str = "CLIENT_ERROR opaque token too long";
/// The reply to a mode that `ms` does not support.
pub const BAD_SET_MODE: &str = "CLIENT_ERROR invalid mode for ms M token";
/// The reply to a mode that `ma` does not support.
pub const BAD_COUNT_MODE: &str = "CLIENT_ERROR invalid mode for ma M token";
const DUPLICATE_FLAG: &str = "CLIENT_ERROR duplicate flag";
const WRONG_FLAG: &str = "CLIENT_ERROR invalid or duplicate flag";
const MANY_FLAGS: &str = "CLIENT_ERROR options flags too long";
const MANY_FLAGS_OF_GET: &str = "CLIENT_ERROR options flags are too long";
const BAD_KEY: &str = "CLIENT_ERROR error decoding key";
const BAD_TOKEN: &str = "CLIENT_ERROR bad token in command line format";
const BAD_MODE_LENGTH: &str = "CLIENT_ERROR incorrect length for M token";
const BAD_INITIAL: &str = "CLIENT_ERROR invalid numeric initial value";
const BAD_DELTA: &str = "CLIENT_ERROR invalid numeric delta value";

/// The maximum number of words in a command, including its name.
const MAX_WORDS: usize = 19;
/// The longest opaque, without its letter.
const MAX_OPAQUE: usize = 31;

impl<'a> MetaCommand<'a> {
    /// Returns the flags in order, each with its token.
    pub fn flags(&self) -> impl Iterator<Item = (u8, &'a [u8])> + use<'a> {
        self.flags.clone().filter_map(|word| word.split_first()).map(|(letter, token)| (*letter, token))
    }

    fn without_flags(operation: MetaOperation, key: &'a [u8]) -> Self {
        Self { operation, key: key.into(), options: CommandOptions::default(), flags: Words::new(b"") }
    }
}

/// Returns whether an opaque is longer than servers accept.
pub fn is_long_opaque(token: &[u8]) -> bool {
    token.len() > MAX_OPAQUE
}

/// Parses the command with this second letter; `count` is the number of all words.
pub(crate) fn parse<'a>(
    letter: u8,
    mut words: Words<'a>,
    count: usize,
    server_version: ServerVersion,
) -> Result<MetaCommand<'a>, CommandError> {
    let strict = server_version.has(Feature::StrictLines);
    match letter {
        b'n' => return Ok(MetaCommand::without_flags(MetaOperation::NoOp, b"")),
        b'e' => return debug(words, strict),
        b'g' | b's' | b'd' | b'a' => {}
        _ => return Err(CommandError::reply(UNKNOWN)),
    }
    if strict && words.clone().skip(1).any(|word| !word.first().is_some_and(u8::is_ascii_alphanumeric)) {
        return Err(CommandError::reply(BAD_FORMAT));
    }
    let key = words.next().ok_or_else(|| CommandError::reply(if strict { BAD_FORMAT } else { UNKNOWN }))?;
    if key.len() > Key::MAX_LEN {
        // Newer servers discard the value that follows.
        let length = words.next().filter(|_| strict && letter == b's').and_then(number::unsigned_32).unwrap_or(0);
        return Err(CommandError::with_value(BAD_FORMAT, false, length));
    }
    match letter {
        b'g' if count > MAX_WORDS => Err(CommandError::reply(MANY_FLAGS_OF_GET)),
        b's' if count == 2 => Err(CommandError::reply(BAD_FORMAT)),
        _ if count > MAX_WORDS => Err(CommandError::reply(MANY_FLAGS)),
        b'g' => command(MetaOperation::Get, key, words, server_version).map_err(CommandError::reply),
        b's' => set(key, words, server_version),
        // The errors of these two are not specific, except for newer deletes.
        b'd' if strict => command(MetaOperation::Delete, key, words, server_version).map_err(CommandError::reply),
        b'd' => command(MetaOperation::Delete, key, words, server_version).map_err(|_| CommandError::reply(WRONG_FLAG)),
        _ => {
            command(MetaOperation::Arithmetic, key, words, server_version).map_err(|_| CommandError::reply(WRONG_FLAG))
        }
    }
}

fn set<'a>(
    key: &'a [u8],
    mut words: Words<'a>,
    server_version: ServerVersion,
) -> Result<MetaCommand<'a>, CommandError> {
    let bad = CommandError::reply(BAD_FORMAT);
    let length = words.next().and_then(number::signed).filter(|length| *length <= MAX_LENGTH).ok_or(bad)?;
    let length = usize::try_from(length).map_err(|_| bad)?;
    // From here on the length of the value is known, so it is discarded if the command is refused.
    let discard = length.saturating_add(LINE_END.len());
    let refused = |text| CommandError::Reply { text, quiet: false, discard };
    let command = command(MetaOperation::Set { length }, key, words, server_version).map_err(refused)?;
    let known_mode = command.options.mode.is_none_or(|mode| b"EAPRS".contains(&mode));
    let long_opaque = command.flags().any(|(flag, token)| flag == b'O' && is_long_opaque(token));
    match (known_mode, long_opaque) {
        (false, _) => Err(refused(BAD_SET_MODE)),
        (true, true) => Err(refused(LONG_OPAQUE)),
        (true, false) => Ok(command),
    }
}

/// Parses a Debug. Its only flag is `b`, right after the key; newer servers recognize it only if it is given twice
/// (docs/protocol.md 4.4).
fn debug(mut words: Words<'_>, twice: bool) -> Result<MetaCommand<'_>, CommandError> {
    let bad = CommandError::reply(BAD_FORMAT);
    let key = words.next().filter(|key| key.len() <= Key::MAX_LEN).ok_or(bad)?;
    let mut command = MetaCommand::without_flags(MetaOperation::Debug, key);
    if words.next() == Some(b"b") && (!twice || words.next() == Some(b"b")) {
        command.key = base64::decode(key).ok_or(bad)?.into();
        command.options.base64 = true;
    }
    Ok(command)
}

fn command<'a>(
    operation: MetaOperation,
    key: &'a [u8],
    flags: Words<'a>,
    server_version: ServerVersion,
) -> Result<MetaCommand<'a>, &'static str> {
    let mut command = MetaCommand { operation, key: key.into(), options: CommandOptions::default(), flags };
    let mut seen = [false; 127];
    let mut problem = None;
    for (flag, token) in command.flags() {
        match seen.get_mut(usize::from(flag)) {
            Some(seen) if !*seen => *seen = true,
            _ => return Err(DUPLICATE_FLAG),
        }
        match command.options.take(flag, token, operation, server_version) {
            // If there are several problems, the last one is reported.
            Err(Problem::Token(text)) => problem = text.or(problem).or(Some(BAD_FORMAT)),
            Err(Problem::Unknown) => return Err(INVALID_FLAG),
            Ok(()) if flag == b'b' => match base64::decode(key) {
                Some(decoded) => command.key = decoded.into(),
                None => problem = Some(BAD_KEY),
            },
            Ok(()) => {}
        }
    }
    problem.map_or(Ok(command), Err)
}

enum Problem {
    /// An unknown flag.
    Unknown,
    /// An invalid token of a flag, with its specific error if there is one.
    Token(Option<&'static str>),
}

impl CommandOptions {
    fn take(
        &mut self,
        flag: u8,
        token: &[u8],
        operation: MetaOperation,
        server_version: ServerVersion,
    ) -> Result<(), Problem> {
        let time = || number::signed(token).ok_or(Problem::Token(Some(BAD_TOKEN)));
        let long = |text| number::unsigned_64(token).ok_or(Problem::Token(Some(text)));
        match flag {
            b'O' | b'P' | b'L' | b'k' | b's' | b't' | b'c' | b'f' => {}
            b'b' => self.base64 = true,
            b'q' => self.quiet = true,
            b'v' => self.value = true,
            b'u' => self.no_bump = true,
            b'I' => self.stale = true,
            b'h' | b'l' => self.reads_metadata_first = true,
            b'N' => self.vivify = Some(time()?),
            b'T' => self.ttl = Some(time()?),
            b'R' => self.recache = Some(time()?),
            b'C' => self.cas = Some(long(BAD_TOKEN)?),
            b'E' if server_version.has(Feature::NewCas) => self.new_cas = Some(long(BAD_TOKEN)?),
            b'x' if operation == MetaOperation::Delete && server_version.has(Feature::RemoveValue) => {
                self.remove_value = true
            }
            b'F' if server_version.has(Feature::StrictLines)
                && number::unsigned_64(token) > Some(u64::from(u32::MAX)) =>
            {
                return Err(Problem::Token(None));
            }
            b'F' => self.client_flags = number::unsigned_32(token).ok_or(Problem::Token(None))?,
            b'J' => self.initial = Some(long(BAD_INITIAL)?),
            b'D' => self.delta = Some(long(BAD_DELTA)?),
            b'M' => match token {
                &[mode] => self.mode = Some(mode),
                // Not a valid mode.
                _ if server_version.has(Feature::StrictLines) => self.mode = Some(0),
                _ => return Err(Problem::Token(Some(BAD_MODE_LENGTH))),
            },
            _ => return Err(Problem::Unknown),
        }
        self.reads_metadata_first |= matches!(flag, b'N' | b'T' | b'R');
        Ok(())
    }
}

#[cfg(test)]
mod tests;
