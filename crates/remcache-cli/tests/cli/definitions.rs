//! What is made of the options' definitions: contexts, completions, manual pages.

use std::process::Command;

use remcache_testkit::Memcached;
use serde_json::json;
use tempfile::TempDir;

use crate::tool::{Tool, remcache};

/// A home for the file of contexts.
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
fn a_context_gives_defaults_and_no_more() {
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
fn contexts_that_do_not_fit_are_named() {
    let home = Home::new();
    home.run(&["locate", "k", "--context", "shop"]).run().exits(2).complains_of("there are no contexts yet");
    home.run(&["context", "use", "shop"]).run().exits(2).complains_of("no context \"shop\"");
    home.run(&["context", "add", "shop"]).run().exits(2).complains_of("-s cache1,cache2");
    home.run(&["context", "show"]).run().exits(2).complains_of("no context is in use");
    let directory = home.0.path().join(".config/remcache");
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("config.toml"), "current = \"a\"\n[contexts.a]\ntiemout = \"1s\"\n").unwrap();
    home.run(&["locate", "k"]).run().exits(2).complains_of("tiemout");
    std::fs::write(directory.join("config.toml"), "current = \"a\"\n[contexts.a]\ntimeout = \"soon\"\n").unwrap();
    let run = home.run(&["locate", "k"]).run().exits(2).complains_of("context a: invalid value 'soon'");
    assert!(run.stderr.contains("config.toml"), "{run:?}");
    std::fs::write(directory.join("config.toml"), "current = ").unwrap();
    home.run(&["locate", "k"]).run().exits(2).complains_of("config.toml");
}

#[test]
fn a_broken_file_of_contexts_can_be_examined_and_mended() {
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
    home.run(&["get", "k"]).run().exits(2).complains_of("no context \"gone\"");
    home.run(&["context", "use", "c"]).run().exits(0);
    home.run(&["get", "k", "-s", &server.addr()]).run().exits(1);
}

#[test]
fn each_shell_gets_completions_of_every_command() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let run = remcache(["completions", shell]).run().exits(0);
        for word in ["remcache", "locate", "distribution"] {
            assert!(run.text().contains(word), "{shell}: {word}");
        }
    }
    remcache(["completions", "csh"]).run().exits(2).complains_of("zsh");
}

#[test]
fn completions_load_in_their_shells_and_complete() {
    let directory = tempfile::tempdir().unwrap();
    let completed = |shell: &str, options: &[&str], script: &str| {
        let file = directory.path().join(shell);
        std::fs::write(&file, remcache(["completions", shell]).run().exits(0).stdout).unwrap();
        let path = std::env::var("PATH").unwrap_or_default();
        let found = std::env::split_paths(&path).map(|directory| directory.join(shell)).find(|path| path.is_file());
        let found =
            found.unwrap_or_else(|| panic!("{shell} is missing: apt-get install -y --no-install-recommends {shell}"));
        let mut command = Command::new(found);
        command.args(options).arg("-c").arg(script).env("FILE", &file).env("HOME", directory.path());
        let output = command.output().unwrap();
        assert!(output.stderr.is_empty(), "{shell}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let bash = r#"
        source "$FILE"
        complete -p remcache
        COMP_WORDS=(remcache sta) COMP_CWORD=1; _remcache remcache sta remcache; echo "${COMPREPLY[@]}"
        COMP_WORDS=(remcache stats --tot) COMP_CWORD=2; _remcache remcache --tot stats; echo "${COMPREPLY[@]}""#;
    let bash = completed("bash", &["--norc"], bash);
    assert!(bash.contains("-F _remcache remcache\nstats\n--total\n"), "{bash}");
    let fish = r#"
        source $FILE
        complete -C "remcache sta"
        complete -C "remcache stats --tot""#;
    let fish = completed("fish", &["--no-config"], fish);
    assert!(fish.contains("stats\tShow the statistics") && fish.contains("--total\tRequest once"), "{fish}");
    let zsh = r#"autoload -U compinit; compinit -u -D; source "$FILE"; echo $_comps[remcache]; whence -w _remcache"#;
    assert_eq!(completed("zsh", &["-f"], zsh), "_remcache\n_remcache: function\n");
}

#[test]
fn there_is_a_manual_page_for_each_command() {
    let run = remcache(["man"]).run().exits(0);
    assert!(run.text().contains(".TH remcache 1"), "{}", run.text());
    let directory = tempfile::tempdir().unwrap();
    remcache(["man", "-d", directory.path().to_str().unwrap()]).run().exits(0);
    for page in ["remcache", "remcache-get", "remcache-bench", "remcache-context-add"] {
        let text = std::fs::read_to_string(directory.path().join(format!("{page}.1"))).unwrap();
        assert!(text.contains(&format!(".TH {page} 1")), "{page}: {text}");
    }
}

#[test]
fn production_asks_for_its_name_before_items_are_removed() {
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
    home.run(&["context", "rm", "shop"]).run().exits(2).complains_of("no context \"shop\"");
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
fn a_broken_contexts_file_does_not_stop_commands_with_servers_of_their_own() {
    let server = Memcached::start(&[]);
    let home = Home::new();
    let directory = home.0.path().join(".config/remcache");
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("config.toml"), "current = ").unwrap();
    home.run(&["get", "k"]).run().exits(2).complains_of("config.toml");
    home.run(&["get", "k", "-s", &server.addr()]).run().exits(1);
    home.run(&["get", "k"]).servers(server.addr()).run().exits(1);
    home.run(&["get", "k", "--context", "shop", "-s", &server.addr()]).run().exits(2).complains_of("config.toml");
    home.run(&["help", "get"]).run().exits(0);
}

#[test]
fn help_prints_the_help_of_a_command() {
    let run = remcache(["help", "context", "add"]).run().exits(0);
    assert!(run.text().contains("Usage: remcache context add"), "{run:?}");
    assert!(remcache(["help"]).run().exits(0).text().contains("delete-matching"));
    remcache(["help", "got"]).run().exits(2).complains_of("no command \"got\"");
}

#[test]
fn completions_offer_the_values_of_options_and_no_files() {
    let run = remcache(["completions", "bash"]).run().exits(0);
    let script = run.text();
    for (option, value) in
        [("--like", "twemproxy"), ("--distribution", "rendezvous"), ("--protocol", "meta"), ("--hash", "crc32")]
    {
        let case = script.split(&format!("                {option})\n")).nth(1).unwrap_or_else(|| panic!("{option}"));
        let reply = case.lines().next().unwrap();
        assert!(reply.contains("compgen -W") && reply.contains(value), "{option}: {reply}");
    }
    let context = script.split("                --context)\n").nth(1).unwrap();
    assert!(!context.lines().next().unwrap().contains("compgen -f"), "{context}");
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
        let run = add(args).exits(2).complains_of(word);
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
fn usage_errors_quote_hostile_arguments_escaped() {
    for args in
        [&["get", "k", "--format=\u{202e}\x1b[2J"][..], &["ge\x1b[2Jt\u{202e}"], &["get", "k", "--\u{202e}\x1b[2J"]]
    {
        let run = remcache(args).run().exits(2);
        assert!(!run.stderr.contains(['\u{202e}', '\x1b']), "{run:?}");
        assert!(run.stderr.contains("\\u{202e}") && run.stderr.contains("\\x1b"), "{run:?}");
    }
}
