//! Contexts: named sets of global options in a file, one of which may be the current one.
//!
//! An option of a context is the default of that option: the environment and the command line override it.

use std::ops::Range;
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};
use clap_complete::CompletionCandidate;
use toml_edit::{Array, DocumentMut, Item, Table, Value, value};

use crate::atomic_file;
use crate::exit::Failure;

/// The contexts file.
#[derive(Debug)]
pub(crate) struct Contexts {
    path: PathBuf,
    document: DocumentMut,
}

/// The context whose options apply to this run.
#[derive(Clone, Debug)]
pub(crate) struct ActiveContext {
    pub(crate) name: String,
    /// Whether commands that remove items ask for the name of the context.
    pub(crate) is_production: bool,
}

/// Options by their long names, each with its values.
pub(crate) type Settings = Vec<(String, Vec<String>)>;

/// The field that marks a context as production; it is not an option.
const PRODUCTION: &str = "production";

impl Contexts {
    /// Reads the contexts file; a missing file has no contexts.
    pub(crate) fn read() -> Result<Self, Failure> {
        Self::read_from(path()?)
    }

    /// Reads the contexts file, if the environment says where it is.
    pub(crate) fn read_if_any() -> Result<Option<Self>, Failure> {
        path().ok().map(Self::read_from).transpose()
    }

    fn read_from(path: PathBuf) -> Result<Self, Failure> {
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(Failure::file(&path, error)),
        };
        let document = text.parse().map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
        Ok(Self { path, document })
    }

    /// Replaces the contexts file. Only its owner can read it: URLs may hold passwords.
    pub(crate) fn write(&self) -> Result<(), Failure> {
        if let Some(directory) = self.path.parent() {
            std::fs::create_dir_all(directory).map_err(|error| Failure::file(&self.path, error))?;
        }
        atomic_file::write_private(&self.path, self.document.to_string().as_bytes())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the names of the contexts, in the order of the file.
    pub(crate) fn names(&self) -> Vec<&str> {
        self.table().map(|table| table.iter().map(|(name, _)| name).collect()).unwrap_or_default()
    }

    /// Returns the context that applies unless another is named.
    pub(crate) fn current(&self) -> Option<&str> {
        self.document.get("current")?.as_str()
    }

    /// Makes a context the current one.
    pub(crate) fn set_current(&mut self, name: &str) -> Result<(), Failure> {
        self.get(name)?;
        self.document["current"] = value(name);
        Ok(())
    }

    /// Removes a context; returns whether it was the current one, in which case no context is current.
    pub(crate) fn remove(&mut self, name: &str) -> Result<bool, Failure> {
        self.get(name)?;
        if let Some(contexts) = self.document.get_mut("contexts").and_then(Item::as_table_mut) {
            contexts.remove(name);
        }
        let was_current = self.current() == Some(name);
        if was_current {
            self.document.remove("current");
        }
        Ok(was_current)
    }

    /// Adds a context, or replaces it.
    pub(crate) fn add(&mut self, name: &str, settings: &Settings, is_production: bool) -> Result<(), Failure> {
        let mut table = Table::new();
        for (option, values) in settings {
            table[option] = match &values[..] {
                [one] if option != "server" => value(one),
                many => value(many.iter().collect::<Array>()),
            };
        }
        if is_production {
            table[PRODUCTION] = value(true);
        }
        let contexts = self.document.entry("contexts").or_insert_with(|| {
            let mut contexts = Table::new();
            contexts.set_implicit(true);
            Item::Table(contexts)
        });
        let contexts = contexts.as_table_mut();
        let contexts =
            contexts.ok_or_else(|| Failure::usage(format!("{}: contexts is not a table", self.path.display())))?;
        contexts.insert(name, Item::Table(table));
        Ok(())
    }

    /// Returns the options of a context; unknown ones are errors.
    pub(crate) fn settings(&self, name: &str, command: &Command) -> Result<Settings, Failure> {
        let mut settings = Vec::new();
        for (option, item) in self.get(name)?.iter().filter(|(option, _)| *option != PRODUCTION) {
            let fail = |error: String| Failure::usage(format!("{}: context {name}: {error}", self.path.display()));
            if !storable(command).any(|known| known == option) {
                let known: Vec<_> = storable(command).collect();
                return Err(fail(format!("unknown option {option:?}; known are {PRODUCTION}, {}", known.join(", "))));
            }
            let values = item.as_value().and_then(texts);
            settings.push((
                option.to_owned(),
                values.ok_or_else(|| fail(format!("{option} is not a text, number or list")))?,
            ));
        }
        Ok(settings)
    }

    /// Checks that every option of a context exists and has a valid value.
    pub(crate) fn check(&self, name: &str, command: &Command) -> Result<(), Failure> {
        let settings = self.settings(name, command)?;
        // Only the context is checked: the environment must not replace its values.
        let command = with_defaults(command.clone(), settings).mut_args(|option| option.env(None));
        match command.try_get_matches_from(["remcache", "version"]) {
            Ok(_) => Ok(()),
            Err(error) => {
                let text = error.render().to_string();
                let error = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
                Err(Failure::usage(format!("{}: context {name}: {error}", self.path.display())))
            }
        }
    }

    /// Returns the problems of all contexts, and of the one that was asked for if it is missing.
    pub(crate) fn problems(&self, wanted: Option<&str>, command: &Command) -> Vec<String> {
        let names = self.names();
        let missing = wanted.or_else(|| self.current()).filter(|name| !names.contains(name));
        let all = names.iter().copied().chain(missing);
        all.filter_map(|name| self.check(name, command).err()).map(|failure| failure.to_string()).collect()
    }

    /// Returns whether a context is marked as production.
    pub(crate) fn is_production(&self, name: &str) -> bool {
        self.get(name).is_ok_and(|table| table.get(PRODUCTION).and_then(Item::as_bool) == Some(true))
    }

    fn table(&self) -> Option<&Table> {
        self.document.get("contexts")?.as_table()
    }

    fn get(&self, name: &str) -> Result<&Table, Failure> {
        let found = self.table().and_then(|table| table.get(name)?.as_table());
        found.ok_or_else(|| {
            let names = self.names();
            let known = if names.is_empty() {
                "there are no contexts yet".into()
            } else {
                format!("known are {}", names.join(", "))
            };
            Failure::usage(format!("no context {name:?} in {}; {known}", self.path.display()))
        })
    }
}

/// Returns the names of the contexts, for completions.
pub(crate) fn candidates() -> Vec<CompletionCandidate> {
    let contexts = Contexts::read_if_any().ok().flatten();
    contexts.iter().flat_map(Contexts::names).map(CompletionCandidate::new).collect()
}

/// Returns the text with `***` in place of passwords of URLs.
pub(crate) fn mask_passwords(text: &str) -> String {
    match password(text) {
        Some(range) => [&text[..range.start], "***", &mask_passwords(&text[range.end..])].concat(),
        None => text.to_owned(),
    }
}

/// Returns the range of the first password of a URL in a text: `memcached://USER:PASSWORD@host`.
pub(crate) fn password(text: &str) -> Option<Range<usize>> {
    let start = text.find("://")? + "://".len();
    let authority = text[start..].find(['/', '?', '#']).map_or(text.len(), |length| start + length);
    // A password may hold an @ itself; host names cannot.
    let end = start + text[start..authority].rfind('@')?;
    let user = text[start..end].find(':')?;
    Some(start + user + 1..end)
}

/// Returns the path of the contexts file: `$XDG_CONFIG_HOME/remcache/config.toml`, else in `~/.config`.
fn path() -> Result<PathBuf, Failure> {
    let directory = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = directory("XDG_CONFIG_HOME").or_else(|| Some(directory("HOME")?.join(".config")));
    let base = base.ok_or_else(|| Failure::usage("no place for contexts: set HOME or XDG_CONFIG_HOME"))?;
    Ok(base.join("remcache").join("config.toml"))
}

/// Returns the global options that a context can hold, by long name.
fn storable(command: &Command) -> impl Iterator<Item = &str> {
    let global = command.get_arguments().filter(|option| option.is_global_set());
    global.filter_map(|option| option.get_long()).filter(|name| !NEVER_STORED.contains(name))
}

/// Global options that concern a run and not its servers.
const NEVER_STORED: &[&str] = &["quiet", "context", "embedded", "embedded-memory", "verbose", "password-stdin"];

/// Global options that take effect when a process starts, so a line of a shell cannot change them.
pub(crate) const STARTUP_ONLY: &[&str] = &["context", "embedded", "embedded-memory", "verbose", "password-stdin"];

/// Returns the values of an option in the contexts file, as the command line would give them.
fn texts(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(text) => Some(vec![text.value().clone()]),
        Value::Integer(number) => Some(vec![number.value().to_string()]),
        Value::Boolean(flag) => Some(vec![flag.value().to_string()]),
        Value::Array(list) => list.iter().map(|item| texts(item)?.pop()).collect(),
        _ => None,
    }
}

/// Returns the definition of the command line with these options as defaults.
pub(crate) fn with_defaults(command: Command, settings: Settings) -> Command {
    settings.into_iter().fold(command, |command, (option, values)| {
        let id =
            command.get_arguments().find(|known| known.get_long() == Some(&option)).map(|known| known.get_id().clone());
        match id {
            Some(id) => command.mut_arg(id, |known| known.default_values(values)),
            None => command,
        }
    })
}

/// Returns the global options that the command line gives and a context can hold.
pub(crate) fn given(command: &Command, matches: &ArgMatches) -> Settings {
    settings(command, matches, |source, name| source == ValueSource::CommandLine && !NEVER_STORED.contains(&name))
}

/// Returns the values of all global options, whatever their sources, as defaults for the lines of a shell.
pub(crate) fn resolved(command: &Command, matches: &ArgMatches) -> Settings {
    settings(command, matches, |_, name| !STARTUP_ONLY.contains(&name))
}

fn settings(command: &Command, matches: &ArgMatches, is_wanted: impl Fn(ValueSource, &str) -> bool) -> Settings {
    let global = command.get_arguments().filter(|option| option.is_global_set());
    let values = |option: &Arg| {
        let (long, id) = (option.get_long()?, option.get_id().as_str());
        let source = matches.value_source(id)?;
        let values = matches.get_raw(id)?.map(|value| value.to_string_lossy().into_owned()).collect();
        is_wanted(source, long).then(|| (long.to_owned(), values))
    };
    global.filter_map(values).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command() -> Command {
        let option = |name: &'static str| Arg::new(name).long(name).global(true).num_args(1);
        Command::new("test").args([option("server"), option("timeout"), option("verbose")])
    }

    fn contexts(text: &str) -> Contexts {
        Contexts { path: "config.toml".into(), document: text.parse().unwrap() }
    }

    #[test]
    fn added_contexts_are_read_back() {
        let mut contexts = contexts("# mine\n");
        let settings = vec![("server".into(), vec!["a".into(), "b:2".into()]), ("timeout".into(), vec!["5s".into()])];
        contexts.add("shop", &settings, true).unwrap();
        contexts.set_current("shop").unwrap();
        let text = contexts.document.to_string();
        assert!(text.contains("# mine"), "{text}");
        let again = self::contexts(&text);
        assert_eq!(again.settings("shop", &command()).unwrap(), settings);
        assert_eq!((again.current(), again.names(), again.is_production("shop")), (Some("shop"), vec!["shop"], true));
    }

    #[test]
    fn a_removed_context_is_no_longer_the_current_one() {
        let mut contexts = contexts("current = \"a\"\n[contexts.a]\n[contexts.b]\n");
        assert!(!contexts.remove("b").unwrap());
        assert_eq!(contexts.current(), Some("a"));
        assert!(contexts.remove("a").unwrap());
        assert_eq!((contexts.current(), contexts.names()), (None, vec![]));
        assert!(contexts.remove("a").is_err());
    }

    #[test]
    fn passwords_are_masked() {
        for (url, masked) in [
            ("memcached://bob:hunter2@h:11211/ns", "memcached://bob:***@h:11211/ns"),
            ("a,memcached+tls://bob:a@b@h?x=@", "a,memcached+tls://bob:***@h?x=@"),
            ("memcached://bob@h", "memcached://bob@h"),
            ("cache1:11211,cache2", "cache1:11211,cache2"),
            ("memcached://h/a:b@c", "memcached://h/a:b@c"),
        ] {
            assert_eq!(mask_passwords(url), masked);
        }
    }

    #[test]
    fn invalid_options_are_named() {
        let contexts =
            contexts("[contexts.a]\ntiemout = \"5s\"\n[contexts.b]\nverbose = 1\n[contexts.c]\ntimeout = 1979-05-27\n");
        for (name, word) in [("a", "tiemout"), ("b", "verbose"), ("c", "timeout"), ("d", "known are a, b, c")] {
            let failure = contexts.settings(name, &command()).unwrap_err().to_string();
            assert!(failure.contains(word), "{failure}");
        }
    }

    #[test]
    fn the_command_line_overrides_the_context() {
        let command = with_defaults(command(), vec![("timeout".into(), vec!["5s".into()])]);
        let timeout = |args: &[&str]| {
            let matches = command.clone().try_get_matches_from(args).unwrap();
            matches.get_one::<String>("timeout").cloned()
        };
        assert_eq!(timeout(&["test"]).as_deref(), Some("5s"));
        assert_eq!(timeout(&["test", "--timeout", "1s"]).as_deref(), Some("1s"));
    }
}
