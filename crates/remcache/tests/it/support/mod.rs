//! Helpers that several test modules use.

mod only_server;
mod patient_config;
mod protocol_mode;
mod protocol_mode_tests;
mod server_codec;
mod stat;
mod text_query;
#[cfg(feature = "tls")]
mod tls_server;
mod wait_until;

pub(crate) use only_server::only_server;
pub(crate) use patient_config::patient_config;
pub(crate) use protocol_mode::ProtocolMode;
pub(crate) use protocol_mode_tests::protocol_mode_tests;
pub(crate) use server_codec::{RequestDecoder, ServerRequest};
pub(crate) use stat::stat;
pub(crate) use text_query::{flags_and_ttl, text_query};
#[cfg(feature = "tls")]
pub(crate) use tls_server::TlsServers;
pub(crate) use wait_until::wait_until;
