//! `hotkeys`: which keys are fetched most, by the servers' own logs.

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

/// Long enough for everything that a test does meanwhile, on a machine that is busy.
const WHILE: &str = "4s";

/// Fetches a key so often.
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
fn the_hottest_keys_come_first_with_their_figures() {
    let server = Memcached::start(&[]);
    let (address, dead) = (server.addr(), format!("127.0.0.1:{}", unused_port()));
    remcache(["set", "front", &"x".repeat(1000)]).servers(&address).run().exits(0);
    let watching = remcache(["hotkeys", "--for", WHILE, "-f", "json"]).servers(format!("{address},{dead}")).spawn();
    wait_for_watchers(&server, 1);
    get(&address, OsStr::new("front"), 60);
    get(&address, OsStr::new("nobody"), 30);
    get(&address, OsStr::from_bytes(b"\xff"), 10);
    // A store looks at its item, which is no fetch.
    remcache(["set", "stored", "v"]).servers(&address).run().exits(0);
    let run = ended(watching).exits(3);
    let list = run.json();
    let keys: Vec<_> = list.as_array().unwrap().iter().map(|hot| hot["key"].as_str()).collect();
    assert_eq!(keys, [Some("front"), Some("nobody"), None], "{list}");
    let (front, nobody) = (&list[0], &list[1]);
    assert_eq!((&front["gets"], &front["uncounted_gets"]), (&60.into(), &0.into()));
    assert_eq!(
        (&front["hit_percent"], &front["size"], &front["share_percent"]),
        (&100.0.into(), &1000.into(), &60.0.into())
    );
    assert_eq!((&nobody["hit_percent"], nobody.get("size")), (&0.0.into(), None));
    assert_eq!((&list[2]["key_b64"], &list[2]["gets"]), (&"/w==".into(), &10.into()));
    let rate = |hot: &Value, name: &str| hot[name].as_f64().unwrap();
    assert!(rate(front, "gets_per_second") > 0.0, "{front}");
    let out = rate(front, "out_bytes_per_second") / rate(front, "gets_per_second");
    assert!((out - 1000.0).abs() < 1e-6, "{front}");
    assert_eq!(front["server"], address.as_str());
    assert!(run.stderr.contains(&dead) && run.stderr.contains("refused"), "{run:?}");
}

#[test]
fn an_interrupt_prints_what_there_is() {
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
    // One key, of those that are meant; its share is that of all fetches.
    assert!(lines[1].starts_with("user:1 ") && lines[1].contains("37.5%"), "{run:?}");
    assert_eq!(lines[2], "watched 80 events, 0 skipped by the server's log buffer");
}

#[test]
fn what_a_server_is_too_busy_to_tell_is_counted() {
    const GETS: usize = 100_000;
    let server = Memcached::start(&[]);
    let watching = remcache(["hotkeys", "--for", WHILE, "-f", "csv"]).servers(server.addr()).spawn();
    wait_for_watchers(&server, 1);
    // Answers are read while requests are written: neither end waits for the other.
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
    // The worker is faster than its log: few were told, and the rate is that of all.
    assert!(cells[0] == "hot" && gets < GETS as u64, "{run:?}");
    assert!(rate <= GETS as f64 / 4.0 && rate > gets as f64 / 4.0, "{run:?}");
    assert!(run.stderr.contains("skipped by the server's log buffer: the rates are estimates"), "{run:?}");
}

/// A server that tells as little in its log as old ones do: passes everything on but the fields that came later.
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
fn sizes_that_a_log_does_not_tell_are_asked_for() {
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
fn servers_that_tell_nothing_are_named() {
    let dead = format!("127.0.0.1:{}", unused_port());
    let run = remcache(["hotkeys", "--for", "1h"]).servers(&dead).run().exits(4);
    assert!(run.stderr.contains(&dead), "{run:?}");
    let forbidding = Memcached::start(&["-W"]);
    let run = remcache(["hotkeys", "--for", "1h"]).servers(forbidding.addr()).run().exits(5);
    assert!(run.stderr.contains("not allowed"), "{run:?}");
    // One that tells makes it a part.
    let telling = Memcached::start(&[]);
    let both = format!("{},{}", telling.addr(), forbidding.addr());
    let run = remcache(["hotkeys", "--for", "100ms"]).servers(both).run().exits(3);
    assert!(run.text().contains("watched 0 events") && run.stderr.contains("not allowed"), "{run:?}");
    remcache(["hotkeys", "--for", "0s"]).run().exits(2).complains_of("zero");
    remcache(["hotkeys", "-n", "0"]).run().exits(2);
    remcache(["hotkeys", "--regex", "["]).run().exits(2).complains_of("regex");
}

#[test]
fn a_server_that_dies_meanwhile_is_named() {
    let (mut server, staying) = (Memcached::start(&[]), Memcached::start(&[]));
    let both = format!("{},{}", server.addr(), staying.addr());
    let watching = remcache(["hotkeys", "--for", WHILE]).servers(both).spawn();
    wait_for_watchers(&server, 1);
    server.kill();
    let run = ended(watching).exits(3);
    assert!(run.stderr.contains(&server.addr()) && run.text().contains("watched"), "{run:?}");
}

#[test]
fn a_terminal_sees_how_far_it_is() {
    let run = remcache(["hotkeys", "--embedded", "2", "--for", "500ms"]).run_on_terminal("").exits(0);
    assert!(run.text().contains("events") && run.text().contains("keys"), "{run:?}");
    assert!(run.text().contains("watched 0 events, 0 skipped"), "{run:?}");
}
