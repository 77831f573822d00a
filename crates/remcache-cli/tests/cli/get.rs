//! `get`: exact bytes, several keys in each format, output on a terminal.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;

use crate::tool::remcache;
use remcache_testkit::Memcached;
use serde_json::{Value, json};

fn with_items(items: &[(&str, &str)]) -> Memcached {
    let server = Memcached::start(&[]);
    for (key, value) in items {
        remcache(["set", key, value, "--flags", "7"]).servers(server.addr()).run().exits(0);
    }
    server
}

#[test]
fn one_key_prints_the_exact_bytes_of_its_value() {
    let server = Memcached::start(&[]);
    for value in [&b"hello"[..], b"", b"two\nlines\n", b"\x00\xff\x1b[2J"] {
        remcache(["set", "k", "-"]).servers(server.addr()).input(value).run().exits(0);
        let run = remcache(["get", "k"]).servers(server.addr()).run().exits(0);
        assert_eq!(run.stdout, value);
        assert_eq!(run.stderr, "");
    }
}

#[test]
fn a_miss_prints_nothing_and_exits_with_1() {
    let server = Memcached::start(&[]);
    let run = remcache(["get", "nobody"]).servers(server.addr()).run().exits(1);
    assert!(run.stdout.is_empty() && run.stderr.is_empty(), "{run:?}");
}

#[test]
fn several_keys_need_a_format() {
    let server = with_items(&[("a", "1"), ("b", "2")]);
    remcache(["get", "a", "b"]).servers(server.addr()).run().exits(2).reports_error("ndjson");
    let run = remcache(["get", "a", "b", "-f", "text"]).servers(server.addr()).run().exits(0);
    assert_eq!(run.text(), "a\t1\nb\t2\n");
}

#[test]
fn several_keys_are_printed_as_json() {
    let server = with_items(&[("a", "1"), ("b", "2")]);
    let run = remcache(["get", "a", "unknown", "b", "-f", "ndjson"]).servers(server.addr()).run().exits(1);
    let lines: Vec<Value> = run.lines().iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&lines[0]["key"], &lines[0]["value"], &lines[0]["flags"]), (&json!("a"), &json!("1"), &json!(7)));
    assert_eq!(lines[1], json!({"key": "unknown", "status": "missing"}));
    assert_eq!(lines[2]["status"], "found");
    let run = remcache(["get", "a", "b", "-f", "json"]).servers(server.addr()).run().exits(0);
    assert_eq!(run.json().as_array().map(Vec::len), Some(2));
}

#[test]
fn several_keys_are_printed_as_csv() {
    let server = with_items(&[("a", "x,\"y\"")]);
    let run = remcache(["get", "a", "unknown", "-f", "csv"]).servers(server.addr()).run().exits(1);
    assert!(run.lines()[0].starts_with("key,key_b64,status,value,"), "{run:?}");
    assert!(run.lines()[1].starts_with("a,,found,\"x,\"\"y\"\"\",,7,"), "{run:?}");
    assert!(run.lines()[2].starts_with("unknown,,missing,"), "{run:?}");
}

#[test]
fn keys_and_values_can_be_other_than_utf8() {
    let server = Memcached::start(&[]);
    let key = OsStr::from_bytes(b"k\xff\n");
    remcache(["set"]).arg(key).arg("-").servers(server.addr()).input(*b"v\x00\xff").run().exits(0);
    let exact = remcache(["get"]).arg(key).servers(server.addr()).run().exits(0);
    assert_eq!(exact.stdout, b"v\x00\xff");
    let run = remcache(["get", "-f", "ndjson"]).arg(key).servers(server.addr()).run().exits(0);
    let record = run.json();
    assert_eq!((&record["key_b64"], &record["value_b64"]), (&json!("a/8K"), &json!("dgD/")));
    assert!(record.get("key").is_none() && record.get("value").is_none(), "{record}");
}

#[test]
fn meta_shows_the_metadata_of_the_item_instead_of_the_value() {
    let server = with_items(&[("a", "hello"), ("b", "hi")]);
    remcache(["touch", "b", "--ttl", "10m"]).servers(server.addr()).run().exits(0);
    let run = remcache(["get", "a", "b", "--meta"]).servers(server.addr()).run().exits(0);
    let lines = run.lines();
    let (a, b) = (lines[0], lines[1]);
    assert!(a.starts_with("a\tflags=7 cas=") && a.contains(" size=5 ttl=never idle="), "{run:?}");
    assert!(b.contains(" size=2 ttl=") && a.ends_with(" fetched=no"), "{run:?}");
    let meta = |key: &str, args: &[&str]| {
        let args = [&["get", key, "--meta", "-f", "ndjson"], args].concat();
        remcache(args).servers(server.addr()).run().exits(0).json()
    };
    let record = meta("b", &[]);
    assert_eq!((&record["size"], record.get("value")), (&json!(2), None));
    assert!(matches!(record["ttl"].as_u64(), Some(1..=600)) && record["idle_seconds"].is_u64(), "{record}");
    // None of these commands counts as an access. Other protocols return less metadata.
    for protocol in ["binary", "text"] {
        assert_eq!(meta("a", &[])["fetched"], json!(protocol == "text"));
        let record = meta("a", &["--protocol", protocol]);
        assert_eq!((&record["flags"], &record["size"], record.get("ttl")), (&json!(7), &json!(5), None));
    }
}

#[test]
fn values_can_be_written_to_files() {
    let server = with_items(&[("a", "1"), ("../b", "2")]);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("value");
    let path = file.to_str().unwrap();
    let run = remcache(["get", "a", "-o", path]).servers(server.addr()).run().exits(0);
    assert!(run.stdout.is_empty(), "{run:?}");
    assert_eq!(fs::read(&file).unwrap(), b"1");
    remcache(["get", "a", "../b", "-o", path]).servers(server.addr()).run().exits(2).reports_error("-d DIR");
    let all = dir.path().join("all");
    remcache(["get", "a", "../b", "unknown", "-d", all.to_str().unwrap()]).servers(server.addr()).run().exits(1);
    assert_eq!(fs::read(all.join("a")).unwrap(), b"1");
    assert_eq!(fs::read(all.join("%2E.%2Fb")).unwrap(), b"2");
    assert_eq!(fs::read_dir(&all).unwrap().count(), 2);
}

#[test]
fn a_file_that_cannot_be_written_is_named() {
    let server = with_items(&[("a", "1")]);
    remcache(["get", "a", "-o", "/nowhere/x"]).servers(server.addr()).run().exits(2).reports_error("/nowhere/x");
}

#[test]
fn a_file_without_space_is_removed() {
    let server = with_items(&[("a", "1")]);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a");
    fs::write(&file, "the value before").unwrap();
    for args in [["-o", file.to_str().unwrap()], ["-d", dir.path().to_str().unwrap()]] {
        let run = remcache(["get", "a"].into_iter().chain(args)).servers(server.addr()).with_full_disk().run().exits(2);
        assert!(run.stderr.contains(file.to_str().unwrap()), "{run:?}");
        assert_eq!(fs::read_to_string(&file).unwrap(), "the value before");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no other file is left");
    }
    // Output that is not a regular file is written directly.
    let run = remcache(["get", "a", "-o", "/dev/stdout"]).servers(server.addr()).run().exits(0);
    assert_eq!(run.text(), "1");
}

#[test]
fn a_terminal_gets_text_with_a_line_ending() {
    let server = with_items(&[("a", "hello")]);
    let run = remcache(["get", "a"]).servers(server.addr()).run_on_terminal("").exits(0);
    assert_eq!(run.text(), "hello\r\n");
}

#[test]
fn binary_values_are_not_written_to_a_terminal() {
    let server = Memcached::start(&[]);
    remcache(["set", "k", "-"]).servers(server.addr()).input(*b"\x1b[2J\xff").run().exits(0);
    let run = remcache(["get", "k"]).servers(server.addr()).run_on_terminal("").exits(0);
    assert!(!run.stdout.contains(&0x1b) && run.text().contains("1b 5b 32 4a ff"), "{run:?}");
    let raw = remcache(["get", "k", "--raw"]).servers(server.addr()).run_on_terminal("").exits(0);
    assert_eq!(raw.stdout, b"\x1b[2J\xff");
}

#[test]
fn a_hundred_thousand_keys_on_standard_input() {
    let server = with_items(&[("key:77777", "here")]);
    let keys: String = (0..100_000).map(|number| format!("key:{number}\n")).collect();
    let run = remcache(["get", "-", "-f", "ndjson"]).servers(server.addr()).input(keys).run().exits(1);
    let lines = run.lines();
    assert_eq!(lines.len(), 100_000);
    assert_eq!(lines.iter().filter(|line| line.contains("\"found\"")).count(), 1);
    assert!(lines[77_777].contains("\"here\""), "{}", lines[77_777]);
}

#[test]
fn an_invalid_key_in_a_list_is_reported_by_line_before_any_request() {
    for input in ["a\n\nb\n", &format!("a\n{}\n", "x".repeat(251))] {
        remcache(["get", "-", "-f", "ndjson"])
            .servers("127.0.0.1:1")
            .input(input)
            .run()
            .exits(2)
            .reports_error("line 2: the key");
    }
}

#[test]
fn lf_and_crlf_end_a_key() {
    let server = with_items(&[("a", "1"), ("b", "2")]);
    let run = remcache(["get", "-", "-f", "text"]).servers(server.addr()).input("a\r\nb").run().exits(0);
    assert_eq!(run.text(), "a\t1\nb\t2\n");
}

#[test]
fn a_dead_server_fails_only_its_own_keys() {
    let alive = Memcached::start(&[]);
    let dead = remcache_testkit::unused_port();
    let servers = format!("{},127.0.0.1:{dead}", alive.addr());
    let keys: String = (0..100).map(|number| format!("key:{number}\n")).collect();
    let run = remcache(["get", "-", "-f", "ndjson"]).servers(&servers).input(keys).run().exits(3);
    let records: Vec<Value> = run.lines().iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let count = |status: &str| records.iter().filter(|record| record["status"] == status).count();
    assert!(count("missing") > 0 && count("failed") > 0 && count("missing") + count("failed") == 100, "{run:?}");
    let failed: Vec<_> = records.iter().filter(|record| record["status"] == "failed").collect();
    for record in &failed {
        assert!(record["error"].as_str().unwrap().starts_with(&format!("127.0.0.1:{dead}: ")), "{record}");
    }
    // The error names the first keys.
    let names: Vec<_> = failed[..3].iter().map(|record| record["key"].as_str().unwrap()).collect();
    let named = format!("(keys {} and {} more)", names.join(", "), failed.len() - 3);
    assert!(run.stderr.contains(&format!("127.0.0.1:{dead}")) && run.stderr.contains(&named), "{}", run.stderr);
    let run = remcache(["get", names[0], names[1], "-f", "text"]).servers(&servers).run().exits(4);
    assert_eq!(run.text(), format!("{}\t(failed)\n{}\t(failed)\n", names[0], names[1]));
    assert!(run.stderr.contains(&format!("(keys {}, {})", names[0], names[1])), "{run:?}");
    let run = remcache(["delete", names[0], "-f", "text"]).servers(&servers).run().exits(4);
    assert_eq!(run.text(), format!("{}\tfailed\n", names[0]));
    assert!(run.stderr.contains(&format!("(key {})", names[0])), "{run:?}");
}
