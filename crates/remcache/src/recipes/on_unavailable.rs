//! What locks and limiters say when the cache cannot be asked.

/// What a lock or a limiter says when the cache cannot be asked: it is away, or too slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "open or closed")]
pub enum OnUnavailable {
    /// Yes: the program goes on without lock or limit, and is told so.
    FailOpen,
    /// No: it is the error that the client had.
    FailClosed,
}
