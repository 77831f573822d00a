//! The memory of this process over time.

use std::fs;

/// Samples of resident memory, each with its time in minutes.
#[derive(Debug, Default)]
pub(crate) struct Memory(Vec<(f64, f64)>);

impl Memory {
    /// Takes a sample, if the system reports the memory of a process.
    pub(crate) fn sample(&mut self, minutes: f64) {
        self.0.extend(resident().map(|kib| (minutes, kib)));
    }

    /// Returns the last sample, in KiB.
    pub(crate) fn last(&self) -> Option<f64> {
        self.0.last().map(|(_, kib)| *kib)
    }

    /// Returns the growth in percent per minute: the slope of a line fitted to the second half of the samples. In the
    /// first half buffers still grow.
    pub(crate) fn slope(&self) -> Option<f64> {
        let samples = self.0.get(self.0.len() / 2..).filter(|samples| samples.len() > 1)?;
        let count = samples.len() as f64;
        let mean = |of: fn(&(f64, f64)) -> f64| samples.iter().map(of).sum::<f64>() / count;
        let (time, kib) = (mean(|sample| sample.0), mean(|sample| sample.1));
        let covariance: f64 = samples.iter().map(|sample| (sample.0 - time) * (sample.1 - kib)).sum();
        let variance: f64 = samples.iter().map(|sample| (sample.0 - time).powi(2)).sum();
        Some(covariance / variance / kib * 100.0)
    }
}

fn resident() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slope_is_that_of_the_second_half() {
        let growing = Memory((0..20).map(|n| (f64::from(n), 1_000.0 + f64::from(n.max(10) - 10) * 10.0)).collect());
        let slope = growing.slope().expect("there are samples");
        assert!((slope - 10.0 / 1_045.0 * 100.0).abs() < 1e-9, "{slope}");
        assert_eq!(Memory::default().slope(), None);
    }
}
