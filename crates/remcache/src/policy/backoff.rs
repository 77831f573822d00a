//! Reconnect backoff: one quick attempt, then attempts spread out over all clients of the server.

use std::time::Duration;

/// The delays before attempts to reconnect.
///
/// If only one connection was lost, reconnecting succeeds immediately, so the first attempt is made soon. If it fails,
/// the server is unavailable to all its clients since the same moment: each picks a random instant of the next
/// interval, and keeps its distance from the others by waiting a whole interval before the next attempt. However long
/// the outage lasts, the clients then reconnect over one interval instead of all at once. Later attempts are rarer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    /// The longest delay before the first attempt.
    pub(crate) first: Duration,
    /// The longest delay.
    pub(crate) cap: Duration,
}

impl Backoff {
    /// Returns the delay before the next attempt after this many failures, from the start of the last one, which
    /// took `took`.
    pub(crate) fn wait(&self, failures: u32, took: Duration, random: &mut fastrand::Rng) -> Duration {
        let spread_interval = self.spread_interval();
        // An attempt that hung did so for all clients and failed for all at the same moment: they are spread over
        // twice its duration, to keep them apart.
        let spread = took.saturating_mul(2).min(self.cap);
        let pause = spread.mul_f64(random.f64());
        match failures {
            0 => self.first.mul_f64(from_a_third(random)).max(took.saturating_add(pause)),
            1 => took.saturating_add(spread.max(spread_interval).mul_f64(random.f64())),
            2 | 3 => spread_interval.max(took).saturating_add(pause),
            _ => self.cap.mul_f64(from_a_third(random)).max(took.saturating_add(pause)),
        }
    }

    /// Returns the interval over which clients are spread: by default, sixty of a thousand clients reconnect within 100
    /// ms.
    fn spread_interval(&self) -> Duration {
        self.cap.mul_f64(1.0 / 3.0)
    }
}

/// Returns a jitter factor with a floor: without one, a client in a thousand would retry twice as often as the others.
fn from_a_third(random: &mut fastrand::Rng) -> f64 {
    (1.0 + 2.0 * random.f64()) / 3.0
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "the numbers of a test are its own")]
mod tests {
    use super::*;

    const DEFAULT: Backoff = Backoff { first: Duration::from_millis(50), cap: Duration::from_secs(5) };
    const SECOND: Duration = Duration::from_secs(1);

    /// Returns the shortest and the longest of many delays, in milliseconds.
    fn waits(failures: u32, took: Duration) -> (u128, u128) {
        let mut random = fastrand::Rng::with_seed(7);
        let waits = (0..10_000).map(|_| DEFAULT.wait(failures, took, &mut random).as_millis());
        let waits: Vec<_> = waits.collect();
        (*waits.iter().min().expect("there are some"), *waits.iter().max().expect("there are some"))
    }

    #[track_caller]
    fn check(failures: u32, took: Duration, expected: (u128, u128)) {
        let (shortest, longest) = waits(failures, took);
        let within = expected.0..=expected.1;
        assert!(within.contains(&shortest) && within.contains(&longest), "{shortest} to {longest}");
        let slack = (expected.1 - expected.0) / 100 + 1;
        assert!(shortest <= expected.0 + slack && longest + slack >= expected.1, "{shortest} to {longest}");
    }

    #[test]
    fn delays_are_short_first_then_spread_then_long() {
        check(0, Duration::ZERO, (16, 50));
        check(1, Duration::ZERO, (0, 1_666));
        for failures in [2, 3] {
            check(failures, Duration::ZERO, (1_666, 1_666));
        }
        for failures in [4, 5, u32::MAX] {
            check(failures, Duration::ZERO, (1_666, 5_000));
        }
    }

    #[test]
    fn after_an_attempt_that_hung_clients_are_spread_over_twice_as_long_as_it_took() {
        check(0, SECOND, (1_000, 3_000));
        check(1, SECOND, (1_000, 3_000));
        check(2, SECOND, (1_666, 3_666));
        check(3, 3 * SECOND, (3_000, 8_000));
        check(4, 60 * SECOND, (60_000, 65_000));
    }

    #[test]
    fn a_client_tries_at_the_latest_a_cap_after_an_attempt_that_failed() {
        for failures in 0..6 {
            for took in [0, 1, 10, 300, 1_000, 1_600, 2_000, 5_000, 60_000].map(Duration::from_millis) {
                let (_, longest) = waits(failures, took);
                assert!(longest <= (took + DEFAULT.cap).as_millis(), "{failures}, {took:?}: {longest}");
            }
        }
    }

    /// Counts the attempts in each tenth of a second from the second attempt on. Ten thousand clients are simulated,
    /// because the variance of a thousand is too large.
    #[test]
    fn few_clients_reconnect_at_once_after_any_outage() {
        let mut random = fastrand::Rng::with_seed(7);
        for took in [0, 1, 20, 100, 300, 1_000].map(Duration::from_millis) {
            let mut attempts = vec![0_u32; 4_000];
            for _ in 0..10_000 {
                let (mut at, mut last, mut tries) = (Duration::ZERO, Duration::ZERO, 0);
                while at < 40 * SECOND {
                    at += DEFAULT.wait(tries, last, &mut random);
                    (last, tries) = (took, tries + 1);
                    if let (true, Some(count)) = (tries > 1, attempts.get_mut((at.as_millis() / 10) as usize)) {
                        *count += 1;
                    }
                    assert!(at > 30 * SECOND || tries <= 20, "{tries} attempts in {at:?}");
                }
            }
            let most = attempts.windows(10).map(|window| window.iter().sum::<u32>()).max();
            assert!(most <= Some(750), "{most:?} of 10,000 come together where attempts take {took:?}");
        }
    }
}
