//! The commands: one file each, with its options and what it does.

mod answers;
pub(crate) mod bench;
mod changes;
pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod context;
pub(crate) mod copy;
pub(crate) mod count;
pub(crate) mod delete;
pub(crate) mod delete_matching;
pub(crate) mod demo;
pub(crate) mod doctor;
pub(crate) mod dump;
pub(crate) mod exists;
pub(crate) mod extend;
pub(crate) mod fill;
pub(crate) mod flush;
pub(crate) mod get;
pub(crate) mod hotkeys;
pub(crate) mod keys;
pub(crate) mod load;
pub(crate) mod locate;
pub(crate) mod man;
pub(crate) mod ping;
pub(crate) mod ring;
pub(crate) mod serve;
pub(crate) mod serve_metrics;
pub(crate) mod shell;
pub(crate) mod stats;
pub(crate) mod store;
pub(crate) mod top;
pub(crate) mod touch;
pub(crate) mod version;
pub(crate) mod watch;

use std::io;

use tokio::runtime::{Builder, Runtime};

use crate::cli::{Command, Invocation};
use crate::exit::{Failure, Outcome};
use crate::output::Layout;
use crate::session::{Options, Session};

/// Runs the command of the command line.
pub(crate) fn run(invocation: Invocation) -> Outcome {
    let runtime = runtime(threads(&invocation.cli.command)).map_err(|error| Failure::Io("runtime".into(), error))?;
    let outcome = runtime.block_on(execute(invocation));
    // What is still in flight concerns nobody any more.
    runtime.shutdown_background();
    outcome
}

async fn execute(invocation: Invocation) -> Outcome {
    let Invocation { cli, given, resolved, context } = invocation;
    // Whoever listens for signals later passes them on: the line editor must come before the session.
    let editor = match cli.command {
        Command::Shell(_) => shell::editor()?,
        _ => None,
    };
    let mut session = Session::open(cli.global, Options { given, resolved, context }).await?;
    match cli.command {
        Command::Shell(_) => shell::run(editor, &mut session).await,
        command => run_in(command, &mut session).await,
    }
}

/// Runs a command to its end; everything that it prints is on its way then.
async fn run_in(command: Command, session: &mut Session) -> Outcome {
    let outcome = dispatch(command, session).await;
    match (outcome, session.output.flush()) {
        (Ok(_), Err(error)) => Err(error.into()),
        (outcome, _) => outcome,
    }
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
        Command::Append(args) => extend::run(extend::Side::Behind, &args, session).await,
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
    }
}

/// The threads that a command's client runs on; 0 is the current one alone.
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
