//! Server health: states, events, metrics.

pub(crate) mod events;
pub(crate) mod metrics;
pub(crate) mod state;

pub use events::{ServerEvent, ServerEvents};
pub use metrics::{ErrorCounts, ServerMetrics};
pub use state::{ConnectionState, ServerStatus};
