//! `context`: named sets of options for frequently used servers.

use std::path::Path;

use clap::Subcommand;
use clap_complete::ArgValueCandidates;
use remcache::Config;
use remcache::discovery::UrlSource;

use crate::context::{Contexts, Settings, candidates, mask_passwords};
use crate::escape::is_unsafe;
use crate::exit::{Exit, Failure, Outcome};
use crate::output::{Cell, Column, Layout, Record, Table, TextStyle};
use crate::session::Session;

/// List, add, use or show named sets of options
///
/// A context is a set of global options for servers that you use often. Its options are defaults, which the
/// environment and the command line override. The file is ~/.config/remcache/config.toml.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: ContextAction,
}

/// What to do with contexts.
#[derive(Debug, Subcommand)]
enum ContextAction {
    /// List the contexts; the current one is marked
    #[command(alias = "list")]
    Ls,
    /// Add a context with the global options that are given, or replace it
    #[command(after_help = "Example: remcache context add shop -s cache1,cache2 --timeout 250ms --production")]
    Add {
        /// The name of the context
        name: String,
        /// Ask for the name of the context before items are removed
        #[arg(long)]
        production: bool,
    },
    /// Make a context the current one
    Use {
        /// The name of the context
        #[arg(add = ArgValueCandidates::new(candidates))]
        name: String,
    },
    /// Remove a context
    #[command(aliases = ["remove", "delete", "del"])]
    Rm {
        /// The name of the context
        #[arg(add = ArgValueCandidates::new(candidates))]
        name: String,
    },
    /// Show the options of a context; passwords are masked
    Show {
        /// The name of the context; the one in use if left out
        #[arg(add = ArgValueCandidates::new(candidates))]
        name: Option<String>,
    },
}

pub(crate) fn run(args: &Args, session: &mut Session) -> Outcome {
    let mut contexts = Contexts::read()?;
    match &args.verb {
        ContextAction::Ls => list(&contexts, session),
        ContextAction::Add { name, production } => add(name, *production, &mut contexts, session),
        ContextAction::Use { name } => {
            contexts.set_current(name)?;
            contexts.write()?;
            session.output.notes().say(format_args!("{name} is in use from now on"));
            Ok(Exit::Yes)
        }
        ContextAction::Rm { name } => remove(name, &mut contexts, session),
        ContextAction::Show { name } => show(name.as_deref(), &contexts, session),
    }
}

fn add(name: &str, is_production: bool, contexts: &mut Contexts, session: &Session) -> Outcome {
    if session.given.is_empty() {
        return Err(Failure::usage(format!(
            "give the options that {name} is to hold, such as: remcache context add {name} -s cache1,cache2"
        )));
    }
    check_name(name)?;
    if session.options.security.reads_password() {
        return Err(Failure::usage(
            "a context holds no password: write it into a file and give --password-file FILE in place of --password-stdin",
        ));
    }
    let settings = portable(&session.given)?;
    check_servers(&settings)?;
    let has = |option: &str| settings.iter().any(|(given, _)| given == option);
    if has("tls-cert") != has("tls-key") {
        return Err(Failure::usage("--tls-cert needs --tls-key, and the other way round: pass both"));
    }
    let missing = match (has("user"), has("password-file")) {
        (true, false) => Some(
            "it has a user without a password: add --password-file FILE, or pass --password-stdin with each command",
        ),
        (false, true) => Some("it has a password without a user: add --user NAME, or pass --user with each command"),
        _ => None,
    };
    contexts.add(name, &settings, is_production)?;
    contexts.write()?;
    session.output.notes().say(format_args!("{name} is in {}", contexts.path().display()));
    if let Some(missing) = missing {
        session.output.notes().print(format_args!("warning: {name}: {missing}"));
    }
    Ok(Exit::Yes)
}

/// Fails if a name could not be displayed, or given as an argument, as it is.
fn check_name(name: &str) -> Result<(), Failure> {
    match name.is_empty() || name.starts_with('-') || name.contains(|c| is_unsafe(c) || c.is_whitespace()) {
        true => Err(Failure::usage(format!("invalid name of a context: {name:?}"))),
        false => Ok(()),
    }
}

/// Returns the options with absolute paths: a context is used in any directory.
fn portable(given: &Settings) -> Result<Settings, Failure> {
    let absolute = |path: &String| match std::path::absolute(path) {
        Ok(path) => Ok(path.to_string_lossy().into_owned()),
        Err(error) => Err(Failure::file(Path::new(path), error)),
    };
    let portable = |(option, values): &(String, Vec<String>)| {
        let values = match PATH_OPTIONS.contains(&&**option) {
            true => values.iter().map(absolute).collect::<Result<_, _>>()?,
            false => values.clone(),
        };
        Ok((option.clone(), values))
    };
    given.iter().map(portable).collect()
}

/// The global options that name a file.
const PATH_OPTIONS: &[&str] = &["password-file", "tls-ca", "tls-cert", "tls-key"];

/// Fails if an address or URL is invalid.
fn check_servers(settings: &Settings) -> Result<(), Failure> {
    let servers = settings.iter().filter(|(option, _)| option == "server").flat_map(|(_, servers)| servers);
    servers.into_iter().try_fold(Config::new(), |config, server| match UrlSource::parse(server, Config::new())? {
        Some(_) => Ok(config),
        None => config.server(server),
    })?;
    Ok(())
}

fn remove(name: &str, contexts: &mut Contexts, session: &Session) -> Outcome {
    let was_current = contexts.remove(name)?;
    contexts.write()?;
    let note = if was_current { "; no context is in use now" } else { "" };
    session.output.notes().say(format_args!("{name} is removed from {}{note}", contexts.path().display()));
    Ok(Exit::Yes)
}

fn list(contexts: &Contexts, session: &mut Session) -> Outcome {
    let in_use = session.context.as_ref().map(|context| context.name.clone());
    let definition = session.definition();
    let output = &mut session.output;
    let mut table = Table::new([Column::left(""), Column::left("CONTEXT"), Column::left(""), Column::left("SERVERS")]);
    let mut list = Vec::new();
    for name in contexts.names() {
        let settings = contexts.settings(name, &definition);
        let problem = contexts.check(name, &definition).err().map(|failure| failure.to_string());
        let servers = servers(&settings.unwrap_or_default());
        let is_in_use = in_use.as_deref() == Some(name);
        let is_production = contexts.is_production(name);
        table.row([
            Cell::new(if is_in_use { "*" } else { "" }).style(TextStyle::Good),
            Cell::new(name).style(TextStyle::Name),
            Cell::new(if is_production { "production" } else { "" }).style(TextStyle::Warning),
            match &problem {
                Some(problem) => Cell::new(problem).style(TextStyle::Bad),
                None => Cell::new(spaced(&servers)),
            },
        ]);
        let record = Record::new().with("context", name).with("in_use", is_in_use).with("production", is_production);
        list.push(record.with("servers", servers).with_some("problem", problem));
    }
    if output.is_text() {
        output.table(&table)?;
    } else {
        let mut records = output.records(&["context", "in_use", "production", "servers", "problem"])?;
        list.into_iter().try_for_each(|record| records.push(record))?;
        records.end()?;
    }
    Ok(Exit::Yes)
}

fn show(name: Option<&str>, contexts: &Contexts, session: &mut Session) -> Outcome {
    let in_use = session.context.as_ref().map(|context| &*context.name);
    let Some(name) = name.or(in_use) else {
        return Err(Failure::usage("no context is in use: name one, or see remcache context ls"));
    };
    let settings = contexts.settings(name, &session.definition())?;
    let output = &mut session.output;
    if output.layout() == Layout::Csv {
        // A row for each option, because the options of contexts differ.
        let mut records = output.records(&["context", "option", "value"])?;
        for (option, values) in settings {
            records.push(Record::new().with("context", name).with("option", option).with("value", joined(&values)))?;
        }
        records.end()?;
        return Ok(Exit::Yes);
    }
    if !output.is_text() {
        let record = settings.into_iter().fold(Record::new().with("context", name), |record, (option, values)| {
            record.with(&option, joined(&values))
        });
        let record = if contexts.is_production(name) { record.with("production", true) } else { record };
        output.record(&[], record)?;
        return Ok(Exit::Yes);
    }
    let mut table = Table::new([Column::left(""), Column::left("")]);
    for (option, values) in settings {
        table.row([Cell::new(option).style(TextStyle::Name), Cell::new(mask_passwords(&spaced(&values)))]);
    }
    if contexts.is_production(name) {
        table.row([Cell::new("production").style(TextStyle::Name), Cell::new("true").style(TextStyle::Warning)]);
    }
    output.table(&table)?;
    Ok(Exit::Yes)
}

fn servers(settings: &Settings) -> Vec<String> {
    let servers = settings.iter().filter(|(option, _)| option == "server");
    servers.flat_map(|(_, values)| values.iter().map(|server| mask_passwords(server))).collect()
}

/// Returns the values of an option as text that can be wrapped.
fn spaced(values: &[String]) -> String {
    values.iter().flat_map(|value| value.split(',')).map(str::trim_start).collect::<Vec<_>>().join(", ")
}

fn joined(values: &[String]) -> String {
    mask_passwords(&values.join(","))
}
