//! What people want of a cache beyond single commands, built from commands of every wire.

mod inspection;
mod mend;

pub use inspection::Inspection;
pub(crate) use inspection::{existence, inspection};
