//! When a value is due, where the protocol does not tell how long an item has left: an item of its own
//! beside the value's.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use crate::client::Client;
use crate::error::Error;
use crate::ops::builder::{Command, Store};
use crate::proto::Request;
use crate::result::{Item, WriteOutcome};
use crate::sentinel as marks;

/// What stands in the companion of a key: which value it is about, and when that is due.
///
/// The value is named by a hash and not by its CAS value, which the text protocol does not tell to
/// whoever stores it. A companion of another value says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Companion {
    hash: u64,
    /// In milliseconds since 1970; at 0 it is due now.
    due: u64,
}

impl Companion {
    /// A value that is due so long from now.
    pub(crate) fn new(hash: u64, due_after: Duration) -> Self {
        Self { hash, due: now().saturating_add(millis(due_after)) }
    }

    /// A value that is due now.
    pub(crate) fn due(hash: u64) -> Self {
        Self { hash, due: 0 }
    }

    /// What an item says; `None` if it is no companion.
    pub(crate) fn read(item: &Item) -> Option<Self> {
        if item.flags != marks::COMPANION {
            return None;
        }
        let (hash, due) = std::str::from_utf8(&item.value).ok()?.split_once(' ')?;
        Some(Self { hash: u64::from_str_radix(hash, 16).ok()?, due: due.parse().ok()? })
    }

    pub(crate) fn is_due(self, hash: u64) -> bool {
        self.hash == hash && self.due <= now()
    }

    /// The request that stores it, under its own key, for so long.
    pub(crate) fn request(self, key: &[u8], ttl: Duration) -> Request<'_> {
        Request::set(key, format!("{:016x} {}", self.hash, self.due)).flags(marks::COMPANION).ttl(ttl)
    }

    /// Stores it beside a key's value; with a CAS value, only over the companion that has it.
    pub(crate) async fn store(
        self,
        client: &Client,
        key: &[u8],
        ttl: Duration,
        cas: Option<u64>,
    ) -> Result<WriteOutcome, Error> {
        let (beside, route) = (key_of(client, key), route(client, key));
        let store = Command::<Store>::new(client.call(self.request(&beside, ttl))).routing_key(&route);
        match cas {
            Some(cas) => store.cas(cas).await,
            None => store.await,
        }
    }
}

/// The hash by which a companion names a value.
pub(crate) fn hash(flags: u32, value: &[u8]) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(&flags.to_be_bytes());
    hash.update(value);
    hash.digest()
}

/// The key of a key's companion; it is placed like the key itself, by what [`route`] says.
pub(crate) fn key_of(client: &Client, key: &[u8]) -> Vec<u8> {
    match client.config().namespace.len() + key.len() + SUFFIX.len() <= LONGEST_KEY {
        true => [key, SUFFIX].concat(),
        false => format!("{:032x}~fetch", xxh3_128(key)).into_bytes(),
    }
}

/// What of a key it is placed by.
pub(crate) fn route(client: &Client, key: &[u8]) -> Vec<u8> {
    let key = [&client.config().namespace, key].concat();
    client.cluster().placed(&key).to_vec()
}

const SUFFIX: &[u8] = b"~fetch";
/// The longest key that a server takes, in bytes.
const LONGEST_KEY: usize = 250;

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
    fn a_companion_reads_as_it_is_written() {
        let companion = Companion::new(0xab, Duration::from_secs(60));
        let request = companion.request(b"k~fetch", Duration::from_secs(9));
        assert_eq!(Companion::read(&item(request.value().to_vec(), request.item_flags())), Some(companion));
        assert_eq!(Companion::read(&item(request.value().to_vec(), 0)), None, "the flags do not say so");
        for text in ["", " ", "ab", "ab x", "x 1", "ab 99999999999999999999"] {
            assert_eq!(Companion::read(&item(text, marks::COMPANION)), None, "{text}");
        }
    }

    #[test]
    fn it_speaks_of_one_value_and_of_one_time() {
        let (this, other) = (hash(0, b"this"), hash(0, b"other"));
        assert_ne!(hash(1, b"this"), this);
        assert!(Companion::due(this).is_due(this) && !Companion::due(this).is_due(other));
        assert!(!Companion::new(this, Duration::from_secs(60)).is_due(this));
        assert!(!Companion::new(this, Duration::MAX).is_due(this));
        assert!(Companion::new(this, Duration::ZERO).is_due(this));
    }

    #[test]
    fn a_long_key_has_a_companion_too() {
        let client = Client::new(["127.0.0.1:1"]).unwrap();
        assert_eq!(key_of(&client, b"user:42"), b"user:42~fetch");
        let (one, two) = (key_of(&client, &[b'k'; 250]), key_of(&client, &[b'l'; 250]));
        assert!(one != two && one.len() <= LONGEST_KEY);
    }
}
