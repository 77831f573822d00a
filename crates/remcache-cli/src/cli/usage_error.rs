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

/// Returns the error with the option, or the command, that does what the unknown option does elsewhere.
fn suggest_option(mut error: Error) -> Error {
    let (Some(ContextValue::String(unknown)), Some(ContextValue::StyledStr(usage))) =
        (error.get(ContextKind::InvalidArg), error.get(ContextKind::Usage))
    else {
        return error;
    };
    let (unknown, usage) = (unknown.trim_start_matches('-').to_owned(), usage.to_string());
    // The usage of no command is that of the tool.
    let is_toplevel = usage.contains("<COMMAND>") && is_toplevel(&error);
    let applies = |command: &str| command.is_empty() || usage.contains(&format!(" {command} "));
    let meant = OPTION_SYNONYMS.iter().find(|(command, _, others)| applies(command) && others.contains(&&*unknown));
    let commands = meanings(&unknown);
    match meant {
        Some((_, option, _)) => {
            error.insert(ContextKind::SuggestedArg, ContextValue::String(format!("--{option}")));
        }
        None if is_toplevel && !commands.is_empty() => {
            error.remove(ContextKind::SuggestedArg);
            error.insert(ContextKind::SuggestedSubcommand, ContextValue::Strings(commands));
        }
        None => {}
    }
    error
}

/// Returns the error with the commands that do what the unknown one does elsewhere.
fn suggest(mut error: Error) -> Error {
    let unknown = match error.get(ContextKind::InvalidSubcommand) {
        Some(ContextValue::String(name)) => name.to_lowercase(),
        _ => return error,
    };
    let commands = meanings(&unknown);
    if !commands.is_empty() && is_toplevel(&error) {
        error.remove(ContextKind::Suggested);
        error.insert(ContextKind::SuggestedSubcommand, ContextValue::Strings(commands));
    }
    error
}

/// Returns the commands that a name of another tool means; hyphens and underscores make no difference.
fn meanings(name: &str) -> Vec<String> {
    let name = name.replace('_', "-");
    let commands = SYNONYMS.iter().filter(|(_, others)| others.contains(&&*name));
    commands.map(|(command, _)| (*command).to_owned()).collect()
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

/// Options of a command, or of every command, and what they are called in other tools.
const OPTION_SYNONYMS: &[(&str, &str, &[&str])] = &[
    ("bench", "time", &["duration", "execute_time", "seconds", "test-time"]),
    ("bench", "depth", &["callers", "clients", "concurrency", "parallel", "pipeline", "workers"]),
    ("bench", "conns", &["connections"]),
    ("bench", "rate", &["qps", "rps", "ops", "rate-limit", "rate-limiting", "throughput", "tps"]),
    ("bench", "ratio", &["command", "mix", "operations", "workload"]),
    ("bench", "size", &["data-size", "data-size-range", "fixed_size", "item-size", "value-size"]),
    ("bench", "keys", &["key-count", "key-maximum", "keyspace", "win_size"]),
    ("bench", "dist", &["distribution-of-keys", "key-pattern", "zipf"]),
    ("bench", "ttl", &["expiry", "expiry-range"]),
    ("bench", "json", &["json-out-file", "out-file", "output"]),
    ("bench", "hdr", &["hdr-file-prefix", "histogram"]),
    ("bench", "fail-if", &["threshold", "assert"]),
    ("hotkeys", "for", &["duration", "seconds"]),
    ("hotkeys", "top", &["limit", "max"]),
    ("hotkeys", "by-prefix", &["group-by", "tree"]),
    ("watch", "for", &["duration", "seconds"]),
    ("keys", "top", &["limit", "max"]),
    ("dump", "include-misplaced", &["misplaced"]),
    ("copy", "include-misplaced", &["misplaced"]),
    ("keys", "tree", &["group-by"]),
    ("keys", "glob", &["match", "pattern"]),
    ("flush", "yes", &["assume-yes", "force"]),
    ("delete-matching", "yes", &["assume-yes", "force"]),
    ("ping", "count", &["pings", "requests", "times"]),
    ("set", "ttl", &["ex", "exptime", "expire", "expiry"]),
    ("stats", "watch", &["follow", "interval"]),
    ("stats", "diff", &["compare"]),
    ("", "format", &["csv", "json", "ndjson", "output"]),
    ("", "server", &["addr", "address", "endpoint", "host", "hostname", "hosts", "port", "servers"]),
    ("", "password-file", &["auth", "pass", "password"]),
    ("", "user", &["username"]),
    ("", "tls", &["ssl", "tls-enabled"]),
    ("", "tls-ca", &["ca", "ca-cert", "cacert", "cafile"]),
    ("", "tls-cert", &["cert", "cert-file", "client-cert"]),
    ("", "tls-key", &["client-key", "key-file"]),
    ("", "tls-name", &["servername", "sni"]),
];

/// Commands, and what they are called in other tools and in the protocol.
const SYNONYMS: &[(&str, &[&str])] = &[
    ("add", &["setnx"]),
    (
        "bench",
        &[
            "benchmark",
            "load-test",
            "loadtest",
            "memaslap",
            "memcaslap",
            "memcslap",
            "memslap",
            "memtier",
            "perf",
            "stress",
        ],
    ),
    ("check", &["alert", "health", "healthcheck", "nagios", "probe"]),
    ("completions", &["complete", "completion"]),
    ("context", &["config", "contexts", "ctx", "get-contexts", "profile", "profiles"]),
    ("context use", &["use", "use-context"]),
    ("copy", &["clone", "cp", "migrate", "mirror", "move", "mv", "replicate", "sync", "warm", "warmup"]),
    ("decr", &["dec", "decrby", "decrement"]),
    ("delete", &["del", "erase", "md", "memcrm", "memrm", "remove", "rm", "unlink", "unset"]),
    ("delete-matching", &["clean", "delete-pattern", "delete-prefix", "invalidate", "prune", "purge"]),
    ("demo", &["example", "quickstart", "try", "tutorial"]),
    (
        "doctor",
        &[
            "audit",
            "cert",
            "certificate",
            "certificates",
            "certs",
            "diagnose",
            "evictions",
            "health",
            "healthcheck",
            "ssl",
            "tls",
        ],
    ),
    ("dump", &["backup", "export", "save"]),
    ("exists", &["has", "head", "memcexist", "memexist"]),
    ("fill", &["capacity", "populate"]),
    ("flush", &["clear", "flush-all", "flushall", "flushdb", "memcflush", "memflush", "reset", "wipe"]),
    ("get", &["cat", "fetch", "gat", "gets", "memccat", "memcat", "mget", "mg", "read", "show"]),
    ("get --meta", &["describe", "inspect", "me", "meta", "object", "pttl", "ttl"]),
    ("help", &["commands", "usage"]),
    ("hotkeys", &["hot", "hot-keys", "hottest", "mctop", "topkeys"]),
    ("hotkeys --by-prefix :", &["hit-rate", "hitrate", "hits", "prefix", "prefixes"]),
    ("incr", &["inc", "incrby", "increment", "ma"]),
    (
        "keys",
        &[
            "cachedump",
            "grep",
            "list",
            "ls",
            "lru-crawler",
            "memcdump",
            "memdump",
            "metadump",
            "mgdump",
            "scan",
            "search",
        ],
    ),
    ("keys --count", &["count", "dbsize"]),
    ("keys --sort size", &["big", "bigkeys", "largest", "mem", "memkeys", "memory", "size", "sizes"]),
    ("keys --tree :", &["du", "prefix", "prefixes", "tree"]),
    ("load", &["apply", "import", "pipe", "restore"]),
    ("locate", &["find", "hash", "node", "route", "shard", "where", "which"]),
    ("man", &["manual"]),
    ("ping", &["latency", "memcping", "memping", "rtt"]),
    ("ring", &["balance", "distribution", "ketama", "placement", "rebalance"]),
    ("ring diff", &["diff"]),
    ("serve", &["daemon", "memcached", "start"]),
    ("serve-metrics", &["exporter", "metrics", "prometheus"]),
    ("set", &["cas", "memccp", "memcp", "ms", "put", "setex", "store", "write"]),
    ("shell", &["cli", "connect", "console", "interactive", "nc", "raw", "repl", "telnet"]),
    ("stats", &["hit-rate", "hitrate", "hits", "info", "memcstat", "memory", "memstat", "servers", "stat", "status"]),
    ("stats conns", &["client", "clients", "connections", "conns"]),
    ("stats items", &["items", "lru"]),
    ("stats settings", &["config", "settings"]),
    ("stats settings --diff", &["diff"]),
    ("stats sizes", &["sizes"]),
    ("stats slabs", &["display", "slab", "slabs"]),
    ("top", &["dashboard", "htop", "live", "mtop", "tui", "ui"]),
    ("touch", &["expire", "memctouch", "memtouch", "persist", "ttl"]),
    ("version", &["ver", "versions"]),
    ("watch", &["events", "follow", "log", "logs", "monitor", "tail", "trace"]),
];

#[cfg(test)]
mod tests {
    use clap::error::ErrorKind;

    use super::*;

    #[test]
    fn synonyms_name_commands_and_are_none() {
        let definition = super::super::command();
        let names: Vec<_> = definition.get_subcommands().map(|command| command.get_name()).collect();
        for (line, others) in SYNONYMS {
            let parsed = definition.clone().try_get_matches_from(["remcache"].into_iter().chain(line.split(' ')));
            let lacks_argument = |error: &Error| error.kind() == ErrorKind::MissingRequiredArgument;
            let is_known = parsed.as_ref().map_or_else(lacks_argument, |_| true);
            let is_group = names.contains(line);
            assert!(is_known || is_group, "{line}: {:?}", parsed.err());
            let clash = others.iter().find(|other| names.contains(other));
            assert_eq!(clash, None, "{line}");
            assert!(others.iter().all(|other| !other.contains('_')), "{line}");
        }
        assert!(SYNONYMS.is_sorted_by_key(|(line, _)| *line));
    }

    #[test]
    fn synonyms_of_options_name_options_and_are_none() {
        let definition = super::super::command();
        for (command, option, others) in OPTION_SYNONYMS {
            let commands = definition.get_subcommands().filter(|known| known.get_name() == *command);
            let commands: Vec<_> =
                if command.is_empty() { definition.get_subcommands().collect() } else { commands.collect() };
            let has = |name: &str| {
                let is_named = |option: &clap::Arg| {
                    let aliases = option.get_all_aliases().unwrap_or_default();
                    option.get_long() == Some(name) || aliases.contains(&name)
                };
                let all = commands.iter().flat_map(|command| command.get_arguments());
                all.chain(definition.get_arguments()).any(is_named)
            };
            assert!(has(option), "{option}");
            // What some commands have may be unknown to others.
            assert!(command.is_empty() || others.iter().all(|other| !has(other)), "{others:?}");
        }
    }

    #[test]
    fn a_name_can_mean_several_commands() {
        assert_eq!(meanings("diff"), ["ring diff", "stats settings --diff"]);
        assert_eq!(meanings("flush_all"), ["flush"]);
        assert!(meanings("nonsense").is_empty());
    }
}
