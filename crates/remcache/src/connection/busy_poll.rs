//! Busy polling: when the I/O loop reads again without waiting for readiness, and when it sleeps.
//!
//! Sleeping and being woken takes longer than a nearby server needs for its next replies. While
//! replies are expected, the loop therefore polls the socket for up to [`Config::busy_poll`], and
//! yields between two polls. A server that does not answer in that time is polled less and less often.
//!
//! [`Config::busy_poll`]: crate::config::Config::busy_poll

use std::time::{Duration, Instant};

use crate::connection::shared::Load;

/// Decides whether the I/O loop polls its socket or sleeps.
#[derive(Debug)]
pub(crate) struct BusyPoll {
    /// The maximum time to poll for replies; zero turns polling off.
    limit: Duration,
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

impl BusyPoll {
    pub(crate) fn new(limit: Duration) -> Self {
        Self { limit, window: Window::Closed, is_crowded: false, misses: 0, skips: 0 }
    }

    /// Records that a read returned replies, and the remaining work.
    #[inline]
    pub(crate) fn on_read(&mut self, load: Load) {
        if self.window != Window::Closed {
            self.misses = 0;
        }
        self.window = Window::Closed;
        self.is_crowded = load.callers > MAX_CALLERS;
        if load.in_flight > 0 {
            self.expect();
        }
    }

    /// Notes that replies are expected: the socket is polled for them if few callers share it and
    /// polling was successful before.
    #[inline]
    pub(crate) fn expect(&mut self) {
        if self.is_crowded || self.limit.is_zero() {
            return;
        }
        match self.skips.checked_sub(1) {
            Some(remaining) => self.skips = remaining,
            None => self.window = Window::Opens,
        }
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
        true
    }
}

/// The maximum number of callers for which polling pays off: among more, some always have a request to send.
const MAX_CALLERS: usize = 32;
/// The limit n of the backoff: a server that never answers within the window is polled once in 2^n times.
const MAX_MISSES: u32 = 10;

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const LIMIT: Duration = Duration::from_micros(100);

    /// Returns how often the socket is read again after a read that returned nothing, if an iteration takes 20 µs.
    fn polls(busy_poll: &mut BusyPoll) -> usize {
        let time = Cell::new(Instant::now());
        let now = || time.replace(time.get() + Duration::from_micros(20));
        std::iter::from_fn(|| busy_poll.polls_again(now).then_some(())).count()
    }

    #[test]
    fn the_loop_polls_only_while_replies_are_expected() {
        for (callers, in_flight, expected) in
            [(1, 0, 0), (1, 1, 5), (16, 0, 0), (32, 16, 5), (64, 48, 0), (500, 499, 0)]
        {
            let mut busy_poll = BusyPoll::new(LIMIT);
            busy_poll.on_read(Load { callers, in_flight });
            assert_eq!(polls(&mut busy_poll), expected, "{callers} callers, {in_flight} in flight");
        }
    }

    #[test]
    fn a_reply_is_polled_for_once_its_request_was_sent() {
        let mut busy_poll = BusyPoll::new(LIMIT);
        assert_eq!(polls(&mut busy_poll), 0);
        busy_poll.expect();
        assert_eq!(polls(&mut busy_poll), 5);
        assert_eq!(polls(&mut busy_poll), 0, "then it sleeps");
    }

    #[test]
    fn without_busy_polling_the_loop_sleeps_immediately() {
        let mut busy_poll = BusyPoll::new(Duration::ZERO);
        busy_poll.expect();
        assert_eq!(polls(&mut busy_poll), 0);
        busy_poll.on_read(Load { callers: 1, in_flight: 1 });
        assert_eq!(polls(&mut busy_poll), 0);
    }

    #[test]
    fn many_callers_turn_polling_off() {
        let mut busy_poll = BusyPoll::new(LIMIT);
        busy_poll.on_read(Load { callers: 33, in_flight: 0 });
        busy_poll.expect();
        assert_eq!(polls(&mut busy_poll), 0);
    }

    /// Sends a request whose reply does not come in time; returns whether it was polled for.
    fn polls_without_data(busy_poll: &mut BusyPoll) -> bool {
        busy_poll.expect();
        polls(busy_poll) > 0
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
        let reply = Load { callers: 1, in_flight: 0 };
        let polled: Vec<_> = (0..14).filter(|_| polls_without_data(&mut busy_poll)).collect();
        assert_eq!(polled, [0, 2, 6]);
        busy_poll.expect();
        busy_poll.on_read(reply);
        let polled: Vec<_> = (0..4).filter(|_| polls_without_data(&mut busy_poll)).collect();
        assert_eq!(polled, [0, 2], "the misses were reset");
    }
}
