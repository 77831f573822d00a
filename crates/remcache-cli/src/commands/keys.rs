//! `keys`: what the servers hold, listed by themselves.

use std::collections::BTreeMap;
use std::time::Instant;

use remcache::Client;
use remcache::proto::text::MetadumpItem;

use crate::bulk::{BATCH, BulkProgress, KeyScope, SkipReason, Summary, is_expired, list, total};
use crate::exit::Outcome;
use crate::output::{Cell, Column, Layout, Output, Record, Table, TextStyle, number, text};
use crate::selection::{self, Selection};
use crate::session::Session;
use crate::tally::Tally;

/// List the keys that the servers hold
///
/// The servers list them by themselves (lru_crawler metadump), on connections of their own; nothing is
/// fetched. What is stored or removed meanwhile may be missing or still there. With a namespace its
/// keys are listed, without it.
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

/// What to show of the items.
#[derive(Clone, Copy, Debug)]
pub(super) enum View<'a> {
    /// Each key.
    Keys,
    /// How many there are.
    Count,
    /// Sums by what stands before this separator.
    Tree(&'a str),
}

/// What is known of all keys with the same beginning.
#[derive(Debug, Default)]
struct Branch {
    keys: u64,
    bytes: u64,
    without_ttl: u64,
    never_read: u64,
}

pub(crate) async fn run(args: &Args, session: &mut Session) -> Outcome {
    let client = session.client()?;
    let scope = KeyScope::new(client.namespace(), &args.selection);
    let view = match (&args.tree, args.count) {
        (Some(separator), _) => View::Tree(separator),
        (None, true) => View::Count,
        (None, false) => View::Keys,
    };
    show(view, &client, &scope, session).await
}

/// Shows the items that are meant.
pub(super) async fn show(view: View<'_>, client: &Client, scope: &KeyScope, session: &mut Session) -> Outcome {
    let interrupt = session.interrupt.expect();
    let begun = Instant::now();
    let output = &mut session.output;
    let servers = client.servers();
    let mut summary = Summary::new("keys", None)?;
    let progress = progress(view, client, output).await;
    let mut batches = list(&servers, scope, BATCH)?;
    let mut tally = Tally::default();
    let mut branches = BTreeMap::new();
    let mut has_header = false;
    loop {
        let listed = tokio::select! {
            listed = batches.recv() => listed,
            () = interrupt.raised() => None,
        };
        let Some(listed) = listed else { break };
        let Some(batch) = listed.batch(|error| tally.error(error))? else { continue };
        let now = selection::now();
        let (expired, live): (Vec<_>, Vec<_>) = batch.items.iter().partition(|item| is_expired(item, now));
        summary.seen += batch.seen;
        summary.done(live.len() as u64, 0);
        expired.iter().try_for_each(|item| summary.skipped(&item.key, None, &SkipReason::Expired.into()))?;
        match view {
            View::Tree(separator) => live.iter().for_each(|item| sum_up(scope, item, separator, &mut branches)),
            View::Count => {}
            View::Keys => print(scope, &live, servers[batch.server].name(), &mut has_header, output)?,
        }
        progress.as_ref().inspect(|progress| progress.show(&summary));
    }
    drop(progress);
    if tally.failed() < servers.len() as u64 {
        tally.answer(true);
    }
    finish(view, summary.done_count(), &branches, has_header, output)?;
    let expired = match summary.skipped_count(SkipReason::Expired) {
        0 => String::new(),
        count => format!("; {} skipped: expired while listing", number::exact(count)),
    };
    let lines = number::exact(summary.seen);
    let time = number::duration(begun.elapsed());
    output.notes().say(format_args!("(metadump hash, {lines} lines, {time}{expired})"));
    tally.complain("servers", output)?;
    Ok(interrupt.unless_raised(tally.exit()))
}

/// Progress, unless the terminal shows the keys themselves.
async fn progress(view: View<'_>, client: &Client, output: &Output) -> Option<BulkProgress> {
    let shows_keys = matches!(view, View::Keys) && output.is_terminal();
    match output.notes().is_watched() && !shows_keys {
        true => Some(BulkProgress::new(output.notes(), total(client).await)),
        false => None,
    }
}

fn print(
    scope: &KeyScope,
    items: &[&MetadumpItem],
    server: &str,
    has_header: &mut bool,
    output: &mut Output,
) -> std::io::Result<()> {
    if items.is_empty() {
        return Ok(());
    }
    if output.is_text() {
        return items.iter().map(|item| scope.name_of(item)).try_for_each(|name| match output.layout() {
            // As they are, for the next program; a line end would make two of one.
            Layout::Raw if !name.contains(&b'\n') => output.bytes(name).and_then(|()| output.bytes(b"\n")),
            _ => output.line(text::inline(name)),
        });
    }
    // One list for all batches: it ends with the last.
    let mut records = match std::mem::replace(has_header, true) {
        false => output.records(COLUMNS)?,
        true => output.more_records(COLUMNS),
    };
    items.iter().try_for_each(|item| records.push(record(scope.name_of(item), item, server)))
}

fn record(name: &[u8], item: &MetadumpItem, server: &str) -> Record {
    Record::new()
        .with_bytes("key", name)
        .with("server", server)
        .with("size", item.size)
        .with_some("expires", selection::expiry(item))
        .with("last_access", item.last_access)
        .with("fetched", item.fetched)
        .with("class", item.class)
}

/// The sums of the keys with the same beginning.
type Branches = BTreeMap<Box<[u8]>, Branch>;

fn sum_up(scope: &KeyScope, item: &MetadumpItem, separator: &str, branches: &mut Branches) {
    let (key, separator) = (scope.name_of(item), separator.as_bytes());
    let at = key.windows(separator.len().max(1)).position(|window| window == separator);
    let name = match at {
        Some(at) => &key[..at + separator.len()],
        None => &b""[..],
    };
    let name = if branches.len() < MOST_BRANCHES || branches.contains_key(name) { name } else { OTHERS };
    if !branches.contains_key(name) {
        branches.insert(name.into(), Branch::default());
    }
    let Some(branch) = branches.get_mut(name) else { return };
    branch.keys += 1;
    branch.bytes += item.size;
    branch.without_ttl += u64::from(selection::expiry(item).is_none());
    branch.never_read += u64::from(!item.fetched);
}

/// With more beginnings than this a tree is no help, and takes memory: the rest is summed up in one.
const MOST_BRANCHES: usize = 50_000;
const OTHERS: &[u8] = b"(others)";

fn finish(
    view: View<'_>,
    counted: u64,
    branches: &Branches,
    has_header: bool,
    output: &mut Output,
) -> std::io::Result<()> {
    match view {
        View::Tree(_) => print_tree(branches, output),
        View::Count if output.is_text() => output.line(counted),
        View::Count => output.record(&["keys"], Record::new().with("keys", counted)),
        View::Keys if output.is_text() => Ok(()),
        View::Keys if has_header => output.more_records(COLUMNS).end(),
        View::Keys => output.records(COLUMNS)?.end(),
    }
}

fn print_tree(branches: &Branches, output: &mut Output) -> std::io::Result<()> {
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
    let mut table = Table::new([vec![Column::left("PREFIX")], titles.to_vec(), vec![Column::left("")]].concat());
    for (prefix, branch) in sorted {
        let name = if prefix.is_empty() { "(none)".into() } else { text::inline(prefix).to_string() };
        let percent = |count: u64| format!("{:.0}%", 100.0 * count as f64 / branch.keys.max(1) as f64);
        let (unread, remark) = match branch.never_read * 3 > branch.keys {
            true => {
                let remark = format!("← {} written and never fetched", percent(branch.never_read));
                (
                    Cell::new(percent(branch.never_read)).style(TextStyle::Warning),
                    Cell::new(remark).style(TextStyle::Faint),
                )
            }
            false => (Cell::new(percent(branch.never_read)), Cell::default()),
        };
        table.row([
            Cell::new(name).style(TextStyle::Name),
            Cell::new(number::count(branch.keys)),
            Cell::new(number::bytes(branch.bytes)),
            Cell::new(number::bytes(branch.bytes / branch.keys.max(1))),
            Cell::new(percent(branch.without_ttl)),
            unread,
            remark,
        ]);
    }
    output.table(&table)
}
