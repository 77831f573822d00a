//! Exchanges recorded from a real memcached 1.6.18: requests, their replies, and the state of the connection
//! afterwards.
//!
//! ```no_run
//! use remcache_testkit::vectors::{self, replay, vectors};
//! for vector in vectors().iter().filter(|it| it.protocol == vectors::Protocol::Binary) {
//!     let replayed = replay(vector, "127.0.0.1:11211");
//!     vector.check(&replayed).unwrap();
//! }
//! ```

mod compare;
mod frames;
mod real;
mod replay;

pub use real::{fill_memory, replay_on_memcached, take_all_connections};
pub use replay::{Replayed, replay};

use serde::{Deserialize, Deserializer};
use std::sync::LazyLock;
use std::time::Duration;

/// Returns the vectors of all protocols.
///
/// # Panics
/// Panics if the file of the vectors is malformed.
#[must_use]
pub fn vectors() -> &'static [Vector] {
    static VECTORS: LazyLock<Vec<Vector>> = LazyLock::new(|| {
        include_str!("../../vectors/protocol.jsonl")
            .lines()
            .map(|line| serde_json::from_str(line).expect("each line is a vector"))
            .collect()
    });
    &VECTORS
}

/// An exchange with a server that was just started.
#[derive(Clone, Debug, Deserialize)]
#[non_exhaustive]
pub struct Vector {
    /// The name: `bin/…`, `meta/…` or `text/…`.
    pub name: String,
    /// The protocol of the connection.
    pub protocol: Protocol,
    /// Additional arguments of the server.
    pub server_args: Vec<String>,
    /// Requests that precede it on the same connection. Their replies are ignored.
    #[serde(rename = "setup_hex", deserialize_with = "hex_list")]
    pub setup: Vec<Vec<u8>>,
    /// The pause before the request.
    #[serde(rename = "delay_s", deserialize_with = "seconds")]
    pub delay: Duration,
    /// The bytes that are sent.
    #[serde(rename = "request_hex", with = "hex")]
    pub request: Vec<u8>,
    /// The reply of 1.6.18.
    #[serde(rename = "reply_hex", with = "hex")]
    pub reply: Vec<u8>,
    /// The state of the connection afterwards.
    pub after: After,
    /// A description of the part of the reply that varies from run to run.
    pub variable: Option<String>,
    /// A comment.
    pub note: String,
    /// The behaviour of 1.6.45, if it differs.
    #[serde(rename = "v1_6_45", deserialize_with = "newer")]
    pub newer: Option<Outcome>,
    /// The offset and value of each CAS field in a binary reply that is not 0.
    #[serde(default)]
    pub reply_cas_fields: Vec<(usize, u64)>,
}

impl Vector {
    /// Returns the preparation that the server needs.
    #[must_use]
    pub fn preparation(&self) -> Preparation {
        let has = |arg: &str| self.server_args.iter().any(|it| it == arg);
        match () {
            () if has("-S") => Preparation::Sasl,
            () if has("-Y") => Preparation::AuthFile,
            () if has("-M") => Preparation::FullMemory,
            () if has("-c") => Preparation::ConnectionsExhausted,
            () => Preparation::None,
        }
    }

    /// Returns the behaviours of all versions, the oldest first.
    fn outcomes(&self) -> impl Iterator<Item = Outcome> {
        let first = Outcome { reply: self.reply.clone(), after: self.after };
        std::iter::once(first).chain(self.newer.clone())
    }
}

/// The behaviour of a server.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Outcome {
    /// The reply.
    #[serde(rename = "reply_hex", with = "hex")]
    pub reply: Vec<u8>,
    /// The state of the connection afterwards.
    pub after: After,
}

/// The protocol of a vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Protocol {
    /// The binary protocol.
    Binary,
    /// The meta commands.
    Meta,
    /// The classic text commands.
    Text,
    /// Authentication over text.
    TextAuth,
}

/// The state of a connection after a vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
#[non_exhaustive]
pub enum After {
    /// The next request is answered.
    InSync,
    /// The next request is refused and the connection closed.
    Refused,
    /// The connection is closed, at once or by the next request.
    Closed,
    /// Anything else. A client cannot use the connection further.
    OutOfSync,
}

impl From<String> for After {
    fn from(text: String) -> Self {
        match text.as_str() {
            "in-sync" => Self::InSync,
            text if text.starts_with("closed:FIN after") => Self::Refused,
            text if text.starts_with("closed:") => Self::Closed,
            _ => Self::OutOfSync,
        }
    }
}

/// The preparation that a server needs before a vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Preparation {
    /// Nothing.
    None,
    /// A user database ([`Memcached::start_sasl`](crate::Memcached::start_sasl)).
    Sasl,
    /// A file with users and passwords.
    AuthFile,
    /// No free memory ([`fill_memory`]).
    FullMemory,
    /// No free connection ([`take_all_connections`]).
    ConnectionsExhausted,
}

fn hex_list<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Vec<u8>>, D::Error> {
    let texts = Vec::<String>::deserialize(from)?;
    let decoded = texts.iter().map(hex::decode).collect::<Result<_, _>>();
    decoded.map_err(serde::de::Error::custom)
}

fn seconds<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let seconds = f64::deserialize(from)?;
    Duration::try_from_secs_f64(seconds).map_err(serde::de::Error::custom)
}

/// Deserializes `"same"` as `None`, or the outcome that differs.
fn newer<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Outcome>, D::Error> {
    let value = serde_json::Value::deserialize(from)?;
    if value == "same" {
        return Ok(None);
    }
    let outcome = serde_json::from_value(value).map_err(serde::de::Error::custom)?;
    Ok(Some(outcome))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_vector_is_missing() {
        let count = |protocol| vectors().iter().filter(|it| it.protocol == protocol).count();
        assert_eq!(count(Protocol::Binary), 300);
        assert_eq!(count(Protocol::Meta), 209);
        assert_eq!(count(Protocol::Text), 119);
        assert_eq!(count(Protocol::TextAuth), 24);
    }

    #[test]
    fn names_are_unique() {
        let names: HashSet<&str> = vectors().iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names.len(), vectors().len());
    }

    #[test]
    fn cas_fields_are_at_their_offsets() {
        for vector in vectors() {
            for &(offset, cas) in &vector.reply_cas_fields {
                let field = &vector.reply[offset..offset + 8];
                assert_eq!(field, cas.to_be_bytes(), "{}", vector.name);
            }
        }
    }

    #[test]
    fn a_vector_accepts_its_own_outcomes() {
        for vector in vectors() {
            for Outcome { reply, after } in vector.outcomes() {
                let replayed = Replayed { reply, after };
                assert_eq!(vector.check(&replayed), Ok(()), "{}", vector.name);
            }
        }
    }
}
