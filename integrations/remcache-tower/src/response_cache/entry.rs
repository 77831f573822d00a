//! Items of the response cache.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderMap, Response};
use serde::{Deserialize, Serialize};

use super::directives::Storable;
use crate::digest;
use crate::stored_response::StoredResponse;

/// An item of the response cache.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// Milliseconds since the Unix epoch.
    pub(crate) stored_at: u64,
    /// Milliseconds since the Unix epoch.
    pub(crate) expires_at: u64,
    pub(crate) content: Content,
}

/// The content of an entry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Content {
    Response {
        response: StoredResponse,
        /// Whether requests with `Authorization` may get it.
        allows_authorized: bool,
    },
    /// The response depends on these fields of the request, and is stored under [`variant_key`].
    Variants { names: Vec<String>, id: u64 },
    /// Responses are not stored, so requests do not wait for each other.
    HitForPass,
}

impl Entry {
    pub(crate) fn new(content: Content, lifetime: Duration) -> Self {
        let stored_at = now();
        Self { stored_at, expires_at: stored_at.saturating_add(milliseconds(lifetime)), content }
    }

    /// Returns the entry of a URI whose responses are not stored.
    pub(crate) fn hit_for_pass() -> Self {
        Self::new(Content::HitForPass, HIT_FOR_PASS_TTL)
    }

    /// Returns the entry of a response that is stored.
    pub(crate) fn from_response(response: &Response<Bytes>, storable: &Storable) -> Self {
        let content = Content::Response {
            response: StoredResponse::copy(response),
            allows_authorized: storable.allows_authorized,
        };
        Self::new(content, storable.fresh_for)
    }

    pub(crate) fn is_expired(&self) -> bool {
        now() >= self.expires_at
    }

    /// Returns the time since it was stored.
    pub(crate) fn age(&self) -> Duration {
        Duration::from_millis(now().saturating_sub(self.stored_at))
    }

    /// Returns the time until it is stale.
    pub(crate) fn ttl(&self) -> Duration {
        Duration::from_millis(self.expires_at.saturating_sub(now()))
    }
}

/// Returns the key of the variant for a request.
pub(crate) fn variant_key(key: &str, id: u64, names: &[String], request: &HeaderMap) -> String {
    let mut text = Vec::new();
    for name in names {
        for value in request.get_all(name) {
            text.extend_from_slice(value.as_bytes());
            text.push(b',');
        }
        // A line break does not occur in values.
        text.push(b'\n');
    }
    digest::key("", &[key.as_bytes(), &id.to_be_bytes(), &text])
}

/// Returns the current time, in milliseconds since the Unix epoch.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, milliseconds)
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Time for which requests for a URI whose response was not storable do not wait for each other.
const HIT_FOR_PASS_TTL: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variants_differ_by_the_values_of_the_named_fields_only() {
        let request = |fields: &[(&'static str, &'static str)]| {
            let mut map = HeaderMap::new();
            fields.iter().for_each(|(name, value)| {
                map.append(*name, value.parse().unwrap());
            });
            map
        };
        let names = ["accept".to_owned(), "accept-language".to_owned()];
        let key = |fields: &[(&'static str, &'static str)]| variant_key("key", 1, &names, &request(fields));
        assert_eq!(key(&[("accept", "a"), ("host", "x")]), key(&[("accept", "a"), ("host", "y")]));
        assert_ne!(key(&[("accept", "a")]), key(&[("accept", "b")]));
        assert_ne!(key(&[("accept", "a")]), key(&[("accept-language", "a")]));
        assert_ne!(key(&[("accept", "a")]), key(&[]));
        assert_ne!(key(&[]), variant_key("key", 2, &names, &request(&[])));
    }

    #[test]
    fn an_entry_expires_with_its_lifetime() {
        let entry = Entry::new(Content::HitForPass, Duration::from_secs(60));
        assert!(!entry.is_expired() && entry.ttl() <= Duration::from_secs(60));
        assert!(Entry::new(Content::HitForPass, Duration::ZERO).is_expired());
        assert!(!Entry::new(Content::HitForPass, Duration::MAX).is_expired());
    }
}
