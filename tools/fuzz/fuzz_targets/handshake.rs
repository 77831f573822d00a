//! Any bytes as what servers say while a connection begins, the authentication included.
#![no_main]

#[path = "../../../crates/remcache/tests/it/arbitrary_bytes/handshake.rs"]
mod handshake;

libfuzzer_sys::fuzz_target!(|data: &[u8]| handshake::run(data));
