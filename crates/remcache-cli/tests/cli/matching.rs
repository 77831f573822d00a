//! `delete-matching`: deletes matching items, and no others.

use std::time::Duration;

use remcache_testkit::{Memcached, scratch};
use serde_json::{Value, json};

use crate::tool::{Run, remcache};

fn run(args: &[&str], servers: &str) -> Run {
    remcache(args).servers(servers).run()
}

/// Starts two servers, and distributes 1,000 keys of users and 500 of sessions over them.
fn filled() -> (Vec<Memcached>, String) {
    let servers = vec![Memcached::start(&[]), Memcached::start(&[])];
    let list = servers.iter().map(Memcached::addr).collect::<Vec<_>>().join(",");
    let lines: String = (0..1500)
        .map(|number| {
            let kind = if number % 3 == 0 { "session" } else { "user" };
            format!("{{\"key\":\"{kind}:{number}\",\"value\":\"{number}\"}}\n")
        })
        .collect();
    remcache(["load", "-", "-q"]).servers(&list).input(lines).run().exits(0);
    (servers, list)
}

fn count(servers: &str) -> String {
    run(&["keys", "--count"], servers).exits(0).text().trim().to_owned()
}

#[test]
fn only_matching_items_are_deleted() {
    let (_servers, list) = filled();
    let deleted = run(&["delete-matching", "session:*", "--yes"], &list).exits(0);
    assert!(deleted.stdout.is_empty() && deleted.stderr.contains("500 deleted"), "{deleted:?}");
    assert_eq!(count(&list), "1000");
    let record = run(&["delete-matching", "user:1*", "-y", "-f", "json"], &list).exits(0).json();
    let left: u64 = count(&list).parse().unwrap();
    assert_eq!(record["items"], json!(1000 - left));
    assert!(run(&["keys", "--glob", "user:1*"], &list).exits(0).stdout.is_empty());
    // It is not an error that none matches.
    run(&["delete-matching", "session:*", "--yes"], &list).exits(0);
}

#[test]
fn an_option_can_replace_the_pattern() {
    let (_servers, list) = filled();
    let refused = run(&["delete-matching", "--yes"], &list).exits(2);
    for text in ["a PATTERN such as 'user:*'", "'*' for all keys", "--misplaced"] {
        assert!(refused.stderr.contains(text), "{refused:?}");
    }
    assert_eq!(count(&list), "1500");
    run(&["delete-matching", "--prefix", "session:", "--yes"], &list).exits(0);
    assert_eq!(count(&list), "1000");
    let asked = remcache(["delete-matching", "--glob", "user:1*"]).servers(&list).run_on_terminal("n\n").exits(1);
    assert!(asked.text().contains("Remove the items with --glob user:1* of"), "{asked:?}");
    assert_eq!(count(&list), "1000");
}

#[test]
fn without_a_terminal_it_needs_yes_and_deletes_nothing() {
    let (_servers, list) = filled();
    run(&["delete-matching", "*"], &list).exits(2).reports_error("refusing to delete 1,500 items without a terminal");
    assert_eq!(count(&list), "1500");
    let deleted = run(&["delete-matching", "session:*", "--dry-run"], &list).exits(0);
    assert_eq!(deleted.lines().len(), 500);
    assert!(deleted.stderr.contains("500 items match"), "{deleted:?}");
    assert!(deleted.lines().iter().all(|key| key.starts_with("session:")));
    let records = run(&["delete-matching", "session:*", "-n", "-f", "json"], &list).exits(0).json();
    assert_eq!(records.as_array().map(Vec::len), Some(500));
    assert_eq!(count(&list), "1500");
}

#[test]
fn on_a_terminal_it_asks_with_the_number_of_matches() {
    let (_servers, list) = filled();
    let asked = remcache(["delete-matching", "session:*"]).servers(&list).run_on_terminal("n\n").exits(1);
    assert!(asked.text().contains("500 items match"), "{asked:?}");
    assert!(asked.text().contains("not confirmed: nothing was changed"), "{asked:?}");
    assert_eq!(count(&list), "1500");
    remcache(["delete-matching", "session:*"]).servers(&list).run_on_terminal("y\n").exits(0);
    assert_eq!(count(&list), "1000");
}

#[test]
fn a_production_context_asks_for_its_name() {
    let (_servers, list) = filled();
    let home = scratch();
    let home = home.path().to_str().expect("a path in UTF-8");
    let run = |args: &[&str]| remcache(args).env("HOME", home);
    run(&["context", "add", "shop", "-s", &list, "--production"]).run().exits(0);
    run(&["context", "use", "shop"]).run().exits(0);
    let asked = run(&["delete-matching", "*"]).run_on_terminal("y\n").exits(1);
    assert!(asked.text().contains("type its name"), "{asked:?}");
    assert_eq!(count(&list), "1500");
    run(&["delete-matching", "*"]).run_on_terminal("shop\n").exits(0);
    assert_eq!(count(&list), "0");
}

#[test]
fn conditions_on_items_are_checked_at_the_delete() {
    let server = Memcached::start(&[]);
    let address = server.addr();
    run(&["set", "old", "x", "--ttl", "1h"], &address).exits(0);
    run(&["set", "ever", "x"], &address).exits(0);
    run(&["delete-matching", "*", "--ttl-below", "2h", "--yes"], &address).exits(0);
    run(&["get", "old"], &address).exits(1);
    run(&["get", "ever"], &address).exits(0);
}

#[test]
fn items_outside_the_namespace_are_kept() {
    let server = Memcached::start(&[]);
    for key in ["a:1", "a:2", "b:1"] {
        run(&["set", key, "x"], &server.addr()).exits(0);
    }
    run(&["delete-matching", "*", "--yes", "--namespace", "a:"], &server.addr()).exits(0);
    assert_eq!(run(&["keys"], &server.addr()).text(), "b:1\n");
    run(&["delete-matching", "b*", "--yes", "--namespace", "b:"], &server.addr()).exits(0);
    assert_eq!(run(&["keys"], &server.addr()).text(), "b:1\n");
}

#[test]
fn keys_of_any_bytes_match() {
    let server = Memcached::start(&[]);
    let lines = "{\"key_b64\":\"/yAKAA==\",\"value\":\"x\"}\n{\"key\":\"k\",\"value\":\"x\"}\n";
    remcache(["load", "-"]).servers(server.addr()).input(lines).run().exits(0);
    run(&["delete-matching", "*", "--regex", "(?-u)^\\xff", "--yes"], &server.addr()).exits(0);
    assert_eq!(run(&["keys"], &server.addr()).text(), "k\n");
    run(&["delete-matching", "[", "--yes"], &server.addr()).exits(2);
}

#[test]
fn servers_that_are_down_are_named_and_the_rate_is_limited() {
    let (_servers, list) = filled();
    let started = std::time::Instant::now();
    let dead = format!("{list},127.0.0.1:1");
    let deleted = run(&["delete-matching", "session:*", "--yes", "--rate", "500"], &dead).exits(3);
    assert!(deleted.stderr.contains("127.0.0.1:1") && deleted.stderr.contains("500 deleted"), "{deleted:?}");
    // There is no wait after the last batch.
    assert!(started.elapsed() >= Duration::from_millis(800));
    run(&["delete-matching", "*", "--yes"], "127.0.0.1:1").exits(4);
}

#[test]
fn skipped_items_are_listed() {
    let server = Memcached::start(&[]);
    let lines = "{\"key\":\"has space\",\"value\":\"x\"}\n{\"key\":\"k\",\"value\":\"x\"}\n";
    remcache(["load", "-"]).servers(server.addr()).input(lines).run().exits(0);
    let directory = scratch();
    let list = directory.path().join("failed.ndjson");
    let args = ["delete-matching", "*", "-y", "--protocol", "text", "--failed", list.to_str().unwrap()];
    run(&args, &server.addr()).exits(1);
    let listed: Value = serde_json::from_str(std::fs::read_to_string(&list).unwrap().trim()).unwrap();
    assert_eq!((&listed["key"], &listed["reason"]), (&json!("has space"), &json!("invalid_key")));
}

#[test]
fn a_server_without_matches_is_not_reported_as_unreachable() {
    let server = Memcached::start(&[]);
    let servers = format!("{},127.0.0.1:1", server.addr());
    run(&["delete-matching", "zz*", "-y"], &servers).exits(3);
    run(&["dump"], &servers).exits(3);
    run(&["dump"], "127.0.0.1:1").exits(4);
}

#[test]
fn the_question_names_all_conditions() {
    let server = Memcached::start(&[]);
    for key in ["user:1", "user:2"] {
        remcache(["set", key, "v", "--ttl", "1h"]).servers(server.addr()).run().exits(0);
    }
    let args = ["delete-matching", "*", "--prefix", "user:", "--ttl-below", "2h", "--min-size", "1"];
    let asked = remcache(args).servers(server.addr()).run_on_terminal("n\n").exits(1);
    let question = format!(
        "2 items match. Remove the items whose keys match * --prefix user: --min-size 1 --ttl-below 7200s of {}?",
        server.addr()
    );
    assert!(asked.text().contains(&question), "{asked:?}");
    assert_eq!(count(&server.addr()), "2");
}

#[test]
fn without_matches_no_confirmation_is_asked() {
    let (_servers, list) = filled();
    let run = remcache(["delete-matching", "nothing:*"]).servers(&list).run_on_terminal("").exits(0);
    assert!(run.text().contains("0 deleted") && !run.text().contains("[y/N]"), "{run:?}");
    // Nor is a terminal needed.
    let run = remcache(["delete-matching", "nothing:*"]).servers(&list).run().exits(0);
    assert!(run.stderr.starts_with("no items match\n0 deleted"), "{run:?}");
    let record = remcache(["delete-matching", "nothing:*", "-f", "json"]).servers(&list).run().exits(0).json();
    assert_eq!(record["items"], json!(0));
    // What no server could list may match.
    let partly = remcache(["delete-matching", "nothing:*"]).servers(format!("{list},127.0.0.1:1")).run().exits(3);
    assert!(!partly.stderr.contains("no items match") && partly.stderr.contains("127.0.0.1:1"), "{partly:?}");
    remcache(["delete-matching", "*"]).servers("127.0.0.1:1").run().exits(4);
}

#[test]
fn only_misplaced_items_are_deleted() {
    let (servers, list) = filled();
    // After a third server has joined, some keys belong to it and are still on the first two.
    let third = Memcached::start(&[]);
    let grown = format!("{list},{}", third.addr());
    let dry = run(&["delete-matching", "*", "--misplaced", "-n"], &grown).exits(0);
    let misplaced: Vec<_> = dry.lines().into_iter().map(str::to_owned).collect();
    assert!(misplaced.len() > 100 && misplaced.len() < 1400, "{}", misplaced.len());
    let sorted = |mut keys: Vec<String>| {
        keys.sort();
        keys
    };
    let listed = run(&["keys", "--misplaced"], &grown).exits(0).lines().into_iter().map(str::to_owned).collect();
    assert_eq!(sorted(listed), sorted(misplaced.clone()));
    // People see where each item is, and where clients look for it; records have the same fields.
    let shown = run(&["keys", "--misplaced", "-f", "text"], &grown).exits(0);
    let titles: Vec<_> = shown.lines()[0].split("  ").map(str::trim).filter(|title| !title.is_empty()).collect();
    assert_eq!(titles, ["SERVER", "BELONGS TO", "KEY"], "{shown:?}");
    assert_eq!(shown.lines().len(), misplaced.len() + 1);
    let records = run(&["keys", "--misplaced", "-f", "json"], &grown).exits(0).json();
    let located = remcache(["locate", "-"]).servers(&grown).input(misplaced.join("\n")).run().exits(0);
    let records = records.as_array().unwrap();
    assert_eq!(records.len(), misplaced.len());
    for record in records {
        let [key, server, belongs_to] = ["key", "server", "belongs_to"].map(|field| record[field].as_str().unwrap());
        assert!(located.lines().contains(&&*format!("{key}\t{belongs_to}")) && server != belongs_to, "{record}");
        let line = [server, belongs_to, key];
        assert!(shown.lines().iter().any(|shown| shown.split_whitespace().eq(line)), "{line:?}");
    }
    assert!(located.lines().iter().all(|line| line.ends_with(&third.addr())), "{located:?}");
    // locate --ask shows such a key, and where it is.
    let asked = remcache(["locate", "--ask", &misplaced[0], "-f", "ndjson"]).servers(&grown).run().exits(1).json();
    assert_eq!((&asked["server"], &asked["is_found"]), (&third.addr().into(), &false.into()));
    let found = asked["found_on"][0].as_str().unwrap();
    assert!(servers.iter().any(|server| server.addr() == found), "{asked}");
    run(&["delete-matching", "*", "--misplaced", "--yes"], &grown).exits(0);
    let left: usize = count(&grown).parse().unwrap();
    assert_eq!(left, 1500 - misplaced.len());
    assert!(run(&["delete-matching", "*", "--misplaced", "-n"], &grown).exits(0).stdout.is_empty());
}

#[test]
fn many_misplaced_items_are_a_reason_to_check_the_server_list() {
    let (_servers, list) = filled();
    let doubt = "compare the server list and --distribution";
    let wrong = run(&["delete-matching", "*", "--misplaced", "--like", "pylibmc"], &list).exits(2);
    assert!(wrong.stderr.contains("of 1,500 items are misplaced") && wrong.stderr.contains(doubt), "{wrong:?}");
    let third = Memcached::start(&[]);
    let grown = run(&["delete-matching", "*", "--misplaced"], &format!("{list},{}", third.addr())).exits(2);
    assert!(!grown.stderr.contains(doubt), "{grown:?}");
}

#[test]
fn a_server_that_recovers_after_the_count_loses_nothing() {
    let (servers, list) = filled();
    let [first, second] = &servers[..] else { unreachable!("two servers are started") };
    let (before, kept) = (count(&first.addr()), count(&second.addr()));
    second.stop();
    let args = ["delete-matching", "*", "--timeout", "500ms", "--connect-timeout", "500ms"];
    let mut asked = remcache(args).servers(&list).start_on_terminal(24, 200);
    let question = format!("{before} items match. Remove the items whose keys match * of {}? [y/N]", first.addr());
    let screen = asked.wait_for_text(&question);
    assert!(screen.contains(&format!("error: {}: ", second.addr())), "{screen}");
    assert!(screen.contains("nothing is deleted on servers that failed to list their items"), "{screen}");
    second.cont();
    asked.press("y\n");
    let screen = asked.wait_for_text(&format!("{before} deleted"));
    let (exit, _) = asked.wait_for_exit();
    assert_eq!(exit, Some(3), "{screen}");
    assert_eq!((count(&first.addr()), count(&second.addr())), ("0".to_owned(), kept));
}
