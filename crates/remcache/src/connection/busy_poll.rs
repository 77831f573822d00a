//! When the driver reads again, and when it sleeps.
//!
//! To sleep and to be woken takes longer than a server nearby needs for its next replies, and costs
//! both sides. So where the next bytes are known to be on their way, the driver stays awake for a
//! moment, in turns between which everything else runs that is ready. Where they do not come in that
//! time, it sleeps at once the next times.

use std::ops::Range;
use std::time::{Duration, Instant};

/// Knows for how long the driver stays awake.
#[derive(Debug)]
pub(crate) struct BusyPoll {
    /// Whether to look for anything.
    busy_poll: bool,
    /// Turns to let pass before the next read, so that it finds more.
    pauses: u16,
    look: Look,
    /// Whether enough callers share the connection that it always has work.
    is_crowded: bool,
    /// How often in a row nothing came in all those turns.
    vain: u32,
    /// How often it sleeps at once, for that reason.
    sleeps: u32,
}

/// Whether a read that finds nothing is followed by another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// Nothing is looked for.
    No,
    /// For a while from the first read that finds nothing.
    Begins,
    Until(Instant),
}

/// What a read has brought.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadStats {
    /// How many callers got replies.
    pub(crate) woken: usize,
    /// How many have replies that they did not take yet, or wait for them.
    pub(crate) callers: usize,
    /// How many requests are unanswered still.
    pub(crate) in_flight: usize,
}

impl BusyPoll {
    pub(crate) fn new(busy_poll: bool) -> Self {
        Self { busy_poll, pauses: 0, look: Look::No, is_crowded: false, vain: 0, sleeps: 0 }
    }

    /// RecordWriter what the last read returned.
    #[inline]
    pub(crate) fn on_read(&mut self, catch: ReadStats) {
        if self.look != Look::No {
            self.vain = 0;
        }
        self.look = Look::No;
        self.is_crowded = catch.callers > FEW;
        if catch.in_flight > 0 {
            self.expect();
        }
        let is_busy = CROWD.contains(&catch.woken) && catch.in_flight >= CROWD.start;
        self.pauses = if is_busy { PAUSES } else { 0 };
    }

    /// Notes that replies are expected: the socket is polled for them if few
    /// wait for it and that was of use before.
    #[inline]
    pub(crate) fn expect(&mut self) {
        if self.is_crowded || !self.busy_poll {
            return;
        }
        match self.sleeps.checked_sub(1) {
            Some(left) => self.sleeps = left,
            None => self.look = Look::Begins,
        }
    }

    /// Whether to let a turn pass before the next read; if so, its time has passed.
    #[inline]
    pub(crate) fn pauses(&mut self) -> bool {
        let Some(left) = self.pauses.checked_sub(1) else { return false };
        self.pauses = left;
        spin();
        true
    }

    /// Whether to look again in the next turn, after a read that found nothing.
    ///
    /// The time is the state machine's, which goes on where a test has stopped the runtime's.
    #[inline]
    pub(crate) fn looks_again(&mut self, now: impl Fn() -> Instant) -> bool {
        match self.look {
            Look::No => return false,
            Look::Begins => self.look = Look::Until(now() + LONGEST_LOOK),
            Look::Until(until) if now() < until => {}
            Look::Until(_) => {
                self.look = Look::No;
                self.vain = (self.vain + 1).min(MOST_VAIN);
                self.sleeps = (1 << self.vain) - 1;
                return false;
            }
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
/// A read that answers at least this many callers is a batch, of which the server has more ready.
/// Of larger ones enough is there without a pause.
const CROWD: Range<usize> = 8..33;
/// How many turns pass before the next read: as long as a server needs for a dozen gets.
const PAUSES: u16 = 4;
/// Up to this many callers may all wait for the same replies; more always have something to send.
const FEW: usize = 32;
/// For how long something is looked for: a server of the same host answers in that time.
const LONGEST_LOOK: Duration = Duration::from_micros(100);
/// A server that never answers in that time is looked for once in 2^n times.
const MOST_VAIN: u32 = 10;

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// How many turns pass before the next read, and after one that finds nothing, if a turn takes 20 µs.
    fn poll_windows(busy_poll: &mut BusyPoll) -> (usize, usize) {
        let time = Cell::new(Instant::now());
        let now = || time.replace(time.get() + Duration::from_micros(20));
        (turns(|| busy_poll.pauses()), turns(|| busy_poll.looks_again(now)))
    }

    fn turns(mut turn: impl FnMut() -> bool) -> usize {
        std::iter::from_fn(|| turn().then_some(())).count()
    }

    #[test]
    fn only_what_is_on_its_way_keeps_the_driver_awake() {
        let answered = ReadStats { woken: 1, callers: 1, in_flight: 0 };
        let part = ReadStats { in_flight: 1, ..answered };
        let all_answered = ReadStats { woken: 16, callers: 16, in_flight: 0 };
        let few = ReadStats { woken: 16, callers: 32, in_flight: 16 };
        let crowd = ReadStats { woken: 16, callers: 64, in_flight: 48 };
        let large_crowd = ReadStats { woken: 100, callers: 500, in_flight: 400 };
        let trickle = ReadStats { woken: 1, callers: 500, in_flight: 499 };
        for (catch, turns) in [
            (answered, (0, 0)),
            (part, (0, 5)),
            (all_answered, (0, 0)),
            (few, (4, 5)),
            (crowd, (4, 0)),
            (large_crowd, (0, 0)),
            (trickle, (0, 0)),
        ] {
            let mut busy_poll = BusyPoll::new(true);
            busy_poll.on_read(catch);
            assert_eq!(poll_windows(&mut busy_poll), turns, "{catch:?}");
        }
    }

    #[test]
    fn a_reply_is_looked_for_once_its_request_has_left() {
        let mut busy_poll = BusyPoll::new(true);
        assert_eq!(poll_windows(&mut busy_poll), (0, 0));
        busy_poll.expect();
        assert_eq!(poll_windows(&mut busy_poll), (0, 5));
        assert_eq!(poll_windows(&mut busy_poll), (0, 0), "then it sleeps");
    }

    #[test]
    fn without_busy_polling_it_sleeps_at_once() {
        let mut busy_poll = BusyPoll::new(false);
        busy_poll.expect();
        assert_eq!(poll_windows(&mut busy_poll), (0, 0));
        busy_poll.on_read(ReadStats { woken: 1, callers: 1, in_flight: 1 });
        assert_eq!(poll_windows(&mut busy_poll), (0, 0));
    }

    #[test]
    fn a_crowd_has_always_something_to_do() {
        let mut busy_poll = BusyPoll::new(true);
        busy_poll.on_read(ReadStats { woken: 33, callers: 33, in_flight: 0 });
        busy_poll.expect();
        assert_eq!(poll_windows(&mut busy_poll), (0, 0));
    }

    /// Whether the reply to a request was looked for, in vain.
    fn polls_without_data(busy_poll: &mut BusyPoll) -> bool {
        busy_poll.expect();
        poll_windows(busy_poll).1 > 0
    }

    #[test]
    fn a_server_that_answers_later_is_looked_for_less_and_less() {
        let mut busy_poll = BusyPoll::new(true);
        let looked: Vec<_> = (0..5_000).filter(|_| polls_without_data(&mut busy_poll)).collect();
        assert_eq!(looked, [0, 2, 6, 14, 30, 62, 126, 254, 510, 1022, 2046, 3070, 4094]);
    }

    #[test]
    fn a_server_that_is_quick_again_is_looked_for_again() {
        let mut busy_poll = BusyPoll::new(true);
        let reply = ReadStats { woken: 1, callers: 1, in_flight: 0 };
        let looked: Vec<_> = (0..14).filter(|_| polls_without_data(&mut busy_poll)).collect();
        assert_eq!(looked, [0, 2, 6]);
        busy_poll.expect();
        busy_poll.on_read(reply);
        let looked: Vec<_> = (0..4).filter(|_| polls_without_data(&mut busy_poll)).collect();
        assert_eq!(looked, [0, 2], "as if nothing had been in vain");
    }
}
