//! The protocol layer: requests, replies, the protocols, and the machine that matches one to the other.
//!
//! Nothing here opens a socket, reads a clock or takes a lock: bytes and instants are handed in,
//! bytes and events come out. [`bytes`] is its only dependency.
//!
//! | module or type | is |
//! |---|---|
//! | [`Request`], [`Reply`], [`Status`], [`Key`] | what is asked and what is answered, once, for every protocol |
//! | [`binary`], [`meta`], [`text`] | the protocols: requests to bytes and bytes to replies |
//! | [`Protocol`], [`ServerVersion`] | which of them a connection speaks, and what its server's version can |
//! | [`Connection`] | the machine: submits requests, attributes replies, times out, counts its limits |
//! | [`InputBuffer`], [`Output`] | the bytes on their way in and out |
//!
//! ```
//! use remcache_proto::{binary, Output, Request};
//!
//! let mut output = Output::new();
//! binary::encode(&Request::get("Hello"), 7, &mut output)?;
//! assert_eq!(&output.small()[..4], &[0x80, 0x00, 0x00, 0x05]);
//! # Ok::<(), remcache_proto::InvalidRequest>(())
//! ```
// Marks items of features in the documentation of docs.rs, which is built by a nightly toolchain.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![deny(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::disallowed_types
)]

pub mod binary;
mod buffer;
mod connection;
mod line;
pub mod meta;
pub mod text;
mod types;

pub use buffer::input::InputBuffer;
pub use buffer::output::Output;
pub use connection::{Connection, Deadline, Event, Limits, Tag, Ticket};
pub use types::cow_bytes::CowBytes;
pub use types::error::{InvalidRequest, ProtocolError, Rejected};
pub use types::key::{InvalidKey, Key};
pub use types::meta_options::{ItemInfo, MetaOptions};
pub use types::operation::Operation;
pub use types::protocol::{Protocol, UnknownProtocol};
pub use types::reply::Reply;
pub use types::reply_shape::Expected;
pub use types::request::Request;
pub use types::status::{Delivery, Status};
pub use types::ttl::{InvalidTtl, Ttl};
pub use types::version::{Feature, ServerVersion};
