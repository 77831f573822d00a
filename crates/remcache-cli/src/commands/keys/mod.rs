//! `keys`: lists the keys of the servers, the largest items, or sums by prefix.

mod top;
mod tree;

use std::time::{Duration, Instant};

use remcache::proto::text::MetadumpItem;
use remcache::{Client, ServerHandle};
use unicode_width::UnicodeWidthStr as _;

use super::prefix::PrefixRule;
use crate::bulk::{
    BATCH, BulkProgress, KeyScope, Placement, SkipReason, Summary, count_listing_error, is_expired, list, total,
};
use crate::exit::{Exit, Failure, Outcome};
use crate::outcome_counts::OutcomeCounts;
use crate::output::{Layout, Output, Record, TextStyle, number, text};
use crate::same_server;
use crate::selection::{self, Glob, Selection};
use crate::session::Session;
pub(super) use top::SortKey;
use top::TopItems;
use tree::Tree;

/// List the keys of the servers
///
/// The servers list their keys themselves (lru_crawler metadump), on connections of their own; nothing is
/// fetched. Items that are stored or removed during the command may be listed or not. With a namespace only
/// its keys are listed, without the namespace.
///
/// In a pipe keys are printed unchanged, one per line; -0 ends each with a NUL byte instead, for keys that
/// contain line ends.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  remcache keys --prefix user: --idle-above 7d
  remcache keys --sort size --top 20
  remcache keys --tree :                            (memory by first part)
  remcache keys --tree : --depth 2 --prefix shop:   (by the part after shop:)
  remcache keys 'session:*' --count

Columns of --sort and --top:
  SIZE        bytes that the item takes in memory, with its key and header
  TTL         time until it expires
  IDLE        time since its last access
  KEY         key
  SERVER      server that has it

Columns of --tree:
  PREFIX      prefix of the keys, (none) if a key has no SEPARATOR
  ITEMS       number of items; a key that two servers have counts twice
  BYTES, AVG  bytes that the items take in memory, all and on average
  NO-TTL      items that never expire
  NEVER READ  items that were not read since they were stored
  MISPLACED   those of the items that --misplaced lists, if there are any

Columns of --misplaced, on a terminal or with -f text:
  SERVER      server that has the item
  BELONGS TO  server on which clients look for it
  KEY         key")]
pub(crate) struct Args {
    /// Only keys that match this pattern with * and ?: user:* or session:????
    #[arg(value_name = "PATTERN", value_parser = selection::glob)]
    pattern: Option<Glob>,

    #[command(flatten)]
    selection: Selection,

    /// List only misplaced items, which are on another server than the one that their key belongs to
    ///
    /// They are left over from another list of servers; with replicas=N in the URL, the replicas are listed
    /// too. A server that has left the list is not asked, and clients use none of its items: remcache keys -s
    /// SERVER lists them, and remcache copy --from SERVER --to LIST adds those that are missing to the others.
    #[arg(long)]
    misplaced: bool,

    /// Print only the number of keys; a key that two servers have counts twice
    #[arg(long, conflicts_with_all = ["tree", "sort", "top", "null"])]
    count: bool,

    /// Sum up by prefix, which ends at the first SEPARATOR, such as :
    #[arg(long, visible_alias = "by-prefix", value_name = "SEPARATOR", conflicts_with_all = ["sort", "null"])]
    tree: Option<String>,

    /// With --tree: number of parts in a prefix
    #[arg(long, value_name = "N", default_value_t = 1, requires = "tree", value_parser = clap::value_parser!(u32).range(1..))]
    depth: u32,

    /// Show the first items in this order, the largest first
    #[arg(long, value_name = "BY", value_enum)]
    sort: Option<SortKey>,

    /// Show only this many items, the largest unless --sort names another order, or with --tree this many prefixes;
    /// without it, --sort and, on a terminal, --tree show 20
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    top: Option<u32>,

    /// End each key with a NUL byte instead of a line end
    #[arg(short = '0', long)]
    null: bool,
}

/// Number of items that --sort shows, and of prefixes that --tree shows on a terminal.
const DEFAULT_TOP: usize = 20;

const COLUMNS: &[&str] = &["key", "key_b64", "server", "item_size", "expires", "last_access", "fetched", "class"];
const MISPLACED_COLUMNS: &[&str] =
    &["key", "key_b64", "server", "belongs_to", "item_size", "expires", "last_access", "fetched", "class"];

/// A view of the items.
#[derive(Clone, Debug)]
pub(super) enum View {
    /// Each key, followed by this byte in a pipe.
    Keys { end: u8 },
    /// The number of keys.
    Count,
    /// Sums by prefix.
    Tree { rule: PrefixRule, limit: Option<usize> },
    /// The first items in an order.
    Top { sort: SortKey, limit: usize, end: u8 },
}

/// The items of a listing.
pub(super) struct Items<'c> {
    pub(super) client: &'c Client,
    pub(super) scope: &'c KeyScope,
    pub(super) placement: &'c Placement,
    /// Limits the listing to misplaced items.
    pub(super) only_misplaced: bool,
}

impl Items<'_> {
    /// Returns whether an item of a server belongs to the listing, apart from the selection.
    pub(super) fn includes(&self, item: &MetadumpItem, server: &ServerHandle) -> bool {
        !self.only_misplaced || self.is_misplaced(item, server)
    }

    /// Returns whether clients look for an item of a server on another server.
    fn is_misplaced(&self, item: &MetadumpItem, server: &ServerHandle) -> bool {
        self.placement.is_misplaced(self.scope, item, server)
    }

    /// Returns the server on which clients look for a misplaced item.
    fn belongs_to(&self, name: &[u8]) -> Option<String> {
        let placement = self.only_misplaced.then_some(self.placement)?;
        Some(placement.server_of(name)?.name().to_owned())
    }

    /// Returns the fields of the records.
    fn columns(&self) -> &'static [&'static str] {
        if self.only_misplaced { MISPLACED_COLUMNS } else { COLUMNS }
    }

    /// Returns the record of an item on a server.
    fn record(&self, name: &[u8], item: &MetadumpItem, server: &str) -> Record {
        Record::new()
            .with_bytes("key", name)
            .with("server", server)
            .with_some("belongs_to", self.belongs_to(name))
            .with("item_size", item.size)
            .with_some("expires", selection::expiry(item))
            .with("last_access", item.last_access)
            .with("fetched", item.fetched)
            .with("class", item.class)
    }
}

pub(crate) async fn run(args: &Args, session: &mut Session) -> Outcome {
    let client = session.client()?;
    let scope = KeyScope::new(client.namespace(), &args.selection.clone().and(args.pattern.clone()));
    let end = if args.null { b'\0' } else { b'\n' };
    let limit = args.top.map(|top| top as usize);
    let output = &session.output;
    let view = match (&args.tree, args.sort) {
        (Some(separator), _) => {
            let default = Some(DEFAULT_TOP).filter(|_| output.is_terminal() && output.is_text());
            View::Tree { rule: PrefixRule::new(separator, args.depth as usize), limit: limit.or(default) }
        }
        (None, None) if args.count => View::Count,
        (None, None) if limit.is_none() => View::Keys { end },
        (None, sort) => View::Top { sort: sort.unwrap_or(SortKey::Size), limit: limit.unwrap_or(DEFAULT_TOP), end },
    };
    let lists_keys = !matches!(view, View::Count);
    let placement = Placement::of(&client);
    let items = Items { client: &client, scope: &scope, placement: &placement, only_misplaced: args.misplaced };
    let (count, exit) = show(view, &items, session).await?;
    if args.misplaced && lists_keys && count == 0 && exit == Exit::Yes {
        session.output.notes().print("no items are misplaced");
    }
    Ok(exit)
}

/// Lists items and prints them; returns their number and the exit code.
pub(super) async fn show(view: View, items: &Items<'_>, session: &mut Session) -> Result<(u64, Exit), Failure> {
    let interrupt = session.interrupt.handled();
    let started = Instant::now();
    let output = &mut session.output;
    let servers = items.client.servers();
    same_server::warn(items.client, output.notes()).await;
    let mut summary = Summary::new("keys", None)?;
    let progress = progress(&view, &servers, output).await;
    let mut batches = list(&servers, items.scope, BATCH)?;
    let mut counts = OutcomeCounts::default();
    let mut printer = ItemPrinter::new(view, items);
    loop {
        let event = tokio::select! {
            event = batches.recv() => event,
            () = interrupt.raised() => None,
        };
        let Some(event) = event else { break };
        let Some(batch) = event.batch(|error| count_listing_error(error, &mut counts))? else { continue };
        let server = &servers[batch.server];
        let now = selection::now();
        let included = batch.items.iter().filter(|item| items.includes(item, server));
        let (expired, live): (Vec<_>, Vec<_>) = included.partition(|item| is_expired(item, now));
        summary.seen += batch.seen;
        summary.done(live.len() as u64, 0);
        expired.iter().try_for_each(|item| summary.skipped(&item.key, None, &SkipReason::Expired.into()))?;
        printer.add(&live, server, output)?;
        progress.as_ref().inspect(|progress| progress.show(&summary));
    }
    drop(progress);
    if counts.failed() < servers.len() as u64 {
        counts.answer(true);
    }
    let misplaced = printer.misplaced;
    let unprintable = printer.finish(summary.done_count(), &counts, output)?;
    output.flush()?;
    output.notes().say(describe(&summary, misplaced, started.elapsed()));
    if unprintable > 0 {
        let message = "a key that a line cannot hold was left out: use -0 or -f ndjson";
        counts.failures(message, Exit::No, unprintable);
    }
    counts.report_failures(if unprintable > 0 { "keys" } else { "servers" }, output)?;
    Ok((summary.done_count(), interrupt.unless_raised(counts.exit())))
}

/// Describes a listing: `(12 of 1,500 items, 3 of them misplaced; 3.1ms)`.
fn describe(summary: &Summary, misplaced: u64, time: Duration) -> String {
    let (listed, all) = (summary.done_count(), number::items(summary.seen));
    let items = if listed == summary.seen { all } else { format!("{} of {all}", number::exact(listed)) };
    let some = |count: u64, what: &str| match count {
        0 => String::new(),
        count => format!(", {} {what}", number::exact(count)),
    };
    let misplaced = some(misplaced, "of them misplaced");
    let expired = some(summary.skipped_count(SkipReason::Expired), "expired in the meantime");
    format!("({items}{misplaced}{expired}; {})", number::duration(time))
}

/// Creates the progress display, unless the terminal shows the keys themselves.
async fn progress(view: &View, servers: &[ServerHandle], output: &Output) -> Option<BulkProgress> {
    let shows_keys = matches!(view, View::Keys { .. }) && output.is_terminal();
    match output.notes().is_watched() && !shows_keys {
        true => Some(BulkProgress::new(output.notes(), total(servers).await)),
        false => None,
    }
}

/// Prints items in a view.
struct ItemPrinter<'s> {
    view: View,
    items: &'s Items<'s>,
    tree: Tree,
    top: TopItems,
    has_header: bool,
    /// Number of keys that a pipe could not represent.
    unprintable: u64,
    /// Number of misplaced items, for views that count items wherever they are.
    misplaced: u64,
}

impl<'s> ItemPrinter<'s> {
    fn new(view: View, items: &'s Items<'s>) -> Self {
        let top = match view {
            View::Top { sort, limit, .. } => TopItems::new(sort, limit),
            _ => TopItems::new(SortKey::Size, 0),
        };
        Self { view, items, tree: Tree::default(), top, has_header: false, unprintable: 0, misplaced: 0 }
    }

    fn add(&mut self, items: &[&MetadumpItem], server: &ServerHandle, output: &mut Output) -> std::io::Result<()> {
        match &self.view {
            View::Tree { rule, .. } => {
                for item in items {
                    let is_misplaced = self.is_counted_as_misplaced(item, server);
                    self.misplaced += u64::from(is_misplaced);
                    self.tree.add(self.items.scope.name_of(item), item, is_misplaced, rule);
                }
            }
            View::Top { .. } => {
                items.iter().for_each(|item| self.top.add(self.items.scope.name_of(item), item, server.name()));
            }
            View::Count => {
                let misplaced = items.iter().filter(|item| self.is_counted_as_misplaced(item, server)).count();
                self.misplaced += misplaced as u64;
            }
            View::Keys { end } => return self.print(items, server.name(), *end, output),
        }
        Ok(())
    }

    /// Returns whether an item is misplaced in a listing that is not limited to such items.
    fn is_counted_as_misplaced(&self, item: &MetadumpItem, server: &ServerHandle) -> bool {
        !self.items.only_misplaced && self.items.is_misplaced(item, server)
    }

    fn print(&mut self, items: &[&MetadumpItem], server: &str, end: u8, output: &mut Output) -> std::io::Result<()> {
        if items.is_empty() {
            return Ok(());
        }
        let scope = self.items.scope;
        let had_header = std::mem::replace(&mut self.has_header, true);
        if !output.is_text() {
            // All batches form one list, which ends with the last batch.
            let mut records = match had_header {
                false => output.records(self.items.columns())?,
                true => output.more_records(self.items.columns()),
            };
            return items
                .iter()
                .try_for_each(|item| records.push(self.items.record(scope.name_of(item), item, server)));
        }
        if self.items.only_misplaced && output.layout() == Layout::Text && end == b'\n' {
            return self.print_places(items, server, had_header, output);
        }
        for item in items {
            let name = scope.name_of(item);
            let is_printed = print_key(name, end, output)?;
            self.unprintable += u64::from(!is_printed);
        }
        Ok(())
    }

    /// Prints misplaced items for people, each with the server that has it and the one on which clients look for it.
    ///
    /// The keys are last: their widths are unknown until all are listed.
    fn print_places(
        &self,
        items: &[&MetadumpItem],
        server: &str,
        had_header: bool,
        output: &mut Output,
    ) -> std::io::Result<()> {
        let servers = self.items.client.servers();
        let width = servers.iter().map(|server| server.name().width()).chain(["BELONGS TO".len()]).max();
        let width = width.unwrap_or_default();
        if !had_header {
            let title = format!("{:width$}  {:width$}  KEY", "SERVER", "BELONGS TO");
            output.line(output.paint().apply(TextStyle::Title, title))?;
        }
        items.iter().try_for_each(|item| {
            let name = self.items.scope.name_of(item);
            let belongs_to = self.items.belongs_to(name);
            let belongs_to = belongs_to.as_deref().unwrap_or("-");
            output.line(format_args!("{server:width$}  {belongs_to:width$}  {}", text::inline(name)))
        })
    }

    /// Prints what comes after the last batch; returns the number of keys that could not be printed.
    fn finish(mut self, count: u64, counts: &OutcomeCounts, output: &mut Output) -> std::io::Result<u64> {
        match self.view {
            View::Tree { limit, .. } => self.tree.print(limit, output)?,
            View::Top { end, .. } => self.unprintable = self.top.print(end, self.items, output)?,
            // Without any list of keys their number is unknown.
            View::Count if counts.yes == 0 => {}
            View::Count if output.is_text() => output.line(count)?,
            View::Count => output.record(&["keys"], Record::new().with("keys", count))?,
            View::Keys { .. } if output.is_text() => {}
            View::Keys { .. } if self.has_header => output.more_records(self.items.columns()).end()?,
            View::Keys { .. } => output.records(self.items.columns())?.end()?,
        }
        Ok(self.unprintable)
    }
}

/// Prints a key: on a terminal safe to display, in a pipe as it is, for the next program.
///
/// Returns false if the key cannot be printed: one that contains the byte that ends it would become two, and one with
/// control characters or invalid UTF-8 would not be safe in a line, or be another key for the reader.
fn print_key(name: &[u8], end: u8, output: &mut Output) -> std::io::Result<bool> {
    match end {
        b'\n' if output.layout() != Layout::Raw => output.line(text::inline(name)).map(|()| true),
        b'\n' => match text::as_line(name) {
            Some(name) => output.line(name).map(|()| true),
            None => Ok(false),
        },
        end if name.contains(&end) => Ok(false),
        end => {
            output.bytes(name)?;
            output.bytes(&[end]).map(|()| true)
        }
    }
}
