//! `exists`: reports whether keys have items.

use remcache::proto::Request;
use remcache::{Client, Reply, Status};

use super::server_error::ServerError;
use crate::exit::Outcome;
use crate::input::Keys;
use crate::outcome_counts::OutcomeCounts;
use crate::output::{Output, Record, TextStyle, text};
use crate::session::Session;

/// Check whether keys exist; exit code 0 if all do, 1 if one does not
///
/// It does not count as an access, unless a server supports only the binary or the text protocol.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    keys: Keys,
}

const COLUMNS: &[&str] = &["key", "key_b64", "status", "error"];

/// Keys that are requested at a time, which bounds the memory.
const CHUNK: usize = 500;

pub(crate) async fn run(args: &Args, session: &mut Session) -> Outcome {
    let mut blocks = args.keys.blocks()?;
    let client = session.client()?;
    let interrupt = session.interrupt.handled();
    let output = &mut session.output;
    let mut counts = OutcomeCounts::default();
    let mut list = output.list(COLUMNS)?;
    while let Some(keys) = blocks.next(&interrupt).await? {
        for chunk in keys.chunks(CHUNK).take_while(|_| !interrupt.is_raised()) {
            for (key, exists) in chunk.iter().zip(exist(chunk, &client).await) {
                match &exists {
                    Ok(exists) => counts.answer(*exists),
                    Err(error) => error.count(key, &mut counts),
                }
                list.push(|output| line(key, word(&exists), output), || record(key, &exists))?;
            }
        }
    }
    list.end()?;
    let output = &mut session.output;
    counts.report_failures("keys", output)?;
    Ok(interrupt.unless_raised(counts.exit()))
}

/// Requests the properties of the items; from a server that has no such command, the items.
pub(super) async fn exist(keys: &[Vec<u8>], client: &Client) -> Vec<Result<bool, ServerError>> {
    let mut replies = client.call_many(keys.iter().map(Request::inspect)).await;
    let unsupported: Vec<usize> =
        (0..keys.len()).filter(|&index| replies[index].status == Status::Unsupported).collect();
    let fetched = client.call_many(unsupported.iter().map(|&index| Request::get(&keys[index]))).await;
    for (index, reply) in unsupported.into_iter().zip(fetched) {
        replies[index] = reply;
    }
    let exists = |(key, reply): (&Vec<u8>, &Reply)| match reply.status {
        Status::NoError => Ok(true),
        Status::KeyNotFound => Ok(false),
        _ => {
            let server = client.locate(key).ok().flatten();
            Err(ServerError::new(reply, server.as_ref().map_or("no server", |server| server.name())))
        }
    };
    keys.iter().zip(&replies).map(exists).collect()
}

fn word(exists: &Result<bool, ServerError>) -> (&'static str, TextStyle) {
    match exists {
        Ok(true) => ("found", TextStyle::Good),
        Ok(false) => ("missing", TextStyle::Faint),
        Err(_) => ("failed", TextStyle::Bad),
    }
}

fn record(key: &[u8], exists: &Result<bool, ServerError>) -> Record {
    let error = exists.as_ref().err().map(|error| &*error.message);
    Record::new().with_bytes("key", key).with("status", word(exists).0).with_some("error", error)
}

fn line(key: &[u8], (word, style): (&str, TextStyle), output: &mut Output) -> std::io::Result<()> {
    let word = output.paint().apply(style, word);
    output.line(format_args!("{}\t{word}", text::inline(key)))
}
