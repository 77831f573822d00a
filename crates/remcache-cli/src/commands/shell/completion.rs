//! Completions of a line of the shell: commands, their flags, and keys on the servers.

use std::sync::{Arc, Mutex, PoisonError};

use clap::{Arg, Command};
use rustyline::completion::{Completer, Pair};
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::Validator;
use rustyline::{Context, Helper};

use super::protocol::{COMMANDS, META_FLAGS, ProtocolCommand};
use crate::context::STARTUP_ONLY;

/// The commands of the shell itself.
pub(super) const OWN: &[(&str, &str)] = &[
    ("help", "List the commands, or show the options of one"),
    ("raw", "Send a line of the protocol as it is: raw get a b"),
    ("quit", "End the shell; so does Ctrl-D"),
];

/// Keys that the servers hold, as far as they were looked at.
#[derive(Clone, Debug, Default)]
pub(super) struct KnownKeys(Arc<Mutex<Vec<String>>>);

impl KnownKeys {
    /// Replaces them.
    pub(super) fn set(&self, mut keys: Vec<String>) {
        keys.sort_unstable();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = keys;
    }

    fn beginning(&self, with: &str) -> Vec<String> {
        let keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        keys.iter().filter(|key| key.starts_with(with)).take(MOST_KEYS).cloned().collect()
    }
}

/// More keys than this are no choice any more.
const MOST_KEYS: usize = 100;

/// A word that may come next, and what it means.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Candidate {
    text: String,
    /// The text with its arguments.
    usage: String,
    help: String,
}

impl Candidate {
    fn new(text: impl Into<String>, help: impl Into<String>) -> Self {
        let text = text.into();
        Self { usage: text.clone(), text, help: help.into() }
    }
}

/// The source of completions.
#[derive(Debug)]
pub(super) struct Completion {
    commands: Command,
    keys: KnownKeys,
    /// The prefix of keys on the servers, which keys in commands of the tool do not have.
    namespace: String,
}

impl Completion {
    pub(super) fn new(mut commands: Command, keys: KnownKeys, namespace: String) -> Self {
        commands.build();
        Self { commands, keys, namespace }
    }

    /// Returns the start of the last word of a line, and its candidates.
    fn candidates(&self, line: &str) -> (usize, Vec<Candidate>) {
        let start = line.rfind(' ').map_or(0, |at| at + 1);
        let (before, current) = line.split_at(start);
        let words: Vec<&str> = before.split_whitespace().collect();
        let all = match &words[..] {
            [] => self.commands(),
            ["raw"] => COMMANDS.iter().map(|word| Candidate::new(word.name, word.help)).collect(),
            ["help"] => self.commands(),
            ["man"] => subcommands(&self.commands).collect(),
            ["help" | "man", name] => self.commands.find_subcommand(name).into_iter().flat_map(subcommands).collect(),
            ["raw", name, rest @ ..] => self.protocol(name, rest.len() + 1, current),
            [name, rest @ ..] => match self.commands.find_subcommand(name) {
                Some(command) => self.tool(command, rest, current),
                None => self.protocol(name, rest.len() + 1, current),
            },
        };
        (start, all.into_iter().filter(|candidate| candidate.text.starts_with(current)).collect())
    }

    fn commands(&self) -> Vec<Candidate> {
        let own = OWN.iter().map(|(name, help)| Candidate::new(*name, *help));
        let is_tools = |name: &str| self.commands.find_subcommand(name).is_some();
        let protocol =
            COMMANDS.iter().filter(|word| !is_tools(word.name)).map(|word| Candidate::new(word.name, word.help));
        own.chain(subcommands(&self.commands)).chain(protocol).collect()
    }

    /// Returns the candidates for a word of a line of the protocol.
    fn protocol(&self, name: &str, index: usize, current: &str) -> Vec<Candidate> {
        let Some(word) = COMMANDS.iter().find(|word| word.name == name) else { return Vec::new() };
        let has_many_keys = |word: &ProtocolCommand| matches!(word.name, "get" | "gets" | "gat" | "gats");
        match word.key {
            Some(key) if index == key || (index > key && has_many_keys(word)) => self.keys_beginning(current, ""),
            Some(_) if name.starts_with('m') && index > word.length.unwrap_or(1) => {
                META_FLAGS.iter().map(|(flag, help)| Candidate::new(*flag, *help)).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Returns the candidates for the next word of a command of the tool.
    fn tool<'c>(&self, mut command: &'c Command, words: &[&str], current: &str) -> Vec<Candidate> {
        let mut given = 0;
        let mut expected: Option<&'c Arg> = None;
        for word in words {
            expected = if expected.is_some() { None } else { option(command, word) };
            match command.find_subcommand(word) {
                Some(inner) => (command, given) = (inner, 0),
                None if !word.starts_with('-') && expected.is_none() => given += 1,
                None => {}
            }
        }
        if let Some(option) = expected {
            return values(option);
        }
        if current.starts_with('-') {
            return command.get_arguments().filter_map(flag).collect();
        }
        let positional = command.get_positionals().nth(given).or_else(|| {
            command
                .get_positionals()
                .last()
                .filter(|last| last.get_num_args().is_some_and(|most| most.max_values() > 1))
        });
        let mut next: Vec<_> = subcommands(command).collect();
        if let Some(positional) = positional {
            next.extend(values(positional));
            if matches!(positional.get_id().as_str(), "key" | "keys") {
                next.extend(self.keys_beginning(current, &self.namespace));
            }
        }
        next
    }

    /// Returns keys as candidates, without the prefix that the tool adds itself.
    fn keys_beginning(&self, with: &str, namespace: &str) -> Vec<Candidate> {
        let keys = self.keys.beginning(&format!("{namespace}{with}")).into_iter();
        keys.filter_map(|key| Some(Candidate::new(key.strip_prefix(namespace)?, ""))).collect()
    }
}

fn subcommands(command: &Command) -> impl Iterator<Item = Candidate> {
    command.get_subcommands().filter(|command| command.get_name() != "shell" && command.get_name() != "help").map(
        |command| Candidate::new(command.get_name(), command.get_about().map(ToString::to_string).unwrap_or_default()),
    )
}

/// Returns the option that a word names, if it takes a value that is not part of the word.
fn option<'c>(command: &'c Command, word: &str) -> Option<&'c Arg> {
    let is_named = |option: &&Arg| match word.strip_prefix("--") {
        Some(long) => option.get_long() == Some(long),
        None => option.get_short().is_some_and(|short| word.strip_prefix('-') == Some(short.encode_utf8(&mut [0; 4]))),
    };
    command.get_arguments().find(is_named).filter(|option| option.get_action().takes_values())
}

fn values(option: &Arg) -> Vec<Candidate> {
    let value = |value: clap::builder::PossibleValue| {
        Candidate::new(value.get_name(), value.get_help().map(ToString::to_string).unwrap_or_default())
    };
    option.get_possible_values().into_iter().map(value).collect()
}

fn flag(option: &Arg) -> Option<Candidate> {
    let long = option.get_long().filter(|long| !STARTUP_ONLY.contains(long))?;
    let text = format!("--{long}");
    let names = option.get_value_names().filter(|_| option.get_action().takes_values());
    let value = names.and_then(<[_]>::first).map(|name| format!(" {name}")).unwrap_or_default();
    let help = option.get_help().map(ToString::to_string).unwrap_or_default();
    Some(Candidate { usage: format!("{text}{value}"), text, help })
}

impl Completer for Completion {
    type Candidate = Pair;

    fn complete(&self, line: &str, position: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let (start, candidates) = self.candidates(line.get(..position).unwrap_or(line));
        let is_only = candidates.len() == 1;
        let pair = |candidate: Candidate| {
            let display = match candidate.help.is_empty() {
                true => candidate.usage,
                false => format!("{:<24} {}", candidate.usage, candidate.help),
            };
            let end = if is_only { " " } else { "" };
            Pair { display: cut(&display), replacement: candidate.text + end }
        };
        Ok((start, candidates.into_iter().map(pair).collect()))
    }
}

/// Returns the first line, as far as it fits most terminals.
fn cut(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    match line.char_indices().nth(MOST_COLUMNS) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line.to_owned(),
    }
}

const MOST_COLUMNS: usize = 77;

impl Hinter for Completion {
    type Hint = String;
}

impl Highlighter for Completion {}

impl Validator for Completion {}

impl Helper for Completion {}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(line: &str) -> Vec<String> {
        let keys = KnownKeys::default();
        keys.set(["ns:user:1", "ns:user:2", "cfg:1"].map(Into::into).to_vec());
        let completion = Completion::new(crate::cli::command(), keys, "ns:".into());
        completion.candidates(line).1.into_iter().map(|candidate| candidate.text).collect()
    }

    #[test]
    fn words_are_completed_by_their_place() {
        let cases: [(&str, &[&str]); 18] = [
            ("pi", &["ping"]),
            ("mg", &["mg"]),
            ("qu", &["quit"]),
            ("mg ns:us", &["ns:user:1", "ns:user:2"]),
            ("mg cfg:1 h", &["h"]),
            ("raw get cfg:1 ns:user:1", &["ns:user:1"]),
            ("raw ver", &["version", "verbosity"]),
            ("get us", &["user:1", "user:2"]),
            ("get user:1 user:2", &["user:2"]),
            ("set us", &["user:1", "user:2"]),
            ("set user:1 us", &[]),
            ("set --tt", &["--ttl"]),
            ("stats sl", &["slabs"]),
            ("stats --format js", &["json"]),
            ("context u", &["use"]),
            ("help to", &["top", "touch"]),
            ("man to", &["top", "touch"]),
            ("help context u", &["use"]),
        ];
        for (line, expected) in cases {
            let mut found = after(line);
            found.sort_by_key(|text| expected.iter().position(|one| one == text));
            assert_eq!(found, expected, "{line:?}");
        }
        assert!(after("nonsense us").is_empty() && !after("").contains(&"shell".to_owned()));
    }

    #[test]
    fn flags_come_with_what_they_mean() {
        let completion = Completion::new(crate::cli::command(), KnownKeys::default(), String::new());
        let (start, found) = completion.candidates("touch k --tt");
        assert_eq!((start, found[0].usage.as_str()), (8, "--ttl TIME"));
        assert!(found[0].help.starts_with("The time to live"), "{found:?}");
        assert!(cut(&"é".repeat(200)).chars().count() == MOST_COLUMNS + 1);
    }
}
