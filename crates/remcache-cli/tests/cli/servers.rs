//! `stats`, `version`, `ping`, `flush`: a row for each server, including those that are down.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread;

use crate::tool::{Run, Running, remcache};
use remcache_testkit::{Memcached, unused_port};
use serde_json::Value;

/// Two servers, of which the second is down.
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
    remcache(["get", "missing"]).servers(pair.alive.addr()).run().exits(1);
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
fn the_default_table_shows_rates() {
    let pair = Pair::new();
    let run = pair.run(&["stats"]).exits(3);
    let titles: Vec<_> = run.lines()[0].split_whitespace().collect();
    assert_eq!(titles, ["SERVER", "VER", "UP", "ITEMS", "MEMORY", "HIT%", "GET/s", "SET/s", "EVICT/s", "CONNS", "AGE"]);
    assert!(run.lines()[2].contains("DOWN: connection refused"), "{run:?}");
    assert!(run.stderr.is_empty(), "{run:?}");
    pair.dead_run(&["stats"]).exits(4);
    // A terminal gets a note on the rates, and a fill bar.
    let shown = remcache(["stats"]).servers(pair.alive.addr()).run_on_terminal("").exits(0);
    let text = shown.text();
    assert!(text.contains("▁▁▁▁▁▁▁▁  0.0/64.0M") && text.contains("rates and HIT% over 1.00s"), "{text}");
    // Records are the server's own statistics, with rates only on request.
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
        // The table shows gets and sets, and marks evictions.
        if cells[6] != "0" && cells[7] != "0" && cells[8].ends_with('!') {
            break;
        }
        assert!(begun.elapsed().as_secs() < 60, "{run:?}");
    }
}

#[test]
fn delta_shows_rates() {
    let server = Memcached::start(&[]);
    let run = remcache(["stats", "--delta", "20ms"]).servers(server.addr()).run().exits(0);
    assert!(run.lines()[0].contains("GET/s") && run.lines()[0].contains("EVICT/s"), "{run:?}");
    let list = remcache(["stats", "--delta", "20ms", "-f", "json"]).servers(server.addr()).run().exits(0).json();
    assert_eq!(list[0]["rates"]["sets_per_second"], 0.0);
    let csv = remcache(["stats", "--delta", "20ms", "-f", "csv"]).servers(server.addr()).run().exits(0);
    assert_eq!(csv.lines()[0], "server,name,value");
    remcache(["stats", "--delta", "1s", "--watch", "1s"]).run().exits(2);
    remcache(["stats", "--watch", "1s", "-f", "json"]).run().exits(2).complains_of("ndjson");
}

#[test]
fn every_group_has_a_table_and_csv() {
    let server = Memcached::start(&[]);
    remcache(["set", "a", "1"]).servers(server.addr()).run().exits(0);
    for (group, words, name) in [
        ("settings", &["SETTING", "maxbytes", "67108864", "all"][..], "maxbytes"),
        ("items", &["CLASS", "BYTES", "EVICTED", " total "], "items:1:number"),
        ("slabs", &["CLASS", "96B", "PAGES", " total "], "1:chunk_size"),
        ("sizes", &["NAME", "sizes_status"], "sizes_status"),
    ] {
        let run = remcache(["stats", group]).servers(server.addr()).run().exits(0);
        assert!(words.iter().all(|word| run.text().contains(word)), "{group}: {run:?}");
        let csv = remcache(["stats", group, "-f", "csv"]).servers(server.addr()).run().exits(0);
        assert_eq!(csv.lines()[0], "server,name,value");
        assert!(csv.text().contains(&format!("{},{name},", server.addr())), "{group}: {csv:?}");
    }
    let conns = remcache(["stats", "conns"]).servers(server.addr()).run().exits(0);
    assert!(conns.lines()[0].contains("PEER") && conns.text().contains(" listening"), "{conns:?}");
    assert!(conns.text().trim_end().ends_with("client, this one included"), "{conns:?}");
    remcache(["stats", "nonsense"]).run().exits(2).complains_of("general, items, slabs, settings, sizes, conns");
}

#[test]
fn records_name_a_server_that_is_down() {
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
    let namespaced = remcache(["flush", "--yes", "--namespace", "shop:"]).servers(server.addr()).run().exits(2);
    assert!(namespaced.stderr.contains("the items of every namespace, not only those of shop:"), "{namespaced:?}");
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
fn flush_reports_the_servers_that_failed() {
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
    remcache(["get", "a"]).servers(server.addr()).run().exits(6).complains_of("auth");
}

#[test]
fn slab_classes_have_a_row_each_and_totals() {
    let servers = [Memcached::start(&[]), Memcached::start(&[])];
    for (key, size) in [("small", 10), ("large", 5000)] {
        remcache(["set", key, "-"]).servers(servers[0].addr()).input(vec![b'x'; size]).run().exits(0);
    }
    let list = servers.iter().map(Memcached::addr).collect::<Vec<_>>().join(",");
    let items = remcache(["stats", "items"]).servers(&list).run().exits(0);
    let rows: Vec<Vec<_>> = items.lines().iter().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0][..4], ["SERVER", "CLASS", "ITEMS", "BYTES"]);
    let first = servers[0].addr();
    let classes: Vec<_> = rows.iter().filter(|row| row[0] == first).map(|row| (row[1], row[2])).collect();
    assert_eq!((classes.len(), classes[0], classes[2]), (3, ("1", "1"), ("total", "2")), "{items:?}");
    assert_eq!(rows.last().unwrap()[..3], ["total", "(2/2)", "2"], "{items:?}");
    // Counters become rates.
    let rates = remcache(["stats", "slabs", "--delta", "20ms"]).servers(&list).run().exits(0);
    assert!(rates.lines()[0].contains("HIT/s") && rates.lines()[0].contains("SET/s"), "{rates:?}");
    let records = remcache(["stats", "items", "--delta", "20ms", "-f", "json"]).servers(&first).run().exits(0).json();
    assert_eq!(records[0]["rates"]["items:1:evicted"], 0.0, "{records}");
    remcache(["stats", "settings", "--delta", "1s"]).run().exits(2).complains_of("general, items or slabs");
}

#[test]
fn settings_that_differ_are_shown_with_their_servers() {
    let servers = [Memcached::start(&["-m", "64"]), Memcached::start(&["-m", "64"]), Memcached::start(&["-m", "128"])];
    let list = servers.iter().map(Memcached::addr).collect::<Vec<_>>().join(",");
    let run = remcache(["stats", "settings", "--diff"]).servers(&list).run().exits(0);
    let line = |word: &str| run.lines().iter().find(|line| line.contains(word)).map(|line| (*line).to_owned());
    let both = format!("{}, {}", servers[0].addr(), servers[1].addr());
    assert!(line("maxbytes").unwrap().ends_with(&both), "{run:?}");
    assert!(line("134217728").unwrap().trim_start().starts_with("134217728"), "{run:?}");
    assert!(line("verbosity").is_none(), "{run:?}");
    let records = remcache(["stats", "settings", "--diff", "-f", "json"]).servers(&list).run().exits(0).json();
    let large = records.as_array().unwrap().iter().find(|record| record["value"] == "134217728").unwrap();
    assert_eq!((&large["name"], &large["server"]), (&"maxbytes".into(), &servers[2].addr().into()));
    remcache(["stats", "--diff"]).run().exits(2).complains_of("stats settings --diff");
}

#[test]
fn clients_are_summed_up_by_address() {
    let server = Memcached::start(&[]);
    let _clients = [TcpStream::connect(server.addr()).unwrap(), TcpStream::connect(server.addr()).unwrap()];
    let conns = || remcache(["stats", "conns", "--by-address", "-f", "ndjson"]).servers(server.addr()).run().exits(0);
    // A connection counts from the moment at which the server accepts it.
    let begun = std::time::Instant::now();
    let record = loop {
        let record = conns().json();
        // The connection of the tool itself is one of them.
        if record["connections"].as_u64() >= Some(3) {
            break record;
        }
        assert!(begun.elapsed().as_secs() < 60, "{record}");
    };
    assert_eq!((&record["address"], &record["server_count"]), (&"127.0.0.1".into(), &1.into()));
    let text = remcache(["stats", "conns", "--by-address"]).servers(server.addr()).run().exits(0);
    assert!(text.lines()[1].starts_with("127.0.0.1 ") && text.lines()[2].starts_with("total"), "{text:?}");
}

#[test]
fn watch_shows_rates_from_the_first_table_on_and_times_in_csv() {
    let server = Memcached::start(&[]);
    let watched = |args: &[&str], lines: usize| {
        let mut child =
            Running(remcache(["stats", "--watch", "20ms"].iter().chain(args)).servers(server.addr()).spawn());
        let output = BufReader::new(child.0.stdout.take().unwrap());
        output.lines().map_while(Result::ok).take(lines).collect::<Vec<_>>()
    };
    remcache(["get", "missing"]).servers(server.addr()).run().exits(1);
    let table = watched(&[], 5);
    let cells: Vec<_> = table[1].split_whitespace().collect();
    // The get before the first table is not in it.
    assert!(table[0].contains("GET/s") && cells[5] == "-" && cells[6] == "0", "{table:?}");
    let csv = watched(&["-f", "csv"], 2);
    assert_eq!(csv[0], "time,server,name,value");
    let (time, rest) = csv[1].split_once(',').unwrap();
    assert!(time.ends_with('Z') && rest.starts_with(&format!("{},pid,", server.addr())), "{csv:?}");
}

/// A proxy that, like twemproxy, closes the connection of a client that sends `stats` or the binary protocol.
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
    run(&["check"]).exits(0);
    let check = run(&["check", "--fail-if", "curr_items>5"]).exits(2);
    assert!(check.text().contains("UNKNOWN  no statistic `curr_items`"), "{check:?}");
    let doctor = run(&["doctor"]).exits(8);
    assert!(doctor.text().contains("reports no statistics"), "{doctor:?}");
}

#[test]
fn a_group_that_a_server_lacks_does_not_make_it_down() {
    let run = remcache(["stats", "sizes", "--embedded", "1"]).run();
    assert!(!run.text().contains("DOWN"), "{run:?}");
    assert!(matches!(run.exit, Some(0 | 1)), "{run:?}");
}
