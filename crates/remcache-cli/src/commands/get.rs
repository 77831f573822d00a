//! `get`: fetches values, byte for byte.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use remcache::Item;
use remcache::recipes::Inspection;
use remcache::{Client, Error, Ttl};
use serde_json::Value;
use tokio::task::JoinSet;

use crate::atomic_file;
use crate::exit::{Exit, Failure, Outcome, words};
use crate::input::{Blocks, Keys};
use crate::interrupt::Interrupt;
use crate::outcome_counts::OutcomeCounts;
use crate::output::{Layout, Output, Record, TextStyle, number, text};
use crate::session::Session;

/// Fetch values
///
/// The value of one key is printed byte for byte; in a pipe nothing is added to it. Many keys need a format
/// (-f ndjson, json, csv or text) or a directory (-d). Keys and values that are not UTF-8 are printed as
/// base64 in the fields key_b64 and value_b64.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    keys: Keys,

    /// Write the value of one key into this file
    #[arg(short = 'o', long, value_name = "FILE", conflicts_with_all = ["directory", "meta"])]
    output: Option<PathBuf>,

    /// Write each value into this directory, into a file named after its key
    ///
    /// Bytes other than letters, digits, '-', '_' and '.' are written as %XX.
    #[arg(short = 'd', long, value_name = "DIR", conflicts_with = "meta")]
    directory: Option<PathBuf>,

    /// Show flags, CAS value, size, time to live and last access instead of the value
    ///
    /// Does not count as an access. A server that supports only the binary or the text protocol returns
    /// only flags, CAS value and size, and counts an access.
    #[arg(long)]
    meta: bool,

    /// Write binary values to a terminal, too
    #[arg(long)]
    raw: bool,
}

const COLUMNS: &[&str] = &[
    "key",
    "key_b64",
    "status",
    "value",
    "value_b64",
    "flags",
    "cas",
    "size",
    "ttl",
    "idle_seconds",
    "fetched",
    "file",
    "error",
];

/// Keys that are requested at a time, which bounds the memory.
const CHUNK: usize = 500;

type Fetched = Result<Option<Found>, Error>;

/// An item that was found.
#[derive(Debug)]
struct Found {
    flags: u32,
    cas: u64,
    size: u64,
    /// `None` where only its properties were asked for.
    value: Option<Bytes>,
    properties: Option<Properties>,
}

/// Fields that only the meta protocol returns.
#[derive(Debug)]
struct Properties {
    ttl: Option<Ttl>,
    idle: Option<Duration>,
    fetched: Option<bool>,
}

impl From<Item> for Found {
    fn from(item: Item) -> Self {
        let size = item.value.len() as u64;
        Self { flags: item.flags, cas: item.cas, size, value: Some(item.value), properties: None }
    }
}

impl From<Inspection> for Found {
    fn from(item: Inspection) -> Self {
        let properties = Properties { ttl: item.ttl, idle: item.last_access, fetched: item.fetched };
        let size = item.size.unwrap_or_default();
        Self { flags: item.flags, cas: item.cas, size, value: None, properties: Some(properties) }
    }
}

impl Properties {
    /// Returns the seconds that are left, or `never`.
    fn ttl(&self) -> Option<Value> {
        match self.ttl? {
            Ttl::Never => Some("never".into()),
            Ttl::After(remaining) => Some(remaining.as_secs().into()),
            _ => None,
        }
    }
}

/// Fetches some keys, in their order; with `--meta` their values stay where they are, if the protocol can.
async fn fetch(args: &Args, keys: &[Vec<u8>], client: &Client) -> Vec<Fetched> {
    match args.meta {
        true => inspect(keys, client).await,
        false => {
            let fetched = client.get_many(keys).await.into_iter();
            fetched.map(|(_, item)| item.map(|item| item.map(Found::from))).collect()
        }
    }
}

/// Requests the properties of items; from a server that has no such command, the items.
async fn inspect(keys: &[Vec<u8>], client: &Client) -> Vec<Fetched> {
    let mut tasks = JoinSet::new();
    for (index, key) in keys.iter().enumerate() {
        let (client, key) = (client.clone(), key.clone());
        tasks.spawn(async move { (index, client.inspect(key).await) });
    }
    let mut inspected = tasks.join_all().await;
    inspected.sort_by_key(|(index, _)| *index);
    let untold = |(index, answer): &(usize, Result<_, _>)| answer.is_err().then(|| keys[*index].as_slice());
    let untold: Vec<&[u8]> = inspected.iter().filter_map(untold).collect();
    let fetched = client.get_many(untold).await.into_iter();
    let mut fetched = fetched.map(|(_, item)| item.map(|item| item.map(|item| Found { value: None, ..item.into() })));
    let inspected = inspected.into_iter().map(|(_, answer)| match answer {
        Ok(item) => Ok(item.map(Found::from)),
        Err(error) => fetched.next().unwrap_or(Err(error)),
    });
    inspected.collect()
}

pub(crate) async fn run(args: &Args, session: &mut Session) -> Outcome {
    let blocks = args.keys.blocks()?;
    let client = session.client()?;
    let interrupt = &session.interrupt;
    let output = &mut session.output;
    let is_plain = !args.meta && args.directory.is_none() && output.is_text();
    match blocks.all() {
        Some([key]) if args.output.is_some() || is_plain => one(args, key, &client, output).await,
        _ if args.output.is_some() => Err(Failure::usage("-o takes the value of one key; use -d DIR for many")),
        None | Some([_, _, ..]) if is_plain && output.layout() == Layout::Raw => Err(Failure::usage(
            "the values of many keys cannot be separated in a pipe; choose -f ndjson, json, csv or text, or -d DIR",
        )),
        _ => many(args, blocks, &client, interrupt, output).await,
    }
}

async fn one(args: &Args, key: &[u8], client: &Client, output: &mut Output) -> Outcome {
    let Some(item) = client.get(key).await? else {
        output.notes().say(format_args!("{}: a miss", text::inline(key)));
        args.keys.suggest_patterns("keys", output.notes());
        return Ok(Exit::No);
    };
    if let Some(path) = &args.output {
        atomic_file::write(path, &item.value)?;
    } else {
        print(&item.value, args.raw, output)?;
    }
    Ok(Exit::Yes)
}

/// Prints one value: exact in a pipe, and harmless on a terminal.
pub(super) fn print(value: &[u8], raw: bool, output: &mut Output) -> Result<(), Failure> {
    if raw || !output.is_terminal() {
        return Ok(output.bytes(value)?);
    }
    if let Some(text) = text::as_text(value) {
        output.bytes(text.as_bytes())?;
        if !text.ends_with('\n') {
            output.line("")?;
        }
        return Ok(());
    }
    let shown = &value[..value.len().min(SHOWN_BYTES)];
    output.bytes(text::hexdump(shown).as_bytes())?;
    let kind = match std::str::from_utf8(value) {
        Ok(_) => "bytes of text with control or invisible characters",
        Err(_) => "bytes that are not text",
    };
    output.notes().print(format_args!(
        "{} {kind}, the first {} shown; --raw writes them all, -o FILE keeps them",
        number::exact(value.len() as u64),
        shown.len(),
    ));
    Ok(())
}

/// Bytes of a binary value that are shown on a terminal.
const SHOWN_BYTES: usize = 256;

/// Fetches the keys in chunks, which bounds the memory.
async fn many(args: &Args, mut blocks: Blocks, client: &Client, interrupt: &Interrupt, output: &mut Output) -> Outcome {
    interrupt.handled();
    let mut counts = OutcomeCounts::default();
    let mut list = output.list(COLUMNS)?;
    while let Some(keys) = blocks.next(interrupt).await? {
        for chunk in keys.chunks(CHUNK).take_while(|_| !interrupt.is_raised()) {
            for (key, fetched) in chunk.iter().zip(fetch(args, chunk, client).await) {
                count(key, &fetched, &mut counts);
                let saved = save(args, key, &fetched)?;
                let saved = saved.as_deref();
                list.push(
                    |output| line(key, &fetched, saved, output).map_or(Ok(()), |line| output.line(line)),
                    || record(key, &fetched, saved),
                )?;
            }
            list.flush()?;
        }
    }
    list.end()?;
    counts.report_failures("keys", output)?;
    if counts.no > 0 {
        args.keys.suggest_patterns("keys", output.notes());
    }
    Ok(interrupt.unless_raised(counts.exit()))
}

fn line(key: &[u8], fetched: &Fetched, saved: Option<&Path>, output: &Output) -> Option<String> {
    let name = output.paint().apply(TextStyle::Name, text::inline(key));
    match (fetched, saved) {
        (Ok(Some(_)), Some(_)) if output.layout() == Layout::Raw => None,
        (Ok(Some(_)), Some(path)) => Some(format!("{name}\t{}", path.display())),
        (Ok(Some(found)), None) => Some(match &found.value {
            Some(value) => format!("{name}\t{}", text::inline(value)),
            None => format!("{name}\t{}", properties(found)),
        }),
        (Ok(None), _) if output.layout() == Layout::Text => {
            Some(format!("{name}\t{}", output.paint().apply(TextStyle::Faint, "(missing)")))
        }
        (Err(_), _) if output.layout() == Layout::Text => {
            Some(format!("{name}\t{}", output.paint().apply(TextStyle::Bad, "(failed)")))
        }
        _ => None,
    }
}

fn properties(found: &Found) -> String {
    let mut line = format!("flags={} cas={} size={}", found.flags, found.cas, found.size);
    let Some(properties) = &found.properties else { return line };
    match properties.ttl() {
        Some(Value::Number(ttl)) => line += &format!(" ttl={ttl}s"),
        Some(_) => line += " ttl=never",
        None => {}
    }
    if let Some(idle) = properties.idle {
        line += &format!(" idle={}s", idle.as_secs());
    }
    if let Some(fetched) = properties.fetched {
        line += if fetched { " fetched=yes" } else { " fetched=no" };
    }
    line
}

fn record(key: &[u8], fetched: &Fetched, saved: Option<&Path>) -> Record {
    let record = Record::new().with_bytes("key", key);
    let found = match fetched {
        Ok(Some(found)) => found,
        Ok(None) => return record.with("status", "missing"),
        Err(error) => return record.with("status", "failed").with("error", words(error)),
    };
    let record = record.with("status", "found");
    let record = match (saved, &found.value) {
        (Some(path), _) => record.with("file", path.display().to_string()),
        (None, Some(value)) => record.with_bytes("value", value),
        (None, None) => record,
    };
    let record = record.with("flags", found.flags).with("cas", found.cas).with("size", found.size);
    let Some(properties) = &found.properties else { return record };
    record
        .with_some("ttl", properties.ttl())
        .with_some("idle_seconds", properties.idle.map(|idle| idle.as_secs()))
        .with_some("fetched", properties.fetched)
}

fn count(key: &[u8], fetched: &Fetched, counts: &mut OutcomeCounts) {
    match fetched {
        Ok(item) => counts.answer(item.is_some()),
        Err(error) => counts.key_error(key, error),
    }
}

/// Writes a value to a file in the directory, if there is one.
fn save(args: &Args, key: &[u8], fetched: &Fetched) -> Result<Option<PathBuf>, Failure> {
    let (Some(directory), Ok(Some(found))) = (&args.directory, fetched) else { return Ok(None) };
    let Some(value) = &found.value else { return Ok(None) };
    let path = directory.join(file_name(key));
    let parent = path.parent().unwrap_or(directory);
    fs::create_dir_all(parent).map_err(|error| Failure::file(parent, error))?;
    atomic_file::write(&path, value)?;
    Ok(Some(path))
}

/// Returns a file name for any key. No two keys share one, and none is outside the directory.
fn file_name(key: &[u8]) -> PathBuf {
    let mut name = String::new();
    for (index, &byte) in key.iter().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => name.push(char::from(byte)),
            // A leading dot would hide the file, or name a directory.
            b'.' if index > 0 => name.push('.'),
            _ => name.push_str(&format!("%{byte:02X}")),
        }
    }
    // A name has at most 255 bytes, so a longer one continues in a directory. Names are ASCII, and a
    // '+' stands in no other name: directories and files cannot meet.
    let mut path = PathBuf::new();
    let mut rest = name.as_str();
    while rest.len() > MAX_FILE_NAME {
        let (part, tail) = rest.split_at(MAX_FILE_NAME);
        path.push(format!("{part}+"));
        rest = tail;
    }
    path.join(rest)
}

const MAX_FILE_NAME: usize = 240;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_key_has_a_file_name_inside_the_directory() {
        let cases: [(&[u8], &str); 6] = [
            (b"user:42", "user%3A42"),
            (b"../../etc/passwd", "%2E.%2F..%2Fetc%2Fpasswd"),
            (b".", "%2E"),
            (b"a.b-c_d", "a.b-c_d"),
            (b"100%", "100%25"),
            (b"\xff\0", "%FF%00"),
        ];
        for (key, name) in cases {
            assert_eq!(file_name(key), Path::new(name));
        }
    }

    #[test]
    fn long_names_go_on_in_a_directory() {
        let path = file_name(&[b'/'; 250]);
        let parts: Vec<_> = path.iter().map(|part| part.len()).collect();
        assert_eq!(parts, [241, 241, 241, 30]);
        assert_ne!(file_name(&[b'a'; 240]), file_name(&[b'a'; 241]).parent().unwrap());
    }
}
