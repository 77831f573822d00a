//! memcached's classic text wire, and the commands for a server's inside that only text has
//! (docs/protocol.md 4.8, 4.9).
//!
//! [`encode`] and [`decode`] are the client's direction, from [`Request`](super::Request) to bytes
//! and from bytes to [`Reply`](super::Reply); [`serve`] is the server's. Nothing is sent with `noreply`: it would hide what the
//! server refuses.

mod dump;
mod item;
mod log_line;
mod reply;
mod request;
pub mod serve;

pub use dump::MetadumpItem;
pub(crate) use item::{ItemHead, read_item, read_item_of};
pub use log_line::LogLine;
pub(crate) use reply::{Answer, check, said_of, take};
pub use reply::{Frame, decode};
pub use request::encode;
pub(crate) use request::encode_command;
