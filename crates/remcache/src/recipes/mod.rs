//! What people want of a cache beyond single commands, built from commands of every protocol.
//!
//! | verb | binary | meta | text |
//! |---|---|---|---|
//! | [`fetch`](crate::client::Client::fetch): look | get, and a get of the companion | `mg … t` | `gets`, twice |
//! | lease of a missing value | add of a placeholder | `ms … ME` of the same | `add`, then `gets` for its CAS value |
//! | lease of a value that is due | store of the companion by its CAS value | `mg … R`: the server says who has won | as binary |
//! | fill | set by CAS value | `ms … C` | `cas` |
//! | lease given back | set of an expired item by CAS value; the companion is due | the same; `md … C I` | as binary |
//! | [`invalidate`](crate::client::Client::invalidate) | the same value set again by CAS value; the companion is due | `mg`, then `md … C I T` | as binary |
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
//! Everything that has a condition needs CAS values: a server that was started with `-C` has none.
//!
//! # Fetch
//!
//! [`Client::fetch`](crate::client::Client::fetch) gets a value from the cache, or else from a loader.
//! [`Cache::fetch`](crate::cache::Cache::fetch) is the same for values of one type, and
//! [`blocking::Client::fetch`](crate::blocking::Client::fetch) for threads. [`FetchPolicy`] says what is
//! fresh enough.
//!
//! - **One loader.** Of all who miss a value, in one process and in all of them, one loads it; the others
//!   wait for that, up to [`FetchPolicy::wait`], and load by themselves then.
//! - **Nobody waits for a value that is there.** One that is due is shown to everybody, and reloaded in a
//!   task of its own, one in the fleet.
//! - **A loader that leaves frees the others at once**: it failed, panicked, or its caller was dropped.
//!   That of a process that died is replaced when its [lease](FetchPolicy::lease) ends.
//! - **Nothing is undone.** A key that is deleted, set, buried or invalidated while its value is loaded
//!   keeps what was done: the loaded value goes to those who asked before, and is not stored.
//! - **The cache is no reason to fail.** Where it is away the loader runs, in one process one at a time.
//!
//! [The document on caching](https://github.com/remcache/remcache/blob/main/docs/caching.md) has these as guarantees, with the tests that
//! prove them.
//!
//! ## What stands under the key
//!
//! A loaded value is stored as it is, with the flags of its codec or 0: any program reads it.
//! What is no value has flags of its own, which no codec of this crate reads and no other client writes:
//!
//! | flags | value | is | other readers |
//! |---|---|---|---|
//! | `0x72657f00` | 32 hexadecimal digits | a placeholder: its owner is loading | see a hit with these flags; those that check flags refuse it |
//! | `0x72657f01` | empty | the loader found nothing, and [`FetchPolicy::negative`] keeps that | the same |
//! | `0x72657f02` | empty | a tombstone | the same |
//! | `0x72657f03` | a hash and a time | a companion, under the key and `~fetch`: when the value is due | never ask for it |
//!
//! [`Item::is_mark`](crate::result::Item::is_mark) tells the first three from values, and
//! [`Cache::get`](crate::cache::Cache::get) takes them for misses.
//!
//! ## How fetch works on each protocol
//!
//! **The lease of a missing value is the item itself.** It is added under the key, so that one of many
//! succeeds, and the loaded value replaces it by its CAS value. Whatever is done to the key meanwhile, by
//! whatever program, changes or removes the item, and with it the right to store. A lock under another
//! key would not notice a delete.
//!
//! It is the same on each protocol, so programs on different protocols respect each other's leases. On the meta
//! protocol the server could create the placeholder on a miss (`mg … N`); but its flags are 0 and its value is
//! empty, so that any other reader takes it for an empty value, and a look that is dropped before its
//! reply would leave a lease to nobody. Placeholders that other clients have created so are waited for.
//!
//! **A value that is due** stays where it is, for plain gets too. On the meta protocol the server knows the
//! time that it has left, and tells one of those who ask that it has won (`R`, and `I` for what was
//! invalidated). It never tells another one; so whoever sees that somebody has won looks again when the
//! lease must be over, and takes it over by the CAS value. A plain [`get`](crate::client::Client::get) of an
//! invalidated item can be the one who wins; then the reload begins that much later.
//!
//! The other protocols do not tell the time, so a companion beside the value does: an item with the hash of
//! the value that it is about, and the time when that is due, by the clocks of those who fetch. Who
//! changes it first, by its CAS value, to "due when my lease ends" reloads the value. A companion that is
//! lost, evicted or of another value says nothing: the value is shown until it is gone, and reloaded then.
//! It costs a second get with each look, in the same write.
//!
//! Programs that share keys with values that are due should speak the same protocol, or one of binary and
//! text: on the meta protocol nobody reads companions, and on the others nobody sees what the server says.
//!
//! ## Step by step
//!
//! What may happen between the steps of a loader L (look, lease, load, fill), and why it does no harm:
//!
//! | meanwhile | what becomes of it |
//! |---|---|
//! | look, *another one's lease*, lease | the add fails, and L waits for the other one |
//! | look, *another one's fill*, lease | the add fails, and L looks again and takes the value |
//! | look, *delete*, lease | the load begins after the delete |
//! | lease, *delete*, fill | the fill finds nothing and is not made |
//! | lease, *delete, another one's lease*, fill | the fill finds another CAS value; the other one's load began after the delete |
//! | lease, *set*, fill | the fill finds another CAS value |
//! | lease, *delete with tombstone*, fill | the same, and nobody fills until the tombstone ends |
//! | lease, *invalidate*, fill | of a placeholder: it is gone or has another CAS value; of a value: it has another CAS value |
//! | lease, *the lease ends, another one's lease*, fill | the fill finds another CAS value: L was too slow, and its callers get its value all the same |
//! | lease, *another one has waited long enough*, fill | both may store by the same CAS value: the first does |
//! | fill, *delete*, its reply | the delete comes after, and the value is gone |
//! | lease, *L goes away* | the item is removed, or marked as due, by its CAS value: if it is another one by now, nothing is |
//! | L goes away before the reply to its lease | the request goes on in a task of its own, and gives back what it gets |
//! | lease of a value that is due, *invalidate*, and this process wins that too | it is given back when the first reload has ended, whose fill is not made; the next who asks reloads |
//! | the reply to the lease is lost | the item is looked for by its token when the server answers again, and given back |
//! | the reply to the fill is lost | it was stored or not; if not, the lease is given back |
//!
//! A caller F of the same process who follows L takes its value only if F asked before L sent the fill, and
//! the fill was made: then nothing came between L's lease and a time after F asked. If the value was not
//! stored, F takes it only if F asked before the load began. Otherwise F looks again. So nobody who asks
//! after a delete gets what was loaded before it.
//!
//! # Locks and limiters
//!
//! [`Client::lock`](crate::client::Client::lock) holds a key for one caller, with a
//! [fencing token](Lock::fencing_token). [`Limiter`] counts for the whole fleet. What they say while the
//! cache is away is a setting: [`OnUnavailable`].
pub(crate) mod counter;
pub(crate) mod fetch_policy;
pub(crate) mod on_unavailable;
pub(crate) mod ownership;
pub(crate) mod update;

pub(crate) mod fetch;
pub(crate) mod limiter;
pub(crate) mod lock;

pub use crate::ops::inspection::Inspection;
pub(crate) use crate::ops::inspection::{existence, inspection};
pub use crate::recipes::fetch_policy::FetchPolicy;
pub use crate::recipes::on_unavailable::OnUnavailable;
pub(crate) use crate::recipes::ownership::removal;
pub(crate) use crate::sentinel::TOMBSTONE;
pub(crate) use fetch::fetch;
pub use limiter::{Decision, Limiter};
pub use lock::{Lock, LockBuilder};
