//! Bytes on their way in and out of a connection.

pub(crate) mod arena;
pub(crate) mod input;
pub(crate) mod output;
