//! The server's counters while a tool runs: a second, independent measurement of the same load.

use std::process::{Child, Output};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::server;

/// The counters at several instants, in order.
#[derive(Debug)]
pub(crate) struct CounterSeries(Vec<Sample>);

/// The counters at one instant.
#[derive(Clone, Copy, Debug)]
struct Sample {
    seconds: f64,
    gets: u64,
    sets: u64,
}

impl CounterSeries {
    /// Returns the number of gets from the first sample to the last.
    pub(crate) fn gets(&self) -> u64 {
        self.0.last().map_or(0, |sample| sample.gets) - self.0.first().map_or(0, |sample| sample.gets)
    }

    /// Returns the gets per second in the longest period with gets and without sets. Its first and last steps, in which
    /// the load starts and ends, are excluded.
    pub(crate) fn steady_rate(&self) -> Result<f64> {
        let is_steady = |pair: &[Sample]| pair[1].gets > pair[0].gets && pair[1].sets == pair[0].sets;
        let steps: Vec<bool> = self.0.windows(2).map(is_steady).collect();
        let (first, last) =
            longest(&steps).filter(|(first, last)| last - first > 2).context("the load was not steady")?;
        let (from, to) = (self.0[first + 1], self.0[last - 1]);
        Ok((to.gets - from.gets) as f64 / (to.seconds - from.seconds))
    }
}

/// Returns the longest run of `true`: the index of its first step, and the index after its last.
fn longest(steps: &[bool]) -> Option<(usize, usize)> {
    let mut longest = 0..0;
    let mut first = 0;
    for (index, &is_steady) in steps.iter().chain([&false]).enumerate() {
        if !is_steady {
            if index - first > longest.len() {
                longest = first..index;
            }
            first = index + 1;
        }
    }
    (!longest.is_empty()).then_some((longest.start, longest.end))
}

/// Records the counters until a child exits.
pub(crate) fn record(child: Child, port: u16) -> Result<(Output, CounterSeries)> {
    let start = Instant::now();
    let mut samples = vec![sample(port, start)?];
    let child = thread::spawn(move || child.wait_with_output());
    while !child.is_finished() {
        thread::sleep(INTERVAL);
        samples.push(sample(port, start)?);
    }
    let output = child.join().ok().context("waiting for a child")??;
    samples.push(sample(port, start)?);
    Ok((output, CounterSeries(samples)))
}

fn sample(port: u16, start: Instant) -> Result<Sample> {
    let requested = start.elapsed();
    let [gets, sets] = server::counters(port, ["cmd_get", "cmd_set"])?;
    // The server reads its counters at some instant between request and reply; the middle is the best estimate.
    Ok(Sample { seconds: (requested + start.elapsed()).as_secs_f64() / 2.0, gets, sets })
}

const INTERVAL: Duration = Duration::from_millis(100);

#[cfg(test)]
impl CounterSeries {
    /// Creates a series of samples: seconds, gets and sets.
    pub(super) fn new(samples: &[(f64, u64, u64)]) -> Self {
        Self(samples.iter().map(|&(seconds, gets, sets)| Sample { seconds, gets, sets }).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steady_rate_is_that_of_the_period_without_sets() {
        let series = CounterSeries::new(&[
            (0.0, 100, 0),
            (1.0, 100, 50),
            (2.0, 110, 60),
            (3.0, 150, 60),
            (4.0, 250, 60),
            (5.0, 350, 60),
            (6.0, 355, 60),
            (7.0, 355, 60),
        ]);
        assert_eq!(series.gets(), 255);
        assert_eq!(series.steady_rate().unwrap(), 100.0);
        assert!(CounterSeries::new(&[(0.0, 0, 0), (1.0, 5, 0)]).steady_rate().is_err());
        assert!(CounterSeries::new(&[]).steady_rate().is_err());
    }

    #[test]
    fn the_longest_run_is_found() {
        let runs = |text: &str| longest(&text.bytes().map(|byte| byte == b'x').collect::<Vec<_>>());
        assert_eq!(runs("-xx-xxx-x"), Some((4, 7)));
        assert_eq!(runs("xxx"), Some((0, 3)));
        assert_eq!(runs("--"), None);
        assert_eq!(runs(""), None);
    }
}
