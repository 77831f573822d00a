//! The options of all commands: sources of servers, environment variables, colours.

use std::process::Stdio;

use crate::tool::{Run, remcache};
use remcache_testkit::{Memcached, scratch, unused_port};

#[test]
fn servers_come_from_options_then_from_the_environment() {
    let server = Memcached::start(&[]);
    let address = server.addr();
    let dead = format!("127.0.0.1:{}", unused_port());
    remcache(["get", "a", "-s", &address]).servers(&dead).env("MEMCACHED_SERVERS", &dead).run().exits(1);
    remcache(["get", "a"]).servers(&address).env("MEMCACHED_SERVERS", &dead).run().exits(1);
    remcache(["get", "a"]).env("MEMCACHED_SERVERS", &address).run().exits(1);
    let run = remcache(["locate", "a"]).run().exits(0);
    assert_eq!(run.text(), "a\tlocalhost:11211\n");
}

#[test]
fn servers_can_be_given_in_every_form() {
    let dir = scratch();
    let path = dir.path().join("memcached.sock");
    let tcp = Memcached::start(&[]);
    let unix = Memcached::start_unix(&path, &[]);
    for server in
        [&tcp.addr(), &unix.addr(), &format!("unix://{}", unix.addr()), &format!("memcached://{}", tcp.addr())]
    {
        remcache(["version", "-s", server]).run().exits(0);
    }
    let run = remcache(["version", "-s", &tcp.addr(), "-s", &unix.addr()]).run().exits(0);
    assert_eq!(run.lines().len(), 2);
    let run = remcache(["version", "-s", &format!("{},{}", tcp.addr(), unix.addr())]).run().exits(0);
    assert_eq!(run.lines().len(), 2);
}

#[test]
fn a_url_can_contain_options() {
    let server = Memcached::start(&[]);
    let url = format!("memcached://{}/shop:?timeout=2s", server.addr());
    remcache(["set", "k", "v", "-s", &url]).run().exits(0);
    let run = remcache(["get", "shop:k"]).servers(server.addr()).run().exits(0);
    assert_eq!(run.text(), "v");
    let run = remcache(["get", "k"]).servers(server.addr()).env("REMCACHE_NAMESPACE", "shop:").run().exits(0);
    assert_eq!(run.text(), "v");
}

#[test]
fn the_command_line_overrides_a_url_and_a_url_overrides_the_rest() {
    let server = Memcached::start(&[]);
    let url = format!("memcached://{}/url:?timeout=0.5s&protocol=text", server.addr());
    remcache(["set", "k", "of the URL", "-s", &url]).env("REMCACHE_NAMESPACE", "env:").run().exits(0);
    remcache(["set", "k", "of the line", "-s", &url, "--namespace", "line:"]).run().exits(0);
    for (key, value) in [("url:k", "of the URL"), ("line:k", "of the line")] {
        assert_eq!(remcache(["get", key]).servers(server.addr()).run().exits(0).text(), value);
    }
    // A protocol that the server does not speak shows which one is taken.
    let server = Memcached::start(&["-B", "ascii"]);
    let url = format!("memcached://{}/?protocol=binary", server.addr());
    remcache(["get", "k", "-s", &url]).env("REMCACHE_PROTOCOL", "text").run().exits(4);
    remcache(["get", "k", "-s", &url, "--protocol", "text"]).run().exits(1);
}

#[test]
fn explained_placement_uses_the_options_of_the_url() {
    let located = |args: &[&str]| remcache(args).run().exits(0).json()["server"].as_str().unwrap().to_owned();
    let servers = "a.invalid,b.invalid,c.invalid,d.invalid";
    let url = format!("memcached://{servers}/?distribution=rendezvous");
    let mut differ = 0;
    for number in 0..20 {
        let key = format!("key:{number}");
        let locate = ["locate", key.as_str(), "-f", "ndjson", "-s"];
        let of_url = located(&[&locate[..], &[&url]].concat());
        assert_eq!(of_url, located(&[&locate[..], &[&url, "--explain"]].concat()));
        assert_eq!(of_url, located(&[&locate[..], &[servers, "--distribution", "rendezvous"]].concat()));
        let of_line = located(&[&locate[..], &[&url, "--distribution", "ketama"]].concat());
        assert_eq!(of_line, located(&[&locate[..], &[servers]].concat()));
        differ += usize::from(of_line != of_url);
    }
    assert!(differ > 0);
}

#[test]
fn invalid_servers_are_named() {
    for (server, word) in [
        ("memcached://a/?tiemout=1s", "tiemout"),
        ("memcached://a/?timeout=0s", "timeout=0s"),
        ("http://a", "scheme"),
        ("a:port", "port"),
        ("a,,b", "empty"),
        ("", "empty"),
        ("./memcached.sock", "write it in full: /run/memcached.sock"),
        ("[::1", "bracket"),
        ("a,b,a", "the same text \"a\""),
        ("a:11211:0,b", "weight"),
        ("memcached://a,b/?distribution=ketma", "did you mean ketama"),
    ] {
        remcache(["get", "k", "-s", server]).run().exits(2).reports_error(word);
    }
}

#[test]
fn a_server_that_does_not_resolve_is_named() {
    let run = remcache(["get", "k", "-s", "unknown.invalid"]).run().exits(4);
    assert!(run.stderr.contains("unknown.invalid"), "{run:?}");
}

#[test]
fn invalid_option_values_are_named() {
    for (option, value, word) in [
        ("--timeout", "0s", "zero"),
        ("--timeout", "5", "5s"),
        ("--connect-timeout", "-1s", "negative"),
        ("--embedded", "0", "1..=1024"),
        ("--embedded-memory", "much", "64k"),
        ("--format", "xml", "ndjson"),
        ("--color", "maybe", "always"),
        ("--distribution", "modula", "remcache ring profiles lists every name"),
        ("--like", "unknown", "remcache ring profiles lists every name"),
    ] {
        remcache(["get", "k"]).arg(format!("{option}={value}")).run().exits(2).reports_error(word);
    }
}

#[test]
fn unknown_commands_get_suggestions() {
    remcache(["delet", "k"]).run().exits(2).reports_error("'delete'");
    remcache(["get", "k", "--fromat", "json"]).run().exits(2).reports_error("'--format'");
}

#[test]
fn every_global_option_can_be_set_by_the_environment() {
    let server = Memcached::start(&[]);
    let set = |name: &str, value: &str, args: &[&str]| remcache(args).servers(server.addr()).env(name, value).run();
    assert_eq!(set("REMCACHE_EMBEDDED", "2", &["version"]).exits(0).lines().len(), 2);
    assert!(set("REMCACHE_FORMAT", "json", &["version"]).exits(0).json().is_array());
    assert!(set("REMCACHE_COLOR", "always", &["stats"]).exits(0).stdout.contains(&0x1b));
    set("REMCACHE_TIMEOUT", "0s", &["version"]).exits(2);
    set("REMCACHE_CONNECT_TIMEOUT", "0s", &["version"]).exits(2);
    set("REMCACHE_DISTRIBUTION", "nonsense", &["version"]).exits(2);
    set("REMCACHE_EMBEDDED_MEMORY", "nonsense", &["version"]).exits(2);
    set("REMCACHE_NAMESPACE", &"x".repeat(250), &["version"]).exits(2);
    assert!(set("REMCACHE_VERBOSE", "3", &["get", "k", "-s", "127.0.0.1:1"]).exits(4).stderr.contains("is down"));
    assert!(!set("REMCACHE_QUIET", "1", &["get", "k", "-s", "127.0.0.1:1"]).exits(4).stderr.is_empty());
    let memory =
        remcache(["stats", "-f", "ndjson", "--embedded", "1", "--embedded-memory", "8m"]).run().exits(0).json();
    assert_eq!(memory["stats"]["limit_maxbytes"], 8 << 20);
}

#[test]
fn colours_are_for_terminals_unless_requested() {
    let server = Memcached::start(&[]);
    let is_colored = |run: Run| run.exits(0).stdout.contains(&0x1b);
    let stats = || remcache(["stats"]).servers(server.addr());
    assert!(!is_colored(stats().run()));
    assert!(is_colored(stats().run_on_terminal("")));
    assert!(!is_colored(stats().env("NO_COLOR", "1").run_on_terminal("")));
    assert!(is_colored(stats().env("NO_COLOR", "").run_on_terminal("")), "an empty NO_COLOR has no effect");
    assert!(!is_colored(stats().arg("--color=never").run_on_terminal("")));
    assert!(is_colored(stats().arg("--color=always").env("NO_COLOR", "1").run()));
}

#[test]
fn logs_go_to_stderr() {
    let run = remcache(["-v", "get", "k", "-s", "127.0.0.1:1"]).run().exits(4);
    assert!(run.stdout.is_empty() && run.stderr.contains("memcached server is down"), "{run:?}");
    assert!(!run.stderr.contains('\x1b'), "{run:?}");
}

#[test]
fn a_closed_pipe_is_not_an_error() {
    let keys: String = (0..100_000).map(|number| format!("key:{number}\n")).collect();
    let dir = tempfile::tempdir().unwrap();
    let list = dir.path().join("keys");
    std::fs::write(&list, keys).unwrap();
    for args in [
        "locate - -f ndjson -s a.invalid",
        "locate - -s a.invalid",
        "get - -f json --embedded 1",
        "get - -f csv --embedded 1",
        "get - -f text --embedded 1",
        "bench --time 10ms --embedded 1",
        "stats --embedded 2",
        "demo",
        "--help",
        "--version",
    ] {
        let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_remcache"))
            .args(args.split(' '))
            .env_clear()
            .stdin(std::fs::File::open(&list).unwrap())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // The reader leaves before it has read anything.
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{args}: {output:?}");
        assert!(output.stderr.is_empty(), "{args}: {output:?}");
    }
}

#[test]
fn errors_to_a_closed_stderr_do_not_panic() {
    let mut child = remcache(["-v", "get", "k", "-s", "127.0.0.1:1"]).spawn();
    drop(child.stderr.take());
    assert_eq!(child.wait().unwrap().code(), Some(4));
}

#[test]
fn help_lists_the_exit_codes_and_every_command() {
    let run = remcache(["--help"]).run().exits(0);
    let commands = "demo serve get set add replace append prepend delete incr decr touch stats version ping flush locate bench fill";
    for command in commands.split(' ') {
        assert!(run.text().contains(&format!("\n  {command} ")), "{command}");
        assert!(remcache([command, "--help"]).run().exits(0).text().contains("Global options"), "{command}");
    }
    assert!(run.text().contains("Exit codes") && run.text().contains("REMCACHE_SERVERS"), "{run:?}");
    let version = remcache(["--version"]).run().exits(0);
    assert_eq!(version.text(), format!("remcache {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn the_command_line_overrides_embedded_servers_of_the_environment() {
    let server = Memcached::start(&[]);
    let run = remcache(["version", "-s", &server.addr()]).env("REMCACHE_EMBEDDED", "2").run().exits(0);
    assert_eq!(run.lines().len(), 1);
    assert!(run.text().starts_with(&server.addr()), "{run:?}");
    assert_eq!(remcache(["version", "--embedded", "2"]).servers(server.addr()).run().exits(0).lines().len(), 2);
    remcache(["version", "--embedded", "2", "-s", &server.addr()]).run().exits(2).reports_error("exclude each other");
}

#[test]
fn a_limit_of_open_files_is_reported() {
    let script = r#"ulimit -n 100; exec "$0" "$@""#;
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", script, env!("CARGO_BIN_EXE_remcache"), "--embedded", "200", "version"]).env_clear();
    let output = shell.output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert!(errors.contains("raise the limit of open files (ulimit -n)"), "{errors}");
}

#[test]
fn verbose_names_connections() {
    let server = Memcached::start(&[]);
    let run = remcache(["get", "k", "-v"]).servers(server.addr()).run().exits(1);
    assert_eq!(run.stderr, format!("{}: connected\n", server.addr()));
    assert_eq!(remcache(["get", "k"]).servers(server.addr()).run().exits(1).stderr, "");
}

#[test]
fn unreadable_files_are_errors_of_the_command_line() {
    let server = Memcached::start(&[]);
    for option in ["--tls-ca", "--password-file"] {
        let run = remcache(["get", "k", option, "/nonexistent", "--user", "bob"]).servers(server.addr()).run().exits(2);
        assert!(run.stderr.contains("/nonexistent: No such file"), "{run:?}");
    }
    let pair = ["get", "k", "--tls-cert", "/nonexistent", "--tls-key", "/nonexistent"];
    remcache(pair).servers(server.addr()).run().exits(2).reports_error("/nonexistent: No such file");
}

#[test]
fn files_without_certificates_or_keys_are_errors_of_the_command_line() {
    let server = Memcached::start(&[]);
    let directory = scratch();
    let file = |name: &str, content: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, content).expect("the directory is writable");
        path.to_str().expect("a path in UTF-8").to_owned()
    };
    let certificate = file("certificate.pem", "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n");
    let key = file("key.pem", "-----BEGIN RSA PRIVATE KEY-----\n-----END RSA PRIVATE KEY-----\n");
    let no_certificate = format!("{key}: no certificate in PEM format in this file");
    let no_key = format!("{certificate}: no private key in PEM format in this file");
    for (options, problem) in [
        (&["--tls-ca", &key][..], &no_certificate),
        (&["--tls-cert", &key, "--tls-key", &key], &no_certificate),
        (&["--tls-cert", &certificate, "--tls-key", &certificate], &no_key),
    ] {
        let run = remcache(["get", "k"].iter().chain(options)).servers(server.addr()).run().exits(2);
        assert_eq!(run.stderr, format!("error: {problem}\n"));
    }
}
