//! Decodes arbitrary bytes as binary requests.
#![no_main]

#[path = "../../../crates/remcache/tests/it/arbitrary_bytes/requests.rs"]
mod requests;

libfuzzer_sys::fuzz_target!(|data: &[u8]| requests::run(data));
