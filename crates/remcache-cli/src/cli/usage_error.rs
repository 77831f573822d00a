//! Usage errors of the argument parser: quoted arguments are escaped, and names of other tools' commands explained.

use clap::Error;
use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue};

use crate::escape::{escape, escape_line};

/// Returns the error with everything escaped in the quoted arguments that could control a terminal.
pub(super) fn escaped(mut error: Error) -> Error {
    let argument = |text: &String| escape_line(text).into_owned();
    let tip = |text: &StyledStr| StyledStr::from(escape(&text.to_string()).into_owned());
    let quoted: Vec<_> = error.context().map(|(kind, value)| (kind, value.clone())).collect();
    for (kind, value) in quoted {
        let value = match value {
            ContextValue::String(text) => ContextValue::String(argument(&text)),
            ContextValue::Strings(texts) => ContextValue::Strings(texts.iter().map(argument).collect()),
            ContextValue::StyledStr(text) => ContextValue::StyledStr(tip(&text)),
            ContextValue::StyledStrs(texts) => ContextValue::StyledStrs(texts.iter().map(tip).collect()),
            other => other,
        };
        error.insert(kind, value);
    }
    suggest_option(suggest(error))
}

/// Returns the error with the option that does what the unknown one does elsewhere.
fn suggest_option(mut error: Error) -> Error {
    let (Some(ContextValue::String(unknown)), Some(ContextValue::StyledStr(usage))) =
        (error.get(ContextKind::InvalidArg), error.get(ContextKind::Usage))
    else {
        return error;
    };
    let usage = usage.to_string();
    let meant = OPTION_SYNONYMS.iter().find(|(command, _, others)| {
        usage.contains(&format!(" {command} ")) && others.iter().any(|other| *other == unknown.trim_start_matches('-'))
    });
    if let Some((_, option, _)) = meant {
        error.insert(ContextKind::SuggestedArg, ContextValue::String(format!("--{option}")));
    }
    error
}

/// Returns the error with the command that does what the unknown one does elsewhere.
fn suggest(mut error: Error) -> Error {
    let unknown = match error.get(ContextKind::InvalidSubcommand) {
        Some(ContextValue::String(name)) => name.to_lowercase(),
        _ => return error,
    };
    let meant = SYNONYMS.iter().find(|(_, others)| others.contains(&&*unknown));
    if let Some((command, _)) = meant.filter(|_| is_toplevel(&error)) {
        error.remove(ContextKind::Suggested);
        error.insert(ContextKind::SuggestedSubcommand, ContextValue::Strings(vec![(*command).to_owned()]));
    }
    error
}

/// Returns whether the command line ends at the commands themselves, and not at those of `context` or `ring`.
fn is_toplevel(error: &Error) -> bool {
    match error.get(ContextKind::Usage) {
        Some(ContextValue::StyledStr(usage)) => {
            !usage.to_string().contains(" context ") && !usage.to_string().contains(" ring ")
        }
        _ => true,
    }
}

/// Options of commands, and what they are called in other tools.
const OPTION_SYNONYMS: &[(&str, &str, &[&str])] = &[
    ("bench", "time", &["duration", "execute_time", "seconds", "test-time"]),
    ("bench", "depth", &["callers", "clients", "concurrency", "pipeline"]),
    ("bench", "conns", &["connections"]),
    ("bench", "size", &["data-size", "fixed_size", "value-size"]),
    ("bench", "keys", &["key-maximum", "win_size"]),
    ("bench", "dist", &["key-pattern"]),
    ("hotkeys", "for", &["duration", "seconds"]),
    ("watch", "for", &["duration", "seconds"]),
    ("keys", "top", &["limit", "max"]),
    ("stats", "watch", &["interval"]),
];

/// Commands, and what they are called in other tools and in the protocol.
const SYNONYMS: &[(&str, &[&str])] = &[
    ("bench", &["benchmark", "load-test", "memcaslap", "memslap", "memtier", "perf", "stress"]),
    ("copy", &["clone", "cp", "migrate", "move", "mv", "sync"]),
    ("delete", &["del", "remove", "rm", "unset"]),
    ("delete-matching", &["invalidate", "purge"]),
    ("doctor", &["diagnose", "health", "healthcheck"]),
    ("dump", &["backup", "export", "memdump", "save"]),
    ("exists", &["has", "memexist"]),
    ("flush", &["clear", "flush_all", "flush-all", "flushall", "flushdb", "memflush"]),
    ("get", &["cat", "fetch", "gat", "gets", "inspect", "memcat", "meta", "mget", "mg", "read", "show"]),
    ("hotkeys", &["hot", "hot-keys", "mctop"]),
    ("incr", &["inc", "increment"]),
    ("decr", &["dec", "decrement"]),
    ("keys", &["list", "ls", "metadump", "scan"]),
    ("load", &["import", "restore"]),
    ("locate", &["find", "where", "which"]),
    ("ping", &["memping"]),
    ("set", &["cas", "memcp", "ms", "put", "store", "write"]),
    ("serve-metrics", &["exporter", "metrics", "prometheus"]),
    ("shell", &["cli", "console", "repl"]),
    ("stats", &["conns", "info", "items", "memstat", "servers", "settings", "slabs", "stat", "status"]),
    ("touch", &["expire", "memtouch", "ttl"]),
    ("watch", &["log", "logs", "monitor", "tail"]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn synonyms_name_commands_and_are_none() {
        let definition = super::super::command();
        let names: Vec<_> = definition.get_subcommands().map(|command| command.get_name()).collect();
        for (command, others) in SYNONYMS {
            assert!(names.contains(command), "{command}");
            let clash = others.iter().find(|other| names.contains(other));
            assert_eq!(clash, None, "{command}");
        }
        let mut all: Vec<_> = SYNONYMS.iter().flat_map(|(_, others)| *others).collect();
        all.sort();
        let count = all.len();
        all.dedup();
        assert_eq!(all.len(), count, "a name has two meanings");
    }

    #[test]
    fn synonyms_of_options_name_options_and_are_none() {
        let definition = super::super::command();
        for (command, option, others) in OPTION_SYNONYMS {
            let command = definition.find_subcommand(command).expect(command);
            let has = |name: &str| {
                let is_named = |option: &clap::Arg| {
                    let aliases = option.get_all_aliases().unwrap_or_default();
                    option.get_long() == Some(name) || aliases.contains(&name)
                };
                command.get_arguments().chain(definition.get_arguments()).any(is_named)
            };
            assert!(has(option), "{option}");
            assert!(others.iter().all(|other| !has(other)), "{others:?}");
        }
    }
}
