//! Decodes arbitrary bytes as replies of the meta and text protocols, whole and in pieces.
#![no_main]

#[path = "../../../crates/remcache/tests/it/arbitrary_bytes/lines.rs"]
mod lines;

libfuzzer_sys::fuzz_target!(|data: &[u8]| lines::run(data));
