//! Help texts: they explain all columns and fields, and usage errors name the option or command that was meant.

use remcache_testkit::Memcached;

use crate::tool::{commands, remcache};

/// Commands with tables, by the words that name the command.
const TABLES: &[(&[&str], &[&str])] = &[
    (&["stats"], &["--total"]),
    (&["stats"], &["--delta", "10ms"]),
    (&["stats"], &["items"]),
    (&["stats"], &["items", "--delta", "10ms"]),
    (&["stats"], &["slabs"]),
    (&["stats"], &["slabs", "--delta", "10ms"]),
    (&["stats"], &["settings"]),
    (&["stats"], &["sizes"]),
    (&["stats"], &["conns"]),
    (&["stats"], &["conns", "--by-address"]),
    (&["ping"], &["-n", "1"]),
    (&["keys"], &["--sort", "size"]),
    (&["keys"], &["--top", "2", "--misplaced"]),
    (&["keys"], &["--tree", ":"]),
    (&["keys"], &["--misplaced"]),
    (&["hotkeys"], &["--for", "10ms"]),
    (&["hotkeys"], &["--by-prefix", ":", "--for", "10ms"]),
    (&["check"], &[]),
    (&["doctor"], &[]),
    (&["ring", "balance"], &["--sample", "100", "--add", "other.invalid"]),
    (&["ring", "diff"], &["--sample", "100", "--add", "other.invalid"]),
    (&["bench"], &["--time", "10ms", "--keys", "10"]),
    (&["fill"], &["--size", "500k", "--yes"]),
];

/// Titles that say all there is to know.
const SELF_EXPLANATORY: &[&str] = &["SERVER", "CLASS", "KEY", "VERSION"];

#[test]
fn every_column_is_explained_by_the_help_of_its_command() {
    let servers = [Memcached::start(&["-m", "8"]), Memcached::start(&["-m", "8"])];
    let list = servers.each_ref().map(Memcached::addr).join(",");
    for number in 0..50 {
        remcache(["set", &format!("key:{number}"), "v"]).servers(servers[0].addr()).run().exits(0);
    }
    for (command, options) in TABLES {
        let args = [command, options, &["-f", "text"][..]].concat();
        let run = remcache(&args).servers(&list).run();
        let header = run.lines()[0].to_owned();
        assert!(header.len() > 5, "{args:?}: {run:?}");
        for help in ["-h", "--help"] {
            let help = remcache([command, &[help][..]].concat()).run().exits(0).text().to_owned();
            let (_, columns) = help.split_once("\nColumns").unwrap_or_else(|| panic!("{command:?}: {help}"));
            let words: Vec<&str> = columns.split([' ', ',', '\n', ':']).collect();
            let titles = header.split("  ").map(str::trim).filter(|title| !title.is_empty());
            for title in titles.filter(|title| !SELF_EXPLANATORY.contains(title)) {
                let is_explained = words.contains(&title) || (title.contains(' ') && columns.contains(title));
                assert!(is_explained, "{args:?}: {title} in {columns}");
            }
        }
    }
}

#[test]
fn fields_are_explained() {
    let all = remcache(["help", "fields"]).run().exits(0);
    for name in ["uncounted_gets", "item_size", "hash, hash_value", "belongs_to"] {
        assert!(all.lines().iter().any(|line| line.starts_with(&format!("{name}  "))), "{name}: {all:?}");
    }
    assert!(!all.text().contains(['`', '[', '|']), "{all:?}");
    let some = remcache(["help", "fields", "key_b64", "ttl"]).run().exits(0);
    let names: Vec<_> = some.lines().iter().skip(1).map(|line| line.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(names, ["key", "ttl"], "{some:?}");
    remcache(["help", "fields", "nonsense"]).run().exits(2).reports_error("no field or command \"nonsense\"");
    let shell = remcache(["shell", "--embedded", "1"]).input("help fields ttl\n").run().exits(0);
    assert_eq!(shell.text(), remcache(["help", "fields", "ttl"]).run().exits(0).text());
}

#[test]
fn fields_of_a_command_are_explained() {
    let names = |args: &[&str]| {
        let run = remcache([&["help", "fields"], args].concat()).run().exits(0);
        run.lines().iter().skip(1).map(|line| line.split(' ').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&["version"]), ["error", "server", "version"]);
    assert_eq!(names(&["version", "ttl"]), ["error", "server", "ttl", "version"]);
    remcache(["help", "fields", "serve"]).run().exits(2).reports_error("serve has no records");
}

/// The width that most terminals have at least, for readers whose width is unknown.
#[test]
fn help_in_a_pipe_has_80_columns() {
    for command in commands().iter().map(String::as_str).chain(["--help"]) {
        let run = remcache([command, "--help"]).run().exits(0);
        let longest = run.lines().into_iter().max_by_key(|line| line.chars().count()).unwrap_or_default().to_owned();
        assert!(longest.chars().count() <= 80, "{command}: {longest}");
    }
}

#[test]
fn options_of_other_tools_are_explained() {
    for (args, option) in [
        (&["bench", "--duration", "5s"][..], "--time"),
        (&["bench", "--clients=5"], "--depth"),
        (&["bench", "--data-size", "5"], "--size"),
        (&["hotkeys", "--duration", "5s"], "--for"),
        (&["watch", "--seconds", "5"], "--for"),
        (&["keys", "--limit", "5"], "--top"),
        (&["bench", "--rps", "5"], "--rate"),
        (&["hotkeys", "--tree", ":"], "--by-prefix"),
        (&["get", "k", "--host", "a"], "--server"),
        (&["stats", "--json"], "--format"),
        (&["--host", "a", "stats"], "--server"),
    ] {
        let run = remcache(args).run().exits(2);
        assert!(run.stderr.contains(&format!("a similar argument exists: '{option}'")), "{run:?}");
    }
}

#[test]
fn a_pattern_in_place_of_a_key_is_explained() {
    let server = Memcached::start(&[]);
    let missed = |args: &[&str]| remcache(args).servers(server.addr()).run().exits(1).stderr;
    let hint = "for a pattern: remcache delete-matching 'x*'";
    assert!(missed(&["delete", "x*"]).contains(hint), "{}", missed(&["delete", "x*"]));
    for args in [&["get", "x*"][..], &["get", "x*", "y", "-f", "json"]] {
        assert!(missed(args).contains("for a pattern: remcache keys 'x*'"), "{}", missed(args));
    }
    assert_eq!(missed(&["delete", "x"]), "");
    remcache(["set", "x*", "1"]).servers(server.addr()).run().exits(0);
    for command in ["get", "delete"] {
        assert_eq!(remcache([command, "x*"]).servers(server.addr()).run().exits(0).stderr, "");
    }
}

#[test]
fn aliases_mean_the_same() {
    let server = Memcached::start(&[]);
    for key in ["a:1", "a:2", "b:1", "c"] {
        remcache(["set", key, "1"]).servers(server.addr()).run().exits(0);
    }
    let text = |args: &[&str]| remcache(args).servers(server.addr()).run().exits(0).text().to_owned();
    let sorted = |args: &[&str]| {
        let mut lines: Vec<String> = text(args).lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&["keys", "a:*"]), ["a:1", "a:2"]);
    assert_eq!(sorted(&["keys", "a:*"]), sorted(&["keys", "--glob", "a:*"]));
    assert_eq!(text(&["keys", "--tree", ":"]), text(&["keys", "--by-prefix", ":"]));
    assert_eq!(text(&["keys", "--top", "3"]), text(&["keys", "--sort", "size", "--top", "3"]));
    assert_eq!(text(&["keys", "--tree", ":", "--top", "1"]).lines().count(), 2);
    for command in ["bench", "hotkeys", "watch"] {
        for option in ["--for", "--time"] {
            let run = remcache([command, option, "10ms"]).servers(server.addr()).run().exits(0);
            assert!(run.stderr.is_empty() || command != "bench", "{run:?}");
        }
    }
    for help in ["-h", "--help"] {
        assert!(text(&["keys", help]).contains("--by-prefix"), "{}", text(&["keys", help]));
        for command in ["bench", "hotkeys", "watch"] {
            let option = if command == "bench" { "--time <TIME>" } else { "--for <TIME>" };
            assert!(text(&[command, help]).contains(option), "{}", text(&[command, help]));
        }
    }
}
