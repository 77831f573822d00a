//! The state of servers: as a value, as events, in numbers.

pub(crate) mod events;
pub(crate) mod metrics;
pub(crate) mod state;

pub use events::{Events, ServerEvent};
pub use metrics::{Errors, Gauges};
pub use state::{Condition, State};
