//! Reports operations of any number of requests to observers, with the outcome of their results.

use std::sync::Arc;

use super::{Counts, Observers, OperationStarted, Outcome, Parent, Scope, ServerId};
use crate::error::{Error, ErrorKind};
use crate::proto::{Delivery, Reply, Status};

/// An operation of any number of requests that was reported to observers, if there are any. Dropping it before it is
/// finished reports it as cancelled.
#[derive(Default)]
pub(crate) struct OperationGuard {
    scope: Option<Arc<Scope>>,
    keys: usize,
    /// Whether its end has to be reported, because it is not part of another operation.
    is_open: bool,
}

impl OperationGuard {
    /// Reports the start of an operation, unless it is part of another.
    pub(crate) fn begin(observers: &Observers, parent: Parent, event: &OperationStarted<'_>) -> Self {
        match parent {
            Parent::None if !observers.is_empty() => {
                Self { scope: Some(Scope::begin(observers, event)), keys: event.keys, is_open: true }
            }
            Parent::Operation(scope) => Self { scope: Some(scope), keys: event.keys, is_open: false },
            Parent::None | Parent::Internal => Self::default(),
        }
    }

    /// Returns the operation that its requests are parts of.
    pub(crate) fn scope(&self) -> Option<&Arc<Scope>> {
        self.scope.as_ref()
    }

    /// Reports its end.
    pub(crate) fn end(mut self, outcome: Outcome, counts: Counts) {
        self.end_now(outcome, counts, None);
    }

    /// Reports its end, and returns its result.
    pub(crate) fn end_with<T, E>(self, judge: Classify<T, E>, result: Result<T, E>) -> Result<T, E> {
        if self.is_open {
            let (outcome, counts) = judge(&result);
            let counts = if result.is_ok() { counts } else { Counts::failed(self.keys) };
            self.end(outcome, counts);
        }
        result
    }

    /// Reports its end, with the server that returned the result.
    pub(crate) fn end_at(mut self, outcome: Outcome, counts: Counts, server: Option<&ServerId>) {
        self.end_now(outcome, counts, server);
    }

    /// Reports the end of a request without a reply: whether it was queued.
    pub(crate) fn end_no_reply(self, is_queued: bool) {
        let not_sent = Outcome::Failed(ErrorKind::Disconnected(Delivery::NotSent));
        let outcome = if is_queued { Outcome::Ok } else { not_sent };
        self.end(outcome, Counts::failed(usize::from(!is_queued)));
    }

    /// Returns whether its end has to be reported.
    pub(crate) fn is_open(&self) -> bool {
        self.is_open
    }

    fn end_now(&mut self, outcome: Outcome, counts: Counts, server: Option<&ServerId>) {
        if let (Some(scope), true) = (&self.scope, std::mem::take(&mut self.is_open)) {
            scope.finish(outcome, counts, server);
        }
    }

    /// Reports its end: the result of each key, with whether it was found if the operation reads.
    pub(crate) fn end_many(self, results: impl Iterator<Item = Result<Option<bool>, ErrorKind>>) {
        if self.is_open {
            let (outcome, counts) = sum(results);
            self.end(outcome, counts);
        }
    }

    /// Reports its end, with the results that were counted.
    pub(crate) fn end_counted(self, counts: &ResultCounts) {
        self.end(counts.outcome(), counts.counts);
    }

    /// Reports its end: the reply to each request.
    pub(crate) fn end_replies(self, replies: &[Reply]) {
        self.end_many(replies.iter().map(|reply| match reply.status {
            Status::NoError | Status::KeyNotFound | Status::KeyExists | Status::ItemNotStored => Ok(None),
            status => Err(ErrorKind::of(status)),
        }));
    }
}

/// The results of many keys so far.
#[derive(Debug, Default)]
pub(crate) struct ResultCounts {
    counts: Counts,
    /// The last failure.
    failure: Option<ErrorKind>,
}

impl ResultCounts {
    fn outcome(&self) -> Outcome {
        self.failure.map_or(Outcome::Ok, Outcome::Failed)
    }

    /// Counts the result of one key: whether it was found if the operation reads.
    pub(crate) fn add(&mut self, result: Result<Option<bool>, ErrorKind>) {
        match result {
            Ok(Some(true)) => self.counts.hits += 1,
            Ok(Some(false)) => self.counts.misses += 1,
            Ok(None) => {}
            Err(kind) => {
                self.counts.failed += 1;
                self.failure = Some(kind);
            }
        }
    }
}

impl Drop for OperationGuard {
    fn drop(&mut self) {
        self.end_now(Outcome::Cancelled, Counts::failed(self.keys), None);
    }
}

/// Classifies the results of many keys for observers: each with whether it was found if the operation reads.
pub(crate) fn sum(results: impl Iterator<Item = Result<Option<bool>, ErrorKind>>) -> (Outcome, Counts) {
    let mut counts = ResultCounts::default();
    results.for_each(|result| counts.add(result));
    (counts.outcome(), counts.counts)
}

/// A function that converts a result for observers. The keys of a failed operation count as failed.
pub(crate) type Classify<T, E> = fn(&Result<T, E>) -> (Outcome, Counts);

/// Classifies the result of an operation that does not read for observers.
pub(crate) fn done<T>(result: &Result<T, Error>) -> (Outcome, Counts) {
    match result {
        Ok(_) => (Outcome::Ok, Counts::default()),
        Err(error) => (Outcome::Failed(error.kind()), Counts::default()),
    }
}

/// Classifies the result of a read of one key for observers.
pub(crate) fn found<T>(result: &Result<Option<T>, Error>) -> (Outcome, Counts) {
    match result {
        Ok(Some(_)) => (Outcome::Hit, Counts::found(true)),
        Ok(None) => (Outcome::Miss, Counts::found(false)),
        Err(_) => done(result),
    }
}

/// Classifies the result of a fetch for observers, whatever the type of the loader's error: the fetch itself
/// [notes](Scope::note) what the result does not show.
pub(crate) fn loaded<T, E>(result: &Result<T, E>) -> (Outcome, Counts) {
    (if result.is_ok() { Outcome::Ok } else { Outcome::LoaderFailed }, Counts::default())
}

/// Returns the result of one key of a read of many.
pub(crate) fn found_each<T>(result: &Result<Option<T>, Error>) -> Result<Option<bool>, ErrorKind> {
    result.as_ref().map(|found| Some(found.is_some())).map_err(Error::kind)
}

/// Returns the result of one key or server of a change of many.
pub(crate) fn done_each<T>(result: &Result<T, Error>) -> Result<Option<bool>, ErrorKind> {
    result.as_ref().map(|_| None).map_err(Error::kind)
}
