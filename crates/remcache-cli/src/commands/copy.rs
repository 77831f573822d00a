//! `copy`: copies all items of one set of servers to another, regardless of their placements.

use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use clap_complete::ArgValueCandidates;
use remcache::proto::text::MetadumpItem;
use tokio::task::JoinSet;

use crate::bulk::{
    BatchJob, BulkProgress, FetchedItem, Fetcher, ItemStore, KeyScope, ListEvent, NewItem, Role, Scanner, SelectArgs,
    ServerWatch, SkipReason, Skipped, SourceState, StoreResult, Summary, run_pipeline, sum,
};
use crate::context;
use crate::exit::{Failure, Outcome};
use crate::item_limit;
use crate::output::number;
use crate::same_server;
use crate::session::Session;

/// Copy all items of some servers to others, with flags and times to live
///
/// Existing items of the destination are never overwritten, nor are those that clients write there during
/// the copy. Each copied item is checked again in the source; if it was changed or deleted there in the
/// meantime, it is copied again or its copy is deleted. An interrupted copy can be repeated. Clients that
/// write during the copy must write to the destination as well, and delete in the source first. If a server
/// restarts during the copy, the exit code is 3; if the destination evicts items, it is 1.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  remcache copy --from old1,old2 --to new1,new2,new3 --rate 100k
  remcache copy --from a,b --to a,b,c    # fills c, which joins a and b")]
pub(crate) struct Args {
    /// The servers to copy from: addresses, a URL (its options determine where keys are), or a context
    ///
    /// A context is named as in remcache context ls, and gives all its options; a host of the same name needs
    /// its port.
    #[arg(long, value_name = "URL", required = true, env = "REMCACHE_FROM", hide_env_values = true, add = ArgValueCandidates::new(context::candidates))]
    from: Vec<String>,

    /// The servers to copy to: addresses, a URL, or a context
    #[arg(long, value_name = "URL", required = true, env = "REMCACHE_TO", hide_env_values = true, add = ArgValueCandidates::new(context::candidates))]
    to: Vec<String>,

    #[command(flatten)]
    select: SelectArgs,
}

pub(crate) async fn run(args: &Args, session: &mut Session) -> Outcome {
    session.warn_of_password_in(&args.from, "REMCACHE_FROM");
    session.warn_of_password_in(&args.to, "REMCACHE_TO");
    let (from, to) = (session.client_of(&args.from).await?, session.client_of(&args.to).await?);
    for client in [&from, &to] {
        item_limit::require_cas(client, "copy", "use remcache dump and remcache load").await?;
        same_server::warn(client, session.output.notes()).await;
    }
    let interrupt = session.interrupt.handled();
    let wait = args.select.options.outage_wait(&interrupt, session.output.notes());
    let store = Arc::new(ItemStore::open(to.clone(), true, wait.clone()).await?);
    let watches = [ServerWatch::start(&from, Role::Source).await, ServerWatch::start(&to, Role::Destination).await];
    let scanner = Scanner::new(from, &args.select, &wait);
    let summary = args.select.summary("copied")?;
    let counts = scanner.counts().await;
    session.output.notes().say(listing(&counts));
    let progress = BulkProgress::new(session.output.notes(), sum(&counts));
    let (batches, limit) = (scanner.list()?, scanner.rate_limit());
    let mut copy = Copy { scanner, store, summary, progress };
    run_pipeline(&mut copy, batches, limit, &interrupt).await?;
    let Copy { store, mut summary, progress, .. } = copy;
    drop(progress);
    if !store.has_given_up() {
        for watch in watches {
            summary.compare_servers(watch).await;
        }
    }
    summary.print(&mut session.output)?;
    let exit = summary.finish(&mut session.output)?;
    let notes = session.output.notes();
    if interrupt.is_raised() {
        notes.print("interrupted: run the same command again to complete the copy");
    } else if store.has_given_up() {
        notes.print("stopped, because a server did not answer: run the same command again to complete the copy");
    }
    Ok(interrupt.unless_raised(exit))
}

/// Returns the numbers of keys that the servers are about to list: `listing   old1:11211 8.2M keys  old2:11211 8.3M
/// keys`.
fn listing(counts: &[(String, Option<u64>)]) -> String {
    let server = |(name, count): &(String, Option<u64>)| match count {
        Some(count) => format!("  {name} {} keys", number::count(*count)),
        None => format!("  {name} does not answer"),
    };
    let parts = match counts.len() {
        ..=MOST_LISTED => counts.iter().map(server).collect(),
        many => format!("  {many} servers {} keys", number::count(sum(counts).unwrap_or_default())),
    };
    format!("listing {parts}")
}

/// More servers than this have no room on a line.
const MOST_LISTED: usize = 4;

/// A copy in progress.
struct Copy {
    scanner: Scanner,
    store: Arc<ItemStore>,
    summary: Summary,
    progress: BulkProgress,
}

/// A batch that was copied.
struct CopiedBatch {
    server: String,
    /// Each key with the size of its value, or why it was not copied.
    items: Vec<(Bytes, Result<u64, Skipped>)>,
    seen: u64,
}

impl BatchJob for Copy {
    type Batch = ListEvent;
    type Done = CopiedBatch;

    fn size(&self, listed: &ListEvent) -> usize {
        listed.items()
    }

    fn start(&mut self, listed: ListEvent, jobs: &mut JoinSet<CopiedBatch>) -> Result<(), Failure> {
        let Some(batch) = self.summary.listed(listed)? else { return Ok(()) };
        let seen = batch.seen;
        let (fetcher, items) = self.scanner.filter_misplaced(batch, &mut self.summary)?;
        let server = fetcher.server().name().to_owned();
        let copier = Copier { fetcher, store: Arc::clone(&self.store), scope: self.scanner.scope().clone() };
        jobs.spawn(async move { CopiedBatch { server, items: copier.copy(items).await, seen } });
        Ok(())
    }

    fn finish(&mut self, done: CopiedBatch) -> Result<ControlFlow<()>, Failure> {
        self.summary.seen += done.seen;
        for (key, outcome) in &done.items {
            match outcome {
                Ok(bytes) => self.summary.done(1, *bytes),
                Err(skipped) => self.summary.skipped(key, Some(&done.server), skipped)?,
            }
        }
        self.progress.show(&self.summary);
        Ok(if self.store.has_given_up() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }
}

/// Copies batches of one server.
struct Copier {
    fetcher: Arc<Fetcher>,
    store: Arc<ItemStore>,
    scope: KeyScope,
}

type Copied = Vec<(Bytes, Result<u64, Skipped>)>;

impl Copier {
    /// Copies items; those that change in the meantime are copied again, a limited number of times.
    async fn copy(&self, mut items: Vec<MetadumpItem>) -> Copied {
        let mut copied = Vec::with_capacity(items.len());
        for _ in 0..ROUNDS {
            if items.is_empty() {
                break;
            }
            items = self.round(items, &mut copied).await;
        }
        copied.extend(items.into_iter().map(|item| (self.name(&item.key), Err(SkipReason::Changed.into()))));
        copied
    }

    /// Reads, adds and rereads items; returns those that were changed in the meantime.
    async fn round(&self, items: Vec<MetadumpItem>, copied: &mut Copied) -> Vec<MetadumpItem> {
        let outcomes = self.fetcher.fetch(&items).await;
        let (mut listed, mut found) = (Vec::with_capacity(items.len()), Vec::with_capacity(items.len()));
        for (item, outcome) in items.into_iter().zip(outcomes) {
            match outcome {
                Ok(read) => {
                    listed.push(item);
                    found.push(read);
                }
                Err(skipped) => copied.push((self.name(&item.key), Err(skipped))),
            }
        }
        let wanted: Vec<NewItem<'_>> = found.iter().map(|found| self.item(found)).collect();
        let stored = self.store.store(&wanted).await;
        let (mut written, mut indices) = (Vec::new(), Vec::new());
        for (index, stored) in stored.into_iter().enumerate() {
            match stored {
                StoreResult::Stored => {
                    written.push(&found[index]);
                    indices.push(index);
                }
                StoreResult::Skipped(skipped) => copied.push((self.name(&found[index].key), Err(skipped))),
            }
        }
        let states = self.fetcher.recheck(&written).await;
        let retry = self.remove_outdated(&written, &states, copied).await;
        let mut listed: Vec<Option<MetadumpItem>> = listed.into_iter().map(Some).collect();
        retry.into_iter().filter_map(|index| listed[indices[index]].take()).collect()
    }

    /// Deletes the copies of items that have changed in the source; returns the indices of items to copy again.
    async fn remove_outdated(
        &self,
        written: &[&FetchedItem],
        states: &[SourceState],
        copied: &mut Copied,
    ) -> Vec<usize> {
        let (outdated, unchanged): (Vec<usize>, Vec<usize>) =
            (0..written.len()).partition(|&index| states[index] != SourceState::Unchanged);
        copied.extend(
            unchanged.into_iter().map(|index| (self.name(&written[index].key), Ok(written[index].value.len() as u64))),
        );
        if outdated.is_empty() {
            return outdated;
        }
        let copies: Vec<NewItem<'_>> = outdated.iter().map(|&index| self.item(written[index])).collect();
        let problems = self.store.undo(&copies).await;
        let mut retry = Vec::new();
        for (index, problem) in outdated.into_iter().zip(problems) {
            let key = self.name(&written[index].key);
            match (problem, states[index]) {
                (Some(problem), _) => copied.push((key, Err(problem))),
                (None, SourceState::Deleted) => copied.push((key, Err(SkipReason::Gone.into()))),
                (None, _) => retry.push(index),
            }
        }
        retry
    }

    fn item<'i>(&self, found: &'i FetchedItem) -> NewItem<'i> {
        let key = self.scope.name(&found.key).unwrap_or(&found.key);
        NewItem { key, value: &found.value, flags: found.flags, ttl: found.ttl }
    }

    /// Returns the key without the source's namespace.
    fn name(&self, key: &Bytes) -> Bytes {
        self.scope.name(key).map_or_else(|| key.clone(), |name| key.slice_ref(name))
    }
}

/// The number of attempts to copy an item that changes each time.
const ROUNDS: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_is_grouped_by_server_or_merged() {
        let counts = [("a:1".to_owned(), Some(8_200_000)), ("b:1".to_owned(), None)];
        assert_eq!(listing(&counts), "listing   a:1 8.2M keys  b:1 does not answer");
        let many: Vec<_> = (0..500).map(|number| (format!("{number}"), Some(20))).collect();
        assert_eq!(listing(&many), "listing   500 servers 10.0k keys");
    }
}
