//! The command line: one definition of each option gives its parser, help, completions and environment variable.
//!
//! This is the top module of the tool: it alone knows the list of commands.

mod help;
mod run;
mod shell_line;
mod usage_error;

pub(crate) use run::run;

use clap::builder::ValueHint;
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use clap_complete::ArgValueCandidates;

use crate::commands::{
    bench, check, completions, context, copy, count, delete, delete_matching, demo, doctor, dump, exists, extend, fill,
    flush, get, hotkeys, keys, load, locate, man, ping, ring, serve, serve_metrics, shell, stats, store, top, touch,
    version, watch,
};
use crate::context::{self as contexts, ActiveContext, Contexts, Settings};
use crate::exit::{self, Exit, Failure};
use crate::options::Global;
use crate::wrap;

/// A command-line tool for memcached servers
#[derive(Debug, Parser)]
#[command(
    name = "remcache",
    version,
    arg_required_else_help = true,
    subcommand_required = true,
    disable_help_subcommand = true
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// A command.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Demo(demo::Args),
    Serve(serve::Args),
    Get(get::Args),
    /// Store an item, whether or not the key exists
    Set(store::Args),
    /// Store an item if the key does not exist
    Add(store::Args),
    /// Store an item if the key exists
    Replace(store::Args),
    /// Append bytes to a value
    Append(extend::Args),
    /// Prepend bytes to a value
    Prepend(extend::Args),
    Delete(delete::Args),
    /// Increment a counter, and print the new number
    Incr(count::Args),
    /// Decrement a counter, and print the new number; it stops at 0
    Decr(count::Args),
    Touch(touch::Args),
    Exists(exists::Args),
    Stats(stats::Args),
    Version(version::Args),
    Ping(ping::Args),
    Flush(flush::Args),
    Locate(locate::Args),
    Ring(ring::Args),
    Keys(keys::Args),
    Dump(dump::Args),
    Load(load::Args),
    Copy(copy::Args),
    DeleteMatching(delete_matching::Args),
    Hotkeys(hotkeys::Args),
    Watch(watch::Args),
    Shell(shell::Args),
    Bench(bench::Args),
    Fill(fill::Args),
    Top(top::Args),
    Check(check::Args),
    ServeMetrics(serve_metrics::Args),
    Doctor(doctor::Args),
    Context(context::Args),
    Completions(completions::Args),
    Man(man::Args),
    Help(help::Args),
}

impl Command {
    /// Returns whether the command uses the servers that the global options name. `copy` has options of its own.
    fn uses_servers(&self) -> bool {
        !matches!(
            self,
            Self::Demo(_)
                | Self::Serve(_)
                | Self::Copy(_)
                | Self::Context(_)
                | Self::Completions(_)
                | Self::Man(_)
                | Self::Help(_)
        )
    }
}

/// A parsed command line, with the sources of its options.
#[derive(Debug)]
pub(crate) struct Invocation {
    pub(crate) cli: Cli,
    /// The global options that the command line gives.
    pub(crate) given: Settings,
    /// The values of all global options, whatever their sources.
    pub(crate) resolved: Settings,
    /// The context whose options apply.
    pub(crate) context: Option<ActiveContext>,
}

/// Returns the definition of the command line.
pub(crate) fn command() -> clap::Command {
    let command = Cli::command().term_width(help_width());
    let options = global_options(&command);
    let command = command.mut_args(|option| match option.is_global_set() {
        true => complete_values(option).hide_short_help(true),
        false => option,
    });
    let command = command.mut_arg("context", |option| option.add(ArgValueCandidates::new(contexts::candidates)));
    let command = command
        .after_long_help(format!("{TASKS}\n\n{EXIT_CODES}"))
        .after_help(format!("{TASKS}\n\n{EXIT_CODES}\n\n{options}"));
    command.mut_subcommands(|command| describe(command.mut_args(complete_values), &options))
}

/// Returns the width of help texts: that of the terminal, up to one that is easy to read.
fn help_width() -> usize {
    let columns = wrap::stdout_columns().or_else(wrap::stderr_columns);
    columns.map_or(80, |columns| columns.min(MAX_HELP_WIDTH))
}

const MAX_HELP_WIDTH: usize = 100;

/// Adds the names of the global options to the short help of a command and of those below it.
fn describe(command: clap::Command, options: &str) -> clap::Command {
    let after_help = command.get_after_help().map(ToString::to_string);
    let short = after_help.iter().map(String::as_str).chain([options]).collect::<Vec<_>>().join("\n\n");
    let command = match after_help {
        Some(after_help) => command.after_long_help(after_help),
        // Without a text of its own, the long help would show that of the short help.
        None => command.after_long_help(""),
    };
    command.after_help(short).mut_subcommands(|command| describe(command.mut_args(complete_values), options))
}

/// Returns a line with the names of the global options.
fn global_options(command: &clap::Command) -> String {
    let options = command.get_arguments().filter(|option| option.is_global_set() && option.get_long().is_some());
    let name = |option: &Arg| match (option.get_short(), option.get_long()) {
        (Some(short), Some(long)) => format!("-{short}/--{long}"),
        (_, long) => format!("--{}", long.unwrap_or_default()),
    };
    let names: Vec<_> = options.map(name).collect();
    format!("Global options, which --help describes: {}", names.join(" "))
}

/// Keeps completions from offering file names as values of an option that takes no file.
fn complete_values(option: Arg) -> Arg {
    match option.get_value_hint() {
        // Options that take a path have the hint of a path.
        ValueHint::Unknown if option.get_action().takes_values() => option.value_hint(ValueHint::Other),
        _ => option,
    }
}

/// Lists what may follow on a command line and ends the process, if a shell asks for it.
pub(crate) fn complete() {
    completions::complete(command_to_complete);
}

/// Returns the definition of the command line with the names of commands as what follows `help` and `man`.
fn command_to_complete() -> clap::Command {
    let command = command();
    let names: Vec<_> = command.get_subcommands().map(name_of).collect();
    let field = Arg::new("field").num_args(0..).add(ArgValueCandidates::new(help::candidates));
    let fields = clap::Command::new("fields").about("Explain the fields of -f json, ndjson and csv").arg(field);
    command
        .mut_subcommand("man", |man| man.disable_help_subcommand(true).subcommands(names.clone()))
        .mut_subcommand("help", |help| help.disable_help_subcommand(true).subcommands(names).subcommand(fields))
}

/// Returns a command without its options, but with the commands below it.
fn name_of(command: &clap::Command) -> clap::Command {
    let about = command.get_about().cloned().unwrap_or_default();
    let below = command.get_subcommands().map(name_of);
    clap::Command::new(command.get_name().to_owned()).about(about).disable_help_subcommand(true).subcommands(below)
}

/// Parses the command line, with the options of the context as defaults. Prints help and usage errors, and ends the
/// process then.
pub(crate) fn parse() -> Result<Invocation, Failure> {
    let context = match find_context() {
        // A broken contexts file must not stop the commands that repair or examine it, nor those without servers.
        Err(_) if needs_no_context() => None,
        context => context?,
    };
    let settings = match &context {
        Some((name, contexts)) => contexts.settings(name, &command())?,
        None => Settings::new(),
    };
    let command = contexts::with_defaults(command(), settings);
    let matches = command.clone().try_get_matches().unwrap_or_else(|error| exit_with(error));
    let innermost = innermost(&matches);
    let (given, resolved) = (contexts::given(&command, innermost), contexts::resolved(&command, innermost));
    let mut cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| exit_with(error));
    prefer_command_line(&mut cli.global, innermost).unwrap_or_else(|error| exit_with(error));
    let context = context.map(|(name, contexts)| ActiveContext { is_production: contexts.is_production(&name), name });
    Ok(Invocation { cli, given, resolved, context })
}

/// Lets servers on the command line override embedded ones of the environment, and the other way round.
fn prefer_command_line(global: &mut Global, matches: &ArgMatches) -> Result<(), clap::Error> {
    let is_given = |id| matches.value_source(id) == Some(ValueSource::CommandLine);
    match (is_given("servers"), is_given("embedded")) {
        (true, true) => {
            let message = "--server and --embedded exclude each other\n";
            return Err(command().error(clap::error::ErrorKind::ArgumentConflict, message));
        }
        (true, false) => global.embedded = None,
        (false, _) => {}
    }
    Ok(())
}

/// Prints a usage error or help, and ends the process.
fn exit_with(error: clap::Error) -> ! {
    let error = usage_error::escaped(error);
    if error.use_stderr() && exit::is_monitored() {
        let text = error.render().to_string();
        exit::report_unknown(text.lines().next().unwrap_or_default().trim_start_matches("error: "));
        std::process::exit(Exit::Unknown.code().into());
    }
    error.exit()
}

/// Returns the matches in which global options are found, wherever they stand on the command line.
fn innermost(matches: &ArgMatches) -> &ArgMatches {
    matches.subcommand().map_or(matches, |(_, matches)| matches)
}

/// Returns the command line as far as it can be parsed.
fn parse_leniently() -> Option<ArgMatches> {
    command().ignore_errors(true).try_get_matches().ok()
}

/// Returns whether the command works without a context; so does help, for which there are no matches.
fn needs_no_context() -> bool {
    parse_leniently().is_none_or(|matches| {
        matches!(matches.subcommand_name(), None | Some("doctor" | "context" | "completions" | "man" | "help"))
    })
}

/// Returns the context that the command line or the environment names, else the current one of the contexts file.
///
/// The current context does not apply to servers from elsewhere: it would add a namespace, credentials or TLS that
/// were meant for its own.
fn find_context() -> Result<Option<(String, Contexts)>, Failure> {
    let matches = parse_leniently();
    let named = matches.as_ref().and_then(|matches| innermost(matches).try_get_one::<String>("context").ok()?.cloned());
    let context = match named {
        Some(name) => Some((name, Contexts::read()?)),
        None if matches.as_ref().is_some_and(names_servers) => None,
        // Without a place for the file there are no contexts.
        None => Contexts::read_if_any()?.and_then(|contexts| Some((contexts.current()?.to_owned(), contexts))),
    };
    if let Some((name, contexts)) = &context {
        contexts.check(name, &command())?;
    }
    Ok(context)
}

/// Returns whether a command gets its servers from the command line or the environment.
fn names_servers(matches: &ArgMatches) -> bool {
    let is_given = |id| innermost(matches).value_source(id).is_some();
    // `context` works on the contexts themselves.
    matches.subcommand_name() != Some("context") && (is_given("servers") || is_given("embedded"))
}

const TASKS: &str = "\
Common tasks:
  which keys take the memory      remcache keys --sort size --top 20
  memory by prefix                remcache keys --tree :
  hit rate by prefix              remcache hotkeys --by-prefix :
  why items are evicted           remcache doctor
  certificates that expire soon   remcache doctor
  settings that differ            remcache stats settings --diff
  clients by address              remcache stats conns --by-address
  where a key is                  remcache locate KEY --ask
  which server is slow            remcache ping -n 100
  items on a wrong server         remcache keys --misplaced
  remove them                     remcache delete-matching --misplaced
  invalidate a prefix             remcache delete-matching 'user:*'
  move to other servers           remcache copy --from a,b --to c,d
  fill a server that joins        remcache copy --from a,b --to a,b,c
  load at a fixed rate            remcache bench --rate 10k
  the curve of its latency        remcache bench --rate 10k --svg FILE
  alert on the hit rate           remcache check -f nagios --fail-if 'hit%<90'
  the same with Prometheus        remcache serve-metrics";

const EXIT_CODES: &str = "\
Exit codes:
  0  success
  1  the answer is no: a miss, not stored, a conflict, not confirmed
  2  invalid command line, input or file
  3  some servers failed; the results of the others are printed
  4  no server was reachable, or the requests timed out
  5  a server or protocol error
  6  authentication is required or failed, or TLS failed
  8  a threshold is exceeded (check; bench --fail-if, interrupted or not), or
     doctor has findings
  130  interrupted, after printing the results so far";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definitions_are_consistent() {
        command().debug_assert();
    }

    /// At 80 columns, longer lines would be wrapped again, which leaves single words on a line.
    fn check_width_of_notes(command: &clap::Command) {
        for notes in [command.get_after_help(), command.get_after_long_help()].into_iter().flatten() {
            // The list of global options is the only text without breaks of its own.
            for line in notes.to_string().lines().filter(|line| !line.starts_with("Global options")) {
                assert!(line.chars().count() <= 80, "{}: {line}", command.get_name());
            }
        }
        command.get_subcommands().for_each(check_width_of_notes);
    }

    #[test]
    fn notes_of_the_help_fit_80_columns() {
        check_width_of_notes(&command());
    }

    #[test]
    fn every_global_option_has_an_environment_variable() {
        for option in command().get_arguments().filter(|option| option.is_global_set()) {
            let expected = format!("REMCACHE_{}", option.get_id().as_str().to_uppercase());
            assert_eq!(option.get_env().and_then(|name| name.to_str()), Some(expected.as_str()));
        }
    }

    #[test]
    fn everything_has_a_help_text() {
        for command in command().get_subcommands() {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            for option in command.get_arguments() {
                assert!(option.get_help().is_some(), "{} {}", command.get_name(), option.get_id());
            }
        }
    }

    #[test]
    fn short_help_names_global_options_and_long_help_describes_them() {
        let mut command = command();
        command.build();
        let get = command.find_subcommand_mut("get").unwrap();
        let (short, long) = (get.render_help().to_string(), get.render_long_help().to_string());
        assert!(short.contains("Global options, which --help describes: -s/--server --context"), "{short}");
        assert!(!short.contains("The timeout of a request") && short.contains("--meta"), "{short}");
        assert!(long.contains("The timeout of a request") && !long.contains("which --help describes"), "{long}");
    }

    #[test]
    fn options_complete_files_only_if_they_take_files() {
        let command = command();
        let hint = |id: &str| command.get_arguments().find(|option| option.get_id() == id).unwrap().get_value_hint();
        assert_eq!(
            (hint("context"), hint("timeout"), hint("tls_ca")),
            (ValueHint::Other, ValueHint::Other, ValueHint::AnyPath)
        );
    }
}
