//! Integration tests of the library, in one binary.
//!
//! Tests that need a separate process are separate binaries: `memory` (a counting allocator), `network` (a network
//! namespace) and `security` (a subscriber for the log of the whole process).

mod arbitrary_bytes;
mod backoff;
mod bad_input;
#[cfg(feature = "blocking")]
mod blocking;
mod breaker;
#[cfg(all(feature = "json", feature = "local-cache", feature = "zstd", feature = "deflate"))]
mod cache;
mod cancel;
mod cas_zero;
mod conformance;
mod counters;
mod discovery;
mod documentation;
#[cfg(all(feature = "json", feature = "msgpack", feature = "postcard"))]
mod error_sources;
mod examples;
mod failover;
mod faults;
mod fetch;
mod flush;
mod gem;
mod ignored_outcomes;
mod injection;
mod item_limit;
mod journal;
mod ketama_libmemcached;
mod lifetime;
mod limits;
mod listing;
#[cfg(feature = "local-cache")]
mod local_cache_fill;
mod locks;
mod many;
mod many_stream;
mod migration;
mod migration_undo;
mod negotiation;
mod observe;
mod operations;
mod placement;
mod protocols;
mod recipes;
mod runtimes;
#[cfg(feature = "tls")]
mod serverless;
mod servers;
mod support;
mod text_without_gets;
mod timeouts;
#[cfg(feature = "tls")]
mod tls;
#[cfg(feature = "tls")]
mod tls_sessions;
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
mod without_cas;
mod zones;
