//! memcached's binary protocol: 24-byte headers, then extras, key and value.
//!
//! [`encode()`] and [`decode()`] are for clients: from [`Request`](crate::types::request::Request) to bytes and from
//! bytes to [`Reply`](crate::types::reply::Reply); [`decode_request`] and [`encode_reply`] are for servers. [`Packet`]
//! is the layer below: a packet with every field, in either direction.
pub(crate) mod decode;
pub(crate) mod encode;

mod header;
mod opcode;
mod packet;

pub use crate::binary::decode::{BinaryReply, decode, encode_reply};
pub(crate) use crate::binary::decode::{peek, take};
pub use crate::binary::encode::{decode_request, encode};
pub use header::{Header, Magic};
pub use opcode::Opcode;
pub use packet::Packet;
