//! Values: encoding Rust values as flags and bytes, and decoding those of other clients.
//!
//! A server stores bytes together with 32 bits of flags. Their meaning is up to the clients, and every client
//! has its own conventions. This module has two parts:
//!
//! - a [`Codec`] writes and reads values of one Rust type, with remcache's own [flags](Flags);
//! - a [`ClientFormat`] encodes and decodes [`Value`]s as another client does.
//!
//! ```
//! # #[cfg(feature = "deflate")] {
//! use remcache::value::{Codec, Compression, ClientFormat, Value};
//!
//! let codec = Codec::text().compress(Compression::Zlib, 1024);
//! let encoded = codec.encode("Hello")?;
//! assert_eq!(codec.decode(encoded.flags, encoded.bytes.into_bytes())?, "Hello");
//!
//! // What pylibmc stored for the number -42.
//! assert_eq!(ClientFormat::Pylibmc.decode(4, "-42".into())?, Value::Integer(-42));
//! # }
//! # Ok::<(), remcache::value::ValueError>(())
//! ```
//!
//! This module performs no I/O. It does not panic on any input, checks lengths in the input against a limit before it
//! allocates, and never executes anything: data serialized by Python, Ruby, Java or PHP is returned unchanged, with
//! [its kind](Serializer).
#![deny(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::disallowed_types
)]
pub(crate) mod client_format;

mod codec;
mod compression;
mod error;
#[cfg(feature = "deflate")]
mod fastlz;
mod flags;
mod foreign;
mod number;

pub use crate::reason::Reason;
pub use crate::value::client_format::{ClientFormat, UnknownClientFormat};
pub use bytestring::ByteString;
pub use codec::{Codec, Encoded};
pub use compression::{Compression, DEFAULT_MAX_DECOMPRESSED_SIZE};
pub use error::ValueError;
pub use flags::{Flags, Format};
pub use foreign::{Serializer, Value};
pub use number::Integer;
