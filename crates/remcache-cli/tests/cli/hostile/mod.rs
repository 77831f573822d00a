//! Hostile keys, values, statistics, versions, files and names: nothing of them may control a terminal, run as a
//! formula in a spreadsheet, or leave its directory. Every command is run with every output format.

mod data;
mod scenarios;

use remcache_testkit::scratch;

use crate::tool::{Run, commands, commands_of, remcache, values_of};
use data::{FakeServer, Hostile, arguments, is_unsafe, os_string, store};

const FORMATS: &[&str] = &["auto", "text", "json", "ndjson", "csv", "prometheus", "nagios"];

/// Commands with all hostile keys as arguments.
const WITH_KEYS: &[&[&str]] = &[
    &["get", "--meta"],
    &["get"],
    &["exists"],
    &["touch", "--ttl", "1h"],
    &["locate"],
    &["locate", "--explain"],
    &["locate", "--ask"],
    &["delete"],
];

/// Commands with one key and a value.
const WITH_A_KEY: &[&[&str]] =
    &[&["incr"], &["decr"], &["set", "--ttl", "1h"], &["add"], &["replace"], &["append"], &["prepend"]];

/// Commands that ask the servers.
const OF_SERVERS: &[&[&str]] = &[
    &["version"],
    &["ping", "-n", "1"],
    &["stats", "--total"],
    &["stats", "general", "--delta", "10ms"],
    &["stats", "items"],
    &["stats", "slabs"],
    &["stats", "settings"],
    &["stats", "settings", "--diff"],
    &["stats", "sizes"],
    &["stats", "conns"],
    &["stats", "conns", "--by-address"],
    &["check", "--interval", "10ms"],
    &["check", "--interval", "10ms", "--fail-if", "curr_items>0", "--warn-if", "nonsense>1"],
    &["doctor"],
    &["keys"],
    &["keys", "--count"],
    &["keys", "--tree", ":"],
    &["keys", "--sort", "size"],
    &["dump"],
    &["delete-matching", "*", "--dry-run"],
    &["delete-matching", "=*", "--yes"],
    &["ring", "balance", "--sample", "100", "--add", "a\u{202e}b"],
    &["ring", "diff", "--sample", "100", "--add", "=1+1"],
    &["ring", "profiles"],
    &["fill", "--yes", "--size", "500k"],
    &["bench", "--time", "20ms", "--keys", "10"],
    &["bench", "--time", "20ms", "--keys", "10", "--rate", "100", "--fail-if", "p50<1ns"],
    &["watch", "--for", "50ms"],
    &["hotkeys", "--for", "50ms"],
    &["hotkeys", "--by-prefix", ":", "--for", "50ms"],
    &["flush", "--yes"],
];

/// Commands without servers, with hostile arguments.
const LOCAL: &[&[&str]] = &[
    &["completions", "bash"],
    &["completions", "\u{202e}\x1b[2J"],
    &["man"],
    &["man", "-d", "/dev/null/\u{202e}\x1b[2J"],
    &["help"],
    &["help", "\u{202e}\x1b[2J"],
    &["context", "use", "\u{202e}\x1b[2J"],
    &["get", "k", "--tls-ca", "/nowhere/\u{202e}\x1b[2J"],
    &["get", "k", "-s", "\u{202e}\x1b[2J:\u{9b}"],
    &["get", "k", "--namespace", "\u{202e}\x1b[2J"],
    &["nonsense\u{202e}\x1b[2J"],
];

/// Runs a command and checks its output.
type Scenario = fn(&Hostile);

/// Commands that need more than arguments: files, terminals, signals.
const SCENARIOS: &[(&str, Scenario)] = &[
    ("context add", scenarios::contexts),
    ("context ls", scenarios::contexts),
    ("context rm", scenarios::contexts),
    ("context show", scenarios::contexts),
    ("context use", scenarios::contexts),
    ("copy", scenarios::copy),
    ("demo", scenarios::demo),
    ("dump", scenarios::dump),
    ("get", scenarios::directory),
    ("hotkeys", scenarios::logs),
    ("load", scenarios::load),
    ("ring", scenarios::files_of_keys),
    ("serve", scenarios::serve),
    ("serve-metrics", scenarios::serve_metrics),
    ("shell", scenarios::shell),
    ("top", scenarios::top),
    ("watch", scenarios::logs),
];

/// Checks everything that a run printed.
fn check(args: &[&str], run: &Run) {
    let line = args.join(" ").escape_debug().to_string();
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

/// Runs a command in every format, with these arguments after its own; returns how many runs printed something.
fn run_all(args: &[&str], keys: &[&[u8]], servers: &str) -> usize {
    let mut printed = 0;
    for format in FORMATS {
        // The structured formats have no colours.
        let colors: &[&str] = if *format == "text" { &["never", "always"] } else { &["never"] };
        for color in colors {
            let args = [args, &["--timeout", "20s", "-f", format, "--color", color]].concat();
            let tool = keys.iter().fold(remcache(&args), |tool, key| tool.arg(os_string(key)));
            let run = tool.servers(servers).run();
            printed += usize::from(!run.stdout.is_empty() || !run.stderr.is_empty());
            match *color {
                "never" => check(&args, &run),
                // Only the tool's own colours are allowed.
                _ => check(&args, &without_colors(run)),
            }
        }
    }
    printed
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

#[test]
fn every_command_is_covered() {
    let tables = [WITH_KEYS, WITH_A_KEY, OF_SERVERS, LOCAL].concat();
    let is_covered = |words: &[&str]| {
        let name = words.join(" ");
        tables.iter().any(|args| args.starts_with(words)) || SCENARIOS.iter().any(|(scenario, _)| *scenario == name)
    };
    for command in &commands() {
        let parts = commands_of(&[command]);
        if parts.is_empty() {
            assert!(is_covered(&[command]), "{command} is not run on hostile data");
        }
        for part in parts.iter().filter(|part| *part != "help") {
            assert!(is_covered(&[command, part]), "{command} {part} is not run on hostile data");
        }
    }
    for group in values_of(&["stats"]) {
        assert!(is_covered(&["stats", &group]), "stats {group} is not run on hostile data");
    }
    assert_eq!(values_of(&["version", "--format"]), FORMATS);
}

#[test]
fn keys_and_values_are_escaped() {
    let hostile = Hostile::start();
    let keys = arguments();
    for args in WITH_KEYS {
        store(&hostile.server);
        assert!(run_all(args, &keys, &hostile.name) > 4, "{args:?}");
    }
    store(&hostile.server);
    for key in [keys[0], keys[8]] {
        for args in WITH_A_KEY {
            run_all(args, &[key, b"1"], &hostile.name);
        }
    }
}

#[test]
fn names_of_servers_and_listed_keys_are_escaped() {
    let hostile = Hostile::start();
    for args in OF_SERVERS {
        assert!(run_all(args, &[], &hostile.name) > 0, "{args:?}");
        store(&hostile.server);
    }
}

#[test]
fn texts_of_a_server_are_escaped() {
    let server = FakeServer::start();
    for args in [OF_SERVERS, WITH_KEYS, WITH_A_KEY].concat() {
        let keys: &[&[u8]] = match (OF_SERVERS.contains(&args), WITH_A_KEY.contains(&args)) {
            (true, _) => &[],
            (false, true) => &[b"k", b"1"],
            (false, false) => &[b"k"],
        };
        run_all(&[args, &["--protocol", "text"]].concat(), keys, &server.address);
    }
}

#[test]
fn arguments_are_escaped() {
    let home = scratch();
    let home = home.path().to_str().expect("a path in UTF-8");
    for args in LOCAL {
        for format in FORMATS {
            let args = [*args, &["-f", format]].concat();
            check(&args, &remcache(&args).env("HOME", home).run());
        }
    }
}

#[test]
fn files_and_terminals_are_escaped() {
    let hostile = Hostile::start();
    let mut done: Vec<fn(&Hostile)> = Vec::new();
    for (_, scenario) in SCENARIOS {
        if !done.iter().any(|known| std::ptr::fn_addr_eq(*known, *scenario)) {
            done.push(*scenario);
            store(&hostile.server);
            scenario(&hostile);
        }
    }
}
