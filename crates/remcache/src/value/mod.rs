//! Values: how a Rust value becomes flags and bytes, and how those of other clients are read.
//!
//! A server keeps bytes, and a number of 32 bits beside them, the flags. What they mean is the
//! clients' own affair, and every client has its own opinion. Two things are here:
//!
//! - a [`Codec`] writes and reads values of one Rust type, with remcache's own [flags](Flags);
//! - a [`ClientFormat`] is what another client writes: [`Value`]s are read as it meant them, and
//!   written so that it reads them.
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
//! Nothing here knows a server or a clock. No byte makes it panic, nothing that is announced in the
//! bytes sizes memory before it is held against a limit, and nothing is ever executed: what Python,
//! Ruby, Java or PHP serialised is handed out as it is, with [its kind](Serializer).
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

pub use crate::value::client_format::{ClientFormat, UnknownConvention};
pub use bytestring::ByteString;
pub use codec::{Codec, Encoded};
pub use compression::{Compression, DEFAULT_LIMIT};
pub use error::ValueError;
pub use flags::{Flags, Format};
pub use foreign::{Serializer, Value};
pub use number::Integer;
