//! Recipes: multi-command cache operations that work on every protocol.
//!
//! | operation | binary | meta | text |
//! |---|---|---|---|
//! | [`fetch`](crate::client::Client::fetch): lookup | get, and a get of the refresh item | `mg … t` | `gets`, twice |
//! | lease of a missing value | add of a placeholder | `ms … ME` of the same | `add`, then `gets` for its CAS value |
//! | lease of a value that is due | store of the refresh item by its CAS value | `mg … R`: the server picks the winner | as binary |
//! | fill | set by CAS value | `ms … C` | `cas` |
//! | lease released | set of an expired item by CAS value; the refresh item is due | the same; `md … C I` | as binary |
//! | [`invalidate`](crate::client::Client::invalidate) | the same value set again by CAS value; the refresh item is due | `mg`, then `md … C I T` | as binary |
//! | [`delete` with a tombstone](crate::ops::builder::Command::tombstone) | set of an empty item of other flags | the same | the same |
//! | [`take`](crate::client::Client::take), [`update`](crate::client::Client::update) | get, then a change by CAS value | the same | the same; a delete is a `cas` of an expired item |
//! | [`append_or_create`](crate::client::Client::append_or_create) | append, or add | the same | the same |
//! | [`increment_or_create`](crate::client::Client::increment_or_create) | increment with initial and expiration | `ma … N J` | `incr`, or `add` |
//! | [`lock`](crate::client::Client::lock) | add; then changes by CAS value | the same | the same, and `gets` for the CAS value |
//! | [`Limiter`], fixed window | as `increment_or_create` | the same | the same |
//! | [`Limiter`], GCRA | get, then add or set by CAS value | the same | the same |
//! | [`exists`](crate::client::Client::exists) | get | `mg` without value | `gets` |
//! | [`inspect`](crate::client::Client::inspect) | unsupported | `mg … t l h s u` | unsupported |
//!
//! All conditional operations need CAS values, which a server started with `-C` does not have.
//!
//! # Fetch
//!
//! [`Client::fetch`](crate::client::Client::fetch) gets a value from the cache or loads it.
//! [`Cache::fetch`](crate::cache::Cache::fetch) is the same for values of one type, and
//! [`blocking::Client::fetch`](crate::blocking::Client::fetch) for threads. [`FetchPolicy`] defines how
//! fresh values have to be.
//!
//! - **One loader.** Of all callers that miss a value, in all processes, one loads it. The others wait for
//!   that up to [`FetchPolicy::wait_up_to`], then load by themselves.
//! - **No caller waits for a value that exists.** A value that is due is returned to all callers and
//!   refreshed in a separate task, one in the fleet.
//! - **A loader that stops releases the others immediately**, whether it failed, panicked or was dropped.
//!   The loader of a process that died is replaced when its [lease](FetchPolicy::lease) expires.
//! - **Concurrent changes win.** If a key is deleted, set or invalidated during a load, the loaded value goes
//!   to the callers that asked before, and is not stored.
//! - **Cache failures are not errors.** If the cache is unavailable the loader runs, one at a time per process.
//!
//! [The document on caching](https://github.com/remcache/remcache/blob/main/docs/caching.md) lists these guarantees
//! with the tests that verify them.
//!
//! ## Stored items
//!
//! A loaded value is stored as it is, with the flags of its codec or 0: any program can read it.
//! Sentinel items have flags that no codec of this crate and no other client uses:
//!
//! | flags | value | meaning | other readers |
//! |---|---|---|---|
//! | `0x72657f00` | 32 hexadecimal digits | a lease placeholder: its owner is loading | get a hit with these flags; clients that check flags reject it |
//! | `0x72657f01` | empty | negative result, kept for [`FetchPolicy::negative_ttl`] | the same |
//! | `0x72657f02` | empty | a tombstone | the same |
//! | `0x72657f03` | a hash and a time | a refresh item, under the key with the suffix `~fetch`: when the value is due | never request it |
//!
//! Reads treat all of them as misses, unless they are requested
//! [`with_sentinels`](crate::ops::Command::with_sentinels). Other changes do not distinguish them from values: an `add`
//! fails on one, an `append` extends one and stays invisible, a `touch` prolongs one, and an `increment` is refused as
//! not a number ([`increment_or_create`](crate::client::Client::increment_or_create) replaces it).
//!
//! ## How fetch works on each protocol
//!
//! **The lease of a missing value is the item itself.** It is added under the key, so that one of many
//! clients succeeds, and the loaded value replaces it by its CAS value. Any concurrent change of the key, by
//! any program, changes or removes the item and with it the right to store. A lock under another key
//! would not notice a delete.
//!
//! It works the same on each protocol, so programs on different protocols respect each other's leases. On
//! the meta protocol the server could create the placeholder on a miss (`mg … N`), but with flags 0 and an
//! empty value, which other readers take for an empty value; and a lookup cancelled before its
//! reply would leave an orphaned lease. Such placeholders of other clients are respected.
//!
//! **A value that is due** stays in place, for plain gets too. On the meta protocol the server knows the
//! remaining TTL and assigns the refresh to one client (`R`, and `I` for invalidated items). It never assigns
//! it again; a client that sees that another has won looks again after the lease has expired, and takes it
//! over by the CAS value. A plain [`get`](crate::client::Client::get) of an invalidated item can win; then the
//! refresh starts that much later.
//!
//! The other protocols do not report the remaining TTL, so a refresh item does: it holds the hash of the value
//! it belongs to and the time when that is due, by the clients' clocks. The first client to change it, by its
//! CAS value, to "due when my lease expires" refreshes the value. A refresh item that is lost, evicted
//! or of another value is ignored: the value is served until it expires, and then reloaded.
//! It costs a second get per lookup, in the same write.
//!
//! Programs that share keys with refresh times should use the same protocol, or one of binary and text:
//! meta clients do not read refresh items, and the others do not see what the server reports.
//!
//! ## Step by step
//!
//! Possible interleavings with the steps of a loader L (lookup, lease, load, fill):
//!
//! | interleaving | result |
//! |---|---|
//! | lookup, *another client's lease*, lease | the add fails, and L waits for the other client |
//! | lookup, *another client's fill*, lease | the add fails, and L looks again and takes the value |
//! | lookup, *delete*, lease | the load begins after the delete |
//! | lease, *delete*, fill | the fill finds no item and fails |
//! | lease, *delete, another client's lease*, fill | the fill finds another CAS value; the other client's load began after the delete |
//! | lease, *set*, fill | the fill finds another CAS value |
//! | lease, *delete with tombstone*, fill | the same, and no client fills until the tombstone expires |
//! | lease, *invalidate*, fill | of a placeholder: it is gone or has another CAS value; of a value: it has another CAS value |
//! | lease, *the lease expires, another client's lease*, fill | the fill finds another CAS value: L was too slow; its callers still get its value |
//! | lease, *another client's maximum wait ends*, fill | both may store by the same CAS value: the first does |
//! | fill, *delete*, its reply | the delete comes after, and the value is gone |
//! | lease, *L is cancelled* | the item is removed, or marked as due, if its CAS value still matches |
//! | L is cancelled before the reply to its lease | the request continues in a separate task, and releases what it acquires |
//! | lease of a value that is due, *invalidate*, and this process wins that too | it is released when the first refresh has ended, whose fill fails; the next caller reloads |
//! | the reply to the lease is lost | the item is looked up by its token when the server answers again, and released |
//! | the reply to the fill is lost | it was stored or not; if not, the lease is released |
//!
//! A caller F of the same process that follows L uses its value only if F asked before L sent the fill and
//! the fill succeeded: then nothing changed between L's lease and a time after F asked. If the value was not
//! stored, F uses it only if F asked before the load began. Otherwise F looks again. So no caller that asks
//! after a delete gets a value loaded before it.
//!
//! # Locks and limiters
//!
//! [`Client::lock`](crate::client::Client::lock) holds a key for one caller, with a
//! [fencing token](Lock::fencing_token). [`Limiter`] limits rates for the whole fleet. [`OnUnavailable`]
//! defines what they do when the cache is unavailable.
pub(crate) mod builder;
pub(crate) mod counter;
mod exists;
pub(crate) mod fetch_policy;
pub(crate) mod on_unavailable;
pub(crate) mod ownership;
pub(crate) mod update;

pub(crate) mod fetch;
pub(crate) mod limiter;
pub(crate) mod lock;

pub use crate::ops::inspection::Inspection;
pub use crate::recipes::builder::Recipe;
pub use crate::recipes::fetch_policy::FetchPolicy;
pub use crate::recipes::on_unavailable::OnUnavailable;
pub(crate) use crate::recipes::ownership::removal;
pub(crate) use fetch::{fetch_batch, fetch_within, no_value, note};
pub use limiter::{Decision, FixedWindow, Gcra, Limiter, Rule};
pub use lock::{Lock, LockBuilder, LockOutcome};
