//! Contexts: named sets of global options in a file, one of which may be in use.
//!
//! An option of a context is the default of that option: the environment and the command line win.

use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};
use toml_edit::{Array, DocumentMut, Item, Table, Value, value};

use crate::atomic_file;
use crate::exit::Failure;

/// The file of contexts, read whole.
#[derive(Debug)]
pub(crate) struct Contexts {
    path: PathBuf,
    document: DocumentMut,
}

/// The context in use.
#[derive(Clone, Debug)]
pub(crate) struct InUse {
    pub(crate) name: String,
    /// Whether items must not be removed lightly.
    pub(crate) is_production: bool,
}

/// The options of one context: long names, each with its values.
pub(crate) type Settings = Vec<(String, Vec<String>)>;

/// What is true of a context beside its options: asking twice before something is removed.
const PRODUCTION: &str = "production";

impl Contexts {
    /// Reads the file; there are no contexts where there is no file.
    pub(crate) fn read() -> Result<Self, Failure> {
        Self::read_from(path()?)
    }

    /// Reads the file, if there is a place for one.
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

    /// Writes the file: whole, or not at all.
    pub(crate) fn write(&self) -> Result<(), Failure> {
        if let Some(directory) = self.path.parent() {
            std::fs::create_dir_all(directory).map_err(|error| Failure::file(&self.path, error))?;
        }
        atomic_file::write(&self.path, self.document.to_string().as_bytes())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The names, in the file's order.
    pub(crate) fn names(&self) -> Vec<&str> {
        self.table().map(|table| table.iter().map(|(name, _)| name).collect()).unwrap_or_default()
    }

    /// The context that is used where no other is named.
    pub(crate) fn current(&self) -> Option<&str> {
        self.document.get("current")?.as_str()
    }

    /// Makes a context the one that is used.
    pub(crate) fn set_current(&mut self, name: &str) -> Result<(), Failure> {
        self.get(name)?;
        self.document["current"] = value(name);
        Ok(())
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
            contexts.ok_or_else(|| Failure::usage(format!("{}: contexts is no table", self.path.display())))?;
        contexts.insert(name, Item::Table(table));
        Ok(())
    }

    /// The options of a context, checked against those that there are.
    pub(crate) fn settings(&self, name: &str, command: &Command) -> Result<Settings, Failure> {
        let mut settings = Vec::new();
        for (option, item) in self.get(name)?.iter().filter(|(option, _)| *option != PRODUCTION) {
            let fail = |what: String| Failure::usage(format!("{}: context {name}: {what}", self.path.display()));
            if !storable(command).any(|known| known == option) {
                let known: Vec<_> = storable(command).collect();
                return Err(fail(format!("unknown option {option:?}; known are {PRODUCTION}, {}", known.join(", "))));
            }
            let values = item.as_value().and_then(texts);
            settings
                .push((option.to_owned(), values.ok_or_else(|| fail(format!("{option} is no text, number or list")))?));
        }
        Ok(settings)
    }

    /// Whether a context can be used: each option is one, and has a value that is one.
    pub(crate) fn check(&self, name: &str, command: &Command) -> Result<(), Failure> {
        let settings = self.settings(name, command)?;
        // Nothing but a context that names itself is checked here, and no environment.
        let command = with_defaults(command.clone(), settings).mut_args(|option| option.env(None));
        match command.try_get_matches_from(["remcache", "version"]) {
            Ok(_) => Ok(()),
            Err(error) => {
                let text = error.render().to_string();
                let what = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
                Err(Failure::usage(format!("{}: context {name}: {what}", self.path.display())))
            }
        }
    }

    /// What is wrong with the contexts, and with the one that is wanted.
    pub(crate) fn problems(&self, wanted: Option<&str>, command: &Command) -> Vec<String> {
        let names = self.names();
        let missing = wanted.or_else(|| self.current()).filter(|name| !names.contains(name));
        let all = names.iter().copied().chain(missing);
        all.filter_map(|name| self.check(name, command).err()).map(|failure| failure.to_string()).collect()
    }

    /// Whether a context is marked as one whose items must not be removed lightly.
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
            let known =
                if names.is_empty() { "there are none yet".into() } else { format!("known are {}", names.join(", ")) };
            Failure::usage(format!("no context {name:?} in {}; {known}", self.path.display()))
        })
    }
}

/// Where the contexts are: `$XDG_CONFIG_HOME/remcache/config.toml`, else below `~/.config`.
fn path() -> Result<PathBuf, Failure> {
    let directory = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = directory("XDG_CONFIG_HOME").or_else(|| Some(directory("HOME")?.join(".config")));
    let base =
        base.ok_or_else(|| Failure::usage("neither HOME nor XDG_CONFIG_HOME is set: there is no place for contexts"))?;
    Ok(base.join("remcache").join("config.toml"))
}

/// The global options that a context can hold, by long name.
fn storable(command: &Command) -> impl Iterator<Item = &str> {
    let global = command.get_arguments().filter(|option| option.is_global_set());
    global.filter_map(|option| option.get_long()).filter(|name| !NEVER_STORED.contains(name))
}

/// What concerns a run and no fleet.
const NEVER_STORED: &[&str] = &["quiet", "context", "embedded", "embedded-memory", "verbose", "password-stdin"];

/// What is decided once, when a process begins, also where it runs many commands.
pub(crate) const ONCE: &[&str] = &["context", "embedded", "embedded-memory", "verbose", "password-stdin"];

/// The values of an option that a context holds, as the command line would give them.
fn texts(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(text) => Some(vec![text.value().clone()]),
        Value::Integer(number) => Some(vec![number.value().to_string()]),
        Value::Boolean(flag) => Some(vec![flag.value().to_string()]),
        Value::Array(list) => list.iter().map(|item| texts(item)?.pop()).collect(),
        _ => None,
    }
}

/// The same command line, with the context's options as defaults.
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

/// The global options that the command line gives, for a context to hold.
pub(crate) fn given(command: &Command, matches: &ArgMatches) -> Settings {
    settings(command, matches, |source, name| source == ValueSource::CommandLine && !NEVER_STORED.contains(&name))
}

/// The global options with their values, wherever these come from, for the lines of a shell to begin with.
pub(crate) fn resolved(command: &Command, matches: &ArgMatches) -> Settings {
    settings(command, matches, |_, name| !ONCE.contains(&name))
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
    fn what_is_added_is_read_again() {
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
    fn what_does_not_fit_is_named() {
        let contexts =
            contexts("[contexts.a]\ntiemout = \"5s\"\n[contexts.b]\nverbose = 1\n[contexts.c]\ntimeout = 1979-05-27\n");
        for (name, word) in [("a", "tiemout"), ("b", "verbose"), ("c", "timeout"), ("d", "known are a, b, c")] {
            let failure = contexts.settings(name, &command()).unwrap_err().to_string();
            assert!(failure.contains(word), "{failure}");
        }
    }

    #[test]
    fn the_command_line_wins_over_the_context() {
        let command = with_defaults(command(), vec![("timeout".into(), vec!["5s".into()])]);
        let timeout = |args: &[&str]| {
            let matches = command.clone().try_get_matches_from(args).unwrap();
            matches.get_one::<String>("timeout").cloned()
        };
        assert_eq!(timeout(&["test"]).as_deref(), Some("5s"));
        assert_eq!(timeout(&["test", "--timeout", "1s"]).as_deref(), Some("1s"));
    }
}
