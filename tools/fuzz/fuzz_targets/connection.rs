//! Any bytes as a script for the whole machine of a connection.
#![no_main]

#[path = "../../../crates/remcache/tests/it/arbitrary_bytes/connection.rs"]
mod connection;

libfuzzer_sys::fuzz_target!(|data: &[u8]| connection::run(data));
