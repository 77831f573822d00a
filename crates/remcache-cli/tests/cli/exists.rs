//! `exists`: whether keys have items.

use remcache_testkit::Memcached;
use serde_json::json;

use crate::tool::remcache;

/// Nobody listens there.
const DEAD: &str = "127.0.0.1:1";

#[test]
fn the_exit_code_is_the_answer() {
    let server = Memcached::start(&[]);
    remcache(["set", "a", "1"]).servers(server.addr()).run().exits(0);
    let run = remcache(["exists", "a"]).servers(server.addr()).run().exits(0);
    assert_eq!(run.text(), "a\tfound\n");
    let run = remcache(["exists", "a", "b"]).servers(server.addr()).run().exits(1);
    assert_eq!(run.text(), "a\tfound\nb\tmissing\n");
}

#[test]
fn keys_that_are_no_utf8_keep_their_bytes() {
    let server = Memcached::start(&[]);
    let run = remcache(["exists", "-", "-f", "ndjson"]).servers(server.addr()).input(*b"\xff\n").run().exits(1);
    assert_eq!(run.json(), json!({"key_b64": "/w==", "status": "missing"}));
}

#[test]
fn a_server_that_is_away_is_no_answer() {
    let run = remcache(["exists", "a", "--timeout", "300ms"]).servers(DEAD).run().exits(4);
    assert_eq!(run.text(), "a\tfailed\n");
    assert!(run.stderr.contains(DEAD), "{run:?}");
}
