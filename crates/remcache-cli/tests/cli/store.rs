//! `set`, `add`, `replace`, `append`, `prepend`: sources of values, and conditions.

use std::fs;

use crate::tool::{Run, remcache};
use remcache_testkit::Memcached;
use serde_json::json;

fn run(server: &Memcached, args: &[&str]) -> Run {
    remcache(args).servers(server.addr()).run()
}

fn value(server: &Memcached, key: &str) -> Vec<u8> {
    run(server, &["get", key]).exits(0).stdout
}

#[test]
fn values_come_from_arguments_files_and_standard_input() {
    let server = Memcached::start(&[]);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("value");
    fs::write(&file, b"from a file\n").unwrap();
    let at_file = format!("@{}", file.display());
    for (args, input, expected) in [
        (&["set", "k", "given"][..], "", &b"given"[..]),
        (&["set", "k", "-5"], "", b"-5"),
        (&["set", "k", ""], "", b""),
        (&["set", "k", "@@home"], "", b"@home"),
        (&["set", "k", &at_file], "", b"from a file\n"),
        (&["set", "k", "-"], "from a pipe\n", b"from a pipe\n"),
        (&["set", "k"], "without a word", b"without a word"),
    ] {
        let run = remcache(args).servers(server.addr()).input(input).run().exits(0);
        assert!(run.stdout.is_empty() && run.stderr.is_empty(), "a pipe gets nothing: {run:?}");
        assert_eq!(value(&server, "k"), expected, "{args:?}");
    }
    run(&server, &["set", "k", "@/nowhere/x"]).exits(2).reports_error("/nowhere/x");
}

#[test]
fn a_missing_value_is_not_read_from_a_terminal() {
    let server = Memcached::start(&[]);
    let run = remcache(["set", "k"]).servers(server.addr()).run_on_terminal("").exits(2);
    assert!(run.text().contains("no value"), "{run:?}");
}

#[test]
fn each_store_command_has_its_condition() {
    let server = Memcached::start(&[]);
    run(&server, &["replace", "k", "x"]).exits(1);
    run(&server, &["append", "k", "x"]).exits(1);
    run(&server, &["add", "k", "b"]).exits(0);
    run(&server, &["add", "k", "other"]).exits(1);
    run(&server, &["append", "k", "c"]).exits(0);
    run(&server, &["prepend", "k", "a"]).exits(0);
    assert_eq!(value(&server, "k"), b"abc");
    run(&server, &["replace", "k", "z"]).exits(0);
    assert_eq!(value(&server, "k"), b"z");
}

#[test]
fn a_cas_value_is_a_condition() {
    let server = Memcached::start(&[]);
    let stored = run(&server, &["set", "k", "1", "-f", "json"]).exits(0).json();
    assert_eq!((&stored["key"], &stored["status"]), (&json!("k"), &json!("stored")));
    let cas = stored["cas"].as_u64().unwrap().to_string();
    run(&server, &["set", "k", "2", "--cas", &cas]).exits(0);
    let refused = run(&server, &["set", "k", "3", "--cas", &cas, "-f", "ndjson"]).exits(1).json();
    assert_eq!(refused, json!({"key": "k", "status": "exists"}));
    run(&server, &["append", "k", "3", "--cas", &cas]).exits(1);
    run(&server, &["delete", "k", "--cas", &cas]).exits(1);
    assert_eq!(value(&server, "k"), b"2");
}

#[test]
fn ttls_are_sent_to_the_server() {
    let server = Memcached::start(&[]);
    for (ttl, word) in [("2001-01-01T00:00Z", "has passed"), ("0", "write never"), ("0s", "zero"), ("-1s", "negative")]
    {
        run(&server, &["set", "past", "x", &format!("--ttl={ttl}")]).exits(2).reports_error(word);
        run(&server, &["get", "past"]).exits(1);
    }
    for ttl in ["10m", "never", "40d", "2037-01-01T00:00Z"] {
        run(&server, &["set", "k", "x", "--ttl", ttl]).exits(0);
        assert_eq!(value(&server, "k"), b"x", "{ttl}");
    }
}

#[test]
fn invalid_ttls_are_rejected() {
    for (ttl, word) in [("0s", "zero"), ("600", "600s"), ("soon", "10m"), ("2037-01-01", "zone")] {
        remcache(["set", "k", "x", "--ttl", ttl]).run().exits(2).reports_error(word);
    }
}

#[test]
fn a_value_above_the_limit_is_refused() {
    let server = Memcached::start(&[]);
    let big = vec![b'x'; 1 << 20];
    remcache(["set", "k", "-"]).servers(server.addr()).input(big).run().exits(5).reports_error("too large");
    let big = vec![b'x'; 3 << 20];
    remcache(["set", "k", "old"]).servers(server.addr()).run().exits(0);
    remcache(["set", "k", "-"]).servers(server.addr()).input(big.clone()).run().exits(5).reports_error("larger -I");
    // A server that receives the set would delete the existing item.
    assert_eq!(remcache(["get", "k"]).servers(server.addr()).run().exits(0).text(), "old");
    let large = Memcached::start(&["-I", "8m"]);
    for protocol in ["binary", "meta", "text"] {
        let set = remcache(["set", "k", "-", "--protocol", protocol]).servers(large.addr());
        set.input(big.clone()).run().exits(0);
        let got = remcache(["get", "k", "--protocol", protocol]).servers(large.addr()).run().exits(0);
        assert!(got.stdout == big, "{protocol}: {} bytes", got.stdout.len());
    }
}

#[test]
fn invalid_keys_are_rejected_before_any_request() {
    let long = "x".repeat(251);
    for args in [["get", ""], ["get", &long], ["delete", &long], ["incr", ""], ["locate", &long]] {
        remcache(args).servers("127.0.0.1:1").run().exits(2).reports_error("1 to 250");
    }
    remcache(["set", &long, "x"]).servers("127.0.0.1:1").run().exits(2).reports_error("251 bytes");
    remcache(["get", "abc", "--namespace", &"n".repeat(248)])
        .servers("127.0.0.1:1")
        .run()
        .exits(2)
        .reports_error("251 bytes");
}

#[test]
fn a_terminal_shows_the_result() {
    let server = Memcached::start(&[]);
    let run = remcache(["set", "k", "v"]).servers(server.addr()).run_on_terminal("").exits(0);
    assert!(run.text().contains("stored"), "{run:?}");
    let run = remcache(["add", "k", "v"]).servers(server.addr()).run_on_terminal("").exits(1);
    assert!(run.text().contains("not stored: the key exists"), "{run:?}");
    let run = remcache(["-q", "add", "k", "v"]).servers(server.addr()).run_on_terminal("").exits(1);
    assert_eq!(run.text(), "");
}
