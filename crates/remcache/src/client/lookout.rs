//! When the driver reads again, and when it sleeps.
//!
//! To sleep and to be woken takes longer than a server nearby needs for its next replies, and costs
//! both sides. So where the next bytes are known to be on their way, the driver stays awake for a few
//! turns, between which everything else runs that is ready. Where they do not come in that time, it
//! sleeps at once the next times. Turns are counted and not timed, so that what happens can be repeated.

use std::ops::Range;

/// Counts the turns that the driver stays awake for.
#[derive(Debug, Default)]
pub(super) struct Lookout {
    /// Turns to let pass before the next read, so that it finds more.
    pauses: u16,
    /// Turns to look again in, after a read that found nothing.
    looks: u16,
    /// Whether so many callers share the connection that it has always something to do.
    is_crowded: bool,
    /// How often in a row nothing came in all those turns.
    vain: u32,
    /// How often it sleeps at once, for that reason.
    sleeps: u32,
}

/// What a read has brought.
#[derive(Clone, Copy, Debug)]
pub(super) struct Catch {
    /// How many callers got replies.
    pub(super) woken: usize,
    /// How many have replies that they did not take yet, or wait for them.
    pub(super) callers: usize,
    /// How many requests are unanswered still.
    pub(super) in_flight: usize,
}

impl Lookout {
    /// Tells that requests have left: their replies are on their way.
    #[inline]
    pub(super) fn wrote(&mut self) {
        if !self.is_crowded {
            self.expect();
        }
    }

    /// Tells what the last read has brought.
    #[inline]
    pub(super) fn caught(&mut self, catch: Catch) {
        if self.looks > 0 {
            self.vain = 0;
        }
        self.looks = 0;
        self.is_crowded = catch.callers > FEW;
        if catch.in_flight > 0 && !self.is_crowded {
            self.expect();
        }
        let is_busy = CROWD.contains(&catch.woken) && catch.in_flight >= CROWD.start;
        self.pauses = if is_busy { PAUSES } else { 0 };
    }

    /// Something is on its way: looks for it, if that was of use before.
    #[inline]
    fn expect(&mut self) {
        match self.sleeps.checked_sub(1) {
            Some(left) => self.sleeps = left,
            None => self.looks = LOOKS,
        }
    }

    /// Whether to let a turn pass before the next read; if so, its time has passed.
    #[inline]
    pub(super) fn pauses(&mut self) -> bool {
        let Some(left) = self.pauses.checked_sub(1) else { return false };
        self.pauses = left;
        spin();
        true
    }

    /// Whether to look again in the next turn, after a read that found nothing; if so, the time of this
    /// one has passed.
    #[inline]
    pub(super) fn looks_again(&mut self) -> bool {
        let Some(left) = self.looks.checked_sub(1) else { return false };
        self.looks = left;
        if left == 0 {
            self.vain = (self.vain + 1).min(MOST_VAIN);
            self.sleeps = (1 << self.vain) - 1;
        }
        spin();
        true
    }
}

/// Passes about a microsecond.
#[inline]
fn spin() {
    (0..SPINS).for_each(|_| std::hint::spin_loop());
}

const SPINS: u16 = 56;
/// So many callers that one read answers are a crowd, of whose requests the server has more at hand.
/// Of larger ones enough is there without a pause.
const CROWD: Range<usize> = 8..33;
/// How many turns pass before the next read: as long as a server needs for a dozen gets.
const PAUSES: u16 = 4;
/// So many callers may all wait for the same replies; more of them always have something to send.
const FEW: usize = 32;
/// How many turns are looked for what is on its way: for some fifty microseconds, in which a server of
/// the same host or rack answers.
const LOOKS: u16 = 48;
/// A server that never answers in that time is looked for once in 2^n times.
const MOST_VAIN: u32 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(mut turn: impl FnMut() -> bool) -> usize {
        std::iter::from_fn(|| turn().then_some(())).count()
    }

    /// How many turns pass before the next read, and after one that finds nothing.
    fn turns_awake(lookout: &mut Lookout) -> (usize, usize) {
        (turns(|| lookout.pauses()), turns(|| lookout.looks_again()))
    }

    #[test]
    fn only_what_is_on_its_way_keeps_the_driver_awake() {
        let answered = Catch { woken: 1, callers: 1, in_flight: 0 };
        let part = Catch { in_flight: 1, ..answered };
        let all_answered = Catch { woken: 16, callers: 16, in_flight: 0 };
        let few = Catch { woken: 16, callers: 32, in_flight: 16 };
        let crowd = Catch { woken: 16, callers: 64, in_flight: 48 };
        let large_crowd = Catch { woken: 100, callers: 500, in_flight: 400 };
        let trickle = Catch { woken: 1, callers: 500, in_flight: 499 };
        for (catch, turns) in [
            (answered, (0, 0)),
            (part, (0, 48)),
            (all_answered, (0, 0)),
            (few, (4, 48)),
            (crowd, (4, 0)),
            (large_crowd, (0, 0)),
            (trickle, (0, 0)),
        ] {
            let mut lookout = Lookout::default();
            lookout.caught(catch);
            assert_eq!(turns_awake(&mut lookout), turns, "{catch:?}");
        }
    }

    #[test]
    fn a_reply_is_looked_for_once_its_request_has_left() {
        let mut lookout = Lookout::default();
        assert_eq!(turns_awake(&mut lookout), (0, 0));
        lookout.wrote();
        assert_eq!(turns_awake(&mut lookout), (0, 48));
        assert_eq!(turns_awake(&mut lookout), (0, 0), "then it sleeps");
    }

    #[test]
    fn a_crowd_has_always_something_to_do() {
        let mut lookout = Lookout::default();
        lookout.caught(Catch { woken: 33, callers: 33, in_flight: 0 });
        lookout.wrote();
        assert_eq!(turns_awake(&mut lookout), (0, 0));
    }

    #[test]
    fn a_server_that_answers_later_is_looked_for_less_and_less() {
        let mut lookout = Lookout::default();
        let mut looks = || {
            lookout.wrote();
            turns(|| lookout.looks_again())
        };
        let trips = (0..5_000).map(|_| looks()).collect::<Vec<_>>();
        let looked: Vec<_> = trips.iter().enumerate().filter(|(_, looks)| **looks > 0).map(|(trip, _)| trip).collect();
        assert_eq!(looked, [0, 2, 6, 14, 30, 62, 126, 254, 510, 1022, 2046, 3070, 4094]);
    }

    #[test]
    fn a_server_that_is_quick_again_is_looked_for_again() {
        let mut lookout = Lookout::default();
        let reply = Catch { woken: 1, callers: 1, in_flight: 0 };
        for _ in 0..7 {
            lookout.wrote();
            turns(|| lookout.looks_again());
            lookout.caught(reply);
        }
        let mut trips = 0;
        while lookout.looks == 0 {
            lookout.wrote();
            trips += 1;
        }
        assert_eq!(trips, 8, "three times in vain");
        lookout.caught(reply);
        lookout.wrote();
        assert_eq!(turns_awake(&mut lookout), (0, 48));
    }
}
