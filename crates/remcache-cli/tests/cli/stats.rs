//! `stats`: tables with totals, rates, and records, also of servers that are down.

use std::io::{BufRead as _, BufReader};
use std::net::TcpStream;

use remcache_testkit::Memcached;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::servers::Pair;
use crate::tool::{KillOnDrop, remcache};

#[test]
fn general_statistics_have_a_row_per_server_and_totals() {
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
    pair.run_with_server_down(&["stats", "--total"]).exits(4);
}

#[test]
fn the_default_table_shows_rates() {
    let pair = Pair::new();
    let run = pair.run(&["stats"]).exits(3);
    let titles: Vec<_> = run.lines()[0].split_whitespace().collect();
    assert_eq!(titles, ["SERVER", "VER", "UP", "ITEMS", "MEMORY", "HIT%", "GET/s", "SET/s", "EVICT/s", "CONNS", "AGE"]);
    assert!(run.lines()[2].contains("DOWN: connection refused"), "{run:?}");
    assert!(run.stderr.is_empty(), "{run:?}");
    pair.run_with_server_down(&["stats"]).exits(4);
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
fn rates_match_a_load() {
    let server = Memcached::start(&["-m", "8"]);
    let load = remcache(["bench", "--time", "1h", "--rate", "500", "--keys", "2k", "--size", "20k"]);
    let _load = KillOnDrop(load.env("REMCACHE_TIMEOUT", "60s").servers(server.addr()).spawn());
    let started = std::time::Instant::now();
    loop {
        let stats = remcache(["stats", "--delta", "200ms", "--timeout", "60s"]).servers(server.addr());
        let run = stats.run().exits(0);
        let cells: Vec<_> = run.lines()[1].split_whitespace().map(str::to_owned).collect();
        // The table shows gets and sets, and marks evictions.
        if cells[6] != "0" && cells[7] != "0" && cells[8].ends_with('!') {
            break;
        }
        assert!(started.elapsed().as_secs() < 60, "{run:?}");
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
    let addr = server.addr();
    for rate in ["gets_per_second", "sets_per_second", "evictions_per_second"] {
        assert!(csv.lines().contains(&&*format!("{addr},{rate},0.0")), "{csv:?}");
    }
    remcache(["set", "a", "1"]).servers(&addr).run().exits(0);
    let slabs = remcache(["stats", "slabs", "--delta", "20ms", "-f", "csv"]).servers(&addr).run().exits(0);
    for class in ["1", "total"] {
        assert!(slabs.lines().contains(&&*format!("{addr},{class},cmd_set_per_second,0.0")), "{slabs:?}");
    }
    remcache(["stats", "--delta", "1s", "--watch", "1s"]).run().exits(2);
    remcache(["stats", "--watch", "1s", "-f", "json"]).run().exits(2).reports_error("ndjson");
}

#[test]
fn every_group_has_a_table_and_csv() {
    let server = Memcached::start(&[]);
    remcache(["set", "a", "1"]).servers(server.addr()).run().exits(0);
    for (group, words, name) in [
        ("settings", &["SETTING", "maxbytes", "67108864", "all"][..], "maxbytes"),
        ("items", &["CLASS", "BYTES", "EVICTED", " total "], "1,number"),
        ("slabs", &["CLASS", "96B", "PAGES", " total "], "1,chunk_size"),
        ("sizes", &["NAME", "sizes_status"], "sizes_status"),
    ] {
        let run = remcache(["stats", group]).servers(server.addr()).run().exits(0);
        assert!(words.iter().all(|word| run.text().contains(word)), "{group}: {run:?}");
        let csv = remcache(["stats", group, "-f", "csv"]).servers(server.addr()).run().exits(0);
        let classes = if matches!(group, "items" | "slabs") { "class," } else { "" };
        assert_eq!(csv.lines()[0], format!("server,{classes}name,value"));
        assert!(csv.text().contains(&format!("{},{name},", server.addr())), "{group}: {csv:?}");
    }
    let conns = remcache(["stats", "conns"]).servers(server.addr()).run().exits(0);
    assert!(conns.lines()[0].contains("PEER") && conns.text().contains(" listening"), "{conns:?}");
    assert!(conns.text().trim_end().ends_with("client, this one included"), "{conns:?}");
    remcache(["stats", "nonsense"]).run().exits(2).reports_error("general, items, slabs, settings, sizes, conns");
}

#[test]
fn records_name_a_server_that_is_down() {
    let pair = Pair::new();
    let run = pair.run(&["stats", "-f", "ndjson"]).exits(3);
    let records: Vec<Value> = run.lines().iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(records[0]["stats"]["limit_maxbytes"], 64 << 20);
    assert_eq!(records[1]["server"], pair.dead.as_str());
    // The field of the server names it.
    assert_eq!(records[1]["error"], "connection refused", "{run:?}");
}

#[test]
fn slab_classes_have_rows_and_totals() {
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
    let classes: Vec<_> = records.as_array().unwrap().iter().map(|record| record["class"].clone()).collect();
    assert_eq!((classes.len(), &classes[0], &classes[2]), (3, &1.into(), &"total".into()), "{records}");
    assert_eq!((&records[0]["stats"]["number"], &records[2]["stats"]["number"]), (&1.into(), &2.into()), "{records}");
    assert_eq!(records[0]["rates"]["evicted_per_second"], 0.0, "{records}");
    remcache(["stats", "settings", "--delta", "1s"]).run().exits(2).reports_error("general, items or slabs");
}

#[test]
fn connections_are_records() {
    let server = Memcached::start(&[]);
    let connections = remcache(["stats", "conns", "-f", "json"]).servers(server.addr()).run().exits(0).json();
    let connections = connections.as_array().unwrap();
    let listening = connections.iter().find(|record| record["state"] == "listening").expect("it listens");
    assert!(listening["fd"].is_u64() && listening.get("idle_seconds").is_none(), "{listening}");
    let own = connections.iter().find(|record| record["state"] != "listening").expect("the tool is connected");
    assert!(own["peer"].as_str().unwrap().contains("127.0.0.1:") && own["idle_seconds"].is_u64(), "{own}");
    let pair = Pair::new();
    let csv = pair.run(&["stats", "conns", "-f", "csv"]).exits(3);
    assert_eq!(csv.lines()[0], "server,fd,peer,state,idle_seconds,error");
    assert!(csv.lines().last().unwrap().starts_with(&format!("{},,,,,", pair.dead)), "{csv:?}");
}

#[test]
fn an_interrupt_shows_what_happened_until_then() {
    let server = Memcached::start(&[]);
    for args in [&["stats", "--delta", "1h"][..], &["stats", "--watch", "1h"], &["stats", "slabs", "--watch", "1h"]] {
        let child = remcache(args).servers(server.addr()).spawn();
        // The first request has been answered when the connection is open.
        let started = std::time::Instant::now();
        loop {
            let conns = remcache(["stats", "conns", "-f", "ndjson"]).servers(server.addr()).run().exits(0);
            if conns.text().matches("\"state\":\"read\"").count() > 0 {
                break;
            }
            assert!(started.elapsed().as_secs() < 60, "{conns:?}");
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
        kill_process(Pid::from_child(&child), Signal::INT).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(130), "{args:?}: {text}");
        assert!(text.contains("SET/s") && text.contains(&server.addr()), "{args:?}: {text}");
    }
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
    remcache(["stats", "--diff"]).run().exits(2).reports_error("stats settings --diff");
}

#[test]
fn clients_are_summed_up_by_address() {
    let server = Memcached::start(&[]);
    let _clients = [TcpStream::connect(server.addr()).unwrap(), TcpStream::connect(server.addr()).unwrap()];
    let conns = || remcache(["stats", "conns", "--by-address", "-f", "ndjson"]).servers(server.addr()).run().exits(0);
    // A connection counts from the moment at which the server accepts it.
    let started = std::time::Instant::now();
    let record = loop {
        let record = conns().json();
        // The connection of the tool itself is one of them.
        if record["connections"].as_u64() >= Some(3) {
            break record;
        }
        assert!(started.elapsed().as_secs() < 60, "{record}");
    };
    assert_eq!((&record["address"], &record["server_count"]), (&"127.0.0.1".into(), &1.into()));
    let text = remcache(["stats", "conns", "--by-address"]).servers(server.addr()).run().exits(0);
    assert!(text.lines()[1].starts_with("127.0.0.1 ") && text.lines()[2].starts_with("total"), "{text:?}");
    assert!(text.lines()[0].ends_with("MIN IDLE  MAX IDLE"), "{text:?}");
    let shown = remcache(["stats", "conns", "--by-address"]).servers(server.addr()).run_on_terminal("").exits(0);
    assert!(shown.text().contains("the connections of this command are included"), "{shown:?}");
}

#[test]
fn stats_watch_shows_rates_from_the_first_table_and_times_in_csv() {
    let server = Memcached::start(&[]);
    let watched = |args: &[&str], lines: usize| {
        let mut child =
            KillOnDrop(remcache(["stats", "--watch", "20ms"].iter().chain(args)).servers(server.addr()).spawn());
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

#[test]
fn a_server_without_a_statistics_group_is_not_down() {
    let run = remcache(["stats", "sizes", "--embedded", "1"]).run();
    assert!(!run.text().contains("DOWN"), "{run:?}");
    assert!(matches!(run.exit, Some(0 | 1)), "{run:?}");
}

#[test]
fn settings_without_differences_are_reported() {
    let servers = [Memcached::start(&[]), Memcached::start(&[])];
    let list = servers.each_ref().map(Memcached::addr).join(",");
    let diff = |list: &str| remcache(["stats", "settings", "--diff"]).servers(list).run();
    let expected = "no differences: all 2 servers have the same settings, except for ports and addresses\n";
    assert_eq!(diff(&list).exits(0).text(), expected);
    let records = remcache(["stats", "settings", "--diff", "-f", "json"]).servers(&list).run().exits(0);
    assert_eq!(records.json(), serde_json::json!([]));
    assert_eq!(diff(&servers[0].addr()).exits(0).text(), "no differences: only one server reports its settings\n");
    let pair = Pair::new();
    for group in [&["settings", "--diff"][..], &["conns", "--by-address"]] {
        let run = pair.run(&[&["stats"], group, &["-f", "json"]].concat()).exits(3);
        assert_eq!(run.stderr, format!("error: {}: connection refused\n", pair.dead));
    }
    let run = pair.run(&["stats", "settings", "--diff"]).exits(3);
    assert!(run.text().contains("DOWN: connection refused"), "{run:?}");
    assert!(run.text().ends_with("no differences: only one server reports its settings\n"), "{run:?}");
    let run = diff(&format!("{list},{}", pair.dead)).exits(3);
    assert!(run.text().contains("\nno differences: the 2 servers that answered have the same settings"), "{run:?}");
}
