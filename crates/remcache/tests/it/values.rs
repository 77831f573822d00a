//! Values: what other clients really wrote, what comes back, and what never may.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod arbitrary;
mod codecs;
mod conventions;
mod document;
