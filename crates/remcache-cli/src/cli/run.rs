//! Runs the command that a command line names.

use std::io;

use tokio::runtime::{Builder, Runtime};

use remcache::config::ProtocolSetting;

use super::help;
use super::shell_line::run_line;
use super::{Command, Invocation};
use crate::commands::{
    bench, check, completions, context, copy, count, delete, delete_matching, demo, doctor, dump, exists, extend, fill,
    flush, get, hotkeys, keys, load, locate, man, ping, ring, serve, serve_metrics, shell, stats, store, top, touch,
    version, watch,
};
use crate::exit::{Exit, Failure, Outcome};
use crate::output::Layout;
use crate::session::{Session, Setup};

/// Runs the command of the command line.
pub(crate) fn run(invocation: Invocation) -> Outcome {
    let runtime = runtime(threads(&invocation.cli.command)).map_err(|error| Failure::Io("runtime".into(), error))?;
    let outcome = runtime.block_on(execute(invocation));
    // The command has its result: requests still in flight are abandoned, not awaited.
    runtime.shutdown_background();
    outcome
}

async fn execute(invocation: Invocation) -> Outcome {
    let Invocation { cli, given, resolved, context } = invocation;
    // Signal handlers are chained: the line editor installs its own first, so that the session's handler runs too.
    let editor = match cli.command {
        Command::Shell(_) => shell::editor()?,
        _ => None,
    };
    let mut session = Session::open(cli.global, Setup { given, resolved, context, definition: super::command }).await?;
    match cli.command {
        Command::Shell(_) => {
            session.look_servers_up().await?;
            shell::run(editor, run_line, &mut session).await
        }
        command => run_in(command, &mut session).await,
    }
}

/// Runs a command to its end and flushes its output.
pub(super) async fn run_in(command: Command, session: &mut Session) -> Outcome {
    // A source that cannot be asked must not stop the commands that replace it, nor those without servers.
    if command.uses_servers() {
        session.look_servers_up().await?;
    }
    let lists_keys =
        matches!(command, Command::Keys(_) | Command::Dump(_) | Command::Copy(_) | Command::DeleteMatching(_));
    let outcome = dispatch(command, session).await;
    let unanswered = match session.options.protocol {
        // Lists of keys have connections of their own, whose errors name the protocol where it is the reason.
        ProtocolSetting::Meta | ProtocolSetting::Text if lists_keys => None,
        ProtocolSetting::Binary => Some("--protocol binary: a server with text only (-Y, -B ascii)"),
        ProtocolSetting::Meta => Some("--protocol meta: a server with the binary protocol only (-S, -B binary)"),
        ProtocolSetting::Text => Some("--protocol text: a server with the binary protocol only (-S, -B binary)"),
        _ => None,
    };
    if let Some(option) = unanswered.filter(|_| is_unreachable(&outcome)) {
        session.output.notes().print(format_args!("if it is up, leave out {option} does not answer it"));
    }
    match (outcome, session.output.flush()) {
        (Ok(_), Err(error)) => Err(error.into()),
        (outcome, _) => outcome,
    }
}

fn is_unreachable(outcome: &Outcome) -> bool {
    let exit = outcome.as_ref().map_or_else(Failure::exit, |exit| *exit);
    exit == Exit::Unreachable
}

async fn dispatch(command: Command, session: &mut Session) -> Outcome {
    match (session.output.layout(), &command) {
        (Layout::Nagios, Command::Check(_)) | (Layout::Prometheus, Command::Stats(_)) => {}
        (Layout::Nagios, _) => return Err(Failure::usage("-f nagios is for check; -f json, ndjson or csv fit here")),
        (Layout::Prometheus, _) => {
            return Err(Failure::usage("-f prometheus is for stats; -f json, ndjson or csv fit here"));
        }
        _ => {}
    }
    match command {
        Command::Demo(args) => demo::run(&args, session).await,
        Command::Serve(args) => serve::run(&args, session).await,
        Command::Get(args) => get::run(&args, session).await,
        Command::Set(args) => store::run(store::Verb::Set, &args, session).await,
        Command::Add(args) => store::run(store::Verb::Add, &args, session).await,
        Command::Replace(args) => store::run(store::Verb::Replace, &args, session).await,
        Command::Append(args) => extend::run(extend::Side::After, &args, session).await,
        Command::Prepend(args) => extend::run(extend::Side::Before, &args, session).await,
        Command::Delete(args) => delete::run(&args, session).await,
        Command::Incr(args) => count::run(count::Direction::Up, &args, session).await,
        Command::Decr(args) => count::run(count::Direction::Down, &args, session).await,
        Command::Touch(args) => touch::run(&args, session).await,
        Command::Exists(args) => exists::run(&args, session).await,
        Command::Stats(args) => stats::run(&args, session).await,
        Command::Version(args) => version::run(&args, session).await,
        Command::Ping(args) => ping::run(&args, session).await,
        Command::Flush(args) => flush::run(&args, session).await,
        Command::Locate(args) => locate::run(&args, session).await,
        Command::Ring(args) => ring::run(&args, session),
        Command::Keys(args) => keys::run(&args, session).await,
        Command::Dump(args) => dump::run(&args, session).await,
        Command::Load(args) => load::run(&args, session).await,
        Command::Copy(args) => copy::run(&args, session).await,
        Command::DeleteMatching(args) => delete_matching::run(&args, session).await,
        Command::Hotkeys(args) => hotkeys::run(&args, session).await,
        Command::Shell(_) => Err(Failure::usage("this is a shell already")),
        Command::Watch(args) => watch::run(&args, session).await,
        Command::Bench(args) => bench::run(&args, session).await,
        Command::Fill(args) => fill::run(&args, session).await,
        Command::Top(args) => top::run(&args, session).await,
        Command::ServeMetrics(args) => serve_metrics::run(&args, session).await,
        Command::Check(args) => check::run(&args, session).await,
        Command::Doctor(args) => doctor::run(&args, session).await,
        Command::Context(args) => context::run(&args, session),
        Command::Completions(args) => completions::run(&args, session),
        Command::Man(args) => man::run(&args, session),
        Command::Help(args) => help::run(&args, session),
    }
}

/// Returns the threads that a command's client runs on; 0 is the current one alone.
fn threads(command: &Command) -> usize {
    match command {
        Command::Bench(args) => args.threads.map_or(0, |threads| threads.get().into()),
        _ => 0,
    }
}

fn runtime(threads: usize) -> io::Result<Runtime> {
    match threads {
        0 => Builder::new_current_thread().enable_all().build(),
        _ => Builder::new_multi_thread().worker_threads(threads).enable_all().build(),
    }
}
