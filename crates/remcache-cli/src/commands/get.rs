//! `get`: fetches values, byte for byte.

use std::fs;
use std::path::{Path, PathBuf};

use remcache::client::Item;
use remcache::{Client, Error};

use crate::exit::{Exit, Failure, Outcome};
use crate::input::{Blocks, Keys};
use crate::interrupt::Interrupt;
use crate::output::{Layout, Output, Record, Tone, number, text};
use crate::session::Session;
use crate::tally::Tally;

/// Fetch values
///
/// One key: its exact bytes; in a pipe nothing is added to them. Many keys need a format
/// (-f ndjson, json, csv or text) or a directory (-d). Keys and values that are no UTF-8 are
/// printed as base64 in the fields key_b64 and value_b64.
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

    /// Show flags, CAS value and size in place of the value
    ///
    /// The time to live and the last access are not told by the binary wire.
    #[arg(long)]
    meta: bool,

    /// Write values that are no text to the terminal too
    #[arg(long)]
    raw: bool,
}

const COLUMNS: &[&str] = &["key", "key_b64", "status", "value", "value_b64", "flags", "cas", "bytes", "file", "error"];

/// How many keys are asked for at a time: what is in memory at once is bounded.
const CHUNK: usize = 500;

type Fetched = Result<Option<Item>, Error>;

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
            "the values of many keys cannot be told apart in a pipe; choose -f ndjson, json, csv or text, or -d DIR",
        )),
        _ if output.is_text() => lines(args, blocks, &client, interrupt, output).await,
        _ => records(args, blocks, &client, interrupt, output).await,
    }
}

async fn one(args: &Args, key: &[u8], client: &Client, output: &mut Output) -> Outcome {
    let Some(item) = client.get(key).await? else {
        output.notes().say(format_args!("{}: a miss", text::inline(key)));
        return Ok(Exit::No);
    };
    if let Some(path) = &args.output {
        fs::write(path, &item.value).map_err(|error| Failure::file(path, error))?;
    } else {
        print(&item.value, args.raw, output)?;
    }
    Ok(Exit::Yes)
}

/// Prints one value: exact in a pipe, and harmless on a terminal.
fn print(value: &[u8], raw: bool, output: &mut Output) -> Result<(), Failure> {
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
    output.notes().tell(format_args!(
        "{} bytes that are no text, the first {} shown; --raw writes them all, -o FILE keeps them",
        number::exact(value.len() as u64),
        shown.len(),
    ));
    Ok(())
}

/// How much of a value that is no text a terminal gets.
const SHOWN_BYTES: usize = 256;

async fn lines(
    args: &Args,
    mut blocks: Blocks<'_>,
    client: &Client,
    interrupt: &Interrupt,
    output: &mut Output,
) -> Outcome {
    interrupt.expect();
    let mut tally = Tally::default();
    while let Some(keys) = blocks.next()?.filter(|_| !interrupt.is_raised()) {
        for chunk in keys.chunks(CHUNK).take_while(|_| !interrupt.is_raised()) {
            for (key, fetched) in client.get_many(chunk).await {
                count(&fetched, &mut tally);
                let saved = save(args, key, &fetched)?;
                if let Some(line) = line(args, key, &fetched, saved.as_deref(), output) {
                    output.line(line)?;
                }
            }
            output.flush()?;
        }
    }
    tally.complain("keys", output)?;
    Ok(interrupt.unless_raised(tally.exit()))
}

fn line(args: &Args, key: &[u8], fetched: &Fetched, saved: Option<&Path>, output: &Output) -> Option<String> {
    let name = output.paint().apply(Tone::Name, text::inline(key));
    match (fetched, saved) {
        (Ok(Some(_)), Some(_)) if output.layout() == Layout::Raw => None,
        (Ok(Some(_)), Some(path)) => Some(format!("{name}\t{}", path.display())),
        (Ok(Some(item)), None) if args.meta => {
            Some(format!("{name}\tflags={} cas={} bytes={}", item.flags, item.cas, item.value.len()))
        }
        (Ok(Some(item)), None) => Some(format!("{name}\t{}", text::inline(&item.value))),
        (Ok(None), _) if output.layout() == Layout::Text => {
            Some(format!("{name}\t{}", output.paint().apply(Tone::Faint, "(missing)")))
        }
        _ => None,
    }
}

async fn records(
    args: &Args,
    mut blocks: Blocks<'_>,
    client: &Client,
    interrupt: &Interrupt,
    output: &mut Output,
) -> Outcome {
    interrupt.expect();
    let mut tally = Tally::default();
    let mut records = output.records(COLUMNS)?;
    while let Some(keys) = blocks.next()?.filter(|_| !interrupt.is_raised()) {
        for chunk in keys.chunks(CHUNK).take_while(|_| !interrupt.is_raised()) {
            for (key, fetched) in client.get_many(chunk).await {
                count(&fetched, &mut tally);
                let saved = save(args, key, &fetched)?;
                records.push(record(args, key, &fetched, saved.as_deref()))?;
            }
        }
    }
    records.end()?;
    tally.complain("keys", output)?;
    Ok(interrupt.unless_raised(tally.exit()))
}

fn record(args: &Args, key: &[u8], fetched: &Fetched, saved: Option<&Path>) -> Record {
    let record = Record::new().with_bytes("key", key);
    let item = match fetched {
        Ok(Some(item)) => item,
        Ok(None) => return record.with("status", "missing"),
        Err(error) => return record.with("status", "failed").with("error", error.to_string()),
    };
    let record = record.with("status", "found");
    let record = match (saved, args.meta) {
        (Some(path), _) => record.with("file", path.display().to_string()),
        (None, true) => record,
        (None, false) => record.with_bytes("value", &item.value),
    };
    record.with("flags", item.flags).with("cas", item.cas).with("bytes", item.value.len())
}

fn count(fetched: &Fetched, tally: &mut Tally) {
    match fetched {
        Ok(item) => tally.answer(item.is_some()),
        Err(error) => tally.error(error),
    }
}

/// Writes a value into the directory, if one is asked for.
fn save(args: &Args, key: &[u8], fetched: &Fetched) -> Result<Option<PathBuf>, Failure> {
    let (Some(directory), Ok(Some(item))) = (&args.directory, fetched) else { return Ok(None) };
    let path = directory.join(file_name(key));
    let parent = path.parent().unwrap_or(directory);
    fs::create_dir_all(parent).map_err(|error| Failure::file(parent, error))?;
    fs::write(&path, &item.value).map_err(|error| Failure::file(&path, error))?;
    Ok(Some(path))
}

/// A file name for any key. No two keys share one, and none leads out of the directory.
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
    // A name has at most 255 bytes, so a longer one goes on in a directory. Names are ASCII, and a
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
