//! Backfill of one item: adds it to the new placement, then verifies that the old item is unchanged.

use tokio::time::timeout_at;

use super::Migration;
use super::operations::key_of;
use crate::error::Error;
use crate::migration::builder::{Limit, send};
use crate::ops::builder::IMPOSSIBLE_CAS;
use crate::ops::builder::kind::{FetchWithSentinels, Store};
use crate::proto::{Request, Ttl};
use crate::recipes::removal;
use crate::result::{Item, WriteOutcome};

/// Result of backfilling an item.
#[derive(Clone, Debug)]
pub(crate) enum BackfillResult {
    /// The old placement has no item.
    Absent,
    /// The item is in the new placement, with this CAS value.
    Copied(Item),
    /// Another client had already written the key to the new placement.
    Superseded,
    /// The item was read, but could not be copied or was removed again.
    NotCopied(Item),
    /// The item was read and must not be copied.
    Excluded(Item),
}

impl Migration {
    /// Copies the item of a request's key from the old to the new placement.
    pub(crate) async fn backfill(&self, request: &Request<'_>, limit: Limit) -> Result<BackfillResult, Error> {
        match self.send_to_old::<FetchWithSentinels>(&key_of(request, Request::get)?, limit).await?.flatten() {
            Some(item) => self.copy(request.key()?.as_bytes(), item, limit).await,
            None => Ok(BackfillResult::Absent),
        }
    }

    /// Copies an item in a separate task, so that dropping the future does not leave an unverified copy.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) if one of the servers has no CAS values: concurrent
    /// changes could not be detected, nor copies reverted.
    pub(crate) async fn copy(&self, key: &[u8], item: Item, limit: Limit) -> Result<BackfillResult, Error> {
        let not_copied = BackfillResult::NotCopied(without_cas(item.clone()));
        let copying = tokio::spawn(self.clone().copy_checked(key.to_vec(), item));
        match timeout_at(limit.0, copying).await {
            Ok(Ok(copied)) => copied,
            // The deadline passed, or the runtime ends.
            Ok(Err(_)) | Err(_) => Ok(not_copied),
        }
    }

    async fn copy_checked(self, key: Vec<u8>, item: Item) -> Result<BackfillResult, Error> {
        let ttl = self.ttl.ttl(&self.old, &key, &item).await;
        if ttl == Ttl::Expired {
            return Ok(BackfillResult::Excluded(without_cas(item)));
        }
        self.old.primary(&key).checked_cas(item.cas)?;
        let new = self.new.primary(&key);
        new.require_cas().await?;
        let not_copied = BackfillResult::NotCopied(without_cas(item.clone()));
        let add = Request::add(&key[..], item.value.clone()).flags(item.flags).ttl(ttl);
        let copy = match send::<Store>(&self.new, &add, self.limit()).await {
            Ok(WriteOutcome::Applied(0)) => self.find_copy(&key, &item).await,
            Ok(WriteOutcome::Applied(cas)) => Ok(Some(cas)),
            Ok(_) => {
                self.tallies.superseded.add(1);
                return Ok(BackfillResult::Superseded);
            }
            Err(error) => {
                self.tallies.failed.add(1);
                if !error.may_have_executed() {
                    return Ok(not_copied);
                }
                // The add may have been executed: remove the copy, unless the old item is unchanged.
                if !self.is_unchanged(&key, &item).await {
                    self.undo(&key, self.find_copy(&key, &item).await.ok().flatten()).await;
                }
                return Ok(not_copied);
            }
        };
        let cas = match copy {
            Ok(Some(cas)) => new.checked_cas(cas)?,
            // Another client has replaced the copy, or its state is unknown: do not remove it.
            Ok(None) => {
                self.tallies.superseded.add(1);
                return Ok(BackfillResult::Superseded);
            }
            Err(_) => return Ok(not_copied),
        };
        if self.is_unchanged(&key, &item).await {
            self.tallies.backfilled.add(1);
            return Ok(BackfillResult::Copied(Item { cas, ..item }));
        }
        self.undo(&key, Some(cas)).await;
        Ok(not_copied)
    }

    /// Finds the copy of an item whose CAS value is unknown: the text protocol returns none, and a reply may
    /// be lost. A different value belongs to another client.
    async fn find_copy(&self, key: &[u8], item: &Item) -> Result<Option<u64>, Error> {
        let found = send::<FetchWithSentinels>(&self.new, &Request::get(key), self.limit()).await?;
        Ok(found.filter(|found| found.value == item.value && found.flags == item.flags).map(|found| found.cas))
    }

    /// Removes a copy by its CAS value, so that later changes by other clients are kept.
    async fn undo(&self, key: &[u8], cas: Option<u64>) {
        self.tallies.reverted.add(1);
        if let Some(cas @ 1..) = cas {
            // If this fails, the copy stays until its TTL expires: no caller waits for it.
            let _ = send::<Store>(&self.new, &removal(key, cas), self.limit()).await;
        }
    }

    /// Returns whether the old item is unchanged; `false` if that is unknown.
    async fn is_unchanged(&self, key: &[u8], item: &Item) -> bool {
        let now = send::<FetchWithSentinels>(&self.old, &Request::get(key), self.limit()).await;
        matches!(now, Ok(Some(now)) if now.cas == item.cas)
    }

    /// Returns the deadline of a check, independent of the caller's.
    fn limit(&self) -> Limit {
        Limit::after(self.new.timeout())
    }
}

/// Clears an old item's CAS value, which must not match anything in the new placement.
pub(crate) fn without_cas(item: Item) -> Item {
    Item { cas: IMPOSSIBLE_CAS, ..item }
}
