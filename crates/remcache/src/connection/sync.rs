//! The lock around the half of a connection that is shared: a mutex, whichever runs the threads.

use std::ops::DerefMut;
use std::sync::{Mutex, PoisonError};

/// A mutex.
///
/// A link is generic over it, so that a test can take one whose scheduler decides who goes first.
pub(crate) trait Hold<T> {
    /// Holds the lock until it is dropped.
    type Guard<'a>: DerefMut<Target = T>
    where
        Self: 'a;

    /// A lock around this.
    fn around(value: T) -> Self;

    /// Waits for the lock.
    fn hold(&self) -> Self::Guard<'_>;
}

impl<T> Hold<T> for Mutex<T> {
    type Guard<'a>
        = std::sync::MutexGuard<'a, T>
    where
        T: 'a;

    fn around(value: T) -> Self {
        Self::new(value)
    }

    #[inline]
    fn hold(&self) -> Self::Guard<'_> {
        // A panic while the lock was held would be a bug of ours; the state stays consistent
        // between statements, so going on is better than poisoning every caller.
        self.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
