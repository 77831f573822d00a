//! memcached's meta wire: commands of two letters, flags of one (docs/protocol.md 4).
//!
//! [`encode`] and [`decode`] are the client's direction, from [`Request`](super::Request) to bytes
//! and from bytes to [`Reply`](super::Reply); [`serve`] is the server's. What concerns no item is said in classic
//! [text](super::text), which the same connection understands.

mod base64;
mod reply;
mod request;
pub mod serve;

pub(crate) use base64::decode as decode_base64;
pub use reply::{Frame, decode};
pub(crate) use reply::{Peeked, check, is_miss, peek, take, take_miss, verb_answers};
pub(crate) use request::cannot_return_key;
pub use request::encode;
