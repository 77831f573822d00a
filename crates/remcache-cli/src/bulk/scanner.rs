//! The fleet that a bulk command takes items from.

use std::sync::Arc;

use remcache::Client;
use remcache::proto::text::MetadumpItem;
use tokio::sync::mpsc;

use super::Summary;
use super::fetch::Fetcher;
use super::list::{Batch, KeyScope, ListEvent, list};
use super::options::{BulkOptions, Misplaced};
use super::placement::Placement;
use super::rate_limit::RateLimit;
use super::skip_reason::SkipReason;
use crate::exit::Failure;
use crate::selection::Selection;
use crate::stats;

/// Which items are taken, and how.
#[derive(Debug, clap::Args)]
pub(crate) struct SelectArgs {
    #[command(flatten)]
    selection: Selection,

    /// What to do with items that no client would look for where they are (default: leave them out,
    /// with exit code 1)
    #[arg(long, value_name = "WHAT", value_enum)]
    misplaced: Option<Misplaced>,

    #[command(flatten)]
    options: BulkOptions,
}

impl SelectArgs {
    /// The summary of what becomes of the items.
    pub(crate) fn summary(&self, done: &'static str) -> Result<Summary, Failure> {
        Ok(Summary::new(done, self.options.failed.as_deref())?.accepting(Misplaced::accepted(self.misplaced)))
    }
}

/// The fleet that items are taken from, and which of them.
#[derive(Debug)]
pub(crate) struct Scanner {
    client: Client,
    fetchers: Vec<Arc<Fetcher>>,
    placement: Placement,
    scope: KeyScope,
    rate_limit: RateLimit,
    takes_misplaced: bool,
}

impl Scanner {
    pub(crate) fn new(client: Client, select: &SelectArgs) -> Self {
        Self {
            fetchers: client.servers().into_iter().map(|server| Arc::new(Fetcher::new(server))).collect(),
            placement: Placement::of(&client),
            scope: KeyScope::new(client.namespace(), &select.selection),
            rate_limit: RateLimit::new(select.options.rate),
            takes_misplaced: select.misplaced == Some(Misplaced::Take),
            client,
        }
    }

    pub(crate) fn scope(&self) -> &KeyScope {
        &self.scope
    }

    pub(crate) fn rate_limit(&self) -> &RateLimit {
        &self.rate_limit
    }

    /// How many items each server holds, as far as it tells.
    pub(crate) async fn counts(&self) -> Vec<(String, Option<u64>)> {
        counts(&self.client).await
    }

    /// Begins to list.
    pub(crate) fn list(&self) -> Result<mpsc::Receiver<ListEvent>, Failure> {
        let servers: Vec<_> = self.fetchers.iter().map(|fetcher| fetcher.server().clone()).collect();
        list(&servers, &self.scope, self.rate_limit.batch())
    }

    /// Leaves out of a batch what is not where it belongs; gives the rest with its fetcher.
    pub(crate) fn filter_misplaced(
        &self,
        batch: Batch,
        summary: &mut Summary,
    ) -> Result<(Arc<Fetcher>, Vec<MetadumpItem>), Failure> {
        let fetcher = Arc::clone(&self.fetchers[batch.server]);
        if self.takes_misplaced {
            return Ok((fetcher, batch.items));
        }
        let is_home = |item: &MetadumpItem| self.placement.is_home(self.scope.name_of(item), fetcher.server());
        let (items, misplaced): (Vec<_>, Vec<_>) = batch.items.into_iter().partition(is_home);
        for item in &misplaced {
            summary.skipped(self.scope.name_of(item), Some(fetcher.server().name()), &SkipReason::Misplaced.into())?;
        }
        Ok((fetcher, items))
    }
}

/// How many items the servers hold, as far as they tell.
pub(crate) async fn total(client: &Client) -> Option<u64> {
    sum(&counts(client).await)
}

async fn counts(client: &Client) -> Vec<(String, Option<u64>)> {
    let count = |sample: stats::Snapshot| {
        (sample.server.name().to_owned(), sample.stats.ok().and_then(|figures| figures.number("curr_items")))
    };
    stats::fetch_all(client, "").await.into_iter().map(count).collect()
}

/// How many items there are together, as far as it is known.
pub(crate) fn sum(counts: &[(String, Option<u64>)]) -> Option<u64> {
    counts.iter().filter_map(|(_, count)| *count).reduce(|sum, count| sum + count)
}
