//! `check` and `doctor`: what is not as it should be, for people and for monitoring.

use remcache_testkit::Memcached;
use serde_json::json;

use crate::tool::remcache;

/// Nobody listens there.
const DEAD: &str = "127.0.0.1:1";

#[test]
fn healthy_servers_are_ok() {
    let server = Memcached::start(&[]);
    let run = remcache(["check", "--fail-if", "memory%>90", "--warn-if", "evictions/s>0", "--interval", "10ms"]);
    let run = run.servers(server.addr()).run().exits(0);
    assert_eq!(run.lines()[1], format!("{}  OK", server.addr()));
    let run = remcache(["check", "-f", "json"]).servers(server.addr()).run().exits(0);
    assert_eq!(run.json(), json!([{"server": server.addr(), "status": "OK", "reasons": ""}]));
}

#[test]
fn a_broken_threshold_is_told_with_what_it_is() {
    let server = Memcached::start(&[]);
    remcache(["set", "k", "v"]).servers(server.addr()).run().exits(0);
    remcache(["get", "absent"]).servers(server.addr()).run().exits(1);
    let run =
        remcache(["check", "--fail-if", "hit%<50", "--warn-if", "curr_items>0"]).servers(server.addr()).run().exits(8);
    assert!(run.text().contains("CRITICAL  hit% is 0.0% (hit%<50); curr_items is 1 (curr_items>0)"), "{run:?}");
    remcache(["check", "--warn-if", "curr_items>0"]).servers(server.addr()).run().exits(8);
    let run = remcache(["check", "--fail-if", "curr_itemz>0"]).servers(server.addr()).run().exits(2);
    assert!(run.text().contains("UNKNOWN  curr_itemz is not told"), "{run:?}");
    remcache(["check", "--warn-if", "nonsense"]).servers(server.addr()).run().exits(2).complains_of("hit%<90");
}

#[test]
fn a_dead_server_is_critical() {
    let server = Memcached::start(&[]);
    let run = remcache(["check"]).servers(format!("{},{DEAD}", server.addr())).run().exits(3);
    assert!(run.text().contains("CRITICAL  down: "), "{run:?}");
    remcache(["check"]).servers(DEAD).run().exits(4);
}

#[test]
fn monitoring_gets_one_line_and_its_own_codes() {
    let server = Memcached::start(&[]);
    remcache(["set", "k", "v"]).servers(server.addr()).run().exits(0);
    let check =
        |args: &[&str], servers: &str| remcache(["check", "-f", "nagios"].iter().chain(args)).servers(servers).run();
    let ok = check(&["--warn-if", "curr_items>5", "--fail-if", "hit%<50"], &server.addr()).exits(0);
    let addr = server.addr();
    assert_eq!(ok.text(), format!("MEMCACHED OK - 1 of 1 servers answer | '{addr} curr_items'=1;5;\n"));
    let warning = check(&["--warn-if", "curr_items>0"], &server.addr()).exits(1);
    assert!(warning.text().starts_with(&format!("MEMCACHED WARNING - 1 of 1 servers answer, {addr} curr_items is 1")));
    let critical = check(&[], &format!("{addr},{DEAD}")).exits(2);
    assert!(critical.text().starts_with(&format!("MEMCACHED CRITICAL - 1 of 2 servers answer, {DEAD} down: ")));
    let low = check(&["--warn-if", "curr_items<5", "--fail-if", "curr_items<1"], &addr).exits(1);
    assert!(low.text().ends_with(&format!(" | '{addr} curr_items'=1;5:;1:\n")), "{low:?}");
    let untold = check(&["--fail-if", "curr_itemz>5"], &addr).exits(3);
    assert!(untold.text().starts_with("MEMCACHED UNKNOWN - 1 of 1 servers answer, "), "{untold:?}");
    assert!(untold.text().contains("curr_itemz is not told"), "{untold:?}");
    check(&["--fail-if", "nonsense"], &addr).exits(3);
    let nowhere = check(&["--user", "u", "--password-file", "/nowhere"], &addr).exits(3);
    assert!(nowhere.text().starts_with("MEMCACHED UNKNOWN - ") && nowhere.text().contains("/nowhere"), "{nowhere:?}");
    check(&[], "a:b:c:d").exits(3);
    remcache(["get", "k", "-f", "nagios"]).servers(server.addr()).run().exits(2).complains_of("check");
}

#[test]
fn the_doctor_finds_what_is_wrong_and_says_what_to_do() {
    let server = Memcached::start(&["-C", "-I", "512k"]);
    let run = remcache(["doctor", "-f", "json"]).servers(format!("{},{DEAD}", server.addr())).run().exits(3);
    let findings = run.json();
    let about = |server: &str| -> Vec<String> {
        let found = findings.as_array().unwrap().iter().filter(|finding| finding["server"] == server);
        found.map(|finding| finding["about"].as_str().unwrap().to_owned()).collect()
    };
    // Debian mends its 1.6.18 without raising the number, which is all that can be seen.
    assert_eq!(about(&server.addr()), ["version", "CAS", "item size"]);
    assert_eq!(about(DEAD), ["reach"]);
    let text = remcache(["doctor"]).servers(server.addr()).run().exits(8);
    assert!(text.text().contains("compare-and-swap is off (-C)"), "{text:?}");
    assert!(text.lines().last().unwrap().starts_with("0 of 1 servers"), "{text:?}");
    remcache(["doctor"]).servers(DEAD).run().exits(4);
}
