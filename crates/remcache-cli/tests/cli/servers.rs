//! `stats`, `version`, `ping`, `flush`: a row for each server, the dead ones included.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::thread;

use crate::tool::{Run, Running, remcache};
use remcache_testkit::{Memcached, unused_port};
use serde_json::Value;

/// Two servers, of which the second is dead.
struct Pair {
    alive: Memcached,
    dead: String,
}

impl Pair {
    fn new() -> Self {
        Self { alive: Memcached::start(&[]), dead: format!("127.0.0.1:{}", unused_port()) }
    }

    fn run(&self, args: &[&str]) -> Run {
        remcache(args).servers(format!("{},{}", self.alive.addr(), self.dead)).run()
    }

    fn dead_run(&self, args: &[&str]) -> Run {
        remcache(args).servers(&self.dead).run()
    }
}

fn version() -> String {
    let (major, minor, patch) = Memcached::version();
    format!("{major}.{minor}.{patch}")
}

#[test]
fn ping_shows_the_dead_server_with_the_reason() {
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
    pair.dead_run(&["ping", "-n", "2", "-i", "1ms"]).exits(4);
}

#[test]
fn ping_as_records() {
    let pair = Pair::new();
    let list = pair.run(&["ping", "-n", "2", "-i", "1ms", "-f", "json"]).exits(3).json();
    let (alive, dead) = (&list[0], &list[1]);
    assert_eq!((&alive["sent"], &alive["lost"]), (&2.into(), &0.into()));
    let time = |name: &str| alive[name].as_f64().unwrap_or_else(|| panic!("{name} in {alive}"));
    assert!(time("connect_us") > 0.0 && time("min_us") <= time("p50_us") && time("p50_us") <= time("max_us"));
    assert_eq!((&dead["lost"], dead.get("min_us")), (&2.into(), None));
    assert!(dead["error"].as_str().unwrap().contains("refused"), "{dead}");
}

#[test]
fn versions() {
    let pair = Pair::new();
    let run = pair.run(&["version"]).exits(3);
    assert!(run.lines()[0].ends_with(&version()) && run.lines()[1].ends_with("DOWN"), "{run:?}");
    assert!(run.stderr.contains(&pair.dead) && run.stderr.contains("refused"), "{run:?}");
    pair.dead_run(&["version"]).exits(4);
    let one = remcache(["version", "-f", "ndjson"]).servers(pair.alive.addr()).run().exits(0).json();
    assert_eq!(one["version"], version());
}

#[test]
fn general_statistics_are_a_row_for_each_server_and_totals() {
    let pair = Pair::new();
    for key in ["a", "b", "c"] {
        remcache(["set", key, "1"]).servers(pair.alive.addr()).run().exits(0);
    }
    remcache(["get", "a"]).servers(pair.alive.addr()).run().exits(0);
    remcache(["get", "nobody"]).servers(pair.alive.addr()).run().exits(1);
    let run = pair.run(&["stats", "--total"]).exits(3);
    let lines = run.lines();
    let titles: Vec<_> = lines[0].split_whitespace().collect();
    assert_eq!(titles, ["SERVER", "VER", "UP", "ITEMS", "MEMORY", "HIT%", "GETS", "SETS", "EVICTED", "CONNS", "AGE"]);
    let alive: Vec<_> = lines[1].split_whitespace().collect();
    assert_eq!((alive[3], alive[4], alive[5], alive[6], alive[7]), ("3", "0.0/64.0M", "50.0", "2", "3"), "{run:?}");
    assert!(lines[2].starts_with(&format!("{}  DOWN: ", pair.dead)) && lines[2].contains("refused"), "{run:?}");
    let total: Vec<_> = lines[3].split_whitespace().collect();
    assert_eq!(total[..3], ["total", "(1/2)", "3"]);
    pair.dead_run(&["stats", "--total"]).exits(4);
}

#[test]
fn plain_statistics_are_what_happens_in_a_second() {
    let pair = Pair::new();
    let run = pair.run(&["stats"]).exits(3);
    let titles: Vec<_> = run.lines()[0].split_whitespace().collect();
    assert_eq!(titles, ["SERVER", "VER", "UP", "ITEMS", "MEMORY", "HIT%", "GET/s", "SET/s", "EVICT/s", "CONNS", "AGE"]);
    assert!(run.lines()[2].contains("DOWN: connection refused"), "{run:?}");
    assert!(run.stderr.is_empty(), "{run:?}");
    pair.dead_run(&["stats"]).exits(4);
    // A terminal hears what the figures are, and sees a gauge.
    let shown = remcache(["stats"]).servers(pair.alive.addr()).run_on_terminal("").exits(0);
    let text = shown.text();
    assert!(text.contains("▁▁▁▁▁▁▁▁ 0.0/64.0M") && text.contains("rates and HIT% over 1.00s"), "{text}");
    // Records are the server's own figures, and rates only when asked for.
    let list = pair.run(&["stats", "-f", "json"]).exits(3).json();
    assert!(list[0]["stats"]["cmd_get"].is_u64() && list[0].get("rates").is_none(), "{list}");
    remcache(["stats", "--total", "--delta", "1s"]).run().exits(2);
    remcache(["stats", "--total", "--watch", "1s"]).run().exits(2);
}

#[test]
fn rates_are_those_of_a_load() {
    let server = Memcached::start(&["-m", "8"]);
    let load = remcache(["bench", "--time", "1h", "--rate", "500", "--keys", "2k", "--size", "20k"]);
    let _load = Running(load.env("REMCACHE_TIMEOUT", "60s").servers(server.addr()).spawn());
    let begun = std::time::Instant::now();
    loop {
        let stats = remcache(["stats", "--delta", "200ms", "--timeout", "60s"]).servers(server.addr());
        let run = stats.run().exits(0);
        let cells: Vec<_> = run.lines()[1].split_whitespace().map(str::to_owned).collect();
        // Gets and sets come in the proportion of the load, and what has no room is marked.
        if cells[6] != "0" && cells[7] != "0" && cells[8].ends_with('!') {
            break;
        }
        assert!(begun.elapsed().as_secs() < 60, "{run:?}");
    }
}

#[test]
fn two_looks_give_rates() {
    let server = Memcached::start(&[]);
    let run = remcache(["stats", "--delta", "20ms"]).servers(server.addr()).run().exits(0);
    assert!(run.lines()[0].contains("GET/s") && run.lines()[0].contains("EVICT/s"), "{run:?}");
    let list = remcache(["stats", "--delta", "20ms", "-f", "json"]).servers(server.addr()).run().exits(0).json();
    assert_eq!(list[0]["rates"]["sets"], 0.0);
    let csv = remcache(["stats", "--delta", "20ms", "-f", "csv"]).servers(server.addr()).run().exits(0);
    assert_eq!(csv.lines()[0], "server,name,value");
    remcache(["stats", "--delta", "1s", "--watch", "1s"]).run().exits(2);
    remcache(["stats", "--watch", "1s", "-f", "json"]).run().exits(2).complains_of("ndjson");
}

#[test]
fn every_group_as_names_and_values() {
    let server = Memcached::start(&[]);
    remcache(["set", "a", "1"]).servers(server.addr()).run().exits(0);
    for (group, name) in
        [("settings", "maxbytes"), ("items", "items:1:number"), ("slabs", "1:chunk_size"), ("sizes", "sizes_status")]
    {
        let run = remcache(["stats", group]).servers(server.addr()).run().exits(0);
        assert!(run.lines().iter().any(|line| line.contains(name)), "{group}: {run:?}");
        let csv = remcache(["stats", group, "-f", "csv"]).servers(server.addr()).run().exits(0);
        assert_eq!(csv.lines()[0], "server,name,value");
        assert!(csv.text().contains(&format!("{},{name},", server.addr())), "{group}: {csv:?}");
    }
    let conns = remcache(["stats", "conns"]).servers(server.addr()).run().exits(0);
    assert!(conns.lines().iter().any(|line| line.contains(":state ") && line.contains("conn_")), "{conns:?}");
    remcache(["stats", "nonsense"]).run().exits(2).complains_of("general, items, slabs, settings, sizes, conns");
}

#[test]
fn statistics_as_records_name_the_dead_server() {
    let pair = Pair::new();
    let run = pair.run(&["stats", "-f", "ndjson"]).exits(3);
    let records: Vec<Value> = run.lines().iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(records[0]["stats"]["limit_maxbytes"], 64 << 20);
    assert_eq!(records[1]["server"], pair.dead.as_str());
    assert!(records[1]["error"].as_str().unwrap().contains("refused"), "{run:?}");
}

#[test]
fn flush_refuses_without_a_terminal_and_asks_on_one() {
    let server = Memcached::start(&[]);
    let set = || remcache(["set", "a", "1"]).servers(server.addr()).run().exits(0);
    let is_there = || remcache(["get", "a"]).servers(server.addr()).run().exit == Some(0);
    set();
    remcache(["flush"]).servers(server.addr()).input("y\n").run().exits(2).complains_of("--yes");
    assert!(is_there());
    let asked = remcache(["flush"]).servers(server.addr()).run_on_terminal("n\n").exits(1);
    assert!(asked.text().contains(&server.addr()), "{asked:?}");
    remcache(["flush"]).servers(server.addr()).run_on_terminal("\n").exits(1);
    assert!(is_there());
    remcache(["flush"]).servers(server.addr()).run_on_terminal("y\n").exits(0);
    assert!(!is_there());
    set();
    let run = remcache(["flush", "--yes"]).servers(server.addr()).run().exits(0);
    assert!(run.lines()[0].ends_with("flushed"), "{run:?}");
    assert!(!is_there());
}

#[test]
fn a_later_flush_leaves_the_items_until_then() {
    let server = Memcached::start(&[]);
    remcache(["set", "a", "1"]).servers(server.addr()).run().exits(0);
    let run = remcache(["flush", "--yes", "--delay", "1h"]).servers(server.addr()).run().exits(0);
    assert!(run.lines()[0].ends_with("scheduled"), "{run:?}");
    remcache(["get", "a"]).servers(server.addr()).run().exits(0);
}

#[test]
fn flush_tells_which_servers_kept_their_items() {
    let pair = Pair::new();
    let list = pair.run(&["flush", "--yes", "-f", "json"]).exits(3).json();
    assert_eq!((&list[0]["status"], &list[1]["status"]), (&"flushed".into(), &"failed".into()));
}

#[test]
fn a_port_where_no_memcached_answers() {
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
fn a_server_that_is_silent_is_given_up() {
    let server = Memcached::start(&[]);
    server.stop();
    let run = remcache(["get", "a", "--timeout", "50ms"]).servers(server.addr()).run().exits(4);
    assert!(run.stderr.contains("timed out"), "{run:?}");
    let run = remcache(["ping", "-n", "1", "--timeout", "50ms"]).servers(server.addr()).run().exits(4);
    assert!(run.text().contains("1/1"), "{run:?}");
}

#[test]
fn a_server_that_wants_a_login() {
    let server = Memcached::start_sasl(&[]);
    remcache(["get", "a"]).servers(server.addr()).run().exits(6).complains_of("auth");
}
