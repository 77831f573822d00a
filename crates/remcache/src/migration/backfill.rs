//! Bringing one item over: add it to the new placement, then see whether it was still the old one's.

use tokio::time::timeout_at;

use super::Migration;
use super::rules::key_of;
use crate::error::Error;
use crate::migration::builder::{Limit, ask};
use crate::ops::builder::{Delete, Fetch, Store};
use crate::proto::{Request, Ttl};
use crate::result::{Item, WriteOutcome};

/// What became of bringing an item over.
#[derive(Clone, Debug)]
pub(crate) enum Copied {
    /// The old placement has none.
    Nothing,
    /// It is in the new placement, with this CAS value.
    There(Item),
    /// Somebody else had written the key to the new placement.
    Overtaken,
    /// It was read, but could not be brought to the new placement, or not for long.
    Left(Item),
    /// It was read, and is not to be copied.
    Kept(Item),
}

impl Migration {
    /// Brings the item of a request's key over from the old placement.
    pub(crate) async fn bring(&self, request: &Request<'_>, limit: Limit) -> Result<Copied, Error> {
        match self.ask_old::<Fetch>(&key_of(request, Request::get)?, limit).await?.flatten() {
            Some(item) => Ok(self.copy(request.key()?.as_bytes(), item, limit).await),
            None => Ok(Copied::Nothing),
        }
    }

    /// Copies an item, in a task of its own: who drops the future must not leave a copy unchecked.
    pub(crate) async fn copy(&self, key: &[u8], item: Item, limit: Limit) -> Copied {
        let left = Copied::Left(without_cas(item.clone()));
        let copying = tokio::spawn(self.clone().copy_checked(key.to_vec(), item));
        match timeout_at(limit.0, copying).await {
            Ok(Ok(copied)) => copied,
            // The deadline passed, or the runtime ends.
            Ok(Err(_)) | Err(_) => left,
        }
    }

    async fn copy_checked(self, key: Vec<u8>, item: Item) -> Copied {
        let left = Copied::Left(without_cas(item.clone()));
        let ttl = self.ttl.ttl(&self.old, &key, &item).await;
        if ttl == Ttl::Expired {
            return Copied::Kept(without_cas(item));
        }
        let add = Request::add(&key[..], item.value.clone()).flags(item.flags).ttl(ttl);
        let (copied, cas) = match ask::<Store>(&self.new, &add, self.limit()).await {
            Ok(WriteOutcome::Applied(cas)) => (Copied::There(Item { cas, ..item.clone() }), cas),
            Ok(_) => {
                self.tallies.overtaken.add(1);
                return Copied::Overtaken;
            }
            Err(error) => {
                self.tallies.failed.add(1);
                if !error.may_have_executed() {
                    return left;
                }
                // It may be there: then it has to be deleted without knowing its CAS value.
                (left.clone(), 0)
            }
        };
        if self.is_unchanged(&key, &item).await {
            if matches!(copied, Copied::There(_)) {
                self.tallies.backfilled.add(1);
            }
            return copied;
        }
        self.tallies.undone.add(1);
        // Should it fail, the copy stays until its time to live ends: nobody can be told here.
        let _ = ask::<Delete>(&self.new, &Request::delete(&key[..]).cas(cas), self.limit()).await;
        left
    }

    /// Whether the old placement still has an item as it was read; if it cannot tell, it has not.
    async fn is_unchanged(&self, key: &[u8], item: &Item) -> bool {
        let now = ask::<Fetch>(&self.old, &Request::get(key), self.limit()).await;
        matches!(now, Ok(Some(now)) if now.cas == item.cas)
    }

    /// Checks have time limits of their own: they go on when the caller's deadline has passed.
    fn limit(&self) -> Limit {
        Limit::after(self.new.config().timeout)
    }
}

/// An item of the old placement: its CAS value there must not match anything in the new one.
pub(crate) fn without_cas(item: Item) -> Item {
    Item { cas: NEVER, ..item }
}

/// A CAS value that no item has: servers count them up from 1.
const NEVER: u64 = u64::MAX;
