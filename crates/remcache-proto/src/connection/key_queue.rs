//! The keys of fetches in flight, oldest first, in one piece of memory.

/// Keys, each prefixed with its length: at most 250 bytes, so one byte holds it.
#[derive(Debug, Default)]
pub(crate) struct KeyQueue {
    bytes: Vec<u8>,
    /// Where the oldest key begins.
    start: usize,
}

impl KeyQueue {
    /// Puts a key behind all others.
    #[inline]
    pub(crate) fn push(&mut self, key: &[u8]) {
        let key = key.get(..usize::from(u8::MAX)).unwrap_or(key);
        self.bytes.reserve(key.len().saturating_add(1));
        self.bytes.push(key.len() as u8);
        self.bytes.extend_from_slice(key);
    }

    /// The oldest key.
    #[inline]
    pub(crate) fn front(&self) -> Option<&[u8]> {
        self.iter().next()
    }

    /// All keys, oldest first.
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

    /// Forgets the oldest key.
    #[inline]
    pub(crate) fn pop(&mut self) {
        let length = self.bytes.get(self.start).map_or(0, |length| usize::from(*length).saturating_add(1));
        self.start = self.start.saturating_add(length);
        if self.start >= self.bytes.len() {
            self.bytes.clear();
            self.start = 0;
        } else if self.start >= WORTH_MOVING && self.start >= self.bytes.len() / 2 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
    }

    /// Gives back memory beyond this.
    pub(crate) fn shrink(&mut self, keep: usize) {
        self.bytes.shrink_to(keep);
    }
}

/// Fewer bytes at the front stay where they are until the queue is empty.
const WORTH_MOVING: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    #[test]
    fn keys_come_out_as_they_went_in() {
        let mut queue = KeyQueue::default();
        let mut model = VecDeque::new();
        for step in 0..20_000_usize {
            let key = vec![b'k'; step % 250 + 1];
            queue.push(&key);
            model.push_back(key);
            // At times more leave than come, so that the queue is long, short and empty.
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
    fn memory_in_front_of_the_oldest_key_is_used_again() {
        let mut queue = KeyQueue::default();
        queue.push(b"oldest");
        for _ in 0..100_000 {
            queue.push(b"next");
            queue.pop();
        }
        assert_eq!(queue.front(), Some(&b"next"[..]));
        assert!(queue.bytes.capacity() < 4 * WORTH_MOVING, "{}", queue.bytes.capacity());
    }
}
