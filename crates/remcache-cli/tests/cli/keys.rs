//! `keys` and `watch`: the keys of the servers, and their events.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener};
use std::thread;

use remcache_testkit::Memcached;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::tool::{remcache, wait_for_watchers};

/// An address that nothing listens on.
const DEAD: &str = "127.0.0.1:1";

/// Starts two servers, and stores these numbers of keys of users and of sessions.
fn filled(users: u32, sessions: u32) -> (Vec<Memcached>, String) {
    let servers = vec![Memcached::start(&[]), Memcached::start(&[])];
    let list = servers.iter().map(Memcached::addr).collect::<Vec<_>>().join(",");
    let client = remcache::Client::new([&list]).expect("addresses");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let user = (0..users).map(|number| (format!("user:{number}"), "value"));
        assert!(client.set_many(user).await.is_complete());
        let session = (0..sessions).map(|number| (format!("session:{number}"), "a longer value, as sessions have"));
        assert!(client.set_many(session).ttl(std::time::Duration::from_secs(60)).await.is_complete());
    });
    (servers, list)
}

#[test]
fn every_key_of_every_server_is_listed() {
    let (_servers, list) = filled(3000, 500);
    let run = remcache(["keys"]).servers(&list).run().exits(0);
    let mut keys = run.lines();
    keys.sort_unstable();
    let mut expected: Vec<String> = (0..3000).map(|number| format!("user:{number}")).collect();
    expected.extend((0..500).map(|number| format!("session:{number}")));
    expected.sort_unstable();
    assert_eq!(keys, expected);
    assert_eq!(remcache(["keys", "--count"]).servers(&list).run().exits(0).text(), "3500\n");
    let count = |args: &[&str]| {
        remcache(["keys", "--count"].iter().chain(args)).servers(&list).run().exits(0).text().to_owned()
    };
    assert_eq!(count(&["--prefix", "session:"]), "500\n");
    assert_eq!(count(&["--glob", "user:29??"]), "100\n");
    assert_eq!(count(&["--regex", "^user:.$"]), "10\n");
    assert_eq!(count(&["--ttl-below", "2m"]), "500\n");
    remcache(["keys", "--regex", "["]).servers(&list).run().exits(2).reports_error("regex");
}

#[test]
fn records_have_the_properties_of_an_item() {
    let (_servers, list) = filled(700, 700);
    for format in ["json", "ndjson"] {
        let run = remcache(["keys", "-f", format]).servers(&list).run().exits(0);
        let records: Vec<Value> = match format {
            "json" => run.json().as_array().unwrap().clone(),
            _ => run.lines().iter().map(|line| serde_json::from_str(line).unwrap()).collect(),
        };
        assert_eq!(records.len(), 1400, "{format}");
        let session = records.iter().find(|record| record["key"] == "session:7").unwrap();
        assert!(session["expires"].is_u64() && session["item_size"].as_u64() > Some(60) && session["fetched"] == false);
    }
    assert_eq!(remcache(["keys", "-f", "csv"]).servers(&list).run().exits(0).lines().len(), 1401);
    assert_eq!(remcache(["keys", "-f", "json"]).servers(Memcached::start(&[]).addr()).run().exits(0).text(), "[]\n");
}

#[test]
fn a_tree_sums_up_by_prefix() {
    let (_servers, list) = filled(300, 100);
    let run = remcache(["keys", "--tree", ":", "-f", "json"]).servers(&list).run().exits(0);
    let tree = run.json();
    let branch =
        |prefix: &str| tree.as_array().unwrap().iter().find(|branch| branch["prefix"] == prefix).unwrap().clone();
    assert_eq!((&branch("user:")["items"], &branch("user:")["without_ttl"]), (&300.into(), &300.into()));
    assert_eq!((&branch("session:")["items"], &branch("session:")["without_ttl"]), (&100.into(), &0.into()));
    let text = remcache(["keys", "--tree", ":"]).servers(&list).run().exits(0);
    assert!(text.lines()[0].starts_with("PREFIX"), "{text:?}");
    assert!(text.lines()[1].ends_with("  100%        100%"), "{text:?}");
    let keys: Vec<_> = (0..300).map(|number| format!("user:{number}")).collect();
    remcache(["get", "--protocol", "text", "-f", "ndjson"].into_iter().chain(keys.iter().map(String::as_str)))
        .servers(&list)
        .run()
        .exits(0);
    let text = remcache(["keys", "--tree", ":", "--prefix", "user:"]).servers(&list).run().exits(0);
    assert!(text.lines()[1].ends_with("  100%          0%"), "{text:?}");
    let shown = remcache(["keys", "--tree", ":"]).servers(&list).run_on_terminal("").exits(0);
    assert!(shown.text().contains("(400 items; "), "{shown:?}");
}

#[test]
fn keys_keep_their_bytes_and_servers_that_are_down_are_named() {
    let server = Memcached::start(&[]);
    remcache(["set", "-s", &server.addr()]).arg("k\u{e9} %").arg("v").run().exits(0);
    let run = remcache(["keys"]).servers(format!("{},{DEAD}", server.addr())).run().exits(3);
    assert_eq!(run.stdout, "k\u{e9} %\n".as_bytes());
    assert!(run.stderr.contains(DEAD), "{run:?}");
    remcache(["keys"]).servers(DEAD).run().exits(4);
    let forbidding = Memcached::start(&["-X"]);
    remcache(["keys"]).servers(forbidding.addr()).run().exits(5).reports_error("without -X");
}

#[test]
fn a_slow_reader_of_the_output_does_not_block_other_clients() {
    // While memcached waits for the reader of the list, clients that request certain items are blocked.
    let server = Memcached::start(&["-m", "256"]);
    let config = remcache::Config::new().timeout(std::time::Duration::from_secs(30));
    let client = remcache::Client::with_config([server.addr()], config).expect("addresses");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    // More than fits into the buffers between the server and the tool.
    let keys: Vec<String> = (0..100_000).map(|number| format!("{number:0>200}")).collect();
    let stored = runtime.block_on(async { client.set_many(keys.iter().map(|key| (key, "x"))).await });
    assert!(stored.is_complete());
    let mut listing = remcache(["keys"]).servers(server.addr()).spawn();
    let mut output = listing.stdout.take().expect("it is a pipe");
    output.read_exact(&mut [0; 1]).expect("the start of the list");
    let found = runtime.block_on(async { client.get_many(&keys).await });
    assert_eq!(found.found().count(), keys.len(), "{:?}", found.failed().next());
    let mut rest = Vec::new();
    output.read_to_end(&mut rest).expect("the rest of the list");
    assert_eq!(rest.iter().filter(|&&byte| byte == b'\n').count(), keys.len());
    assert_eq!(listing.wait().expect("it ends").code(), Some(0));
}

#[test]
fn the_number_of_prefixes_is_bounded() {
    let server = Memcached::start(&["-m", "128"]);
    let client = remcache::Client::new([server.addr()]).expect("addresses");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let keys = (0..50_100).map(|number| (format!("{number}:x"), ""));
    let stored = runtime.block_on(async { client.set_many(keys).timeout(std::time::Duration::from_secs(30)).await });
    assert!(stored.is_complete());
    let tree = remcache(["keys", "--tree", ":", "-f", "json"]).servers(server.addr()).run().exits(0).json();
    let others = tree.as_array().unwrap().iter().find(|branch| branch["prefix"] == "(others)").unwrap().clone();
    assert_eq!((tree.as_array().unwrap().len(), &others["items"]), (50_001, &100.into()));
}

/// Returns what `watch` prints of a set and a get, up to the event of the get.
fn watched(server: &Memcached, format: &str) -> Vec<String> {
    let watch = ["watch", "fetchers", "mutations", "-f", format];
    let mut watching = remcache(watch).servers(server.addr()).spawn();
    wait_for_watchers(server, 1);
    remcache(["set", "greeting", "Hello"]).servers(server.addr()).run().exits(0);
    remcache(["get", "greeting"]).servers(server.addr()).run().exits(0);
    let mut events = Vec::new();
    let mut is_stored = false;
    for line in BufReader::new(watching.stdout.take().expect("it is a pipe")).lines() {
        let line = line.expect("it is text");
        is_stored |= line.contains("item_store");
        // A set looks the item up first, and the server reports that too.
        let is_last = is_stored && line.contains("item_get");
        events.push(line);
        if is_last {
            break;
        }
    }
    kill_process(Pid::from_child(&watching), Signal::INT).expect("it runs");
    assert_eq!(watching.wait().expect("it ends").code(), Some(130));
    events
}

#[test]
fn events_are_printed_as_they_happen() {
    let server = Memcached::start(&[]);
    let events: Vec<Value> =
        watched(&server, "ndjson").iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let kinds: Vec<_> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert!(kinds.ends_with(&["item_store", "item_get"]), "{events:?}");
    assert!(events.iter().all(|event| event["key"] == "greeting" && event["server"] == server.addr().as_str()));
    let get = watched(&Memcached::start(&[]), "text").pop().unwrap();
    assert!(get.contains("greeting") && get.contains("status=found"), "{get}");
}

#[test]
fn watch_needs_a_server_that_listens() {
    let server = Memcached::start(&[]);
    remcache(["watch"]).servers(DEAD).run().exits(4);
    remcache(["watch", "-f", "json"]).servers(DEAD).run().exits(2).reports_error("ndjson");
    if Memcached::version() < (1, 6, 20) {
        let run = remcache(["watch", "deletions"]).servers(server.addr()).run().exits(5);
        assert!(run.stderr.contains("watch deletions needs memcached 1.6.20; this is 1."), "{run:?}");
    }
}

#[test]
fn a_key_with_a_line_feed_is_never_printed_as_another_key() {
    let server = Memcached::start(&[]);
    for key in ["x\ny", "x\\ny", "plain"] {
        remcache(["set", "-s", &server.addr()]).arg(key).arg("v").run().exits(0);
    }
    let run = remcache(["keys"]).servers(server.addr()).run().exits(1);
    let mut lines = run.lines();
    lines.sort_unstable();
    assert_eq!(lines, ["plain", "x\\ny"]);
    assert!(run.stderr.contains("use -0 or -f ndjson"), "{run:?}");
    let run = remcache(["keys", "-0"]).servers(server.addr()).run().exits(0);
    let mut keys: Vec<_> = run.stdout.split(|byte| *byte == 0).collect();
    keys.sort_unstable();
    assert_eq!(keys, [&b""[..], b"plain", b"x\ny", b"x\\ny"]);
    let records = remcache(["keys", "-f", "json"]).servers(server.addr()).run().exits(0).json();
    assert!(records.as_array().unwrap().iter().any(|record| record["key"] == "x\ny"), "{records}");
}

#[test]
fn the_largest_items_come_first() {
    let servers = [Memcached::start(&[]), Memcached::start(&[])];
    let list = servers.iter().map(Memcached::addr).collect::<Vec<_>>().join(",");
    for size in [10, 5000, 300, 20_000] {
        let set = remcache(["set", &format!("k{size}"), "-"]).servers(&list).input(vec![b'x'; size]);
        set.run().exits(0);
    }
    let run = remcache(["keys", "--sort", "size", "--top", "3"]).servers(&list).run().exits(0);
    assert_eq!(run.lines(), ["k20000", "k5000", "k300"]);
    let text = remcache(["keys", "--sort", "size", "-f", "text"]).servers(&list).run().exits(0);
    let titles: Vec<_> = text.lines()[0].split_whitespace().collect();
    assert_eq!(titles, ["SIZE", "TTL", "IDLE", "KEY", "SERVER"]);
    assert!(text.lines()[1].contains("never") && text.lines()[1].contains("k20000"), "{text:?}");
    let records = remcache(["keys", "--sort", "size", "--top", "1", "-f", "json"]).servers(&list).run().exits(0).json();
    assert_eq!((&records[0]["key"], records.as_array().unwrap().len()), (&"k20000".into(), 1));
}

#[test]
fn a_tree_has_a_depth() {
    let server = Memcached::start(&[]);
    for key in ["user:1:name", "user:1:mail", "user:2:name", "plain"] {
        remcache(["set", key, "v"]).servers(server.addr()).run().exits(0);
    }
    let tree = |args: &[&str]| {
        let args = [&["keys", "--tree", ":", "-f", "json"], args].concat();
        let tree = remcache(args).servers(server.addr()).run().exits(0).json();
        let branch =
            |branch: &Value| (branch["prefix"].as_str().unwrap().to_owned(), branch["items"].as_u64().unwrap());
        let mut branches: Vec<_> = tree.as_array().unwrap().iter().map(branch).collect();
        branches.sort_unstable();
        branches
    };
    let expected = |branches: &[(&str, u64)]| -> Vec<_> {
        branches.iter().map(|(prefix, keys)| ((*prefix).to_owned(), *keys)).collect()
    };
    assert_eq!(tree(&[]), expected(&[("", 1), ("user:", 3)]));
    assert_eq!(tree(&["--depth", "2"]), expected(&[("", 1), ("user:1:", 2), ("user:2:", 1)]));
    remcache(["keys", "--depth", "2"]).run().exits(2).reports_error("--tree");
    let largest =
        remcache(["keys", "--by-prefix", ":", "--top", "1", "-f", "csv"]).servers(server.addr()).run().exits(0);
    assert!(largest.lines().len() == 2 && largest.lines()[1].starts_with("user:,"), "{largest:?}");
}

#[test]
fn a_tree_on_a_terminal_is_limited_and_sums_up_the_rest() {
    let (_servers, list) = filled(30, 5);
    let args = ["keys", "--tree", ":", "--prefix", "user:", "--depth", "2"];
    let lines: String = (0..30).map(|number| format!("{{\"key\":\"user:{number}:x\",\"value\":\"\"}}\n")).collect();
    remcache(["load", "-", "-q"]).servers(&list).input(lines).run().exits(0);
    let shown = remcache(args).servers(&list).run_on_terminal("").exits(0);
    assert_eq!(shown.lines().iter().filter(|line| line.contains("user:")).count(), 20, "{shown:?}");
    assert!(shown.text().contains("(20 of 31 prefixes; the others have 11 items and "), "{shown:?}");
    let all = remcache(args.iter().chain(&["--top", "40"])).servers(&list).run_on_terminal("").exits(0);
    assert!(!all.text().contains("prefixes"), "{all:?}");
    // Programs get all prefixes.
    assert_eq!(remcache(args).servers(&list).run().exits(0).lines().len(), 1 + 31);
}

#[test]
fn a_tree_counts_misplaced_items_apart() {
    let (servers, list) = filled(100, 100);
    let tree = || remcache(["keys", "--tree", ":"]).servers(&list).run().exits(0);
    assert!(!tree().lines()[0].contains("MISPLACED"), "{:?}", tree());
    let user = "user:7";
    for server in &servers {
        remcache(["set", user, "v"]).servers(server.addr()).run().exits(0);
    }
    let lines =
        tree().lines().iter().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect::<Vec<Vec<_>>>();
    let user = lines.iter().find(|line| line[0] == "user:").unwrap();
    assert_eq!((lines[0].last().unwrap().as_str(), user[1].as_str(), user[6].as_str()), ("MISPLACED", "101", "1"));
    let records = remcache(["keys", "--tree", ":", "-f", "json"]).servers(&list).run().exits(0).json();
    let misplaced = |prefix: &str| {
        let record = records.as_array().unwrap().iter().find(|record| record["prefix"] == prefix).unwrap();
        record["misplaced"].as_u64().unwrap()
    };
    assert_eq!((misplaced("user:"), misplaced("session:")), (1, 0));
    let count = remcache(["keys", "--count"]).servers(&list).run_on_terminal("").exits(0);
    assert!(count.text().contains("(201 items, 1 of them misplaced; "), "{count:?}");
}

#[test]
fn no_misplaced_items_are_reported_on_stderr() {
    let (_servers, list) = filled(20, 0);
    for format in ["auto", "text", "json"] {
        let run = remcache(["keys", "--misplaced", "-f", format]).servers(&list).run().exits(0);
        assert_eq!(run.stderr, "no items are misplaced\n");
        assert_eq!(run.text().trim(), if format == "json" { "[]" } else { "" });
    }
    let count = remcache(["keys", "--misplaced", "--count"]).servers(&list).run().exits(0);
    assert_eq!((count.text(), &*count.stderr), ("0\n", ""));
    // A server that is down may have some.
    let partly = remcache(["keys", "--misplaced"]).servers(format!("{list},{DEAD}")).run().exits(3);
    assert!(!partly.stderr.contains("no items are misplaced"), "{partly:?}");
}

#[test]
fn a_server_that_has_left_the_list_is_examined_by_its_name() {
    let (servers, _list) = filled(100, 0);
    let [left, stays] = &servers[..] else { unreachable!("two servers are started") };
    let count = |server: &Memcached| {
        let run = remcache(["keys", "--count"]).servers(server.addr()).run().exits(0);
        run.text().trim().parse::<u32>().unwrap()
    };
    let (on_left, on_stays) = (count(left), count(stays));
    assert_eq!(remcache(["keys"]).servers(left.addr()).run().exits(0).lines().len(), on_left as usize);
    remcache(["copy", "--from", &left.addr(), "--to", &stays.addr()]).run().exits(0);
    assert_eq!(count(stays), on_left + on_stays);
}

#[test]
fn a_pattern_is_an_argument_and_top_alone_shows_the_largest() {
    let server = Memcached::start(&[]);
    for (key, value) in [("user:1", "v"), ("user:2", "longer value"), ("session:1", "the longest of the values")] {
        remcache(["set", key, value]).servers(server.addr()).run().exits(0);
    }
    let keys = |args: &[&str]| {
        let keys = remcache([&["keys"], args].concat()).servers(server.addr()).run().exits(0);
        keys.lines().iter().map(|key| key.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(keys(&["user:*", "--count"]), ["2"]);
    assert_eq!(keys(&["--top", "1"]), ["session:1"]);
    assert_eq!(keys(&["user:*", "--top", "5"]), ["user:2", "user:1"]);
    assert_eq!(keys(&["--glob", "*:1", "user:*"]), ["user:1"]);
    remcache(["keys", "--count", "--top", "1"]).run().exits(2).reports_error("--top");
}

#[test]
fn the_number_of_keys_is_unknown_without_any_list() {
    remcache(["keys", "--count"]).servers(DEAD).run().exits(4).reports_error(DEAD);
    let server = Memcached::start(&[]);
    let run = remcache(["keys", "--count"]).servers(format!("{},{DEAD}", server.addr())).run().exits(3);
    assert_eq!(run.text(), "0\n");
}

#[test]
fn the_error_for_a_disabled_lru_crawler_says_how_to_enable_it() {
    let server = Memcached::start(&["-o", "no_lru_crawler"]);
    for args in [&["keys"][..], &["keys", "--count"], &["dump"], &["delete-matching", "*", "--yes"]] {
        let run = remcache(args).servers(server.addr()).run().exits(5);
        let error = run.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
        for text in [&server.addr(), "the LRU crawler, which lists the keys, is disabled", "`lru_crawler enable`"] {
            assert!(error.contains(text), "{run:?}");
        }
    }
}

#[test]
fn a_server_that_must_not_list_its_keys_is_explained() {
    let server = Memcached::start(&["-X"]);
    for args in [&["keys"][..], &["dump"], &["delete-matching", "*", "--yes"]] {
        let run = remcache(args).servers(server.addr()).run().exits(5);
        let expected = format!("{}: listing keys is disabled on this server: start it without -X", server.addr());
        assert!(run.stderr.contains(&expected), "{run:?}");
    }
}

#[test]
fn keys_on_standard_input_can_hold_any_bytes() {
    let server = Memcached::start(&[]);
    let keys = ["line\nend", "line\\nend", "return\r", "\u{202e}reversed"];
    for key in keys {
        remcache(["set", key, "v"]).servers(server.addr()).run().exits(0);
    }
    // What a line cannot hold is reported, and not printed as another key.
    let listed = remcache(["keys"]).servers(server.addr()).run().exits(1);
    assert_eq!(listed.text(), "line\\nend\n");
    assert!(listed.stderr.contains("use -0 or -f ndjson (3 keys)"), "{listed:?}");
    remcache(["delete", "-"]).input(listed.stdout).servers(server.addr()).run().exits(0);
    assert_eq!(remcache(["keys", "--count"]).servers(server.addr()).run().text(), "3\n");
    for (list, input) in [(&["keys", "-0"][..], "-0"), (&["keys", "-f", "ndjson"], "--ndjson")] {
        let listed = remcache(list).servers(server.addr()).run().exits(0);
        let found = remcache(["exists", input, "-", "-f", "ndjson"]).input(listed.stdout).servers(server.addr()).run();
        assert_eq!(found.exits(0).lines().len(), 3, "{list:?}");
    }
    let prefixed = remcache(["keys", "--count", "--prefix", "return\r"]).servers(server.addr()).run().exits(0);
    assert_eq!(prefixed.text(), "1\n");
    let run = remcache(["exists", "--ndjson", "-"]).input("{\"key\":\"a\"}\n\nnonsense\n").servers(server.addr()).run();
    assert!(run.exits(2).stderr.contains("line 3: "));
}

/// Returns a server that closes the connection after the first line of its list, as one that is killed does.
fn server_that_dies_while_it_lists() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it listens").to_string();
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let mut answers = client.try_clone().expect("a descriptor is free");
            for line in BufReader::new(client).lines().map_while(Result::ok) {
                let answer = match line.split(' ').next() {
                    Some("version") => "VERSION 1.6.18\r\n",
                    Some("lru_crawler") => "key=a exp=-1 la=1 cas=1 fetch=no cls=1 size=60\n",
                    _ => "ERROR\r\n",
                };
                if answers.write_all(answer.as_bytes()).is_err() || answer.starts_with("key") {
                    break;
                }
            }
            let _ = answers.shutdown(Shutdown::Both);
        }
    });
    address
}

#[test]
fn a_server_that_dies_while_it_lists_is_named() {
    let server = server_that_dies_while_it_lists();
    let args = ["keys", "--protocol", "text", "--timeout", "20s"];
    let run = remcache(args).servers(&server).run();
    assert_ne!(run.exit, Some(0), "{run:?}");
    assert!(run.stderr.contains(&server) && run.stderr.contains("closed the connection"), "{run:?}");
    assert!(!run.stderr.contains("binary"), "{run:?}");
}
