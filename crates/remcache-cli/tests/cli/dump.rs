//! `dump` and `load`: all items of servers as lines of JSON.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use remcache::config::ProtocolSetting;
use remcache::{Client, Config};
use remcache_testkit::{Memcached, scratch};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::tool::{Run, remcache};

/// An address that nothing listens on.
const DEAD: &str = "127.0.0.1:1";

fn wait<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(future)
}

fn client(servers: &str) -> Client {
    // Meta, which reports TTLs; a long timeout, because the machine may be busy.
    let config = Config::new().protocol(ProtocolSetting::Meta).timeout(Duration::from_secs(20));
    Client::with_config([servers], config).expect("addresses")
}

/// Key, value, flags and TTL.
type Item = (Vec<u8>, Vec<u8>, u32, Option<Duration>);

/// Returns items of all kinds: text and binary keys and values, with and without flags and TTLs.
fn items() -> Vec<Item> {
    let hour = Some(Duration::from_secs(3600));
    let year = Some(Duration::from_secs(365 * 86_400));
    let mut items = vec![
        (b"plain".to_vec(), b"text".to_vec(), 0, None),
        ("schl\u{fc}ssel".into(), "\"w\u{f6}rt\"\\\n".into(), u32::MAX, hour),
        (b"bin \n\0\xff".to_vec(), b"\x00\xff\xfe\r\n".to_vec(), 7, year),
        (b"100%".to_vec(), Vec::new(), 1, None),
        (b"large".to_vec(), vec![b'x'; 900_000], 2, hour),
        (vec![b'k'; 250], vec![0x80; 3000], 3, None),
    ];
    items.extend((0..2000).map(|number| (format!("n:{number}").into(), vec![b'v'; number], number as u32, hour)));
    items
}

fn fill(servers: &str) {
    let client = client(servers);
    wait(async {
        for (key, value, flags, ttl) in items() {
            let set = client.set(&key, &value).flags(flags);
            let set = if let Some(ttl) = ttl { set.ttl(ttl) } else { set };
            assert!(set.await.expect("the server answers").is_applied());
        }
    });
}

/// Checks that the servers have all the items, with approximately the original TTLs.
fn check(servers: &str) {
    let client = client(servers);
    wait(async {
        for (key, value, flags, ttl) in items() {
            let name = key.escape_ascii();
            let item = client.get(&key).await.expect("the server answers").unwrap_or_else(|| panic!("{name}"));
            assert!((item.flags, &*item.value) == (flags, &*value), "{name}");
            let left = client.inspect(&key).await.expect("the server answers").and_then(|inspection| inspection.ttl);
            match (left, ttl) {
                (Some(remcache::Ttl::Never), None) => {}
                (Some(remcache::Ttl::After(left)), Some(ttl)) => {
                    assert!(
                        left <= ttl + Duration::from_secs(2) && left > ttl.saturating_sub(Duration::from_secs(300)),
                        "{name}: {left:?}"
                    );
                }
                other => panic!("{name}: {other:?}"),
            }
        }
    });
}

/// Runs a command until it exits.
fn run(args: &[&str], servers: &str) -> Run {
    remcache(args).arg("--timeout").arg("20s").servers(servers).run()
}

fn records(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

fn path(directory: &tempfile::TempDir, name: &str) -> String {
    directory.path().join(name).to_str().expect("a path in UTF-8").to_owned()
}

#[test]
fn a_dump_is_loaded_with_flags_and_ttl() {
    let from = [Memcached::start(&[]), Memcached::start(&[])].map(|server| (server.addr(), server));
    let to =
        [Memcached::start(&[]), Memcached::start(&[]), Memcached::start(&[])].map(|server| (server.addr(), server));
    let list =
        |servers: &[(String, Memcached)]| servers.iter().map(|(address, _)| &**address).collect::<Vec<_>>().join(",");
    fill(&list(&from));
    let directory = scratch();
    let file = path(&directory, "items.ndjson");
    let dumped = run(&["dump", &file], &list(&from)).exits(0);
    assert!(dumped.stdout.is_empty() && dumped.stderr.contains("2,006 dumped"), "{dumped:?}");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "no other file is left");
    let loaded = run(&["load", &file], &list(&to)).exits(0);
    assert!(loaded.stderr.contains("2,006 loaded"), "{loaded:?}");
    check(&list(&to));
    // Also on protocols without TTLs, because the listing has them.
    for protocol in ["binary", "text"] {
        let dumped = run(&["dump", "--protocol", protocol, "--prefix", "n:", "--skip-misplaced"], &list(&to)).exits(0);
        let lines = records(dumped.text());
        assert_eq!(lines.len(), 2000, "{protocol}");
        assert!(lines.iter().all(|line| line["expires"].is_u64()), "{protocol}");
    }
}

#[test]
fn other_programs_can_change_the_lines_of_a_dump() {
    let (from, to) = (Memcached::start(&[]), Memcached::start(&[]));
    fill(&from.addr());
    let dumped = run(&["dump"], &from.addr()).exits(0);
    let lines = records(dumped.text());
    assert_eq!(lines.len(), 2006);
    let of = |key: &str, value: &Value| lines.iter().find(|line| line[key] == *value).unwrap().clone();
    assert_eq!(of("key", &json!("plain")), json!({"key": "plain", "value": "text", "flags": 0}));
    let binary = of("key_b64", &json!("YmluIAoA/w=="));
    assert!(binary["value_b64"] == "AP/+DQo=" && binary["flags"] == 7 && binary["expires"].is_u64(), "{binary}");
    // dump | jq | load; by default jq prints a document on several lines.
    for layout in ["--indent", "--compact-output"] {
        let args: &[&str] = if layout == "--indent" { &[layout, "2", "."] } else { &[layout, "."] };
        run(&["flush", "--yes"], &to.addr()).exits(0);
        let mut jq = Command::new("jq")
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("jq is installed: apt-get install -y jq");
        let mut stdin = jq.stdin.take().unwrap();
        let text = dumped.stdout.clone();
        let writing = std::thread::spawn(move || stdin.write_all(&text).unwrap());
        let changed = jq.wait_with_output().unwrap().stdout;
        writing.join().unwrap();
        let loaded = remcache(["load", "-"]).servers(to.addr()).input(changed).run().exits(0);
        assert!(loaded.stderr.contains("2,006 loaded"), "{loaded:?}");
        check(&to.addr());
    }
}

#[test]
fn add_never_overwrites() {
    let server = Memcached::start(&[]);
    let lines = "{\"key\":\"a\",\"value\":\"old\"}\n{\"key\":\"b\",\"value\":\"old\"}\n";
    run(&["set", "a", "new"], &server.addr()).exits(0);
    let args = ["load", "-", "--add", "-f", "json"];
    let loaded = remcache(args).servers(server.addr()).input(lines).run().exits(0).json();
    assert_eq!((&loaded["items"], &loaded["kept"]), (&json!(1), &json!(1)));
    assert_eq!(run(&["get", "a"], &server.addr()).stdout, b"new");
    remcache(["load", "-"]).servers(server.addr()).input(lines).run().exits(0);
    assert_eq!(run(&["get", "a"], &server.addr()).stdout, b"old");
}

#[test]
fn items_that_cannot_be_loaded_are_counted_and_listed() {
    let server = Memcached::start(&[]);
    let directory = scratch();
    let list = path(&directory, "failed.ndjson");
    run(&["set", "huge", "precious"], &server.addr()).exits(0);
    let input = format!(
        "{{\"key\":\"old\",\"value\":\"x\",\"expires\":1}}\n{{\"key\":\"huge\",\"value\":\"{}\"}}\n{{\"key\":\"k\",\"value\":\"v\"}}\n",
        "x".repeat(2 << 20)
    );
    // A value that is too large must not delete the existing one, as a set on the meta protocol does.
    let args = ["load", "-", "--add", "--failed", &list];
    let loaded = remcache(args).servers(server.addr()).input(input).run().exits(1);
    assert!(loaded.stderr.contains("1 loaded  skipped: expired 1, too large 1"), "{loaded:?}");
    let listed = records(&std::fs::read_to_string(&list).unwrap());
    assert_eq!(listed, [json!({"key": "old", "reason": "expired"}), json!({"key": "huge", "reason": "too_large"})]);
    assert_eq!(run(&["get", "huge"], &server.addr()).stdout, b"precious");
    assert_eq!(run(&["get", "k"], &server.addr()).stdout, b"v");
}

#[test]
fn an_invalid_or_truncated_file_is_reported_with_the_line() {
    let server = Memcached::start(&[]);
    let good = "{\"key\":\"a\",\"value\":\"1\"}\n";
    for (input, line, what) in [
        (&b"key,value\n"[..], 1, "not an item of a dump"),
        (&[0; 100][..], 1, "not an item of a dump"),
        (b"{\"value\":\"a\"}\n", 1, "needs key or key_b64"),
        (b"{\"key\":\"a\",\"value\":\"1\",\"ttl\":60}\n", 1, "standard input: line 1, column 28: unknown field `ttl`"),
        (&[good.as_bytes(), b"{\"key\":\"b\",\"val"].concat(), 2, "ends within this item"),
        (&[good.as_bytes(), b"{\"key\":\"b\",\"value\":\"\x80\"}\n"].concat(), 2, "unicode"),
    ] {
        run(&["flush", "--yes"], &server.addr()).exits(0);
        let loaded = remcache(["load", "-"]).servers(server.addr()).input(input).run().exits(2);
        assert!(loaded.stderr.contains(what) && loaded.stderr.contains(&format!("--from-line {line}")), "{loaded:?}");
        // The lines before it are loaded.
        run(&["get", "a"], &server.addr()).exits(i32::from(line == 1));
    }
    run(&["load", "/nonexistent"], &server.addr()).exits(2).reports_error("/nonexistent");
    run(&["load", "/dev/zero"], &server.addr()).exits(2);
    let rest = remcache(["load", "-", "--from-line", "2"]).servers(server.addr());
    rest.input("nonsense\n{\"key\":\"b\",\"value\":\"2\"}\n").run().exits(0);
    assert_eq!(run(&["get", "b"], &server.addr()).stdout, b"2");
}

#[test]
fn a_dump_without_all_servers_is_marked_as_partial() {
    let server = Memcached::start(&[]);
    fill(&server.addr());
    let directory = scratch();
    let file = path(&directory, "items.ndjson");
    std::fs::write(&file, "the dump before").unwrap();
    let both = format!("{},{DEAD}", server.addr());
    let dumped = run(&["dump", &file, "--include-misplaced"], &both).exits(3);
    assert!(dumped.stderr.contains(DEAD) && dumped.stderr.contains("items.ndjson.partial"), "{dumped:?}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "the dump before");
    let partial = std::fs::read_to_string(format!("{file}.partial")).unwrap();
    assert_eq!(records(&partial).len(), 2006, "the items of the healthy server");
    // On standard output it is printed.
    assert_eq!(records(run(&["dump", "--include-misplaced"], &both).exits(3).text()).len(), 2006);
    // Without any items no partial file is written.
    let nothing = path(&directory, "nothing");
    run(&["dump", &nothing], DEAD).exits(4);
    assert!(!Path::new(&nothing).exists() && !Path::new(&format!("{nothing}.partial")).exists());
    run(&["dump", "-f", "csv"], DEAD).exits(2).reports_error("ndjson");
}

#[test]
fn a_full_disk_leaves_no_file() {
    let server = Memcached::start(&[]);
    fill(&server.addr());
    let full = run(&["dump", "/dev/full"], &server.addr()).exits(2);
    assert!(full.stderr.contains("/dev/full") && full.stderr.contains("No space left"), "{full:?}");
    let directory = scratch();
    let file = path(&directory, "missing/items.ndjson");
    run(&["dump", &file], &server.addr()).exits(2).reports_error("items.ndjson");
}

#[test]
fn a_file_without_space_is_removed() {
    let server = Memcached::start(&[]);
    fill(&server.addr());
    let directory = scratch();
    let file = path(&directory, "items.ndjson");
    std::fs::write(&file, "the dump before").unwrap();
    // A limit of the system stands for a full disk: writing fails in the middle.
    let script = r#"trap "" XFSZ; ulimit -f 100; exec "$0" "$@""#;
    let tool = env!("CARGO_BIN_EXE_remcache");
    let mut shell = Command::new("sh");
    shell.args(["-c", script, tool, "dump", &file, "-s", &server.addr(), "--timeout", "20s"]);
    let output = shell.output().unwrap();
    let reported = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{reported}");
    assert!(reported.contains("items.ndjson: File too large"), "{reported}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "the dump before");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "no other file is left");
}

#[test]
fn misplaced_items_are_skipped_and_counted() {
    let servers = [Memcached::start(&[]), Memcached::start(&[])];
    let list = servers.iter().map(Memcached::addr).collect::<Vec<_>>().join(",");
    // After a change of the server list an old value is on a server where no client looks for it.
    let home = run(&["locate", "k", "-f", "ndjson"], &list).exits(0).json()["server"].as_str().unwrap().to_owned();
    let other = servers.iter().map(Memcached::addr).find(|address| *address != home).unwrap();
    run(&["set", "k", "new"], &home).exits(0);
    run(&["set", "k", "old"], &other).exits(0);
    let dumped = run(&["dump"], &list).exits(1);
    assert!(dumped.text().contains("new") && !dumped.text().contains("old"), "{dumped:?}");
    for text in ["1 dumped  skipped: misplaced 1  ", "--include-misplaced includes them", "1 of 2 items are misplaced"]
    {
        assert!(dumped.stderr.contains(text), "{dumped:?}");
    }
    let skipped = run(&["dump", "--skip-misplaced"], &list).exits(0);
    assert!(skipped.lines().len() == 1 && !skipped.stderr.contains("--include-misplaced"), "{skipped:?}");
    assert_eq!(run(&["dump", "--include-misplaced"], &list).exits(0).lines().len(), 2);
    run(&["dump", "--misplaced"], &list).exits(2).reports_error("--include-misplaced");
}

#[test]
fn a_namespace_can_be_dumped_and_loaded_into_another() {
    let server = Memcached::start(&[]);
    for key in ["shop:a", "shop:b", "other"] {
        run(&["set", key, key], &server.addr()).exits(0);
    }
    let url = |namespace: &str| format!("memcached://{}/{namespace}", server.addr());
    let dumped = run(&["dump"], &url("shop:")).exits(0);
    let mut keys: Vec<_> = records(dumped.text()).iter().map(|line| line["key"].as_str().unwrap().to_owned()).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["a", "b"]);
    remcache(["load", "-"]).servers(url("new:")).input(dumped.stdout).run().exits(0);
    assert_eq!(run(&["get", "new:b"], &server.addr()).stdout, b"shop:b");
    assert_eq!(run(&["keys", "--count"], &url("new:")).text(), "2\n");
}

#[test]
fn inexpressible_keys_are_counted_and_listed() {
    let server = Memcached::start(&[]);
    let client = client(&server.addr());
    wait(async {
        client.set(b"has space", "v").await.unwrap();
        client.set("good", "v").await.unwrap();
    });
    let directory = scratch();
    let list = path(&directory, "failed.ndjson");
    let dumped = run(&["dump", "--protocol", "text", "--failed", &list], &server.addr()).exits(1);
    assert_eq!(dumped.lines().len(), 1);
    assert!(dumped.stderr.contains("invalid key 1"), "{dumped:?}");
    let listed = records(&std::fs::read_to_string(&list).unwrap());
    assert_eq!((&listed[0]["key"], &listed[0]["reason"]), (&json!("has space"), &json!("invalid_key")));
}

#[test]
fn a_closed_pipe_ends_a_dump_silently() {
    let server = Memcached::start(&[]);
    fill(&server.addr());
    let mut dump = remcache(["dump"]).servers(server.addr()).spawn();
    drop(dump.stdout.take());
    let output = dump.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0), "{output:?}");
}

#[test]
fn an_interrupted_load_continues_at_the_printed_line() {
    let server = Memcached::start(&[]);
    let directory = scratch();
    let file = path(&directory, "items.ndjson");
    let lines: String =
        (0..4000).map(|number| format!("{{\"key\":\"k:{number}\",\"value\":\"{number}\"}}\n")).collect();
    std::fs::write(&file, lines).unwrap();
    let load = remcache(["load", &file, "--rate", "1000"]).servers(server.addr()).spawn();
    while run(&["get", "k:0"], &server.addr()).exit != Some(0) {}
    kill_process(Pid::from_child(&load), Signal::INT).unwrap();
    let output = load.wait_with_output().unwrap();
    let reported = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{reported}");
    let next = reported.rsplit_once("--from-line ").expect("the message has the next line").1.trim().to_owned();
    let stored: usize = run(&["keys", "--count"], &server.addr()).exits(0).text().trim().parse().unwrap();
    assert_eq!(next, (stored + 1).to_string(), "no line is loaded twice or lost");
    assert!(stored < 4000);
    run(&["load", &file, "--from-line", &next], &server.addr()).exits(0);
    assert_eq!(run(&["keys", "--count"], &server.addr()).text(), "4000\n");
}

#[test]
fn an_interrupted_dump_keeps_complete_lines() {
    let server = Memcached::start(&[]);
    fill(&server.addr());
    let directory = scratch();
    let file = path(&directory, "items.ndjson");
    let names = || std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name());
    for signal in [Signal::INT, Signal::TERM] {
        let dump = remcache(["dump", &file, "--rate", "500"]).servers(server.addr()).spawn();
        while names().next().is_none() {}
        std::thread::sleep(Duration::from_millis(500));
        kill_process(Pid::from_child(&dump), signal).unwrap();
        let output = dump.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130), "{output:?}");
        assert!(names().all(|name| name == "items.ndjson.partial"), "{signal:?}: {:?}", names().collect::<Vec<_>>());
        let partial = std::fs::read_to_string(format!("{file}.partial")).unwrap_or_default();
        assert!(records(&partial).len() < 2006);
        let _ = std::fs::remove_file(format!("{file}.partial"));
    }
    run(&["dump", &file], &server.addr()).exits(0);
    assert_eq!(records(&std::fs::read_to_string(&file).unwrap()).len(), 2006);
}

#[test]
fn a_server_that_dies_during_a_dump_is_named_and_the_rest_is_kept() {
    let mut servers = [Memcached::start(&[]), Memcached::start(&[])];
    let list = servers.iter().map(Memcached::addr).collect::<Vec<_>>().join(",");
    fill(&list);
    let directory = scratch();
    let file = path(&directory, "items.ndjson");
    let dump = remcache(["dump", &file, "--rate", "400"]).servers(&list).spawn();
    while std::fs::read_dir(directory.path()).unwrap().count() == 0 {}
    std::thread::sleep(Duration::from_millis(300));
    let dead = servers[1].addr();
    servers[1].kill();
    let output = dump.wait_with_output().unwrap();
    let reported = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{reported}");
    assert!(reported.contains(&dead) && reported.contains("failed"), "{reported}");
    assert!(!Path::new(&file).exists());
    let alive: usize = run(&["keys", "--count"], &servers[0].addr()).text().trim().parse().unwrap();
    let kept = records(&std::fs::read_to_string(format!("{file}.partial")).unwrap()).len();
    assert!(kept >= alive && kept < 2006, "{kept} of {alive} and some: all of the healthy server are there");
}

#[test]
fn progress_fits_twenty_columns() {
    let server = Memcached::start(&[]);
    fill(&server.addr());
    let directory = scratch();
    let file = path(&directory, "items.ndjson");
    for columns in [20, 60, 120] {
        let live = remcache(["dump", &file, "--rate", "2000"]).servers(server.addr()).start_on_terminal(10, columns);
        let text = live.wait_for_text("/2.0k");
        assert_eq!(text.trim_end().lines().count(), 1, "{columns}: {text}");
        assert!(live.wait_for_exit().0 == Some(0), "{columns}");
    }
}
