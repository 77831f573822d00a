//! What people want of a cache beyond single commands, built from commands of every wire.

mod claim;
mod count;
mod fetch;
mod freshness;
mod inspection;
mod limiter;
mod lock;
mod marks;
mod mend;
mod when_away;

pub(crate) use claim::removal;
pub(crate) use fetch::{Flights, Found, Loaded, fetch};
pub use freshness::Freshness;
pub use inspection::Inspection;
pub(crate) use inspection::{existence, inspection};
pub use limiter::{Decision, Limiter};
pub use lock::{Lock, Locking};
pub(crate) use marks::TOMBSTONE;
pub use when_away::WhenAway;
