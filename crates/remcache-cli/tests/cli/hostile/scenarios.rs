//! Commands that need more than arguments: files, terminals, signals.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::Child;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use remcache_testkit::http_get;
use remcache_testkit::{Memcached, scratch};
use rustix::process::{Pid, Signal, kill_process};

use super::data::{EVIL, FakeServer, Hostile, KEYS, arguments, is_unsafe, os_string};
use super::{FORMATS, check, run_all};
use crate::tool::{KillOnDrop, Run, remcache};

/// Returns the path of a file with a hostile name in the directory.
fn file(hostile: &Hostile, name: &str) -> String {
    hostile.directory.path().join(format!("{name}{EVIL}")).to_str().expect("a path in UTF-8").to_owned()
}

/// Terminates a process by SIGTERM, as a service manager does, and checks its output.
fn finish(args: &[&str], child: Child) {
    kill_process(Pid::from_child(&child), Signal::TERM).expect("it runs");
    let output = child.wait_with_output().expect("it ends");
    let stderr = String::from_utf8(output.stderr).expect("messages are UTF-8");
    check(args, &Run { exit: output.status.code(), stdout: output.stdout, stderr });
}

/// Returns the first line that a process prints.
fn first_line(child: &mut Child) -> String {
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().expect("a pipe")).read_line(&mut line).expect("it is UTF-8");
    line
}

pub(super) fn contexts(_: &Hostile) {
    let home = scratch();
    let home_name = home.path().to_str().expect("a path in UTF-8");
    let directory = home.path().join(".config/remcache");
    fs::create_dir_all(&directory).expect("a directory");
    let context = |option: &str| format!("[contexts.\"=1\\u001b[2J\\u202e\"]\n{option} = \"=1\\u001b[2J\\u202e\"\n");
    let files = [
        context("server"),
        context("namespace"),
        context("timeout"),
        context("b\u{202e}d"),
        "\u{202e} = \u{9b}".into(),
    ];
    for text in files {
        fs::write(directory.join("config.toml"), &text).expect("the file is written");
        for args in [
            &["context", "ls"][..],
            &["context", "show", "=1\x1b[2J\u{202e}"],
            &["context", "use", "=1\x1b[2J\u{202e}"],
            &["context", "ls"],
            &["context", "add", EVIL, "-s", "a", "--namespace", EVIL],
            &["context", "add", "=1+1", "-s", EVIL],
            &["doctor", "--timeout", "10ms"],
            &["copy", "--from", "=1\x1b[2J\u{202e}", "--to", "localhost:1"],
            &["context", "rm", "=1\x1b[2J\u{202e}"],
        ] {
            for format in FORMATS {
                let args = [args, &["-f", format]].concat();
                check(&args, &remcache(&args).env("HOME", home_name).run());
            }
        }
    }
}

pub(super) fn copy(hostile: &Hostile) {
    let other = Memcached::start(&[]);
    let list = file(hostile, "failed");
    for (from, to) in [(&hostile.name, &other.addr()), (&other.addr(), &hostile.name)] {
        run_all(&["copy", "--from", from, "--to", to, "--failed", &list], &[], "");
    }
    let args = ["copy", "--protocol", "text", "--from", &hostile.name, "--to", &other.addr(), "--failed", &list];
    check(&args, &remcache(args).run());
    let listed = fs::read_to_string(&list).expect("there are keys that text cannot express");
    assert!(!listed.is_empty() && !listed.contains(is_unsafe), "{}", listed.escape_debug());
}

pub(super) fn demo(_: &Hostile) {
    // It has servers and keys of its own.
    run_all(&["demo"], &[], "");
}

pub(super) fn dump(hostile: &Hostile) {
    let dump = file(hostile, "dump");
    run_all(&["dump", &dump], &[], &hostile.name);
    let items = fs::read_to_string(&dump).expect("it is written");
    assert!(items.lines().count() >= 10 && !items.contains(is_unsafe), "{}", items.escape_debug());
}

pub(super) fn load(hostile: &Hostile) {
    let (input, list) = (file(hostile, "input"), file(hostile, "list"));
    let lines = [
        format!("{{\"key\":\"k\u{202e}\",\"value\":\"\u{9b}{}\"}}", "x".repeat(2 << 20)),
        format!("{{\"key\":\"k\",\"{EVIL}\":1}}"),
        "{\"key\":\"k\",\"value_b64\":\"\u{202e}\"}".to_owned(),
        EVIL.to_owned(),
    ];
    fs::write(&input, lines.join("\n")).expect("it is written");
    run_all(&["load", &input], &[], &hostile.name);
    run_all(&["load", &input, "--failed", &list], &[], &hostile.name);
    let listed = fs::read_to_string(&list).expect("there are invalid lines");
    assert!(listed.lines().count() >= 3 && !listed.contains(is_unsafe), "{}", listed.escape_debug());
}

pub(super) fn files_of_keys(hostile: &Hostile) {
    let keys = file(hostile, "keys");
    fs::write(&keys, KEYS.join(&b"\n"[..])).expect("it is written");
    run_all(&["ring", "balance", "--keys", &keys], &[], &hostile.name);
    fs::write(&keys, "\n\n").expect("it is written");
    run_all(&["ring", "diff", "--keys", &keys], &[], &hostile.name);
}

pub(super) fn directory(hostile: &Hostile) {
    let directory = scratch();
    let inside = directory.path().join("values");
    for format in FORMATS {
        let args = ["get", "-f", format, "-s", &hostile.name, "-d", inside.to_str().expect("a path in UTF-8")];
        check(&args, &arguments().iter().fold(remcache(args), |tool, key| tool.arg(os_string(key))).run());
    }
    let outside: Vec<_> = fs::read_dir(directory.path()).expect("a directory").collect();
    assert_eq!(outside.len(), 1, "{outside:?}");
    let names = fs::read_dir(&inside).expect("a directory").map(|entry| entry.expect("an entry").file_name());
    let names: Vec<_> = names.map(|name| name.to_string_lossy().into_owned()).collect();
    assert!(names.len() >= 10 && names.iter().all(|name| !name.contains(is_unsafe)), "{names:?}");
}

/// Checks logs of a server, whose events contain keys.
pub(super) fn logs(hostile: &Hostile) {
    for args in [&["watch", "fetchers,mutations"][..], &["hotkeys"], &["hotkeys", "--by-prefix", ":"]] {
        for format in FORMATS {
            let args = [args, &["--for", "700ms", "-f", format, "--color", "never", "-s", &hostile.name]].concat();
            let run = remcache(&args).spawn();
            let is_over = AtomicBool::new(false);
            let output = thread::scope(|scope| {
                scope.spawn(|| {
                    while !is_over.load(Ordering::Relaxed) {
                        let touch = remcache(["touch", "--ttl", "1h", "-s", &hostile.name]);
                        arguments().iter().fold(touch, |tool, key| tool.arg(os_string(key))).run();
                    }
                });
                let output = run.wait_with_output().expect("the tool ends");
                is_over.store(true, Ordering::Relaxed);
                output
            });
            let stderr = String::from_utf8(output.stderr).expect("messages are UTF-8");
            check(&args, &Run { exit: output.status.code(), stdout: output.stdout, stderr });
        }
    }
}

pub(super) fn serve(hostile: &Hostile) {
    for format in FORMATS {
        let socket = file(hostile, format);
        let args = ["serve", "--unix", &socket, "-f", format];
        let mut child = remcache(args).spawn();
        let line = first_line(&mut child);
        assert!(!line.contains(is_unsafe), "{}", line.escape_debug());
        match &*line {
            // A format that it does not have.
            "" => check(&args, &remcache(args).run().exits(2)),
            line => {
                assert!(line.contains("\\x1b[2J"), "{line}");
                finish(&args, child);
            }
        }
    }
}

pub(super) fn serve_metrics(hostile: &Hostile) {
    let fake = FakeServer::start();
    let servers = format!("{},{}", hostile.name, fake.address);
    for format in ["auto", "text", "json", "ndjson", "csv"] {
        let args = ["serve-metrics", "127.0.0.1:0", "-f", format, "-s", &servers, "--protocol", "text"];
        let mut child = KillOnDrop(remcache(args).spawn());
        let line = first_line(&mut child.0);
        let address = line.trim().trim_start_matches("http://").trim_end_matches("/metrics");
        let (_, body) = http_get(address, "/metrics").unwrap_or_else(|| panic!("no answer: {line:?}"));
        assert!(body.contains("memcached_version{") && body.contains("\\\\x1b[2J"), "{}", body.escape_debug());
        let body = body.replace('\r', "");
        assert!(!body.contains(is_unsafe), "{}", body.escape_debug());
    }
}

pub(super) fn shell(hostile: &Hostile) {
    let mut lines: Vec<u8> = Vec::new();
    let keys = arguments().into_iter().filter(|key| !key.contains(&b'\n') && !key.contains(&b'\''));
    for key in keys {
        for command in ["get", "get --meta", "raw get", "mg", "locate", "nonsense"] {
            lines.extend([command.as_bytes(), b" '", key, b"'\n"].concat());
        }
    }
    lines.extend(b"keys\nstats --total\nstats conns\nversion\n");
    lines.extend(EVIL.as_bytes());
    for format in FORMATS {
        let args = ["shell", "-f", format, "-s", &hostile.name];
        let run = remcache(args).input(lines.clone()).run();
        // A value is printed as it is; every other line is not.
        let values = KEYS.iter().fold(run.stdout, |output, key| replaced(&output, key));
        check(&args, &Run { stdout: values, ..run });
    }
}

/// Returns the bytes without those of a value.
fn replaced(bytes: &[u8], value: &[u8]) -> Vec<u8> {
    let mut rest = bytes;
    let mut kept = Vec::new();
    while let Some(at) = rest.windows(value.len()).position(|window| window == value) {
        kept.extend_from_slice(&rest[..at]);
        rest = &rest[at + value.len()..];
    }
    [&kept, rest].concat()
}

pub(super) fn top(hostile: &Hostile) {
    let fake = FakeServer::start();
    let servers = format!("{},{}", fake.address, hostile.name);
    let mut top = remcache(["top", "-i", "50ms", "--protocol", "text"]).servers(servers).start_on_terminal(20, 200);
    // The escaped text is visible, so the sequence had no effect.
    top.wait_for_text("\\x1b[2J");
    for page in "1234567?".chars() {
        top.press(&page.to_string());
        thread::sleep(std::time::Duration::from_millis(150));
        let text = top.text();
        assert!(!text.contains(is_unsafe), "{page}: {}", text.escape_debug());
    }
    top.press("?q");
    assert_eq!(top.wait_for_exit(), (Some(0), true));
    for format in FORMATS {
        let args = ["top", "-f", format, "-s", &hostile.name];
        check(&args, &remcache(args).run());
    }
}
