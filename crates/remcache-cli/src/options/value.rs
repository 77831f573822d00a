//! Parsers of option values: durations, dates, sizes, counts.

use std::time::{Duration, SystemTime};

use jiff::{Span, SpanRelativeTo, Timestamp};
use remcache::Ttl;

/// Parses a duration above zero: `250ms`, `5s`, `2h`, `30d`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let expected = || "expected a duration such as 250ms, 5s, 10m, 2h or 30d".to_owned();
    if text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty() {
        return Err(format!("a duration needs a unit: {text}ms, {text}s, {text}d"));
    }
    let span: Span = text.parse().map_err(|_| expected())?;
    let length = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| expected())?;
    match Duration::try_from(length) {
        Ok(Duration::ZERO) => Err("the duration is zero".into()),
        Ok(duration) => Ok(duration),
        Err(_) => Err("the duration is negative".into()),
    }
}

/// Parses a time to live: a duration, `never`, or a date in the future with its time zone.
pub(crate) fn ttl(text: &str) -> Result<Ttl, String> {
    match text {
        "never" => return Ok(Ttl::Never),
        "0" => return Err("write never for an item that does not expire, or a duration such as 10m".into()),
        _ => {}
    }
    if let Ok(at) = text.parse::<Timestamp>() {
        let at = SystemTime::from(at);
        if at <= SystemTime::now() {
            return Err("this time has passed: the item would expire at once".into());
        }
        return check(Ttl::At(at));
    }
    match duration(text) {
        Ok(after) => check(Ttl::After(after)),
        Err(_) if text.contains('-') && !text.starts_with('-') => {
            Err("expected a date with its time zone such as 2027-01-01T00:00Z".into())
        }
        Err(error) => Err(format!("{error}: write a duration such as 10m, never, or a date such as 2027-01-01T00:00Z")),
    }
}

/// Refuses a time to live that no protocol can express.
fn check(ttl: Ttl) -> Result<Ttl, String> {
    ttl.resolve(SystemTime::now).seconds().map(|_| ttl).map_err(|invalid| invalid.to_string())
}

/// Parses a number of bytes: `100`, `64m`, `1g`, in powers of 1,024.
pub(crate) fn bytes(text: &str) -> Result<usize, String> {
    let number = scaled(text.trim_end_matches(['b', 'B']), 1024);
    let number = number.and_then(|number| usize::try_from(number).ok());
    number.filter(|&number| number > 0).ok_or_else(|| "expected a size such as 100, 64k, 8m or 1g".into())
}

/// Parses a count: `10`, `10k`, `1m`, in powers of 1,000.
pub(crate) fn count(text: &str) -> Result<u64, String> {
    let number = scaled(text, 1000).filter(|&number| number > 0);
    number.ok_or_else(|| "expected a number above zero such as 10, 10k or 1m".into())
}

/// Parses a number per second: `500`, `10k`, `10k/s`.
pub(crate) fn rate(text: &str) -> Result<u64, String> {
    count(text.strip_suffix("/s").unwrap_or(text))
}

/// Parses a number with an optional unit; fractions are allowed before a unit.
fn scaled(text: &str, base: u64) -> Option<u64> {
    let (number, power) = match text.char_indices().last()? {
        (at, unit) if unit.is_ascii_alphabetic() => {
            (&text[..at], "kmgt".find(unit.to_ascii_lowercase()).and_then(|power| u32::try_from(power + 1).ok())?)
        }
        _ => (text, 0),
    };
    let scale = base.checked_pow(power)?;
    match number.split_once('.') {
        None => number.parse::<u64>().ok()?.checked_mul(scale),
        Some(_) if power == 0 => None,
        Some((integer, fraction)) => {
            let digits = u32::try_from(fraction.len()).ok()?;
            let part = fraction.parse::<u64>().ok()?.checked_mul(scale)? / 10_u64.checked_pow(digits)?;
            integer.parse::<u64>().ok()?.checked_mul(scale)?.checked_add(part)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let cases = [
            ("250ms", 250),
            ("1.5s", 1_500),
            ("2h", 7_200_000),
            ("30d", 30 * 86_400_000),
            ("1h30m", 5_400_000),
            ("2w", 14 * 86_400_000),
        ];
        for (text, millis) in cases {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "0s", "-5s", "5", "s", "five", "1mo", "5 apples"] {
            assert!(duration(text).is_err(), "{text}");
        }
        assert!(duration("600").unwrap_err().contains("600s"));
    }

    #[test]
    fn times_to_live() {
        let new_year = SystemTime::UNIX_EPOCH + Duration::from_secs(1_798_761_600);
        assert_eq!(ttl("never"), Ok(Ttl::Never));
        assert_eq!(ttl("10m"), Ok(Ttl::After(Duration::from_secs(600))));
        assert_eq!(ttl("2027-01-01T00:00Z"), Ok(Ttl::At(new_year)));
        assert_eq!(ttl("2027-01-01T01:00+01:00"), Ok(Ttl::At(new_year)));
        // Beyond the range of the protocols, which the library limits it to.
        assert!(ttl("2200-01-01T00:00Z").is_ok());
        for text in ["", "0s", "2027-01-01", "soon"] {
            assert!(ttl(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_to_live_that_are_over_are_refused() {
        for (text, word) in [
            ("0", "write never"),
            ("0s", "zero"),
            ("-1s", "negative"),
            ("2020-01-01T00:00Z", "has passed"),
            ("1970-01-01T00:00Z", "has passed"),
        ] {
            let error = ttl(text).unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    #[test]
    fn sizes_and_counts() {
        for (text, size) in
            [("100", 100), ("64m", 64 << 20), ("1k", 1024), ("1.5K", 1536), ("2GB", 2 << 30), ("10b", 10)]
        {
            assert_eq!(bytes(text), Ok(size), "{text}");
        }
        for (text, number) in [("10", 10), ("10k", 10_000), ("1m", 1_000_000), ("2.5k", 2_500)] {
            assert_eq!(count(text), Ok(number), "{text}");
            assert_eq!((rate(text), rate(&format!("{text}/s"))), (Ok(number), Ok(number)), "{text}");
        }
        assert!(rate("/s").is_err() && count("10/s").is_err());
        for text in ["", "0", "-1", "1.5", "k", "10x", "99999999999t", "1..5k", "é"] {
            assert!(count(text).is_err() && bytes(text).is_err(), "{text}");
        }
    }
}
