//! Modules shared with the library's own tests: the server side of each protocol, and protocol modes.

#[path = "../../../../crates/remcache/tests/it/support/protocol_mode.rs"]
mod protocol_mode;
#[path = "../../../../crates/remcache/tests/it/support/server_codec.rs"]
mod server_codec;

pub(crate) use protocol_mode::ProtocolMode;
pub(crate) use server_codec::{RequestDecoder, ServerRequest};
