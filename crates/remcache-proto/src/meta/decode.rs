//! Decoder for replies.

use std::time::Duration;

use bytes::Bytes;

use crate::buffer::input::InputBuffer;
use crate::line::Scanner;
use crate::line::base64;
use crate::line::error_line;
use crate::types::error::ProtocolError;
use crate::types::meta_options::ItemInfo;
use crate::types::operation::Operation;
use crate::types::reply::Reply;
use crate::types::reply_shape::ReplyShape;
use crate::types::reply_shape::Shape;
use crate::types::status::Status;
use crate::types::status_table::Word;
use crate::types::status_table::status_text;
use crate::types::ttl::Ttl;
use crate::{line, text};

/// A decoded reply, and the opaque that identifies its request.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MetaReply {
    /// The opaque of the request; `None` for errors and for replies to requests without a key.
    pub opaque: Option<u32>,
    /// Whether this is the last reply to the request: false for all but the last line of a Stat.
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
) -> Result<Option<MetaReply>, ProtocolError> {
    match peek(input, max_value)? {
        None => Ok(None),
        Some(Peeked::Item(head)) if has_meta_reply(expected.operation) => {
            let status = check(input, &head, expected)?;
            let reply = take(input, &head, status, expected)?;
            Ok(Some(MetaReply { opaque: head.opaque, last: true, reply }))
        }
        Some(_) => {
            let answer = text::take(input, expected, None, max_value)?;
            Ok(answer.map(|answer| MetaReply { opaque: None, last: answer.last, reply: answer.reply }))
        }
    }
}

/// Returns whether the operation is a meta command.
pub(crate) fn has_meta_reply(operation: Operation) -> bool {
    operation.has_key()
}

/// The start of the input.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Peeked {
    /// A complete reply to a meta command.
    Item(Head),
    /// Any other line.
    Line {
        /// Whether it is an error line.
        is_error: bool,
    },
}

/// The first line of a reply to a meta command, with the flags that nearly every reply has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    code: Word,
    /// The length of the line, including its line end.
    line: usize,
    /// The length of the value after it.
    value: usize,
    pub(crate) opaque: Option<u32>,
    flags: u32,
    cas: u64,
    /// Whether it has further flags, which few requests ask for.
    has_more: bool,
}

/// Returns the status of a return code in a reply to the expected operation; `None` if it is not valid there.
#[inline]
fn status(code: Word, expected: ReplyShape) -> Option<Status> {
    let fits = !matches!((code, expected.shape), (Word::Value, Shape::Bare) | (Word::Header, Shape::Value));
    code.answers(expected.operation).filter(|_| fits)
}

/// Examines the front of the input without consuming it; `None` if it is not complete.
#[inline]
pub(crate) fn peek(input: &mut InputBuffer, max_value: usize) -> Result<Option<Peeked>, ProtocolError> {
    let Some((text, line)) = line::peek(input.as_slice())? else { return Ok(None) };
    match head(text, line, max_value)? {
        None => Ok(Some(Peeked::Line { is_error: error_line::is_error(text) })),
        Some(head) => Ok(is_complete(input, &head)?.then_some(Peeked::Item(head))),
    }
}

/// Parses a line as the head of a reply; `None` if it does not begin with a return code.
#[inline]
fn head(text: &[u8], line: usize, max_value: usize) -> Result<Option<Head>, ProtocolError> {
    let (name, rest) = match text {
        [first, second] => ([*first, *second], &[][..]),
        [first, second, b' ', rest @ ..] => ([*first, *second], rest),
        _ => return Ok(None),
    };
    let Some(code) = Word::of_code(name) else { return Ok(None) };
    let mut scanner = Scanner::new(rest);
    let value = match code {
        Word::Value => announced(&mut scanner, text, max_value)?,
        _ => 0,
    };
    let mut head = Head { code, line, value, opaque: None, flags: 0, cas: 0, has_more: false };
    while let Some(letter) = scanner.letter() {
        match letter {
            // Servers built with 64-bit flags: as on other protocols, the low half counts.
            b'f' => head.flags = scanner.number().map_or(0, |flags| flags as u32),
            b'c' => head.cas = scanner.number().unwrap_or(0),
            b'O' if head.opaque.is_none() => {
                head.opaque = Some(scanner.opaque().ok_or_else(|| unexpected(text))?);
            }
            _ => {
                head.has_more = true;
                scanner.skip_word();
            }
        }
    }
    Ok(Some(head))
}

fn announced(scanner: &mut Scanner<'_>, text: &[u8], limit: usize) -> Result<usize, ProtocolError> {
    let announced = scanner.next_number().ok_or_else(|| unexpected(text))?;
    let announced = usize::try_from(announced).unwrap_or(usize::MAX);
    if announced > limit { Err(ProtocolError::TooLarge { announced, limit }) } else { Ok(announced) }
}

fn unexpected(text: &[u8]) -> ProtocolError {
    ProtocolError::UnexpectedLine(line::excerpt(text))
}

/// Returns whether the value and its line end are complete.
#[inline]
fn is_complete(input: &mut InputBuffer, head: &Head) -> Result<bool, ProtocolError> {
    if head.code != Word::Value {
        return Ok(true);
    }
    let end = head.line.saturating_add(head.value);
    let total = end.saturating_add(END.len());
    match input.as_slice().get(end..total) {
        Some(END) => Ok(true),
        Some(_) => Err(ProtocolError::UnterminatedValue),
        None => {
            input.expect(total);
            Ok(false)
        }
    }
}

/// Returns the status of a reply to the expected operation.
#[inline]
pub(crate) fn check(input: &InputBuffer, head: &Head, expected: ReplyShape) -> Result<Status, ProtocolError> {
    status(head.code, expected).ok_or_else(|| unexpected(line_text(input, head)))
}

fn line_text<'a>(input: &'a InputBuffer, head: &Head) -> &'a [u8] {
    input.as_slice().get(..head.line).unwrap_or_default().trim_ascii_end()
}

/// Returns whether the input begins with a miss.
pub(crate) fn is_miss(input: &InputBuffer) -> bool {
    input.as_slice().starts_with(b"EN")
}

/// Takes the miss of a Debug, which has no opaque.
pub(crate) fn take_miss(
    input: &mut InputBuffer,
    expected: ReplyShape,
) -> Result<Option<text::DecodedReply>, ProtocolError> {
    let Some((text, line)) = line::peek(input.as_slice())? else { return Ok(None) };
    let head = head(text, line, 0)?.ok_or_else(|| unexpected(text))?;
    let status = check(input, &head, expected)?;
    let reply = take(input, &head, status, expected)?;
    Ok(Some(text::DecodedReply { reply, last: true, fatal: None }))
}

/// Takes the reply whose head was [peeked](peek), with its [checked](check) status.
#[inline]
pub(crate) fn take(
    input: &mut InputBuffer,
    head: &Head,
    status: Status,
    expected: ReplyShape,
) -> Result<Reply, ProtocolError> {
    let mut reply = Reply { flags: head.flags, cas: head.cas, ..Reply::new(status) };
    if head.has_more {
        read_more(line_text(input, head), head, &mut reply);
    }
    match (head.code, expected.operation) {
        (Word::Value, Operation::Increment | Operation::Decrement) => {
            input.skip(head.line);
            let digits = input.as_slice().get(..head.value).unwrap_or_default();
            reply.number = Some(line::number(digits).ok_or(ProtocolError::WrongNumber)?);
            input.skip(head.value.saturating_add(END.len()));
        }
        (Word::Value, _) => {
            let total = head.line.saturating_add(head.value).saturating_add(END.len());
            reply.value = input.take_within(total, head.line, head.value);
        }
        _ => {
            input.skip(head.line);
            if status != Status::NoError && reply.key.is_empty() {
                reply.value = status_text(status);
            }
        }
    }
    Ok(reply)
}

/// The line end after a value.
const END: &[u8] = b"\r\n";

/// Reads the flags that few requests ask for; unknown ones are skipped.
fn read_more(text: &[u8], head: &Head, reply: &mut Reply) {
    let before = if head.code == Word::Value { 2 } else { 1 };
    let mut in_base64 = false;
    let mut key = None;
    for word in line::words(text).skip(before) {
        let Some((letter, token)) = word.split_first() else { continue };
        match letter {
            b'k' => key = Some(token),
            b'b' => in_base64 = true,
            _ => read_info(*letter, token, &mut reply.info),
        }
    }
    if let Some(key) = key {
        reply.key = match in_base64 {
            true => base64::decode(key).map_or_else(|| Bytes::copy_from_slice(key), Bytes::from),
            false => Bytes::copy_from_slice(key),
        };
    }
}

fn read_info(letter: u8, token: &[u8], info: &mut Option<Box<ItemInfo>>) {
    if !matches!(letter, b't' | b'l' | b'h' | b's' | b'W' | b'X' | b'Z') {
        return;
    }
    let info = info.get_or_insert_default();
    match letter {
        b't' => info.remaining_ttl = time_left(token),
        b'l' => info.last_access = line::number(token).map(Duration::from_secs),
        b'h' => info.fetched = line::number(token).map(|fetched| fetched != 0),
        b's' => info.size = line::number(token),
        b'W' => info.won = true,
        b'X' => info.stale = true,
        _ => info.already_won = true,
    }
}

/// Parses the remaining TTL, which may be negative for an item that is just expiring (docs/protocol.md 4.4).
fn time_left(token: &[u8]) -> Option<Ttl> {
    match (token, line::number(token)) {
        (b"-1", _) => Some(Ttl::Never),
        (_, Some(seconds @ 1..=0x7fff_ffff)) => Some(Ttl::After(Duration::from_secs(seconds))),
        (_, Some(_)) => Some(Ttl::Expired),
        (_, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(bytes: &[u8]) -> InputBuffer {
        let mut input = InputBuffer::new();
        input.extend(bytes);
        input
    }

    fn reply(bytes: &[u8], operation: Operation) -> Result<Reply, ProtocolError> {
        let mut expected = ReplyShape::new(operation);
        expected.shape = Shape::Either;
        decode(&mut input(bytes), expected, 1024).map(|frame| frame.expect("a whole reply").reply)
    }

    #[test]
    fn every_operation_has_its_own_answers() {
        use Operation::{Add, Append, Delete, Get, Increment, Replace, Set, Touch};
        for (code, operation, expected) in [
            ("HD", Set, Some(Status::NoError)),
            ("EN", Get, Some(Status::KeyNotFound)),
            ("EN", Touch, Some(Status::KeyNotFound)),
            ("EN", Delete, None),
            ("NF", Delete, Some(Status::KeyNotFound)),
            ("NF", Get, None),
            ("NF", Append, Some(Status::ItemNotStored)),
            ("NS", Add, Some(Status::KeyExists)),
            ("NS", Replace, Some(Status::KeyNotFound)),
            ("NS", Append, Some(Status::ItemNotStored)),
            ("EX", Set, Some(Status::KeyExists)),
            ("EX", Increment, Some(Status::KeyExists)),
            ("EX", Get, None),
            ("VA 1", Get, Some(Status::NoError)),
            ("VA 1", Set, None),
        ] {
            let value = if code == "VA 1" { "\r\n7" } else { "" };
            let found = reply(format!("{code}{value}\r\n").as_bytes(), operation);
            assert_eq!(found.ok().map(|reply| reply.status), expected, "{code} to {operation:?}");
        }
    }

    #[test]
    fn a_hit_needs_its_value() {
        let get = ReplyShape::new(Operation::Get);
        assert!(matches!(decode(&mut input(b"HD f0 c1\r\n"), get, 9), Err(ProtocolError::UnexpectedLine(_))));
    }

    #[test]
    fn flags_are_read_in_any_order() {
        let reply = reply(b"VA 3 s3 t100 c9 f123 kk h1 l7 Z X W\r\nval\r\n", Operation::Get).unwrap();
        assert_eq!((reply.cas, reply.flags, &reply.key[..], &reply.value[..]), (9, 123, &b"k"[..], &b"val"[..]));
        let info = reply.info.unwrap();
        assert_eq!(info.remaining_ttl, Some(Ttl::After(Duration::from_secs(100))));
        assert_eq!((info.fetched, info.last_access, info.size), (Some(true), Some(Duration::from_secs(7)), Some(3)));
        assert!(info.won && info.stale && info.already_won);
    }

    #[test]
    fn plain_replies_have_no_info() {
        assert_eq!(reply(b"VA 3 f0 c9\r\nval\r\n", Operation::Get).unwrap().info, None);
    }

    #[test]
    fn stray_spaces_of_older_servers_do_no_harm() {
        let reply = reply(b"VA  3  c9  \r\nval\r\n", Operation::Get).unwrap();
        assert_eq!((reply.cas, &reply.value[..]), (9, &b"val"[..]));
    }

    #[test]
    fn a_key_comes_back_as_it_was() {
        assert_eq!(reply(b"EN kAAH/IGJpbg== b\r\n", Operation::Get).unwrap().key, &b"\x00\x01\xff bin"[..]);
    }

    #[test]
    fn a_time_below_zero_is_over() {
        for (token, expected) in [
            ("-1", Some(Ttl::Never)),
            ("0", Some(Ttl::Expired)),
            ("4294967235", Some(Ttl::Expired)),
            ("30", Some(Ttl::After(Duration::from_secs(30)))),
            ("x", None),
        ] {
            assert_eq!(time_left(token.as_bytes()), expected, "{token}");
        }
    }

    #[test]
    fn lengths_are_checked_before_they_size_anything() {
        let get = ReplyShape::new(Operation::Get);
        for announced in ["1025", "4294967296", "18446744073709551615"] {
            let error = decode(&mut input(format!("VA {announced}\r\n").as_bytes()), get, 1024).unwrap_err();
            assert!(matches!(error, ProtocolError::TooLarge { limit: 1024, .. }), "{announced}");
        }
        for announced in ["", "-1", "x", "18446744073709551616"] {
            let error = decode(&mut input(format!("VA {announced}\r\n").as_bytes()), get, 1024).unwrap_err();
            assert!(matches!(error, ProtocolError::UnexpectedLine(_)), "{announced}");
        }
        let unended = decode(&mut input(b"VA 1\r\nab\r\n"), get, 9).unwrap_err();
        assert_eq!(unended, ProtocolError::UnterminatedValue);
    }

    #[test]
    fn every_prefix_of_a_reply_is_not_yet_a_reply() {
        let bytes = b"VA 5 f7 c9 O00000003\r\nWorld\r\n";
        let get = ReplyShape::new(Operation::Get);
        for end in 0..bytes.len() {
            assert!(decode(&mut input(&bytes[..end]), get, 1024).unwrap().is_none(), "{end} bytes");
        }
        let frame = decode(&mut input(bytes), get, 1024).unwrap().unwrap();
        assert_eq!((frame.opaque, frame.last, frame.reply.flags, frame.reply.cas), (Some(3), true, 7, 9));
    }
}
