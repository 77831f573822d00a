//! A rate limit that all batches of a run share.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::BATCH;

/// A rate limit: clones share it.
#[derive(Clone, Debug)]
pub(crate) struct RateLimit(Option<Arc<Limit>>);

#[derive(Debug)]
struct Limit {
    /// Items a second.
    rate: u64,
    /// When the next item may go.
    next: Mutex<Instant>,
}

impl RateLimit {
    /// So many items a second; without a number as many as will go.
    pub(crate) fn new(rate: Option<u64>) -> Self {
        Self(rate.map(|rate| Arc::new(Limit { rate, next: Mutex::new(Instant::now()) })))
    }

    /// How many items go at a time: few enough that a slow rate_limit is even, and an interruption soon heard.
    pub(crate) fn batch(&self) -> usize {
        match &self.0 {
            None => BATCH,
            Some(limit) => usize::try_from(limit.rate / TURNS_A_SECOND).unwrap_or(BATCH).clamp(1, BATCH),
        }
    }

    /// Waits until so many items may go.
    pub(crate) async fn take(&self, items: usize) {
        let Some(limit) = &self.0 else { return };
        let start = {
            let mut next = limit.next.lock().unwrap_or_else(PoisonError::into_inner);
            // What was not used is gone: a pause is not made up for by a rush.
            let start = (*next).max(Instant::now());
            *next = start + Duration::from_secs_f64(items as f64 / limit.rate as f64);
            start
        };
        sleep_until(start).await;
    }
}

/// How often a second batches go, at least.
const TURNS_A_SECOND: u64 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_pace_has_small_batches() {
        for (rate, batch) in [(None, BATCH), (Some(1), 1), (Some(100), 10), (Some(1_000_000), BATCH)] {
            assert_eq!(RateLimit::new(rate).batch(), batch, "{rate:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn items_go_at_the_rate_whoever_takes_them() {
        let (rate_limit, begun) = (RateLimit::new(Some(1000)), Instant::now());
        let other = rate_limit.clone();
        for _ in 0..10 {
            tokio::join!(rate_limit.take(100), other.take(100));
        }
        // The last hundred are on their way, which takes its time as well.
        assert_eq!(begun.elapsed().as_millis(), 1900);
        RateLimit::new(None).take(1_000_000).await;
        assert_eq!(begun.elapsed().as_millis(), 1900);
    }
}
