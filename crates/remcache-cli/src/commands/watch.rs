//! `watch`: the servers' own logs, event by event.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use clap::ValueEnum;
use remcache::ServerHandle;
use remcache::proto::text::LogLine;
use serde_json::Value;
use tokio::sync::mpsc;

use super::server_log::{self, LogFailure};
use crate::exit::{Exit, Failure, Outcome, print_error};
use crate::options::value;
use crate::outcome_counts::OutcomeCounts;
use crate::output::{Layout, Output, Record, TextStyle, text};
use crate::session::Session;
use crate::stats::dropped_events;

/// Show the servers' events as they happen, until interrupted
///
/// These are the servers' own logs (watch), on connections of their own. A server that cannot write its log
/// fast enough drops events and reports how many; it never waits for the tool.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Events to show
    #[arg(value_enum, default_value = "fetchers")]
    streams: Vec<WatchStream>,

    /// Stop after this time
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
    /// The server has confirmed the request, or its failure follows.
    Started,
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
    let skipped = printer.skipped + dropped.sum::<u64>();
    if skipped > 0 {
        output.notes().print(format_args!("{skipped} events were skipped by the servers: there were too many"));
    }
    output.flush()?;
    let exit = printer.exit();
    Ok(if is_interrupted { interrupt.unless_raised(exit) } else { exit })
}

/// Prints the messages of all logs.
struct LogPrinter<'s> {
    servers: &'s [ServerHandle],
    /// The number of logs that have neither started nor failed.
    starting: usize,
    counts: OutcomeCounts,
    /// The number of events that the servers skipped, as their logs say.
    skipped: u64,
}

impl<'s> LogPrinter<'s> {
    fn new(servers: &'s [ServerHandle]) -> Self {
        Self { servers, starting: servers.len(), counts: OutcomeCounts::default(), skipped: 0 }
    }

    /// Prints messages until all logs have ended, or until this time after all of them have started or failed.
    async fn print(
        &mut self,
        mut messages: mpsc::Receiver<(usize, Message)>,
        time: Option<Duration>,
        output: &mut Output,
    ) -> std::io::Result<()> {
        let deadline = tokio::time::sleep(Duration::MAX);
        tokio::pin!(deadline);
        loop {
            let message = tokio::select! {
                message = messages.recv() => message,
                () = &mut deadline => return Ok(()),
            };
            match message {
                Some((server, Message::Line(line))) => {
                    self.skipped += LogLine::parse(&line).skipped();
                    print(self.servers[server].name(), &line, output)?;
                    if messages.is_empty() {
                        output.flush()?;
                    }
                }
                Some((_, Message::Started)) => {
                    self.starting -= 1;
                    if let (0, Some(time)) = (self.starting, time) {
                        deadline.as_mut().reset(tokio::time::Instant::now() + time);
                    }
                }
                Some((_, Message::Failed(failure))) => {
                    // Reported at once: the other logs may go on for hours.
                    output.flush()?;
                    print_error(&failure.message);
                    failure.count(&mut self.counts);
                }
                None => return Ok(()),
            }
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
    sender.send((index, Message::Started)).await.ok()?;
    let mut log = match started {
        Ok(log) => log,
        Err(failure) => {
            let failure = explained(failure, &server, &streams).await;
            return sender.send((index, Message::Failed(failure))).await.ok();
        }
    };
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

fn print(server: &str, bytes: &[u8], output: &mut Output) -> std::io::Result<()> {
    let line = LogLine::parse(bytes);
    if output.layout() == Layout::Raw {
        return output.line(format_args!("{server} {}", text::escaped(bytes)));
    }
    let fields = || line.fields().filter(|(name, _)| !matches!(*name, b"key" | b"type" | b"gid"));
    if output.is_text() {
        let paint = output.paint();
        let kind = line.kind().map_or_else(String::new, |kind| text::inline(kind).into_owned());
        let key = line.key().unwrap_or_default();
        let rest: Vec<String> =
            fields().map(|(name, value)| format!("{}={}", text::inline(name), text::inline(value))).collect();
        let rest = paint.apply(TextStyle::Faint, rest.join(" "));
        return output
            .line(format_args!("{server}  {kind:<12}  {}  {rest}", paint.apply(TextStyle::Name, text::inline(&key))));
    }
    let record = Record::new().with("server", server).with_some("event", line.kind().map(text::inline));
    let record = line.key().iter().fold(record, |record, key| record.with_bytes("key", key));
    let record =
        fields().fold(record, |record, (name, value)| record.with(&field_name(name), field_value(name, value)));
    output.more_records(COLUMNS).push(record)
}

/// Returns the name that a field of the log has in the structured layouts: the one that other commands use.
fn field_name(name: &[u8]) -> Cow<'_, str> {
    match name {
        b"ts" => "time".into(),
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
