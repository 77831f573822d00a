//! The circuit breaker: closes a connection whose server does not answer.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// The number of timeouts since a server last answered, shared by all its connections.
#[derive(Debug, Default)]
pub(crate) struct TimeoutStreak(AtomicU32);

impl TimeoutStreak {
    /// Returns the number of timeouts.
    #[inline]
    pub(crate) fn timeouts(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    /// Resets the count: the server answered.
    #[inline]
    pub(crate) fn reset(&self) {
        // Nearly always there are no timeouts, and a read does not contend for the cache line.
        if self.timeouts() != 0 {
            self.0.store(0, Ordering::Relaxed);
        }
    }

    fn add(&self, count: u32) -> u32 {
        let more = |timeouts: u32| Some(timeouts.saturating_add(count));
        let before = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        before.unwrap_or_default().saturating_add(count)
    }
}

/// Counts consecutive timeouts, of one connection and of all connections to its server, and opens at a limit.
///
/// When it opens, the connection is closed and requests fail immediately, until a new connection's probe is answered.
/// An accepted connection is not enough, because a stopped process still accepts connections.
#[derive(Clone, Debug)]
pub(crate) struct Breaker {
    /// Consecutive timeouts that open it; 0 for never.
    limit: u32,
    /// The least time without a reply: a single caller with shorter deadlines than the others must not close the
    /// connection that they wait on.
    min_silence: Duration,
    consecutive: u32,
    server: Arc<TimeoutStreak>,
}

/// The breaker opened: this many consecutive requests timed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tripped(pub(crate) u32);

impl fmt::Display for Tripped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => f.write_str("a request timed out"),
            count => write!(f, "{count} requests in a row timed out"),
        }
    }
}

impl Breaker {
    pub(crate) fn new(limit: u32, min_silence: Duration, server: Arc<TimeoutStreak>) -> Self {
        Self { limit, min_silence, consecutive: 0, server }
    }

    /// Resets the connection's own count for a new connection.
    pub(crate) fn begin(&mut self) {
        self.consecutive = 0;
    }

    /// Records an answer of the server.
    #[inline]
    pub(crate) fn answered(&mut self) {
        self.consecutive = 0;
        self.server.reset();
    }

    /// Returns whether a task that notices a deadline this late was stalled itself.
    ///
    /// Timers are up to a millisecond late, and more on a busy machine.
    pub(crate) fn is_own_stall(&self, late: Duration) -> bool {
        let quarter = self.min_silence.checked_div(4).unwrap_or(MIN_STALL_THRESHOLD);
        late > quarter.clamp(MIN_STALL_THRESHOLD, MAX_STALL_THRESHOLD)
    }

    /// Records timeouts, noticed `late` after their deadlines, with nothing received for `silence`.
    ///
    /// Timeouts caused by a stall of this process are not counted.
    pub(crate) fn timed_out(&mut self, count: u32, silence: Duration, late: Duration) -> Result<(), Tripped> {
        if self.is_own_stall(late) {
            return Ok(());
        }
        self.consecutive = self.consecutive.saturating_add(count);
        let consecutive = self.consecutive.max(self.server.add(count));
        let is_enough = self.limit > 0 && consecutive >= self.limit;
        if count > 0 && is_enough && silence >= self.min_silence { Err(Tripped(consecutive)) } else { Ok(()) }
    }
}

const MIN_STALL_THRESHOLD: Duration = Duration::from_millis(20);
const MAX_STALL_THRESHOLD: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(1);
    const AT_ONCE: Duration = Duration::from_millis(1);
    const STALLED: Duration = Duration::from_secs(2);

    /// Plays a script: `r` is a reply, `t` a timeout, `s` one caused by a local stall, `i` one of a caller with a
    /// short deadline; `!` at the end if the breaker opens with the last of them.
    fn check(script: &str) {
        let mut breaker = Breaker::new(3, TIMEOUT, Arc::default());
        let (events, opens) = script.strip_suffix('!').map_or((script, false), |events| (events, true));
        let mut tripped = Ok(());
        for (index, event) in events.chars().enumerate() {
            assert_eq!(tripped, Ok(()), "{script}: it opened before event {index}");
            match event {
                'r' => breaker.answered(),
                't' => tripped = breaker.timed_out(1, TIMEOUT, AT_ONCE),
                's' => tripped = breaker.timed_out(1, STALLED, STALLED),
                'i' => tripped = breaker.timed_out(1, AT_ONCE, AT_ONCE),
                other => panic!("{other} is not an event"),
            }
        }
        assert_eq!(tripped.is_err(), opens, "{script}");
    }

    #[test]
    fn three_consecutive_timeouts_open_it() {
        check("tt");
        check("ttt!");
        check("rrttt!");
    }

    #[test]
    fn a_reply_resets_the_count() {
        check("ttrtt");
        check("ttrttt!");
        check("trtrtrtrt");
    }

    #[test]
    fn local_stalls_are_not_counted() {
        check("ssssssss");
        check("tstst!");
        check("ttss");
    }

    #[test]
    fn short_deadlines_alone_do_not_open_it() {
        check("iiiiii");
        check("iiit!");
        check("iirt");
    }

    #[test]
    fn simultaneous_timeouts_are_consecutive() {
        let mut breaker = Breaker::new(3, TIMEOUT, Arc::default());
        assert_eq!(breaker.timed_out(1000, TIMEOUT, AT_ONCE), Err(Tripped(1000)));
        assert_eq!(Tripped(3).to_string(), "3 requests in a row timed out");
    }

    /// Plays a script over three connections, of letters with the connection's index: `r` is a reply, `t` a timeout,
    /// `c` a new connection; `!` at the end if the last one opens its breaker.
    fn check_connections(script: &str) {
        let streak = Arc::<TimeoutStreak>::default();
        let mut breakers = [(); 3].map(|()| Breaker::new(3, TIMEOUT, Arc::clone(&streak)));
        let (events, opens) = script.strip_suffix('!').map_or((script, false), |events| (events, true));
        let mut tripped = Ok(());
        for event in events.split(' ') {
            assert_eq!(tripped, Ok(()), "{script}: it opened before {event}");
            let breaker = &mut breakers[event[1..].parse::<usize>().unwrap()];
            match &event[..1] {
                "r" => breaker.answered(),
                "t" => tripped = breaker.timed_out(1, TIMEOUT, AT_ONCE),
                "c" => breaker.begin(),
                other => panic!("{other} is not an event"),
            }
        }
        assert_eq!(tripped.is_err(), opens, "{script}");
    }

    #[test]
    fn a_dead_server_needs_three_timeouts_and_not_three_for_each_connection() {
        check_connections("t0 t1");
        check_connections("t0 t1 t2!");
        check_connections("r0 r1 t0 t1 t1!");
        check_connections("t0 c0 t1 c1 t2!");
    }

    #[test]
    fn a_connection_that_is_stuck_alone_opens_its_own_breaker() {
        check_connections("t0 r1 t0 r2 t0!");
        check_connections("t0 r1 t0 r2 t2 r0 t0");
        check_connections("t0 t1 r2 t0 t1");
    }

    #[test]
    fn a_new_connection_does_not_count_the_timeouts_of_the_previous_one() {
        check_connections("t0 r1 t0 t0!");
        check_connections("t0 r1 t0 c0 t0");
    }

    #[test]
    fn a_reply_on_any_connection_resets_the_servers_count() {
        let streak = Arc::<TimeoutStreak>::default();
        let mut breakers = [(); 2].map(|()| Breaker::new(3, TIMEOUT, Arc::clone(&streak)));
        for _ in 0..5 {
            let _ = breakers[0].timed_out(1, AT_ONCE, AT_ONCE);
        }
        assert_eq!(streak.timeouts(), 5);
        breakers[1].answered();
        assert_eq!(streak.timeouts(), 0);
    }

    #[test]
    fn zero_never_opens() {
        let mut breaker = Breaker::new(0, TIMEOUT, Arc::default());
        assert_eq!(breaker.timed_out(u32::MAX, TIMEOUT, AT_ONCE), Ok(()));
        assert_eq!(breaker.timed_out(u32::MAX, TIMEOUT, AT_ONCE), Ok(()));
    }

    #[test]
    fn the_stall_threshold_follows_the_timeout() {
        let millis = Duration::from_millis;
        for (min_silence, longest) in [(20, 20), (80, 20), (400, 100), (1_000, 250), (60_000, 250)] {
            let breaker = Breaker::new(3, millis(min_silence), Arc::default());
            assert!(!breaker.is_own_stall(millis(longest)), "{min_silence}");
            assert!(breaker.is_own_stall(millis(longest + 1)), "{min_silence}");
        }
    }

    /// Simulates a server and callers in virtual time: whenever the server or this process stalls, the breaker opens
    /// only if there was no reply for `min_silence`, and then at the third timeout.
    #[test]
    fn in_virtual_time_only_a_silent_server_opens_it() {
        let mut rng = fastrand::Rng::with_seed(7);
        for _ in 0..2_000 {
            let mut breaker = Breaker::new(3, TIMEOUT, Arc::default());
            let (mut now, mut last_reply, mut streak) = (Duration::ZERO, Duration::ZERO, 0_u32);
            for _ in 0..200 {
                now += Duration::from_millis(rng.u64(0..600));
                let late = Duration::from_millis(if rng.u8(..4) == 0 { rng.u64(251..3_000) } else { rng.u64(0..250) });
                if rng.u8(..3) == 0 {
                    breaker.answered();
                    (last_reply, streak) = (now, 0);
                    continue;
                }
                let count = rng.u32(0..3);
                let counts = late <= Duration::from_millis(250);
                streak += if counts { count } else { 0 };
                let silence = now - last_reply;
                let expected = counts && count > 0 && streak >= 3 && silence >= TIMEOUT;
                let tripped = breaker.timed_out(count, silence, late);
                assert_eq!(tripped, if expected { Err(Tripped(streak)) } else { Ok(()) });
                if expected {
                    breaker.answered();
                    streak = 0;
                }
            }
        }
    }
}
