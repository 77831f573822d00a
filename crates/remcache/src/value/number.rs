//! Integer values: decimal digits, like the server's counters.

use std::fmt::Display;
use std::str::FromStr;

use super::ValueError;

/// Rust's integer types.
///
/// They are encoded in decimal digits, so that the server can increment and decrement them.
pub trait Integer: Copy + Display + FromStr + Sealed + 'static {}

/// Seals [`Integer`].
#[expect(unnameable_types, reason = "which is what seals it")]
pub trait Sealed {}

macro_rules! integers {
    ($($integer:ty)*) => {$(
        impl Sealed for $integer {}
        impl Integer for $integer {}
    )*};
}
integers!(u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize);

/// Parses an integer; servers pad a decremented counter with trailing spaces.
pub(crate) fn parse<N: FromStr>(bytes: &[u8]) -> Result<N, ValueError> {
    let digits = bytes.trim_ascii_end();
    let text = std::str::from_utf8(digits).ok().filter(|text| is_decimal(text));
    let text = text.ok_or_else(|| ValueError::malformed("an integer", "it contains a byte that is not a digit"))?;
    text.parse().map_err(|_| ValueError::malformed("an integer", "the number does not fit"))
}

/// Returns whether a text consists of digits with an optional minus sign.
pub(crate) fn is_decimal(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_digits_and_nothing_else() {
        for (text, number) in [
            ("0", Some(0)),
            ("-42", Some(-42)),
            ("99 ", Some(99)),
            ("9223372036854775807", Some(i64::MAX)),
            ("9223372036854775808", None),
            ("", None),
            ("-", None),
            ("+1", None),
            (" 1", None),
            ("1 2", None),
            ("1.5", None),
            ("0x10", None),
            ("١", None),
        ] {
            assert_eq!(parse::<i64>(text.as_bytes()).ok(), number, "{text:?}");
        }
        assert!(parse::<i64>(b"\xff").is_err());
    }
}
