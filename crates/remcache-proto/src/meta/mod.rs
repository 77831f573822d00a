//! memcached's meta protocol: commands of two letters, flags of one (docs/protocol.md 4).
//!
//! [`encode()`] and [`decode()`] are the client's direction, from [`Request`](crate::types::request::Request) to bytes
//! and from bytes to [`Reply`](crate::types::reply::Reply); [`server`] is the server's. What concerns no item is said in classic
//! [text](super::text), which the same connection understands.

pub(crate) mod decode;
pub(crate) mod encode;
pub mod server;

pub use crate::meta::decode::{Frame, decode};
pub(crate) use crate::meta::decode::{Peeked, check, is_miss, peek, take, take_miss, verb_answers};
pub(crate) use crate::meta::encode::cannot_return_key;
pub use crate::meta::encode::encode;
