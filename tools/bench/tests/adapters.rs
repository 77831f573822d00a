//! Every client with real servers: correct results are counted, others are not, and a comparison stops its servers.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// The program under test.
const BENCH: &str = env!("CARGO_BIN_EXE_remcache-bench");

#[test]
fn every_client_returns_correct_results_in_every_kind_of_scenario() {
    let json = output_file("comparison.json");
    let svg = output_file("comparison.svg");
    let output = Command::new(BENCH)
        .args(["--rounds", "1", "--seconds", "0.05", "--only", "get-16,many-100,set-64,three-64"])
        .args(["--clients", "lockstep,async-memcached,memcache-exp,memcache-classic"])
        .args(["--clients", "memcache-async,libmemcached,remcache,remcache+mt,remcache-binary,remcache-text"])
        .arg("--json")
        .arg(&json)
        .arg("--svg")
        .arg(&svg)
        .output()
        .unwrap();
    let printed = succeeded(&output);
    assert!(printed.contains("Targets"), "{printed}");

    let document: Value = serde_json::from_str(&std::fs::read_to_string(json).unwrap()).unwrap();
    let results = document["results"].as_array().unwrap();
    assert_eq!(results.len(), 4);
    for result in results {
        let scenario = result["id"].as_str().unwrap();
        let rows = result["rows"].as_array().unwrap();
        let variants = if ["many-100", "set-64"].contains(&scenario) { 2 } else { 0 };
        assert_eq!(rows.len(), 8 + variants, "{scenario}");
        rows.iter().for_each(|row| check_row(scenario, row));
    }
    assert!(std::fs::read_to_string(svg).unwrap().contains("</svg>"));
}

/// Clients without TLS, and those for one server only, have a reason instead of figures.
#[test]
fn clients_with_tls_are_measured_with_it() {
    let json = output_file("tls.json");
    let output = Command::new(BENCH)
        .args(["--rounds", "1", "--seconds", "0.05", "--only", "tls-64,ten-64"])
        .args(["--clients", "lockstep,memcache-classic,memcache-async,remcache"])
        .arg("--json")
        .arg(&json)
        .output()
        .unwrap();
    succeeded(&output);
    let document: Value = serde_json::from_str(&std::fs::read_to_string(json).unwrap()).unwrap();
    let mut seen = Vec::new();
    for result in document["results"].as_array().unwrap() {
        for row in result["rows"].as_array().unwrap() {
            let (scenario, client) = (result["id"].as_str().unwrap(), row["client"].as_str().unwrap());
            match row["absent"].as_str() {
                Some(absent) => seen.push(format!("{scenario} {client}: {absent}")),
                None => {
                    check_row(scenario, row);
                    seen.push(format!("{scenario} {client}"));
                }
            }
        }
    }
    let expected = [
        "ten-64 lockstep",
        "ten-64 memcache-classic",
        "ten-64 memcache-async: one server only",
        "ten-64 remcache",
        "tls-64 lockstep: no TLS",
        "tls-64 memcache-classic",
        "tls-64 memcache-async",
        "tls-64 remcache",
    ];
    assert_eq!(seen, expected);
}

#[test]
fn the_memory_of_idle_connections_is_measured() {
    let json = output_file("idle.json");
    let output = Command::new(BENCH)
        .args(["--rounds", "1", "--only", "idle-1000"])
        .args(["--clients", "lockstep,async-memcached,memcache-async,remcache,remcache+mt"])
        .arg("--json")
        .arg(&json)
        .output()
        .unwrap();
    let printed = succeeded(&output);
    assert!(printed.contains("KiB/connection"), "{printed}");

    let document: Value = serde_json::from_str(&std::fs::read_to_string(json).unwrap()).unwrap();
    let rows = document["idle"].as_array().unwrap();
    let names: Vec<_> = rows.iter().map(|row| row["client"].as_str().unwrap()).collect();
    assert_eq!(names, ["async-memcached", "memcache-async", "remcache", "remcache+mt"]);
    for row in rows {
        let figure = |name: &str| row["figures"][name].as_f64();
        assert!(figure("resident_kib") > Some(0.0), "{row}");
        assert!(figure("heap_kib") > Some(0.0), "{row}");
    }
}

#[test]
fn servers_stop_when_a_signal_ends_a_comparison() {
    let mut bench = Command::new(BENCH)
        .args(["--rounds", "1000", "--seconds", "0.05", "--only", "three-64", "--clients", "lockstep"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Progress is printed once all servers accept connections.
    let mut progress = [0; 1];
    bench.stderr.as_mut().unwrap().read_exact(&mut progress).unwrap();
    let ports = ports_of_servers(bench.id());
    assert_eq!(ports.len(), 3);
    assert!(ports.iter().all(|&port| listens(port)));
    kill_process(Pid::from_child(&bench), Signal::TERM).unwrap();
    assert_eq!(bench.wait().unwrap().signal(), Some(Signal::TERM.as_raw()));
    for port in ports {
        let start = Instant::now();
        while listens(port) {
            assert!(start.elapsed() < Duration::from_secs(10), "the server on port {port} is still running");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Returns the ports in the command lines (`-p`) of a process's children.
fn ports_of_servers(parent: u32) -> Vec<u16> {
    let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap();
    let port = |child: &str| {
        let command_line = std::fs::read_to_string(format!("/proc/{child}/cmdline")).ok()?;
        let mut words = command_line.split('\0').skip_while(|word| *word != "-p");
        words.nth(1)?.parse().ok()
    };
    children.split_whitespace().filter_map(port).collect()
}

fn listens(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

/// Checks that a row has figures without a fault, or the one reason that is not a failure.
fn check_row(scenario: &str, row: &Value) {
    let client = row["client"].as_str().unwrap();
    if let Some(absent) = row["absent"].as_str() {
        assert_eq!(absent, "one server only", "{client} in {scenario}");
        return;
    }
    let figures = &row["figures"];
    assert!(figures["ops_per_second"].as_f64().unwrap() > 0.0, "{client} in {scenario}: {row}");
    assert_eq!(figures["wrong"], 0, "{client} in {scenario}: {row}");
    assert_eq!(figures["failed"], 0, "{client} in {scenario}: {row}");
    assert!(figures["p50_micros"].as_f64().unwrap() > 0.0, "{client} in {scenario}: {row}");
}

#[test]
fn another_keys_value_is_not_counted() {
    let server = Memcached::start();
    server.store_each_value_under_the_next_key();
    for client in ["lockstep", "async-memcached", "memcache-exp", "memcache-classic", "memcache-async", "remcache"] {
        for scenario in ["get-16", "many-100"] {
            let port = server.port.to_string();
            let output = Command::new(BENCH)
                .args(["child", "--client", client, "--scenario", scenario])
                .args(["--ports", &port, "--seconds", "0.05"])
                .output()
                .unwrap();
            check_nothing_is_counted(client, &output);
        }
    }
}

#[test]
fn another_keys_value_is_not_counted_for_libmemcached() {
    let server = Memcached::start();
    server.store_each_value_under_the_next_key();
    let program = compile_libmemcached_bench();
    for (verb, callers, batch) in [("get", "16", "1"), ("get_many", "1", "100")] {
        let port = server.port.to_string();
        let arguments = ["127.0.0.1", &port, verb, callers, batch, "10000", "100", "0.05"];
        check_nothing_is_counted("libmemcached", &Command::new(&program).args(arguments).output().unwrap());
    }
}

fn check_nothing_is_counted(client: &str, output: &Output) {
    let report: Value = serde_json::from_str(succeeded(output)).unwrap();
    assert_eq!(report["claimed"], 0, "{client}: {report}");
    assert!(report["wrong"].as_u64().unwrap() > 0, "{client}: {report}");
    assert!(report["first_fault"].is_string(), "{client}: {report}");
}

#[test]
fn a_client_without_a_server_fails_with_the_address() {
    let port = free_port().to_string();
    let arguments = ["child", "--client", "lockstep", "--scenario", "get-1", "--ports", &port, "--seconds", "0.05"];
    let output = Command::new(BENCH).args(arguments).output().unwrap();
    assert!(!output.status.success());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains(&format!("connecting to 127.0.0.1:{port}")), "{stderr}");
}

fn succeeded(output: &Output) -> &str {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {stderr}", output.status);
    std::str::from_utf8(&output.stdout).unwrap()
}

fn output_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

fn compile_libmemcached_bench() -> PathBuf {
    let program = output_file("libmemcached_bench");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("c/libmemcached_bench.c");
    let compiler = Command::new("cc")
        .args(["-O1", "-Wall", "-Wextra", "-Werror", "-o"])
        .arg(&program)
        .arg(source)
        .args(["-lmemcached", "-lpthread"])
        .output()
        .expect("a C compiler must be installed (apt-get install gcc libc6-dev)");
    let stderr = String::from_utf8_lossy(&compiler.stderr);
    assert!(compiler.status.success(), "apt-get install gcc libc6-dev libmemcached-dev: {stderr}");
    program
}

/// A memcached server, stopped when this is dropped.
struct Memcached {
    process: Child,
    port: u16,
}

impl Memcached {
    fn start() -> Self {
        let port = free_port();
        let mut command = Command::new("memcached");
        command.args(["-l", "127.0.0.1", "-p", &port.to_string(), "-U", "0", "-u", "nobody"]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().expect("memcached must be installed (apt-get install memcached)");
        let server = Self { process, port };
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            thread::sleep(Duration::from_millis(10));
        }
        server
    }

    fn store_each_value_under_the_next_key(&self) {
        let mut requests = String::new();
        for index in 0..10_000 {
            let (key, other) = (format!("key-{index:05}"), format!("key-{:05}", (index + 1) % 10_000));
            let padding = ".".repeat(100 - 2 * other.len());
            write!(requests, "set {key} 0 0 100 noreply\r\n{other}{padding}{other}\r\n").unwrap();
        }
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.write_all(requests.as_bytes()).unwrap();
        // The reply to `version` comes after all items have been stored.
        stream.write_all(b"version\r\n").unwrap();
        let mut reply = [0; 7];
        stream.read_exact(&mut reply).unwrap();
        assert_eq!(&reply, b"VERSION");
    }
}

impl Drop for Memcached {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}
