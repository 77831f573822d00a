//! `ping`: whether the servers answer, and how fast.

use std::time::{Duration, Instant, SystemTime};

use remcache::ServerHandle;
use remcache::{Client, Error};
use tokio::task::JoinSet;

use crate::exit::{Exit, Outcome};
use crate::interrupt::Interrupt;
use crate::options::value;
use crate::output::{Cell, Column, Output, Record, Table, TextStyle, number};
use crate::session::Session;
use crate::stats::reason;

/// Ask the servers whether they answer, and measure how fast
///
/// CONN is the time of connecting, name resolution included; the others are times of a no-op.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many times each server is asked
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,

    /// The time between two questions
    #[arg(short = 'i', long, value_name = "TIME", default_value = "100ms", value_parser = value::duration)]
    interval: Duration,
}

const COLUMNS: &[&str] = &["server", "version", "connect_us", "min_us", "p50_us", "max_us", "sent", "lost", "error"];

/// The observations of one server.
#[derive(Debug, Default)]
struct Sight {
    name: String,
    version: Option<String>,
    connect: Option<Duration>,
    /// The times of the answers.
    answers: Vec<Duration>,
    sent: usize,
    reason: Option<String>,
    /// The exit code of the reason.
    failure: Option<Exit>,
}

pub(crate) async fn run(args: &Args, session: &mut Session) -> Outcome {
    let interrupt = session.interrupt.expect();
    let client = session.client()?;
    let sights = watch_all(&client, args, &interrupt).await;
    print(&sights, &mut session.output)?;
    Ok(interrupt.unless_raised(exit(&sights)))
}

async fn watch_all(client: &Client, args: &Args, interrupt: &Interrupt) -> Vec<Sight> {
    let mut tasks = JoinSet::new();
    for (index, server) in client.servers().into_iter().enumerate() {
        let (count, interval, interrupt) = (args.count, args.interval, interrupt.clone());
        tasks.spawn(async move { (index, watch(&server, count, interval, &interrupt).await) });
    }
    let mut sights = tasks.join_all().await;
    sights.sort_by_key(|(index, _)| *index);
    sights.into_iter().map(|(_, sight)| sight).collect()
}

async fn watch(server: &ServerHandle, count: u32, interval: Duration, interrupt: &Interrupt) -> Sight {
    let mut sight = Sight { name: server.name().to_owned(), ..Sight::default() };
    let begun = SystemTime::now();
    sight.version = server.version().await.map_err(|error| sight.failed(server, &error)).ok();
    if sight.version.is_some() {
        // The server's state says since when the connection is open.
        sight.connect = server.status().since.duration_since(begun).ok();
    }
    for round in 0..count {
        if round > 0 {
            tokio::select! {
                () = tokio::time::sleep(interval) => {}
                () = interrupt.raised() => break,
            }
        }
        sight.sent += 1;
        let asked = Instant::now();
        match server.noop().await {
            Ok(()) => sight.answers.push(asked.elapsed()),
            Err(error) => sight.failed(server, &error),
        }
    }
    sight.answers.sort();
    sight
}

impl Sight {
    fn failed(&mut self, server: &ServerHandle, error: &Error) {
        self.reason = Some(reason(server, error));
        self.failure = Some(Exit::of(error));
    }

    fn lost(&self) -> usize {
        self.sent - self.answers.len()
    }

    fn median(&self) -> Option<Duration> {
        self.answers.get(self.answers.len() / 2).copied()
    }

    fn record(&self) -> Record {
        let micros = |time: Duration| time.as_nanos() as f64 / 1000.0;
        Record::new()
            .with("server", self.name.clone())
            .with_some("version", self.version.clone())
            .with_some("connect_us", self.connect.map(micros))
            .with_some("min_us", self.answers.first().copied().map(micros))
            .with_some("p50_us", self.median().map(micros))
            .with_some("max_us", self.answers.last().copied().map(micros))
            .with("sent", self.sent)
            .with("lost", self.lost())
            .with_some("error", self.reason.clone())
    }

    fn cells(&self) -> Vec<Cell> {
        let time = |time: Option<Duration>| time.map_or_else(Cell::default, |time| Cell::new(number::duration(time)));
        let connect = match (&self.reason, self.connect) {
            (Some(reason), None) => Cell::new(short(reason)).style(TextStyle::Bad),
            (_, connect) => time(connect),
        };
        let loss = if self.lost() == 0 { TextStyle::Good } else { TextStyle::Bad };
        vec![
            Cell::new(&self.name),
            self.version.as_ref().map_or_else(Cell::unknown, Cell::new),
            connect,
            time(self.answers.first().copied()),
            time(self.median()),
            time(self.answers.last().copied()),
            Cell::new(format_args!("{}/{}", self.lost(), self.sent)).style(loss),
            Cell::new(self.reason.as_deref().unwrap_or_default()).style(TextStyle::Faint),
        ]
    }
}

/// A word for the reason, where it is a usual one.
fn short(reason: &str) -> &'static str {
    let words =
        [("refused", "refused"), ("resolve", "no name"), ("no connection within", "timeout"), ("timed out", "timeout")];
    let reason = reason.to_lowercase();
    words.iter().find(|(sign, _)| reason.contains(sign)).map_or("failed", |(_, word)| word)
}

fn print(sights: &[Sight], output: &mut Output) -> std::io::Result<()> {
    if !output.is_text() {
        let mut records = output.records(COLUMNS)?;
        sights.iter().try_for_each(|sight| records.push(sight.record()))?;
        return records.end();
    }
    let mut table = Table::new([
        Column::left("SERVER"),
        Column::left("VERSION"),
        Column::right("CONN"),
        Column::right("MIN"),
        Column::right("P50"),
        Column::right("MAX"),
        Column::right("LOSS"),
        Column::left(""),
    ]);
    sights.iter().for_each(|sight| table.row(sight.cells()));
    output.table(&table)?;
    let alive = sights.iter().filter(|sight| !sight.answers.is_empty()).count();
    output.prose(format_args!("{alive} of {} servers answer", sights.len()))
}

fn exit(sights: &[Sight]) -> Exit {
    let is_silent = |sight: &Sight| sight.answers.is_empty();
    match sights {
        // A server that rejects the request was reached.
        sights if sights.iter().all(is_silent) => {
            sights.iter().filter_map(|sight| sight.failure).max().unwrap_or(Exit::Unreachable)
        }
        sights if sights.iter().any(|sight| sight.lost() > 0) => Exit::Partly,
        _ => Exit::Yes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sight(answers: usize, sent: usize) -> Sight {
        Sight { answers: vec![Duration::ZERO; answers], sent, ..Sight::default() }
    }

    #[test]
    fn losses_become_exit_codes() {
        let cases = [
            (vec![sight(5, 5), sight(5, 5)], Exit::Yes),
            (vec![sight(5, 5), sight(0, 5)], Exit::Partly),
            (vec![sight(4, 5)], Exit::Partly),
            (vec![sight(0, 5), sight(0, 5)], Exit::Unreachable),
            (vec![Sight { failure: Some(Exit::Auth), ..sight(0, 5) }], Exit::Auth),
            (vec![Sight { failure: Some(Exit::Auth), ..sight(0, 5) }, sight(5, 5)], Exit::Partly),
        ];
        for (sights, expected) in cases {
            assert_eq!(exit(&sights), expected, "{sights:?}");
        }
    }

    #[test]
    fn usual_reasons_have_a_word() {
        for (reason, word) in [
            ("Connection refused (os error 111)", "refused"),
            ("no connection within 1s", "timeout"),
            ("the name cache9 does not resolve: …", "no name"),
            ("the peer speaks something else", "failed"),
        ] {
            assert_eq!(short(reason), word);
        }
    }
}
