//! A queue of the keys of pending fetches, in one allocation.

/// A queue of keys, each prefixed with its length, for which one byte suffices.
#[derive(Debug, Default)]
pub(crate) struct KeyQueue {
    bytes: Vec<u8>,
    /// The offset of the oldest key.
    start: usize,
}

impl KeyQueue {
    /// Appends a key.
    #[inline]
    pub(crate) fn push(&mut self, key: &[u8]) {
        let key = key.get(..usize::from(u8::MAX)).unwrap_or(key);
        self.bytes.reserve(key.len().saturating_add(1));
        self.bytes.push(key.len() as u8);
        self.bytes.extend_from_slice(key);
    }

    /// Returns the oldest key.
    #[inline]
    pub(crate) fn front(&self) -> Option<&[u8]> {
        self.iter().next()
    }

    /// Returns all keys, oldest first.
    #[inline]
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = self.bytes.get(self.start..).unwrap_or_default();
        std::iter::from_fn(move || {
            let (length, keys) = rest.split_first()?;
            let (key, others) = keys.split_at_checked(usize::from(*length))?;
            rest = others;
            Some(key)
        })
    }

    /// Removes the oldest key.
    #[inline]
    pub(crate) fn pop(&mut self) {
        let length = self.bytes.get(self.start).map_or(0, |length| usize::from(*length).saturating_add(1));
        self.start = self.start.saturating_add(length);
        if self.start >= self.bytes.len() {
            self.bytes.clear();
            self.start = 0;
        } else if self.start >= MIN_MOVED && self.start >= self.bytes.len() / 2 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
    }

    /// Releases memory beyond `keep` bytes.
    pub(crate) fn shrink(&mut self, keep: usize) {
        self.bytes.shrink_to(keep);
    }
}

/// The least number of removed bytes at the front for which the rest is moved.
const MIN_MOVED: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    #[test]
    fn keys_are_returned_in_order() {
        let mut queue = KeyQueue::default();
        let mut model = VecDeque::new();
        for step in 0..20_000_usize {
            let key = vec![b'k'; step % 250 + 1];
            queue.push(&key);
            model.push_back(key);
            // The queue grows and shrinks in turn.
            for _ in 0..(step / 500) % 3 {
                assert_eq!(queue.front(), model.front().map(Vec::as_slice));
                queue.pop();
                model.pop_front();
            }
            assert_eq!(queue.front(), model.front().map(Vec::as_slice));
        }
        assert!(queue.iter().eq(model.iter().map(Vec::as_slice)));
    }

    #[test]
    fn memory_before_the_oldest_key_is_reused() {
        let mut queue = KeyQueue::default();
        queue.push(b"oldest");
        for _ in 0..100_000 {
            queue.push(b"next");
            queue.pop();
        }
        assert_eq!(queue.front(), Some(&b"next"[..]));
        assert!(queue.bytes.capacity() < 4 * MIN_MOVED, "{}", queue.bytes.capacity());
    }

    #[test]
    fn the_memory_of_a_long_queue_is_reused() {
        let mut queue = KeyQueue::default();
        (0..3 * MIN_MOVED).for_each(|_| queue.push(b"key"));
        for _ in 0..100_000 {
            queue.push(b"key");
            queue.pop();
        }
        assert!(queue.bytes.capacity() < 64 * MIN_MOVED, "{}", queue.bytes.capacity());
    }

    /// Moving the rest for each removed key would cost time proportional to the square of the queue's length.
    #[test]
    fn the_rest_is_moved_only_after_many_bytes_and_half_of_all_were_removed() {
        for (keys, most_moves) in [(100, 0), (3 * MIN_MOVED, 4)] {
            let mut queue = KeyQueue::default();
            (0..keys).for_each(|_| queue.push(b"key"));
            let mut moves = 0;
            for _ in 1..keys {
                queue.pop();
                moves += usize::from(queue.start == 0);
            }
            assert!(moves <= most_moves, "{moves} moves of {keys} keys");
        }
    }

    #[test]
    fn memory_of_removed_keys_is_released() {
        let mut queue = KeyQueue::default();
        (0..1000).for_each(|_| queue.push(b"key"));
        (0..999).for_each(|_| queue.pop());
        queue.pop();
        assert!(queue.bytes.capacity() >= 4000);
        queue.shrink(16);
        assert_eq!(queue.bytes.capacity(), 16);
    }
}
