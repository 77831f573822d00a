//! From one placement to another without losing what is warm: reads go to the new one, and bring
//! over what only the old one has.
//!
//! Two [`Client`]s take part: of other servers, of another distribution, or both; they may well share
//! servers.
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
//! let item = cache.get(&key).await?; // from the new servers, else from the old ones
//! # assert!(item.is_some());
//! # }
//! cache.set("key1", "changed").await?; // to the new ones, and gone from the old ones
//! println!("{:.0} % still come from the old servers", 100.0 * cache.report().share_of_old());
//! # Ok(()) }
//! ```
//!
//! # How to go about it
//!
//! 1. Give every program that uses the cache a `Migration` instead of its client, at the same time as
//!    far as possible (what happens otherwise is below).
//! 2. Look at the [`report`](Migration::report): the share of the old placement falls as keys are
//!    read, written and expire.
//! 3. When it is low enough, give the programs the new client alone. What nobody asked for stays
//!    behind.
//!
//! # What each operation does
//!
//! A key whose server is the same in both placements, by its configured name, is not moved: it is
//! asked for in the new placement alone. (One server under two names is not recognised, and would
//! lose what is written to it: name servers in both lists alike.) For the others:
//!
//! | operation | does |
//! |---|---|
//! | `get`, `get_many` | asks the new placement; on a miss the old one, and brings over what that has; if that has nothing, asks the new one once more, because somebody may have moved the item meanwhile |
//! | `set`, `set_many` | sets in the new, then deletes from the old |
//! | `delete`, `delete_many` | deletes from the old, then from the new |
//! | `add` | is refused if the old has the item; else adds to the new |
//! | `touch`, `get_and_touch` | tries the new; if the item is not there, brings it over and tries again; then touches the old one alike |
//! | all others, and `set` with a CAS value | tries the new; if the item is not there, brings it over and tries again; what was changed is then deleted from the old |
//!
//! To bring an item over is: read it from the old, `add` it to the new, which never overwrites what
//! somebody wrote there, then look at the old again. If the item is no longer there with the same CAS
//! value, somebody changed or deleted it meanwhile, and the copy is deleted, by its own CAS value.
//! The CAS value of a fetched item is that of the new placement. Where the item could not be brought
//! over, it is one that never matches.
//!
//! # How long a copy lives
//!
//! As long as the item has left, where the old servers tell it: on the meta protocol, hence with
//! [`protocol`](crate::config::Config::protocol) `meta`, or `auto` and memcached 1.6.18 or newer. That costs one
//! more round trip for each copy. Times are whole seconds, so a copy may outlive its item by one.
//!
//! The binary and the text protocol do not tell it. There a copy lives for
//! [`backfill_ttl`](Migration::backfill_ttl), 5 minutes by default; after that the item is brought
//! over anew, if the old placement still has it. An item may outlive its time by that much, and an
//! item that is only read stays with the old servers.
//!
//! Where the program knows better, it says so with [`ttl_source`](Migration::ttl_source), on any protocol.
//!
//! # What is guaranteed
//!
//! When a `set`, `delete` or other change has returned without an error, no later read through a
//! `Migration` gives an older value, but for this:
//!
//! - **While a copy is checked.** Between the `add` of a copy and the look at the old placement,
//!   about one round trip, others may read a value that was deleted in just that time, or `increment`,
//!   `append` to or `touch` it, and an `add` may be refused because of it.
//!   The copy is deleted then; what was changed meanwhile stays.
//! - **If the new server loses a value at once**: it evicts it, or its time to live ends, between the
//!   `set` and the `delete` that follows on the old server. A copy that is made in just that time stays.
//! - **If a copy cannot be deleted**, because the new server cannot be reached just then, the runtime
//!   ends, or the `add` itself timed out and is executed later: it stays until its time to live ends.
//!   (To drop a future is harmless: the check goes on without it.)
//! - **If a program uses one of the clients alone.** What it writes to the old placement is not seen
//!   where a copy exists, until that copy ends. What it writes to the new one is seen at once, but the
//!   old placement's value comes back when the new one loses it.
//! - **If the old placement moves keys while servers come and go**, as `remcached` does: what lies on a
//!   server that is away is neither found nor deleted there, and is the old placement's value again
//!   when the server is back.
//!
//! A change that is made in the new placement but could not be deleted from the old is an error that
//! [may have been executed](crate::error::Error::may_have_executed).
//!
//! Each operation has one deadline for all its steps: the new client's
//! [`timeout`](crate::config::Config::timeout), or its own.
pub(crate) mod backfill;
pub(crate) mod builder;

mod many;
mod report;
mod rules;
mod ttl;

use std::fmt;
use std::sync::Arc;

pub use crate::migration::builder::{Moves, Moving, Step};
pub use many::SetMany;
pub use report::Report;
pub use ttl::TtlSource;

use crate::client::Client;
use crate::ops::builder::{Count, Delete, Extend, Fetch, Store, Touch};
use crate::proto::{CowBytes, Request, Ttl};
use report::Tallies;

/// Two placements as one cache, while items move from the old to the new.
///
/// It is a handle, as [`Client`] is: clones share the report. See the [module](self) for what each
/// operation does and what is guaranteed.
#[derive(Clone)]
pub struct Migration {
    old: Client,
    new: Client,
    ttl: Arc<dyn TtlSource>,
    old_away: OldUnavailable,
    tallies: Arc<Tallies>,
}

/// What it means that an old server cannot be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OldUnavailable {
    /// The operation fails: whether the item is there is not known.
    #[default]
    Fail,
    /// As if the old server had nothing. If it comes back with its items, values that were changed
    /// or deleted meanwhile may come back with them.
    Miss,
}

impl Migration {
    /// Moves from one placement to another.
    pub fn new(old: Client, new: Client) -> Self {
        let ttl = ttl::told_or(std::time::Duration::from_secs(300).into());
        Self { old, new, ttl, old_away: OldUnavailable::default(), tallies: Arc::default() }
    }

    /// How long copies live in the new placement whose time the old servers do not tell (default: 5
    /// minutes): on the binary and the text protocol, and if they cannot be asked.
    ///
    /// An item may outlive its time by as much. A shorter time makes items that are only read move
    /// again and again; with a longer one, or [`Ttl::Never`], they stay. With [`Ttl::Expired`] nothing
    /// is copied, on any protocol: fetches find what the old placement has, and changes that need an item
    /// find none.
    #[must_use]
    pub fn backfill_ttl(self, ttl: impl Into<Ttl>) -> Self {
        Self { ttl: ttl::told_or(ttl.into()), ..self }
    }

    /// How long each copy lives, by what the program knows of it, and whatever the old servers tell.
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

    /// What it means that an old server cannot be asked (default: the operation fails).
    #[must_use]
    pub fn when_old_is_away(self, old_away: OldUnavailable) -> Self {
        Self { old_away, ..self }
    }

    /// The client of the old placement.
    pub fn old(&self) -> &Client {
        &self.old
    }

    /// The client of the new placement.
    pub fn new_client(&self) -> &Client {
        &self.new
    }

    /// What has come from where until now.
    pub fn report(&self) -> Report {
        self.tallies.report()
    }
}

/// Operations on one key, as those of [`Client`].
///
/// # Errors
/// As those of the clients, by the server that was asked last.
///
/// # Cancellation
/// An operation that was polled may have been executed, in whole or up to one of its steps; copies
/// are checked all the same.
impl Migration {
    /// Fetches an item; `None` is a miss in both placements.
    pub fn get<'a>(&'a self, key: impl Into<CowBytes<'a>>) -> Step<'a, Fetch> {
        Step::new(self, Request::get(key))
    }

    /// Fetches an item and gives it a new time to live; `None` is a miss in both placements.
    pub fn get_and_touch<'a>(&'a self, key: impl Into<CowBytes<'a>>, ttl: impl Into<Ttl>) -> Step<'a, Fetch> {
        Step::new(self, Request::get_and_touch(key, ttl))
    }

    /// Stores an item, whether or not there is one.
    pub fn set<'a>(&'a self, key: impl Into<CowBytes<'a>>, value: impl Into<CowBytes<'a>>) -> Step<'a, Store> {
        Step::new(self, Request::set(key, value))
    }

    /// Stores an item if neither placement has one.
    pub fn add<'a>(&'a self, key: impl Into<CowBytes<'a>>, value: impl Into<CowBytes<'a>>) -> Step<'a, Store> {
        Step::new(self, Request::add(key, value))
    }

    /// Stores an item if one of the placements has one.
    pub fn replace<'a>(&'a self, key: impl Into<CowBytes<'a>>, value: impl Into<CowBytes<'a>>) -> Step<'a, Store> {
        Step::new(self, Request::replace(key, value))
    }

    /// Puts bytes behind a value.
    pub fn append<'a>(&'a self, key: impl Into<CowBytes<'a>>, value: impl Into<CowBytes<'a>>) -> Step<'a, Extend> {
        Step::new(self, Request::append(key, value))
    }

    /// Puts bytes before a value.
    pub fn prepend<'a>(&'a self, key: impl Into<CowBytes<'a>>, value: impl Into<CowBytes<'a>>) -> Step<'a, Extend> {
        Step::new(self, Request::prepend(key, value))
    }

    /// Removes an item from both placements.
    pub fn delete<'a>(&'a self, key: impl Into<CowBytes<'a>>) -> Step<'a, Delete> {
        Step::new(self, Request::delete(key))
    }

    /// Raises a counter, which goes on from where it was in the old placement.
    pub fn increment<'a>(&'a self, key: impl Into<CowBytes<'a>>, delta: u64) -> Step<'a, Count> {
        Step::new(self, Request::increment(key, delta))
    }

    /// Lowers a counter, which goes on from where it was in the old placement.
    pub fn decrement<'a>(&'a self, key: impl Into<CowBytes<'a>>, delta: u64) -> Step<'a, Count> {
        Step::new(self, Request::decrement(key, delta))
    }

    /// Gives an item a new time to live.
    pub fn touch<'a>(&'a self, key: impl Into<CowBytes<'a>>, ttl: impl Into<Ttl>) -> Step<'a, Touch> {
        Step::new(self, Request::touch(key, ttl))
    }
}

impl fmt::Debug for Migration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Migration").field("old", &self.old).field("new", &self.new).finish_non_exhaustive()
    }
}
