//! Runs a script of requests, replies and time with each protocol.
#![no_main]

#[path = "../../../crates/remcache/tests/it/arbitrary_bytes/protocols.rs"]
mod protocols;

libfuzzer_sys::fuzz_target!(|data: &[u8]| protocols::run(data));
