//! Decoder for replies: which lines answer which request.

use bytes::Bytes;

use super::dump;
use super::item::{ItemHead, read_item};
use crate::buffer::input::InputBuffer;
use crate::line::error_line;
use crate::line::{self, peek, split_word, words};
use crate::types::error::ProtocolError;
use crate::types::operation::Operation;
use crate::types::reply::Reply;
use crate::types::reply_shape::ReplyShape;
use crate::types::reply_shape::Shape;
use crate::types::status::Status;
use crate::types::status_table::{Word, status_text};

/// A reply, and whether it is the last of its request.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TextReply {
    /// Whether this is the last reply to the request: false for all but the last line of a list.
    pub last: bool,
    /// The reply.
    pub reply: Reply,
}

/// Takes a reply from the front of the input; `None` if it is not complete yet.
///
/// # Errors
/// [`ProtocolError`] if the bytes are not a valid reply to the request, or announce a value of more than `max_value`
/// bytes.
pub fn decode(
    input: &mut InputBuffer,
    expected: ReplyShape,
    max_value: usize,
) -> Result<Option<TextReply>, ProtocolError> {
    let answer = take(input, expected, None, max_value)?;
    Ok(answer.map(|answer| TextReply { last: answer.last, reply: answer.reply }))
}

/// A reply, and its consequences for the connection.
#[derive(Debug)]
pub(crate) struct DecodedReply {
    pub(crate) reply: Reply,
    pub(crate) last: bool,
    /// Why the connection can no longer be used, if so.
    pub(crate) fatal: Option<ProtocolError>,
}

impl DecodedReply {
    fn last(reply: Reply) -> Self {
        Self { reply, last: true, fatal: None }
    }

    fn one_of_many(reply: Reply) -> Self {
        Self { last: false, ..Self::last(reply) }
    }
}

fn outcome(status: Status) -> DecodedReply {
    DecodedReply::last(Reply::with_text(status, status_text(status)))
}

fn unexpected(line: &[u8]) -> ProtocolError {
    ProtocolError::UnexpectedLine(line::excerpt(line))
}

/// Takes the reply to the expected operation; `None` if it is not complete yet.
///
/// A fetched item must have the key `asked_key`, if that is known.
pub(crate) fn take(
    input: &mut InputBuffer,
    expected: ReplyShape,
    asked_key: Option<&[u8]>,
    max_value: usize,
) -> Result<Option<DecodedReply>, ProtocolError> {
    loop {
        let Some((text, length)) = peek(input.as_slice())? else { return Ok(None) };
        match read(text, length, expected, asked_key)? {
            Read::DecodedReply(mut answer) => {
                if expected.returns_key && answer.reply.status == Status::KeyNotFound {
                    // As on the binary protocol, the miss of a fetch that returns the key has the key and no text.
                    answer.reply.value = Bytes::new();
                    answer.reply.key = asked_key.map(Bytes::copy_from_slice).unwrap_or_default();
                }
                input.skip(length);
                return Ok(Some(answer));
            }
            Read::Value(key, head) => return take_value(input, key, &head, max_value),
            // Newer servers begin a dump with a separate line.
            Read::Nothing => input.skip(length),
        }
    }
}

/// Checks whether the line at the front of the input can answer the expected operation.
pub(crate) fn check(input: &InputBuffer, expected: ReplyShape) -> Result<(), ProtocolError> {
    match peek(input.as_slice())? {
        Some((text, length)) => read(text, length, expected, None).map(drop),
        None => Ok(()),
    }
}

/// The meaning of a line.
enum Read {
    DecodedReply(DecodedReply),
    /// An item's key, if it is to be returned, and its line; the value follows.
    Value(Bytes, ItemHead),
    Nothing,
}

fn read(text: &[u8], line: usize, expected: ReplyShape, asked_key: Option<&[u8]>) -> Result<Read, ProtocolError> {
    if expected.operation.is_fetch()
        && let Some((found, head)) = read_item(text, line)?
    {
        return item(found, head, expected, asked_key);
    }
    let (word, rest) = split_word(text);
    if expected.operation == Operation::ClusterConfig && word == b"CONFIG" {
        let head = config_head(rest, line).ok_or_else(|| unexpected(text))?;
        return Ok(Read::Value(Bytes::new(), head));
    }
    if let Some(answer) = by_operation(word, rest, text, expected) {
        return Ok(answer);
    }
    let known = Word::of(word).filter(|word| *word != Word::Error);
    if let Some(status) = known.and_then(|word| word.answers(expected.operation)) {
        return Ok(Read::DecodedReply(outcome(status)));
    }
    match error_line::read(text, expected)? {
        Some(error) => Ok(Read::DecodedReply(DecodedReply { reply: error.reply, last: true, fatal: error.fatal })),
        // For an operation without a fixed reply, any other line is passed to the caller.
        None if expected.operation == Operation::Watch => {
            Ok(Read::DecodedReply(DecodedReply::one_of_many(Reply::with_text(Status::NoError, copy(text)))))
        }
        None => Err(unexpected(text)),
    }
}

/// Parses a line for operations whose replies are not a single word.
fn by_operation(word: &[u8], rest: &[u8], text: &[u8], expected: ReplyShape) -> Option<Read> {
    let read = match (expected.operation, word) {
        (Operation::Increment | Operation::Decrement, _) => match line::number(text.trim_ascii_end()) {
            Some(number) => {
                Read::DecodedReply(DecodedReply::last(Reply { number: Some(number), ..Reply::new(Status::NoError) }))
            }
            None => return None,
        },
        (Operation::Version, b"VERSION") => Read::DecodedReply(version(rest, expected)),
        (Operation::Stat, _) => return statistic(word, rest, text).map(Read::DecodedReply),
        (Operation::Metadump | Operation::Mgdump | Operation::Watch, _) => {
            return dumped(word, rest, text, expected);
        }
        (Operation::Debug, b"ME") => Read::DecodedReply(DecodedReply::last(dump::debug_reply(rest))),
        _ => return None,
    };
    Some(read)
}

fn version(text: &[u8], expected: ReplyShape) -> DecodedReply {
    let value = if expected.shape == Shape::Bare { Bytes::new() } else { copy(text) };
    DecodedReply::last(Reply::with_text(Status::NoError, value))
}

fn copy(bytes: &[u8]) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

/// Parses a statistic into its name and value, as on the binary protocol; other lists are split alike.
fn statistic(word: &[u8], rest: &[u8], text: &[u8]) -> Option<DecodedReply> {
    let (name, value) = match word {
        b"STAT" | b"ITEM" => split_word(rest),
        b"PREFIX" => (&b"detailed"[..], text),
        b"END" | b"RESET" | b"OK" => return Some(DecodedReply::last(Reply::new(Status::NoError))),
        _ => return None,
    };
    Some(DecodedReply::one_of_many(Reply { key: copy(name), value: copy(value), ..Reply::new(Status::NoError) }))
}

/// Parses a line of a dump or a log.
fn dumped(word: &[u8], rest: &[u8], text: &[u8], expected: ReplyShape) -> Option<Read> {
    let answer = match (expected.operation, word) {
        (Operation::Watch, b"OK") => DecodedReply::one_of_many(Reply::new(Status::NoError)),
        (_, b"OK") => return Some(Read::Nothing),
        (Operation::Metadump, b"END") | (Operation::Mgdump, b"EN") => DecodedReply::last(Reply::new(Status::NoError)),
        (Operation::Metadump, _) if word.starts_with(b"key=") => {
            let key = dump::unescape(word.strip_prefix(b"key=").unwrap_or_default());
            DecodedReply::one_of_many(Reply { key, value: copy(text), ..Reply::new(Status::NoError) })
        }
        (Operation::Mgdump, b"mg") => {
            DecodedReply::one_of_many(Reply { key: dump::listed_key(rest)?, ..Reply::new(Status::NoError) })
        }
        _ => return None,
    };
    Some(Read::DecodedReply(answer))
}

/// Checks the item of a fetch, which must have the requested key.
fn item(found: &[u8], head: ItemHead, expected: ReplyShape, asked_key: Option<&[u8]>) -> Result<Read, ProtocolError> {
    if asked_key.is_some_and(|asked| asked != found) {
        return Err(ProtocolError::WrongKey);
    }
    let key = if expected.returns_key { copy(found) } else { Bytes::new() };
    Ok(Read::Value(key, head))
}

/// Parses `name flags length`.
fn config_head(rest: &[u8], line: usize) -> Option<ItemHead> {
    let length = words(rest).nth(2).and_then(line::number)?;
    Some(ItemHead::of_length(length, line))
}

/// Takes a value and the line after it, which ends the reply.
fn take_value(
    input: &mut InputBuffer,
    key: Bytes,
    head: &ItemHead,
    max_value: usize,
) -> Result<Option<DecodedReply>, ProtocolError> {
    let Some(value) = head.take_value_before(END, input, max_value)? else { return Ok(None) };
    Ok(Some(DecodedReply::last(Reply { flags: head.flags, cas: head.cas, key, value, ..Reply::new(Status::NoError) })))
}

/// The bytes after the only value of a reply.
const END: &[u8] = b"\r\nEND\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    fn input(bytes: &[u8]) -> InputBuffer {
        let mut input = InputBuffer::new();
        input.extend(bytes);
        input
    }

    fn reply(bytes: &str, operation: Operation) -> Result<Reply, ProtocolError> {
        let frame = decode(&mut input(bytes.as_bytes()), ReplyShape::new(operation), 1024)?;
        Ok(frame.expect("a whole reply").reply)
    }

    /// Decodes all replies as `key=value`; returns whether the last one ends the list.
    fn list(bytes: &str, operation: Operation) -> (Vec<String>, bool) {
        let mut input = input(bytes.as_bytes());
        let mut list = Vec::new();
        while let Some(frame) = decode(&mut input, ReplyShape::new(operation), 1024).unwrap() {
            if frame.last {
                assert!(input.is_empty());
                return (list, true);
            }
            list.push(format!("{}={}", frame.reply.key.escape_ascii(), frame.reply.text()));
        }
        (list, false)
    }

    #[test]
    fn the_same_outcome_has_the_status_of_the_binary_protocol() {
        use Operation::{Add, Append, Decrement, Delete, Flush, Get, Increment, Replace, Set, Touch};
        for (bytes, operation, expected) in [
            ("STORED", Set, Some(Status::NoError)),
            ("NOT_STORED", Add, Some(Status::KeyExists)),
            ("NOT_STORED", Replace, Some(Status::KeyNotFound)),
            ("NOT_STORED", Append, Some(Status::ItemNotStored)),
            ("EXISTS", Set, Some(Status::KeyExists)),
            ("NOT_FOUND", Set, Some(Status::KeyNotFound)),
            ("NOT_FOUND", Increment, Some(Status::KeyNotFound)),
            ("DELETED", Delete, Some(Status::NoError)),
            ("TOUCHED", Touch, Some(Status::NoError)),
            ("OK", Flush, Some(Status::NoError)),
            ("END", Get, Some(Status::KeyNotFound)),
            ("15", Decrement, Some(Status::NoError)),
            ("15", Set, None),
            ("STORED", Delete, None),
            ("END", Set, None),
            ("DELETED", Get, None),
            ("SERVER_ERROR object too large for cache", Set, Some(Status::ValueTooLarge)),
            ("CLIENT_ERROR cannot increment or decrement non-numeric value", Increment, Some(Status::NonNumericValue)),
            ("", Set, None),
        ] {
            let found = reply(&format!("{bytes}\r\n"), operation);
            assert_eq!(found.ok().map(|reply| reply.status), expected, "{bytes} to {operation:?}");
        }
    }

    #[test]
    fn an_item_is_its_value_with_what_belongs_to_it() {
        let hit = reply("VALUE k 7 5 9\r\na\r\nb\n\r\nEND\r\n", Operation::Get).unwrap();
        assert_eq!((hit.flags, hit.cas, &hit.value[..], &hit.key[..]), (7, 9, &b"a\r\nb\n"[..], &b""[..]));
        let with_key = ReplyShape { returns_key: true, ..ReplyShape::new(Operation::Get) };
        let bytes = b"VALUE k 7 1\r\nv\r\nEND\r\n";
        let frame = decode(&mut input(bytes), with_key, 9).unwrap().unwrap();
        assert_eq!((&frame.reply.key[..], frame.reply.cas), (&b"k"[..], 0));
        for end in 0..bytes.len() {
            assert!(decode(&mut input(&bytes[..end]), with_key, 9).unwrap().is_none(), "{end} bytes");
        }
    }

    #[test]
    fn another_key_is_another_item() {
        let get = ReplyShape::new(Operation::Get);
        let bytes = b"VALUE k 0 1\r\nv\r\nEND\r\n";
        assert!(take(&mut input(bytes), get, Some(b"k"), 9).unwrap().is_some());
        assert_eq!(take(&mut input(bytes), get, Some(b"kk"), 9).unwrap_err(), ProtocolError::WrongKey);
    }

    #[test]
    fn an_invalid_value_is_refused() {
        for bytes in ["VALUE k 0", "VALUE k x 1", "VALUE k 0 -1", "VALUE k 0 1 x", "VALUE k 0 1 2 3", "VALUE"] {
            let error = reply(&format!("{bytes}\r\n"), Operation::Get).unwrap_err();
            assert!(matches!(error, ProtocolError::UnexpectedLine(_)), "{bytes}");
        }
        let error = reply("VALUE k 0 1025\r\n", Operation::Get).unwrap_err();
        assert_eq!(error, ProtocolError::TooLarge { announced: 1025, limit: 1024 });
        assert_eq!(
            reply("VALUE k 0 1\r\nvv\r\nEND\r\n", Operation::Get).unwrap_err(),
            ProtocolError::UnterminatedValue
        );
        assert_eq!(
            reply("VALUE k 0 1\r\nv\r\nVALUE\r\n", Operation::Get).unwrap_err(),
            ProtocolError::UnterminatedValue
        );
    }

    #[test]
    fn lists_end_at_their_last_line() {
        let (stats, ended) = list("STAT pid 42\r\nSTAT version 1.6.18 x\r\nEND\r\n", Operation::Stat);
        assert_eq!((stats, ended), (vec!["pid=42".to_owned(), "version=1.6.18 x".to_owned()], true));
        assert_eq!(list("RESET\r\n", Operation::Stat), (vec![], true));
        assert_eq!(list("STAT pid 42\r\nSTA", Operation::Stat), (vec!["pid=42".to_owned()], false));
        let (items, _) = list("ITEM k [3 b; 0 s]\r\nEND\r\n", Operation::Stat);
        assert_eq!(items, ["k=[3 b; 0 s]"]);
        let unknown = reply("ERROR\r\n", Operation::Stat).unwrap();
        assert_eq!(unknown.status, Status::KeyNotFound);
    }

    #[test]
    fn dumps_of_older_and_newer_servers_are_read_alike() {
        for begin in ["", "OK\r\n"] {
            let (items, ended) = list(&format!("{begin}key=a%20b exp=-1\nkey=c exp=-1\nEND\r\n"), Operation::Metadump);
            assert_eq!((items.len(), ended), (2, true));
            assert_eq!(items[0], "a b=key=a%20b exp=-1");
            let (keys, ended) = list(&format!("{begin}mg k\r\nmg AAH/IGJpbg== b\r\nEN\r\n"), Operation::Mgdump);
            assert_eq!((keys, ended), (vec!["k=".to_owned(), r"\x00\x01\xff bin=".to_owned()], true));
        }
        let busy = reply("BUSY currently processing crawler request\r\n", Operation::Metadump).unwrap();
        assert_eq!(busy.status, Status::Busy);
    }

    #[test]
    fn a_log_has_no_end() {
        let (lines, ended) = list("OK\r\nts=1 gid=1 type=item_get key=k\r\nts=2 gid=2\r\n", Operation::Watch);
        assert_eq!(
            (lines, ended),
            (vec!["=".to_owned(), "=ts=1 gid=1 type=item_get key=k".into(), "=ts=2 gid=2".into()], false)
        );
    }

    #[test]
    fn a_cluster_tells_its_nodes() {
        let nodes = "12\nhost|10.0.0.1|11211\n";
        let bytes = format!("CONFIG cluster 0 {}\r\n{nodes}\r\nEND\r\n", nodes.len());
        assert_eq!(reply(&bytes, Operation::ClusterConfig).unwrap().text(), nodes);
        assert_eq!(reply("ERROR\r\n", Operation::ClusterConfig).unwrap().status, Status::UnknownCommand);
    }
}
