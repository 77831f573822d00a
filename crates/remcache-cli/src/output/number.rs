//! Numbers formatted for people.

use std::time::Duration;

use indicatif::HumanCount;

/// Returns a count with separators: `2,699,812`.
pub(crate) fn exact(count: u64) -> String {
    HumanCount(count).to_string()
}

/// Returns a number of items: `1 item`, `1,234 items`.
pub(crate) fn items(count: u64) -> String {
    format!("{} {}", exact(count), if count == 1 { "item" } else { "items" })
}

/// Returns a count in three digits: `8.2M`.
pub(crate) fn count(count: u64) -> String {
    scaled(count as f64, 1000.0, &["", "k", "M", "G", "T", "P", "E"])
}

/// Returns a rate in three digits; fractions only below 10.
pub(crate) fn rate(rate: f64) -> String {
    match rate {
        rate if rate > 0.0 && rate < 9.95 => format!("{rate:.1}"),
        _ => scaled(rate, 1000.0, &["", "k", "M", "G", "T"]),
    }
}

/// Returns a number of bytes in three digits: `7.1G`, in powers of 1,024.
pub(crate) fn bytes(bytes: u64) -> String {
    scaled(bytes as f64, 1024.0, &["B", "K", "M", "G", "T", "P", "E"])
}

/// Returns two numbers of bytes in the unit of the second: `7.1/8.0G`.
pub(crate) fn bytes_of(used: u64, limit: u64) -> String {
    let power = (0..6).rev().find(|power| limit >= 1 << (10 * power)).unwrap_or_default();
    let scale = |bytes: u64| bytes as f64 / f64::from(1024_u32).powi(power);
    let unit = ["B", "K", "M", "G", "T", "P"].get(power as usize).unwrap_or(&"");
    format!("{:.1}/{:.1}{unit}", scale(used), scale(limit))
}

/// Returns a duration in three digits: `212µs`, `1.21ms`, `3.90s`.
pub(crate) fn duration(duration: Duration) -> String {
    let nanos = duration.as_secs_f64() * 1e9;
    let units = [("ns", 1.0), ("µs", 1e3), ("ms", 1e6), ("s", 1e9)];
    let (unit, scale) = units.into_iter().rev().find(|(_, scale)| nanos >= 0.9995 * scale).unwrap_or(("ns", 1.0));
    let number = nanos / scale;
    match unit {
        "ns" => format!("{number:.0}ns"),
        // Fractions of a microsecond are below the noise of the clock and the scheduler.
        "µs" if number >= 9.95 => format!("{number:.0}µs"),
        _ if number < 9.995 => format!("{number:.2}{unit}"),
        _ if number < 99.95 => format!("{number:.1}{unit}"),
        _ => format!("{number:.0}{unit}"),
    }
}

/// Returns an age in its two largest units, `3d04h`, or in days alone from ten days on, `41d`.
pub(crate) fn age(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, seconds / 3600, seconds / 60) {
        (10.., ..) => format!("{days}d"),
        (1.., ..) => format!("{days}d{hours:02}h"),
        (_, 1.., _) => format!("{hours}h{minutes:02}m"),
        (_, _, 1..) => format!("{minutes}m{:02}s", seconds % 60),
        _ => format!("{seconds}s"),
    }
}

/// Returns a percentage with one decimal; `None` if the whole is zero.
pub(crate) fn percent(part: u64, total: u64) -> Option<String> {
    (total > 0).then(|| format!("{:.1}", 100.0 * part as f64 / total as f64))
}

fn scaled(number: f64, base: f64, units: &[&str]) -> String {
    let mut scaled = number;
    let mut units = units.iter();
    let mut unit = *units.next().unwrap_or(&"");
    let mut is_scaled = false;
    // A number that would be rounded up to the base is shown in the next unit: 999.9k is 1.0M.
    while scaled >= base - 0.5
        && let Some(next) = units.next()
    {
        (scaled, unit, is_scaled) = (scaled / base, next, true);
    }
    match is_scaled && scaled < 99.95 {
        true => format!("{scaled:.1}{unit}"),
        false => format!("{scaled:.0}{unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_bytes() {
        let counts =
            [(0, "0"), (999, "999"), (1000, "1.0k"), (8_200_000, "8.2M"), (999_999, "1.0M"), (482_000, "482k")];
        for (number, text) in counts {
            assert_eq!(count(number), text);
        }
        for (number, text) in
            [(0, "0B"), (1023, "1023B"), (1024, "1.0K"), (1536, "1.5K"), (7 << 30, "7.0G"), (64 << 20, "64.0M")]
        {
            assert_eq!(bytes(number), text, "{number}");
        }
        assert_eq!(bytes_of(7 << 30, 8 << 30), "7.0/8.0G");
        assert_eq!(bytes_of(0, 0), "0.0/0.0B");
        assert_eq!(exact(2_699_812), "2,699,812");
        assert_eq!(
            (rate(0.0), rate(0.25), rate(9.96), rate(48_200.0)),
            ("0".into(), "0.2".into(), "10".into(), "48.2k".into())
        );
    }

    #[test]
    fn durations() {
        let cases = [
            (850, "850ns"),
            (3_456, "3.46µs"),
            (61_400, "61µs"),
            (999_990, "1.00ms"),
            (1_213_000, "1.21ms"),
            (12_345_678, "12.3ms"),
            (3_900_000_000, "3.90s"),
        ];
        for (nanos, text) in cases {
            assert_eq!(duration(Duration::from_nanos(nanos)), text);
        }
    }

    #[test]
    fn ages() {
        let cases = [(7, "7s"), (67, "1m07s"), (22_320, "6h12m"), (273_600, "3d04h"), (41 * 86_400, "41d")];
        for (seconds, text) in cases {
            assert_eq!(age(seconds), text);
        }
    }

    #[test]
    fn percentages() {
        assert_eq!(percent(964, 1000).as_deref(), Some("96.4"));
        assert_eq!(percent(0, 0), None);
    }
}
