//! The memcached protocols: requests, replies, encoders and decoders, and the state machine of a connection.
//!
//! It is sans-I/O: nothing here opens a socket, reads a clock or takes a lock. Bytes and instants are passed in,
//! bytes and events come out. [`bytes`] is its only dependency.
//!
//! | module or type | is |
//! |---|---|
//! | [`Request`], [`Reply`], [`Status`], [`Key`] | requests and replies, the same for every protocol |
//! | [`binary`], [`meta`], [`text`] | encoders and decoders of each protocol |
//! | [`Protocol`], [`ServerVersion`] | the protocols, and the features of a server's version |
//! | [`Connection`] | the state machine of a connection: pending requests, attribution of replies, timeouts, limits |
//! | [`InputBuffer`], [`Output`] | received bytes, and bytes to write |
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
pub use connection::{Connection, Deadline, Event, Limits, RequestId, Tag};
pub use types::cow_bytes::{CowBytes, IntoCowBytes};
pub use types::error::{InvalidRequest, ProtocolError, Rejected};
pub use types::key::{InvalidKey, Key};
pub use types::meta_options::{ItemInfo, MetaOptions};
pub use types::operation::Operation;
pub use types::protocol::{Protocol, UnknownProtocol};
pub use types::reply::Reply;
pub use types::reply_shape::ReplyShape;
pub use types::request::Request;
pub use types::status::{Delivery, Status};
pub use types::ttl::{InvalidTtl, Ttl};
pub use types::version::{Feature, ServerVersion};
