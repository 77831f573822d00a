//! The fields of the structured formats: names and types are those of `docs/fields.md` in all commands.

use std::collections::{BTreeMap, BTreeSet};

use remcache_testkit::Memcached;
use serde_json::Value;

use crate::tool::{commands, remcache};

/// Returns the cells of the rows of documented tables with this number of columns, without markup.
fn rows(columns: usize) -> impl Iterator<Item = Vec<Vec<&'static str>>> {
    let rows = include_str!("../../docs/fields.md").lines().filter(|line| line.starts_with("| `"));
    let names = |cell: &'static str| cell.trim().split(", ").map(|name| name.trim_matches('`')).collect();
    rows.map(move |row| row.trim_matches('|').split('|').map(names).collect::<Vec<_>>())
        .filter(move |cells| cells.len() == columns)
}

/// Returns the types of the documented fields, by name.
fn documented() -> BTreeMap<&'static str, BTreeSet<&'static str>> {
    let mut fields = BTreeMap::new();
    for cells in rows(3) {
        let types: BTreeSet<&str> = cells[1].iter().copied().collect();
        for name in &cells[0] {
            assert!(fields.insert(*name, types.clone()).is_none(), "{name} is listed twice");
        }
    }
    fields
}

/// Returns the documented fields of each command.
fn documented_of_commands() -> BTreeMap<&'static str, BTreeSet<&'static str>> {
    let cells = rows(2);
    cells
        .flat_map(|cells| {
            cells[0].clone().into_iter().map(move |command| (command, cells[1].iter().copied().collect()))
        })
        .collect()
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(true) => "true",
        Value::Bool(false) => "false",
        Value::Number(_) => "number",
        Value::String(_) => "text",
        Value::Array(_) => "list",
        Value::Object(_) => "object",
    }
}

/// A command with records, and the additional fields that it may have.
struct Case {
    args: &'static [&'static str],
    other: fn(&str) -> bool,
}

const fn case(args: &'static [&'static str]) -> Case {
    Case { args, other: |_| false }
}

/// Reasons why items are skipped, which `docs/bulk.md` lists.
fn is_skip_reason(name: &str) -> bool {
    include_str!("../../docs/bulk.md").contains(&format!("`{name}`"))
}

const CASES: &[Case] = &[
    case(&["set", "new", "1"]),
    case(&["add", "new", "1"]),
    case(&["replace", "new", "1"]),
    case(&["append", "new", "1"]),
    case(&["prepend", "new", "1"]),
    case(&["get", "a:1", "none"]),
    case(&["get", "--meta", "a:1", "a:2"]),
    case(&["exists", "a:1", "none"]),
    case(&["touch", "--ttl", "1h", "a:1", "none"]),
    case(&["incr", "n"]),
    case(&["decr", "n"]),
    case(&["delete", "gone", "none"]),
    case(&["version"]),
    case(&["ping", "--count", "1"]),
    case(&["locate", "a:1"]),
    case(&["locate", "--explain", "--like", "libmemcached-ketama", "a:1"]),
    case(&["locate", "--explain", "a:1"]),
    case(&["locate", "--ask", "a:1"]),
    case(&["ring", "balance"]),
    case(&["ring", "balance", "--add", "other.invalid"]),
    case(&["ring", "diff", "--add", "other.invalid"]),
    case(&["ring", "profiles"]),
    case(&["stats"]),
    case(&["stats", "--delta", "100ms"]),
    case(&["stats", "slabs"]),
    case(&["stats", "items"]),
    case(&["stats", "settings"]),
    case(&["stats", "settings", "--diff"]),
    case(&["stats", "conns"]),
    case(&["stats", "conns", "--by-address"]),
    case(&["keys"]),
    case(&["keys", "--misplaced"]),
    case(&["keys", "--count"]),
    case(&["keys", "--sort", "size", "--top", "2"]),
    case(&["keys", "--tree", ":", "--depth", "1"]),
    case(&["check", "--warn-if", "memory%>1"]),
    case(&["doctor"]),
    case(&["hotkeys", "--for", "300ms"]),
    case(&["hotkeys", "--by-prefix", ":", "--for", "300ms"]),
    case(&["bench", "--time", "200ms", "--keys", "10"]),
    case(&["bench", "--time", "200ms", "--keys", "10", "--rate", "100", "--fail-if", "p50<1ns"]),
    Case { args: &["delete-matching", "a:*", "--dry-run"], other: is_skip_reason },
    Case { args: &["delete-matching", "gone", "--yes"], other: is_skip_reason },
    case(&["fill", "--size", "1k", "--yes"]),
    case(&["flush", "--yes"]),
];

/// Returns the names and types of the fields in a run's output, one document per line or one list.
fn fields(text: &str, line: &str) -> Vec<(String, &'static str)> {
    let documents = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    let documents = documents.map(|document| document.unwrap_or_else(|error| panic!("{line}: {error} in {text}")));
    let records = documents.flat_map(|document| match document {
        Value::Array(records) => records,
        record => vec![record],
    });
    let fields = records.flat_map(|record| match record {
        Value::Object(fields) => fields.into_iter().collect::<Vec<_>>(),
        other => panic!("{line}: {other} is not a record"),
    });
    fields.map(|(name, value)| (name, type_of(&value))).collect()
}

#[test]
fn every_field_is_in_the_table_with_its_type() {
    let documented = documented();
    let servers = [Memcached::start(&["-m", "4"]), Memcached::start(&["-m", "4", "-t", "2"])];
    let list = servers.each_ref().map(Memcached::addr).join(",");
    let mut seen = BTreeSet::new();
    let mut seen_in = BTreeMap::<&str, BTreeSet<String>>::new();
    for case in CASES {
        for key in ["a:1", "a:2", "gone", "n"] {
            remcache(["set", key, "1", "--ttl", "1h"]).servers(&list).run().exits(0);
        }
        for format in ["json", "ndjson", "csv"] {
            let line = format!("{} -f {format}", case.args.join(" "));
            let args = [case.args, &["-f", format, "--timeout", "20s"]].concat();
            let run = remcache(&args).servers(&list).run();
            assert!(!matches!(run.exit, None | Some(2 | 101)), "{line}: {run:?}");
            let text = String::from_utf8(run.stdout.clone()).expect("text");
            let found = match format {
                "csv" => text.lines().next().unwrap_or_default().split(',').map(|name| (name.to_owned(), "")).collect(),
                _ => fields(&text, &line),
            };
            for (name, kind) in found {
                let plain = name.strip_suffix("_b64").unwrap_or(&name);
                if (case.other)(plain) {
                    continue;
                }
                let types = documented.get(plain);
                let types = types.unwrap_or_else(|| panic!("{line}: `{name}` is not in docs/fields.md"));
                assert!(kind.is_empty() || types.contains(kind), "{line}: `{name}` is {kind}, not {types:?}");
                seen.insert(plain.to_owned());
                seen_in.entry(case.args[0]).or_default().insert(plain.to_owned());
            }
        }
    }
    let unseen: Vec<_> =
        documented.keys().filter(|name| !seen.contains(**name) && !ELSEWHERE.contains(*name)).collect();
    assert!(unseen.is_empty(), "no command has these fields of the table: {unseen:?}");
    let of_commands = documented_of_commands();
    for (command, fields) in &of_commands {
        let unknown: Vec<_> = fields.iter().filter(|name| !documented.contains_key(**name)).collect();
        assert!(unknown.is_empty(), "{command}: {unknown:?}");
    }
    let differences = seen_in.into_iter().filter_map(|(command, seen)| {
        let listed = of_commands.get(command).unwrap_or_else(|| panic!("{command} has no row: {seen:?}"));
        let missing: Vec<_> = seen.iter().filter(|name| !listed.contains(&***name)).collect();
        let is_absent = |name: &&&str| !seen.contains(**name) && !ELSEWHERE.contains(*name);
        let surplus: Vec<_> = listed.iter().filter(is_absent).collect();
        let is_equal = missing.is_empty() && surplus.is_empty();
        (!is_equal).then(|| format!("{command} lacks {missing:?}, and does not have {surplus:?}\n"))
    });
    assert_eq!(differences.collect::<String>(), "", "the table of commands differs from their records");
}

/// Fields that other tests check, because they need contexts, files, events, failures or busy servers.
const ELSEWHERE: &[&str] = &[
    "column",
    "command",
    "context",
    "event",
    // Within the rates of statistics and the operations of a load.
    "evictions_per_second",
    "latency_us",
    "file",
    "gets",
    "in_use",
    "line",
    "option",
    "out_bytes_per_second",
    "problem",
    "production",
    "reason",
    "size",
    "time",
    "uncounted_gets",
    // In the file that `top` exports.
    "hit_percent_10s",
    "hit_percent_all",
    "ping_us",
    "sets_per_second",
];

/// Every command has its records checked, or has no records.
#[test]
fn every_command_is_checked() {
    for name in commands() {
        let is_checked = CASES.iter().any(|case| case.args[0] == name);
        assert!(is_checked != WITHOUT_RECORDS.contains(&&*name), "{name}");
    }
}

/// Commands without records, and those whose own tests compare the records.
const WITHOUT_RECORDS: &[&str] = &[
    "demo",
    "serve",
    "dump",
    "load",
    "copy",
    "watch",
    "shell",
    "top",
    "serve-metrics",
    "context",
    "completions",
    "man",
    "help",
];

/// The fields of log events have documented names.
#[test]
fn events_have_the_fields_of_the_table() {
    let documented = documented();
    let server = Memcached::start(&[]);
    let mut watch =
        remcache(["watch", "mutations", "fetchers", "--for", "3s", "-f", "ndjson"]).servers(server.addr()).spawn();
    while watch.try_wait().expect("a child").is_none() {
        remcache(["set", "k", "v"]).servers(server.addr()).run().exits(0);
        remcache(["get", "k"]).servers(server.addr()).run().exits(0);
    }
    let output = watch.wait_with_output().expect("it ends");
    let text = String::from_utf8(output.stdout).expect("text");
    let found = fields(&text, "watch");
    for name in ["server", "time", "event", "key", "command", "ttl", "class", "size"] {
        let types = &documented[name];
        let kinds: BTreeSet<_> = found.iter().filter(|(found, _)| found == name).map(|(_, kind)| *kind).collect();
        assert!(!kinds.is_empty() && kinds.is_subset(types), "{name}: {kinds:?} in {text}");
    }
    let listed = &documented_of_commands()["watch"];
    assert!(found.iter().all(|(name, _)| listed.contains(&**name)), "{text}");
}
