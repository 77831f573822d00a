//! When the driver reads again, and when it sleeps.
//!
//! To sleep and to be woken takes longer than a busy server needs for its next replies, and costs both
//! sides: the server pays for each waking too. So where the next bytes are known to be on their way the
//! driver stays awake for a few turns, between which everything else runs that is ready. Where they are
//! not, it sleeps at once. Turns are counted and not timed, so that what happens can be repeated.

use std::ops::Range;

/// Counts the turns that the driver stays awake for.
#[derive(Debug, Default)]
pub(super) struct Lookout {
    /// Turns to let pass before the next read, so that it finds more.
    pauses: u16,
    /// Turns to read again in, after a read that found nothing.
    looks: u16,
    /// Whether the rest of the reply that is there in part was looked for in vain: it comes slowly.
    is_slow: bool,
}

/// What a read has brought.
#[derive(Clone, Copy, Debug)]
pub(super) struct Catch {
    /// How many callers got their replies.
    pub(super) callers: usize,
    /// How many requests are unanswered still.
    pub(super) in_flight: usize,
    /// Whether a large reply is there in part.
    pub(super) is_within_reply: bool,
}

impl Lookout {
    /// Tells what the last read has brought.
    #[inline]
    pub(super) fn caught(&mut self, catch: Catch) {
        let is_busy = CROWD.contains(&catch.callers) && catch.in_flight >= CROWD.start;
        self.pauses = if is_busy { PAUSES } else { 0 };
        self.is_slow &= catch.callers == 0;
        self.looks = if catch.is_within_reply && !self.is_slow { LOOKS } else { 0 };
    }

    /// Whether to let a turn pass before the next read; if so, its time has passed.
    #[inline]
    pub(super) fn pauses(&mut self) -> bool {
        let Some(left) = self.pauses.checked_sub(1) else { return false };
        self.pauses = left;
        (0..SPINS).for_each(|_| std::hint::spin_loop());
        true
    }

    /// Whether to read again in the next turn, after a read that found nothing.
    #[inline]
    pub(super) fn looks_again(&mut self) -> bool {
        let Some(left) = self.looks.checked_sub(1) else { return false };
        self.looks = left;
        self.is_slow = left == 0;
        true
    }
}

/// So many callers that one read answers are a crowd, of whose requests the server has more at hand.
/// Of larger ones enough is there without a pause.
const CROWD: Range<usize> = 8..33;
/// How many turns pass before the next read, and how long each of them is: about a microsecond, so that
/// all of them take as long as a server needs for a dozen gets.
const PAUSES: u16 = 4;
const SPINS: u16 = 56;
/// How often the rest of a large reply is looked for before it is slept for: for some thirty
/// microseconds, in which a server of the same network sends the next of it.
const LOOKS: u16 = 256;

#[cfg(test)]
mod tests {
    use super::*;

    /// How many turns pass before the next read, and after one that finds nothing.
    fn turns_awake(catch: Catch) -> (usize, usize) {
        let mut lookout = Lookout::default();
        lookout.caught(catch);
        let count = |turn: &mut dyn FnMut() -> bool| std::iter::from_fn(|| turn().then_some(())).count();
        (count(&mut || lookout.pauses()), count(&mut || lookout.looks_again()))
    }

    #[test]
    fn only_what_is_on_its_way_keeps_the_driver_awake() {
        let lone = Catch { callers: 1, in_flight: 0, is_within_reply: false };
        let trickle = Catch { callers: 1, in_flight: 1_000, ..lone };
        let all_answered = Catch { callers: 16, in_flight: 0, ..lone };
        let crowd = Catch { callers: 16, in_flight: 48, ..lone };
        let large_crowd = Catch { callers: 100, in_flight: 400, ..lone };
        let part = Catch { callers: 0, in_flight: 1, is_within_reply: true };
        for (catch, turns) in [
            (lone, (0, 0)),
            (trickle, (0, 0)),
            (all_answered, (0, 0)),
            (crowd, (4, 0)),
            (large_crowd, (0, 0)),
            (part, (0, 256)),
        ] {
            assert_eq!(turns_awake(catch), turns, "{catch:?}");
        }
    }

    #[test]
    fn a_reply_that_comes_slowly_is_looked_for_once() {
        let mut lookout = Lookout::default();
        let part = Catch { callers: 0, in_flight: 2, is_within_reply: true };
        let mut looks = |catch| {
            lookout.caught(catch);
            std::iter::from_fn(|| lookout.looks_again().then_some(())).count()
        };
        assert_eq!((looks(part), looks(part), looks(part)), (256, 0, 0));
        let end_and_next = Catch { callers: 1, ..part };
        assert_eq!((looks(end_and_next), looks(part)), (256, 0), "the next reply is another one");
    }

    #[test]
    fn what_was_read_last_decides_alone() {
        let mut lookout = Lookout::default();
        lookout.caught(Catch { callers: 16, in_flight: 48, is_within_reply: true });
        assert!(lookout.pauses() && lookout.looks_again());
        lookout.caught(Catch { callers: 1, in_flight: 0, is_within_reply: false });
        assert!(!lookout.pauses() && !lookout.looks_again());
    }
}
