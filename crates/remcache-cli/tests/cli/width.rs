//! Tables, messages and help pages fit the terminal.

use remcache_testkit::{Memcached, unused_port};
use unicode_width::UnicodeWidthStr as _;

use crate::tool::{Run, commands, remcache};

/// Returns what a terminal shows of a run: its lines without colours.
fn shown(run: &Run) -> Vec<String> {
    let mut text = String::from_utf8(run.stdout.clone()).expect("the output is UTF-8");
    for color in ["\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[4m", "\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[36m"] {
        text = text.replace(color, "");
    }
    // The answer was typed before the question, so its line end is not displayed after it.
    let text = text.replace("[y/N] ", "[y/N]\n");
    // A progress bar is drawn over itself.
    text.lines().map(|line| line.rsplit('\r').next().unwrap_or_default().to_owned()).collect()
}

fn check(args: &[&str], columns: u16, run: &Run) {
    let lines = shown(run);
    assert!(!lines.is_empty(), "{args:?}: {run:?}");
    for line in lines.iter().filter(|line| !line.contains('\x1b')) {
        assert!(line.width() <= columns.into(), "{args:?} at {columns}: {}\n{}", line.width(), lines.join("\n"));
    }
}

/// Commands whose output has tables or sentences.
const OUTPUTS: &[&[&str]] = &[
    &["version"],
    &["ping", "-n", "1"],
    &["stats"],
    &["stats", "--total"],
    &["stats", "items"],
    &["stats", "slabs", "--delta", "10ms"],
    &["stats", "settings", "--diff"],
    &["stats", "conns"],
    &["stats", "conns", "--by-address"],
    &["check", "--interval", "10ms", "--fail-if", "curr_items>0", "--warn-if", "memory%>90", "--warn-if", "nonsense>1"],
    &["doctor"],
    &["keys", "--tree", ":"],
    &["keys", "--sort", "size"],
    &["delete-matching", "user:*", "--dry-run"],
    &["ring", "balance", "--sample", "1k"],
    &["ring", "balance", "--sample", "1k", "--add", "cache4.example.com:11211", "--add", "cache5.example.com:11211"],
    &["ring", "diff", "--sample", "1k", "--add", "cache4.example.com:11211"],
    &["ring", "profiles"],
    &["locate", "user:1"],
    &["locate", "user:1", "--explain"],
    &["locate", "user:1", "--ask"],
    &["get", "--meta", "user:1"],
    &["get", "none", "--ttl", "none"],
    &["bench", "--time", "100ms"],
    &["bench", "--time", "100ms", "--rate", "1k", "--fail-if", "p50<1ns"],
    &["fill", "--size", "500k", "--yes"],
    &["hotkeys", "--for", "100ms"],
    &["flush"],
    &["delete-matching", "user:*", "--min-size", "1", "--idle-above", "1ms", "--prefix", "user:"],
    &["context", "ls"],
    &["context", "show", "a-long-name-of-a-context"],
];

#[test]
fn outputs_fit_80_and_120_columns() {
    let servers = [Memcached::start(&["-m", "8"]), Memcached::start(&["-m", "8", "-C"])];
    let dead = format!("127.0.0.1:{}", unused_port());
    let list = format!("{},{},{dead}", servers[0].addr(), servers[1].addr());
    let home = remcache_testkit::scratch();
    let home = home.path().to_str().expect("a path in UTF-8");
    let many = (1..=9).map(|number| format!("cache{number}.example.com:11211")).collect::<Vec<_>>().join(",");
    remcache(["context", "add", "a-long-name-of-a-context", "-s", &many, "--production"])
        .env("HOME", home)
        .run()
        .exits(0);
    for args in OUTPUTS {
        for key in ["user:1", "user:2", "user:3"] {
            remcache(["set", key, &"value".repeat(40)]).servers(&list).run();
        }
        for columns in [80, 120] {
            let run = remcache(*args).servers(&list).env("HOME", home).columns(columns).run_on_terminal("n\n");
            assert_ne!(run.exit, Some(101), "{run:?}");
            check(args, columns, &run);
        }
    }
}

#[test]
fn tables_become_blocks_on_a_narrow_terminal() {
    let server = Memcached::start(&[]);
    for args in [&["stats"][..], &["ping", "-n", "1"], &["stats", "conns"], &["bench", "--time", "50ms"], &["doctor"]] {
        let run = remcache(args).servers(server.addr()).columns(40).run_on_terminal("");
        check(args, 40, &run);
        assert!(run.text().contains(&server.addr()) || args[0] == "bench", "{run:?}");
    }
}

#[test]
fn help_fits_80_columns() {
    let parts = [&["context", "add"][..], &["context", "ls"], &["ring", "balance"], &["ring", "diff"]];
    let commands = commands();
    let all = commands.iter().map(|command| vec![&**command]).chain(parts.iter().map(|part| part.to_vec()));
    for command in all.chain([vec![]]) {
        for help in ["-h", "--help"] {
            let args = [&command[..], &[help]].concat();
            check(&args, 80, &remcache(&args).columns(80).run_on_terminal("").exits(0));
        }
        let args = [&["help"], &command[..]].concat();
        check(&args, 80, &remcache(&args).columns(80).run_on_terminal("").exits(0));
    }
}
