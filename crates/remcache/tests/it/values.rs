//! Values: codecs, values that other clients wrote, and arbitrary bytes.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod arbitrary;
mod client_formats;
mod codecs;
mod document;
