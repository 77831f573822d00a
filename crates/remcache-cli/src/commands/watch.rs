//! `watch`: what the servers do, as they do it.

use std::time::Duration;

use bytes::Bytes;
use clap::ValueEnum;
use remcache::Error;
use remcache::client::ServerHandle;
use remcache::proto::text::LogLine;
use tokio::sync::mpsc;

use crate::exit::{Failure, Outcome, complain};
use crate::options::value;
use crate::output::{Layout, Output, Record, Tone, text};
use crate::sample::events_left_out;
use crate::session::Session;
use crate::tally::Tally;

/// Show what the servers do, event by event, until interrupted
///
/// It is the servers' own log (watch), on connections of their own. A listener that is too slow is told
/// how many events it missed; it never slows a server down.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What to watch
    #[arg(value_enum, default_value = "fetchers")]
    streams: Vec<Stream>,

    /// End after so long
    #[arg(long = "for", value_name = "TIME", value_parser = value::duration)]
    time: Option<Duration>,
}

/// Kinds of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Stream {
    /// Fetches, hits and misses
    Fetchers,
    /// Stores, deletes, counters
    Mutations,
    /// Items that were removed to make room
    Evictions,
    /// Connections that come and go
    Connevents,
    /// Items that were deleted; since memcached 1.6.20
    Deletions,
}

impl Stream {
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

/// The fields that most events have, for tables: records have all.
const COLUMNS: &[&str] = &["server", "ts", "type", "key", "key_b64", "status", "cmd", "ttl", "clsid", "size"];

/// How many events may wait to be printed.
const WAITING: usize = 10_000;

pub(crate) async fn run(args: &Args, session: &mut Session) -> Outcome {
    if session.output.layout() == Layout::Json {
        return Err(Failure::usage("watch never ends a JSON document; use -f ndjson"));
    }
    let interrupt = session.interrupt.expect();
    let client = session.client()?;
    let servers = client.servers();
    let streams: Vec<&str> = args.streams.iter().map(|stream| stream.name()).collect();
    let before = events_left_out(&client).await;
    let mut events = listen(&servers, &streams.join(" "));
    let (mut tally, mut skipped) = (Tally::default(), 0);
    let deadline = async {
        match args.time {
            Some(time) => tokio::time::sleep(time).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(deadline);
    let output = &mut session.output;
    if output.layout() == Layout::Csv {
        output.records(COLUMNS)?.end()?;
    }
    let is_interrupted = loop {
        let event = tokio::select! {
            event = events.recv() => event,
            () = &mut deadline => break false,
            () = interrupt.raised() => break true,
        };
        match event {
            Some((server, Ok(line))) => {
                skipped += LogLine::parse(&line).skipped();
                print(servers[server].name(), &line, output)?;
                if events.is_empty() {
                    output.flush()?;
                }
            }
            Some((_, Err(error))) => {
                // Told at once: the others may go on for hours.
                output.flush()?;
                complain(&error);
                tally.error(&error);
            }
            None => break false,
        }
    };
    let after = events_left_out(&client).await;
    skipped += before.into_iter().zip(after).map(|(before, after)| after.saturating_sub(before)).sum::<u64>();
    if skipped > 0 {
        output.notes().tell(format_args!("{skipped} events were skipped by the servers: there were too many"));
    }
    if tally.failed() < servers.len() as u64 {
        tally.answer(true);
    }
    output.flush()?;
    Ok(if is_interrupted { interrupt.unless_raised(tally.exit_of_servers()) } else { tally.exit_of_servers() })
}

fn listen(servers: &[ServerHandle], streams: &str) -> mpsc::Receiver<(usize, Result<Bytes, Error>)> {
    let (sender, receiver) = mpsc::channel(WAITING);
    for (index, server) in servers.iter().enumerate() {
        let (mut log, sender) = (server.watch(streams), sender.clone());
        tokio::spawn(async move {
            while let Some(line) = log.next().await {
                // Whoever stopped listening wants no more.
                if sender.send((index, line)).await.is_err() {
                    return;
                }
            }
        });
    }
    receiver
}

fn print(server: &str, bytes: &[u8], output: &mut Output) -> std::io::Result<()> {
    let line = LogLine::parse(bytes);
    if output.layout() == Layout::Raw {
        return output.line(format_args!("{server} {}", text::inline(bytes)));
    }
    let fields = || line.fields().filter(|(name, _)| !matches!(*name, b"key" | b"type" | b"gid"));
    if output.is_text() {
        let paint = output.paint();
        let kind = line.kind().map_or_else(String::new, |kind| text::inline(kind).into_owned());
        let key = line.key().unwrap_or_default();
        let rest: Vec<String> =
            fields().map(|(name, value)| format!("{}={}", text::inline(name), text::inline(value))).collect();
        let rest = paint.apply(Tone::Faint, rest.join(" "));
        return output
            .line(format_args!("{server}  {kind:<12}  {}  {rest}", paint.apply(Tone::Name, text::inline(&key))));
    }
    let record = Record::new().with("server", server).with_some("type", line.kind().map(text::inline));
    let record = line.key().iter().fold(record, |record, key| record.with_bytes("key", key));
    let record = fields().fold(record, |record, (name, value)| record.with(&text::inline(name), text::inline(value)));
    output.more_records(COLUMNS).push(record)
}
