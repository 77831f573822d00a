//! `serve` and `demo`: the embedded servers.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command};

use crate::tool::remcache;
use rustix::process::{Pid, Signal, kill_process};

/// Starts `remcache serve`, and returns it with the address that it printed.
fn serve(args: &[&str]) -> (Child, String) {
    let mut child = remcache(["serve"].iter().chain(args)).spawn();
    let stdout = child.stdout.as_mut().expect("it is a pipe");
    let mut address = String::new();
    BufReader::new(stdout).read_line(&mut address).expect("the tool prints its address");
    (child, address.trim_end().to_owned())
}

#[test]
fn a_server_runs_until_it_gets_a_signal() {
    for signal in [Signal::INT, Signal::TERM] {
        let (mut child, address) = serve(&["--port", "0"]);
        remcache(["set", "Hello", "World"]).servers(&address).run().exits(0);
        assert_eq!(remcache(["get", "Hello"]).servers(&address).run().exits(0).stdout, b"World");
        kill_process(Pid::from_child(&child), signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0));
        remcache(["get", "Hello"]).servers(&address).run().exits(4);
    }
}

#[test]
fn a_server_on_a_unix_socket_with_limits() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let (mut child, address) = serve(&["--unix", path.to_str().unwrap(), "--memory", "2m", "--item-size-max", "4k"]);
    assert_eq!(address, path.to_str().unwrap());
    let stats = remcache(["stats", "-f", "ndjson"]).servers(&address).run().exits(0).json();
    assert_eq!(stats["stats"]["limit_maxbytes"], 2 << 20);
    remcache(["set", "k", "-"]).servers(&address).input(vec![b'x'; 5000]).run().exits(5).reports_error("too large");
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_server_passes_the_tests_of_libmemcached() {
    let (mut child, address) = serve(&["--port", "0"]);
    let port = address.rsplit_once(':').unwrap().1;
    let output = Command::new("memccapable")
        .args(["-b", "-h", "127.0.0.1", "-p", port])
        .output()
        .unwrap_or_else(|error| panic!("memccapable ({error}): apt-get install -y libmemcached-tools"));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("All tests passed"), "{text}");
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    child.wait().unwrap();
}

#[test]
fn the_error_names_a_port_that_is_in_use() {
    let (mut child, address) = serve(&["--port", "0"]);
    let port = address.rsplit_once(':').unwrap().1;
    remcache(["serve", "--port", port]).run().exits(2).reports_error(&address);
    remcache(["serve", "--port", "0", "--item-size-max", "1"]).run().exits(2).reports_error("item_size_max");
    remcache(["serve", "--port", "70000"]).run().exits(2);
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    child.wait().unwrap();
}

#[test]
fn demo_passes_and_prints_plain_text_to_a_pipe() {
    let run = remcache(["demo"]).run().exits(0);
    assert!(!run.stdout.contains(&0x1b) && run.stderr.is_empty(), "{run:?}");
    for part in [
        "Store, fetch, count",
        "100, none lost",
        "10,000 found",
        "is stopped",
        "not sent",
        "is restarted",
        "callers",
        "What next",
    ] {
        assert!(run.text().contains(part), "{part:?} in {}", run.text());
    }
    for sign in ["●", "○", "✗", "█"] {
        assert!(run.text().contains(sign), "{sign} in {}", run.text());
    }
}

#[test]
fn demo_has_colours_on_a_terminal() {
    let run = remcache(["demo"]).run_on_terminal("").exits(0);
    assert!(run.text().contains("\x1b[32m") && run.text().contains("\x1b[31m"), "{}", run.text());
}
