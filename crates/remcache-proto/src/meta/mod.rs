//! memcached's meta protocol: two-letter commands with one-letter flags (docs/protocol.md 4).
//!
//! [`encode()`] and [`decode()`] are for clients: from [`Request`](crate::types::request::Request) to bytes and from
//! bytes to [`Reply`](crate::types::reply::Reply); [`server`] is for servers. Requests without a key use classic
//! [text](super::text) commands, which the same connection supports.

pub(crate) mod decode;
pub(crate) mod encode;
pub mod server;

pub use crate::meta::decode::{MetaReply, decode};
pub(crate) use crate::meta::decode::{Peeked, check, has_meta_reply, is_miss, peek, take, take_miss};
pub(crate) use crate::meta::encode::cannot_return_key;
pub use crate::meta::encode::encode;
