//! The workload of a load: operations, keys and values.

use bytes::Bytes;
use remcache::proto::CowBytes;
use remcache::{Client, Error, Ttl, WriteOutcome};

use super::mix::{Mix, Operation};
use super::popularity::Popularity;
use super::sizes::Sizes;

/// The workload of a load.
#[derive(Clone, Debug)]
pub(crate) struct Workload {
    pub(crate) mix: Mix,
    /// The number of keys.
    pub(crate) keys: u64,
    /// The distribution of the operations over the keys.
    pub(crate) popularity: Popularity,
    pub(crate) sizes: Sizes,
    /// The time to live of stored items.
    pub(crate) ttl: Ttl,
}

/// One operation on one key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) operation: Operation,
    pub(crate) key: u64,
    /// The size of the value, if the operation stores one.
    pub(crate) size: usize,
}

/// The values that a load stores: prefixes of one buffer.
#[derive(Clone, Debug)]
pub(crate) struct ValueBuffer(Bytes);

impl ValueBuffer {
    /// Values of these sizes.
    pub(crate) fn new(sizes: Sizes) -> Self {
        Self(vec![b'x'; sizes.largest()].into())
    }

    fn of(&self, size: usize) -> CowBytes<'_> {
        match size {
            // The library copies small values, so a reference count would only add cost.
            ..SHARED_FROM => CowBytes::Borrowed(&self.0[..size]),
            _ => CowBytes::Shared(self.0.slice(..size)),
        }
    }
}

impl Workload {
    /// Executes one operation; returns whether it was not a miss.
    pub(crate) async fn execute(&self, client: &Client, values: &ValueBuffer, step: Step) -> Result<bool, Error> {
        let is_counter = step.operation == Operation::Incr;
        let key = KeyText::new(if is_counter { COUNTERS } else { ITEMS }, step.key);
        let key = key.as_bytes();
        Ok(match step.operation {
            Operation::Get => client.get(key).await?.is_some(),
            Operation::Set => client.set(key, values.of(step.size)).ttl(self.ttl).await?.is_applied(),
            Operation::Add => client.add(key, values.of(step.size)).ttl(self.ttl).await?.is_applied(),
            Operation::Delete => client.delete(key).await?.is_applied(),
            Operation::Touch => client.touch(key, self.ttl).await?.is_applied(),
            Operation::Incr => client.increment(key, 1).initial(1).ttl(self.ttl).await?.is_some(),
        })
    }

    /// Stores all keys, so that gets hit; `progress` is called with the number of stored keys.
    pub(crate) async fn store_all(
        &self,
        client: &Client,
        mut outcome: impl FnMut(&Result<WriteOutcome, Error>),
        mut progress: impl FnMut(u64),
    ) {
        let values = ValueBuffer::new(self.sizes);
        let mut random = fastrand::Rng::new();
        let per_call = (BYTES_A_CALL / self.sizes.largest().max(1)).clamp(1, KEYS_A_CALL) as u64;
        let mut first = 0;
        while first < self.keys {
            let end = self.keys.min(first + per_call);
            let items = (first..end).map(|key| (KeyText::new(ITEMS, key), values.of(self.sizes.pick(&mut random))));
            for (_, stored) in client.set_many(items).ttl(self.ttl).await {
                outcome(&stored.map(WriteOutcome::from));
            }
            first = end;
            progress(first);
        }
    }
}

/// The prefixes of items and counters, which are separate: an item is not a number.
const ITEMS: &[u8; PREFIX] = b"remcache:load:i:";
const COUNTERS: &[u8; PREFIX] = b"remcache:load:c:";
const PREFIX: usize = 16;
const DIGITS: usize = 10;

/// From this size on, the library sends shared bytes without a copy.
const SHARED_FROM: usize = 4096;

/// The limits of a call that stores keys, which bound the memory.
const BYTES_A_CALL: usize = 4 << 20;
const KEYS_A_CALL: usize = 10_000;

/// A key without a heap allocation: a load makes millions of keys per second.
#[derive(Clone, Copy)]
pub(crate) struct KeyText([u8; PREFIX + DIGITS]);

impl KeyText {
    /// Returns the key of an item.
    pub(crate) fn of_item(number: u64) -> Self {
        Self::new(ITEMS, number)
    }

    fn new(prefix: &[u8; PREFIX], number: u64) -> Self {
        let mut text = [b'0'; PREFIX + DIGITS];
        text[..PREFIX].copy_from_slice(prefix);
        let mut rest = number;
        for digit in text[PREFIX..].iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        Self(text)
    }

    fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for KeyText {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_numbered() {
        assert_eq!(KeyText::of_item(42).as_bytes(), b"remcache:load:i:0000000042");
        assert_ne!(KeyText::new(COUNTERS, 7).as_bytes(), KeyText::of_item(7).as_bytes());
    }
}
