//! Integration tests of the library, in one binary.
//!
//! Tests that need a process of their own are separate binaries: `memory` (a counting allocator), `network` (a
//! network namespace) and `security` (a subscriber for the log of the whole process).

#[cfg(feature = "client")]
mod arbitrary_bytes;
#[cfg(feature = "client")]
mod backoff;
#[cfg(feature = "client")]
mod bad_input;
#[cfg(feature = "blocking")]
mod blocking;
#[cfg(feature = "client")]
mod breaker;
#[cfg(all(feature = "json", feature = "near", feature = "zstd", feature = "deflate"))]
mod cache;
#[cfg(feature = "client")]
mod cancel;
#[cfg(feature = "client")]
mod cas_zero;
#[cfg(feature = "client")]
mod conformance;
#[cfg(feature = "client")]
mod counters;
#[cfg(feature = "client")]
mod discovery;
mod documentation;
mod examples;
#[cfg(feature = "client")]
mod failover;
#[cfg(feature = "client")]
mod faults;
#[cfg(feature = "client")]
mod fetch;
#[cfg(feature = "client")]
mod flush;
#[cfg(feature = "client")]
mod gem;
mod injection;
#[cfg(feature = "client")]
mod item_limit;
#[cfg(feature = "client")]
mod ketama_libmemcached;
#[cfg(feature = "client")]
mod lifetime;
#[cfg(feature = "client")]
mod limits;
mod listing;
#[cfg(feature = "client")]
mod locks;
#[cfg(feature = "client")]
mod many;
#[cfg(feature = "client")]
mod migration;
#[cfg(feature = "client")]
mod migration_undo;
#[cfg(all(feature = "near", feature = "client"))]
mod near_filling;
#[cfg(feature = "client")]
mod negotiation;
#[cfg(feature = "client")]
mod observe;
#[cfg(feature = "client")]
mod operations;
#[cfg(feature = "client")]
mod placement;
#[cfg(feature = "client")]
mod protocols;
#[cfg(feature = "client")]
mod runtimes;
#[cfg(feature = "client")]
mod servers;
#[cfg(feature = "client")]
mod support;
#[cfg(feature = "client")]
mod text_without_gets;
#[cfg(feature = "tls")]
mod tls;
#[cfg(all(
    feature = "json",
    feature = "msgpack",
    feature = "postcard",
    feature = "zstd",
    feature = "lz4",
    feature = "deflate"
))]
mod values;
mod vectors;
#[cfg(feature = "client")]
mod verbs;
#[cfg(feature = "client")]
mod without_cas;
