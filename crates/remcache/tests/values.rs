//! Values: what other clients really wrote, what comes back, and what never may.

#![cfg(all(
    feature = "json",
    feature = "msgpack",
    feature = "postcard",
    feature = "zstd",
    feature = "lz4",
    feature = "deflate"
))]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "values/arbitrary.rs"]
mod arbitrary;
#[path = "values/codecs.rs"]
mod codecs;
#[path = "values/conventions.rs"]
mod conventions;
#[path = "values/document.rs"]
mod document;
