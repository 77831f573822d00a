//! What happened, counted: in all, and by slab class.

use crate::counter::Direction;

/// How often what happened, as `stat` tells it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
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

impl Counts {
    pub(super) fn of_counter(&mut self, direction: Direction, hit: bool) -> &mut u64 {
        match (direction, hit) {
            (Direction::Up, true) => &mut self.increment_hits,
            (Direction::Up, false) => &mut self.increment_misses,
            (Direction::Down, true) => &mut self.decrement_hits,
            (Direction::Down, false) => &mut self.decrement_misses,
        }
    }
}
