//! The mutex of a connection's shared half: the standard library's, or shuttle's in the concurrency tests.

use std::sync::PoisonError;

#[cfg(all(test, shuttle))]
pub(crate) use shuttle::sync::{Mutex, MutexGuard};
#[cfg(not(all(test, shuttle)))]
pub(crate) use std::sync::{Mutex, MutexGuard};

/// Locks a mutex.
#[inline]
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic while the lock is held would be a bug of this crate; the state stays consistent between statements, so
    // continuing is better than failing every caller.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
