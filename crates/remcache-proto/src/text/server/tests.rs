//! Tests of the parser of text commands.

use super::*;

fn refused(line: &str) -> (&'static str, bool) {
    match parse(line.as_bytes()) {
        Err(CommandError::Reply { text, quiet, discard: 0 }) => (text, quiet),
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn a_store_has_all_arguments() {
    let expected =
        Store { operation: StoreOperation::Cas, key: b"k", flags: 7, ttl: -1, length: 3, cas: 9, quiet: true };
    assert_eq!(parse(b"cas k 7 -1 3 9 noreply"), Ok(Command::Store(expected)));
    let names = ["set", "add", "replace", "append", "prepend"];
    let verbs = [
        StoreOperation::Set,
        StoreOperation::Add,
        StoreOperation::Replace,
        StoreOperation::Append,
        StoreOperation::Prepend,
    ];
    for (name, expected) in names.into_iter().zip(verbs) {
        let line = format!("{name} k 0 0 3");
        let Ok(Command::Store(store)) = parse(line.as_bytes()) else { panic!("{line}") };
        assert_eq!((store.operation, store.length, store.quiet), (expected, 3, false));
    }
}

#[test]
fn errors_name_the_problem() {
    let long = "x".repeat(251);
    let cases = [
        ("", UNKNOWN, false),
        ("x", UNKNOWN, false),
        ("set k 0 0", UNKNOWN, false),
        ("set k 0 0 3 x y", UNKNOWN, false),
        ("set k 0 0 -1", BAD_FORMAT, false),
        ("set k 0 0 2147483646", BAD_FORMAT, false),
        ("set k -1 0 1 noreply", BAD_FORMAT, true),
        (&format!("set {long} 0 0 1 noreply"), BAD_FORMAT, true),
        ("get", UNKNOWN, false),
        ("gat abc k", BAD_TTL, false),
        ("touch k x noreply", BAD_TTL, true),
        ("incr k -1", BAD_DELTA, false),
        ("delete k 5", BAD_DELETE, false),
        ("delete k 5 noreply", BAD_DELETE, true),
        ("delete", UNKNOWN, false),
        ("gets2 k", UNKNOWN, false),
        ("mx k", UNKNOWN, false),
    ];
    for (line, text, quiet) in cases {
        assert_eq!(refused(line), (text, quiet), "{line}");
    }
    assert_eq!(parse(b"GET / HTTP/1.1"), Err(CommandError::Close));
    assert_eq!(refused("sGET / HTTP/1.1"), (UNKNOWN, false));
}

#[test]
fn a_delete_accepts_a_zero() {
    for (line, quiet) in
        [("delete k", false), ("delete k 0", false), ("delete k noreply", true), ("delete k 0 noreply", true)]
    {
        assert_eq!(parse(line.as_bytes()), Ok(Command::Delete(Delete { key: b"k", quiet })), "{line}");
    }
    assert_eq!(parse(b"delete noreply"), Ok(Command::Delete(Delete { key: b"noreply", quiet: false })));
}

#[test]
fn a_flush_accepts_a_delay() {
    let cases = [
        ("flush_all", Some(0), false),
        ("flush_all noreply", Some(0), true),
        ("flush_all 10", Some(10), false),
        ("flush_all -1 noreply", Some(-1), true),
        ("flush_all abc", None, false),
    ];
    for (line, delay, quiet) in cases {
        assert_eq!(parse(line.as_bytes()), Ok(Command::FlushAll(FlushAll { delay, quiet })), "{line}");
    }
}

#[test]
fn a_value_ends_with_a_line_ending() {
    assert_eq!(split_value(b"abc\r\nx", 3), Some(Ok(&b"abc"[..])));
    assert_eq!(split_value(b"abcd\r\n", 3), Some(Err(())));
    assert_eq!(split_value(b"abc\r", 3), None);
    assert_eq!(split_value(b"", usize::MAX), None);
}
