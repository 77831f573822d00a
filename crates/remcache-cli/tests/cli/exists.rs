//! `exists`: whether keys exist, without counting as an access.

use remcache_testkit::Memcached;
use serde_json::json;

use crate::tool::remcache;

/// An address that nothing listens on.
const DEAD: &str = "127.0.0.1:1";

#[test]
fn the_exit_code_reports_whether_all_exist() {
    let server = Memcached::start(&[]);
    remcache(["set", "a", "1"]).servers(server.addr()).run().exits(0);
    let run = remcache(["exists", "a"]).servers(server.addr()).run().exits(0);
    assert_eq!(run.text(), "a\tfound\n");
    let run = remcache(["exists", "a", "b"]).servers(server.addr()).run().exits(1);
    assert_eq!(run.text(), "a\tfound\nb\tmissing\n");
}

#[test]
fn keys_that_are_not_utf8_keep_their_bytes() {
    let server = Memcached::start(&[]);
    let run = remcache(["exists", "-", "-f", "ndjson"]).servers(server.addr()).input(*b"\xff\n").run().exits(1);
    assert_eq!(run.json(), json!({"key_b64": "/w==", "status": "missing"}));
}

#[test]
fn a_server_that_is_down_is_a_failure() {
    let run = remcache(["exists", "a", "--timeout", "300ms"]).servers(DEAD).run().exits(4);
    assert_eq!(run.text(), "a\tfailed\n");
    assert!(run.stderr.contains(DEAD), "{run:?}");
}

#[test]
fn it_does_not_count_as_an_access() {
    let server = Memcached::start(&[]);
    remcache(["set", "a", "1"]).servers(server.addr()).run().exits(0);
    let is_fetched = || {
        let meta = remcache(["get", "a", "--meta", "-f", "ndjson"]).servers(server.addr()).run().exits(0).json();
        meta["fetched"].as_bool().unwrap()
    };
    remcache(["exists", "a"]).servers(server.addr()).run().exits(0);
    assert!(!is_fetched());
    // The other protocols have no command for this.
    for protocol in ["binary", "text"] {
        remcache(["exists", "a", "--protocol", protocol]).servers(server.addr()).run().exits(0);
        remcache(["exists", "b", "--protocol", protocol]).servers(server.addr()).run().exits(1);
    }
    assert!(is_fetched());
}
