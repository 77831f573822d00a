//! Options that only the meta protocol supports, and the item metadata they return.
//!
//! On other protocols a request with such an option is refused before it is sent.

use std::time::Duration;

use crate::types::error::InvalidRequest;
use crate::types::operation::Operation;
use crate::types::ttl::Ttl;
use crate::types::version::{Feature, ServerVersion};

/// Options of a request that only the meta protocol supports.
///
/// ```
/// use std::time::Duration;
/// use remcache_proto::{MetaOptions, Request};
///
/// // A lease: the first of many callers that miss wins it, and refills the item.
/// let lease = MetaOptions::new().vivify(Duration::from_secs(30));
/// let request = Request::get("page").meta(lease);
/// assert!(request.meta_options().is_some());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct MetaOptions {
    pub(crate) without_value: bool,
    pub(crate) no_bump: bool,
    pub(crate) return_ttl: bool,
    pub(crate) return_last_access: bool,
    pub(crate) return_fetched: bool,
    pub(crate) return_size: bool,
    pub(crate) vivify: Option<Ttl>,
    pub(crate) recache: Option<Duration>,
    pub(crate) stale: bool,
    pub(crate) update_ttl: Option<Ttl>,
    pub(crate) remove_value: bool,
    pub(crate) new_cas: Option<u64>,
    pub(crate) omit_value_if_cas: Option<u64>,
}

/// Each option can be combined with the others; those that an operation does not support are refused.
impl MetaOptions {
    /// Creates options that request nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gets: returns no value, only metadata.
    pub fn without_value(self) -> Self {
        Self { without_value: true, ..self }
    }

    /// Fetches: does not count as an access; the item is neither marked as fetched nor moved in the LRU.
    pub fn no_bump(self) -> Self {
        Self { no_bump: true, ..self }
    }

    /// Requests the item's remaining TTL.
    pub fn return_ttl(self) -> Self {
        Self { return_ttl: true, ..self }
    }

    /// Gets: requests the time since the last access.
    pub fn return_last_access(self) -> Self {
        Self { return_last_access: true, ..self }
    }

    /// Gets: requests whether the item was fetched before.
    pub fn return_fetched(self) -> Self {
        Self { return_fetched: true, ..self }
    }

    /// Gets, and stores since 1.6.20: requests the value's size.
    pub fn return_size(self) -> Self {
        Self { return_size: true, ..self }
    }

    /// Gets: on a miss creates an empty item with this TTL, and reports to the first caller that it has won. Append and
    /// prepend, since 1.6.20: creates the item with this TTL.
    pub fn vivify(self, ttl: impl Into<Ttl>) -> Self {
        Self { vivify: Some(ttl.into()), ..self }
    }

    /// Gets: if the item has less time left than this, the first caller wins the refresh.
    pub fn recache(self, ttl: Duration) -> Self {
        Self { recache: Some(ttl), ..self }
    }

    /// Deletes: marks the item as stale instead. Stores with a CAS value: accepts an older one, and marks the item as
    /// stale.
    pub fn stale(self) -> Self {
        Self { stale: true, ..self }
    }

    /// Sets the new TTL of an item that is marked as stale, emptied, incremented or decremented.
    pub fn update_ttl(self, ttl: impl Into<Ttl>) -> Self {
        Self { update_ttl: Some(ttl.into()), ..self }
    }

    /// Deletes, since 1.6.27: keeps an empty item.
    pub fn remove_value(self) -> Self {
        Self { remove_value: true, ..self }
    }

    /// Sets the item's new CAS value, since 1.6.27.
    pub fn new_cas(self, cas: u64) -> Self {
        Self { new_cas: Some(cas), ..self }
    }

    /// Fetches, since 1.6.40: omits the value if the item has this CAS value.
    pub fn omit_value_if_cas(self, cas: u64) -> Self {
        Self { omit_value_if_cas: Some(cas), ..self }
    }
}

/// Item metadata beyond value, flags and CAS value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ItemInfo {
    /// The remaining TTL, if it was requested.
    pub remaining_ttl: Option<Ttl>,
    /// The time since the last access before this request.
    pub last_access: Option<Duration>,
    /// Whether the item was fetched before this request.
    pub fetched: Option<bool>,
    /// The value's size in bytes.
    pub size: Option<u64>,
    /// Whether this caller has won the right to recache the item.
    pub won: bool,
    /// Whether the item was marked as stale.
    pub stale: bool,
    /// Whether another caller is recaching the item.
    pub already_won: bool,
}

/// A predicate on operations, for the table below.
type Group = fn(Operation) -> bool;

/// An option: whether it is set, the operations that support it, and since which version.
struct OptionRow {
    is_set: fn(&MetaOptions) -> bool,
    supports: Group,
    since: Feature,
    refusal: &'static str,
}

const fn row(is_set: fn(&MetaOptions) -> bool, supports: Group, since: Feature, refusal: &'static str) -> OptionRow {
    OptionRow { is_set, supports, since, refusal }
}

fn fetches(operation: Operation) -> bool {
    operation.is_fetch()
}

fn fetches_or_touches(operation: Operation) -> bool {
    fetches(operation) || operation == Operation::Touch
}

fn extends(operation: Operation) -> bool {
    matches!(operation, Operation::Append | Operation::Prepend)
}

fn stores(operation: Operation) -> bool {
    matches!(operation, Operation::Set | Operation::Add | Operation::Replace)
}

fn counts(operation: Operation) -> bool {
    matches!(operation, Operation::Increment | Operation::Decrement)
}

const OPTIONS: &[OptionRow] = &[
    row(|it| it.without_value, fetches, Feature::CleanMeta, "only a fetch can leave the value out"),
    row(|it| it.no_bump, fetches_or_touches, Feature::CleanMeta, "only a fetch can leave an item unbumped"),
    row(
        |it| it.return_ttl,
        |it| fetches_or_touches(it) || counts(it),
        Feature::CleanMeta,
        "only gets, touches and counters return the remaining TTL",
    ),
    row(|it| it.return_last_access, fetches_or_touches, Feature::CleanMeta, "only a get returns the last access"),
    row(|it| it.return_fetched, fetches_or_touches, Feature::CleanMeta, "only a get returns earlier fetches"),
    row(
        |it| it.return_size,
        |it| fetches_or_touches(it) || stores(it) || extends(it),
        Feature::CleanMeta,
        "only gets and stores return the size",
    ),
    row(
        |it| it.vivify.is_some(),
        |it| fetches_or_touches(it) || extends(it),
        Feature::CleanMeta,
        "only fetches, append and prepend create absent items; counters have an initial value",
    ),
    row(|it| it.recache.is_some(), fetches_or_touches, Feature::CleanMeta, "only a fetch can win an item"),
    row(
        |it| it.stale,
        |it| it == Operation::Delete || it == Operation::Set,
        Feature::CleanMeta,
        "only delete and set mark an item as stale",
    ),
    row(
        |it| it.update_ttl.is_some(),
        |it| it == Operation::Delete || counts(it),
        Feature::CleanMeta,
        "a new TTL in addition to the operation's own is supported by delete and counters only",
    ),
    row(
        |it| it.remove_value,
        |it| it == Operation::Delete,
        Feature::RemoveValue,
        "keeping an empty item is for deletes, and needs memcached 1.6.27",
    ),
    row(
        |it| it.new_cas.is_some(),
        |it| !matches!(it, Operation::Touch | Operation::Debug),
        Feature::NewCas,
        "choosing the CAS value needs memcached 1.6.27",
    ),
    row(
        |it| it.omit_value_if_cas.is_some(),
        fetches,
        Feature::OmitValueIfCas,
        "leaving out a known value is for fetches, and needs memcached 1.6.40",
    ),
];

impl MetaOptions {
    /// Requests all metadata of an item, without its value and without counting as an access.
    pub(crate) fn inspection() -> Self {
        Self {
            without_value: true,
            no_bump: true,
            return_ttl: true,
            return_last_access: true,
            return_fetched: true,
            return_size: true,
            ..Self::default()
        }
    }

    /// Checks that an operation supports these options on a server.
    pub(crate) fn check(&self, operation: Operation, server_version: ServerVersion) -> Result<(), InvalidRequest> {
        let set_options = OPTIONS.iter().filter(|row| (row.is_set)(self));
        for row in set_options {
            if !(row.supports)(operation) || !server_version.has(row.since) {
                return Err(InvalidRequest::Unsupported(row.refusal));
            }
        }
        let newer_store = extends(operation) && self.vivify.is_some()
            || (stores(operation) || extends(operation)) && self.return_size;
        if newer_store && !server_version.has(Feature::VivifyingAppend) {
            return Err(InvalidRequest::Unsupported(
                "append and prepend that create, and stores that return the size, need memcached 1.6.20",
            ));
        }
        if operation == Operation::Delete && self.update_ttl.is_some() && !self.stale && !self.remove_value {
            // The server would ignore the TTL and delete the item (docs/protocol.md 4.3).
            return Err(InvalidRequest::Unsupported(
                "a delete has a time to live only if it leaves a stale or empty item",
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_without_a_meaning_are_refused() {
        let newest = ServerVersion::parse("1.6.45");
        let stale = MetaOptions { stale: true, ..MetaOptions::default() };
        assert!(stale.check(Operation::Delete, newest).is_ok());
        assert!(stale.check(Operation::Get, newest).is_err());
        let inspection = MetaOptions::inspection();
        assert!(inspection.check(Operation::Get, newest).is_ok());
        assert!(inspection.check(Operation::Delete, newest).is_err());
        let ttl = MetaOptions { update_ttl: Some(Ttl::Never), ..MetaOptions::default() };
        assert!(ttl.check(Operation::Delete, newest).is_err());
        assert!(ttl.check(Operation::Increment, newest).is_ok());
    }

    #[test]
    fn options_that_an_older_server_ignores_are_refused() {
        for (options, operation, since) in [
            (MetaOptions { omit_value_if_cas: Some(1), ..MetaOptions::default() }, Operation::Get, "1.6.40"),
            (MetaOptions { new_cas: Some(1), ..MetaOptions::default() }, Operation::Set, "1.6.27"),
            (MetaOptions { remove_value: true, ..MetaOptions::default() }, Operation::Delete, "1.6.27"),
            (MetaOptions { vivify: Some(Ttl::Never), ..MetaOptions::default() }, Operation::Append, "1.6.20"),
            (MetaOptions { return_size: true, ..MetaOptions::default() }, Operation::Set, "1.6.20"),
        ] {
            assert!(options.check(operation, ServerVersion::default()).is_err(), "{options:?}");
            assert!(options.check(operation, ServerVersion::parse(since)).is_ok(), "{options:?}");
        }
    }
}
