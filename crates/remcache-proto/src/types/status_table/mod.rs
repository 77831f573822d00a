//! The table of statuses and their representations in each protocol, which every codec uses.

#[cfg(test)]
mod tests;

use bytes::Bytes;

use crate::types::operation::Operation;
use crate::types::status::Status;

/// A status and its representations in each protocol.
pub(crate) struct StatusRow {
    pub(crate) status: Status,
    /// The codes of the binary protocol; the first one is sent.
    codes: &'static [u16],
    /// The text of the binary protocol, for statuses that have no text on the line protocols.
    text: &'static str,
    /// The reply words of the line protocols, with the operations for which they have this status.
    answers: &'static [(Word, &'static [Operation])],
    /// Prefixes of error lines with this status, for any operation. The longest one counts: texts are not specified, so
    /// an unknown one has the status of its first word.
    refusals: &'static [&'static str],
}

/// A reply word of a line protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// `HD`
    Header,
    /// `VA`
    Value,
    /// `EN`
    Miss,
    /// `NF`
    MetaNotFound,
    /// `NS`
    MetaNotStored,
    /// `EX`
    MetaExists,
    /// `MN`
    NoOp,
    /// `STORED`
    Stored,
    /// `NOT_STORED`
    NotStored,
    /// `EXISTS`
    Exists,
    /// `NOT_FOUND`
    NotFound,
    /// `DELETED`
    Deleted,
    /// `TOUCHED`
    Touched,
    /// `OK`
    Ok,
    /// `END` in place of an item
    End,
    /// `ERROR`, where it is an answer
    Error,
}

impl Word {
    const COUNT: usize = Self::Error as usize + 1;

    /// Parses a reply word of the classic commands.
    #[inline]
    pub(crate) fn of(letters: &[u8]) -> Option<Self> {
        Some(match letters {
            b"STORED" => Self::Stored,
            b"END" => Self::End,
            b"NOT_STORED" => Self::NotStored,
            b"EXISTS" => Self::Exists,
            b"NOT_FOUND" => Self::NotFound,
            b"DELETED" => Self::Deleted,
            b"TOUCHED" => Self::Touched,
            b"OK" => Self::Ok,
            b"MN" => Self::NoOp,
            b"ERROR" => Self::Error,
            _ => return None,
        })
    }

    /// Parses the return code of a meta command.
    #[inline]
    pub(crate) fn of_code(letters: [u8; 2]) -> Option<Self> {
        Some(match &letters {
            b"VA" => Self::Value,
            b"HD" => Self::Header,
            b"EN" => Self::Miss,
            b"NF" => Self::MetaNotFound,
            b"NS" => Self::MetaNotStored,
            b"EX" => Self::MetaExists,
            _ => return None,
        })
    }

    /// Returns the status of the word in a reply to an operation; `None` if it is not valid there.
    #[inline]
    pub(crate) fn answers(self, operation: Operation) -> Option<Status> {
        *MEANINGS.get(self as usize)?.get(operation as usize)?
    }
}

/// The table. The same outcome has the same status on each protocol (docs/protocol.md 1.5, 4.2, 4.8, 4.9).
#[rustfmt::skip]
pub(crate) const ROWS: &[StatusRow] = {
    use Operation::{
        Add, Append, Authenticate, Debug, Decrement, Delete, Flush, Get, GetAndTouch, Increment, Lru, LruCrawler,
        MemoryLimit, NoOp, Prepend, Replace, Set, Slabs, Stat, Touch, Verbosity,
    };
    &[
        row(Status::NoError, &[0x00], "", &[
            (Word::Header, &[Get, GetAndTouch, Touch, Set, Add, Replace, Append, Prepend, Delete, Increment, Decrement]),
            (Word::Value, &[Get, GetAndTouch, Increment, Decrement]),
            (Word::NoOp, &[NoOp]),
            (Word::Stored, &[Set, Add, Replace, Append, Prepend, Authenticate]),
            (Word::Deleted, &[Delete]),
            (Word::Touched, &[Touch]),
            (Word::Ok, &[Flush, Verbosity, MemoryLimit, Slabs, Lru, LruCrawler]),
        ], &[]),
        row(Status::KeyNotFound, &[0x01], "Not found", &[
            (Word::Miss, &[Get, GetAndTouch, Touch, Debug]),
            (Word::MetaNotFound, &[Set, Replace, Delete, Increment, Decrement]),
            (Word::MetaNotStored, &[Replace]),
            (Word::End, &[Get, GetAndTouch]),
            (Word::NotFound, &[Set, Replace, Delete, Increment, Decrement, Touch]),
            (Word::NotStored, &[Replace]),
            // The reply to an unknown group of statistics.
            (Word::Error, &[Stat]),
        ], &[]),
        row(Status::KeyExists, &[0x02], "Data exists for key.", &[
            (Word::MetaExists, &[Set, Replace, Append, Prepend, Delete, Increment, Decrement]),
            (Word::MetaNotStored, &[Add]),
            (Word::Exists, &[Set, Replace]),
            (Word::NotStored, &[Add]),
        ], &[]),
        row(Status::ValueTooLarge, &[0x03], "", &[], &["SERVER_ERROR object too large for cache"]),
        row(Status::InvalidArguments, &[0x04], "", &[], &[
            "CLIENT_ERROR", "ERROR cannot pipeline", "BADCLASS", "MEMLIMIT_TOO_SMALL", "MEMLIMIT_ADJUST_FAILED",
            "NOTFULL", "UNSAFE", "SAME",
        ]),
        row(Status::ItemNotStored, &[0x05], "Not stored.", &[
            (Word::MetaNotFound, &[Append, Prepend]),
            (Word::MetaNotStored, &[Set, Append, Prepend, Increment, Decrement]),
            (Word::NotStored, &[Set, Append, Prepend]),
        ], &[]),
        row(Status::NonNumericValue, &[0x06], "", &[], &[
            "CLIENT_ERROR cannot increment or decrement non-numeric value",
        ]),
        row(Status::WrongBucket, &[0x07], "", &[], &[]),
        row(Status::AuthError, &[0x20, 0x08], "", &[], &[
            "CLIENT_ERROR unauthenticated", "CLIENT_ERROR authentication failure",
            "CLIENT_ERROR bad authentication token format", "CLIENT_ERROR auth token too long",
        ]),
        row(Status::AuthContinue, &[0x21, 0x09], "", &[], &[]),
        row(Status::UnknownCommand, &[0x81], "", &[], &["ERROR"]),
        row(Status::OutOfMemory, &[0x82], "", &[], &[
            "SERVER_ERROR out of memory", "SERVER_ERROR Out of memory", "NOSPARE",
        ]),
        // The binary protocol has no status for a disabled flush: see `Connection`.
        row(Status::Unsupported, &[0x83], "", &[], &[
            "CLIENT_ERROR flush_all not allowed", "CLIENT_ERROR watch commands not allowed",
            "CLIENT_ERROR stats cachedump not allowed", "SERVER_ERROR: shutdown not enabled",
            "ERROR: shutdown not enabled", "ERROR metadump not allowed", "ERROR mgdump not allowed", "Error",
        ]),
        row(Status::InternalError, &[0x84], "", &[], &["SERVER_ERROR", "ERROR failed to start"]),
        row(Status::Busy, &[0x85], "", &[], &["BUSY", "SERVER_ERROR active request limit reached"]),
        row(Status::TemporaryFailure, &[0x86], "", &[], &["SERVER_ERROR backend failure"]),
    ]
};

const fn row(
    status: Status,
    codes: &'static [u16],
    text: &'static str,
    answers: &'static [(Word, &'static [Operation])],
    refusals: &'static [&'static str],
) -> StatusRow {
    StatusRow { status, codes, text, answers, refusals }
}

impl StatusRow {
    /// Returns the row of a status; `None` if servers do not send it.
    pub(crate) fn of(status: Status) -> Option<&'static Self> {
        ROWS.iter().find(|row| row.status == status)
    }

    /// Returns the code that is sent on the binary protocol.
    pub(crate) fn code(&self) -> Option<u16> {
        self.codes.first().copied()
    }

    /// Returns the text of the status on the binary protocol.
    pub(crate) fn text(&self) -> &'static str {
        self.text
    }
}

/// Returns the text of a status that line protocols report as a single word: that of the binary protocol, so that
/// replies have the same text on each protocol.
pub(crate) fn status_text(status: Status) -> Bytes {
    Bytes::from_static(StatusRow::of(status).map_or("", StatusRow::text).as_bytes())
}

/// Returns the status of a code of the binary protocol.
#[inline]
pub(crate) fn of_code(code: u16) -> Status {
    BY_CODE.get(usize::from(code)).copied().unwrap_or(Status::Unknown(code))
}

/// Returns the status of an error line; `None` if the line is not an error.
pub(crate) fn of_error_line(line: &[u8]) -> Option<Status> {
    let of_row = |row: &'static StatusRow| row.refusals.iter().map(|text| (text.len(), *text, row.status));
    let known = ROWS.iter().flat_map(of_row).filter(|(_, text, _)| begins_with(line, text.as_bytes()));
    known.max_by_key(|(length, ..)| *length).map(|(.., status)| status)
}

/// Returns whether a line begins with these words.
pub(crate) fn begins_with(line: &[u8], text: &[u8]) -> bool {
    // The match must end at a word boundary: a key in a dump may begin like an error.
    let rest = line.strip_prefix(text);
    rest.is_some_and(|rest| rest.first().is_none_or(|next| !next.is_ascii_alphanumeric() && *next != b'_'))
}

// ---- Lookup tables, computed at compile time ----

const OPERATIONS: usize = Operation::Shutdown as usize + 1;
const MAX_CODE: usize = 0x86;

/// Statuses by word and operation.
static MEANINGS: [[Option<Status>; OPERATIONS]; Word::COUNT] = status_of_words();
/// Statuses by code.
static BY_CODE: [Status; MAX_CODE + 1] = by_code();

#[expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "it runs when it is compiled, and what would be out of bounds does not compile"
)]
const fn status_of_words() -> [[Option<Status>; OPERATIONS]; Word::COUNT] {
    let mut table = [[None; OPERATIONS]; Word::COUNT];
    let mut at = 0;
    while at < ROWS.len() {
        let mut answer = 0;
        while answer < ROWS[at].answers.len() {
            let (word, operations) = ROWS[at].answers[answer];
            let mut operation = 0;
            while operation < operations.len() {
                let entry = &mut table[word as usize][operations[operation] as usize];
                assert!(entry.is_none(), "a word means one thing as the answer to an operation");
                *entry = Some(ROWS[at].status);
                operation += 1;
            }
            answer += 1;
        }
        at += 1;
    }
    table
}

#[expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "it runs when it is compiled, and what would be out of bounds does not compile"
)]
const fn by_code() -> [Status; MAX_CODE + 1] {
    let mut table = [Status::Unknown(0); MAX_CODE + 1];
    let mut code = 0;
    while code < table.len() {
        table[code] = Status::Unknown(code as u16);
        code += 1;
    }
    let mut at = 0;
    while at < ROWS.len() {
        let mut code = 0;
        while code < ROWS[at].codes.len() {
            let entry = &mut table[ROWS[at].codes[code] as usize];
            assert!(matches!(entry, Status::Unknown(_)), "a code means one thing");
            *entry = ROWS[at].status;
            code += 1;
        }
        at += 1;
    }
    table
}
