//! `bench` and `fill`: loads on real and on embedded servers.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::time::Duration;

use crate::tool::{Tool, remcache};
use remcache_testkit::{Memcached, unused_port};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Prepares a run with a long timeout, because the machine may be busy.
fn patient<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Tool {
    remcache(args).env("REMCACHE_TIMEOUT", "60s")
}

#[test]
fn bench_prints_a_row_for_each_operation() {
    let server = Memcached::start(&[]);
    let run = patient(["bench", "--time", "50ms", "--keys", "100"]).servers(server.addr()).run().exits(0);
    let lines = run.lines();
    let titles: Vec<_> = lines[0].split_whitespace().collect();
    assert_eq!(titles, ["ops", "ops/s", "errors", "hit%", "p50", "p90", "p99", "p99.9", "p99.99", "max"]);
    let gets: Vec<_> = lines[1].split_whitespace().collect();
    assert_eq!((gets[0], gets[3], gets[4]), ("get", "0", "100.0"), "{run:?}");
    assert!(lines[2].starts_with("set"), "{run:?}");
    let total: Vec<_> = lines[3].split_whitespace().collect();
    assert_eq!((total[0], total[3], total[4]), ("total", "0", "100.0"), "{run:?}");
    assert!(lines[4].starts_with("64 callers reached "), "{run:?}");
}

#[test]
fn the_total_is_that_of_all_operations() {
    let load = |ratio, format| {
        patient(["bench", "--time", "50ms", "--keys", "10", "--embedded", "1", "--ratio", ratio, "-f", format]).run()
    };
    let report = load("get,set", "json").exits(0).json();
    let (get, set, total) = (&report["operations"][0], &report["operations"][1], &report["total"]);
    let sum = |name: &str| get[name].as_u64().unwrap() + set[name].as_u64().unwrap();
    assert_eq!((total["answers"].as_u64(), total["errors"].as_u64()), (Some(sum("answers")), Some(0)), "{report}");
    let max = |row: &Value| row["latency_us"]["max"].as_f64().unwrap();
    assert!(max(total) == max(get).max(max(set)) && total["latency_us"]["p99"].is_number(), "{report}");
    let names = |ratio| {
        let run = load(ratio, "csv").exits(0);
        run.lines().iter().map(|line| line.split(',').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names("get,set"), ["operation", "get", "set", "total"]);
    assert_eq!(names("get"), ["operation", "get"], "the total would repeat the only operation");
    assert_eq!(load("get", "json").json()["operations"].as_array().unwrap().len(), 1);
}

#[test]
fn every_operation_can_be_part_of_a_load() {
    let ratio = "get=1,set=1,add=1,delete=1,touch=1,incr=1";
    let run = patient([
        "bench",
        "--time",
        "500ms",
        "--keys",
        "1k",
        "--ratio",
        ratio,
        "--embedded",
        "2",
        "--threads",
        "2",
        "--conns",
        "2",
        "-f",
        "json",
    ])
    .run()
    .exits(0);
    let operations = run.json()["operations"].as_array().unwrap().clone();
    assert_eq!(operations.len(), 6);
    for operation in operations {
        assert!(operation["answers"].as_u64().unwrap() > 0 && operation["errors"] == 0, "{operation}");
        let latency = |name: &str| operation["latency_us"][name].as_f64().unwrap();
        assert!(latency("p50") <= latency("p99") && latency("p99") <= latency("max"), "{operation}");
    }
}

#[test]
fn an_open_load_sends_the_planned_number_of_requests() {
    let server = Memcached::start(&[]);
    let run = patient(["bench", "--time", "500ms", "--rate", "1k", "--keys", "10", "-f", "json"])
        .servers(server.addr())
        .run()
        .exits(0);
    let report = run.json();
    let answers: u64 =
        report["operations"].as_array().unwrap().iter().map(|row| row["answers"].as_u64().unwrap()).sum();
    // Requests that a busy machine delays past the end are not sent; none is sent twice.
    assert!((1..=500).contains(&answers), "{report}");
    assert_eq!(report["requested_per_second"], 1000);
    patient(["bench", "--rate", "1k", "--depth", "8"]).run().exits(2);
    let run = patient(["bench", "--time", "20ms", "--rate", "1000/s", "--embedded", "1", "-f", "json"]).run().exits(0);
    assert_eq!(run.json()["requested_per_second"], 1000);
}

#[test]
fn latencies_include_the_whole_stall_of_a_server() {
    let server = Memcached::start(&[]);
    let args = ["bench", "--time", "2s", "--rate", "1k", "--keys", "10", "--timeout", "60s", "-f", "json"];
    let mut child = patient(args).servers(server.addr()).spawn();
    // The load has started when the server has counted more sets than the ten keys.
    while stored(&server) < 20 {}
    server.stop();
    std::thread::sleep(Duration::from_millis(2500));
    server.cont();
    let mut report = String::new();
    child.stdout.take().unwrap().read_to_string(&mut report).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{report}");
    let report: Value = serde_json::from_str(&report).unwrap();
    let gets = report["operations"].as_array().unwrap().iter().find(|row| row["operation"] == "get").unwrap();
    // All requests planned after the stop wait for half a second or more, not only those in flight.
    assert!(gets["latency_us"]["p99"].as_f64().unwrap() > 500_000.0, "{gets}");
}

fn stored(server: &Memcached) -> u64 {
    let stats = remcache(["stats", "-f", "ndjson"]).servers(server.addr()).run().exits(0).json();
    stats["stats"]["cmd_set"].as_u64().expect("it is a number")
}

#[test]
fn results_can_be_written_to_files() {
    let dir = tempfile::tempdir().unwrap();
    let [json, hdr, svg] = ["out.json", "out.hlog", "out.svg"].map(|name| dir.path().join(name));
    let files = [("--json", &json), ("--hdr", &hdr), ("--svg", &svg)];
    let files = files.iter().flat_map(|(option, file)| [*option, file.to_str().unwrap()]);
    patient(["bench", "--time", "20ms", "--embedded", "1"].into_iter().chain(files)).run().exits(0);
    let report: Value = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
    assert_eq!((&report["callers"], &report["ratio"]), (&64.into(), &"get=9,set=1".into()));
    let log = fs::read_to_string(&hdr).unwrap();
    assert!(log.contains("Tag=get,") && log.contains("Tag=set,"), "{log}");
    let drawing = fs::read_to_string(&svg).unwrap();
    assert!(drawing.starts_with("<svg") && drawing.contains("99%") && drawing.contains("64 callers, "), "{drawing}");
}

#[test]
fn an_operation_without_samples_is_listed() {
    let dir = tempfile::tempdir().unwrap();
    let hdr = dir.path().join("out.hlog");
    // An operation with a share of 1 in 10,000 does not occur in a short load.
    let load = ["bench", "--time", "20ms", "--rate", "50", "--keys", "10", "--ratio", "get=10000,set=1", "--embedded"];
    let run = patient(load.into_iter().chain(["1", "--hdr", hdr.to_str().unwrap()])).run().exits(0);
    let sets: Vec<_> = run.lines()[2].split_whitespace().collect();
    assert_eq!(sets, ["set", "0", "0", "0", "-", "-", "-", "-", "-", "-", "-"], "{run:?}");
    assert!(fs::read_to_string(&hdr).unwrap().contains("Tag=set,"));
}

#[test]
fn a_result_file_is_complete_or_unchanged() {
    let dir = tempfile::tempdir().unwrap();
    let [json, hdr, svg] = ["out.json", "out.hlog", "out.svg"].map(|name| dir.path().join(name));
    for (option, file) in [("--json", &json), ("--hdr", &hdr), ("--svg", &svg)] {
        fs::write(file, "the old result").unwrap();
        let file = file.to_str().unwrap();
        let load = ["bench", "--time", "20ms", "--keys", "10", "--embedded", "1", option, file];
        let run = patient(load).with_full_disk().run().exits(2);
        assert!(run.stderr.contains(file), "{run:?}");
        assert_eq!(fs::read_to_string(file).unwrap(), "the old result");
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3, "no other file is left");
}

#[test]
fn an_unwritable_result_file_is_reported_before_the_load() {
    for option in ["--json", "--hdr", "--svg"] {
        for path in ["/nowhere/x", "/"] {
            let run = patient(["bench", "--time", "1h", "--embedded", "1", option, path]).run().exits(2);
            run.reports_error(path);
        }
    }
}

#[test]
fn keys_and_sizes_are_as_requested() {
    let server = Memcached::start(&[]);
    let load = ["bench", "--time", "100ms", "--ratio", "set=1", "--keys", "50", "-f", "json"];
    let with = |more: &[&'static str]| {
        let run = patient(load.into_iter().chain(more.iter().copied())).servers(server.addr()).run().exits(0);
        let items = remcache(["keys", "-f", "ndjson"]).servers(server.addr()).run().exits(0);
        let items: Vec<Value> = items.lines().iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        (run.json(), items.iter().map(|item| item["item_size"].as_u64().expect("items have sizes")).collect::<Vec<_>>())
    };
    let (report, sizes) = with(&["--size", "100..1k", "--dist", "sequential"]);
    assert_eq!((&report["value_size"], &report["distribution"]), (&"100..1024".into(), &"sequential".into()));
    // An item is larger than its value by its header and its key.
    let (least, most) = (sizes.iter().min().unwrap(), sizes.iter().max().unwrap());
    assert!(sizes.len() == 50 && *least > 100 && *most < 1_200 && most - least > 300, "{sizes:?}");
    let (report, sizes) = with(&["--size", "100", "--dist", "zipf:1.0"]);
    assert_eq!((&report["value_size"], &report["distribution"]), (&"100".into(), &"zipf:1.0".into()));
    assert!(sizes.iter().all(|size| size == &sizes[0]), "{sizes:?}");
    for (option, wrong) in [("--size", "1k..100"), ("--dist", "zipf:x"), ("--dist", "normal")] {
        patient(["bench", option, wrong]).run().exits(2).reports_error(wrong);
    }
}

#[test]
fn a_terminal_shows_progress_bars() {
    let run = patient(["bench", "--time", "50ms", "--embedded", "1", "--color", "always", "-f", "text"]).run().exits(0);
    let last = run.lines().pop().unwrap().to_owned();
    assert!(last.contains('█') && (last.contains("µs ") || last.contains("ms ")), "{run:?}");
}

#[test]
fn an_exceeded_threshold_exits_with_8() {
    let bench = |condition: &str| patient(["bench", "--time", "20ms", "--embedded", "1", "--fail-if", condition]).run();
    let run = bench("p99>1ns").exits(8);
    assert!(run.stderr.contains("p99>1ns: the value is ") && run.text().contains("get"), "{run:?}");
    bench("p99>1h").exits(0);
    bench("errors>0").exits(0);
    bench("ops<1").exits(0);
    bench("p99").exits(2).reports_error("p99>2ms");
    bench("q99>1ms").exits(2).reports_error("q99");
}

#[test]
fn bench_does_not_start_without_servers() {
    let dead = format!("127.0.0.1:{}", unused_port());
    let run = patient(["bench"]).servers(&dead).run().exits(4);
    assert!(run.stdout.is_empty() && run.stderr.contains(&dead), "{run:?}");
}

#[test]
fn bench_measures_the_other_servers_if_one_is_down() {
    let server = Memcached::start(&[]);
    let servers = format!("{},127.0.0.1:{}", server.addr(), unused_port());
    let run = patient(["bench", "--time", "50ms", "-f", "json"]).servers(&servers).run().exits(3);
    let report = run.json();
    let gets = &report["operations"][0];
    assert!(gets["answers"].as_u64().unwrap() > 0 && gets["errors"].as_u64().unwrap() > 0, "{report}");
}

#[test]
fn an_interrupted_bench_prints_the_results_so_far() {
    // What was measured can exceed a threshold.
    for (condition, exit) in [("p99>1h", 130), ("p99>1ns", 8)] {
        let server = Memcached::start(&[]);
        let load = ["bench", "--time", "1h", "--keys", "10", "--fail-if", condition];
        let mut child = patient(load).servers(server.addr()).spawn();
        while stored(&server) < 20 {}
        kill_process(Pid::from_child(&child), Signal::INT).unwrap();
        let mut table = String::new();
        child.stdout.take().unwrap().read_to_string(&mut table).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(exit), "{table}");
        assert!(table.contains("64 callers reached "), "{table}");
    }
}

#[test]
fn interrupted_statistics_exit_with_130() {
    let server = Memcached::start(&[]);
    let mut child = remcache(["stats", "--watch", "10ms", "-f", "ndjson"]).servers(server.addr()).spawn();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    let second: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    assert!(first.get("rates").is_none() && second["rates"]["gets_per_second"].is_number(), "{second}");
    assert!(second["time"].is_string(), "{second}");
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    lines.by_ref().for_each(drop);
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[test]
fn an_interrupt_ends_commands_that_wait_for_input() {
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_remcache"))
        .args(["delete", "-", "-s", "127.0.0.1:1"])
        .env_clear()
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    // More than a pipe can hold: when all of it is written, the tool reads and soon waits for more.
    let mut input = child.stdin.take().unwrap();
    input.write_all("key\n".repeat(50_000).as_bytes()).unwrap();
    std::thread::sleep(Duration::from_millis(500));
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[test]
fn fill_reports_how_many_items_fit() {
    let run = remcache(["fill", "--embedded", "2", "--embedded-memory", "1m", "--size", "1k"]).run().exits(0);
    let lines = run.lines();
    assert_eq!(lines[0].split_whitespace().next(), Some("SERVER"));
    for line in &lines[1..3] {
        let cells: Vec<_> = line.split_whitespace().collect();
        let (items, evicted) = (cells[1].parse::<u32>().unwrap(), cells[5].replace(',', "").parse::<u32>().unwrap());
        assert!((500..1024).contains(&items) && evicted > 0, "{run:?}");
    }
    assert!(lines[3].contains("items with a value of 1.0K fit"), "{run:?}");
}

#[test]
fn fill_reports_the_statistics_of_a_real_server() {
    let server = Memcached::start(&["-m", "8"]);
    let list = remcache(["fill", "--size", "8k", "-f", "json"]).servers(server.addr()).run().exits(0).json();
    let row = &list[0];
    assert!(row["items"].as_u64().unwrap() > 100 && row["evictions"].as_u64().unwrap() > 0, "{row}");
    let stats = remcache(["stats", "-f", "ndjson"]).servers(server.addr()).run().exits(0).json();
    assert_eq!(stats["stats"]["curr_items"], row["items"]);
}

#[test]
fn fill_ends_when_a_server_is_out_of_memory() {
    let server = Memcached::start(&["-m", "8", "-M"]);
    let list = remcache(["fill", "--size", "8k", "-f", "json"]).servers(server.addr()).run().exits(0).json();
    assert_eq!(list[0]["evictions"], 0);
    assert!(list[0]["items"].as_u64().unwrap() > 100, "{list}");
}

#[test]
fn fill_asks_for_confirmation_before_it_evicts() {
    let server = Memcached::start(&["-m", "8"]);
    remcache(["set", "precious", "x"]).servers(server.addr()).run().exits(0);
    remcache(["fill"]).servers(server.addr()).run().exits(2).reports_error("--yes");
    let asked = remcache(["fill"]).servers(server.addr()).run_on_terminal("n\n").exits(1);
    assert!(asked.text().contains("not confirmed: nothing was changed"), "{asked:?}");
    remcache(["get", "precious"]).servers(server.addr()).run().exits(0);
    remcache(["fill", "--yes", "--size", "10k"]).servers(server.addr()).run().exits(0);
}

#[test]
fn fill_continues_without_a_server_that_is_down() {
    let server = Memcached::start(&["-m", "8"]);
    let dead = format!("127.0.0.1:{}", unused_port());
    let run = remcache(["fill", "--size", "8k"]).servers(format!("{},{dead}", server.addr())).run().exits(3);
    assert!(run.lines()[2].starts_with(&dead) && run.lines()[2].contains("refused"), "{run:?}");
    assert_eq!(run.stderr, "", "the table has the reason already");
}

#[test]
fn fill_counts_the_items_of_its_own_size() {
    let server = Memcached::start(&["-m", "8"]);
    remcache(["fill", "--yes", "-q"]).servers(server.addr()).run().exits(0);
    let before = remcache(["keys", "--count"]).servers(server.addr()).run().exits(0);
    assert!(before.text().trim().parse::<u32>().unwrap() > 10_000, "{before:?}");
    let run = remcache(["fill", "--size", "500k", "--yes", "-f", "json"]).servers(server.addr()).run().exits(0);
    let (fit, added) = (run.json()[0]["fit"].as_u64().unwrap(), run.json()[0]["added"].as_u64().unwrap());
    assert!(fit <= added && added < 20, "{run:?}");
    let largest = remcache(["keys", "--sort", "size", "--top", "30", "-f", "json"]).servers(server.addr()).run();
    let is_large = |item: &&Value| item["item_size"].as_u64() > Some(500 << 10);
    assert_eq!(largest.json().as_array().unwrap().iter().filter(is_large).count() as u64, fit);
    let text = remcache(["fill", "--size", "500k", "--yes"]).servers(server.addr()).run().exits(0);
    assert!(text.text().contains(" other items; "), "{text:?}");
    // A value above every limit fits on no server.
    let run = remcache(["fill", "--size", "2m", "--yes"]).servers(server.addr()).run();
    assert!(run.exit != Some(0) && !run.text().contains(" fit"), "{run:?}");
}

#[test]
fn bench_and_fill_ask_for_confirmation_in_a_production_context() {
    let server = Memcached::start(&[]);
    let home = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| patient(args).env("HOME", home.path().to_str().unwrap());
    run(&["context", "add", "shop", "-s", &server.addr(), "--production"]).run().exits(0);
    run(&["context", "use", "shop"]).run().exits(0);
    let bench = ["bench", "--time", "10ms", "--keys", "10"];
    run(&bench).run().exits(2).reports_error("--yes");
    // Items that clients store later would be evicted.
    run(&["fill"]).run().exits(2).reports_error("refusing to fill the memory of servers without a terminal");
    let asked = run(&bench).run_on_terminal("y\n").exits(1);
    assert!(asked.text().contains("shop") && asked.text().contains("type its name"), "{asked:?}");
    assert_eq!(remcache(["keys", "--count"]).servers(server.addr()).run().exits(0).text(), "0\n");
    run(&bench).arg("--yes").run().exits(0);
    run(&bench).run_on_terminal("shop\n").exits(0);
}
