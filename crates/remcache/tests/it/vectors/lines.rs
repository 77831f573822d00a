//! Test vectors of the meta and text protocols, recorded from real servers.

mod command;
mod meta_request;

use std::collections::BTreeMap;

use bytes::Buf;
use remcache::Status;
use remcache::proto::{InputBuffer, Operation, Output, ProtocolError, Reply, ReplyShape, ServerVersion, meta, text};
use remcache_testkit::vectors::{Protocol, Vector, vectors};

use command::{Command, commands, request};
use meta_request::meta_request;

fn line_vectors() -> impl Iterator<Item = &'static Vector> {
    vectors().iter().filter(|it| it.protocol != Protocol::Binary)
}

// ---- Requests ----

fn encoded(encode: impl FnOnce(&mut Output) -> bool) -> Option<Vec<u8>> {
    let mut output = Output::new();
    encode(&mut output).then(|| output.copy_to_bytes(output.remaining()).to_vec())
}

#[test]
fn text_commands_encode_to_the_same_bytes() {
    let (mut encoded_count, mut refused) = (0, Vec::new());
    for vector in line_vectors() {
        for command in vector.setup.iter().chain([&vector.request]).flat_map(|bytes| commands(bytes)) {
            let Some(request) = request(&command) else { continue };
            match encoded(|output| text::encode(&request, output).is_ok()) {
                Some(bytes) => {
                    let seen = command.bytes.escape_ascii().to_string();
                    // Skip vectors whose data does not match the announced length.
                    let is_whole = command.data.is_none() || command.bytes.ends_with(b"\r\n");
                    // A flush with a past time is immediate, which needs no expiration.
                    let is_whole = is_whole && vector.name != "text/flush_all_past_abs";
                    assert!(
                        !is_whole || bytes == command.bytes,
                        "{}: {seen} became {}",
                        vector.name,
                        bytes.escape_ascii()
                    );
                    encoded_count += 1;
                }
                None => refused.push(vector.name.as_str()),
            }
        }
    }
    let expected = ["text/set_key_251", "text/stats_sizes_enable", "text/lru_crawler_bare"];
    for name in refused {
        assert!(expected.contains(&name) || name.contains("251"), "{name}");
    }
    assert!(encoded_count >= 130, "{encoded_count}");
}

/// Returns whether a token of a command is the default, or its opaque, which the connection generates.
fn is_optional(token: &str, command: &Command) -> bool {
    let is_store = command.name() == "ms";
    token.starts_with('O')
        || matches!(token, "MS" | "MI" | "M+" | "M-" | "F0" | "T0" | "D1" | "J0")
        || (token == "k" && (is_store || matches!(command.name(), "md" | "ma")))
        || (token == "v" && command.name() == "md")
}

#[test]
fn meta_commands_encode_to_the_same_tokens() {
    let newest = ServerVersion::parse("1.6.45");
    let mut encoded_count = 0;
    for vector in line_vectors() {
        for command in vector.setup.iter().chain([&vector.request]).flat_map(|bytes| commands(bytes)) {
            let Some(request) = meta_request(&command) else { continue };
            let bytes = encoded(|output| meta::encode(&request, 7, newest, output).is_ok());
            let Some(bytes) = bytes else { continue };
            let again = &commands(&bytes)[0];
            let lacks = |token: &&String| !again.tokens.contains(token) && !is_optional(token, &command);
            let missing: Vec<_> = command.tokens.iter().filter(lacks).collect();
            assert!(
                missing.is_empty(),
                "{}: {missing:?} of {:?} is not in {:?}",
                vector.name,
                command.tokens,
                again.tokens
            );
            assert_eq!(again.data, command.data, "{}", vector.name);
            encoded_count += 1;
        }
    }
    assert!(encoded_count >= 230, "{encoded_count}");
}

// ---- Replies ----

/// The first reply of `bytes`, parsed according to the specification, independently of the codecs.
struct ParsedReply {
    token: String,
    value: Option<Vec<u8>>,
}

fn seen(bytes: &[u8]) -> ParsedReply {
    let end = bytes.iter().position(|&byte| byte == b'\n').unwrap_or(bytes.len());
    let line: String = bytes[..end].iter().map(|&byte| char::from(byte)).collect();
    let tokens: Vec<&str> = line.trim_end().split(' ').filter(|token| !token.is_empty()).collect();
    let at = match tokens.first() {
        Some(&"VA") => Some(1),
        Some(&"VALUE") => Some(3),
        _ => None,
    };
    let length = at.and_then(|at| tokens[at].parse::<usize>().ok());
    let value = length.map(|length| bytes[end + 1..end + 1 + length].to_vec());
    ParsedReply { token: tokens.first().map_or("", |token| *token).to_owned(), value }
}

fn status(token: &str, operation: Operation) -> Option<Status> {
    Some(match (token, operation) {
        ("HD" | "VA" | "VALUE" | "STORED" | "DELETED" | "TOUCHED" | "MN" | "VERSION" | "OK" | "ME" | "STAT", _) => {
            Status::NoError
        }
        ("EN", Operation::Get | Operation::Debug) => Status::KeyNotFound,
        ("END", Operation::Get | Operation::GetAndTouch) => Status::KeyNotFound,
        ("NF" | "NOT_FOUND", _) => Status::KeyNotFound,
        ("EX" | "EXISTS", _) => Status::KeyExists,
        ("NS" | "NOT_STORED", Operation::Add) => Status::KeyExists,
        ("NS" | "NOT_STORED", Operation::Replace) => Status::KeyNotFound,
        ("NS" | "NOT_STORED", _) => Status::ItemNotStored,
        _ => return None,
    })
}

fn check(vector: &Vector, before: &[u8], operation: Operation, reply: &Reply) {
    let seen = seen(before);
    let name = &vector.name;
    if let Some(status) = status(&seen.token, operation) {
        assert_eq!(reply.status, status, "{name}");
    } else if seen.token.ends_with("ERROR") {
        assert!(!reply.is_ok(), "{name}");
    }
    match (operation, seen.value) {
        (Operation::Increment | Operation::Decrement, Some(digits)) => {
            assert_eq!(reply.number.map(|number| number.to_string().into_bytes()), Some(digits), "{name}");
        }
        (_, Some(value)) => assert_eq!(reply.value, value, "{name}"),
        _ => {}
    }
}

/// Decodes a server's replies to the commands of a vector. Returns their number; the error describes the failure.
fn decode_all(vector: &Vector, bytes: &[u8]) -> Result<usize, String> {
    let mut input = InputBuffer::new();
    input.extend(bytes);
    let mut replies = 0;
    for command in commands(&vector.request) {
        loop {
            let before = input.as_slice().to_vec();
            let expected = ReplyShape::new(command.operation()).with_or_without_value();
            match decode(&command, &mut input, expected) {
                Ok(Some((reply, last))) => {
                    check(vector, &before, command.operation(), &reply);
                    replies += 1;
                    if last {
                        break;
                    }
                }
                Ok(None) => break,
                // A quiet request without a reply: the input is the reply to the next command.
                Err(_) if command.is_quiet() && input.as_slice() == before => break,
                Err(error) => return Err(format!("{error}")),
            }
        }
    }
    match input.as_slice() {
        [] => Ok(replies),
        rest => Err(format!("left over: {}", rest.escape_ascii())),
    }
}

fn decode(
    command: &Command,
    input: &mut InputBuffer,
    expected: ReplyShape,
) -> Result<Option<(Reply, bool)>, ProtocolError> {
    let is_classic = matches!(command.operation(), Operation::Get | Operation::GetAndTouch) && command.name() != "mg";
    if is_classic {
        let frame = text::decode(input, expected, 1 << 20)?;
        return Ok(frame.map(|frame| (frame.reply, frame.last)));
    }
    let frame = match meta::decode(input, expected, 1 << 20) {
        // The opaque of the vector differs from the client's format.
        Err(ProtocolError::UnexpectedLine(_)) if command.tokens.iter().any(|token| token.starts_with('O')) => {
            let plain = without_opaque(input.as_slice());
            let mut stripped = InputBuffer::new();
            stripped.extend(&plain);
            let frame = meta::decode(&mut stripped, expected, 1 << 20)?;
            let rest = stripped.as_slice().to_vec();
            *input = InputBuffer::new();
            input.extend(&rest);
            frame
        }
        other => other?,
    };
    Ok(frame.map(|frame| (frame.reply, frame.last)))
}

/// Returns the bytes without the opaque of the first line.
fn without_opaque(bytes: &[u8]) -> Vec<u8> {
    let end = bytes.windows(2).position(|window| window == b"\r\n").unwrap_or(bytes.len());
    let (line, rest) = bytes.split_at(end);
    let tokens: Vec<&[u8]> = line.split(|&byte| byte == b' ').filter(|token| token.first() != Some(&b'O')).collect();
    [&tokens.join(&b' '), rest].concat()
}

/// Replies that the client does not support, with the reason and the vectors.
const UNSUPPORTED_REPLIES: &[(&str, &[&str])] = &[
    (
        "after the error one of the versions reads the data as a command: the connection is closed",
        &[
            "meta/ms_invalid_flag",
            "meta/ms_key_251",
            "text/cas_bad_number",
            "text/set_data_too_long_noreply",
            "text/set_flags_negative",
            "text/set_key_251",
        ],
    ),
    ("an empty line follows the error: the connection is closed", &["text/get_key_251"]),
    ("several keys in one get, which is never sent", &["text/get_multi", "text/gets_multi", "text/get_same_key_twice"]),
    ("a group whose reply has no end, which is refused", &["text/stats_sizes_enable"]),
];

#[test]
fn replies_of_both_versions_decode() {
    let mut exceptions = BTreeMap::new();
    let mut replies = 0;
    for vector in line_vectors().filter(|vector| vector.protocol != Protocol::TextAuth) {
        for bytes in [&vector.reply].into_iter().chain(vector.newer.as_ref().map(|newer| &newer.reply)) {
            match decode_all(vector, bytes) {
                Ok(count) => replies += count,
                Err(why) => drop(exceptions.insert(vector.name.clone(), why)),
            }
        }
    }
    let expected: Vec<&str> = UNSUPPORTED_REPLIES.iter().flat_map(|(_, names)| names.iter().copied()).collect();
    let unexpected: Vec<_> = exceptions.iter().filter(|(name, _)| !expected.contains(&name.as_str())).collect();
    assert!(unexpected.is_empty(), "{unexpected:#?}");
    let outdated: Vec<_> = expected.iter().filter(|name| !exceptions.contains_key(**name)).collect();
    assert!(outdated.is_empty(), "no exceptions any more: {outdated:?}");
    assert_eq!(replies, 678);
}

#[test]
fn replies_to_authentication_decode() {
    for vector in line_vectors().filter(|vector| vector.protocol == Protocol::TextAuth) {
        for bytes in [&vector.reply].into_iter().chain(vector.newer.as_ref().map(|newer| &newer.reply)) {
            let mut input = InputBuffer::new();
            input.extend(bytes);
            let frame = text::decode(&mut input, ReplyShape::new(Operation::Authenticate), 1 << 20).unwrap();
            let status = frame.map(|frame| frame.reply.status);
            let text: String = bytes.iter().map(|&byte| char::from(byte)).collect();
            let expected = match text.as_str() {
                "" => None,
                text if text.starts_with("STORED") => Some(Status::NoError),
                text if text.contains("bad command line termination") => Some(Status::InvalidArguments),
                _ => Some(Status::AuthError),
            };
            assert_eq!(status, expected, "{}: {text}", vector.name);
        }
    }
}

#[test]
fn all_line_vectors_are_checked() {
    assert_eq!(line_vectors().count(), 209 + 119 + 24);
}
