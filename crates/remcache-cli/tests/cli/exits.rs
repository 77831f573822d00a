//! Exit codes of all commands.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;
use std::{fs, thread};

use remcache_testkit::{Memcached, SASL_PASSWORD, SASL_USER, scratch, unused_port};
use rustix::process::{Pid, Signal, kill_process};

use crate::tool::{Run, remcache, wait_for_watchers};

/// Commands for one key.
const OF_A_KEY: &[&str] = &[
    "get k",
    "get k --meta",
    "get k -f json",
    "set k v",
    "add k v",
    "replace k v",
    "append k v",
    "prepend k v",
    "delete k",
    "incr k",
    "decr k",
    "touch k --ttl 1m",
    "exists k",
];

/// Commands for all servers, on the protocol of the options or on separate text connections.
const OF_SERVERS: &[&str] =
    &["stats", "stats settings", "version", "ping -n 1", "flush --yes", "check", "doctor", "stats -f json"];
const OF_LOGS: &[&str] = &["hotkeys --for 50ms", "watch --for 50ms"];

fn run(line: &str, servers: &str) -> Run {
    remcache(line.split(' ')).servers(servers).run()
}

#[test]
fn without_a_reachable_server_the_exit_code_is_4() {
    let dead = format!("127.0.0.1:{}", unused_port());
    for line in OF_A_KEY.iter().chain(OF_SERVERS).chain(OF_LOGS) {
        let run = run(line, &dead).exits(4);
        assert!(run.stderr.contains(&dead) || run.text().contains(&dead), "{line}: {run:?}");
        assert!(!OF_LOGS.contains(line) || run.text().is_empty(), "nothing was watched: {run:?}");
    }
}

#[test]
fn results_of_healthy_servers_are_printed_if_others_fail() {
    let (server, locked) = (Memcached::start(&[]), Memcached::start_sasl(&[]));
    let dead = format!("127.0.0.1:{}", unused_port());
    for line in OF_SERVERS {
        for other in [&dead, &locked.addr()] {
            let run = run(line, &format!("{},{other}", server.addr())).exits(3);
            // The settings that all healthy servers share are printed once, for `all`.
            let names_server = !["doctor", "stats settings"].contains(line);
            assert!(run.text().contains(&server.addr()) || !names_server, "{line}: {run:?}");
            assert!(run.text().contains(other.as_str()), "{line}: {run:?}");
        }
    }
    for line in OF_LOGS {
        let run = run(line, &format!("{},{dead}", server.addr())).exits(3);
        assert!(run.stderr.contains(&dead), "{line}: {run:?}");
    }
    let keys: String = (0..50).map(|number| format!("key:{number}\n")).collect();
    for line in ["get - -f json", "exists -", "delete -", "touch - --ttl 1m"] {
        let tool = remcache(line.split(' ')).servers(format!("{},{dead}", server.addr()));
        let run = tool.input(keys.as_str()).run().exits(3);
        assert!(run.stderr.contains(&dead), "{line}: {run:?}");
    }
}

#[test]
fn a_server_that_requires_authentication_exits_with_6() {
    let dir = scratch();
    let users = dir.path().join("users");
    fs::write(&users, "bob:secret\n").unwrap();
    let with_file = Memcached::start(&["-Y", users.to_str().unwrap()]);
    for server in [Memcached::start_sasl(&[]), with_file] {
        for line in OF_A_KEY.iter().chain(OF_SERVERS) {
            let run = run(line, &server.addr()).exits(6);
            let said = format!("{}{}", run.text(), run.stderr);
            assert!(said.contains("--password-file") && !said.contains("Config::"), "{line}: {run:?}");
        }
    }
}

#[test]
fn a_server_with_another_protocol_is_explained() {
    let dir = scratch();
    let (users, password) = (dir.path().join("users"), dir.path().join("password"));
    fs::write(&users, "bob:secret\n").unwrap();
    fs::write(&password, "secret\n").unwrap();
    let with_file = Memcached::start(&["-Y", users.to_str().unwrap()]);
    let credentials = format!(" --user bob --password-file {}", password.display());
    for credentials in ["", &credentials] {
        let line = format!("get k --timeout 300ms --protocol binary{credentials}");
        let run = run(&line, &with_file.addr()).exits(4);
        assert!(run.stderr.contains("a server with text only (-Y, -B ascii) does not answer it"), "{run:?}");
        assert!(!run.stderr.contains(" -S"), "{run:?}");
    }
    run(&format!("get k --protocol auto{credentials}"), &with_file.addr()).exits(1);
    let binary = Memcached::start(&["-B", "binary"]);
    for protocol in ["text", "meta"] {
        let run = run(&format!("get k --timeout 300ms --protocol {protocol}"), &binary.addr()).exits(4);
        let expected =
            format!("leave out --protocol {protocol}: a server with the binary protocol only (-S, -B binary)");
        assert!(run.stderr.contains(&expected), "{run:?}");
    }
    let watch = run("watch --for 50ms --timeout 300ms --connect-timeout 300ms", &binary.addr()).exits(4);
    assert!(watch.stderr.contains("a server with the binary protocol only (-S, -B binary)"), "{watch:?}");

    fs::write(&password, SASL_PASSWORD).unwrap();
    let sasl = Memcached::start_sasl(&[]);
    let credentials = format!(" --user {SASL_USER} --password-file {}", password.display());
    for line in ["keys", "dump", "delete-matching * --yes", "watch --for 50ms", "hotkeys --for 50ms"] {
        let run = run(&format!("{line} --timeout 300ms --connect-timeout 2s{credentials}"), &sasl.addr()).exits(4);
        assert!(run.stderr.contains("(-S)") && run.stderr.contains("watch events"), "{line}: {run:?}");
        assert!(!run.stderr.contains("(-Y)"), "{line}: {run:?}");
    }
}

#[test]
fn a_disabled_flush_exits_with_5() {
    let server = Memcached::start(&["-F"]);
    for protocol in ["auto", "binary", "meta", "text"] {
        for line in ["flush --yes", "flush --yes --delay 1m"] {
            let run = run(&format!("{line} --protocol {protocol}"), &server.addr()).exits(5);
            assert!(run.stderr.contains("flushes are disabled on this server"), "{protocol}: {run:?}");
            assert!(!run.stderr.contains("auth"), "{protocol}: {run:?}");
        }
    }
}

#[test]
fn a_negative_answer_exits_with_1() {
    let server = Memcached::start(&[]);
    let lines = ["get k", "get k --meta", "get k -f json", "replace k v", "append k v", "prepend k v", "delete k"];
    for line in lines.iter().chain(&["incr k", "decr k", "touch k --ttl 1m", "exists k", "set k v --cas 9"]) {
        let run = run(line, &server.addr()).exits(1);
        assert_eq!(run.stderr, "", "{line}");
    }
    run("set k v", &server.addr()).exits(0);
    run("add k v", &server.addr()).exits(1);
    run("set k v --cas 99", &server.addr()).exits(1);
}

#[test]
fn an_error_of_the_server_exits_with_5() {
    let server = Memcached::start(&["-I", "1024", "-o", "slab_chunk_max=1024"]);
    let large = "x".repeat(5000);
    remcache(["set", "k", &large]).servers(server.addr()).run().exits(5).reports_error("too large");
    run("set n word", &server.addr()).exits(0);
    run("incr n", &server.addr()).exits(5).reports_error("number");
    let forbidding = Memcached::start(&["-W"]);
    for line in OF_LOGS {
        let run = run(line, &forbidding.addr()).exits(5);
        assert!(run.stderr.contains(&forbidding.addr()), "{line}: {run:?}");
    }
}

#[test]
fn an_invalid_command_line_exits_with_2() {
    let help = remcache(["--help"]).run().exits(0);
    let commands =
        help.text().lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    // An indented line continues the previous one.
    let names = commands.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    let commands: Vec<_> = names.filter(|name| !name.is_empty()).collect();
    assert!(commands.len() > 30, "{commands:?}");
    for command in commands {
        remcache([command, "--no-such-option"]).run().exits(2).reports_error("--no-such-option");
        remcache([command, "--help"]).run().exits(0);
    }
    for line in ["get", "set", "incr k nonsense", "touch k", "stats nonsense", "watch nonsense", "set k v --ttl 5"] {
        run(line, "127.0.0.1:1").exits(2);
    }
    run("get a b", "127.0.0.1:1").exits(2).reports_error("-f ndjson");
    run("get a b -o file", "127.0.0.1:1").exits(2).reports_error("-d DIR");
    run("set k @/nowhere/at/all", "127.0.0.1:1").exits(2).reports_error("/nowhere/at/all");
}

#[test]
fn a_server_that_dies_is_reported_immediately() {
    let (mut dying, staying) = (Memcached::start(&[]), Memcached::start(&[]));
    let both = format!("{},{}", dying.addr(), staying.addr());
    let watching = remcache(["watch", "mutations", "-f", "csv"]).servers(&both).spawn();
    let pinging = remcache(["ping", "-n", "100000", "-i", "5ms", "--timeout", "200ms"]).servers(&both).spawn();
    wait_for_watchers(&dying, 1);
    wait_for_watchers(&staying, 1);
    dying.kill();
    remcache(["set", "k", "v"]).servers(staying.addr()).run().exits(0);
    thread::sleep(Duration::from_secs(2));
    for child in [&watching, &pinging] {
        kill_process(Pid::from_child(child), Signal::INT).unwrap();
    }
    let watched = watching.wait_with_output().unwrap();
    let (text, stderr) = (String::from_utf8(watched.stdout).unwrap(), String::from_utf8(watched.stderr).unwrap());
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(watched.status.code(), Some(130));
    assert!(lines[0].starts_with("server,time,event,key,") && lines[1].contains(",item_store,k,"), "{text}");
    assert_eq!(stderr.matches(&dying.addr()).count(), 1, "{stderr}");
    let pinged = pinging.wait_with_output().unwrap();
    let text = String::from_utf8(pinged.stdout).unwrap();
    assert!(pinged.status.code() == Some(130) && text.contains("1.6.") && text.contains("servers answer"), "{text}");
}

#[test]
fn watched_events_have_titles_local_times_and_a_count() {
    let server = Memcached::start(&[]);
    let watch = remcache(["watch", "mutations,fetchers"]).servers(server.addr()).env("TZ", "XXX-5");
    let watch = watch.start_on_terminal(20, 100);
    wait_for_watchers(&server, 1);
    watch.wait_for_text("TIME          EVENT       KEY  DETAILS");
    run("set k v --ttl 1h", &server.addr()).exits(0);
    // A store of a new key looks it up first.
    watch.wait_for_text("item_get    k  status=not_found");
    let text = watch.wait_for_text("item_store  k  status=stored command=set ttl=3600");
    let hour = |text: &str| text.split(':').next().unwrap().parse::<u64>().unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    // The hour may have changed since.
    let passed = (now / 3600 + 5 + 24 - hour(text.lines().nth(1).unwrap())) % 24;
    assert!(passed <= 1, "{text}");
    kill_process(watch.pid(), Signal::INT).unwrap();
    watch.wait_for_text("watched 2 events, 0 skipped by the servers");
    assert_eq!(watch.wait_for_exit().0, Some(130));
}

#[test]
fn a_closed_pipe_is_not_an_error_for_any_command() {
    let server = Memcached::start(&[]);
    run("set k v", &server.addr()).exits(0);
    let lines = ["get k", "exists k", "touch k --ttl 1m -f json", "stats", "version", "ping -n 1", "check", "doctor"];
    for line in lines.iter().chain(&["hotkeys --for 50ms", "keys", "man", "completions bash", "help", "context ls"]) {
        let line = line.split(' ').filter(|word| *word != "help");
        let mut child = Command::new(env!("CARGO_BIN_EXE_remcache"))
            .args(line)
            .env_clear()
            .env("REMCACHE_SERVERS", server.addr())
            .env("HOME", "/nowhere")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        // doctor reports findings for this server's version, and help is printed to stderr.
        assert!(matches!(output.status.code(), Some(0 | 2 | 8)), "{output:?}");
        assert!(!stderr.contains("panicked") && !stderr.contains("pipe"), "{stderr}");
    }
}

#[test]
fn a_million_keys_on_standard_input() {
    let dir = tempfile::tempdir().unwrap();
    let list = dir.path().join("keys");
    let mut file = std::io::BufWriter::new(fs::File::create(&list).unwrap());
    (0..1_000_000).for_each(|number| writeln!(file, "key:{number}").unwrap());
    drop(file);
    let server = Memcached::start(&[]);
    run("set key:999999 v", &server.addr()).exits(0);
    let tool = |line: &str| {
        Command::new(env!("CARGO_BIN_EXE_remcache"))
            .args(line.split(' '))
            .env_clear()
            .env("REMCACHE_SERVERS", server.addr())
            .stdin(fs::File::open(&list).unwrap())
            .output()
            .unwrap()
    };
    let located = tool("locate -");
    assert_eq!(located.stdout.iter().filter(|&&byte| byte == b'\n').count(), 1_000_000);
    let deleted = tool("delete - --timeout 30s");
    assert_eq!(deleted.status.code(), Some(1), "{deleted:?}");
    run("get key:999999", &server.addr()).exits(1);
}

#[test]
fn output_fits_twenty_columns() {
    let server = Memcached::start(&[]);
    run("set k v", &server.addr()).exits(0);
    for line in ["get k", "stats", "version", "ping -n 1", "check", "keys --tree :", "hotkeys --for 200ms", "exists k"]
    {
        let tool = remcache(line.split(' ')).servers(server.addr()).start_on_terminal(10, 20);
        assert_eq!(tool.wait_for_exit(), (Some(0), true), "{line}");
    }
}
