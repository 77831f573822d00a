//! `keys`: what the servers hold, listed by themselves.

use std::collections::BTreeMap;
use std::time::Instant;

use remcache::Error;
use remcache::client::ServerHandle;
use remcache::proto::text::MetadumpItem;
use tokio::sync::mpsc;

use crate::exit::Outcome;
use crate::output::{Cell, Column, Layout, Output, Record, Table, Tone, number, text};
use crate::selection::{self, Selection};
use crate::session::Session;
use crate::tally::Tally;

/// List the keys that the servers hold
///
/// The servers list them by themselves (lru_crawler metadump), on connections of their own; nothing is
/// fetched. What is stored or removed meanwhile may be missing or still there.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    selection: Selection,

    /// Print how many there are, and no keys
    #[arg(long, conflicts_with = "tree")]
    count: bool,

    /// Sum up by what stands before the first SEPARATOR, such as :
    #[arg(long, value_name = "SEPARATOR")]
    tree: Option<String>,
}

const COLUMNS: &[&str] = &["key", "key_b64", "server", "size", "expires", "last_access", "fetched", "class"];

/// Items on their way from a server's list: some at a time.
type Batch = (usize, Result<Vec<MetadumpItem>, Error>);

/// How many items are handed on at a time, and how many batches may wait.
const BATCH: usize = 500;
const WAITING: usize = 16;

/// What is known of all keys with the same beginning.
#[derive(Debug, Default)]
struct Branch {
    keys: u64,
    bytes: u64,
    without_ttl: u64,
    never_read: u64,
}

pub(crate) async fn run(args: &Args, session: &mut Session) -> Outcome {
    let interrupt = session.interrupt.expect();
    let servers = session.client()?.servers();
    let begun = Instant::now();
    let mut batches = list(&servers);
    let (mut tally, mut counted) = (Tally::default(), 0_u64);
    let mut branches = BTreeMap::new();
    let output = &mut session.output;
    let mut has_header = false;
    loop {
        let batch = tokio::select! {
            batch = batches.recv() => batch,
            () = interrupt.raised() => None,
        };
        let Some((server, batch)) = batch else { break };
        let Ok(items) = batch.map_err(|error| tally.error(&error)) else { continue };
        let now = selection::now();
        let meant: Vec<&MetadumpItem> = items.iter().filter(|item| args.selection.fits(item, now)).collect();
        counted += meant.len() as u64;
        match (&args.tree, args.count) {
            (Some(separator), _) => meant.into_iter().for_each(|item| sum_up(item, separator, &mut branches)),
            (None, true) => {}
            (None, false) => print(&meant, servers[server].name(), &mut has_header, output)?,
        }
    }
    if tally.failed() < servers.len() as u64 {
        tally.answer(true);
    }
    finish(args, counted, &branches, has_header, output)?;
    output.notes().say(format_args!("{} keys, {}", number::exact(counted), number::duration(begun.elapsed())));
    tally.complain("servers", output)?;
    Ok(interrupt.unless_raised(tally.exit()))
}

/// Lists all servers at once; whoever receives is not flooded.
fn list(servers: &[ServerHandle]) -> mpsc::Receiver<Batch> {
    let (sender, receiver) = mpsc::channel(WAITING);
    for (index, server) in servers.iter().enumerate() {
        let (mut items, sender) = (server.metadump(), sender.clone());
        tokio::spawn(async move {
            let mut batch = Vec::with_capacity(BATCH);
            while let Some(item) = items.next().await {
                match item {
                    Ok(item) => batch.push(item),
                    Err(error) => {
                        let _ = sender.send((index, Ok(std::mem::take(&mut batch)))).await;
                        let _ = sender.send((index, Err(error))).await;
                    }
                }
                if batch.len() == BATCH && sender.send((index, Ok(std::mem::take(&mut batch)))).await.is_err() {
                    return;
                }
            }
            // Whoever stopped listening wants no more.
            let _ = sender.send((index, Ok(batch))).await;
        });
    }
    receiver
}

fn print(items: &[&MetadumpItem], server: &str, has_header: &mut bool, output: &mut Output) -> std::io::Result<()> {
    if items.is_empty() {
        return Ok(());
    }
    if output.is_text() {
        return items.iter().try_for_each(|item| match output.layout() {
            // As they are, for the next program; a line end would make two of one.
            Layout::Raw if !item.key.contains(&b'\n') => output.bytes(&[&item.key, &b"\n"[..]].concat()),
            _ => output.line(text::inline(&item.key)),
        });
    }
    // One list for all batches: it ends with the last.
    let mut records = match std::mem::replace(has_header, true) {
        false => output.records(COLUMNS)?,
        true => output.more_records(COLUMNS),
    };
    items.iter().try_for_each(|item| records.push(record(item, server)))
}

fn record(item: &MetadumpItem, server: &str) -> Record {
    Record::new()
        .with_bytes("key", &item.key)
        .with("server", server)
        .with("size", item.size)
        .with_some("expires", selection::expiry(item))
        .with("last_access", item.last_access)
        .with("fetched", item.fetched)
        .with("class", item.class)
}

fn sum_up(item: &MetadumpItem, separator: &str, branches: &mut BTreeMap<Vec<u8>, Branch>) {
    let separator = separator.as_bytes();
    let at = item.key.windows(separator.len().max(1)).position(|window| window == separator);
    let name = match at {
        Some(at) => &item.key[..at + separator.len()],
        None => &b""[..],
    };
    if !branches.contains_key(name) {
        branches.insert(name.to_vec(), Branch::default());
    }
    let Some(branch) = branches.get_mut(name) else { return };
    branch.keys += 1;
    branch.bytes += item.size;
    branch.without_ttl += u64::from(selection::expiry(item).is_none());
    branch.never_read += u64::from(!item.fetched);
}

fn finish(
    args: &Args,
    counted: u64,
    branches: &BTreeMap<Vec<u8>, Branch>,
    has_header: bool,
    output: &mut Output,
) -> std::io::Result<()> {
    match (&args.tree, args.count) {
        (Some(_), _) => print_tree(branches, output),
        (None, true) if output.is_text() => output.line(counted),
        (None, true) => output.record(&["keys"], Record::new().with("keys", counted)),
        (None, false) if output.is_text() => Ok(()),
        (None, false) if has_header => output.more_records(COLUMNS).end(),
        (None, false) => output.records(COLUMNS)?.end(),
    }
}

fn print_tree(branches: &BTreeMap<Vec<u8>, Branch>, output: &mut Output) -> std::io::Result<()> {
    let mut sorted: Vec<_> = branches.iter().collect();
    sorted.sort_by_key(|(_, branch)| std::cmp::Reverse(branch.bytes));
    if !output.is_text() {
        let mut records = output.records(&["prefix", "prefix_b64", "keys", "bytes", "without_ttl", "never_read"])?;
        for (prefix, branch) in sorted {
            let record =
                Record::new().with_bytes("prefix", prefix).with("keys", branch.keys).with("bytes", branch.bytes);
            records.push(record.with("without_ttl", branch.without_ttl).with("never_read", branch.never_read))?;
        }
        return records.end();
    }
    let titles = ["KEYS", "BYTES", "AVG", "NO-TTL", "NEVER READ"].map(Column::right);
    let mut table = Table::new([vec![Column::left("PREFIX")], titles.to_vec()].concat());
    for (prefix, branch) in sorted {
        let name = if prefix.is_empty() { "(none)".into() } else { text::inline(prefix).to_string() };
        let percent =
            |count| number::percent(count, branch.keys).map_or_else(Cell::unknown, |text| Cell::new(text + "%"));
        let unread = percent(branch.never_read);
        let unread = if branch.never_read * 3 > branch.keys { unread.tone(Tone::Warning) } else { unread };
        table.row([
            Cell::new(name).tone(Tone::Name),
            Cell::new(number::count(branch.keys)),
            Cell::new(number::bytes(branch.bytes)),
            Cell::new(number::bytes(branch.bytes / branch.keys.max(1))),
            percent(branch.without_ttl),
            unread,
        ]);
    }
    output.table(&table)
}
