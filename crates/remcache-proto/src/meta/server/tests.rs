//! Tests of the parser of meta commands and their flags.

use super::*;
use crate::text::server;

fn parsed(line: &str) -> MetaCommand<'_> {
    match server::parse(line.as_bytes()) {
        Ok(server::Command::Meta(command)) => command,
        other => panic!("{line}: {other:?}"),
    }
}

fn refused(line: &str) -> (&'static str, usize) {
    match server::parse(line.as_bytes()) {
        Err(CommandError::Reply { text, quiet: false, discard }) => (text, discard),
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn flags_are_parsed_in_order() {
    let command = parsed("mg AAHHIGJpbg== b v k T30 N-1 R5 Oabc q h");
    assert_eq!((command.operation, &command.key[..]), (MetaOperation::Get, &b"\x00\x01\xc7 bin"[..]));
    let expected = CommandOptions {
        base64: true,
        quiet: true,
        value: true,
        reads_metadata_first: true,
        ttl: Some(30),
        vivify: Some(-1),
        recache: Some(5),
        ..CommandOptions::default()
    };
    assert_eq!(command.options, expected);
    let letters: Vec<u8> = command.flags().map(|(letter, _)| letter).collect();
    assert_eq!(letters, b"bvkTNROqh");
    assert_eq!(command.flags().nth(6), Some((b'O', &b"abc"[..])));
}

#[test]
fn a_store_has_a_length_and_conditions() {
    let command = parsed("ms k 3 MA C7 F9 I");
    assert_eq!(command.operation, MetaOperation::Set { length: 3 });
    let expected =
        CommandOptions { mode: Some(b'A'), cas: Some(7), client_flags: 9, stale: true, ..CommandOptions::default() };
    assert_eq!(command.options, expected);
}

#[test]
fn errors_name_the_problem_and_values_are_discarded() {
    let long = "x".repeat(251);
    let opaque = "x".repeat(32);
    let cases = [
        ("mg", UNKNOWN, 0),
        ("mx k", UNKNOWN, 0),
        ("ms k", BAD_FORMAT, 0),
        ("ms k -1", BAD_FORMAT, 0),
        ("ms k S3", BAD_FORMAT, 0),
        ("ms k 2147483647", BAD_FORMAT, 0),
        (&format!("ms {long} 3"), BAD_FORMAT, 0),
        ("ms k 3 !", INVALID_FLAG, 5),
        ("ms k 3 T1 T1", DUPLICATE_FLAG, 5),
        ("ms k 3 F-1", BAD_FORMAT, 5),
        ("ms k 3 Tx", BAD_TOKEN, 5),
        ("ms k 3 Mab", BAD_MODE_LENGTH, 5),
        ("ms k 3 Ma", BAD_SET_MODE, 5),
        (&format!("ms k 3 O{opaque}"), LONG_OPAQUE, 5),
        ("ms a*c 3 b", BAD_KEY, 5),
        ("mg k v \u{ff}", DUPLICATE_FLAG, 0),
        ("mg k a b c d e f g h i j k l m n o p q r", MANY_FLAGS_OF_GET, 0),
        ("md k !", WRONG_FLAG, 0),
        ("ma k Dabc", WRONG_FLAG, 0),
        ("me", BAD_FORMAT, 0),
        ("me a*c b", BAD_FORMAT, 0),
    ];
    for (line, text, discard) in cases {
        assert_eq!(refused(line), (text, discard), "{line}");
    }
}

#[test]
fn replies_are_encoded_as_lines() {
    let mut answer = ReplyLine::value(3);
    answer.number(b's', 3);
    answer.key(b"\x00\x01\xc7 bin", true);
    answer.key(b"plain", false);
    answer.token(b'O', b"7");
    answer.flag(b'W');
    assert_eq!(answer.into_line(), b"VA 3 s3 kAAHHIGJpbg== b kplain O7 W\r\n");
    assert_eq!(ReplyLine::code("HD").into_line(), b"HD\r\n");
}
