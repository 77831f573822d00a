//! Busy polling: when the I/O loop reads again without waiting for readiness, and when it sleeps.
//!
//! Sleeping and being woken takes longer than a nearby server needs for its next replies. While
//! replies are expected, the loop therefore polls the socket for up to [`Config::busy_poll`], and
//! yields between two polls. A server that does not answer in that time is polled less and less often.
//!
//! [`Config::busy_poll`]: crate::config::Config::busy_poll

use std::ops::Range;
use std::time::{Duration, Instant};

/// Decides whether the I/O loop polls its socket or sleeps.
#[derive(Debug)]
pub(crate) struct BusyPoll {
    /// The longest time to poll for replies; zero turns polling off.
    limit: Duration,
    /// Iterations to skip before the next read, so that it returns more.
    pauses: u16,
    window: Window,
    /// Whether enough callers share the connection that it always has work.
    is_crowded: bool,
    /// Consecutive polling windows without data.
    misses: u32,
    /// Windows to skip because of that.
    skips: u32,
}

/// The period in which a read that returns nothing is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Window {
    /// No replies are expected.
    Closed,
    /// Opens with the first read that returns nothing.
    Opens,
    Until(Instant),
}

/// The result of a read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadStats {
    /// Callers that got replies.
    pub(crate) woken: usize,
    /// Callers that wait for replies or have not taken them yet.
    pub(crate) callers: usize,
    /// Requests that are still unanswered.
    pub(crate) in_flight: usize,
}

impl BusyPoll {
    pub(crate) fn new(limit: Duration) -> Self {
        Self { limit, pauses: 0, window: Window::Closed, is_crowded: false, misses: 0, skips: 0 }
    }

    /// Records what the last read returned.
    #[inline]
    pub(crate) fn on_read(&mut self, stats: ReadStats) {
        if self.window != Window::Closed {
            self.misses = 0;
        }
        self.window = Window::Closed;
        self.is_crowded = stats.callers > MAX_CALLERS;
        if stats.in_flight > 0 {
            self.expect();
        }
        let is_batch = BATCH.contains(&stats.woken) && stats.in_flight >= BATCH.start;
        self.pauses = if is_batch { PAUSES } else { 0 };
    }

    /// Notes that replies are expected: the socket is polled for them if few callers share it and
    /// polling was successful before.
    #[inline]
    pub(crate) fn expect(&mut self) {
        if self.is_crowded || self.limit.is_zero() {
            return;
        }
        match self.skips.checked_sub(1) {
            Some(left) => self.skips = left,
            None => self.window = Window::Opens,
        }
    }

    /// Returns whether to skip this iteration before the next read, after spinning for about a microsecond.
    #[inline]
    pub(crate) fn pauses(&mut self) -> bool {
        let Some(left) = self.pauses.checked_sub(1) else { return false };
        self.pauses = left;
        spin();
        true
    }

    /// Returns whether to read again in the next iteration, after a read that returned nothing.
    ///
    /// `now` is the system's clock, which advances even if a test has paused the runtime's.
    #[inline]
    pub(crate) fn polls_again(&mut self, now: impl Fn() -> Instant) -> bool {
        match self.window {
            Window::Closed => return false,
            Window::Opens => self.window = Window::Until(now() + self.limit),
            Window::Until(until) if now() < until => {}
            Window::Until(_) => {
                self.window = Window::Closed;
                self.misses = (self.misses + 1).min(MAX_MISSES);
                self.skips = (1 << self.misses) - 1;
                return false;
            }
        }
        spin();
        true
    }
}

/// Spins for about a microsecond.
#[inline]
fn spin() {
    (0..SPINS).for_each(|_| std::hint::spin_loop());
}

const SPINS: u16 = 56;
/// A read that answers at least this many callers is a batch, of which the server has more ready.
/// Larger batches return enough without a pause.
const BATCH: Range<usize> = 8..33;
/// Iterations before the next read: about as long as a server needs for a dozen gets.
const PAUSES: u16 = 4;
/// The most callers for which polling pays off: among more, some always have a request to send.
const MAX_CALLERS: usize = 32;
/// The limit n of the backoff: a server that never answers within the window is polled once in 2^n times.
const MAX_MISSES: u32 = 10;

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const LIMIT: Duration = Duration::from_micros(100);

    /// Iterations before the next read, and after one that returns nothing, if an iteration takes 20 µs.
    fn poll_windows(busy_poll: &mut BusyPoll) -> (usize, usize) {
        let time = Cell::new(Instant::now());
        let now = || time.replace(time.get() + Duration::from_micros(20));
        (turns(|| busy_poll.pauses()), turns(|| busy_poll.polls_again(now)))
    }

    fn turns(mut turn: impl FnMut() -> bool) -> usize {
        std::iter::from_fn(|| turn().then_some(())).count()
    }

    #[test]
    fn the_loop_polls_only_while_replies_are_expected() {
        let answered = ReadStats { woken: 1, callers: 1, in_flight: 0 };
        let part = ReadStats { in_flight: 1, ..answered };
        let all_answered = ReadStats { woken: 16, callers: 16, in_flight: 0 };
        let few = ReadStats { woken: 16, callers: 32, in_flight: 16 };
        let batch = ReadStats { woken: 16, callers: 64, in_flight: 48 };
        let large_batch = ReadStats { woken: 100, callers: 500, in_flight: 400 };
        let trickle = ReadStats { woken: 1, callers: 500, in_flight: 499 };
        for (stats, turns) in [
            (answered, (0, 0)),
            (part, (0, 5)),
            (all_answered, (0, 0)),
            (few, (4, 5)),
            (batch, (4, 0)),
            (large_batch, (0, 0)),
            (trickle, (0, 0)),
        ] {
            let mut busy_poll = BusyPoll::new(LIMIT);
            busy_poll.on_read(stats);
            assert_eq!(poll_windows(&mut busy_poll), turns, "{stats:?}");
        }
    }

    #[test]
    fn a_reply_is_polled_for_once_its_request_was_sent() {
        let mut busy_poll = BusyPoll::new(LIMIT);
        assert_eq!(poll_windows(&mut busy_poll), (0, 0));
        busy_poll.expect();
        assert_eq!(poll_windows(&mut busy_poll), (0, 5));
        assert_eq!(poll_windows(&mut busy_poll), (0, 0), "then it sleeps");
    }

    #[test]
    fn without_busy_polling_the_loop_sleeps_immediately() {
        let mut busy_poll = BusyPoll::new(Duration::ZERO);
        busy_poll.expect();
        assert_eq!(poll_windows(&mut busy_poll), (0, 0));
        busy_poll.on_read(ReadStats { woken: 1, callers: 1, in_flight: 1 });
        assert_eq!(poll_windows(&mut busy_poll), (0, 0));
    }

    #[test]
    fn many_callers_turn_polling_off() {
        let mut busy_poll = BusyPoll::new(LIMIT);
        busy_poll.on_read(ReadStats { woken: 33, callers: 33, in_flight: 0 });
        busy_poll.expect();
        assert_eq!(poll_windows(&mut busy_poll), (0, 0));
    }

    /// Sends a request whose reply does not come in time; returns whether it was polled for.
    fn polls_without_data(busy_poll: &mut BusyPoll) -> bool {
        busy_poll.expect();
        poll_windows(busy_poll).1 > 0
    }

    #[test]
    fn a_slow_server_is_polled_less_and_less_often() {
        let mut busy_poll = BusyPoll::new(LIMIT);
        let polled: Vec<_> = (0..5_000).filter(|_| polls_without_data(&mut busy_poll)).collect();
        assert_eq!(polled, [0, 2, 6, 14, 30, 62, 126, 254, 510, 1022, 2046, 3070, 4094]);
    }

    #[test]
    fn a_server_that_is_fast_again_is_polled_again() {
        let mut busy_poll = BusyPoll::new(LIMIT);
        let reply = ReadStats { woken: 1, callers: 1, in_flight: 0 };
        let polled: Vec<_> = (0..14).filter(|_| polls_without_data(&mut busy_poll)).collect();
        assert_eq!(polled, [0, 2, 6]);
        busy_poll.expect();
        busy_poll.on_read(reply);
        let polled: Vec<_> = (0..4).filter(|_| polls_without_data(&mut busy_poll)).collect();
        assert_eq!(polled, [0, 2], "the misses were reset");
    }
}
