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

/// Check whether the servers respond, and measure how fast
///
/// A ping is a no-op, which the server answers without looking at an item.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Columns:
  CONN           time to connect, name resolution included
  MIN, P50, MAX  shortest, median and longest round trip of a ping
  LOSS           pings without an answer, of those that were sent")]
pub(crate) struct Args {
    /// Number of pings to each server
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,

    /// Interval between two pings
    #[arg(short = 'i', long, value_name = "TIME", default_value = "100ms", value_parser = value::duration)]
    interval: Duration,
}

const COLUMNS: &[&str] = &["server", "version", "connect_us", "min_us", "p50_us", "max_us", "sent", "lost", "error"];

/// The results of pinging one server.
#[derive(Debug, Default)]
struct PingResult {
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
    let interrupt = session.interrupt.handled();
    let client = session.client()?;
    let results = ping_all(&client, args, &interrupt).await;
    print(&results, &mut session.output)?;
    Ok(interrupt.unless_raised(exit(&results)))
}

async fn ping_all(client: &Client, args: &Args, interrupt: &Interrupt) -> Vec<PingResult> {
    let mut tasks = JoinSet::new();
    for (index, server) in client.servers().into_iter().enumerate() {
        let (count, interval, interrupt) = (args.count, args.interval, interrupt.clone());
        tasks.spawn(async move { (index, ping_server(&server, count, interval, &interrupt).await) });
    }
    let mut results = tasks.join_all().await;
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

async fn ping_server(server: &ServerHandle, count: u32, interval: Duration, interrupt: &Interrupt) -> PingResult {
    let mut result = PingResult { name: server.name().to_owned(), ..PingResult::default() };
    let started = SystemTime::now();
    result.version = server.version().await.map_err(|error| result.failed(server, &error)).ok();
    if result.version.is_some() {
        // The server's state says since when the connection is open.
        result.connect = server.status().since.duration_since(started).ok();
    }
    for round in 0..count {
        if round > 0 {
            tokio::select! {
                () = tokio::time::sleep(interval) => {}
                () = interrupt.raised() => break,
            }
        }
        result.sent += 1;
        let asked = Instant::now();
        match server.noop().await {
            Ok(()) => result.answers.push(asked.elapsed()),
            Err(error) => result.failed(server, &error),
        }
    }
    result.answers.sort();
    result
}

impl PingResult {
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

/// Returns a short form of the reason, for the column of the connect time.
fn short(reason: &str) -> &'static str {
    let words =
        [("refused", "refused"), ("resolve", "no name"), ("no connection within", "timeout"), ("timed out", "timeout")];
    let reason = reason.to_lowercase();
    words.iter().find(|(sign, _)| reason.contains(sign)).map_or("failed", |(_, word)| word)
}

fn print(results: &[PingResult], output: &mut Output) -> std::io::Result<()> {
    if !output.is_text() {
        let mut records = output.records(COLUMNS)?;
        results.iter().try_for_each(|result| records.push(result.record()))?;
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
    results.iter().for_each(|result| table.row(result.cells()));
    output.table(&table)?;
    let alive = results.iter().filter(|result| !result.answers.is_empty()).count();
    output.prose(format_args!("{alive} of {} servers answer", results.len()))
}

fn exit(results: &[PingResult]) -> Exit {
    let is_unanswered = |result: &PingResult| result.answers.is_empty();
    match results {
        // A server that rejects the request was reached.
        results if results.iter().all(is_unanswered) => {
            results.iter().filter_map(|result| result.failure).max().unwrap_or(Exit::Unreachable)
        }
        results if results.iter().any(|result| result.lost() > 0) => Exit::Partly,
        _ => Exit::Yes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(answers: usize, sent: usize) -> PingResult {
        PingResult { answers: vec![Duration::ZERO; answers], sent, ..PingResult::default() }
    }

    #[test]
    fn losses_become_exit_codes() {
        let cases = [
            (vec![result(5, 5), result(5, 5)], Exit::Yes),
            (vec![result(5, 5), result(0, 5)], Exit::Partly),
            (vec![result(4, 5)], Exit::Partly),
            (vec![result(0, 5), result(0, 5)], Exit::Unreachable),
            (vec![PingResult { failure: Some(Exit::Auth), ..result(0, 5) }], Exit::Auth),
            (vec![PingResult { failure: Some(Exit::Auth), ..result(0, 5) }, result(5, 5)], Exit::Partly),
        ];
        for (results, expected) in cases {
            assert_eq!(exit(&results), expected, "{results:?}");
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
