//! Refresh items: record when a value is due for a refresh, for protocols that do not report the
//! remaining TTL.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use crate::client::Client;
use crate::proto::Request;
use crate::result::Item;
use crate::sentinel;

/// Contents of a refresh item: the value it belongs to, and the time when that is due.
///
/// The value is identified by a hash and not by its CAS value, which text-protocol stores do not
/// return. A refresh item that belongs to another value is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RefreshItem {
    hash: u64,
    /// Milliseconds since the Unix epoch; 0 means due now.
    due: u64,
}

impl RefreshItem {
    /// Creates the refresh item of a value that is due after this duration.
    pub(crate) fn new(hash: u64, due_after: Duration) -> Self {
        Self { hash, due: now().saturating_add(millis(due_after)) }
    }

    /// Creates the refresh item of a value that is due now.
    pub(crate) fn due(hash: u64) -> Self {
        Self { hash, due: 0 }
    }

    /// Parses an item; `None` if it is not a refresh item.
    pub(crate) fn read(item: &Item) -> Option<Self> {
        if item.flags != sentinel::REFRESH_ITEM {
            return None;
        }
        let (hash, due) = std::str::from_utf8(&item.value).ok()?.split_once(' ')?;
        Some(Self { hash: u64::from_str_radix(hash, 16).ok()?, due: due.parse().ok()? })
    }

    pub(crate) fn is_due(self, hash: u64) -> bool {
        self.hash == hash && self.due <= now()
    }

    /// Builds the request that stores it under its own key with this TTL.
    pub(crate) fn request(self, key: &[u8], ttl: Duration) -> Request<'_> {
        Request::set(key, format!("{:016x} {}", self.hash, self.due)).flags(sentinel::REFRESH_ITEM).ttl(ttl)
    }
}

/// Returns the hash that identifies a value.
pub(crate) fn hash(flags: u32, value: &[u8]) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(&flags.to_be_bytes());
    hash.update(value);
    hash.digest()
}

/// Returns the key of a key's refresh item, which is stored on the same server: see [`route`].
pub(crate) fn key_of(client: &Client, key: &[u8]) -> Vec<u8> {
    match client.config().namespace.len() + key.len() + SUFFIX.len() <= MAX_KEY {
        true => [key, SUFFIX].concat(),
        false => format!("{:032x}~fetch", xxh3_128(key)).into_bytes(),
    }
}

/// Returns the part of a key that determines its server.
pub(crate) fn route(client: &Client, key: &[u8]) -> Vec<u8> {
    let key = [&client.config().namespace, key].concat();
    client.cluster().routing_key_of(&key).to_vec()
}

const SUFFIX: &[u8] = b"~fetch";
/// Maximum key length, in bytes.
const MAX_KEY: usize = 250;

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, millis)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(value: impl Into<bytes::Bytes>, flags: u32) -> Item {
        Item { value: value.into(), flags, cas: 7 }
    }

    #[test]
    fn a_refresh_item_round_trips() {
        let refresh_item = RefreshItem::new(0xab, Duration::from_secs(60));
        let request = refresh_item.request(b"k~fetch", Duration::from_secs(9));
        assert_eq!(RefreshItem::read(&item(request.value().to_vec(), request.item_flags())), Some(refresh_item));
        assert_eq!(RefreshItem::read(&item(request.value().to_vec(), 0)), None, "the flags do not say so");
        for text in ["", " ", "ab", "ab x", "x 1", "ab 99999999999999999999"] {
            assert_eq!(RefreshItem::read(&item(text, sentinel::REFRESH_ITEM)), None, "{text}");
        }
    }

    #[test]
    fn it_applies_to_one_value_and_one_time() {
        let (this, other) = (hash(0, b"this"), hash(0, b"other"));
        assert_ne!(hash(1, b"this"), this);
        assert!(RefreshItem::due(this).is_due(this) && !RefreshItem::due(this).is_due(other));
        assert!(!RefreshItem::new(this, Duration::from_secs(60)).is_due(this));
        assert!(!RefreshItem::new(this, Duration::MAX).is_due(this));
        assert!(RefreshItem::new(this, Duration::ZERO).is_due(this));
    }

    #[test]
    fn a_long_key_has_a_refresh_item_too() {
        let client = Client::new(["127.0.0.1:1"]).unwrap();
        assert_eq!(key_of(&client, b"user:42"), b"user:42~fetch");
        let (one, two) = (key_of(&client, &[b'k'; 250]), key_of(&client, &[b'l'; 250]));
        assert!(one != two && one.len() <= MAX_KEY);
    }
}
