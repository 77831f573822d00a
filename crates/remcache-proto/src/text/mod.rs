//! memcached's classic text protocol, and the administrative commands that only text has (docs/protocol.md 4.8, 4.9).
//!
//! [`encode()`] and [`decode()`] are for clients: from [`Request`](crate::types::request::Request) to bytes and from
//! bytes to [`Reply`](crate::types::reply::Reply); [`server`] is for servers. `noreply` is never sent, because it would
//! hide errors.
pub(crate) mod decode;
pub(crate) mod encode;
pub mod server;

mod dump;
mod item;
mod log_line;

pub(crate) use crate::text::decode::{DecodedReply, check, take};
pub use crate::text::decode::{TextReply, decode};
pub use crate::text::encode::encode;
pub(crate) use crate::text::encode::{encode_command, encode_without_gets, name_unknown_command};
pub use dump::MetadumpItem;
pub(crate) use item::{ItemHead, read_item, read_item_of};
pub use log_line::LogLine;
