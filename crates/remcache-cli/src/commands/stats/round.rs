//! One round of statistics from all servers.

use std::time::Duration;

use remcache::Client;
use tokio::task::JoinSet;

use super::Group;
use super::general::GeneralRow;
use crate::commands::availability::Availability;
use crate::exit::Exit;
use crate::outcome_counts::OutcomeCounts;
use crate::stats::{self, Snapshot, Stats};

/// Statistics of all servers, requested at the same time.
#[derive(Debug)]
pub(super) struct Round {
    pub(super) snapshots: Vec<Snapshot>,
    /// For each server, whether it is up.
    pub(super) availability: Vec<Availability>,
    /// For each server, the age of its oldest item; empty unless the table of general statistics shows it.
    ages: Vec<Option<u64>>,
}

impl Round {
    /// Requests a group of statistics from all servers.
    pub(super) async fn fetch(client: &Client, group: Group, limit: Duration) -> Self {
        let snapshots = stats::fetch_all(client, group.name()).await;
        let ages = match group {
            // Only the item statistics contain the age of the oldest item.
            Group::General => stats::fetch_all(client, Group::Items.name()).await,
            _ => Vec::new(),
        };
        let ages = ages.into_iter().map(|snapshot| snapshot.stats.ok()?.largest(":age")).collect();
        let availability = availability(&snapshots, limit).await;
        Self { snapshots, availability, ages }
    }

    /// Returns whether no server reported statistics.
    pub(super) fn is_empty(&self) -> bool {
        self.snapshots.iter().all(|snapshot| snapshot.stats.is_err())
    }

    pub(super) fn exit(&self) -> Exit {
        let mut counts = OutcomeCounts::default();
        for (snapshot, availability) in self.snapshots.iter().zip(&self.availability) {
            match (&snapshot.stats, availability) {
                (Ok(_), _) => counts.answer(true),
                (Err(_), Availability::WithoutStats) => counts.answer(false),
                (Err(error), _) => counts.error(error),
            }
        }
        counts.exit_of_servers()
    }

    /// Returns the statistics of a server in this round, and the time until its snapshot in a later one.
    pub(super) fn before<'r>(&'r self, index: usize, later: &Self) -> Option<(&'r Stats, Duration)> {
        let (before, now) = (self.snapshots.get(index)?, later.snapshots.get(index)?);
        Some((before.stats.as_ref().ok()?, now.at.duration_since(before.at)))
    }

    /// Returns the rows of the table of general statistics; `None` for a server without statistics.
    pub(super) fn rows(&self, previous: Option<&Self>) -> Vec<Option<GeneralRow>> {
        (0..self.snapshots.len()).map(|index| self.row(previous, index)).collect()
    }

    /// Returns the row of a server; `None` if it is without statistics.
    pub(super) fn row(&self, previous: Option<&Self>, index: usize) -> Option<GeneralRow> {
        let now = self.snapshots.get(index)?.stats.as_ref().ok()?;
        let before = previous.and_then(|previous| previous.before(index, self));
        Some(GeneralRow::new(before, now, self.ages.get(index).copied().flatten()))
    }
}

async fn availability(snapshots: &[Snapshot], limit: Duration) -> Vec<Availability> {
    let mut tasks = JoinSet::new();
    for (index, snapshot) in snapshots.iter().enumerate() {
        let (server, stats) = (snapshot.server.clone(), snapshot.stats.as_ref().map(drop).map_err(Clone::clone));
        tasks.spawn(async move { (index, Availability::of(&server, &stats, limit).await) });
    }
    let mut availability = tasks.join_all().await;
    availability.sort_by_key(|(index, _)| *index);
    availability.into_iter().map(|(_, availability)| availability).collect()
}
