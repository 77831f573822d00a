//! Servers without CAS values (`memcached -C`): commands that need them are refused before they start.

use remcache_testkit::Memcached;

use crate::tool::remcache;

/// Restarting the server would remove all items, so it is not the advice.
const PROBLEM: &str = "the server runs without CAS values (-C): ";

#[test]
fn copy_is_refused_from_and_to_such_a_server() {
    let (with, without) = (Memcached::start(&[]), Memcached::start(&["-C"]));
    for (from, to) in [(&with, &without), (&without, &with)] {
        remcache(["set", "k", "v"]).servers(from.addr()).run().exits(0);
        remcache(["delete", "k"]).servers(to.addr()).run();
        let run = remcache(["copy", "--from", &from.addr(), "--to", &to.addr()]).run().exits(5);
        assert!(
            run.stderr.contains(&format!("{PROBLEM}use remcache dump and remcache load"))
                && run.stderr.contains(&without.addr()),
            "{run:?}"
        );
        remcache(["get", "k"]).servers(to.addr()).run().exits(1);
        let dump = remcache(["dump"]).servers(from.addr()).run().exits(0);
        remcache(["load", "-"]).servers(to.addr()).input(dump.stdout).run().exits(0);
        remcache(["get", "k"]).servers(to.addr()).run().exits(0);
    }
}

#[test]
fn deletes_with_item_conditions_are_refused_and_deletes_by_key_are_not() {
    let server = Memcached::start(&["-C"]);
    for key in ["user:1", "user:2"] {
        remcache(["set", key, "v"]).servers(server.addr()).run().exits(0);
    }
    let larger = ["delete-matching", "user:*", "--min-size", "1", "--yes"];
    remcache(larger).servers(server.addr()).run().exits(5).reports_error(PROBLEM);
    remcache(["get", "user:1"]).servers(server.addr()).run().exits(0);
    remcache(["delete-matching", "user:*", "--yes"]).servers(server.addr()).run().exits(0);
    remcache(["get", "user:1"]).servers(server.addr()).run().exits(1);
}

#[test]
fn conditions_are_refused() {
    let server = Memcached::start(&["-C"]);
    remcache(["set", "k", "v"]).servers(server.addr()).run().exits(0);
    for protocol in ["binary", "meta", "text"] {
        for args in [&["set", "k", "x"][..], &["replace", "k", "x"], &["append", "k", "x"], &["delete", "k"]] {
            let run = remcache([args, &["--cas", "1", "--protocol", protocol]].concat())
                .servers(server.addr())
                .run()
                .exits(5);
            assert!(run.stderr.contains(&format!("{}: --cas is not supported: {PROBLEM}", server.addr())), "{run:?}");
        }
    }
    assert_eq!(remcache(["get", "k"]).servers(server.addr()).run().exits(0).text(), "v");
}

#[test]
fn stores_without_a_condition_work() {
    let server = Memcached::start(&["-C"]);
    for protocol in ["binary", "meta", "text"] {
        for args in [["set", "k", "b"], ["append", "k", "c"], ["prepend", "k", "a"]] {
            remcache(args).arg("--protocol").arg(protocol).servers(server.addr()).run().exits(0);
        }
        assert_eq!(remcache(["get", "k"]).servers(server.addr()).run().exits(0).text(), "abc", "{protocol}");
    }
}
