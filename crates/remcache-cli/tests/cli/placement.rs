//! `locate` and `ring`: where keys are placed.

use crate::tool::remcache;
use remcache::Client;
use remcache_testkit::Memcached;
use serde_json::{Value, json};

/// Servers that do not exist: no connection is needed.
const SERVERS: &str = "cache1.invalid,cache2.invalid:11212,/run/cache3.sock";

#[test]
fn locate_returns_the_server_that_the_library_uses() {
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
fn locate_separates_key_and_server_by_a_tab_in_a_pipe() {
    let run = remcache(["locate", "a", "b", "-s", "one.invalid"]).run().exits(0);
    assert_eq!(run.text(), "a\tone.invalid:11211\nb\tone.invalid:11211\n");
    let run = remcache(["locate", "a", "-s", "one.invalid", "-f", "text"]).run().exits(0);
    assert_eq!(run.text(), "a  → one.invalid:11211\n");
}

#[test]
fn the_distribution_determines_the_server() {
    let server_of = |distribution: &str, key: &str| {
        let run = remcache(["locate", key, "--distribution", distribution, "-s", "a,b,c"]).run().exits(0);
        run.text().trim_end().rsplit_once('\t').unwrap().1.to_owned()
    };
    // One byte as a number, modulo three servers.
    assert_eq!((server_of("remcached", "a"), server_of("remcached", "b")), ("b:11211".into(), "c:11211".into()));
    remcache(["locate", "a", "--distribution", "nonsense"]).run().exits(2).reports_error("nonsense");
}

#[test]
fn the_namespace_is_hashed_with_the_key() {
    let located = |args: &[&str]| remcache(args).servers("a,b,c,d,e,f,g,h").run().exits(0).text().to_owned();
    let with = located(&["locate", "key", "--namespace", "shop:"]);
    let without = located(&["locate", "shop:key"]);
    assert_eq!(with.split('\t').nth(1), without.split('\t').nth(1));
}

#[test]
fn locate_reports_unknown_for_a_server_that_does_not_answer() {
    let server = Memcached::start(&[]);
    let (alive, dead) = (server.addr(), "127.0.0.1:1");
    let servers = format!("{alive},{dead}");
    let keys: Vec<String> = (0..20).map(|number| format!("key:{number}")).collect();
    let ask = |format: &str| {
        let args = ["locate", "-", "--ask", "-f", format];
        remcache(args).servers(&servers).input(keys.join("\n")).run().exits(3)
    };
    let run = ask("ndjson");
    for line in run.lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        assert_eq!(record["unknown_on"], json!([dead]), "{record}");
        assert_eq!(record["found_on"], json!([]), "{record}");
        let expected = if record["server"] == dead { None } else { Some(false) };
        assert_eq!(record.get("is_found").and_then(Value::as_bool), expected, "{record}");
    }
    let text = ask("text");
    let unknown = format!("{dead}  unknown: {dead} did not answer");
    assert!(text.lines().iter().any(|line| line.ends_with(&unknown)), "{text:?}");
    let absent = format!("{alive}  on no other server; unknown: {dead} did not answer");
    assert!(text.lines().iter().any(|line| line.ends_with(&absent)), "{text:?}");
}

#[test]
fn keys_that_are_not_utf8_keep_their_bytes() {
    let run = remcache(["locate", "-", "-f", "ndjson"]).servers("a").input(*b"\xff\xfe\n").run().exits(0);
    assert_eq!(run.json(), json!({"key_b64": "//4=", "server": "a:11211"}));
    let run = remcache(["locate", "-"]).servers("a").input(*b"\xff\x1b\n").run().exits(0);
    assert_eq!(run.text(), "$'\\xff\\x1b'\ta:11211\n");
}

#[test]
fn a_hundred_thousand_keys_are_located() {
    let keys: String = (0..100_000).map(|number| format!("key:{number}\n")).collect();
    let run = remcache(["locate", "-", "-f", "csv"]).servers(SERVERS).input(keys).run().exits(0);
    assert_eq!(run.lines().len(), 100_001);
}

#[test]
fn keys_are_placed_as_by_another_client() {
    let server_of = |args: &[&str]| {
        let run = remcache(["locate", "foo"].iter().chain(args)).servers("a,b,c").run().exits(0);
        run.text().trim_end().rsplit_once('\t').unwrap().1.to_owned()
    };
    // one_at_a_time of foo is 596015325, its CRC-32 as libmemcached takes it 3187; modulo three servers.
    assert_eq!(server_of(&["--like", "pylibmc"]), "a:11211");
    assert_eq!(server_of(&["--like", "libmemcached", "--hash", "crc32"]), "b:11211");
    assert_eq!(server_of(&["--distribution", "libmemcached", "--hash", "crc32"]), "b:11211");
    let tagged = |key: &str| {
        let args = ["locate", key, "--like", "twemproxy", "--hash-tag", "{}"];
        remcache(args).servers("a,b,c,d,e").run().exits(0).text().trim_end().rsplit_once('\t').unwrap().1.to_owned()
    };
    assert_eq!(tagged("user:{42}:name"), tagged("user:{42}:mail"));
    remcache(["locate", "k", "--like", "pylibmcd"]).run().exits(2).reports_error("pylibmc");
    remcache(["locate", "k", "--like", "dalli", "--hash", "md5"]).servers("a,b").run().exits(2).reports_error("hash");
}

#[test]
fn a_placement_is_explained() {
    let run = remcache(["locate", "Hello", "--explain", "-f", "json"]).servers("a,b,c").run().exits(0);
    let why = &run.json()[0];
    let server = Client::new(["a", "b", "c"]).unwrap().locate("Hello").unwrap().unwrap();
    assert_eq!((&why["server"], &why["hash"]), (&json!(server.name()), &json!("md5")));
    assert_eq!(why["next_servers"].as_array().unwrap().len(), 2);
    let value = |name: &str| why[name].as_str().unwrap().parse::<u64>().unwrap();
    assert!(value("point") >= value("hash_value"), "{why}");
    let run = remcache(["locate", "Hello", "--explain", "-f", "text"]).servers("a,b,c").run().exits(0);
    assert!(run.text().starts_with(&format!("Hello  → {}  hash md5/ketama ", server.name())), "{run:?}");
}

#[test]
fn ring_balance_shows_shares_before_and_after_a_change() {
    let args = ["ring", "balance", "--sample", "30k", "--remove", "c", "-f", "ndjson"];
    let shares = |servers: &str| -> Vec<Value> {
        let run = remcache(args).servers(servers).run().exits(0);
        run.lines().iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let weighted = shares("a,b:11211:2,c");
    assert!(
        (40.0..60.0).contains(&weighted[1]["share_percent"].as_f64().unwrap()),
        "its weight is half of the total: {weighted:?}"
    );
    let shares = shares("a,b,c");
    let sum = |name: &str| shares.iter().map(|share| share[name].as_u64().unwrap()).sum::<u64>();
    assert_eq!((shares.len(), sum("keys")), (3, 30_000));
    assert_eq!(shares[2]["share_after_percent"], 0.0);
    assert_eq!(sum("moved_keys"), shares[2]["keys"].as_u64().unwrap(), "only the keys of the removed server move");
    let run = remcache(args[..5].iter().chain(&["c"])).servers("a,b,c").run().exits(0);
    assert!(run.text().contains(" %): the least possible"), "{run:?}");
    let run = remcache(["ring", "balance", "--sample", "30k", "--add", "c"]).servers("a,b").run().exits(0);
    assert!(run.text().contains(" %): about the least possible"), "{run:?}");
}

#[test]
fn moved_keys_are_listed_by_source_and_destination() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), (0..1000).map(|number| format!("user:{number}\n")).collect::<String>()).unwrap();
    let diff = |args: &[&str]| {
        let keys = ["ring", "diff", "--keys", file.path().to_str().unwrap()];
        remcache(keys.iter().chain(args)).servers("a,b").run()
    };
    assert!(diff(&[]).exits(0).text().ends_with("none of 1,000 keys moves\n"));
    let grown = diff(&["--add", "c"]).exits(0);
    assert!(grown.text().contains("c:11211") && !grown.text().contains("a:11211  b:11211"), "{grown:?}");
    let other = diff(&["--to", "dalli", "-f", "json"]).exits(0).json();
    assert_eq!(other.as_array().unwrap().len(), 2, "from each to the other: {other}");
    diff(&["--remove", "z"]).exits(2).reports_error("--remove z: it is not one of a:11211, b:11211");
    diff(&["--add", "a"]).exits(2).reports_error("there already");
    diff(&["--remove", "a", "--remove", "b"]).exits(2).reports_error("no server would be left");
    remcache(["ring", "diff", "--keys", "-"]).servers("a,b").input("ok\n\n").run().exits(2).reports_error("line 2");
}

#[test]
fn every_placement_is_listed() {
    let run = remcache(["ring", "profiles", "-f", "json"]).run().exits(0);
    let profiles = run.json();
    for profile in profiles.as_array().unwrap() {
        let name = profile["name"].as_str().unwrap();
        let needs_ip = remcache(["locate", "k", "--like", name]).servers("a/10.0.0.1,b/10.0.0.2").run();
        assert_eq!(needs_ip.exit, Some(0), "{name}: {needs_ip:?}");
    }
    assert!(profiles.as_array().unwrap().len() > 30);
}

#[test]
fn locate_ask_shows_the_servers_that_have_a_key() {
    let servers = [Memcached::start(&[]), Memcached::start(&[])];
    let list = servers.iter().map(Memcached::addr).collect::<Vec<_>>().join(",");
    let client = Client::new([&list]).unwrap();
    let holder = client.locate("ns:here").unwrap().unwrap().name().to_owned();
    remcache(["set", "ns:here", "v"]).servers(&holder).run().exits(0);
    let run = remcache(["locate", "--ask", "here", "--namespace", "ns:"]).servers(&list).run().exits(0);
    assert_eq!(run.text(), format!("here\t{holder}\t{holder}\n"));
    let text = remcache(["locate", "--ask", "ns:here", "-f", "text"]).servers(&list).run().exits(0);
    assert!(text.text().ends_with("  found there\n"), "{text:?}");
    let missing = remcache(["locate", "--ask", "absent", "-f", "text"]).servers(&list).run().exits(1);
    assert!(missing.text().ends_with("  on no server\n"), "{missing:?}");
    // On several servers, as after a change of the list; clients use one of them.
    for server in &servers {
        remcache(["set", "twice", "v"]).servers(server.addr()).run().exits(0);
    }
    let twice = remcache(["locate", "--ask", "twice", "-f", "text"]).servers(&list).run().exits(0);
    assert!(twice.text().contains(&format!("found on {}, {}", servers[0].addr(), servers[1].addr())), "{twice:?}");
    // The query does not count as an access.
    let meta = remcache(["get", "ns:here", "--meta", "-f", "ndjson"]).servers(&holder).run().exits(0).json();
    assert_eq!(meta["fetched"], false);
    let partly = remcache(["locate", "--ask", "ns:here"]).servers(format!("{holder},127.0.0.1:1")).run().exits(3);
    assert!(partly.stderr.contains("127.0.0.1:1"), "{partly:?}");
}
