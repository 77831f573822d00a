//! Waits for planned times, to the microsecond, with little processor time.

use std::time::{Duration, Instant};

use super::precise_timer::PreciseTimer;

/// Waits for one planned time after another.
///
/// A timer sleeps until shortly before the planned time; only the rest is spent yielding, which takes a whole core.
#[derive(Debug)]
pub(super) struct Pacer {
    /// Without it, the timer of the runtime and yielding have to do.
    timer: Option<PreciseTimer>,
    lead: Lead,
}

impl Pacer {
    /// Creates a pacer in the current runtime.
    pub(super) fn new() -> Self {
        Self { timer: PreciseTimer::new().ok(), lead: Lead::default() }
    }

    /// Waits until the planned time.
    pub(super) async fn wait_until(&mut self, planned: Instant) {
        if planned.saturating_duration_since(Instant::now()) > self.lead.0
            && self.sleep_until(planned - self.lead.0).await
        {
            self.lead.adapt(Instant::now() > planned);
        }
        while Instant::now() < planned {
            tokio::task::yield_now().await;
        }
    }

    /// Sleeps until about this time; returns whether it was to the microsecond.
    async fn sleep_until(&self, time: Instant) -> bool {
        if let Some(timer) = &self.timer
            && timer.wait_until(time).await.is_ok()
        {
            return true;
        }
        tokio::time::sleep_until((time - TIMER_STEP).into()).await;
        false
    }
}

/// The time before a planned time at which the timer is set, since waking up takes some microseconds, which depend on
/// the machine and its load.
#[derive(Debug)]
struct Lead(Duration);

impl Default for Lead {
    fn default() -> Self {
        Self(MAX_LEAD / 2)
    }
}

impl Lead {
    /// Adapts the lead to the median of the time that waking up takes: half of the wake-ups are a little late, and
    /// the others yield only for a short time.
    fn adapt(&mut self, was_late: bool) {
        self.0 = match was_late {
            true => (self.0 + LEAD_STEP).min(MAX_LEAD),
            false => self.0.saturating_sub(LEAD_STEP),
        };
    }
}

/// The resolution of the runtime's timer.
const TIMER_STEP: Duration = Duration::from_millis(1);
const LEAD_STEP: Duration = Duration::from_nanos(100);
/// Bounds the processor time where wake-ups take long.
const MAX_LEAD: Duration = Duration::from_micros(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wait_never_ends_early() {
        let mut pacer = Pacer::new();
        for micros in [0, 30, 300, 3000] {
            let planned = Instant::now() + Duration::from_micros(micros);
            pacer.wait_until(planned).await;
            assert!(Instant::now() >= planned);
        }
        let mut without_timer = Pacer { timer: None, lead: Lead::default() };
        let planned = Instant::now() + Duration::from_millis(3);
        without_timer.wait_until(planned).await;
        assert!(Instant::now() >= planned);
    }

    #[test]
    fn the_lead_adapts_to_the_median_time_of_a_wake_up() {
        let mut random = fastrand::Rng::with_seed(7);
        let mut lead = Lead::default();
        for _ in 0..20_000 {
            lead.adapt(Duration::from_micros(random.u64(1..=40)) > lead.0);
        }
        assert!((15..=25).contains(&lead.0.as_micros()), "{lead:?}");
        (0..2000).for_each(|_| lead.adapt(true));
        assert_eq!(lead.0, MAX_LEAD);
    }
}
