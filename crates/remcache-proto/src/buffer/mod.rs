//! Input and output buffers of a connection.

pub(crate) mod arena;
pub(crate) mod input;
pub(crate) mod output;
