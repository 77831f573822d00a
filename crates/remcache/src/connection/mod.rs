//! One connection to a server: the state shared by callers and the I/O loop, the I/O loop, the handshake.

pub(crate) mod busy_poll;
pub(crate) mod capacity_wait;
pub(crate) mod handshake;
pub(crate) mod io;
pub(crate) mod shared;
pub(crate) mod slot;
pub(crate) mod sync;
pub(crate) mod tls_records;
pub(crate) mod wait_queue;
pub(crate) mod watchdog;
