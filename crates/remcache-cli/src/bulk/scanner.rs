//! Lists and fetches the items of the cluster that a bulk command works on.

use std::sync::Arc;

use remcache::proto::text::MetadumpItem;
use remcache::{Client, ServerHandle};
use tokio::sync::mpsc;

use super::Summary;
use super::fetch::Fetcher;
use super::list::{KeyScope, ListEvent, ListedBatch, list};
use super::options::BulkOptions;
use super::placement::Placement;
use super::rate_limit::RateLimit;
use super::request::OutageWait;
use super::skip_reason::SkipReason;
use crate::exit::Failure;
use crate::selection::Selection;
use crate::stats;

/// The options that select items of a cluster.
#[derive(Debug, clap::Args)]
pub(crate) struct SelectArgs {
    #[command(flatten)]
    selection: Selection,

    /// Include misplaced items, which are on another server than the one that their key belongs to
    ///
    /// They are left over from another list of servers, and may be older than the item on the right server.
    /// Without this option they are skipped, with exit code 1.
    #[arg(long, conflicts_with = "skip_misplaced")]
    include_misplaced: bool,

    /// Skip misplaced items without exit code 1
    #[arg(long)]
    skip_misplaced: bool,

    #[command(flatten)]
    pub(crate) options: BulkOptions,
}

impl SelectArgs {
    /// Returns a summary of the results; `done` is what is done to items: `copied`.
    pub(crate) fn summary(&self, done: &'static str) -> Result<Summary, Failure> {
        let accepted = self.skip_misplaced.then_some(SkipReason::Misplaced);
        Ok(Summary::new(done, self.options.failed.as_deref())?.accepting(accepted))
    }
}

/// Lists the items of a cluster.
#[derive(Debug)]
pub(crate) struct Scanner {
    client: Client,
    fetchers: Vec<Arc<Fetcher>>,
    placement: Placement,
    scope: KeyScope,
    rate_limit: RateLimit,
    includes_misplaced: bool,
}

impl Scanner {
    pub(crate) fn new(client: Client, select: &SelectArgs, wait: &OutageWait) -> Self {
        let fetcher = |server| Arc::new(Fetcher::new(server, wait.clone()));
        Self {
            fetchers: client.servers().into_iter().map(fetcher).collect(),
            placement: Placement::of(&client),
            scope: KeyScope::new(client.namespace(), &select.selection),
            rate_limit: RateLimit::new(select.options.rate),
            includes_misplaced: select.include_misplaced,
            client,
        }
    }

    pub(crate) fn scope(&self) -> &KeyScope {
        &self.scope
    }

    pub(crate) fn rate_limit(&self) -> RateLimit {
        self.rate_limit.clone()
    }

    /// Returns the number of items of each server, if it reports that.
    pub(crate) async fn counts(&self) -> Vec<(String, Option<u64>)> {
        counts(&self.client.servers()).await
    }

    /// Starts to list the items.
    pub(crate) fn list(&self) -> Result<mpsc::Receiver<ListEvent>, Failure> {
        let servers: Vec<_> = self.fetchers.iter().map(|fetcher| fetcher.server().clone()).collect();
        list(&servers, &self.scope, self.rate_limit.batch())
    }

    /// Skips the misplaced items of a batch; returns the others with the fetcher of their server.
    pub(crate) fn filter_misplaced(
        &self,
        batch: ListedBatch,
        summary: &mut Summary,
    ) -> Result<(Arc<Fetcher>, Vec<MetadumpItem>), Failure> {
        let fetcher = Arc::clone(&self.fetchers[batch.server]);
        if self.includes_misplaced {
            return Ok((fetcher, batch.items));
        }
        let is_misplaced = |item: &MetadumpItem| self.placement.is_misplaced(&self.scope, item, fetcher.server());
        let (misplaced, items): (Vec<_>, Vec<_>) = batch.items.into_iter().partition(is_misplaced);
        for item in &misplaced {
            summary.skipped(self.scope.name_of(item), Some(fetcher.server().name()), &SkipReason::Misplaced.into())?;
        }
        Ok((fetcher, items))
    }
}

/// Returns the number of items of all servers, as far as they report it.
pub(crate) async fn total(servers: &[ServerHandle]) -> Option<u64> {
    sum(&counts(servers).await)
}

async fn counts(servers: &[ServerHandle]) -> Vec<(String, Option<u64>)> {
    let count = |snapshot: stats::Snapshot| {
        (snapshot.server.name().to_owned(), snapshot.stats.ok().and_then(|stats| stats.number("curr_items")))
    };
    stats::fetch_from(servers, "").await.into_iter().map(count).collect()
}

/// Returns the sum of the known numbers.
pub(crate) fn sum(counts: &[(String, Option<u64>)]) -> Option<u64> {
    counts.iter().filter_map(|(_, count)| *count).reduce(|sum, count| sum + count)
}
