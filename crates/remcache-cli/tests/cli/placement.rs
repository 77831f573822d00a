//! `remcache locate`: where keys live, without a connection.

use crate::tool::remcache;
use remcache::Client;
use serde_json::{Value, json};

/// Nobody listens there, and nobody is asked.
const SERVERS: &str = "cache1.invalid,cache2.invalid:11212,/run/cache3.sock";

#[test]
fn each_key_has_the_server_that_the_library_asks() {
    let keys: Vec<String> = (0..1000).map(|number| format!("user:{number}")).collect();
    let run = remcache(["locate", "-", "-f", "ndjson"]).servers(SERVERS).input(keys.join("\n")).run().exits(0);
    let client = Client::new([SERVERS]).unwrap();
    for (key, line) in keys.iter().zip(run.lines()) {
        let server = client.locate(key).unwrap().unwrap();
        let record: Value = serde_json::from_str(line).unwrap();
        assert_eq!(record, json!({"key": key, "server": server.name()}));
    }
    assert_eq!(run.lines().len(), 1000);
}

#[test]
fn a_pipe_gets_a_tab_between_key_and_server() {
    let run = remcache(["locate", "a", "b", "-s", "one.invalid"]).run().exits(0);
    assert_eq!(run.text(), "a\tone.invalid:11211\nb\tone.invalid:11211\n");
    let run = remcache(["locate", "a", "-s", "one.invalid", "-f", "text"]).run().exits(0);
    assert_eq!(run.text(), "a  → one.invalid:11211\n");
}

#[test]
fn the_distribution_decides() {
    let place = |distribution: &str, key: &str| {
        let run = remcache(["locate", key, "--distribution", distribution, "-s", "a,b,c"]).run().exits(0);
        run.text().trim_end().rsplit_once('\t').unwrap().1.to_owned()
    };
    // One byte as a number, modulo three servers.
    assert_eq!((place("remcached", "a"), place("remcached", "b")), ("b:11211".into(), "c:11211".into()));
    remcache(["locate", "a", "--distribution", "nonsense"]).run().exits(2).complains_of("nonsense");
}

#[test]
fn the_namespace_is_placed_with_the_key() {
    let located = |args: &[&str]| remcache(args).servers("a,b,c,d,e,f,g,h").run().exits(0).text().to_owned();
    let with = located(&["locate", "key", "--namespace", "shop:"]);
    let without = located(&["locate", "shop:key"]);
    assert_eq!(with.split('\t').nth(1), without.split('\t').nth(1));
}

#[test]
fn keys_that_are_no_utf8_keep_their_bytes() {
    let run = remcache(["locate", "-", "-f", "ndjson"]).servers("a").input(*b"\xff\xfe\n").run().exits(0);
    assert_eq!(run.json(), json!({"key_b64": "//4=", "server": "a:11211"}));
    let run = remcache(["locate", "-"]).servers("a").input(*b"\xff\x1b\n").run().exits(0);
    assert_eq!(run.text(), "\\xff\\x1b\ta:11211\n");
}

#[test]
fn a_hundred_thousand_keys() {
    let keys: String = (0..100_000).map(|number| format!("key:{number}\n")).collect();
    let run = remcache(["locate", "-", "-f", "csv"]).servers(SERVERS).input(keys).run().exits(0);
    assert_eq!(run.lines().len(), 100_001);
}
