//! What each operation does in the two placements, and in which order.

use super::{Migration, OldUnavailable};
use crate::error::{Error, ErrorKind};
use crate::migration::backfill::{Copied, without_cas};
use crate::migration::builder::{Limit, ask};
use crate::ops::builder::{Count, Delete, Extend, Fetch, Kind, Store, Touch};
use crate::proto::{Delivery, Operation, Request};
use crate::result::{Counter, Item, WriteOutcome};

/// What an outcome says of the item that it is about.
pub(crate) trait Outcome {
    /// There is no item.
    fn is_absent(&self) -> bool;
    /// The item was changed.
    fn is_applied(&self) -> bool;
}

impl Outcome for WriteOutcome {
    fn is_absent(&self) -> bool {
        // What cannot be appended to may also be too long; to look for it in the old placement is harmless.
        matches!(self, Self::NotFound | Self::NotStored)
    }
    fn is_applied(&self) -> bool {
        Self::is_applied(*self)
    }
}

impl<T> Outcome for Option<T> {
    fn is_absent(&self) -> bool {
        self.is_none()
    }
    fn is_applied(&self) -> bool {
        self.is_some()
    }
}

impl Migration {
    /// Whether the key has the same server in both placements, and hence one item.
    pub(crate) fn is_at_home(&self, request: &Request<'_>) -> bool {
        request.key().is_ok_and(|key| self.has_one_home(key.as_bytes()))
    }

    pub(crate) fn has_one_home(&self, key: &[u8]) -> bool {
        let is_one_key = self.old.config().namespace == self.new.config().namespace;
        let servers = (self.old.locate(key), self.new.locate(key));
        is_one_key && matches!(servers, (Ok(Some(old)), Ok(Some(new))) if old.name() == new.name())
    }

    /// An operation on a key that does not move.
    pub(crate) async fn stay<K: Kind<Output: Outcome>>(
        &self,
        request: &Request<'_>,
        limit: Limit,
    ) -> Result<K::Output, Error> {
        let outcome = ask::<K>(&self.new, request, limit).await?;
        if request.operation().is_fetch() {
            let counters = if outcome.is_absent() { &self.tallies.misses } else { &self.tallies.from_new };
            counters.add(1);
        }
        Ok(outcome)
    }

    pub(crate) async fn fetch(&self, request: &Request<'_>, limit: Limit) -> Result<Option<Item>, Error> {
        let found = self.fetch_from_new(request, limit).await?;
        if found.is_some() {
            self.tallies.from_new.add(1);
            return Ok(found);
        }
        let copied = self.bring(request, limit).await?;
        if let Some(item) = self.fetch_copied(request, copied, limit).await? {
            self.tallies.from_old.add(1);
            return Ok(Some(item));
        }
        // Somebody may have written it to the new placement, and deleted it from the old, between our
        // two looks.
        let found = self.fetch_from_new(request, limit).await?;
        let counters = if found.is_some() { &self.tallies.from_new } else { &self.tallies.misses };
        counters.add(1);
        Ok(found)
    }

    async fn fetch_from_new(&self, request: &Request<'_>, limit: Limit) -> Result<Option<Item>, Error> {
        let found = ask::<Fetch>(&self.new, request, limit).await?;
        if found.is_some() && request.operation() == Operation::GetAndTouch {
            self.follow(request, limit).await.map_err(half_done)?;
        }
        Ok(found)
    }

    /// What was found in the old placement, with its new time to live if it is to have one.
    async fn fetch_copied(&self, request: &Request<'_>, copied: Copied, limit: Limit) -> Result<Option<Item>, Error> {
        match (copied, request.operation()) {
            (Copied::Nothing | Copied::Overtaken, _) => Ok(None),
            (Copied::There(_), Operation::GetAndTouch) => self.fetch_from_new(request, limit).await,
            (Copied::Left(_) | Copied::KeyTracking(_), Operation::GetAndTouch) => {
                let item = self.ask_old::<Fetch>(request, limit).await?.flatten();
                Ok(item.map(without_cas))
            }
            (Copied::There(item) | Copied::Left(item) | Copied::KeyTracking(item), _) => Ok(Some(item)),
        }
    }

    pub(crate) async fn store(&self, request: &Request<'_>, limit: Limit) -> Result<WriteOutcome, Error> {
        match request.operation() {
            Operation::Add => self.add_item(request, limit).await,
            Operation::Set if request.condition() == 0 => self.set_item(request, limit).await,
            _ => self.change::<Store>(request, request, limit).await,
        }
    }

    /// New first: there is no moment at which a reader finds nothing.
    async fn set_item(&self, request: &Request<'_>, limit: Limit) -> Result<WriteOutcome, Error> {
        match ask::<Store>(&self.new, request, limit).await {
            Ok(change) => {
                self.forget(request, limit).await.map_err(half_done)?;
                Ok(change)
            }
            Err(error) => {
                let is_kept = || {
                    let key = request.key().map_or(&[][..], |key| key.as_bytes());
                    self.new.refuses_size(key, request.value().len(), request.item_flags())
                };
                if ends_the_old_value(&error) && !(error.kind() == ErrorKind::ValueTooLarge && is_kept()) {
                    // The caller hears of the first failure; this one would add nothing.
                    let _ = self.forget(request, limit).await;
                }
                Err(error)
            }
        }
    }

    async fn add_item(&self, request: &Request<'_>, limit: Limit) -> Result<WriteOutcome, Error> {
        match self.ask_old::<Fetch>(&key_of(request, Request::get)?, limit).await? {
            Some(Some(_)) => Ok(WriteOutcome::Exists),
            _ => ask::<Store>(&self.new, request, limit).await,
        }
    }

    /// Old first: a copy that is being made sees it, and is deleted by whoever makes it, or below.
    pub(crate) async fn remove(&self, request: &Request<'_>, limit: Limit) -> Result<WriteOutcome, Error> {
        if request.condition() != 0 {
            let item = self.fetch_quietly(request, limit).await?;
            match item {
                None => return Ok(WriteOutcome::NotFound),
                Some(item) if item.cas == 0 => {
                    let key = request.key()?;
                    self.new.home(key.as_bytes()).checked_cas(0)?;
                }
                Some(item) if item.cas != request.condition() => return Ok(WriteOutcome::Exists),
                Some(_) => {}
            }
        }
        let in_old = self.forget(request, limit).await?;
        match ask::<Delete>(&self.new, request, limit).await {
            Ok(WriteOutcome::NotFound) if in_old => Ok(WriteOutcome::Applied(0)),
            Err(error) if in_old => Err(half_done(error)),
            outcome => outcome,
        }
    }

    /// An item of the new placement, brought over if need be, that nobody fetched.
    async fn fetch_quietly(&self, request: &Request<'_>, limit: Limit) -> Result<Option<Item>, Error> {
        let get = key_of(request, Request::get)?;
        match ask::<Fetch>(&self.new, &get, limit).await? {
            Some(item) => Ok(Some(item)),
            None => {
                self.bring(&get, limit).await?;
                ask::<Fetch>(&self.new, &get, limit).await
            }
        }
    }

    pub(crate) async fn extend(&self, request: &Request<'_>, limit: Limit) -> Result<WriteOutcome, Error> {
        self.change::<Extend>(request, request, limit).await
    }

    pub(crate) async fn touch_item(&self, request: &Request<'_>, limit: Limit) -> Result<WriteOutcome, Error> {
        self.change::<Touch>(request, request, limit).await
    }

    /// A number to start from must not hide the one that the old placement has.
    pub(crate) async fn count(&self, request: &Request<'_>, limit: Limit) -> Result<Option<Counter>, Error> {
        let (key, delta) = (request.key()?.as_bytes(), request.delta());
        let cautious = match request.operation() {
            Operation::Increment => Request::increment(key, delta),
            _ => Request::decrement(key, delta),
        };
        self.change::<Count>(&cautious, request, limit).await
    }

    /// A change of an item that is there: in the new placement, brought over if need be.
    ///
    /// `cautious` is the change that creates nothing.
    async fn change<K: Kind<Output: Outcome>>(
        &self,
        cautious: &Request<'_>,
        request: &Request<'_>,
        limit: Limit,
    ) -> Result<K::Output, Error> {
        let mut outcome = ask::<K>(&self.new, cautious, limit).await?;
        if outcome.is_absent() {
            self.settle(request, limit).await?;
            outcome = ask::<K>(&self.new, request, limit).await?;
        }
        if outcome.is_applied() {
            self.follow(request, limit).await.map_err(half_done)?;
        }
        Ok(outcome)
    }

    /// Does in the old placement what a change in the new one asks for.
    ///
    /// An item with a new time to live is touched and not deleted: its CAS value stays, and so does
    /// a copy of it that is just being checked.
    async fn follow(&self, request: &Request<'_>, limit: Limit) -> Result<(), Error> {
        match request.operation() {
            Operation::Touch | Operation::GetAndTouch => {
                let touch = key_of(request, |key| Request::touch(key, request.time_to_live()))?;
                self.ask_old::<Touch>(&touch, limit).await.map(drop)
            }
            _ => self.forget(request, limit).await.map(drop),
        }
    }

    /// Brings an item over until it is there, or there is none.
    async fn settle(&self, request: &Request<'_>, limit: Limit) -> Result<(), Error> {
        for _ in 0..ATTEMPTS {
            if !matches!(self.bring(request, limit).await?, Copied::Left(_)) {
                return Ok(());
            }
        }
        Err(Error::new(
            ErrorKind::Conflict,
            "the item could not be brought over from the old placement: it changes there, or the new one does not take it",
        ))
    }

    /// Deletes an item from the old placement; whether there was one.
    pub(crate) async fn forget(&self, request: &Request<'_>, limit: Limit) -> Result<bool, Error> {
        let deleted = self.ask_old::<Delete>(&key_of(request, Request::delete)?, limit).await?;
        Ok(deleted.is_some_and(WriteOutcome::is_applied))
    }

    /// Asks the old placement; `None` if it is away and that is to count as a miss.
    pub(crate) async fn ask_old<K: Kind>(
        &self,
        request: &Request<'_>,
        limit: Limit,
    ) -> Result<Option<K::Output>, Error> {
        self.reset_silence_timer(ask::<K>(&self.old, request, limit).await)
    }

    /// Takes an old server that is away for one without the item, if that is wanted.
    pub(crate) fn reset_silence_timer<T>(&self, answer: Result<T, Error>) -> Result<Option<T>, Error> {
        match answer {
            Ok(answer) => Ok(Some(answer)),
            Err(error) if self.old_away == OldUnavailable::Miss && error.is_unavailable() => {
                self.tallies.old_away.add(1);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// A request with the key of another one.
pub(crate) fn key_of<'r>(
    request: &'r Request<'_>,
    build: impl FnOnce(&'r [u8]) -> Request<'r>,
) -> Result<Request<'r>, Error> {
    Ok(build(request.key()?.as_bytes()))
}

/// Whether a `set` that failed leaves no right to the value before it: it may have been stored, or
/// the server has dropped what it had.
pub(crate) fn ends_the_old_value(error: &Error) -> bool {
    error.may_have_executed() || matches!(error.kind(), ErrorKind::ValueTooLarge | ErrorKind::OutOfMemory)
}

/// The error of a step that failed after another one was done.
pub(crate) fn half_done(error: Error) -> Error {
    let kind = match error.kind() {
        ErrorKind::TimedOut(_) | ErrorKind::Overloaded => ErrorKind::TimedOut(Delivery::MaybeSent),
        _ => ErrorKind::Disconnected(Delivery::MaybeSent),
    };
    Error::new(kind, format!("done in one placement only, so an old value may come back: {error}"))
}

/// How often an item is brought over that changes in the old placement at the same time.
const ATTEMPTS: usize = 3;
