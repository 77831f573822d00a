//! A histogram of latencies as one line of text, with round numbers between the bars: `50µs ▁▃█▆ 100 ▂▁ 200`.

use hdrhistogram::Histogram;

use crate::output::chart;

/// Formats the distribution of the latencies, from the shortest to p99.99.
///
/// Each round number is 2 to 2.5 times the one before; the bars between two of them divide the distance
/// evenly on a logarithmic scale.
///
/// It fits a width as far as possible: a wide range has fewer bars between two marks, then fewer marks.
pub(super) fn line(latency: &Histogram<u64>, width: usize) -> String {
    let (low, high) = (latency.min().max(1), latency.value_at_quantile(0.9999).max(1));
    let (all, decades) = (marks(&[1, 2, 5], low, high), marks(&[1], low, high));
    let forms =
        (1..=BARS_BETWEEN).rev().map(|bars| (&all, bars)).chain((1..=BARS_BETWEEN).rev().map(|bars| (&decades, bars)));
    let mut lines = forms.map(|(marks, bars)| form(latency, marks, bars));
    let fitting = lines.clone().find(|line| line.chars().count() <= width);
    fitting.or_else(|| lines.next_back()).unwrap_or_default()
}

/// Formats the line with these marks and this many bars between two of them.
fn form(latency: &Histogram<u64>, marks: &[u64], bars: usize) -> String {
    let heights: Vec<u64> = marks.windows(2).flat_map(|pair| heights(latency, pair[0], pair[1], bars)).collect();
    let line: Vec<char> = chart::sparkline(&heights).chars().collect();
    let mut text = String::new();
    let mut unit = "";
    for (mark, bars) in marks.iter().zip(line.chunks(bars)) {
        let label = label(*mark, &mut unit);
        text += &format!("{label} {} ", bars.iter().collect::<String>());
    }
    text + &marks.last().map(|&mark| label(mark, &mut unit)).unwrap_or_default()
}

/// Returns the round numbers of nanoseconds around a range: these digits times the powers of ten.
fn marks(digits: &[u64], low: u64, high: u64) -> Vec<u64> {
    let all = (0..12).flat_map(|power| digits.iter().map(move |digit| digit * 10_u64.pow(power)));
    let all: Vec<u64> = all.collect();
    let first = all.partition_point(|&mark| mark <= low).saturating_sub(1);
    let last = all.partition_point(|&mark| mark <= high).min(all.len() - 1);
    all[first..=last].to_vec()
}

/// Counts the latencies in each step between two marks.
fn heights(latency: &Histogram<u64>, from: u64, to: u64, steps: usize) -> Vec<u64> {
    let mut heights = vec![0; steps];
    let log_range = (to as f64 / from as f64).ln();
    let recorded = latency.iter_recorded().map(|step| (step.value_iterated_to(), step.count_since_last_iteration()));
    for (nanos, count) in recorded.filter(|(nanos, _)| (from..to).contains(nanos)) {
        let share = (nanos as f64 / from as f64).ln() / log_range;
        heights[((share * steps as f64) as usize).min(steps - 1)] += count;
    }
    heights
}

/// Formats a mark, with its unit if it differs from the one before.
fn label(nanos: u64, unit: &mut &'static str) -> String {
    let (scale, name) = match nanos {
        0..1_000 => (1, "ns"),
        1_000..1_000_000 => (1_000, "µs"),
        1_000_000..1_000_000_000 => (1_000_000, "ms"),
        _ => (1_000_000_000, "s"),
    };
    let is_new = std::mem::replace(unit, name) != name;
    format!("{}{}", nanos / scale, if is_new { name } else { "" })
}

/// Bars between two marks; there are fewer if the range is wide.
const BARS_BETWEEN: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(micros: impl IntoIterator<Item = u64>) -> Histogram<u64> {
        let mut histogram = Histogram::new(3).unwrap();
        micros.into_iter().for_each(|micros| histogram.record(micros * 1000).unwrap());
        histogram
    }

    #[test]
    fn bars_are_between_round_numbers() {
        let line = line(&histogram((0..1000).map(|step| 60 + step % 30).chain([150, 1500])), 100);
        assert!(line.starts_with("50µs   ▆▇██▆  100     ▁    200 "), "{line}");
        assert!(line.ends_with(" 1ms     ▁    2"), "{line}");
        assert_eq!(line.matches("µs").count(), 1, "{line}");
        assert_eq!(super::line(&histogram([70]), 100), "50µs    █     100");
    }

    #[test]
    fn a_wide_range_has_fewer_bars() {
        let histogram = histogram([1, 10, 100, 1_000, 10_000, 100_000, 1_000_000]);
        for width in [60, 80, 120] {
            let line = line(&histogram, width);
            assert!(line.chars().count() <= width, "{line}");
            assert_eq!(line.chars().filter(|&bar| bar == '█').count(), 7, "{line}");
        }
    }

    #[test]
    fn marks_surround_the_range() {
        assert_eq!(marks(&[1, 2, 5], 60, 90), [50, 100]);
        assert_eq!(marks(&[1, 2, 5], 50, 100), [50, 100, 200]);
        assert_eq!(marks(&[1, 2, 5], 1, 1), [1, 2]);
        assert_eq!(marks(&[1], 60, 300), [10, 100, 1000]);
    }
}
