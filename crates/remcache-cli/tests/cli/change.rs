//! `delete`, `touch`, `incr`, `decr`: changes of existing items.

use crate::tool::{Run, remcache};
use remcache_testkit::Memcached;
use serde_json::json;

fn run(server: &Memcached, args: &[&str]) -> Run {
    remcache(args).servers(server.addr()).run()
}

#[test]
fn keys_are_deleted_and_missing_ones_reported() {
    let server = Memcached::start(&[]);
    run(&server, &["set", "a", "1"]).exits(0);
    run(&server, &["set", "b", "2"]).exits(0);
    run(&server, &["delete", "a"]).exits(0);
    run(&server, &["delete", "a"]).exits(1);
    let deleted = run(&server, &["delete", "a", "b", "-f", "json"]).exits(1).json();
    assert_eq!(deleted, json!([{"key": "a", "status": "missing"}, {"key": "b", "status": "deleted"}]));
    run(&server, &["get", "b"]).exits(1);
}

#[test]
fn a_hundred_thousand_keys_are_deleted_from_a_list() {
    let server = Memcached::start(&[]);
    for key in ["key:0", "key:50000", "key:99999"] {
        run(&server, &["set", key, "x"]).exits(0);
    }
    let keys: String = (0..100_000).map(|number| format!("key:{number}\n")).collect();
    let run = remcache(["delete", "-"]).servers(server.addr()).input(keys).run().exits(1);
    assert!(run.stdout.is_empty() && run.stderr.is_empty(), "{run:?}");
    for key in ["key:0", "key:50000", "key:99999"] {
        remcache(["get", key]).servers(server.addr()).run().exits(1);
    }
}

#[test]
fn a_condition_needs_a_single_key() {
    remcache(["delete", "a", "b", "--cas", "7"]).servers("127.0.0.1:1").run().exits(2).reports_error("one key");
    remcache(["delete", "a", "--cas", "0"]).servers("127.0.0.1:1").run().exits(2).reports_error("--cas");
}

#[test]
fn items_get_a_new_ttl() {
    let server = Memcached::start(&[]);
    run(&server, &["set", "a", "1"]).exits(0);
    run(&server, &["touch", "a", "--ttl", "1h"]).exits(0);
    run(&server, &["touch", "unknown", "--ttl", "1h"]).exits(1);
    let touched = run(&server, &["touch", "a", "--ttl", "2h", "-f", "ndjson"]).exits(0).json();
    assert_eq!(touched["status"], "touched");
    run(&server, &["touch", "a", "--ttl", "2001-01-01T00:00Z"]).exits(2).reports_error("has passed");
    run(&server, &["get", "a"]).exits(0);
    run(&server, &["touch", "a"]).exits(2).reports_error("--ttl");
}

#[test]
fn counters_print_their_number() {
    let server = Memcached::start(&[]);
    run(&server, &["incr", "n"]).exits(1);
    for (args, number) in [
        (&["incr", "n", "--init", "5", "--ttl", "1h"][..], "5\n"),
        (&["incr", "n"], "6\n"),
        (&["incr", "n", "10"], "16\n"),
        (&["decr", "n", "6"], "10\n"),
        (&["decr", "n", "99"], "0\n"),
        (&["decr", "n"], "0\n"),
    ] {
        assert_eq!(run(&server, args).exits(0).text(), number, "{args:?}");
    }
    let record = run(&server, &["incr", "n", "-f", "json"]).exits(0).json();
    assert_eq!((&record["key"], &record["value"]), (&json!("n"), &json!(1)));
    let record = run(&server, &["incr", "unknown", "-f", "json"]).exits(1).json();
    assert_eq!(record, json!({"key": "unknown", "status": "missing"}));
}

#[test]
fn a_text_value_cannot_be_incremented() {
    let server = Memcached::start(&[]);
    run(&server, &["set", "k", "hello"]).exits(0);
    run(&server, &["incr", "k"]).exits(5).reports_error("not a number");
    assert_eq!(run(&server, &["get", "k"]).exits(0).stdout, b"hello");
}

#[test]
fn invalid_steps_are_rejected() {
    for args in [
        &["incr", "n", "x"][..],
        &["incr", "n", "--", "-1"],
        &["incr", "n", "18446744073709551616"],
        &["incr", "n", "--ttl", "1h"],
    ] {
        remcache(args).servers("127.0.0.1:1").run().exits(2);
    }
}
