//! Counters of operations and their results.

use crate::arithmetic::Direction;

/// Counters of operations and their results, as `stats` reports them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counters {
    pub(crate) gets: u64,
    pub(crate) sets: u64,
    pub(crate) flushes: u64,
    pub(crate) touches: u64,
    pub(crate) metas: u64,
    pub(crate) get_hits: u64,
    pub(crate) get_expired: u64,
    pub(crate) delete_hits: u64,
    pub(crate) delete_misses: u64,
    pub(crate) increment_hits: u64,
    pub(crate) increment_misses: u64,
    pub(crate) decrement_hits: u64,
    pub(crate) decrement_misses: u64,
    pub(crate) cas_hits: u64,
    pub(crate) cas_misses: u64,
    pub(crate) cas_mismatches: u64,
    pub(crate) touch_hits: u64,
    pub(crate) too_large: u64,
    pub(crate) no_memory: u64,
    pub(crate) stored: u64,
    pub(crate) evictions: u64,
    pub(crate) expired: u64,
}

impl Counters {
    /// Returns the counter of increments or decrements that found their key, or did not.
    pub(super) fn arithmetic(&mut self, direction: Direction, hit: bool) -> &mut u64 {
        match (direction, hit) {
            (Direction::Increment, true) => &mut self.increment_hits,
            (Direction::Increment, false) => &mut self.increment_misses,
            (Direction::Decrement, true) => &mut self.decrement_hits,
            (Direction::Decrement, false) => &mut self.decrement_misses,
        }
    }
}
