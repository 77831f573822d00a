//! Routing: which servers a request goes to, and what follows a failure.

pub(crate) mod client_shared;
pub(crate) mod cluster;
pub(crate) mod multi_requests;
pub(crate) mod multi_router;
pub(crate) mod router;
