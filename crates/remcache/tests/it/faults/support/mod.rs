//! Helpers of the fault tests: a fake server that can inject faults, in memory and on sockets, and a harness that
//! runs a client against it.

pub(crate) mod connect_attempts;
pub(crate) mod fake_network;
pub(crate) mod fake_server;
pub(crate) mod harness;
pub(crate) mod known_items;
pub(crate) mod loopback_server;
pub(crate) mod reply_writer;
pub(crate) mod server_fault;
pub(crate) mod store;
