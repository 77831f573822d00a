//! Replies and limits that several commands share.

pub(super) const OK: &str = "OK";
pub(super) const TOO_LARGE: &str = "SERVER_ERROR object too large for cache";
pub(super) const LINE_TOO_LONG: &str = "CLIENT_ERROR line too long";
pub(super) const NO_MEMORY: &str = "SERVER_ERROR out of memory storing object";
pub(super) const NOT_NUMERIC: &str = "CLIENT_ERROR cannot increment or decrement non-numeric value";

/// The longest input without a line end, except for a fetch. More of it cannot be the text protocol.
pub(super) const MAX_LINE: usize = 2048;
