//! Routing: which servers a request goes to, and what follows a failure.

pub(crate) mod cluster;
pub(crate) mod multi_router;
pub(crate) mod requests;
pub(crate) mod router;
pub(crate) mod shared;
