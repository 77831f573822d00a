//! Bulk commands while servers are down: they wait, and print where to continue when they stop.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Output};

use remcache_testkit::{Memcached, scratch, unused_port};
use serde_json::json;

use crate::tool::{Tool, remcache};

/// Longer than any test takes.
const LONG: &str = "10m";

fn load(file: &str, server: &Memcached, wait: &str, options: &[&str]) -> Tool {
    let args = ["load", file, "-f", "json", "--wait", wait, "--timeout", "20s"];
    remcache(args.iter().chain(options)).servers(server.addr())
}

/// Writes a dump with a number of items, and returns its path.
fn dump(directory: &tempfile::TempDir, items: usize) -> String {
    let path = directory.path().join("items.ndjson");
    let lines: String =
        (0..items).map(|number| format!("{{\"key\":\"k:{number}\",\"value\":\"{number}\"}}\n")).collect();
    std::fs::write(&path, lines).expect("the directory is writable");
    path.to_str().expect("a path in UTF-8").to_owned()
}

fn has(server: &Memcached, key: &str) -> bool {
    remcache(["exists", key, "--timeout", "20s"]).servers(server.addr()).run().exit == Some(0)
}

/// Waits until a key is loaded.
fn wait_for(server: &Memcached, key: &str) {
    while !has(server, key) {}
}

fn end(child: Child) -> (Output, String) {
    let output = child.wait_with_output().expect("the tool ends");
    let errors = String::from_utf8(output.stderr.clone()).expect("messages are UTF-8");
    (output, errors)
}

#[test]
fn a_load_survives_the_restart_of_a_server_and_names_it() {
    let mut server = Memcached::start(&[]);
    let directory = scratch();
    let file = dump(&directory, 4000);
    let child = load(&file, &server, LONG, &["--rate", "2000"]).spawn();
    wait_for(&server, "k:0");
    server.kill();
    server.restart();
    let (output, errors) = end(child);
    assert_eq!(output.status.code(), Some(3), "{errors}");
    let lost = format!("error: {}: restarted during the command and lost items that were stored before", server.addr());
    assert!(errors.contains(&lost), "{errors}");
    let record: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&record["items"], &record["failed"]), (&json!(4000), &json!(0)), "{record}");
    assert!(has(&server, "k:3999"), "items loaded after the restart exist");
}

#[test]
fn a_load_stops_at_a_line_to_continue_from_if_a_server_stays_down() {
    let mut server = Memcached::start(&[]);
    let directory = scratch();
    let file = dump(&directory, 4000);
    let child = load(&file, &server, "300ms", &["--rate", "1000"]).spawn();
    wait_for(&server, "k:0");
    let address = server.addr();
    server.kill();
    let (output, errors) = end(child);
    assert_eq!(output.status.code(), Some(3), "{errors}");
    assert!(errors.contains(&format!("{address}: ")), "the server is named: {errors}");
    let (_, rest) = errors.rsplit_once("continue with --from-line ").expect(&errors);
    let (line, advice) = rest.split_once(',').expect(&errors);
    let line: usize = line.parse().unwrap();
    assert!(advice.contains("again if the server has restarted and lost its items"), "{errors}");
    assert!((2..4000).contains(&line), "{errors}");
    let record: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let (items, failed) = (record["items"].as_u64().unwrap(), record["failed"].as_u64().unwrap());
    assert!(items >= line as u64 - 1 && failed > 0 && items + failed < 4000, "{record}");
    server.restart();
    let rest = load(&file, &server, LONG, &["--from-line", &line.to_string()]).run().exits(0).json();
    assert_eq!(rest["items"].as_u64(), Some(4001 - line as u64));
}

#[test]
fn an_interrupt_ends_the_wait_for_a_server() {
    let mut server = Memcached::start(&[]);
    let directory = scratch();
    let file = dump(&directory, 4000);
    let child = load(&file, &server, LONG, &["--rate", "1000"]).spawn();
    wait_for(&server, "k:0");
    server.kill();
    // The server is down, and the wait starts.
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::INT).unwrap();
    let (output, errors) = end(child);
    assert_eq!(output.status.code(), Some(130), "{errors}");
    assert!(errors.contains("continue with --from-line "), "{errors}");
}

#[test]
fn a_dead_destination_is_found_before_the_source_is_read() {
    let (from, to) = (Memcached::start(&[]), Memcached::start(&[]));
    let dead = format!("127.0.0.1:{}", unused_port());
    remcache(["set", "k", "v"]).servers(from.addr()).run().exits(0);
    let run = remcache(["copy", "--from", &from.addr(), "--to", &format!("{},{dead}", to.addr())]).run().exits(4);
    assert!(run.stderr.contains(&format!("nothing was stored, because not all servers answer: {dead}: ")), "{run:?}");
    assert!(!run.stderr.contains(&from.addr()) && !run.stderr.contains(&to.addr()), "{run:?}");
    let stats = remcache(["stats", "-f", "ndjson"]).servers(from.addr()).run().exits(0).json();
    assert_eq!((&stats["stats"]["cmd_get"], &stats["stats"]["cmd_meta"]), (&json!(0), &json!(0)));
    let input = "{\"key\":\"k\",\"value\":\"v\"}\n";
    let run = remcache(["load", "-"]).servers(&dead).input(input).run().exits(4);
    assert!(run.stderr.contains(&format!("{dead}: ")), "{run:?}");
}

#[test]
fn a_copy_names_a_server_that_restarts() {
    for restarts_destination in [true, false] {
        let (mut from, mut to) = (Memcached::start(&[]), Memcached::start(&[]));
        load(&dump(&scratch(), 4000), &from, LONG, &["-q"]).run().exits(0);
        let args = ["copy", "--from", &from.addr(), "--to", &to.addr(), "--rate", "1000", "--timeout", "20s"];
        let child = remcache(args).spawn();
        while remcache(["keys", "--count"]).servers(to.addr()).run().text() == "0\n" {}
        let server = if restarts_destination { &mut to } else { &mut from };
        server.kill();
        server.restart();
        let address = server.addr();
        let (output, errors) = end(child);
        assert_eq!(output.status.code(), Some(3), "{errors}");
        assert!(errors.contains(&format!("error: {address}: restarted during the command and lost items")), "{errors}");
    }
}

#[test]
fn bulk_commands_wait_for_a_server_that_stops_answering() {
    let (from, to, directory) = (Memcached::start(&[]), Memcached::start(&[]), scratch());
    let file = directory.path().join("dump.ndjson");
    let (from_address, to_address, file) = (from.addr(), to.addr(), file.to_str().expect("a path in UTF-8"));
    load(&dump(&directory, 3000), &from, LONG, &["-q"]).run().exits(0);
    for args in [
        &["dump", file][..],
        &["copy", "--from", &from_address, "--to", &to_address],
        &["delete-matching", "k:*", "--yes"],
    ] {
        let options = ["--rate", "500", "--wait", LONG, "--timeout", "2s"];
        let requests = || {
            let stats = remcache(["stats", "-f", "ndjson"]).servers(&from_address).run().json();
            stats["stats"]["get_hits"].as_u64().unwrap() + stats["stats"]["delete_hits"].as_u64().unwrap()
        };
        let before = requests();
        let mut child = remcache(args.iter().chain(&options)).servers(&from_address).spawn();
        while requests() == before {
            assert!(child.try_wait().unwrap().is_none(), "{args:?} ended early");
        }
        from.stop();
        let mut errors = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        let waits = format!("{from_address}: ");
        let line = errors.next().expect("it reports the wait").unwrap();
        assert!(line.starts_with(&waits) && line.ends_with("waiting for it, at most 600s"), "{args:?}: {line}");
        from.cont();
        let rest: Vec<_> = errors.map(Result::unwrap).collect();
        assert_eq!(child.wait().unwrap().code(), Some(0), "{args:?}: {rest:?}");
        assert!(rest.iter().any(|line| line.starts_with("3,000 ")), "{args:?}: {rest:?}");
    }
}

#[test]
fn a_dump_continues_without_a_server_that_stays_down() {
    let (mut dying, staying, directory) = (Memcached::start(&[]), Memcached::start(&[]), scratch());
    let servers = format!("{},{}", dying.addr(), staying.addr());
    let items = dump(&directory, 4000);
    remcache(["load", &items, "-q", "--timeout", "20s"]).servers(&servers).run().exits(0);
    let of_staying = remcache(["keys", "--count"]).servers(staying.addr()).run().exits(0);
    let args = ["dump", "--rate", "1000", "--wait", "300ms", "--timeout", "20s", "--include-misplaced"];
    // Into a file, because nothing reads the output while it runs.
    let file = directory.path().join("dump.ndjson");
    let mut child = remcache(args).arg(&file).servers(&servers).spawn();
    let gets = || remcache(["stats", "-f", "ndjson"]).servers(dying.addr()).run().json()["stats"]["get_hits"].as_u64();
    while gets() == Some(0) {
        assert!(child.try_wait().unwrap().is_none(), "it ended early");
    }
    let address = dying.addr();
    dying.kill();
    let (output, errors) = end(child);
    assert_eq!(output.status.code(), Some(3), "{errors}");
    assert!(errors.contains(&format!("{address}: ")) && errors.contains("waiting for it, at most 300ms"), "{errors}");
    let dumped = std::fs::read_to_string(directory.path().join("dump.ndjson.partial")).unwrap().lines().count() as u64;
    let expected: u64 = of_staying.text().trim().parse().unwrap();
    assert!((expected..4000).contains(&dumped), "{dumped} items of {expected}: {errors}");
}

#[test]
fn a_dump_is_partial_if_its_server_restarts() {
    let mut server = Memcached::start(&[]);
    let directory = scratch();
    load(&dump(&directory, 4000), &server, LONG, &["-q"]).run().exits(0);
    let file = directory.path().join("dump.ndjson");
    let child = remcache(["dump", "--rate", "1000", "--timeout", "20s"]).arg(&file).servers(server.addr()).spawn();
    let gets = || remcache(["stats", "-f", "ndjson"]).servers(server.addr()).run().json()["stats"]["get_hits"].as_u64();
    while gets() == Some(0) {}
    server.kill();
    server.restart();
    let (output, errors) = end(child);
    assert_eq!(output.status.code(), Some(3), "{errors}");
    assert!(errors.contains("restarted during the command and lost items before they were read"), "{errors}");
    assert!(!file.exists() && directory.path().join("dump.ndjson.partial").exists(), "{errors}");
}

#[test]
fn a_destination_that_is_too_small_is_named() {
    let to = Memcached::start(&["-m", "2"]);
    let items: String =
        (0..100).map(|number| format!("{{\"key\":\"k:{number}\",\"value\":\"{}\"}}\n", "x".repeat(100_000))).collect();
    let run = remcache(["load", "-", "--timeout", "20s"]).servers(to.addr()).input(items).run().exits(1);
    assert!(run.stderr.contains(&format!("error: {}: evicted ", to.addr())), "{run:?}");
}

#[test]
fn a_list_of_invalid_lines_lets_the_load_continue() {
    let server = Memcached::start(&[]);
    let directory = scratch();
    let list = directory.path().join("failed.ndjson");
    let input =
        "{\"key\":\"a\",\"value\":\"1\"}\nhello\n{\"key\":\"b\",\"value\":1}\n{\"key\":\"c\",\"value\":\"3\"}\n";
    let load = || remcache(["load", "-", "-f", "json"]).servers(server.addr()).input(input);
    let run = load().run().exits(2);
    assert!(run.stderr.contains("line 2: ") && !has(&server, "c"), "{run:?}");
    let record = load().arg("--failed").arg(&list).run().exits(1).json();
    assert_eq!((&record["items"], &record["invalid_item"]), (&json!(2), &json!(2)), "{record}");
    assert!(has(&server, "a") && has(&server, "c"));
    let listed = std::fs::read_to_string(&list).unwrap();
    let records: Vec<serde_json::Value> = listed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&records[0]["line"], &records[1]["line"]), (&json!(2), &json!(3)), "{records:?}");
    assert_eq!(records[1]["error"], "value is 1, expected a string");
}

#[test]
fn an_error_of_the_destination_names_the_destination() {
    let (from, mut to) = (Memcached::start(&[]), Memcached::start(&[]));
    let directory = scratch();
    let list = directory.path().join("failed.ndjson");
    load(&dump(&directory, 4000), &from, LONG, &["-q"]).run().exits(0);
    let args = ["copy", "--from", &from.addr(), "--to", &to.addr(), "--rate", "1000", "--wait", "300ms", "--failed"];
    let child = remcache(args).arg(&list).arg("--timeout").arg("20s").spawn();
    while remcache(["keys", "--count"]).servers(to.addr()).run().text() == "0\n" {}
    let address = to.addr();
    to.kill();
    let (output, errors) = end(child);
    assert_eq!(output.status.code(), Some(3), "{errors}");
    assert!(errors.contains(&format!("error: {address}: ")) && !errors.contains(&from.addr()), "{errors}");
    assert!(errors.contains("run the same command again to complete the copy"), "{errors}");
    let listed = std::fs::read_to_string(&list).unwrap();
    let record: serde_json::Value = serde_json::from_str(listed.lines().next().unwrap()).unwrap();
    assert_eq!((&record["reason"], &record["server"]), (&json!("failed"), &json!(address)), "{record}");
}

#[test]
fn identical_and_kept_items_are_counted_separately() {
    let (from, to) = (Memcached::start(&[]), Memcached::start(&[]));
    for (key, old, new) in [("same", "1", Some("1")), ("different", "1", Some("2")), ("missing", "1", None)] {
        remcache(["set", key, old]).servers(from.addr()).run().exits(0);
        if let Some(new) = new {
            remcache(["set", key, new]).servers(to.addr()).run().exits(0);
        }
    }
    remcache(["set", "flags", "1", "--flags", "1"]).servers(from.addr()).run().exits(0);
    remcache(["set", "flags", "1", "--flags", "2"]).servers(to.addr()).run().exits(0);
    let run = remcache(["copy", "--from", &from.addr(), "--to", &to.addr(), "-f", "json"]).run().exits(0);
    let record = run.json();
    assert_eq!((&record["items"], &record["identical"], &record["kept"]), (&json!(1), &json!(1), &json!(2)), "{run:?}");
    assert!(run.stderr.contains("1 copied  skipped: identical 1, existing kept 2"), "{run:?}");
}
