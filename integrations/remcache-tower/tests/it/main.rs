//! The layers on real memcached servers, which may be killed or stopped.

mod idempotency;
mod processes;
mod rate_limit;
mod response_cache;
mod response_cache_stampede;
mod support;
