//! Any bytes as a script for the machine on each wire.
#![no_main]

#[path = "../../../crates/remcache/tests/it/arbitrary_bytes/wires.rs"]
mod wires;

libfuzzer_sys::fuzz_target!(|data: &[u8]| wires::run(data));
