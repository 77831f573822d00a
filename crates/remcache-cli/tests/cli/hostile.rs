//! Hostile keys, values, statistics and versions: nothing of them may control a terminal, run as a formula in a
//! spreadsheet, or leave its directory.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use remcache::config::ProtocolSetting;
use remcache::{Client, Config};
use remcache_testkit::{Memcached, scratch};

use crate::tool::{Run, remcache};

/// Keys that clear a screen, reverse a line, look like another key, end a line, run as a formula, or leave a
/// directory.
const KEYS: &[&[u8]] = &[
    b"clear\x1b[2J\x1b]0;title\x07",
    b"c1\xc2\x9b2J",
    b"raw-c1\x9b2J",
    "reversed\u{202e}yek".as_bytes(),
    "invisible\u{200b}\u{feff}".as_bytes(),
    b"line\nend",
    b"return\rcarriage",
    b"del\x7f\x08",
    b"=HYPERLINK(\"http://a.invalid\")",
    b"@SUM(A1)",
    b"+cmd|' /C calc'!A0",
    b"../outside",
    b"\xff\xfe\x00",
];

const FORMATS: &[&str] = &["auto", "text", "json", "ndjson", "csv"];

/// Characters that no output may contain.
fn is_unsafe(c: char) -> bool {
    let bidirectional = matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    (c.is_control() && !matches!(c, '\n' | '\t')) || bidirectional
}

fn check(args: &[&str], run: &Run) {
    let line = args.join(" ");
    assert_ne!(run.exit, Some(101), "{line}: {}", run.stderr);
    let stdout = String::from_utf8(run.stdout.clone()).unwrap_or_else(|_| panic!("{line}: the output is not UTF-8"));
    for text in [&stdout, &run.stderr] {
        let found = text.chars().find(|&c| is_unsafe(c));
        assert!(found.is_none(), "{line}: {found:?} in {}", text.escape_debug());
    }
    if args.contains(&"csv") {
        for cell in stdout.lines().flat_map(|line| line.split(',')) {
            let is_formula = cell.trim_start_matches('"').starts_with(['=', '+', '@']);
            assert!(!is_formula, "{line}: {cell} in {stdout}");
        }
    }
}

/// Runs a command in every format, with the hostile keys behind its arguments.
fn run_all(args: &[&str], keys: &[&[u8]], servers: &str) {
    for format in FORMATS {
        // The structured formats have no colours.
        let colors: &[&str] = if matches!(*format, "auto" | "text") { &["never", "always"] } else { &["never"] };
        for color in colors {
            let args = [args, &["--timeout", "20s", "-f", format, "--color", color]].concat();
            let tool = keys.iter().fold(remcache(&args), |tool, key| tool.arg(os_string(key)));
            let run = tool.servers(servers).run();
            match *color {
                "never" => check(&args, &run),
                // Only the tool's own colours are allowed.
                _ => check(&args, &without_colors(run)),
            }
        }
    }
}

fn without_colors(run: Run) -> Run {
    let strip = |text: String| {
        ["\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[36m"]
            .iter()
            .fold(text, |text, color| text.replace(color, ""))
    };
    let stdout = strip(String::from_utf8(run.stdout).expect("the output is UTF-8")).into_bytes();
    Run { stdout, stderr: strip(run.stderr), ..run }
}

fn os_string(bytes: &[u8]) -> std::ffi::OsString {
    std::os::unix::ffi::OsStringExt::from_vec(bytes.to_vec())
}

/// A server with the hostile keys; each has a hostile value.
fn server() -> Memcached {
    let server = Memcached::start(&[]);
    store(&server);
    server
}

fn store(server: &Memcached) {
    let config = Config::new().protocol(ProtocolSetting::Binary).timeout(Duration::from_secs(20));
    let client = Client::with_config([server.addr()], config).expect("an address");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        for key in KEYS.iter().filter(|key| !key.contains(&0)) {
            assert!(client.set(key, key).await.expect("the server answers").is_applied());
        }
    });
}

/// Keys that an argument can hold.
fn arguments() -> Vec<&'static [u8]> {
    KEYS.iter().copied().filter(|key| !key.contains(&0) && !key.starts_with(b"@")).collect()
}

#[test]
fn keys_and_values_are_escaped_by_every_command() {
    let server = server();
    let keys = arguments();
    for args in [&["get", "--meta"][..], &["get"], &["exists"], &["touch", "--ttl", "1h"], &["locate"], &["delete"]] {
        store(&server);
        run_all(args, &keys, &server.addr());
    }
    store(&server);
    for key in &keys {
        for args in [&["incr"][..], &["set", "--ttl", "1h"], &["add"], &["append"], &["locate", "--explain"]] {
            run_all(args, &[key, b"1"], &server.addr());
        }
    }
}

#[test]
fn listed_keys_are_escaped_by_every_command() {
    let server = server();
    for args in [
        &["keys"][..],
        &["keys", "--tree", ":"],
        &["keys", "--sort", "size"],
        &["dump"],
        &["delete-matching", "*", "--dry-run"],
        &["stats", "items"],
        &["stats", "slabs"],
        &["stats", "conns"],
    ] {
        run_all(args, &[], &server.addr());
    }
    let other = Memcached::start(&[]);
    let directory = scratch();
    let list = directory.path().join("failed.ndjson");
    let (from, to) = (server.addr(), other.addr());
    let list_name = list.to_str().expect("a path in UTF-8");
    let args = ["copy", "--protocol", "text", "--from", &from, "--to", &to, "--failed", list_name];
    check(&args, &remcache(args).run());
    let listed = std::fs::read_to_string(&list).expect("there are keys that text cannot express");
    assert!(!listed.is_empty() && !listed.contains(is_unsafe), "{}", listed.escape_debug());
}

#[test]
fn keys_in_the_log_of_a_server_are_escaped() {
    let server = server();
    for args in [&["watch", "fetchers,mutations"][..], &["hotkeys"], &["hotkeys", "--by-prefix", ":"]] {
        for format in FORMATS {
            let address = server.addr();
            let args = [args, &["--for", "1s", "-f", format, "--color", "never", "-s", &address]].concat();
            let run = remcache(&args).spawn();
            let keys = arguments();
            let stop = std::sync::atomic::AtomicBool::new(false);
            let output = thread::scope(|scope| {
                scope.spawn(|| {
                    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                        keys.iter()
                            .fold(remcache(["touch", "--ttl", "1h"]), |tool, key| tool.arg(os_string(key)))
                            .servers(&address)
                            .run();
                    }
                });
                let output = run.wait_with_output().expect("the tool ends");
                stop.store(true, std::sync::atomic::Ordering::Relaxed);
                output
            });
            let stderr = String::from_utf8(output.stderr).expect("messages are UTF-8");
            check(&args, &Run { exit: output.status.code(), stdout: output.stdout, stderr });
        }
    }
}

#[test]
fn keys_stay_within_the_directory_of_get() {
    let server = server();
    let directory = scratch();
    let inside = directory.path().join("values");
    let keys = arguments();
    let address = server.addr();
    let args = ["get", "-d", inside.to_str().expect("a path in UTF-8"), "-s", &address];
    let run = keys.iter().fold(remcache(args), |tool, key| tool.arg(os_string(key))).run();
    check(&args, &run);
    let outside: Vec<_> = std::fs::read_dir(directory.path()).expect("a directory").collect();
    assert_eq!(outside.len(), 1, "{outside:?}");
    let names = std::fs::read_dir(&inside).expect("a directory").map(|entry| entry.expect("an entry").file_name());
    assert!(names.map(|name| name.to_string_lossy().into_owned()).all(|name| !name.contains(is_unsafe)));
}

/// A server whose version, statistics and errors are hostile.
fn hostile_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address").to_string();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || answer(stream));
        }
    });
    address
}

fn answer(mut stream: TcpStream) {
    let Ok(reader) = stream.try_clone() else { return };
    let evil = "\x1b[2J\u{9b}2J\u{202e}\x07=1+1";
    for line in BufReader::new(reader).split(b'\n') {
        let Ok(line) = line else { return };
        let line = String::from_utf8_lossy(&line).trim().to_owned();
        let reply = match line.split(' ').next().unwrap_or_default() {
            "version" => format!("VERSION 1.6.{evil}\r\n"),
            "stats" => format!(
                "STAT version 1.6.{evil}\r\nSTAT pid 1\r\nSTAT uptime 5\r\nSTAT curr_items 1\r\nSTAT {evil} {evil}\r\n\
                 STAT items:1:number {evil}\r\nSTAT 1:chunk_size {evil}\r\nSTAT 5:addr {evil}\r\nSTAT evictions {evil}\r\n\
                 STAT hash_algorithm {evil}\r\nEND\r\n"
            ),
            "get" | "gets" => "END\r\n".to_owned(),
            "mn" => "MN\r\n".to_owned(),
            _ => format!("SERVER_ERROR {evil}\r\n"),
        };
        if stream.write_all(reply.as_bytes()).is_err() {
            return;
        }
    }
}

#[test]
fn texts_of_a_server_are_escaped_by_every_command() {
    let address = hostile_server();
    for args in [
        &["version"][..],
        &["ping", "-n", "1"],
        &["stats"],
        &["stats", "--total"],
        &["stats", "items"],
        &["stats", "slabs"],
        &["stats", "settings"],
        &["stats", "conns"],
        &["check", "--interval", "10ms"],
        &["check", "--interval", "10ms", "--fail-if", "curr_items>0"],
        &["doctor"],
        &["flush", "--yes"],
        &["set", "k", "v"],
        &["get", "k"],
        &["delete", "k"],
        &["incr", "k"],
        &["touch", "k", "--ttl", "1h"],
        &["exists", "k"],
        &["keys"],
        &["dump"],
        &["delete-matching", "*", "--yes"],
        &["watch", "--for", "100ms"],
        &["hotkeys", "--for", "100ms"],
        &["fill", "--yes"],
    ] {
        run_all(&[args, &["--protocol", "text"]].concat(), &[], &address);
    }
    for format in ["prometheus", "nagios"] {
        for command in ["stats", "check"] {
            let args = [command, "-f", format, "-s", &address, "--protocol", "text"];
            check(&args, &remcache(args).run());
        }
    }
}
