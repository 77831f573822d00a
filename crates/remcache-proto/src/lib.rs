//! The protocol layer: requests, replies, the wires, and the machine that matches one to the other.
//!
//! Nothing here opens a socket, reads a clock or takes a lock: bytes and instants are handed in,
//! bytes and events come out. With `default-features = false` this module is the whole crate, and
//! [`bytes`] its only dependency.
//!
//! | module or type | is |
//! |---|---|
//! | [`Request`], [`Reply`], [`Status`], [`Key`] | what is asked and what is answered, once, for every wire |
//! | [`binary`], [`meta`], [`text`] | the wires: requests to bytes and bytes to replies |
//! | [`Wire`], [`Dialect`] | which of them a connection speaks, and what its server's version can |
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
#![deny(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used
)]

pub mod binary;
mod connection;
mod cow_bytes;
mod dialect;
mod error;
mod expected;
mod in_flight;
mod input;
mod key;
mod key_queue;
mod line;
pub mod meta;
mod meta_options;
mod operation;
mod output;
mod refusal;
mod reply;
mod request;
mod status;
pub mod text;
mod ttl;
mod value_block;
mod wire;
mod words;

pub use connection::{Connection, Deadline, Event, Limits, Tag, Ticket};
pub use cow_bytes::CowBytes;
pub use dialect::{Dialect, Feature};
pub use error::{InvalidRequest, ProtocolError, Rejected};
pub use expected::Expected;
pub use input::InputBuffer;
pub use key::{InvalidKey, Key};
pub use meta_options::{ItemInfo, MetaOptions};
pub use operation::Operation;
pub use output::Output;
pub use reply::Reply;
pub use request::Request;
pub use status::{Delivery, Status};
pub use ttl::{InvalidTtl, Ttl};
pub use wire::{UnknownWire, Wire};
