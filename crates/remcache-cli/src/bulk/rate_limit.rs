//! Limits the number of items per second.

use std::time::Duration;

use tokio::time::Instant;

use super::BATCH;

/// A limit of the items per second.
#[derive(Clone, Debug)]
pub(crate) struct RateLimit(Option<Limit>);

#[derive(Clone, Debug)]
struct Limit {
    items_per_second: u64,
    /// When the next items may be sent.
    next: Instant,
}

impl RateLimit {
    /// Creates a limit of this many items per second, or none.
    pub(crate) fn new(items_per_second: Option<u64>) -> Self {
        Self(items_per_second.map(|items_per_second| Limit { items_per_second, next: Instant::now() }))
    }

    /// Returns the size of batches: small at a low rate, so that the load is even.
    pub(crate) fn batch(&self) -> usize {
        match &self.0 {
            None => BATCH,
            Some(limit) => {
                usize::try_from(limit.items_per_second / BATCHES_PER_SECOND).unwrap_or(BATCH).clamp(1, BATCH)
            }
        }
    }

    /// Reserves the time for some items; returns its start.
    pub(crate) fn reserve(&mut self, items: usize) -> Instant {
        let now = Instant::now();
        let Some(limit) = &mut self.0 else { return now };
        // Unused time is lost: a pause must not be followed by a burst.
        let start = limit.next.max(now);
        limit.next = start + Duration::from_secs_f64(items as f64 / limit.items_per_second as f64);
        start
    }
}

const BATCHES_PER_SECOND: u64 = 10;

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::sleep_until;

    #[test]
    fn batches_are_small_at_a_low_rate() {
        for (rate, batch) in [(None, BATCH), (Some(1), 1), (Some(100), 10), (Some(1_000_000), BATCH)] {
            assert_eq!(RateLimit::new(rate).batch(), batch, "{rate:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn items_are_sent_at_the_rate() {
        let (mut limit, start) = (RateLimit::new(Some(1000)), Instant::now());
        for _ in 0..20 {
            sleep_until(limit.reserve(100)).await;
        }
        // The time reserved for the last hundred has not elapsed.
        assert_eq!(start.elapsed().as_millis(), 1900);
        sleep_until(RateLimit::new(None).reserve(1_000_000)).await;
        assert_eq!(start.elapsed().as_millis(), 1900);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_is_not_followed_by_a_burst() {
        let mut limit = RateLimit::new(Some(1000));
        sleep_until(limit.reserve(100)).await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        let resumed = Instant::now();
        sleep_until(limit.reserve(100)).await;
        sleep_until(limit.reserve(100)).await;
        assert_eq!(resumed.elapsed().as_millis(), 100);
    }
}
