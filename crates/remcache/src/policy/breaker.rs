//! When a connection whose server does not answer is given up.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// The timeouts of a server since it last answered, on whichever of its connections.
#[derive(Debug, Default)]
pub(crate) struct Row(AtomicU32);

impl Row {
    /// How many there are.
    #[inline]
    pub(crate) fn timeouts(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    /// It answered.
    #[inline]
    pub(crate) fn reset(&self) {
        // Nearly always there are no timeouts, and connections only read what they share.
        if self.timeouts() > 0 {
            self.0.store(0, Ordering::Relaxed);
        }
    }

    fn add(&self, count: u32) -> u32 {
        let more = |timeouts: u32| Some(timeouts.saturating_add(count));
        let before = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        before.unwrap_or_default().saturating_add(count)
    }
}

/// Counts timeouts, and opens when there were enough of them in a row: of one connection, whatever
/// the others of its server do, or of all together.
///
/// Open means: the connection is closed, requests fail at once, and callers are let through again
/// when a probe was answered by the protocol. A stopped server still accepts connections.
#[derive(Clone, Debug)]
pub(crate) struct Breaker {
    /// How many timeouts in a row open it; 0 for never.
    limit: u32,
    /// How long the server must have been silent as well: one impatient caller, whose deadlines are
    /// shorter than the others', must not end what they wait for.
    patience: Duration,
    in_a_row: u32,
    server: Arc<Row>,
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
    pub(crate) fn new(limit: u32, patience: Duration, server: Arc<Row>) -> Self {
        Self { limit, patience, in_a_row: 0, server }
    }

    /// A new connection begins; that says nothing of the others.
    pub(crate) fn begin(&mut self) {
        self.in_a_row = 0;
    }

    /// The server answered.
    #[inline]
    pub(crate) fn answered(&mut self) {
        self.in_a_row = 0;
        self.server.reset();
    }

    /// Whether a task that notices a deadline so late was stalled itself.
    ///
    /// Timers are late by a millisecond; a busy machine makes it some more.
    pub(crate) fn is_own_stall(&self, late: Duration) -> bool {
        let quarter = self.patience.checked_div(4).unwrap_or(SHORTEST_STALL);
        late > quarter.clamp(SHORTEST_STALL, LONGEST_LATENESS)
    }

    /// Records timeouts, noticed `late` after their deadlines, with nothing received for `silence`.
    ///
    /// What a stall of our own made late is no fault of the server, and not counted.
    pub(crate) fn timed_out(&mut self, count: u32, silence: Duration, late: Duration) -> Result<(), Tripped> {
        if self.is_own_stall(late) {
            return Ok(());
        }
        self.in_a_row = self.in_a_row.saturating_add(count);
        let in_a_row = self.in_a_row.max(self.server.add(count));
        let is_enough = self.limit > 0 && in_a_row >= self.limit;
        if count > 0 && is_enough && silence >= self.patience { Err(Tripped(in_a_row)) } else { Ok(()) }
    }
}

const SHORTEST_STALL: Duration = Duration::from_millis(20);
const LONGEST_LATENESS: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(1);
    const AT_ONCE: Duration = Duration::from_millis(1);
    const STALLED: Duration = Duration::from_secs(2);

    /// A conversation: `r` is a reply, `t` a timeout, `s` one that a stall of ours made late, `i` one
    /// of an impatient caller; `!` at the end if the breaker opens with the last of them.
    fn check(script: &str) {
        let mut breaker = Breaker::new(3, PATIENCE, Arc::default());
        let (events, opens) = script.strip_suffix('!').map_or((script, false), |events| (events, true));
        let mut tripped = Ok(());
        for (place, event) in events.chars().enumerate() {
            assert_eq!(tripped, Ok(()), "{script}: it opened before event {place}");
            match event {
                'r' => breaker.answered(),
                't' => tripped = breaker.timed_out(1, PATIENCE, AT_ONCE),
                's' => tripped = breaker.timed_out(1, STALLED, STALLED),
                'i' => tripped = breaker.timed_out(1, AT_ONCE, AT_ONCE),
                other => panic!("{other} is no event"),
            }
        }
        assert_eq!(tripped.is_err(), opens, "{script}");
    }

    #[test]
    fn three_in_a_row_open_it() {
        check("tt");
        check("ttt!");
        check("rrttt!");
    }

    #[test]
    fn a_reply_begins_the_row_anew() {
        check("ttrtt");
        check("ttrttt!");
        check("trtrtrtrt");
    }

    #[test]
    fn a_stall_of_our_own_counts_nothing() {
        check("ssssssss");
        check("tstst!");
        check("ttss");
    }

    #[test]
    fn an_impatient_caller_does_not_open_it_alone() {
        check("iiiiii");
        check("iiit!");
        check("iirt");
    }

    #[test]
    fn many_at_once_are_a_row() {
        let mut breaker = Breaker::new(3, PATIENCE, Arc::default());
        assert_eq!(breaker.timed_out(1000, PATIENCE, AT_ONCE), Err(Tripped(1000)));
        assert_eq!(Tripped(3).to_string(), "3 requests in a row timed out");
    }

    /// A conversation over three connections: a letter and the connection's number each; `r` is a reply,
    /// `t` a timeout, `c` a new connection; `!` at the end if the last one opens its breaker.
    fn check_connections(script: &str) {
        let row = Arc::<Row>::default();
        let mut breakers = [(); 3].map(|()| Breaker::new(3, PATIENCE, Arc::clone(&row)));
        let (events, opens) = script.strip_suffix('!').map_or((script, false), |events| (events, true));
        let mut tripped = Ok(());
        for event in events.split(' ') {
            assert_eq!(tripped, Ok(()), "{script}: it opened before {event}");
            let breaker = &mut breakers[event[1..].parse::<usize>().unwrap()];
            match &event[..1] {
                "r" => breaker.answered(),
                "t" => tripped = breaker.timed_out(1, PATIENCE, AT_ONCE),
                "c" => breaker.begin(),
                other => panic!("{other} is no event"),
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
    fn an_answer_on_any_connection_begins_the_servers_row_anew() {
        let row = Arc::<Row>::default();
        let mut breakers = [(); 2].map(|()| Breaker::new(3, PATIENCE, Arc::clone(&row)));
        for _ in 0..5 {
            let _ = breakers[0].timed_out(1, AT_ONCE, AT_ONCE);
        }
        assert_eq!(row.timeouts(), 5);
        breakers[1].answered();
        assert_eq!(row.timeouts(), 0);
    }

    #[test]
    fn zero_never_opens() {
        let mut breaker = Breaker::new(0, PATIENCE, Arc::default());
        assert_eq!(breaker.timed_out(u32::MAX, PATIENCE, AT_ONCE), Ok(()));
        assert_eq!(breaker.timed_out(u32::MAX, PATIENCE, AT_ONCE), Ok(()));
    }

    #[test]
    fn the_stall_threshold_follows_the_timeout() {
        let millis = Duration::from_millis;
        for (patience, longest) in [(20, 20), (80, 20), (400, 100), (1_000, 250), (60_000, 250)] {
            let breaker = Breaker::new(3, millis(patience), Arc::default());
            assert!(!breaker.is_own_stall(millis(longest)), "{patience}");
            assert!(breaker.is_own_stall(millis(longest + 1)), "{patience}");
        }
    }

    /// A server with callers in virtual time: whatever the moments of its stalls and ours, the breaker
    /// opens only if the server was silent for its patience, and then at the third timeout.
    #[test]
    fn in_virtual_time_only_a_silent_server_opens_it() {
        let mut rng = fastrand::Rng::with_seed(7);
        for _ in 0..2_000 {
            let mut breaker = Breaker::new(3, PATIENCE, Arc::default());
            let (mut now, mut last_reply, mut row) = (Duration::ZERO, Duration::ZERO, 0_u32);
            for _ in 0..200 {
                now += Duration::from_millis(rng.u64(0..600));
                let late = Duration::from_millis(if rng.u8(..4) == 0 { rng.u64(251..3_000) } else { rng.u64(0..250) });
                if rng.u8(..3) == 0 {
                    breaker.answered();
                    (last_reply, row) = (now, 0);
                    continue;
                }
                let count = rng.u32(0..3);
                let counts = late <= Duration::from_millis(250);
                row += if counts { count } else { 0 };
                let silence = now - last_reply;
                let expected = counts && count > 0 && row >= 3 && silence >= PATIENCE;
                let tripped = breaker.timed_out(count, silence, late);
                assert_eq!(tripped, if expected { Err(Tripped(row)) } else { Ok(()) });
                if expected {
                    breaker.answered();
                    row = 0;
                }
            }
        }
    }
}
