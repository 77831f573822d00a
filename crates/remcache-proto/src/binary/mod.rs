//! memcached's binary wire: 24-byte headers, then extras, key and value.
//!
//! [`encode`] and [`decode`] are the client's direction, from [`Request`](super::Request) to bytes
//! and from bytes to [`Reply`](super::Reply); [`decode_request`] and [`encode_reply`] are the
//! server's. [`Packet`] is below both: a packet with every field, in either direction.

mod header;
mod opcode;
mod packet;
mod reply;
mod request;

pub use header::{Header, Magic};
pub use opcode::Opcode;
pub use packet::Packet;
pub use reply::{Frame, decode, encode_reply};
pub(crate) use reply::{peek, take};
pub use request::{decode_request, encode};
