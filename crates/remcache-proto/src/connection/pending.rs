//! The requests that wait for their replies, oldest first.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::Tag;
use super::key_queue::KeyQueue;
use crate::binary::Opcode;
use crate::types::error::ProtocolError;
use crate::types::reply_shape::Expected;

/// Who waits for a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// A caller, known by its tag.
    Caller(Tag),
    /// A caller that has its outcome already, or wants none any more.
    Abandoned,
    /// No caller: batch ends, keepalives, requests sent without waiting.
    None,
}

/// A request that was encoded and not answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) owner: Owner,
    pub(crate) deadline: Instant,
    /// Extension of the deadline with every reply on the connection; zero for a fixed deadline.
    pub(crate) extend_by: Duration,
    /// Where the request's bytes begin in the stream of all bytes submitted.
    pub(crate) start: u64,
    /// On the binary protocol, what the reply must repeat.
    pub(crate) opcode: Opcode,
    pub(crate) expected: Expected,
    /// Whether the key that was asked for is remembered, and why.
    pub(crate) kept: KeyTracking,
}

/// What is remembered of the key of a request, to be held against the key of the item that answers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyTracking {
    /// Nothing.
    Nothing,
    /// The key of a command of its own.
    Key,
    /// The key of a fetch that shares its line with others.
    KeyInLine,
}

impl Entry {
    /// Whether it is one of a run, whose caller needs the replies to all.
    #[inline]
    pub(crate) fn is_of_run(&self) -> bool {
        !self.extend_by.is_zero()
    }

    /// When the caller stops waiting, if the last reply on the connection came at `last_reply`.
    pub(crate) fn effective_deadline(&self, last_reply: Instant) -> Instant {
        if !self.is_of_run() {
            return self.deadline;
        }
        last_reply.checked_add(self.extend_by).map_or(self.deadline, |extended| extended.max(self.deadline))
    }
}

/// The requests in flight, in the order in which the server answers them.
///
/// Their opaques are consecutive and wrap at 32 bits, so an opaque is a place in the queue, and a
/// reply is looked up and held against the order in one step.
#[derive(Debug)]
pub(crate) struct InFlight {
    entries: VecDeque<Entry>,
    /// The opaque of the oldest entry.
    first: u32,
    /// How many entries at the front are older than the last quiet request that was answered.
    ///
    /// They were executed, but their silence counts as success only when a non-quiet
    /// reply confirms it: until then a server that mixes its replies up would give itself away.
    passed: usize,
    /// The remembered keys of the entries whose turn has not passed.
    keys: KeyQueue,
}

impl InFlight {
    pub(crate) fn new(first_opaque: u32) -> Self {
        Self { entries: VecDeque::new(), first: first_opaque, passed: 0, keys: KeyQueue::default() }
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The opaque of the oldest entry.
    #[inline]
    pub(crate) fn first_opaque(&self) -> u32 {
        self.first
    }

    /// The opaque that the next pushed entry will have.
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
        match self.passed.checked_sub(1) {
            Some(left) => self.passed = left,
            None if entry.kept != KeyTracking::Nothing => self.keys.pop(),
            None => {}
        }
        Some(entry)
    }

    /// All entries, to be pushed again: the next one has the opaque that the first one had.
    pub(crate) fn take_entries(&mut self) -> VecDeque<Entry> {
        std::mem::take(&mut self.entries)
    }

    /// All remembered keys, which have to be remembered again.
    pub(crate) fn take_keys(&mut self) -> KeyQueue {
        std::mem::take(&mut self.keys)
    }

    /// Remembers the key of the entry that is pushed next.
    #[inline]
    pub(crate) fn remember_key(&mut self, key: &[u8]) {
        self.keys.push(key);
    }

    /// The remembered key of the oldest entry.
    pub(crate) fn first_key(&self) -> Option<&[u8]> {
        let entry = self.entries.front()?;
        self.keys.front().filter(|_| entry.kept != KeyTracking::Nothing && self.passed == 0)
    }

    /// The remembered key of the entry at this place, if it is, and if its turn has not passed.
    #[cold]
    pub(crate) fn key_at(&self, place: usize) -> Option<&[u8]> {
        self.entries.get(place).filter(|entry| entry.kept != KeyTracking::Nothing)?;
        let between = place.checked_sub(self.passed)?;
        let waiting = self.entries.iter().skip(self.passed).take(between);
        self.keys.iter().nth(waiting.filter(|entry| entry.kept != KeyTracking::Nothing).count())
    }

    /// The next fetch of the line at the front that may be answered by an item, with its key; `None` if
    /// there is no such line, or all its fetches have their turn behind them.
    #[inline]
    pub(crate) fn next_in_line(&self) -> Option<(&Entry, &[u8])> {
        let next = self.entries.get(self.passed)?;
        if next.kept != KeyTracking::KeyInLine || self.passed > 0 && !self.is_within_line() {
            return None;
        }
        Some((next, self.keys.front()?))
    }

    /// Whether the turn is at a fetch of the line at the front, and not at its first one.
    fn is_within_line(&self) -> bool {
        self.entries.front().is_some_and(|oldest| oldest.kept == KeyTracking::KeyInLine) && !self.line_has_passed()
    }

    /// The place of the fetch, of the line at the front, that an item with this key answers: those
    /// before it that were not answered are missing.
    pub(crate) fn place_in_line(&self, key: &[u8]) -> Result<usize, ProtocolError> {
        if self.line_has_passed() {
            return Err(ProtocolError::WrongKey);
        }
        let waiting = self.entries.iter().enumerate().skip(self.passed).zip(self.keys.iter());
        for ((place, entry), asked) in waiting {
            if asked == key && entry.kept == KeyTracking::KeyInLine {
                return Ok(place);
            }
            if !entry.expected.quiet {
                break;
            }
        }
        Err(ProtocolError::WrongKey)
    }

    /// The place of the fetch that ends the line at the front.
    pub(crate) fn end_of_line(&self) -> Option<usize> {
        match self.line_has_passed() {
            true => self.passed.checked_sub(1),
            false => self.first_non_quiet(),
        }
    }

    /// Whether an item has answered the last fetch of the line at the front, whose end is to come.
    #[inline]
    fn line_has_passed(&self) -> bool {
        let last = self.passed.checked_sub(1).and_then(|place| self.entries.get(place));
        last.is_some_and(|entry| !entry.expected.quiet)
    }

    /// The place of the first fetch that shares its line.
    pub(crate) fn first_in_line(&self) -> Option<usize> {
        self.entries.iter().position(|entry| entry.kept == KeyTracking::KeyInLine)
    }

    pub(crate) fn back_mut(&mut self) -> Option<&mut Entry> {
        self.entries.back_mut()
    }

    pub(crate) fn front(&self) -> Option<&Entry> {
        self.entries.front()
    }

    pub(crate) fn back(&self) -> Option<&Entry> {
        self.entries.back()
    }

    /// The entry with this opaque, if it is still in flight.
    pub(crate) fn get_mut(&mut self, opaque: u32) -> Option<&mut Entry> {
        let place = self.place(opaque);
        self.entries.get_mut(place)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (u32, &mut Entry)> {
        let first = self.first;
        self.entries.iter_mut().zip(0_u32..).map(move |(entry, place)| (first.wrapping_add(place), entry))
    }

    /// Where the last request ends that ends by `reach`, of those that end behind `from`; where none
    /// does, the end of the first one. `None` if only the newest is left, which ends with the stream.
    pub(crate) fn boundary(&self, from: u64, reach: u64) -> Option<u64> {
        let first = self.entries.partition_point(|entry| entry.start <= from);
        let beyond = self.entries.partition_point(|entry| entry.start <= reach);
        self.entries.get(first.max(beyond.saturating_sub(1))).map(|entry| entry.start)
    }

    fn place(&self, opaque: u32) -> usize {
        usize::try_from(opaque.wrapping_sub(self.first)).unwrap_or(usize::MAX)
    }

    /// The place of the request that this reply answers.
    ///
    /// A reply is accepted only for a request in flight whose opcode it repeats, whose turn has
    /// not passed, and only if every older request without an answer was quiet: replies keep the
    /// order of requests.
    #[inline]
    pub(crate) fn attribute(&self, opaque: u32, opcode: Opcode) -> Result<usize, ProtocolError> {
        let place = self.place(opaque);
        let entry = self.entries.get(place).ok_or(ProtocolError::UnknownOpaque(opaque))?;
        if entry.opcode != opcode {
            return Err(ProtocolError::WrongOpcode { expected: entry.opcode.0, found: opcode.0 });
        }
        self.check_turn(place)
    }

    /// The place of the request with this opaque, if it may be answered now: for protocols whose replies
    /// carry the opaque and no opcode.
    #[inline]
    pub(crate) fn place_in_order(&self, opaque: u32) -> Result<usize, ProtocolError> {
        let place = self.place(opaque);
        if place >= self.entries.len() {
            return Err(ProtocolError::UnknownOpaque(opaque));
        }
        self.check_turn(place)
    }

    #[inline]
    fn check_turn(&self, place: usize) -> Result<usize, ProtocolError> {
        if place < self.passed {
            return Err(ProtocolError::LateReply);
        }
        let between = place.saturating_sub(self.passed);
        if self.entries.iter().skip(self.passed).take(between).any(|older| !older.expected.quiet) {
            return Err(ProtocolError::SkippedReply);
        }
        Ok(place)
    }

    /// The place of the oldest request whose turn has not passed.
    pub(crate) fn turn(&self) -> usize {
        self.passed
    }

    /// The place of the first request that must be answered.
    pub(crate) fn first_non_quiet(&self) -> Option<usize> {
        let waiting = self.entries.iter().enumerate().skip(self.passed);
        waiting.into_iter().find(|(_, entry)| !entry.expected.quiet).map(|(place, _)| place)
    }

    pub(crate) fn get(&self, place: usize) -> Option<&Entry> {
        self.entries.get(place)
    }

    /// Lets the queue's turn pass over the entry at this place.
    pub(crate) fn pass(&mut self, place: usize) -> Option<&mut Entry> {
        let newly = self.entries.iter().take(place.saturating_add(1)).skip(self.passed);
        for _ in newly.filter(|entry| entry.kept != KeyTracking::Nothing) {
            self.keys.pop();
        }
        self.passed = place.saturating_add(1);
        self.entries.get_mut(place)
    }

    /// Gives back memory beyond what `keep` entries need.
    pub(crate) fn shrink(&mut self, keep: usize) {
        self.entries.shrink_to(keep);
        self.keys.shrink(keep);
    }
}
