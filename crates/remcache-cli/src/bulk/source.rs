//! The fleet that a bulk command takes items from.

use std::sync::Arc;

use remcache::Client;
use remcache::proto::text::MetadumpItem;
use tokio::sync::mpsc;

use super::Ledger;
use super::listing::{Batch, Listed, Scope, list};
use super::losses::Loss;
use super::options::{Misplaced, Options};
use super::pace::Pace;
use super::placing::Placing;
use super::reading::Reader;
use crate::exit::Failure;
use crate::sample;
use crate::selection::Selection;

/// Which items are taken, and how.
#[derive(Debug, clap::Args)]
pub(crate) struct Taking {
    #[command(flatten)]
    selection: Selection,

    /// What to do with items that no client would look for where they are (default: leave them out,
    /// with exit code 1)
    #[arg(long, value_name = "WHAT", value_enum)]
    misplaced: Option<Misplaced>,

    #[command(flatten)]
    options: Options,
}

impl Taking {
    /// The ledger of what becomes of the items.
    pub(crate) fn ledger(&self, done: &'static str) -> Result<Ledger, Failure> {
        Ok(Ledger::new(done, self.options.failed.as_deref())?.accepting(Misplaced::accepted(self.misplaced)))
    }
}

/// The fleet that items are taken from, and which of them.
#[derive(Debug)]
pub(crate) struct Source {
    client: Client,
    readers: Vec<Arc<Reader>>,
    placing: Placing,
    scope: Scope,
    pace: Pace,
    takes_misplaced: bool,
}

impl Source {
    pub(crate) fn new(client: Client, taking: &Taking) -> Self {
        Self {
            readers: client.servers().into_iter().map(|server| Arc::new(Reader::new(server))).collect(),
            placing: Placing::of(&client),
            scope: Scope::new(client.namespace(), &taking.selection),
            pace: Pace::new(taking.options.rate),
            takes_misplaced: taking.misplaced == Some(Misplaced::Take),
            client,
        }
    }

    pub(crate) fn scope(&self) -> &Scope {
        &self.scope
    }

    pub(crate) fn pace(&self) -> &Pace {
        &self.pace
    }

    /// How many items each server holds, as far as it tells.
    pub(crate) async fn counts(&self) -> Vec<(String, Option<u64>)> {
        counts(&self.client).await
    }

    /// Begins to list.
    pub(crate) fn list(&self) -> Result<mpsc::Receiver<Listed>, Failure> {
        let servers: Vec<_> = self.readers.iter().map(|reader| reader.server().clone()).collect();
        list(&servers, &self.scope, self.pace.batch())
    }

    /// Leaves out of a batch what is not where it belongs; gives the rest with its reader.
    pub(crate) fn admit(&self, batch: Batch, ledger: &mut Ledger) -> Result<(Arc<Reader>, Vec<MetadumpItem>), Failure> {
        let reader = Arc::clone(&self.readers[batch.server]);
        if self.takes_misplaced {
            return Ok((reader, batch.items));
        }
        let is_home = |item: &MetadumpItem| self.placing.is_home(self.scope.name_of(item), reader.server());
        let (items, misplaced): (Vec<_>, Vec<_>) = batch.items.into_iter().partition(is_home);
        for item in &misplaced {
            ledger.lost(self.scope.name_of(item), Some(reader.server().name()), &Loss::Misplaced.into())?;
        }
        Ok((reader, items))
    }
}

/// How many items the servers hold, as far as they tell.
pub(crate) async fn total(client: &Client) -> Option<u64> {
    sum(&counts(client).await)
}

async fn counts(client: &Client) -> Vec<(String, Option<u64>)> {
    let count = |sample: sample::Sample| {
        (sample.server.name().to_owned(), sample.figures.ok().and_then(|figures| figures.number("curr_items")))
    };
    sample::take(client, "").await.into_iter().map(count).collect()
}

/// How many items there are together, as far as it is known.
pub(crate) fn sum(counts: &[(String, Option<u64>)]) -> Option<u64> {
    counts.iter().filter_map(|(_, count)| *count).reduce(|sum, count| sum + count)
}
