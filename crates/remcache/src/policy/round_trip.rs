//! An estimate of a server's round trip time.

use std::time::Duration;

/// The round-trip time of a connection, smoothed like that of TCP (RFC 6298): each sample moves the estimate by an
/// eighth of the difference.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RoundTrip(Option<Duration>);

impl RoundTrip {
    pub(crate) fn sample(&mut self, took: Duration) {
        let smoothed = self.0.map_or(took, |known| {
            let eighths = known.saturating_mul(7).saturating_add(took);
            eighths.checked_div(8).unwrap_or(known)
        });
        self.0 = Some(smoothed);
    }

    /// Returns the estimate; `None` before the first sample.
    pub(crate) fn estimate(&self) -> Option<Duration> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_estimate_follows_the_samples() {
        let mut round_trip = RoundTrip::default();
        assert_eq!(round_trip.estimate(), None);
        round_trip.sample(Duration::from_micros(800));
        assert_eq!(round_trip.estimate(), Some(Duration::from_micros(800)));
        round_trip.sample(Duration::from_micros(1_600));
        assert_eq!(round_trip.estimate(), Some(Duration::from_micros(900)));
        for _ in 0..100 {
            round_trip.sample(Duration::from_micros(200));
        }
        assert!(round_trip.estimate().unwrap() < Duration::from_micros(210));
    }

    #[test]
    fn no_sample_is_too_long() {
        let mut round_trip = RoundTrip::default();
        for _ in 0..10 {
            round_trip.sample(Duration::MAX);
        }
        assert!(round_trip.estimate().is_some());
    }
}
