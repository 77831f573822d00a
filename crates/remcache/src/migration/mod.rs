//! Migrates a cache to another placement without losing its contents: reads go to the new placement, and
//! items that only the old one has are backfilled.
//!
//! A migration uses two [`Client`]s with different servers, distributions or both; they may share servers.
//!
//! ```
//! use remcache::distribution::Distribution;
//! use remcache::{Client, Config};
//! use remcache::migration::Migration;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let servers = [remcache_server::Server::start().await?, remcache_server::Server::start().await?];
//! # let (three, five) = ([servers[0].address()], [servers[0].address(), servers[1].address()]);
//! let old = Client::with_config(&three, Config::new().distribution(Distribution::LIBMEMCACHED))?;
//! let new = Client::with_config(&five, Config::new().distribution(Distribution::KETAMA))?;
//! # for n in 0..100 { old.set(format!("key{n}"), "warm").await?; }
//!
//! let cache = Migration::new(old, new);
//! # for n in 0..100 {
//! # let key = format!("key{n}");
//! let item = cache.get(&key).await?; // from the new servers, or else the old ones
//! # assert!(item.is_some());
//! # }
//! cache.set("key1", "changed").await?; // in the new placement, and deleted from the old one
//! println!("{:.0} % still come from the old servers", 100.0 * cache.report().old_hit_ratio());
//! # Ok(()) }
//! ```
//!
//! # Procedure
//!
//! 1. Deploy a `Migration` in place of the client in every program that uses the cache, as simultaneously
//!    as possible (see below for what happens otherwise).
//! 2. Watch the [`report`](Migration::report): the share of the old placement falls as keys are
//!    read, written and expire.
//! 3. When it is low enough, switch the programs to the new client alone. Items that were never requested stay
//!    in the old placement.
//!
//! # What each operation does
//!
//! A key that has the same server in both placements, by configured name, does not move: only the new
//! placement is used. (A server listed under two names is not recognized, and data written to it would be
//! lost: use the same names in both lists.) For all other keys:
//!
//! | operation | does |
//! |---|---|
//! | `get`, `get_many` | fetches from the new placement; on a miss from the old one, and backfills the item; on another miss from the new one again, because another client may have moved the item in the meantime |
//! | `set`, `set_many` | sets in the new placement, then deletes from the old |
//! | `delete`, `delete_many` | deletes from the old, then from the new |
//! | `add` | fails if the old placement has the item; otherwise adds to the new |
//! | `touch`, `get_and_touch` | tries the new placement; on a miss, backfills and tries again; then touches the old item too |
//! | all others, and `set` with a CAS value | tries the new placement; on a miss, backfills and tries again; deletes the changed item from the old |
//!
//! Backfilling an item means: read it from the old placement, `add` it to the new one, which never overwrites other
//! clients' writes, then read the old one again. If the item no longer exists or has another CAS value, another client
//! changed or deleted it in the meantime, and the copy is deleted by its CAS value. A fetched item has the CAS value of
//! the new placement. If it could not be backfilled, its CAS value never matches.
//!
//! # TTL of copies
//!
//! If the old servers report the remaining TTL, the copy gets it. That requires the meta protocol:
//! [`protocol`](crate::config::Config::protocol) `meta`, or `auto` and memcached 1.6.18 or newer. It costs one
//! more round trip per copy. TTLs are whole seconds, so a copy may outlive its item by one second.
//!
//! The binary and text protocols do not report it. There a copy lives for
//! [`backfill_ttl`](Migration::backfill_ttl), 5 minutes by default, and is then backfilled again if the old
//! placement still has the item. An item may outlive its TTL by that much, and an item that is only
//! read stays on the old servers.
//!
//! Applications that know the TTL provide it with [`ttl_source`](Migration::ttl_source), on any protocol.
//!
//! # Guarantees
//!
//! After a `set`, `delete` or other change has returned without an error, no later read through a
//! `Migration` returns an older value, with these exceptions:
//!
//! - **While a copy is verified.** Between the `add` of a copy and the second read of the old placement, about
//!   one round trip, other clients may read a value that was just deleted, or `increment`, `append` to or
//!   `touch` it, and an `add` may fail because of it. The copy is then deleted unless it was changed.
//! - **If the new server loses a value immediately**, because it is evicted or expires between the `set` and the
//!   `delete` on the old server. A copy made in that interval stays.
//! - **If a copy cannot be deleted**, because the new server is unreachable, the runtime shuts down, or the
//!   `add` timed out and is executed later: it stays until its TTL expires.
//!   (Dropping a future is safe: the verification continues.)
//! - **If a program uses only one of the clients.** Its writes to the old placement are hidden by an existing copy
//!   until that expires. Its writes to the new one are visible immediately, but the old value reappears when the new
//!   placement loses the item.
//! - **If the old placement ejects servers**, as `remcached` does: items on an ejected server are neither
//!   found nor deleted, and reappear in the old placement when the server is back.
//!
//! A change that was applied to the new placement but could not be deleted from the old is an error that
//! [may have been executed](crate::error::Error::may_have_executed).
//!
//! Each operation has one deadline for all its steps: the new client's
//! [`timeout`](crate::config::Config::timeout), or its own.
//!
//! # Observers
//!
//! The observers of the new client receive the report of each operation, with the requests to both placements as its
//! [exchanges](crate::observe::ActiveOperation::exchange_started); those of the old client do so only if the new one
//! has no observers. No operation is reported twice. Events of connections and servers are reported by their own
//! client.
pub(crate) mod backfill;
pub(crate) mod builder;

mod many;
mod operations;
mod report;
mod ttl;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

pub use crate::migration::builder::{MigrationCommand, MigrationFuture, MigrationKind};
pub use many::SetMany;
pub use report::Report;
pub use ttl::TtlSource;

use crate::client::Client;
use crate::observe::{OperationGuard, OperationName};
use crate::ops::builder::kind::{Count, Delete, Extend, Fetch, Store, Touch, Unconditional};
use crate::ops::operation_reports::Observed;
use crate::proto::{IntoCowBytes, Request, Ttl};
use report::LiveReport;

/// Presents two placements as one cache while items move from the old to the new.
///
/// It is a handle, like [`Client`]: clones share the report. See the [module](self) for what each
/// operation does and what is guaranteed.
#[derive(Clone)]
pub struct Migration {
    old: Client,
    new: Client,
    ttl: Arc<dyn TtlSource>,
    old_unavailable: OldUnavailable,
    tallies: Arc<LiveReport>,
}

/// How to handle unavailable old servers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OldUnavailable {
    /// The operation fails, because it is unknown whether the item exists.
    #[default]
    Fail,
    /// Counts as a miss. If the server comes back with its items, values that were changed or deleted in the
    /// meantime may reappear.
    Miss,
}

impl Migration {
    /// Creates a migration from one placement to another.
    pub fn new(old: Client, new: Client) -> Self {
        let ttl = ttl::reported_ttl_or(std::time::Duration::from_secs(300).into());
        Self { old, new, ttl, old_unavailable: OldUnavailable::default(), tallies: Arc::default() }
    }

    /// Sets the TTL of copies whose remaining TTL the old servers do not report (default: 5 minutes): on the binary
    /// and text protocols, or if the query fails.
    ///
    /// An item may outlive its TTL by this much. With a shorter value, items that are only read are copied
    /// more often; with a longer one, or [`Ttl::Never`], copies stay. [`Ttl::Expired`] disables copies on any
    /// protocol: fetches return what the old placement has, and changes that need an existing item do not
    /// find it.
    #[must_use]
    pub fn backfill_ttl(self, ttl: impl Into<Ttl>) -> Self {
        Self { ttl: ttl::reported_ttl_or(ttl.into()), ..self }
    }

    /// Sets the source of each copy's TTL, which takes precedence over what the old servers report.
    ///
    /// ```
    /// # fn f(cache: remcache::migration::Migration) -> remcache::migration::Migration {
    /// use std::time::Duration;
    /// use remcache::{Item, Ttl};
    ///
    /// cache.ttl_source(|key: &[u8], _: &Item| match key.starts_with(b"session:") {
    ///     true => Ttl::from(Duration::from_secs(1800)),
    ///     false => Ttl::Never,
    /// })
    /// # }
    /// ```
    #[must_use]
    pub fn ttl_source(self, source: impl TtlSource) -> Self {
        Self { ttl: Arc::new(source), ..self }
    }

    /// Sets how to handle unavailable old servers (default: the operation fails).
    #[must_use]
    pub fn on_old_unavailable(self, old_unavailable: OldUnavailable) -> Self {
        Self { old_unavailable, ..self }
    }

    /// Returns the client of the old placement.
    pub fn old_client(&self) -> &Client {
        &self.old
    }

    /// Returns the client of the new placement.
    pub fn new_client(&self) -> &Client {
        &self.new
    }

    /// Returns counters of hits and copies by placement.
    pub fn report(&self) -> Report {
        self.tallies.report()
    }
}

/// Operations on one key, like those of [`Client`].
///
/// # Errors
/// Those of the clients, from the last server involved.
///
/// # Cancel safety
/// An operation that was polled may have been executed, completely or in part; copies are still verified.
impl Migration {
    /// Fetches an item; `None` is a miss in both placements.
    pub fn get<'a>(&'a self, key: impl IntoCowBytes<'a>) -> MigrationCommand<'a, Fetch> {
        MigrationCommand::new(self, Request::get(key))
    }

    /// Fetches an item and updates its TTL; `None` is a miss in both placements.
    pub fn get_and_touch<'a>(&'a self, key: impl IntoCowBytes<'a>, ttl: impl Into<Ttl>) -> MigrationCommand<'a, Fetch> {
        MigrationCommand::new(self, Request::get_and_touch(key, ttl))
    }

    /// Stores an item unconditionally.
    pub fn set<'a>(
        &'a self,
        key: impl IntoCowBytes<'a>,
        value: impl IntoCowBytes<'a>,
    ) -> MigrationCommand<'a, Unconditional<Store>> {
        MigrationCommand::new(self, Request::set(key, value))
    }

    /// Stores an item if neither placement has one.
    pub fn add<'a>(&'a self, key: impl IntoCowBytes<'a>, value: impl IntoCowBytes<'a>) -> MigrationCommand<'a, Store> {
        MigrationCommand::new(self, Request::add(key, value))
    }

    /// Stores an item if one of the placements has one.
    pub fn replace<'a>(
        &'a self,
        key: impl IntoCowBytes<'a>,
        value: impl IntoCowBytes<'a>,
    ) -> MigrationCommand<'a, Store> {
        MigrationCommand::new(self, Request::replace(key, value))
    }

    /// Appends bytes to a value.
    pub fn append<'a>(
        &'a self,
        key: impl IntoCowBytes<'a>,
        value: impl IntoCowBytes<'a>,
    ) -> MigrationCommand<'a, Extend> {
        MigrationCommand::new(self, Request::append(key, value))
    }

    /// Prepends bytes to a value.
    pub fn prepend<'a>(
        &'a self,
        key: impl IntoCowBytes<'a>,
        value: impl IntoCowBytes<'a>,
    ) -> MigrationCommand<'a, Extend> {
        MigrationCommand::new(self, Request::prepend(key, value))
    }

    /// Removes an item from both placements.
    pub fn delete<'a>(&'a self, key: impl IntoCowBytes<'a>) -> MigrationCommand<'a, Unconditional<Delete>> {
        MigrationCommand::new(self, Request::delete(key))
    }

    /// Increments a counter, continuing from its value in the old placement.
    pub fn increment<'a>(&'a self, key: impl IntoCowBytes<'a>, delta: u64) -> MigrationCommand<'a, Count> {
        MigrationCommand::new(self, Request::increment(key, delta))
    }

    /// Decrements a counter, continuing from its value in the old placement.
    pub fn decrement<'a>(&'a self, key: impl IntoCowBytes<'a>, delta: u64) -> MigrationCommand<'a, Count> {
        MigrationCommand::new(self, Request::decrement(key, delta))
    }

    /// Updates the TTL of an item.
    pub fn touch<'a>(
        &'a self,
        key: impl IntoCowBytes<'a>,
        ttl: impl Into<Ttl>,
    ) -> MigrationCommand<'a, Unconditional<Touch>> {
        MigrationCommand::new(self, Request::touch(key, ttl))
    }
}

impl Migration {
    /// Reports the start of an operation on one key to observers, if there are any; returns a migration whose requests
    /// are reported as parts of it.
    fn observe(&self, request: &Request<'_>) -> (Cow<'_, Self>, OperationGuard) {
        let client = self.observed_client();
        match client.is_observed() {
            true => {
                let key = request.key().map_or(&[][..], |key| key.as_bytes());
                self.within(client.observe(OperationName::of(request.operation()), key))
            }
            false => (Cow::Borrowed(self), OperationGuard::default()),
        }
    }

    /// Reports the start of an operation on many keys to observers, if there are any.
    fn observe_many(&self, name: OperationName, keys: usize) -> (Cow<'_, Self>, OperationGuard) {
        let client = self.observed_client();
        match client.is_observed() && keys > 0 {
            true => self.within(client.observe_many(name, keys)),
            false => (Cow::Borrowed(self), OperationGuard::default()),
        }
    }

    /// Returns the client whose observers receive the reports.
    fn observed_client(&self) -> &Client {
        if self.new.is_observed() { &self.new } else { &self.old }
    }

    fn within(&self, operation: Observed<'_>) -> (Cow<'_, Self>, OperationGuard) {
        let scope = operation.scope();
        let (old, new) = (self.old.within(scope.cloned()), self.new.within(scope.cloned()));
        (Cow::Owned(Self { old, new, ..self.clone() }), operation.into_guard())
    }
}

impl fmt::Debug for Migration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Migration").field("old", &self.old).field("new", &self.new).finish_non_exhaustive()
    }
}
