//! Runs a script of requests, replies, timeouts and dropped callers.
#![no_main]

#[path = "../../../crates/remcache/tests/it/arbitrary_bytes/connection.rs"]
mod connection;

libfuzzer_sys::fuzz_target!(|data: &[u8]| connection::run(data));
