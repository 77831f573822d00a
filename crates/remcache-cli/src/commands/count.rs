//! `incr`, `decr`: increment and decrement counters.

use std::ffi::OsString;

use remcache::Ttl;

use crate::exit::{Exit, Outcome};
use crate::input;
use crate::options::value;
use crate::output::{Record, text};
use crate::session::Session;

/// The direction of the change.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Direction {
    /// It wraps at 2^64.
    Up,
    /// It stops at 0.
    Down,
}

/// A counter, and by how much it changes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The key of the counter
    key: OsString,

    /// The amount
    #[arg(value_name = "N", default_value_t = 1)]
    delta: u64,

    /// Create the counter with this number if it does not exist; without --init, that is a miss
    #[arg(long, value_name = "N")]
    init: Option<u64>,

    /// Time to live of a counter that --init creates: 10m, never, or a date
    #[arg(long, value_name = "TIME", requires = "init", value_parser = value::ttl)]
    ttl: Option<Ttl>,
}

const COLUMNS: &[&str] = &["key", "key_b64", "status", "value", "cas"];

pub(crate) async fn run(direction: Direction, args: &Args, session: &mut Session) -> Outcome {
    let key = input::key(&args.key)?;
    let client = session.client()?;
    let mut command = match direction {
        Direction::Up => client.increment(&key, args.delta),
        Direction::Down => client.decrement(&key, args.delta),
    };
    if let Some(initial) = args.init {
        command = command.initial(initial).ttl(args.ttl.unwrap_or_default());
    }
    let counter = command.await?;
    let output = &mut session.output;
    match counter {
        _ if !output.is_text() => {
            let record = Record::new().with_bytes("key", &key);
            let record = match counter {
                Some(counter) => record.with("status", "counted").with("value", counter.value).with("cas", counter.cas),
                None => record.with("status", "missing"),
            };
            output.record(COLUMNS, record)?;
        }
        Some(counter) => output.line(counter.value)?,
        None => output.notes().say(format_args!("{}: a miss; --init N begins a counter", text::inline(&key))),
    }
    Ok(Exit::answer(counter.is_some()))
}
