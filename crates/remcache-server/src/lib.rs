//! The embedded server: an empty place yet.
