//! The steps of each operation in the two placements.

use super::{Migration, OldUnavailable};
use crate::error::{Error, ErrorKind};
use crate::migration::backfill::{BackfillResult, without_cas};
use crate::migration::builder::{Limit, send};
use crate::ops::builder::Kind;
use crate::ops::builder::kind::{Count, Delete, Extend, FetchWithSentinels, Store, Touch};
use crate::proto::{Delivery, Operation, Request};
use crate::result::{Counter, Item, WriteOutcome};

/// Result of an operation on an item.
pub(crate) trait ItemResult {
    /// Returns whether the item does not exist.
    fn is_absent(&self) -> bool;
    /// Returns whether the item was changed.
    fn is_applied(&self) -> bool;
}

impl ItemResult for WriteOutcome {
    fn is_absent(&self) -> bool {
        // `NotStored` may also mean that the result is too large; the extra lookup in the old placement is harmless.
        matches!(self, Self::NotFound | Self::NotStored)
    }
    fn is_applied(&self) -> bool {
        Self::is_applied(*self)
    }
}

impl<T> ItemResult for Option<T> {
    fn is_absent(&self) -> bool {
        self.is_none()
    }
    fn is_applied(&self) -> bool {
        self.is_some()
    }
}

impl Migration {
    /// Returns whether the key has the same server, and hence the same item, in both placements.
    pub(crate) fn is_unmoved(&self, request: &Request<'_>) -> bool {
        request.key().is_ok_and(|key| self.has_same_server(key.as_bytes()))
    }

    pub(crate) fn has_same_server(&self, key: &[u8]) -> bool {
        let is_one_key = self.old.config().namespace == self.new.config().namespace;
        let servers = (self.old.locate(key), self.new.locate(key));
        is_one_key && matches!(servers, (Ok(Some(old)), Ok(Some(new))) if old.name() == new.name())
    }

    /// Runs an operation on a key that does not move.
    pub(crate) async fn run_unmoved<K: Kind<Output: ItemResult>>(
        &self,
        request: &Request<'_>,
        limit: Limit,
    ) -> Result<K::Output, Error> {
        let outcome = send::<K>(&self.new, request, limit).await?;
        if request.operation().is_fetch() {
            let counters = if outcome.is_absent() { &self.tallies.misses } else { &self.tallies.from_new };
            counters.add(1);
        }
        Ok(outcome)
    }

    /// Fetches an item; a sentinel counts as one in both placements and is a miss for the caller.
    pub(crate) async fn fetch(&self, request: &Request<'_>, limit: Limit) -> Result<Option<Item>, Error> {
        let found = self.fetch_with_sentinels(request, limit).await?;
        Ok(found.filter(|item| !item.is_sentinel()))
    }

    async fn fetch_with_sentinels(&self, request: &Request<'_>, limit: Limit) -> Result<Option<Item>, Error> {
        let found = self.fetch_from_new(request, limit).await?;
        if found.is_some() {
            self.tallies.from_new.add(1);
            return Ok(found);
        }
        let copied = self.backfill(request, limit).await?;
        if let Some(item) = self.fetch_copied(request, copied, limit).await? {
            self.tallies.from_old.add(1);
            return Ok(Some(item));
        }
        // Another client may have moved it between the two lookups.
        let found = self.fetch_from_new(request, limit).await?;
        let counters = if found.is_some() { &self.tallies.from_new } else { &self.tallies.misses };
        counters.add(1);
        Ok(found)
    }

    async fn fetch_from_new(&self, request: &Request<'_>, limit: Limit) -> Result<Option<Item>, Error> {
        let found = send::<FetchWithSentinels>(&self.new, request, limit).await?;
        if found.is_some() && request.operation() == Operation::GetAndTouch {
            self.follow(request, limit).await.map_err(partially_applied)?;
        }
        Ok(found)
    }

    /// Returns the item found in the old placement, with its new TTL if one was requested.
    async fn fetch_copied(
        &self,
        request: &Request<'_>,
        copied: BackfillResult,
        limit: Limit,
    ) -> Result<Option<Item>, Error> {
        match (copied, request.operation()) {
            (BackfillResult::Absent | BackfillResult::Superseded, _) => Ok(None),
            (BackfillResult::Copied(_), Operation::GetAndTouch) => self.fetch_from_new(request, limit).await,
            (BackfillResult::NotCopied(_) | BackfillResult::Excluded(_), Operation::GetAndTouch) => {
                let item = self.send_to_old::<FetchWithSentinels>(request, limit).await?.flatten();
                Ok(item.map(without_cas))
            }
            (BackfillResult::Copied(item) | BackfillResult::NotCopied(item) | BackfillResult::Excluded(item), _) => {
                Ok(Some(item))
            }
        }
    }

    pub(crate) async fn store(&self, request: &Request<'_>, limit: Limit) -> Result<WriteOutcome, Error> {
        match request.operation() {
            Operation::Add => self.add_item(request, limit).await,
            Operation::Set if request.expected_cas() == 0 => self.set_item(request, limit).await,
            _ => self.change::<Store>(request, request, limit).await,
        }
    }

    /// Sets in the new placement first, so that readers never miss in between.
    async fn set_item(&self, request: &Request<'_>, limit: Limit) -> Result<WriteOutcome, Error> {
        match send::<Store>(&self.new, request, limit).await {
            Ok(change) => {
                self.forget(request, limit).await.map_err(partially_applied)?;
                Ok(change)
            }
            Err(error) => {
                let is_kept = || {
                    let key = request.key().map_or(&[][..], |key| key.as_bytes());
                    self.new.refuses_size(key, request.value().len(), request.item_flags())
                };
                if ends_the_old_value(&error) && !(error.kind() == ErrorKind::ValueTooLarge && is_kept()) {
                    // The caller gets the first error; this one would add nothing.
                    let _ = self.forget(request, limit).await;
                }
                Err(error)
            }
        }
    }

    async fn add_item(&self, request: &Request<'_>, limit: Limit) -> Result<WriteOutcome, Error> {
        match self.send_to_old::<FetchWithSentinels>(&key_of(request, Request::get)?, limit).await? {
            Some(Some(_)) => Ok(WriteOutcome::Exists),
            _ => send::<Store>(&self.new, request, limit).await,
        }
    }

    /// Deletes from the old placement first: a concurrent backfill notices that and undoes its copy, or it is deleted
    /// below.
    pub(crate) async fn remove(&self, request: &Request<'_>, limit: Limit) -> Result<WriteOutcome, Error> {
        if request.expected_cas() != 0 {
            let item = self.fetch_without_bump(request, limit).await?;
            match item {
                None => return Ok(WriteOutcome::NotFound),
                Some(item) if item.cas == 0 => {
                    let key = request.key()?;
                    self.new.primary(key.as_bytes()).checked_cas(0)?;
                }
                Some(item) if item.cas != request.expected_cas() => return Ok(WriteOutcome::Exists),
                Some(_) => {}
            }
        }
        let in_old = self.forget(request, limit).await?;
        match send::<Delete>(&self.new, request, limit).await {
            Ok(WriteOutcome::NotFound) if in_old => Ok(WriteOutcome::Applied(0)),
            Err(error) if in_old => Err(partially_applied(error)),
            outcome => outcome,
        }
    }

    /// Fetches an item from the new placement, backfilling it if necessary, without counting it as a fetch.
    async fn fetch_without_bump(&self, request: &Request<'_>, limit: Limit) -> Result<Option<Item>, Error> {
        let get = key_of(request, Request::get)?;
        match send::<FetchWithSentinels>(&self.new, &get, limit).await? {
            Some(item) => Ok(Some(item)),
            None => {
                self.backfill(&get, limit).await?;
                send::<FetchWithSentinels>(&self.new, &get, limit).await
            }
        }
    }

    pub(crate) async fn extend(&self, request: &Request<'_>, limit: Limit) -> Result<WriteOutcome, Error> {
        self.change::<Extend>(request, request, limit).await
    }

    pub(crate) async fn touch_item(&self, request: &Request<'_>, limit: Limit) -> Result<WriteOutcome, Error> {
        self.change::<Touch>(request, request, limit).await
    }

    /// Increments or decrements; an initial value does not hide the old placement's counter.
    pub(crate) async fn count(&self, request: &Request<'_>, limit: Limit) -> Result<Option<Counter>, Error> {
        let (key, delta) = (request.key()?.as_bytes(), request.delta());
        let cautious = match request.operation() {
            Operation::Increment => Request::increment(key, delta),
            _ => Request::decrement(key, delta),
        };
        self.change::<Count>(&cautious, request, limit).await
    }

    /// Changes an existing item in the new placement, backfilling it if necessary.
    ///
    /// `cautious` is the same change, but never creates an item.
    async fn change<K: Kind<Output: ItemResult>>(
        &self,
        cautious: &Request<'_>,
        request: &Request<'_>,
        limit: Limit,
    ) -> Result<K::Output, Error> {
        let mut outcome = send::<K>(&self.new, cautious, limit).await?;
        if outcome.is_absent() {
            self.backfill_until_settled(request, limit).await?;
            outcome = send::<K>(&self.new, request, limit).await?;
        }
        if outcome.is_applied() {
            self.follow(request, limit).await.map_err(partially_applied)?;
        }
        Ok(outcome)
    }

    /// Applies a change of the new placement to the old one.
    ///
    /// A touched item is touched there too, not deleted: that keeps its CAS value, and with it a copy that is
    /// being verified.
    async fn follow(&self, request: &Request<'_>, limit: Limit) -> Result<(), Error> {
        match request.operation() {
            Operation::Touch | Operation::GetAndTouch => {
                let touch = key_of(request, |key| Request::touch(key, request.time_to_live()))?;
                self.send_to_old::<Touch>(&touch, limit).await.map(drop)
            }
            _ => self.forget(request, limit).await.map(drop),
        }
    }

    /// Backfills an item until it is copied or known to be absent.
    async fn backfill_until_settled(&self, request: &Request<'_>, limit: Limit) -> Result<(), Error> {
        for _ in 0..ATTEMPTS {
            if !matches!(self.backfill(request, limit).await?, BackfillResult::NotCopied(_)) {
                return Ok(());
            }
        }
        Err(Error::new(
            ErrorKind::Conflict,
            "could not copy the item from the old placement: it keeps changing there, or the new placement rejects it",
        ))
    }

    /// Deletes an item from the old placement; returns whether it existed.
    pub(crate) async fn forget(&self, request: &Request<'_>, limit: Limit) -> Result<bool, Error> {
        let deleted = self.send_to_old::<Delete>(&key_of(request, Request::delete)?, limit).await?;
        Ok(deleted.is_some_and(WriteOutcome::is_applied))
    }

    /// Sends a request to the old placement; `None` if it is unavailable and that counts as a miss.
    pub(crate) async fn send_to_old<K: Kind>(
        &self,
        request: &Request<'_>,
        limit: Limit,
    ) -> Result<Option<K::Output>, Error> {
        self.unavailable_as_miss(send::<K>(&self.old, request, limit).await)
    }

    /// Converts unavailability of an old server to `None` if that counts as a miss.
    pub(crate) fn unavailable_as_miss<T>(&self, answer: Result<T, Error>) -> Result<Option<T>, Error> {
        match answer {
            Ok(answer) => Ok(Some(answer)),
            Err(error) if self.old_unavailable == OldUnavailable::Miss && error.is_unavailable() => {
                self.tallies.old_unavailable.add(1);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// Builds a request with the key of `request`.
pub(crate) fn key_of<'r>(
    request: &'r Request<'_>,
    build: impl FnOnce(&'r [u8]) -> Request<'r>,
) -> Result<Request<'r>, Error> {
    Ok(build(request.key()?.as_bytes()))
}

/// Returns whether a failed `set` invalidates the previous value: it may have been executed, or the server
/// has dropped the previous value.
pub(crate) fn ends_the_old_value(error: &Error) -> bool {
    error.may_have_executed() || matches!(error.kind(), ErrorKind::ValueTooLarge | ErrorKind::OutOfMemory)
}

/// Returns the error of an operation that was applied to one placement only.
pub(crate) fn partially_applied(error: Error) -> Error {
    let kind = match error.kind() {
        ErrorKind::TimedOut(_) | ErrorKind::Overloaded => ErrorKind::TimedOut(Delivery::MaybeSent),
        _ => ErrorKind::Disconnected(Delivery::MaybeSent),
    };
    Error::new(kind, format!("applied in one placement only, an old value may reappear: {error}"))
}

/// Maximum attempts to backfill an item that keeps changing in the old placement.
const ATTEMPTS: usize = 3;
