//! `watch`: the servers' own logs, event by event.

use std::borrow::Cow;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use clap::ValueEnum;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use remcache::ServerHandle;
use remcache::proto::text::LogLine;
use serde_json::Value;
use tokio::sync::mpsc;

use super::server_log::{self, LogFailure};
use crate::exit::{Exit, Failure, Outcome, print_error};
use crate::options::value;
use crate::outcome_counts::OutcomeCounts;
use crate::output::{Layout, Notes, Output, Record, TextStyle, number, text};
use crate::session::Session;
use crate::stats::dropped_events;

/// Show the servers' events as they happen, until interrupted
///
/// These are the servers' own logs (memcached's command watch), on connections of their own. A server that
/// cannot write its log fast enough drops events and reports how many; it never waits for the tool.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Columns, on a terminal or with -f text:
  TIME     local time of the event
  SERVER   server, if there are several
  EVENT    item_get, item_store, eviction, deleted, conn_new, conn_close, ...
  KEY      key of the item
  DETAILS  other fields; ttl is in seconds or never, size in bytes, and fd the
           number of the client's connection in remcache stats conns

In a pipe, each line is a server and its own line, with Unix times. -f ndjson
and -f csv have the fields that remcache help fields watch explains.

memcached looks an item up before it stores, deletes or touches it, and logs
that look-up as an item_get too: a new key has an item_get with the status
not_found before its item_store.")]
pub(crate) struct Args {
    /// Events to show
    #[arg(value_enum, default_value = "fetchers", value_delimiter = ',')]
    streams: Vec<WatchStream>,

    /// Stop after this time; without it, only Ctrl-C ends the command
    #[arg(long = "for", alias = "time", value_name = "TIME", value_parser = value::duration)]
    time: Option<Duration>,
}

/// Streams of a server's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum WatchStream {
    /// Fetches, hits and misses
    Fetchers,
    /// Stores, deletes, counters
    Mutations,
    /// Items evicted to free memory
    Evictions,
    /// Connections that open and close
    Connevents,
    /// Deleted items; needs memcached 1.6.20
    Deletions,
}

impl WatchStream {
    fn name(self) -> &'static str {
        match self {
            Self::Fetchers => "fetchers",
            Self::Mutations => "mutations",
            Self::Evictions => "evictions",
            Self::Connevents => "connevents",
            Self::Deletions => "deletions",
        }
    }
}

/// A message from the log of a server.
#[derive(Debug)]
enum Message {
    /// The server has confirmed the request.
    Started,
    /// The log did not start.
    NotStarted(LogFailure),
    Line(Bytes),
    /// The log has ended.
    Failed(LogFailure),
}

/// The fields that most events have, as columns of CSV; JSON records have all fields.
const COLUMNS: &[&str] = &[
    "server",
    "time",
    "event",
    "key",
    "key_b64",
    "status",
    "command",
    "ttl",
    "class",
    "size",
    "fetched",
    "idle_seconds",
];

/// Messages that may wait to be printed.
const CAPACITY: usize = 10_000;

/// The widths of a time of the day, and of the longest usual event.
const TIME_WIDTH: usize = 12;
const EVENT_WIDTH: usize = 10;

pub(crate) async fn run(args: &Args, session: &mut Session) -> Outcome {
    if session.output.layout() == Layout::Json {
        return Err(Failure::usage("watch never ends a JSON document; use -f ndjson"));
    }
    let interrupt = session.interrupt.handled();
    let client = session.client()?;
    let servers = client.servers();
    let before = dropped_events(&client).await;
    let messages = follow_all(&servers, &args.streams, server_log::start_timeout(session));
    let output = &mut session.output;
    if output.layout() == Layout::Csv {
        output.records(COLUMNS)?.end()?;
    }
    let mut printer = LogPrinter::new(&servers);
    let is_interrupted = tokio::select! {
        ended = printer.print(messages, args.time, output) => ended.map(|()| false)?,
        () = interrupt.raised() => true,
    };
    let after = dropped_events(&client).await;
    let dropped = before.into_iter().zip(after).map(|(before, after)| after.saturating_sub(before));
    printer.skipped += dropped.sum::<u64>();
    output.flush()?;
    printer.report(is_interrupted, output.notes());
    let exit = printer.exit();
    Ok(if is_interrupted { interrupt.unless_raised(exit) } else { exit })
}

/// Prints the messages of all logs.
struct LogPrinter<'s> {
    servers: &'s [ServerHandle],
    /// The number of logs that have neither started nor failed.
    starting: usize,
    /// Whether a log has started.
    has_started: bool,
    counts: OutcomeCounts,
    events: u64,
    /// The number of events that the servers skipped.
    skipped: u64,
}

impl<'s> LogPrinter<'s> {
    fn new(servers: &'s [ServerHandle]) -> Self {
        Self {
            servers,
            starting: servers.len(),
            has_started: false,
            counts: OutcomeCounts::default(),
            events: 0,
            skipped: 0,
        }
    }

    /// Prints messages until all logs have ended, or until this time after all of them have started or failed.
    async fn print(
        &mut self,
        mut messages: mpsc::Receiver<(usize, Message)>,
        time: Option<Duration>,
        output: &mut Output,
    ) -> io::Result<()> {
        let deadline = tokio::time::sleep(Duration::MAX);
        tokio::pin!(deadline);
        loop {
            let message = tokio::select! {
                message = messages.recv() => message,
                () = &mut deadline => return Ok(()),
            };
            let settles = matches!(message, Some((_, Message::Started | Message::NotStarted(_))));
            match message {
                Some((server, Message::Line(line))) => {
                    self.print_event(server, &line, output)?;
                    if messages.is_empty() {
                        output.flush()?;
                    }
                }
                Some((_, Message::Started)) => self.start(output)?,
                Some((_, Message::NotStarted(failure) | Message::Failed(failure))) => {
                    // Reported at once: the other logs may go on for hours.
                    output.flush()?;
                    print_error(&failure.message);
                    failure.count(&mut self.counts);
                }
                None => return Ok(()),
            }
            self.starting -= usize::from(settles);
            if let (true, 0, Some(time)) = (settles, self.starting, time) {
                deadline.as_mut().reset(tokio::time::Instant::now() + time);
            }
        }
    }

    /// Prints the titles of the columns, so that a terminal on which nothing happens is not empty.
    fn start(&mut self, output: &mut Output) -> io::Result<()> {
        if std::mem::replace(&mut self.has_started, true) || output.layout() != Layout::Text {
            return Ok(());
        }
        let titles = self.columns("TIME", "SERVER", "EVENT").into_iter().chain(["KEY".into(), "DETAILS".into()]);
        let titles: Vec<_> = titles.map(|title| (TextStyle::Title, title)).collect();
        output.parts(&titles)?;
        output.flush()
    }

    /// Returns the texts of the first columns, padded to their widths; there is no server if it is the only one.
    fn columns(&self, time: &str, server: &str, event: &str) -> Vec<String> {
        let width = self.servers.iter().map(|server| server.name().chars().count()).max().unwrap_or_default();
        let server = (self.servers.len() > 1).then(|| format!("{server:<width$}"));
        let event = format!("{event:<EVENT_WIDTH$}");
        [format!("{time:<TIME_WIDTH$}")].into_iter().chain(server).chain([event]).collect()
    }

    fn print_event(&mut self, server: usize, bytes: &[u8], output: &mut Output) -> io::Result<()> {
        let (server, line) = (self.servers[server].name(), LogLine::parse(bytes));
        self.skipped += line.skipped();
        self.events += u64::from(line.kind().is_some());
        match output.layout() {
            Layout::Raw => output.line(format_args!("{server} {}", text::escaped(bytes))),
            Layout::Text => output.parts(&self.parts(server, line)),
            _ => output.more_records(COLUMNS).push(record(server, line)),
        }
    }

    /// Returns the parts of the line that shows an event.
    fn parts(&self, server: &str, line: LogLine<'_>) -> Vec<(TextStyle, String)> {
        let time = line.field("ts").and_then(time_of_day).unwrap_or_else(|| "-".into());
        let event = line.kind().map_or_else(String::new, |kind| text::inline(kind).into_owned());
        let columns = self.columns(&time, server, &event).into_iter().map(|column| (TextStyle::Plain, column));
        let key = line.key().map(|key| (TextStyle::Name, text::inline(&key).into_owned()));
        let details = details(line).filter(|(name, _)| *name != b"ts");
        let details: Vec<_> =
            details.map(|(name, value)| format!("{}={}", field_name(name), text::inline(value))).collect();
        let details = (!details.is_empty()).then(|| (TextStyle::Faint, details.join(" ")));
        columns.chain(key).chain(details).collect()
    }

    /// Prints how many events there were: to people, or to everyone if some are missing.
    fn report(&self, is_interrupted: bool, notes: Notes) {
        if is_interrupted {
            // The terminal has shown the ^C of the keyboard.
            notes.say("");
        }
        let events = number::exact(self.events);
        match self.skipped {
            0 if self.has_started => notes.say(format_args!("watched {events} events, 0 skipped by the servers")),
            0 => {}
            skipped => notes.print(format_args!(
                "watched {events} events, {} skipped by the servers: there were too many",
                number::exact(skipped)
            )),
        }
    }

    fn exit(mut self) -> Exit {
        if self.counts.failed() < self.servers.len() as u64 {
            self.counts.answer(true);
        }
        self.counts.exit_of_servers()
    }
}

fn follow_all(servers: &[ServerHandle], streams: &[WatchStream], limit: Duration) -> mpsc::Receiver<(usize, Message)> {
    let (sender, receiver) = mpsc::channel(CAPACITY);
    for (index, server) in servers.iter().enumerate() {
        tokio::spawn(follow(index, server.clone(), streams.to_vec(), limit, sender.clone()));
    }
    receiver
}

/// Sends the messages of one server; ends early, with `None`, when the command has ended.
async fn follow(
    index: usize,
    server: ServerHandle,
    streams: Vec<WatchStream>,
    limit: Duration,
    sender: mpsc::Sender<(usize, Message)>,
) -> Option<()> {
    let names: Vec<&str> = streams.iter().map(|stream| stream.name()).collect();
    let started = server_log::start(&server, &names.join(" "), limit).await;
    let mut log = match started {
        Ok(log) => log,
        Err(failure) => {
            let failure = explained(failure, &server, &streams).await;
            return sender.send((index, Message::NotStarted(failure))).await.ok();
        }
    };
    sender.send((index, Message::Started)).await.ok()?;
    while let Some(line) = log.next().await {
        let message = line.map_or_else(|error| Message::Failed(error.into()), Message::Line);
        sender.send((index, message)).await.ok()?;
    }
    Some(())
}

/// Replaces the `ERROR` of a server that lacks a stream by the version that it needs.
async fn explained(failure: LogFailure, server: &ServerHandle, streams: &[WatchStream]) -> LogFailure {
    if !streams.contains(&WatchStream::Deletions) || !failure.message.contains("ERROR") {
        return failure;
    }
    match server.version().await {
        Ok(version) => {
            let message = format!("{}: watch deletions needs memcached 1.6.20; this is {version}", server.name());
            LogFailure { message, ..failure }
        }
        Err(_) => failure,
    }
}

fn record(server: &str, line: LogLine<'_>) -> Record {
    let record = Record::new().with("server", server).with_some("event", line.kind().map(text::inline));
    let record = line.key().iter().fold(record, |record, key| record.with_bytes("key", key));
    details(line).fold(record, |record, (name, value)| record.with(&field_name(name), field_value(name, value)))
}

/// Returns the fields without those that have a column of their own, and without the number of the event.
fn details(line: LogLine<'_>) -> impl Iterator<Item = (&[u8], &[u8])> {
    let never: &[u8] = if line.kind() == Some(b"eviction") { b"-1" } else { b"0" };
    let is_detail = |(name, _): &(&[u8], _)| !matches!(*name, b"key" | b"type" | b"gid");
    line.fields().filter(is_detail).map(move |(name, value)| match name {
        b"ttl" if value == never => (name, &b"never"[..]),
        _ => (name, value),
    })
}

/// Returns a Unix time as local time of the day, to the millisecond.
fn time_of_day(seconds: &[u8]) -> Option<String> {
    let seconds: f64 = std::str::from_utf8(seconds).ok()?.parse().ok()?;
    let time = Timestamp::from_millisecond((seconds * 1e3) as i64).ok()?;
    Some(time.to_zoned(TimeZone::system()).strftime("%H:%M:%S%.3f").to_string())
}

/// Returns the name that a field of the log has outside of a pipe: the one that other commands use.
fn field_name(name: &[u8]) -> Cow<'_, str> {
    match name {
        b"ts" => "time".into(),
        b"cfd" => "fd".into(),
        b"cmd" => "command".into(),
        b"clsid" => "class".into(),
        b"fetch" => "fetched".into(),
        b"la" => "idle_seconds".into(),
        name => text::inline(name),
    }
}

/// Returns a field of the log as a truth value or number if it is one, else as text.
fn field_value(name: &[u8], value: &[u8]) -> Value {
    match (name, value) {
        (b"fetch", b"yes") => return true.into(),
        (b"fetch", b"no") => return false.into(),
        _ => {}
    }
    let is_number =
        value.first().is_some_and(u8::is_ascii_digit) && value.iter().all(|&b| b.is_ascii_digit() || b == b'.');
    let number = is_number.then(|| serde_json::from_slice::<serde_json::Number>(value).ok()).flatten();
    number.map_or_else(|| text::inline(value).into_owned().into(), Value::Number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(line: &str, name: &str) -> Value {
        record("a:1", LogLine::parse(line.as_bytes())).fields().find(|(known, _)| *known == name).unwrap().1.clone()
    }

    #[test]
    fn fields_of_events_have_the_names_and_values_of_other_commands() {
        let stored =
            "ts=1796302938.77 gid=27 type=item_store key=a%20b status=stored cmd=set ttl=0 clsid=1 cfd=26 size=1";
        assert_eq!(value(stored, "key"), "a b");
        assert_eq!(
            (value(stored, "ttl"), value(stored, "fd"), value(stored, "class")),
            ("never".into(), 26.into(), 1.into())
        );
        assert_eq!(value("ts=1.5 type=item_store key=k ttl=60", "ttl"), 60);
        let evicted = "ts=1.5 type=eviction key=k fetch=no ttl=-1 la=18 clsid=39 size=512000";
        assert_eq!((value(evicted, "ttl"), value(evicted, "fetched")), ("never".into(), false.into()));
        assert_eq!(value("ts=1.5 type=eviction key=k fetch=no ttl=0", "ttl"), 0);
    }

    #[test]
    fn times_are_shown_to_the_millisecond() {
        let time = time_of_day(b"1796302938.772131").unwrap();
        assert!(time.ends_with(":18.772") && time.len() == TIME_WIDTH, "{time}");
        assert_eq!(time_of_day(b"x"), None);
    }
}
