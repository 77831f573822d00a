//! Replies to a connecting client with arbitrary bytes.
#![no_main]

#[path = "../../../crates/remcache/tests/it/arbitrary_bytes/handshake.rs"]
mod handshake;

libfuzzer_sys::fuzz_target!(|data: &[u8]| handshake::run(data));
