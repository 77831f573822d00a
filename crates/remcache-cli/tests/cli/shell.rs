//! `shell`: commands line by line, on a terminal and in a pipe.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use remcache_testkit::{Memcached, SASL_PASSWORD, SASL_USER, unused_port};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::tool::{Run, TerminalSession, Tool, remcache, wait_for_watchers};

fn home() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

fn path(home: &TempDir) -> &str {
    home.path().to_str().expect("a path in UTF-8")
}

/// Returns a shell whose lines come from a pipe.
fn piped(server: &str, lines: &str) -> Run {
    remcache(["shell"]).servers(server).input(lines).run()
}

/// Returns a shell on a terminal.
fn live(tool: Tool, home: &TempDir) -> TerminalSession {
    let shell = tool.env("HOME", path(home)).start_on_terminal(24, 100);
    wait_for_prompt(&shell);
    shell
}

/// Waits until the shell reads a line. Before that, the terminal is not in raw mode: it keeps a line that is typed
/// ahead, but not what a control key means to the line editor.
fn wait_for_prompt(shell: &TerminalSession) {
    wait_for_before_prompt(shell, "");
}

/// Waits until the screen shows this, and the shell reads a line.
fn wait_for_before_prompt(shell: &TerminalSession, what: &str) {
    let is_shown = |text: &str| text.contains(what) && text.trim_end().ends_with('>');
    shell.wait_until(is_shown, &format!("{what:?} and the prompt"));
}

#[test]
fn lines_of_a_pipe_are_commands_of_the_tool_and_of_the_protocol() {
    let server = Memcached::start(&[]);
    let lines = "\
# A comment, and an empty line.

set 'a key:1' ignored
set user:1 hello --ttl 10m
get user:1
mg user:1 v s k
ms user:2 11
hello
world
raw get user:1 user:2
raw incr n 1
raw gets user:1
mn
raw stats settings
lru_crawler metadump all
mg unknown v
mg unknown v q
raw set user:3 0 0 3 noreply
abc
get user:3
raw version
exit
get never
";
    let run = piped(&server.addr(), lines);
    let text = String::from_utf8_lossy(&run.stdout).into_owned();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[..2], ["hello", "VA 5 s5 kuser:1"], "{run:?}");
    assert_eq!(lines[2..4], ["hello", "HD"], "{run:?}");
    let get = ["VALUE user:1 0 5", "hello", "VALUE user:2 0 11", "hello", "world", "END", "NOT_FOUND"];
    assert_eq!(lines[4..11], get, "{run:?}");
    assert!(lines[11].starts_with("VALUE user:1 0 5 ") && lines[12..15] == ["hello", "END", "MN"], "{run:?}");
    let settings = lines.iter().filter(|line| line.starts_with("STAT ")).count();
    let dumped = lines.iter().filter(|line| line.starts_with("key=user%3A")).count();
    assert!(settings > 20 && dumped == 2, "{run:?}");
    let end = &lines[lines.len() - 4..];
    assert!(end[..3] == ["END", "EN", "abc"] && end[3].starts_with("VERSION "), "{run:?}");
    assert!(lines.iter().any(|line| line.starts_with("key=a%20key%3A1 ")), "{run:?}");
    // A miss fails the script, even if later commands succeed.
    run.exits(1);
}

#[test]
fn operators_of_other_shells_are_explained() {
    let server = Memcached::start(&[]);
    for (line, operator) in [("get k > file", ">"), ("keys | wc", "|"), ("get a ; get b", ";")] {
        let run = piped(&server.addr(), &format!("{line}\n")).exits(2);
        assert_eq!((run.text(), run.stderr.contains(&format!("there is no {operator} here"))), ("", true), "{run:?}");
    }
    let quoted = piped(&server.addr(), "set '>' 1\nget '>'\nset k 'a > b'\nget k\n").exits(0);
    assert_eq!(quoted.text(), "1\na > b\n");
}

#[test]
fn the_exit_code_is_that_of_the_last_failure() {
    let server = Memcached::start(&[]);
    let dead = format!("127.0.0.1:{}", unused_port());
    let both = format!("{},{dead}", server.addr());
    for (servers, lines, exit, word) in [
        (server.addr(), "version\n", 0, ""),
        (server.addr(), "get unknown\nversion\n", 1, ""),
        (server.addr(), "mg unknown v\nversion\n", 1, ""),
        (server.addr(), "bogus\n", 2, "unrecognized subcommand"),
        (server.addr(), "stats detail dump\n", 2, "raw stats"),
        (server.addr(), "raw bogus\n", 2, "lru_crawler"),
        (server.addr(), "mg\n", 2, "needs a key"),
        (server.addr(), "ms k\n", 2, "length"),
        (server.addr(), "ms k 3\nabcd\n", 2, "4 bytes"),
        (server.addr(), "ms k 3\nab", 2, "nothing was sent"),
        (server.addr(), "set k\n", 2, "belongs to the shell"),
        (server.addr(), "get -\n", 2, "belongs to the shell"),
        (server.addr(), "shell\n", 2, "a shell already"),
        (server.addr(), "top\n", 2, "needs a terminal"),
        (server.addr(), "get 'k\n", 2, "quotation mark"),
        (server.addr(), "version --embedded 2\n", 2, "remcache shell --embedded"),
        (server.addr(), "flush\n", 2, "--yes"),
        (server.addr(), "flush_all\n", 2, "flush --yes"),
        (both.clone(), "version\n", 3, &dead),
        (both, "mn\n", 3, &dead),
        (dead.clone(), "get k\n", 4, &dead),
        (dead.clone(), "mn\n", 4, &dead),
        (server.addr(), "raw incr\n", 2, "needs a key"),
        (server.addr(), "raw incr k nonsense\nversion\n", 5, ""),
        (server.addr(), "lru_crawler nonsense\n", 5, ""),
    ] {
        let run = piped(&servers, lines).exits(exit);
        assert!(run.stderr.contains(word), "{lines}: {run:?}");
    }
}

#[test]
fn a_shell_keeps_its_connections_and_continues_after_errors() {
    let server = Memcached::start(&[]);
    let lines = "get a\nget b\nmn\nmn\nget c\nversion\nraw incr k nonsense\nmn\nversion\n";
    let before = connections(&server);
    piped(&server.addr(), lines).exits(5);
    // One of the client, one for raw requests, another after an error, and one for this query.
    assert_eq!(connections(&server) - before, 4);
}

/// Returns the number of connections that the server has accepted.
fn connections(server: &Memcached) -> u64 {
    let stats = remcache(["stats", "-f", "ndjson", "--protocol", "text"]).servers(server.addr()).run().exits(0).json();
    stats["stats"]["total_connections"].as_u64().expect("a number")
}

#[test]
fn options_of_the_shell_are_defaults_of_its_lines() {
    let server = Memcached::start(&[]);
    let lines = "set k v\nget k\nget k -f json\nmg shop:k v\nget shop:k --namespace=\nversion -f csv\n";
    let run =
        remcache(["shell", "--namespace", "shop:", "-f", "ndjson"]).servers(server.addr()).input(lines).run().exits(0);
    let lines = run.lines();
    assert!(lines[0].contains("stored") && lines[1].contains("\"value\":\"v\""), "{run:?}");
    assert!(lines[2] == "[" && lines[3].contains("\"value\":\"v\"") && lines[5..7] == ["VA 1", "v"], "{run:?}");
    assert!(lines[7].contains("\"key\":\"shop:k\"") && lines[8] == "server,version,error", "{run:?}");
    // The environment applies to the shell, not again to each line.
    let run = remcache(["shell", "-f", "text"]).env("REMCACHE_FORMAT", "json").servers(server.addr());
    assert_eq!(run.input("get shop:k\n").run().exits(0).text(), "v\n");
}

#[test]
fn keys_and_values_can_be_binary() {
    let server = Memcached::start(&[]);
    let run = remcache(["shell"])
        .servers(server.addr())
        .input(b"set k\xff \xfe\nget k\xff\nms b 2\n\xff\x00\nmg b v\n".to_vec());
    let run = run.run().exits(0);
    assert_eq!(run.stdout, b"\xfe\nHD\nVA 2\n\xff\x00\n");
}

#[test]
fn requests_with_a_key_go_to_its_server_and_others_to_all() {
    let servers = [Memcached::start(&[]), Memcached::start(&[])];
    let list = servers.iter().map(Memcached::addr).collect::<Vec<_>>().join(",");
    let keys: Vec<String> = (0..20).map(|number| format!("key:{number}")).collect();
    let sets: String = keys.iter().map(|key| format!("ms {key} 1\n{}\n", "1")).collect();
    piped(&list, &sets).exits(0);
    let gets: String = keys.iter().map(|key| format!("get {key}\n")).collect();
    assert_eq!(piped(&list, &gets).exits(0).lines(), vec!["1"; 20]);
    // A key in base64 is placed by its decoded bytes.
    assert_eq!(piped(&list, "mg a2V5OjA= v b\n").exits(0).lines(), ["VA 1", "1"]);
    let run = piped(&list, "raw version\n").exits(0);
    let lines = run.lines();
    assert_eq!((lines.len(), lines[0], lines[2]), (4, servers[0].addr().as_str(), servers[1].addr().as_str()));
}

#[test]
fn a_password_from_a_pipe_precedes_the_lines() {
    let server = Memcached::start_sasl(&[]);
    let args = ["shell", "--user", SASL_USER, "--password-stdin"];
    let lines = format!("{SASL_PASSWORD}\nset k v\nget k\nget k --timeout 5s\n");
    let run = remcache(args).servers(server.addr()).input(lines).run().exits(0);
    assert_eq!(run.text(), "v\nv\n");
    // Raw requests use text connections, on which this server does not support authentication.
    let lines = format!("{SASL_PASSWORD}\nmn\n");
    let run = remcache(args).servers(server.addr()).input(lines).run();
    assert!(matches!(run.exit, Some(4..=6)) && run.stderr.contains(&server.addr()), "{run:?}");
    assert!(!run.stderr.contains(SASL_PASSWORD), "{run:?}");
}

#[test]
fn a_shell_survives_a_closed_pipe_and_a_dead_server() {
    let mut server = Memcached::start(&[]);
    let mut shell = Command::new(env!("CARGO_BIN_EXE_remcache"))
        .args(["shell", "-s", &server.addr()])
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = shell.stdin.take().unwrap();
    let mut output = BufReader::new(shell.stdout.take().unwrap());
    let mut line = String::new();
    input.write_all(b"mn\n").unwrap();
    output.read_line(&mut line).unwrap();
    assert_eq!(line, "MN\n");
    // The kept connection is closed, and reconnecting fails at first.
    server.kill();
    input.write_all(b"mn\n").unwrap();
    server.restart();
    input.write_all(b"raw version\n").unwrap();
    line.clear();
    output.read_line(&mut line).unwrap();
    assert!(line == "MN\n" || line.starts_with("VERSION"), "{line}");
    drop(output);
    // The output has no reader; the shell ends without an error.
    let _ = input.write_all(&b"raw version\n".repeat(3));
    drop(input);
    let ended = shell.wait_with_output().unwrap();
    let stderr = String::from_utf8(ended.stderr).unwrap();
    assert!(ended.status.code().is_some() && !stderr.contains("panicked") && !stderr.contains("pipe"), "{stderr}");
}

#[test]
fn an_interrupt_ends_a_shell_in_a_pipe() {
    let server = Memcached::start(&[]);
    let mut shell = Command::new(env!("CARGO_BIN_EXE_remcache"))
        .args(["shell", "-s", &server.addr()])
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = shell.stdin.take().unwrap();
    let mut output = BufReader::new(shell.stdout.take().unwrap());
    input.write_all(b"mn\n").unwrap();
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    kill_process(Pid::from_child(&shell), Signal::INT).unwrap();
    assert_eq!(shell.wait().unwrap().code(), Some(130));
}

#[test]
fn a_terminal_has_completion_history_and_confirmations() {
    let (server, home) = (Memcached::start(&[]), home());
    remcache(["set", "user:42", "hello"]).servers(server.addr()).run().exits(0);
    remcache(["set", "binary"]).arg("a\u{1}b").servers(server.addr()).run().exits(0);
    let mut shell = live(remcache(["shell"]).servers(server.addr()), &home);
    shell.press("vers\t\r");
    shell.wait_for_text("remcache> version");
    wait_for_before_prompt(&shell, &server.addr());
    // Completion of flags, with their meanings, and of keys of the server.
    shell.press("touch k --tt\t 5m\r");
    wait_for_before_prompt(&shell, "touch k --ttl  5m");
    shell.press("stats --delta 1s \x15set --\t\t");
    shell.wait_for_text("--flags N                Flags to store with the value");
    shell.press("\x15");
    // The keys are sampled in the background.
    let started = Instant::now();
    while !shell.text().contains("mg user:42") {
        assert!(started.elapsed() < Duration::from_secs(20), "no key is offered: {}", shell.text());
        shell.press("\x15mg us\t");
        thread::sleep(Duration::from_millis(50));
    }
    shell.press("\x15mg us\t v t\r");
    shell.wait_for_text("mg user:42  v t");
    shell.wait_for_text("VA 5 t-1");
    shell.wait_for_text("hello");
    // Binary values are shown as a hexdump.
    shell.press("mg binary v\r");
    wait_for_before_prompt(&shell, "61 01 62");
    // Ctrl-C discards the line; the arrow keys recall earlier lines.
    shell.press("nonsense\x03");
    shell.wait_for_text("remcache> nonsense\nremcache> ");
    shell.press("\x1b[A");
    shell.wait_for_times("remcache> mg binary v", 2);
    shell.press("\x15flush_all\r");
    shell.wait_for_text("Remove ALL items");
    shell.press("n\r");
    shell.wait_for_text("not confirmed: nothing was changed");
    shell.press("get user:42\r");
    shell.wait_for_times("hello", 2);
    shell.press("flush_all\ry\r");
    shell.wait_for_text("OK");
    shell.press("get user:42\r");
    shell.wait_for_text("a miss");
    shell.press("version -s memcached://me:secret@127.0.0.1:1\r get hidden\rms k 6\rsecret\r");
    wait_for_before_prompt(&shell, "HD");
    shell.press("\x04");
    assert_eq!(shell.wait_for_exit(), (Some(0), true));
    let history = fs::read_to_string(home.path().join(".local/state/remcache/history")).unwrap();
    let lines: Vec<_> = history.lines().collect();
    assert_eq!(lines[0], "version");
    assert_eq!(lines.last(), Some(&"ms k 6"));
    for word in ["secret", "hidden", "nonsense", "\ny\n"] {
        assert!(!history.contains(word), "{word} in {history}");
    }
    // The next shell has the history of the previous one.
    let mut shell = live(remcache(["shell"]).servers(server.addr()), &home);
    shell.press("\x1b[A\x1b[A\r");
    shell.wait_for_text("get user:42");
    shell.press("quit\r");
    assert_eq!(shell.wait_for_exit(), (Some(0), true));
}

#[test]
fn an_interrupt_ends_a_command_but_not_the_shell() {
    let (server, home) = (Memcached::start(&[]), home());
    let mut shell = live(remcache(["shell"]).servers(server.addr()), &home);
    assert!(!shell.has_initial_settings(), "the line editor uses raw mode");
    shell.press("watch mutations\r");
    wait_for_watchers(&server, 1);
    assert!(shell.has_initial_settings(), "a command has the terminal as it was");
    kill_process(shell.pid(), Signal::INT).unwrap();
    shell.wait_for_times("remcache> ", 2);
    // A command that does not react is aborted.
    server.stop();
    shell.press("get k --timeout 1h\r");
    // A Ctrl-C before the command has started applies to the prompt.
    let started = Instant::now();
    while shell.text().matches("remcache> ").count() < 3 {
        assert!(started.elapsed() < Duration::from_secs(20), "it is not dropped: {}", shell.text());
        kill_process(shell.pid(), Signal::INT).unwrap();
        thread::sleep(Duration::from_millis(50));
    }
    server.cont();
    kill_process(shell.pid(), Signal::INT).unwrap();
    // The signal may arrive late and interrupt the first of these commands.
    let started = Instant::now();
    while !shell.text().contains("stored") {
        assert!(started.elapsed() < Duration::from_secs(20), "it takes no commands: {}", shell.text());
        shell.press("set k v\r");
        thread::sleep(Duration::from_millis(50));
    }
    shell.press("quit\r");
    assert_eq!(shell.wait_for_exit(), (Some(0), true));
}

#[test]
fn the_terminal_is_restored() {
    let (server, home) = (Memcached::start(&[]), home());
    for how in [Some(Signal::TERM), Some(Signal::HUP), None] {
        let mut shell = live(remcache(["shell"]).servers(server.addr()), &home);
        assert!(!shell.has_initial_settings(), "the line editor uses raw mode");
        match how {
            Some(signal) => kill_process(shell.pid(), signal).unwrap(),
            None => shell.press("\x04"),
        }
        assert_eq!(shell.wait_for_exit(), (Some(if how.is_some() { 130 } else { 0 }), true), "{how:?}");
    }
}

#[test]
fn a_production_context_asks_for_its_name_in_a_shell() {
    let (server, home) = (Memcached::start(&[]), home());
    let run = |args: &[&str]| remcache(args).env("HOME", path(&home)).run().exits(0);
    run(&["context", "add", "shop", "-s", &server.addr(), "--production"]);
    run(&["context", "use", "shop"]);
    remcache(["set", "k", "v"]).servers(server.addr()).run().exits(0);
    let mut shell = live(remcache(["shell"]), &home);
    shell.press("flush_all\ry\r");
    shell.wait_for_text("shop is a production context: type its name");
    shell.press("get k\r");
    shell.wait_for_text("\nv\n");
    shell.press("flush\rshop\r");
    shell.wait_for_text("flushed");
    shell.press("quit\r");
    assert_eq!(shell.wait_for_exit(), (Some(0), true));
    remcache(["get", "k"]).servers(server.addr()).run().exits(1);
}

#[test]
fn top_in_a_shell_restores_the_terminal() {
    let (server, home) = (Memcached::start(&[]), home());
    let mut shell = live(remcache(["shell"]).servers(server.addr()), &home);
    for round in 1..3 {
        shell.press("top\r");
        shell.wait_for_text("1/1 up");
        shell.press("q");
        shell.wait_for_times("remcache> top\nremcache> ", round);
        shell.press("mn\r");
        shell.wait_for_times("MN", round);
    }
    shell.press("quit\r");
    assert_eq!(shell.wait_for_exit(), (Some(0), true));
}

#[test]
fn output_fits_twenty_columns() {
    let (server, home) = (Memcached::start(&[]), home());
    let mut shell = remcache(["shell"]).servers(server.addr()).env("HOME", path(&home)).start_on_terminal(8, 20);
    wait_for_prompt(&shell);
    shell.press("set a-key-that-is-long 'and a value too'\r");
    wait_for_before_prompt(&shell, "stored");
    shell.press("se\t\t");
    // The list of completions is longer than the eight rows.
    shell.wait_for_text("serve-metrics");
    shell.press("\x15mg a-key-that-is-long v\r");
    wait_for_before_prompt(&shell, "VA 15");
    shell.press("help\rquit\r");
    assert_eq!(shell.wait_for_exit(), (Some(0), true));
}

#[test]
fn help_lists_commands_and_requests() {
    let server = Memcached::start(&[]);
    let run = piped(&server.addr(), "help\nhelp get\nhelp mg\nget --help\n").exits(0);
    for word in ["\nraw ", "\nget ", "\nlru_crawler ", "Fetch values", "meta get", "--directory"] {
        assert!(run.text().contains(word), "{word:?} in {run:?}");
    }
}
