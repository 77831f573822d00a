//! What locks and limiters do when the cache is unavailable.

/// What a lock or a limiter does when the cache is unavailable or times out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "open or closed")]
pub enum OnUnavailable {
    /// Allows the caller to proceed without the lock or limit; the result says so.
    FailOpen,
    /// Fails with the client's error.
    FailClosed,
}
