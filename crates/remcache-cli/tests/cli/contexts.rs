//! Contexts: named sets of options in a file.

use remcache_testkit::Memcached;
use serde_json::json;
use tempfile::TempDir;

use crate::tool::{Tool, remcache};

/// A home directory with the contexts file.
struct Home(TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    fn run(&self, args: &[&str]) -> Tool {
        remcache(args).env("HOME", self.0.path().to_str().expect("a path in UTF-8"))
    }
}

#[test]
fn a_context_is_added_used_and_shown() {
    let home = Home::new();
    home.run(&["context", "add", "shop", "-s", "a.invalid", "-s", "b.invalid", "--timeout", "250ms", "--production"])
        .run()
        .exits(0);
    home.run(&["context", "add", "test", "-s", "c.invalid"]).run().exits(0);
    // None is in use yet.
    assert_eq!(home.run(&["locate", "k"]).run().exits(0).text(), "k\tlocalhost:11211\n");
    home.run(&["context", "use", "shop"]).run().exits(0);
    let shown = home.run(&["context", "show", "-f", "json"]).run().exits(0).json();
    assert_eq!(
        shown,
        json!({"context": "shop", "server": "a.invalid,b.invalid", "timeout": "250ms", "production": true})
    );
    let listed = home.run(&["context", "ls", "-f", "json"]).run().exits(0).json();
    let expected = json!([
        {"context": "shop", "in_use": true, "production": true, "servers": ["a.invalid", "b.invalid"]},
        {"context": "test", "in_use": false, "production": false, "servers": ["c.invalid"]},
    ]);
    assert_eq!(listed, expected);
}

#[test]
fn a_context_without_a_part_of_the_credentials_is_reported() {
    let home = Home::new();
    let add = |options: &[&str]| home.run(&[&["context", "add", "shop", "-s", "a.invalid"], options].concat()).run();
    let user = add(&["--user", "bob"]).exits(0);
    assert!(
        user.stderr
            .contains("shop: it has a user without a password: add --password-file FILE, or pass --password-stdin"),
        "{user:?}"
    );
    let password = add(&["--password-file", "/run/password"]).exits(0);
    assert!(password.stderr.contains("shop: it has a password without a user: add --user NAME"), "{password:?}");
    assert_eq!(add(&["--user", "bob", "--password-file", "/run/password"]).exits(0).stderr, "");
    add(&["--tls-cert", "/run/client.pem"]).exits(2).reports_error("--tls-cert needs --tls-key");
    assert_eq!(add(&["--tls-cert", "/run/client.pem", "--tls-key", "/run/client.key"]).exits(0).stderr, "");
}

#[test]
fn options_override_a_context() {
    let home = Home::new();
    home.run(&["context", "add", "one", "-s", "one.invalid"]).run().exits(0);
    home.run(&["context", "add", "two", "-s", "two.invalid"]).run().exits(0);
    home.run(&["context", "use", "one"]).run().exits(0);
    let server = |tool: Tool| tool.run().exits(0).text().trim_end().rsplit_once('\t').unwrap().1.to_owned();
    assert_eq!(server(home.run(&["locate", "k"])), "one.invalid:11211");
    assert_eq!(server(home.run(&["locate", "k"]).env("MEMCACHED_SERVERS", "x.invalid")), "one.invalid:11211");
    assert_eq!(server(home.run(&["locate", "k", "--context", "two"])), "two.invalid:11211");
    assert_eq!(server(home.run(&["--context", "two", "locate", "k"])), "two.invalid:11211");
    assert_eq!(server(home.run(&["locate", "k"]).env("REMCACHE_CONTEXT", "two")), "two.invalid:11211");
    assert_eq!(server(home.run(&["locate", "k"]).servers("env.invalid")), "env.invalid:11211");
    assert_eq!(server(home.run(&["locate", "k", "-s", "arg.invalid"])), "arg.invalid:11211");
}

#[test]
fn invalid_contexts_are_named() {
    let home = Home::new();
    home.run(&["locate", "k", "--context", "shop"]).run().exits(2).reports_error("there are no contexts yet");
    home.run(&["context", "use", "shop"]).run().exits(2).reports_error("no context \"shop\"");
    home.run(&["context", "add", "shop"]).run().exits(2).reports_error("-s cache1,cache2");
    home.run(&["context", "show"]).run().exits(2).reports_error("no context is in use");
    let directory = home.0.path().join(".config/remcache");
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("config.toml"), "current = \"a\"\n[contexts.a]\ntiemout = \"1s\"\n").unwrap();
    home.run(&["locate", "k"]).run().exits(2).reports_error("tiemout");
    std::fs::write(directory.join("config.toml"), "current = \"a\"\n[contexts.a]\ntimeout = \"soon\"\n").unwrap();
    let run = home.run(&["locate", "k"]).run().exits(2).reports_error("context a: invalid value 'soon'");
    assert!(run.stderr.contains("config.toml"), "{run:?}");
    std::fs::write(directory.join("config.toml"), "current = ").unwrap();
    home.run(&["locate", "k"]).run().exits(2).reports_error("config.toml");
}

#[test]
fn an_invalid_contexts_file_can_be_examined_and_fixed() {
    let server = Memcached::start(&[]);
    let home = Home::new();
    let directory = home.0.path().join(".config/remcache");
    std::fs::create_dir_all(&directory).unwrap();
    let write = |text: &str| std::fs::write(directory.join("config.toml"), text).unwrap();
    let doctor = || {
        let findings = home.run(&["doctor", "-f", "json", "-s", &server.addr()]).run().exits(8).json();
        let found = findings.as_array().unwrap().iter().filter(|finding| finding["server"] == "contexts");
        found.map(|finding| finding["finding"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    write("current = ");
    assert!(doctor().iter().any(|found| found.contains("config.toml: TOML parse error")), "{:?}", doctor());
    for args in [&["--help"][..], &["man"], &["completions", "bash"], &["get", "--help"]] {
        home.run(args).run().exits(0);
    }
    write("current = \"gone\"\n[contexts.a]\ntiemout = \"1s\"\n[contexts.b]\ntimeout = \"soon\"\n[contexts.c]\n");
    let found = doctor();
    assert_eq!(found.len(), 3, "{found:?}");
    for (found, word) in found.iter().zip(["unknown option \"tiemout\"", "invalid value 'soon'", "no context \"gone\""])
    {
        assert!(found.contains(word), "{found}");
    }
    let run = home.run(&["doctor", "--context", "unknown", "-s", &server.addr()]).run().exits(8);
    assert!(run.text().contains("no context \"unknown\""), "{run:?}");
    let listed = home.run(&["context", "ls", "-f", "json"]).run().exits(0).json();
    assert!(listed[0]["problem"].as_str().unwrap().contains("tiemout") && listed[2].get("problem").is_none());
    home.run(&["get", "k"]).run().exits(2).reports_error("no context \"gone\"");
    home.run(&["context", "use", "c"]).run().exits(0);
    home.run(&["get", "k", "-s", &server.addr()]).run().exits(1);
    write("[contexts.c]\n");
    assert_eq!(doctor(), ["the contexts are valid"]);
}

#[test]
fn a_production_context_asks_for_its_name_before_items_are_removed() {
    let server = Memcached::start(&[]);
    let home = Home::new();
    home.run(&["context", "add", "shop", "-s", &server.addr(), "--production"]).run().exits(0);
    home.run(&["context", "use", "shop"]).run().exits(0);
    home.run(&["set", "k", "v"]).run().exits(0);
    let asked = home.run(&["flush"]).run_on_terminal("y\n").exits(1);
    assert!(asked.text().contains("shop is a production context: type its name"), "{asked:?}");
    home.run(&["get", "k"]).run().exits(0);
    home.run(&["flush"]).run_on_terminal("shop\n").exits(0);
    home.run(&["get", "k"]).run().exits(1);
}

#[test]
fn the_contexts_file_is_private_and_passwords_are_masked() {
    use std::os::unix::fs::PermissionsExt as _;

    let home = Home::new();
    let url = "memcached://bob:hunter2@a.invalid";
    home.run(&["context", "add", "shop", "-s", url]).run().exits(0);
    home.run(&["context", "use", "shop"]).run().exits(0);
    let file = home.0.path().join(".config/remcache/config.toml");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(std::fs::read_to_string(&file).unwrap().contains("hunter2"), "it is stored");
    for format in ["text", "json", "ndjson", "csv"] {
        for command in [&["context", "ls"][..], &["context", "show"], &["context", "show", "shop"]] {
            let run = home.run(&[command, &["-f", format]].concat()).run().exits(0);
            assert!(run.text().contains("bob:***@a.invalid") && !run.text().contains("hunter2"), "{run:?}");
        }
    }
    // A file of an older version, which others could read, is private after the next change.
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    home.run(&["context", "add", "test", "-s", "b.invalid"]).run().exits(0);
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_context_can_be_removed() {
    let home = Home::new();
    for name in ["shop", "test"] {
        home.run(&["context", "add", name, "-s", "a.invalid"]).run().exits(0);
    }
    home.run(&["context", "use", "shop"]).run().exits(0);
    home.run(&["context", "rm", "shop"]).run().exits(0);
    home.run(&["context", "rm", "shop"]).run().exits(2).reports_error("no context \"shop\"");
    let listed = home.run(&["context", "ls", "-f", "json"]).run().exits(0).json();
    assert_eq!((listed.as_array().unwrap().len(), &listed[0]["in_use"]), (1, &json!(false)));
    assert_eq!(home.run(&["locate", "k"]).run().exits(0).text(), "k\tlocalhost:11211\n");
}

#[test]
fn explicit_servers_do_not_inherit_from_the_current_context() {
    let server = Memcached::start(&[]);
    let home = Home::new();
    home.run(&["context", "add", "shop", "-s", "a.invalid", "--namespace", "shop:", "--tls"]).run().exits(0);
    home.run(&["context", "use", "shop"]).run().exits(0);
    home.run(&["set", "k", "v", "-s", &server.addr()]).run().exits(0);
    assert_eq!(home.run(&["keys"]).servers(server.addr()).run().exits(0).text(), "k\n", "no namespace, and no TLS");
    home.run(&["flush", "--yes", "--embedded", "1"]).run().exits(0);
    // A context that is named applies to other servers too.
    let named = ["--context", "shop", "locate", "k", "-s", "b.invalid", "-f", "ndjson"];
    assert_eq!(home.run(&named).run().exits(0).json()["server"], "b.invalid:11211");
    home.run(&["--context", "shop", "get", "k", "-s", &server.addr(), "--timeout", "20s"]).run().exits(6);
}

#[test]
fn commands_with_explicit_servers_ignore_an_invalid_contexts_file() {
    let server = Memcached::start(&[]);
    let home = Home::new();
    let directory = home.0.path().join(".config/remcache");
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("config.toml"), "current = ").unwrap();
    home.run(&["get", "k"]).run().exits(2).reports_error("config.toml");
    home.run(&["get", "k", "-s", &server.addr()]).run().exits(1);
    home.run(&["get", "k"]).servers(server.addr()).run().exits(1);
    home.run(&["get", "k", "--context", "shop", "-s", &server.addr()]).run().exits(2).reports_error("config.toml");
    home.run(&["help", "get"]).run().exits(0);
}

#[test]
fn a_context_is_checked_before_it_is_added() {
    let directory = remcache_testkit::scratch();
    let home = directory.path().to_str().unwrap();
    let add = |args: &[&str]| {
        remcache(["context", "add"].iter().chain(args)).env("HOME", home).directory(directory.path()).run()
    };
    for (args, word) in [
        (&["x", "-s", "h", "--user", "ops", "--password-stdin"][..], "--password-file FILE in place of"),
        (&["x", "-s", "ho st"], "ho st"),
        (&["a\x1bb", "-s", "h"], "invalid name of a context"),
        (&["a\u{202e}b", "-s", "h"], "invalid name of a context"),
        (&["", "-s", "h"], "invalid name of a context"),
    ] {
        let run = add(args).exits(2).reports_error(word);
        assert!(!run.stderr.contains(['\x1b', '\u{202e}']), "{run:?}");
    }
    assert!(
        remcache(["context", "ls", "-f", "json"])
            .env("HOME", home)
            .run()
            .exits(0)
            .json()
            .as_array()
            .unwrap()
            .is_empty()
    );
    add(&["x", "-s", "h", "--user", "ops", "--password-file", "pw"]).exits(0);
    let shown = remcache(["context", "show", "x", "-f", "json"]).env("HOME", home).run().exits(0).json();
    assert_eq!(shown["password-file"], directory.path().join("pw").to_str().unwrap());
}

#[test]
fn copy_takes_contexts_with_their_options() {
    let (old, new) = (Memcached::start(&[]), Memcached::start(&[]));
    let home = Home::new();
    home.run(&["context", "add", "old", "-s", &old.addr(), "--namespace", "shop:"]).run().exits(0);
    home.run(&["context", "add", "new", "-s", &new.addr(), "--namespace", "store:"]).run().exits(0);
    for (key, value) in [("shop:a", "1"), ("other:b", "2")] {
        remcache(["set", key, value]).servers(old.addr()).run().exits(0);
    }
    home.run(&["copy", "--from", "old", "--to", "new"]).run().exits(0);
    assert_eq!(remcache(["keys"]).servers(new.addr()).run().exits(0).text(), "store:a\n");
    // The command line overrides the context, and a host with a port is no context.
    let run = home.run(&["copy", "--from", "old", "--to", "new", "--protocol", "nonsense"]).run().exits(2);
    assert!(run.stderr.contains("nonsense"), "{run:?}");
    home.run(&["copy", "--from", "old:1", "--to", "new", "--wait", "10ms", "--timeout", "5s"]).run().exits(4);
}

#[test]
fn subcommands_have_aliases() {
    let home = Home::new();
    home.run(&["context", "add", "shop", "-s", "a.invalid"]).run().exits(0);
    assert!(home.run(&["context", "list"]).run().exits(0).text().contains("shop"));
    home.run(&["context", "remove", "shop"]).run().exits(0);
    home.run(&["context", "show", "shop"]).run().exits(2);
}
