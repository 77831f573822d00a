//! Memory bounds of connections, codecs and observers, measured with a counting allocator.
//!
//! A separate binary: the allocator counts for the whole process, so the tests run one at a time.

mod connections;
#[cfg(all(feature = "metrics", feature = "opentelemetry"))]
mod observers;
#[path = "../it/support/protocol_mode.rs"]
mod protocol_mode;
#[cfg(all(feature = "zstd", feature = "lz4", feature = "deflate"))]
mod values;

use std::alloc::System;
use std::sync::{Mutex, MutexGuard, PoisonError};

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

static TURN: Mutex<()> = Mutex::new(());

/// Waits until the running test has ended. A panic in one test does not fail the others.
fn take_turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}
