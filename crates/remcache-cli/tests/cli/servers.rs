//! `version`, `ping`, `flush` and servers that are down, refuse requests, or are not memcached.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread;

use crate::tool::{Run, remcache};
use remcache_testkit::{Memcached, unused_port};

/// Two servers, of which the second is down.
pub(crate) struct Pair {
    pub(crate) alive: Memcached,
    pub(crate) dead: String,
}

impl Pair {
    pub(crate) fn new() -> Self {
        Self { alive: Memcached::start(&[]), dead: format!("127.0.0.1:{}", unused_port()) }
    }

    pub(crate) fn run(&self, args: &[&str]) -> Run {
        remcache(args).servers(format!("{},{}", self.alive.addr(), self.dead)).run()
    }

    pub(crate) fn run_with_server_down(&self, args: &[&str]) -> Run {
        remcache(args).servers(&self.dead).run()
    }
}

fn version() -> String {
    let (major, minor, patch) = Memcached::version();
    format!("{major}.{minor}.{patch}")
}

#[test]
fn ping_shows_a_server_that_is_down_with_the_reason() {
    let pair = Pair::new();
    let run = pair.run(&["ping", "-n", "3", "-i", "1ms"]).exits(3);
    let lines = run.lines();
    assert!(lines[0].starts_with("SERVER") && lines[0].ends_with("LOSS"), "{run:?}");
    assert!(lines[1].contains(&pair.alive.addr()) && lines[1].contains(&version()), "{run:?}");
    let alive: Vec<_> = lines[1].split_whitespace().collect();
    assert_eq!((alive.len(), alive[6]), (7, "0/3"), "{run:?}");
    let dead: Vec<_> = lines[2].split_whitespace().take(4).collect();
    assert_eq!(dead, [pair.dead.as_str(), "-", "refused", "3/3"]);
    assert_eq!(lines[3], "1 of 2 servers answer");
    pair.run_with_server_down(&["ping", "-n", "2", "-i", "1ms"]).exits(4);
}

/// Each command names the server that is down in the same words, and does what it can on the other one.
#[test]
fn every_command_names_a_server_that_is_down() {
    let pair = Pair::new();
    for number in 0..20 {
        remcache(["set", &format!("user:{number}"), "v"]).servers(pair.alive.addr()).run().exits(0);
    }
    let users: Vec<String> = (0..20).map(|number| format!("user:{number}")).collect();
    let with_keys =
        |command: &[&str]| [command, &users.iter().map(String::as_str).collect::<Vec<_>>()].concat().join(" ");
    let mut lines = ["get", "get --meta", "exists", "touch --ttl 1h", "locate --ask"]
        .map(|line| with_keys(&line.split(' ').collect::<Vec<_>>()))
        .to_vec();
    let others = "version|ping -n 1|stats --total|stats --delta 10ms|stats items|stats slabs|stats settings|\
        stats settings --diff|stats sizes|stats conns|stats conns --by-address|keys|keys --count|keys --tree :|\
        keys --top 3|keys --misplaced|delete-matching user:* --dry-run|hotkeys --for 10ms|check|doctor|\
        bench --time 10ms --keys 20|fill --yes --size 500k|flush --yes";
    lines.extend(others.split('|').map(str::to_owned));
    for line in lines {
        for format in ["text", "json"] {
            let args: Vec<&str> = line.split(' ').chain(["-f", format]).collect();
            let run = pair.run(&args).exits(3);
            let output = format!("{}{}", run.text(), run.stderr);
            let named = output.lines().any(|line| line.contains(&pair.dead) && line.contains("connection refused"));
            let is_answered = output.lines().any(|line| line.contains(&pair.alive.addr()) || line.contains("user:"));
            assert!(named, "{line}: {run:?}");
            assert!(!output.contains("os error"), "{line}: {run:?}");
            let without_names = ["keys --count", "stats settings", "conns --by", "hotkeys", "bench"];
            assert!(is_answered || without_names.iter().any(|name| line.contains(name)), "{line}: {run:?}");
        }
    }
}

#[test]
fn ping_prints_records() {
    let pair = Pair::new();
    let list = pair.run(&["ping", "-n", "2", "-i", "1ms", "-f", "json"]).exits(3).json();
    let (alive, dead) = (&list[0], &list[1]);
    assert_eq!((&alive["sent"], &alive["lost"]), (&2.into(), &0.into()));
    let time = |name: &str| alive[name].as_f64().unwrap_or_else(|| panic!("{name} in {alive}"));
    assert!(time("connect_us") > 0.0 && time("min_us") <= time("p50_us") && time("p50_us") <= time("max_us"));
    assert_eq!((&dead["lost"], dead.get("min_us")), (&2.into(), None));
    // The field of the server names it.
    assert_eq!(dead["error"], "connection refused");
}

#[test]
fn version_names_the_version_of_each_server() {
    let pair = Pair::new();
    let run = pair.run(&["version"]).exits(3);
    assert!(run.lines()[0].ends_with(&version()) && run.lines()[1].ends_with("DOWN"), "{run:?}");
    assert!(run.stderr.contains(&pair.dead) && run.stderr.contains("refused"), "{run:?}");
    pair.run_with_server_down(&["version"]).exits(4);
    let one = remcache(["version", "-f", "ndjson"]).servers(pair.alive.addr()).run().exits(0).json();
    assert_eq!(one["version"], version());
}

#[test]
fn flush_refuses_without_a_terminal_and_asks_on_one() {
    let server = Memcached::start(&[]);
    let set = || remcache(["set", "a", "1"]).servers(server.addr()).run().exits(0);
    let is_there = || remcache(["get", "a"]).servers(server.addr()).run().exit == Some(0);
    set();
    remcache(["flush"]).servers(server.addr()).input("y\n").run().exits(2).reports_error("--yes");
    assert!(is_there());
    let namespaced = remcache(["flush", "--yes", "--namespace", "shop:"]).servers(server.addr()).run().exits(2);
    assert!(
        namespaced.stderr.contains("the items of every namespace, not only those of the namespace \"shop:\""),
        "{namespaced:?}"
    );
    let asked = remcache(["flush"]).servers(server.addr()).run_on_terminal("n\n").exits(1);
    assert!(asked.text().contains(&server.addr()), "{asked:?}");
    assert!(asked.text().contains("not confirmed: nothing was changed"), "{asked:?}");
    remcache(["flush"]).servers(server.addr()).run_on_terminal("\n").exits(1);
    let ended = remcache(["flush"]).servers(server.addr()).run_on_terminal("\x04").exits(1);
    assert!(ended.text().contains("[y/N] \r\nnot confirmed"), "{ended:?}");
    assert!(is_there());
    remcache(["flush"]).servers(server.addr()).run_on_terminal("y\n").exits(0);
    assert!(!is_there());
    set();
    let run = remcache(["flush", "--yes"]).servers(server.addr()).run().exits(0);
    assert!(run.lines()[0].ends_with("flushed"), "{run:?}");
    assert!(!is_there());
}

#[test]
fn a_delayed_flush_keeps_the_items_until_then() {
    let server = Memcached::start(&[]);
    remcache(["set", "a", "1"]).servers(server.addr()).run().exits(0);
    let run = remcache(["flush", "--yes", "--delay", "1h"]).servers(server.addr()).run().exits(0);
    assert!(run.lines()[0].ends_with("scheduled"), "{run:?}");
    remcache(["get", "a"]).servers(server.addr()).run().exits(0);
}

#[test]
fn flush_reports_the_servers_that_failed() {
    let pair = Pair::new();
    let list = pair.run(&["flush", "--yes", "-f", "json"]).exits(3).json();
    assert_eq!((&list[0]["status"], &list[1]["status"]), (&"flushed".into(), &"failed".into()));
}

#[test]
fn a_server_that_is_not_memcached_is_reported() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 64]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
        }
    });
    let run = remcache(["get", "a"]).servers(&address).run();
    assert!(matches!(run.exit, Some(4 | 5)), "{run:?}");
    assert!(run.stdout.is_empty() && run.stderr.contains(&address), "{run:?}");
}

#[test]
fn a_server_that_does_not_respond_times_out() {
    let server = Memcached::start(&[]);
    server.stop();
    let run = remcache(["get", "a", "--timeout", "50ms"]).servers(server.addr()).run().exits(4);
    assert!(run.stderr.contains("timed out"), "{run:?}");
    let run = remcache(["ping", "-n", "1", "--timeout", "50ms"]).servers(server.addr()).run().exits(4);
    assert!(run.text().contains("1/1"), "{run:?}");
}

#[test]
fn a_server_that_requires_authentication() {
    let server = Memcached::start_sasl(&[]);
    remcache(["get", "a"]).servers(server.addr()).run().exits(6).reports_error("auth");
}

#[test]
fn a_server_under_two_names_is_noticed() {
    let server = Memcached::start(&[]);
    let name = server.addr().replace("127.0.0.1", "localhost");
    let list = format!("{},{name}", server.addr());
    let warning = format!("warning: {name} is the same server as {}", server.addr());
    remcache(["set", "k", "v"]).servers(server.addr()).run().exits(0);
    for args in
        [&["keys", "--count"][..], &["stats"], &["dump", "--include-misplaced"], &["delete-matching", "x*", "--yes"]]
    {
        let run = remcache(args).servers(&list).run();
        assert!(run.stderr.contains(&warning), "{args:?}: {run:?}");
    }
    let doctor = remcache(["doctor"]).servers(&list).run().exits(8);
    assert!(doctor.text().contains(&format!("it is the same server as {}", server.addr())), "{doctor:?}");
    assert!(!doctor.text().contains("given twice"), "{doctor:?}");
    let other = Memcached::start(&[]);
    let run = remcache(["keys", "--count"]).servers(format!("{},{}", server.addr(), other.addr())).run().exits(0);
    assert!(run.stderr.is_empty(), "{run:?}");
}

/// Returns a proxy that, like twemproxy, closes the connection of a client that sends `stats` or the binary protocol.
fn proxy(server: &Memcached) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let (address, target) = (listener.local_addr().expect("it listens").to_string(), server.addr());
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let upstream = TcpStream::connect(&target).expect("the server runs");
            let (mut replies, mut to_client) = (
                upstream.try_clone().expect("a descriptor is free"),
                client.try_clone().expect("a descriptor is free"),
            );
            thread::spawn(move || std::io::copy(&mut replies, &mut to_client));
            thread::spawn(move || forward(client, upstream));
        }
    });
    address
}

fn forward(client: TcpStream, mut upstream: TcpStream) {
    let mut reader = BufReader::new(client.try_clone().expect("a descriptor is free"));
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
        let is_known = [&b"get"[..], b"set", b"version"].iter().any(|word| line.starts_with(word));
        if !is_known || upstream.write_all(&line).is_err() {
            break;
        }
        line.clear();
    }
    let _ = client.shutdown(std::net::Shutdown::Both);
}

#[test]
fn a_proxy_without_statistics_is_up() {
    let server = Memcached::start(&[]);
    let proxy = proxy(&server);
    let run = |args: &[&str]| {
        let patient = ["--protocol", "text", "--timeout", "20s"];
        remcache(args.iter().chain(&patient)).servers(&proxy).run()
    };
    run(&["ping", "-n", "1"]).exits(0);
    let stats = run(&["stats"]).exits(1);
    assert!(stats.text().contains("up, but it does not report"), "{stats:?}");
    assert!(!stats.text().contains("DOWN"), "{stats:?}");
    assert!(stats.text().contains("it may be a proxy"), "{stats:?}");
    // What no server reported is not zero.
    let connections = run(&["stats", "conns", "--by-address"]).exits(1);
    assert!(!connections.text().contains("total"), "{connections:?}");
    let hint = "up, but reports no statistics: it may be a proxy";
    let check = run(&["check"]).exits(0);
    assert!(check.text().contains("OK      ping is ") && check.text().contains(hint), "{check:?}");
    let check = run(&["check", "-f", "nagios"]).exits(0);
    let line = format!("MEMCACHED OK - 1 of 1 servers answer, {proxy} {hint} | '{proxy} ping'=");
    assert!(check.text().starts_with(&line), "{check:?}");
    for condition in ["curr_items>5", "hit%<90", "evictions/s>5"] {
        let metric = condition.split(['<', '>']).next().unwrap();
        let check = run(&["check", "--fail-if", condition]).exits(2);
        assert!(check.text().contains(&format!("UNKNOWN  {metric} is unknown; {hint}")), "{check:?}");
    }
    for command in [&["keys"][..], &["dump"], &["watch", "--for", "1s"], &["delete-matching", "*", "--yes"]] {
        let failed = run(command).exits(4);
        assert!(
            failed
                .stderr
                .contains("a proxy or a server with the binary protocol only (-S, -B binary) can neither list keys"),
            "{failed:?}"
        );
    }
    let flush = run(&["flush", "--yes"]).exits(4);
    assert!(flush.stderr.contains("a proxy may not support the command"), "{flush:?}");
    let doctor = run(&["doctor"]).exits(8);
    assert!(doctor.text().contains("reports no statistics"), "{doctor:?}");
}
