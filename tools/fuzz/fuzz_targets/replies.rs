//! Decodes arbitrary bytes as binary replies, whole and in pieces.
#![no_main]

#[path = "../../../crates/remcache/tests/it/arbitrary_bytes/replies.rs"]
mod replies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| replies::run(data));
