//! memcached's classic text protocol, and the commands for a server's inside that only text has
//! (docs/protocol.md 4.8, 4.9).
//!
//! [`encode()`] and [`decode()`] are the client's direction, from [`Request`](crate::types::request::Request) to bytes
//! and from bytes to [`Reply`](crate::types::reply::Reply); [`server`] is the server's. Nothing is sent with `noreply`: it would hide what the
//! server refuses.
pub(crate) mod decode;
pub(crate) mod encode;
pub mod server;

mod dump;
mod item;
mod log_line;

pub(crate) use crate::text::decode::{Answer, check, take};
pub use crate::text::decode::{Frame, decode};
pub use crate::text::encode::encode;
pub(crate) use crate::text::encode::{encode_command, encode_without_gets, name_unknown_command};
pub use dump::MetadumpItem;
pub(crate) use item::{ItemHead, read_item, read_item_of};
pub use log_line::LogLine;
