//! The queue of pending requests, and the attribution of replies to them.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::Tag;
use super::key_queue::KeyQueue;
use crate::binary::Opcode;
use crate::types::error::ProtocolError;
use crate::types::reply_shape::ReplyShape;

/// The owner of a pending request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// A caller, identified by its tag.
    Caller(Tag),
    /// A caller that has its result already, or dropped the request.
    Abandoned,
    /// No caller: batch ends, keepalives, requests sent without waiting.
    None,
}

/// A pending request: encoded and not answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) owner: Owner,
    pub(crate) deadline: Instant,
    /// How far each reply on the connection extends the deadline; zero for a fixed deadline.
    pub(crate) extend_by: Duration,
    /// The offset of the request's first byte in the stream of all submitted bytes.
    pub(crate) start: u64,
    /// The opcode that the reply must repeat, on the binary protocol.
    pub(crate) opcode: Opcode,
    pub(crate) expected: ReplyShape,
    /// Whether the key is stored in the key queue, and why.
    pub(crate) key_tracking: KeyTracking,
}

/// Whether a request's key is stored, to be compared with the key of the item in its reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyTracking {
    /// It is not stored.
    Nothing,
    /// It is stored for a request on a separate line.
    Key,
    /// It is stored for a get in a multiget.
    MultigetKey,
}

impl Entry {
    /// Returns whether the request belongs to a batch.
    #[inline]
    pub(crate) fn is_batched(&self) -> bool {
        !self.extend_by.is_zero()
    }

    /// Returns the extended deadline, given the time of the last reply on the connection.
    pub(crate) fn effective_deadline(&self, last_reply: Instant) -> Instant {
        if !self.is_batched() {
            return self.deadline;
        }
        last_reply.checked_add(self.extend_by).map_or(self.deadline, |extended| extended.max(self.deadline))
    }
}

/// The pending requests, in the order in which the server answers them.
///
/// Their opaques are consecutive and wrap at 32 bits, so an opaque is an index into the queue: finding a reply's
/// request and checking the order is one step.
#[derive(Debug)]
pub(crate) struct InFlight {
    entries: VecDeque<Entry>,
    /// The opaque of the oldest entry.
    first: u32,
    /// The index after the last quiet request that was answered.
    ///
    /// The entries before it were executed, but the missing replies of quiet ones count as success only when a
    /// non-quiet reply confirms them: until then a server that mixes up replies would be detected.
    cursor: usize,
    /// The stored keys of the entries from the cursor on.
    keys: KeyQueue,
}

impl InFlight {
    pub(crate) fn new(first_opaque: u32) -> Self {
        Self { entries: VecDeque::new(), first: first_opaque, cursor: 0, keys: KeyQueue::default() }
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns the opaque of the oldest entry.
    #[inline]
    pub(crate) fn first_opaque(&self) -> u32 {
        self.first
    }

    /// Returns the opaque of the next entry.
    #[inline]
    pub(crate) fn next_opaque(&self) -> u32 {
        // The queue is far shorter than 2^32 entries: its limit is checked before each push.
        self.first.wrapping_add(u32::try_from(self.entries.len()).unwrap_or(u32::MAX))
    }

    #[inline]
    pub(crate) fn push(&mut self, entry: Entry) {
        self.entries.push_back(entry);
    }

    #[inline]
    pub(crate) fn pop(&mut self) -> Option<Entry> {
        let entry = self.entries.pop_front()?;
        self.first = self.first.wrapping_add(1);
        match self.cursor.checked_sub(1) {
            Some(cursor) => self.cursor = cursor,
            None if entry.key_tracking != KeyTracking::Nothing => self.keys.pop(),
            None => {}
        }
        Some(entry)
    }

    /// Removes all entries, to be pushed again: the next entry gets the opaque of the first one.
    pub(crate) fn take_entries(&mut self) -> VecDeque<Entry> {
        std::mem::take(&mut self.entries)
    }

    /// Removes all stored keys, to be stored again.
    pub(crate) fn take_keys(&mut self) -> KeyQueue {
        std::mem::take(&mut self.keys)
    }

    /// Stores the key of the entry that is pushed next.
    #[inline]
    pub(crate) fn remember_key(&mut self, key: &[u8]) {
        self.keys.push(key);
    }

    /// Returns the stored key of the oldest entry.
    pub(crate) fn first_key(&self) -> Option<&[u8]> {
        let entry = self.entries.front()?;
        self.keys.front().filter(|_| entry.key_tracking != KeyTracking::Nothing && self.cursor == 0)
    }

    /// Returns the stored key of the entry at this index, if there is one and the cursor is not past it.
    #[cold]
    pub(crate) fn key_at(&self, index: usize) -> Option<&[u8]> {
        self.entries.get(index).filter(|entry| entry.key_tracking != KeyTracking::Nothing)?;
        let between = index.checked_sub(self.cursor)?;
        let waiting = self.entries.iter().skip(self.cursor).take(between);
        self.keys.iter().nth(waiting.filter(|entry| entry.key_tracking != KeyTracking::Nothing).count())
    }

    /// Returns the next get of the oldest line and its key; `None` if there is no such line, or the cursor is past its
    /// last get.
    #[inline]
    pub(crate) fn next_in_multiget(&self) -> Option<(&Entry, &[u8])> {
        let next = self.entries.get(self.cursor)?;
        if next.key_tracking != KeyTracking::MultigetKey || self.cursor > 0 && !self.is_within_multiget() {
            return None;
        }
        Some((next, self.keys.front()?))
    }

    /// Returns whether the cursor is within the oldest line, after its first get.
    #[inline]
    fn is_within_multiget(&self) -> bool {
        self.entries.front().is_some_and(|oldest| oldest.key_tracking == KeyTracking::MultigetKey)
            && !self.is_multiget_answered()
    }

    /// Returns the index of the get in the oldest line that an item with this key answers; unanswered ones before it
    /// are misses.
    pub(crate) fn index_in_multiget(&self, key: &[u8]) -> Result<usize, ProtocolError> {
        if self.is_multiget_answered() {
            return Err(ProtocolError::WrongKey);
        }
        let waiting = self.entries.iter().enumerate().skip(self.cursor).zip(self.keys.iter());
        for ((index, entry), asked) in waiting {
            if asked == key && entry.key_tracking == KeyTracking::MultigetKey {
                return Ok(index);
            }
            if !entry.expected.quiet {
                break;
            }
        }
        Err(ProtocolError::WrongKey)
    }

    /// Returns the index of the last get of the oldest line.
    pub(crate) fn multiget_end(&self) -> Option<usize> {
        match self.is_multiget_answered() {
            true => self.cursor.checked_sub(1),
            false => self.first_non_quiet(),
        }
    }

    /// Returns whether the last get of the oldest line was answered, so that only its `END` is missing.
    #[inline]
    fn is_multiget_answered(&self) -> bool {
        let last = self.cursor.checked_sub(1).and_then(|index| self.entries.get(index));
        last.is_some_and(|entry| !entry.expected.quiet)
    }

    /// Returns the index of the first get in a multiget.
    pub(crate) fn first_multiget(&self) -> Option<usize> {
        self.entries.iter().position(|entry| entry.key_tracking == KeyTracking::MultigetKey)
    }

    #[inline]
    pub(crate) fn back_mut(&mut self) -> Option<&mut Entry> {
        self.entries.back_mut()
    }

    #[inline]
    pub(crate) fn front(&self) -> Option<&Entry> {
        self.entries.front()
    }

    #[inline]
    pub(crate) fn back(&self) -> Option<&Entry> {
        self.entries.back()
    }

    /// Returns the entry with this opaque, if it is still pending.
    pub(crate) fn get_mut(&mut self, opaque: u32) -> Option<&mut Entry> {
        let index = self.index_of(opaque);
        self.entries.get_mut(index)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (u32, &mut Entry)> {
        let first = self.first;
        self.entries.iter_mut().zip(0_u32..).map(move |(entry, index)| (first.wrapping_add(index), entry))
    }

    /// Returns the end of the last request after offset `from` that ends by `reach`, or of the first one if none does;
    /// `None` if only the newest remains, which ends with the stream.
    pub(crate) fn boundary(&self, from: u64, reach: u64) -> Option<u64> {
        let first = self.entries.partition_point(|entry| entry.start <= from);
        let beyond = self.entries.partition_point(|entry| entry.start <= reach);
        self.entries.get(first.max(beyond.saturating_sub(1))).map(|entry| entry.start)
    }

    fn index_of(&self, opaque: u32) -> usize {
        usize::try_from(opaque.wrapping_sub(self.first)).unwrap_or(usize::MAX)
    }

    /// Returns the index of the request that a reply answers.
    ///
    /// A reply is accepted only for a pending request whose opcode it repeats, which the cursor has not passed, and
    /// only if every older unanswered request is quiet: replies have the order of requests.
    #[inline]
    pub(crate) fn attribute(&self, opaque: u32, opcode: Opcode) -> Result<usize, ProtocolError> {
        let index = self.index_of(opaque);
        let entry = self.entries.get(index).ok_or(ProtocolError::UnknownOpaque(opaque))?;
        if entry.opcode != opcode {
            return Err(ProtocolError::WrongOpcode { expected: entry.opcode.0, found: opcode.0 });
        }
        self.check_order(index)
    }

    /// Returns the index of the request with this opaque, if it may be answered now: for replies without an opcode.
    #[inline]
    pub(crate) fn index_in_order(&self, opaque: u32) -> Result<usize, ProtocolError> {
        let index = self.index_of(opaque);
        if index >= self.entries.len() {
            return Err(ProtocolError::UnknownOpaque(opaque));
        }
        self.check_order(index)
    }

    #[inline]
    fn check_order(&self, index: usize) -> Result<usize, ProtocolError> {
        if index < self.cursor {
            return Err(ProtocolError::LateReply);
        }
        let between = index.saturating_sub(self.cursor);
        if self.entries.iter().skip(self.cursor).take(between).any(|older| !older.expected.quiet) {
            return Err(ProtocolError::SkippedReply);
        }
        Ok(index)
    }

    /// Returns the index of the oldest request that may be answered.
    #[inline]
    pub(crate) fn cursor(&self) -> usize {
        self.cursor
    }

    /// Returns the index of the first non-quiet request from the cursor on.
    pub(crate) fn first_non_quiet(&self) -> Option<usize> {
        let waiting = self.entries.iter().enumerate().skip(self.cursor);
        waiting.into_iter().find(|(_, entry)| !entry.expected.quiet).map(|(index, _)| index)
    }

    pub(crate) fn get(&self, index: usize) -> Option<&Entry> {
        self.entries.get(index)
    }

    /// Moves the cursor past the entry at this index.
    pub(crate) fn advance_past(&mut self, index: usize) -> Option<&mut Entry> {
        let newly = self.entries.iter().take(index.saturating_add(1)).skip(self.cursor);
        for _ in newly.filter(|entry| entry.key_tracking != KeyTracking::Nothing) {
            self.keys.pop();
        }
        self.cursor = index.saturating_add(1);
        self.entries.get_mut(index)
    }

    /// Returns the number of entries that the allocated memory has space for.
    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.entries.capacity()
    }

    /// Releases memory beyond what `keep` entries need.
    pub(crate) fn shrink(&mut self, keep: usize) {
        self.entries.shrink_to(keep);
        self.keys.shrink(keep);
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the entries need some deadline")]
mod tests {
    use super::*;

    /// Creates a queue of requests: a to z are gets of a multiget, which ends with a capital letter; digits are
    /// requests with a key of their own; a dot is a request without a stored key.
    fn queue(requests: &str) -> InFlight {
        let mut queue = InFlight::new(7);
        for request in requests.chars() {
            let key_tracking = match request {
                '.' => KeyTracking::Nothing,
                '0'..='9' => KeyTracking::Key,
                _ => KeyTracking::MultigetKey,
            };
            if key_tracking != KeyTracking::Nothing {
                queue.remember_key(&[request as u8]);
            }
            queue.push(Entry {
                owner: Owner::None,
                deadline: Instant::now(),
                extend_by: Duration::ZERO,
                start: 0,
                opcode: Opcode::NOOP,
                expected: ReplyShape { quiet: request.is_ascii_lowercase(), ..ReplyShape::GET },
                key_tracking,
            });
        }
        queue
    }

    #[test]
    fn keys_belong_to_their_requests() {
        let queue = queue("12.3");
        let keys: Vec<_> = (0..5).map(|index| queue.key_at(index)).collect();
        assert_eq!(keys, [Some(&b"1"[..]), Some(b"2"), None, Some(b"3"), None]);
    }

    #[test]
    fn the_oldest_request_has_no_other_requests_key() {
        assert_eq!(queue("12").first_key(), Some(&b"1"[..]));
        assert_eq!(queue(".2").first_key(), None);
        let mut queue = queue("12");
        queue.advance_past(0);
        assert_eq!(queue.first_key(), None);
        assert_eq!((queue.key_at(0), queue.key_at(1)), (None, Some(&b"2"[..])));
    }

    /// The fast path for hits depends on this: without it, every hit after a miss would take the slow path.
    #[test]
    fn the_next_get_of_the_oldest_multiget_is_known_after_earlier_hits() {
        let next = |queue: &InFlight| queue.next_in_multiget().map(|(_, key)| key.to_vec());
        let mut queue = queue("abCd");
        for (answered, expected) in [(0, Some(b"b".to_vec())), (1, Some(b"C".to_vec())), (2, None)] {
            queue.advance_past(answered);
            assert_eq!(next(&queue), expected, "after the hit of get {answered}");
        }
    }
}
