//! Number parsing as in memcached 1.6.18: with C's functions, truncated to the required size.

/// Parses a signed 32-bit number: a larger one wraps, one beyond 64 bits is invalid.
pub fn signed(text: &[u8]) -> Option<i32> {
    let Number { negative, magnitude } = number(text)?;
    let number = if negative { 0_i64.checked_sub_unsigned(magnitude)? } else { i64::try_from(magnitude).ok()? };
    let [.., a, b, c, d] = number.to_be_bytes();
    Some(i32::from_be_bytes([a, b, c, d]))
}

/// Parses an unsigned 32-bit number: a larger one wraps, one beyond 64 bits is invalid.
pub fn unsigned_32(text: &[u8]) -> Option<u32> {
    let [.., a, b, c, d] = unsigned_64(text)?.to_be_bytes();
    Some(u32::from_be_bytes([a, b, c, d]))
}

/// Parses an unsigned 64-bit number.
pub fn unsigned_64(text: &[u8]) -> Option<u64> {
    let Number { negative, magnitude } = number(text)?;
    let number = if negative { magnitude.wrapping_neg() } else { magnitude };
    // memcached rejects a sign only if it makes the number large.
    (!negative || number <= i64::MAX as u64).then_some(number)
}

/// Parses a decimal number, for the settings that have one.
pub fn decimal(text: &[u8]) -> Option<f64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

struct Number {
    negative: bool,
    magnitude: u64,
}

/// Parses white space, an optional sign and digits, up to the end or more white space; the rest is ignored.
fn number(text: &[u8]) -> Option<Number> {
    let start = text.iter().position(|byte| !is_space(*byte))?;
    let text = text.get(start..)?;
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    let end = digits.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(digits.len());
    let (digits, rest) = digits.split_at_checked(end)?;
    if digits.is_empty() || !rest.first().is_none_or(|byte| is_space(*byte)) {
        return None;
    }
    let step = |number: u64, digit: &u8| {
        let digit = u64::from(digit.wrapping_sub(b'0'));
        number.checked_mul(10)?.checked_add(digit)
    };
    Some(Number { negative, magnitude: digits.iter().try_fold(0, step)? })
}

/// Returns whether C's `isspace` accepts a byte, which includes the vertical tab.
fn is_space(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_parsed_like_in_c() {
        let cases = [
            ("0", Some(0), Some(0), Some(0)),
            ("+7", Some(7), Some(7), Some(7)),
            ("-1", Some(-1), None, None),
            ("-0", Some(0), Some(0), Some(0)),
            ("4294967296", Some(0), Some(0), Some(1 << 32)),
            ("4294967299", Some(3), Some(3), Some((1 << 32) + 3)),
            ("2147483648", Some(i32::MIN), Some(1 << 31), Some(1 << 31)),
            ("18446744073709551615", None, Some(u32::MAX), Some(u64::MAX)),
            ("18446744073709551616", None, None, None),
            ("-18446744073709551615", None, Some(1), Some(1)),
            ("-9223372036854775808", Some(0), None, None),
            ("\t5\tx", Some(5), Some(5), Some(5)),
            ("5x", None, None, None),
            ("", None, None, None),
            ("-", None, None, None),
            ("abc", None, None, None),
        ];
        for (text, as_signed, as_unsigned, as_long) in cases {
            let bytes = text.as_bytes();
            assert_eq!(
                (signed(bytes), unsigned_32(bytes), unsigned_64(bytes)),
                (as_signed, as_unsigned, as_long),
                "{text:?}"
            );
        }
    }

    #[test]
    fn decimals_have_a_point() {
        assert_eq!(decimal(b"0.5"), Some(0.5));
        assert_eq!(decimal(b"x"), None);
    }
}
