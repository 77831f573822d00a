//! `hotkeys`: the most frequently fetched keys and prefixes, from the servers' own logs.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::ffi::OsStrExt as _;
use std::process::Child;
use std::time::Duration;
use std::{ffi::OsStr, thread};

use remcache_testkit::{Memcached, unused_port};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::tool::{Run, remcache, wait_for_watchers};

/// Long enough for everything that a test does during it, on a busy machine.
const WHILE: &str = "4s";

/// Fetches a key a number of times.
fn get(server: &str, key: &OsStr, times: usize) {
    let client = remcache::Client::new([server]).expect("an address");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        for _ in 0..times {
            client.get(key.as_bytes()).await.expect("the server lives");
        }
    });
}

fn ended(child: Child) -> Run {
    let output = child.wait_with_output().expect("it ends");
    let stderr = String::from_utf8(output.stderr).expect("messages are UTF-8");
    Run { exit: output.status.code(), stdout: output.stdout, stderr }
}

#[test]
fn the_most_frequent_keys_come_first_with_their_rates() {
    let server = Memcached::start(&[]);
    let (address, dead) = (server.addr(), format!("127.0.0.1:{}", unused_port()));
    remcache(["set", "front", &"x".repeat(1000)]).servers(&address).run().exits(0);
    let watching = remcache(["hotkeys", "--for", WHILE, "-f", "json"]).servers(format!("{address},{dead}")).spawn();
    wait_for_watchers(&server, 1);
    get(&address, OsStr::new("front"), 60);
    get(&address, OsStr::new("missing"), 30);
    get(&address, OsStr::from_bytes(b"\xff"), 10);
    // A store looks its item up, which is not a fetch.
    remcache(["set", "stored", "v"]).servers(&address).run().exits(0);
    let run = ended(watching).exits(3);
    let list = run.json();
    let keys: Vec<_> = list.as_array().unwrap().iter().map(|hot| hot["key"].as_str()).collect();
    assert_eq!(keys, [Some("front"), Some("missing"), None], "{list}");
    let (front, missing) = (&list[0], &list[1]);
    assert_eq!((&front["gets"], &front["uncounted_gets"]), (&60.into(), &0.into()));
    assert_eq!(
        (&front["hit_percent"], &front["size"], &front["share_percent"]),
        (&100.0.into(), &1000.into(), &60.0.into())
    );
    assert_eq!((&missing["hit_percent"], missing.get("size")), (&0.0.into(), None));
    assert_eq!((&list[2]["key_b64"], &list[2]["gets"]), (&"/w==".into(), &10.into()));
    let rate = |hot: &Value, name: &str| hot[name].as_f64().unwrap();
    assert!(rate(front, "gets_per_second") > 0.0, "{front}");
    let out = rate(front, "out_bytes_per_second") / rate(front, "gets_per_second");
    assert!((out - 1000.0).abs() < 1e-6, "{front}");
    assert_eq!(front["server"], address.as_str());
    assert!(run.stderr.contains(&dead) && run.stderr.contains("refused"), "{run:?}");
}

#[test]
fn an_interrupt_prints_the_report() {
    let server = Memcached::start(&[]);
    let watching = remcache(["hotkeys", "--for", "1h", "-n", "1", "--prefix", "user:"]).servers(server.addr()).spawn();
    wait_for_watchers(&server, 1);
    for key in ["user:1", "user:2", "session:1"] {
        get(&server.addr(), OsStr::new(key), if key == "user:2" { 20 } else { 30 });
    }
    thread::sleep(Duration::from_secs(2));
    kill_process(Pid::from_child(&watching), Signal::INT).unwrap();
    let run = ended(watching).exits(130);
    let lines = run.lines();
    let titles: Vec<_> = lines[0].split_whitespace().collect();
    assert_eq!(titles, ["KEY", "GET/s", "SHARE", "HIT%", "SIZE", "OUT/s", "SERVER"]);
    // One of the selected keys; its share is that of all fetches.
    assert!(lines[1].starts_with("user:1 ") && lines[1].contains("37.5%"), "{run:?}");
    assert_eq!(lines[2], "watched 80 events, 0 skipped by the server's log buffer");
}

#[test]
fn events_that_a_server_drops_are_counted() {
    const GETS: usize = 100_000;
    let server = Memcached::start(&[]);
    let watching = remcache(["hotkeys", "--for", WHILE, "-f", "csv"]).servers(server.addr()).spawn();
    wait_for_watchers(&server, 1);
    // Replies are read while requests are written, so that neither end blocks the other.
    let stream = TcpStream::connect(server.addr()).unwrap();
    let mut requests = stream.try_clone().unwrap();
    let sending = thread::spawn(move || requests.write_all(("mg hot\r\n".repeat(GETS) + "mn\r\n").as_bytes()));
    let answers = BufReader::new(stream).lines().map_while(Result::ok);
    assert_eq!(answers.take_while(|line| line != "MN").count(), GETS);
    sending.join().unwrap().unwrap();
    let run = ended(watching).exits(0);
    let lines = run.lines();
    assert!(lines[0].starts_with("key,key_b64,server,gets,"), "{run:?}");
    let cells: Vec<_> = lines[1].split(',').collect();
    let (gets, rate): (u64, f64) = (cells[3].parse().unwrap(), cells[5].parse().unwrap());
    // The worker is faster than its log: few events are reported, and the rate is that of all. The log has a few other
    // events, which are skipped like these.
    assert!(cells[0] == "hot" && gets < GETS as u64, "{run:?}");
    assert!(rate <= 1.1 * GETS as f64 / 4.0 && rate > gets as f64 / 4.0, "{run:?}");
    assert!(run.stderr.contains("skipped by the server's log buffer: the rates are estimates"), "{run:?}");
}

/// Returns a proxy that removes the fields of newer versions from the log of a server.
fn older(server: &Memcached) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let (address, target) = (listener.local_addr().expect("it listens").to_string(), server.addr());
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let upstream = TcpStream::connect(&target).expect("the server lives");
            let twin = |stream: &TcpStream| stream.try_clone().expect("a descriptor is free");
            let (mut from, mut to) = (twin(&client), twin(&upstream));
            thread::spawn(move || std::io::copy(&mut from, &mut to));
            let (mut from, mut to) = (BufReader::new(upstream), client);
            thread::spawn(move || {
                let mut line = String::new();
                while from.read_line(&mut line).is_ok_and(|length| length > 0) {
                    let words = line
                        .split_inclusive(' ')
                        .filter(|word| !word.starts_with("size=") && !word.starts_with("cfd="));
                    let older: String = words.collect();
                    let end = if older.ends_with('\n') { "" } else { "\n" };
                    if write!(to, "{older}{end}").is_err() {
                        return;
                    }
                    line.clear();
                }
            });
        }
    });
    address
}

#[test]
fn sizes_that_a_log_lacks_are_requested() {
    let server = Memcached::start(&[]);
    let older = older(&server);
    remcache(["set", "front", &"x".repeat(1000)]).servers(server.addr()).run().exits(0);
    let args = ["hotkeys", "--for", WHILE, "-f", "ndjson", "--protocol", "meta"];
    let watching = remcache(args).servers(&older).spawn();
    wait_for_watchers(&server, 1);
    get(&server.addr(), OsStr::new("front"), 7);
    let front = ended(watching).exits(0).json();
    assert_eq!((&front["gets"], &front["size"]), (&7.into(), &1000.into()), "{front}");
}

#[test]
fn servers_without_a_log_are_named() {
    let dead = format!("127.0.0.1:{}", unused_port());
    let run = remcache(["hotkeys", "--for", "1h"]).servers(&dead).run().exits(4);
    assert!(run.stderr.contains(&dead), "{run:?}");
    let forbidding = Memcached::start(&["-W"]);
    let run = remcache(["hotkeys", "--for", "1h"]).servers(forbidding.addr()).run().exits(5);
    assert!(run.stderr.contains("not allowed"), "{run:?}");
    // With a log from another server the failure is partial.
    let allowing = Memcached::start(&[]);
    let both = format!("{},{}", allowing.addr(), forbidding.addr());
    let run = remcache(["hotkeys", "--for", "100ms"]).servers(both).run().exits(3);
    assert!(run.text().contains("watched 0 events") && run.stderr.contains("not allowed"), "{run:?}");
    remcache(["hotkeys", "--for", "0s"]).run().exits(2).reports_error("zero");
    remcache(["hotkeys", "-n", "0"]).run().exits(2);
    remcache(["hotkeys", "--regex", "["]).run().exits(2).reports_error("regex");
}

#[test]
fn a_server_that_dies_while_watched_is_named() {
    let (mut server, staying) = (Memcached::start(&[]), Memcached::start(&[]));
    let both = format!("{},{}", server.addr(), staying.addr());
    let watching = remcache(["hotkeys", "--for", WHILE]).servers(both).spawn();
    wait_for_watchers(&server, 1);
    server.kill();
    let run = ended(watching).exits(3);
    assert!(run.stderr.contains(&server.addr()) && run.text().contains("watched"), "{run:?}");
}

#[test]
fn a_terminal_shows_progress() {
    let run = remcache(["hotkeys", "--embedded", "2", "--for", "500ms"]).run_on_terminal("").exits(0);
    assert!(run.text().contains("events") && run.text().contains("keys"), "{run:?}");
    assert!(run.text().contains("watched 0 events, 0 skipped"), "{run:?}");
}

#[test]
fn prefixes_are_summed_up_over_all_servers() {
    let servers = [Memcached::start(&[]), Memcached::start(&[])];
    let list = servers.iter().map(Memcached::addr).collect::<Vec<_>>().join(",");
    for server in &servers {
        remcache(["set", "user:1", "v"]).servers(server.addr()).run().exits(0);
    }
    let watching = remcache(["hotkeys", "--by-prefix", ":", "--for", WHILE, "-f", "json"]).servers(&list).spawn();
    let tables = remcache(["hotkeys", "--by-prefix", ":", "--depth", "2", "--for", WHILE]).servers(&list).spawn();
    for (server, misses) in servers.iter().zip([10, 20]) {
        wait_for_watchers(server, 2);
        get(&server.addr(), OsStr::new("user:1"), 30);
        get(&server.addr(), OsStr::new("user:2:name"), misses);
        get(&server.addr(), OsStr::new("plain"), 5);
    }
    let prefixes = ended(watching).exits(0).json();
    assert_eq!((&prefixes[0]["prefix"], &prefixes[0]["gets"]), (&"user:".into(), &90.into()), "{prefixes}");
    assert_eq!((&prefixes[1]["prefix"], &prefixes[1]["gets"]), (&"".into(), &10.into()), "{prefixes}");
    let hits = prefixes[0]["hit_percent"].as_f64().unwrap();
    assert!((hits - 100.0 * 60.0 / 90.0).abs() < 1e-6 && prefixes[0].get("server").is_none(), "{prefixes}");
    let table = ended(tables).exits(0);
    let prefixes: Vec<_> = table.lines().iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(prefixes[..4], ["PREFIX", "user:", "user:2:", "(none)"], "{table:?}");
    remcache(["hotkeys", "--depth", "2"]).run().exits(2).reports_error("--by-prefix");
}

#[test]
fn a_server_that_accepts_and_never_responds_is_an_error() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = silent.local_addr().expect("it listens").to_string();
    for command in ["hotkeys", "watch"] {
        let run = remcache([command, "--for", "50ms", "--timeout", "100ms", "--connect-timeout", "100ms"]);
        let run = run.servers(&address).run().exits(4);
        assert!(run.stderr.contains(&address), "{run:?}");
    }
}
