//! Encodings that clients use for values.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use bytestring::ByteString;

use crate::proto::CowBytes;
use crate::reason::Reason;
use crate::value::{Serializer, Value, ValueError, number};

/// An encoding for one kind of value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Encoding {
    /// Plain bytes.
    Bytes,
    /// Plain bytes, for a client that also stores text as bytes.
    Octets,
    /// UTF-8.
    Text,
    /// Decimal digits.
    Decimal,
    /// The digit 1 or 0; another number is an integer.
    DigitBool,
    /// The byte 1 or 0.
    ByteBool,
    /// The digit 1, or nothing.
    PhpBool,
    /// A floating-point number as text, as PHP writes it.
    PhpFloat,
    /// A signed byte.
    Byte,
    /// A character of UTF-16, in four bytes.
    Character,
    /// A signed integer of this many bytes, big-endian, without leading zero bytes.
    Packed(usize),
    /// Milliseconds since 1970, packed.
    PackedDate,
    /// The bits of an `f32`, packed.
    PackedFloat,
    /// The bits of an `f64`, packed.
    PackedDouble,
    /// A signed integer of this many bytes, big-endian.
    Wide(usize),
    /// Milliseconds since 1970.
    WideDate,
    /// The bits of an `f32`.
    WideFloat,
    /// The bits of an `f64`.
    WideDouble,
    /// Data serialized by a language.
    Serialized(Serializer),
}

impl Encoding {
    /// Decodes a value in this form.
    pub(crate) fn read(self, bytes: Bytes) -> Result<Value, ValueError> {
        match self {
            Self::Bytes | Self::Octets => Ok(Value::Bytes(bytes)),
            Self::Text => text(bytes).map(Value::Text),
            Self::Decimal => decimal(bytes),
            Self::DigitBool => match bytes.as_ref() {
                b"0" => Ok(Value::Bool(false)),
                b"1" => Ok(Value::Bool(true)),
                _ => decimal(bytes),
            },
            Self::ByteBool => match bytes.as_ref() {
                [0] => Ok(Value::Bool(false)),
                [1] => Ok(Value::Bool(true)),
                _ => Err(ValueError::malformed("true or false", "it is neither the byte 0 nor the byte 1")),
            },
            Self::PhpBool => match bytes.as_ref() {
                b"" | b"0" => Ok(Value::Bool(false)),
                b"1" => Ok(Value::Bool(true)),
                _ => Err(ValueError::malformed("true or false", "it is neither empty nor the digit 1")),
            },
            Self::PhpFloat => php_float(&bytes).map(Value::Float),
            Self::Byte => signed(&bytes, 1).map(|number| Value::Integer(number.into())),
            Self::Packed(width) | Self::Wide(width) => signed(&bytes, width).map(|it| Value::Integer(it.into())),
            Self::PackedDate | Self::WideDate => date(signed(&bytes, 8)?).map(Value::Date),
            Self::PackedFloat | Self::WideFloat => {
                Ok(Value::Float(f32::from_bits(u32::from_be_bytes(last_bytes(&unsigned(&bytes, 4)?))).into()))
            }
            Self::PackedDouble | Self::WideDouble => Ok(Value::Float(f64::from_be_bytes(unsigned(&bytes, 8)?))),
            Self::Character => character(&bytes).map(Value::Text),
            Self::Serialized(by) => Ok(Value::Serialized { by, bytes }),
        }
    }

    /// Encodes a value in this form; `None` if that is not possible, or the client uses another form for it.
    pub(crate) fn write(self, value: &Value) -> Option<CowBytes<'_>> {
        match (self, value) {
            (Self::Bytes | Self::Octets, Value::Bytes(bytes)) => Some(bytes.into()),
            (Self::Octets | Self::Text, Value::Text(text)) => Some(text.as_bytes().into()),
            (Self::Decimal, Value::Integer(number)) => Some(number.to_string().into()),
            (Self::Decimal, Value::BigInteger(digits)) if number::is_decimal(digits) => Some(digits.as_bytes().into()),
            (Self::DigitBool, Value::Bool(value)) => Some(if *value { "1" } else { "0" }.into()),
            (Self::ByteBool, Value::Bool(value)) => Some(if *value { &[1] } else { &[0] }.into()),
            (Self::PhpBool, Value::Bool(value)) => Some(if *value { "1" } else { "" }.into()),
            (Self::PhpFloat, Value::Float(number)) => Some(php_digits(*number).into()),
            (Self::Packed(width), Value::Integer(number)) => Some(packed(&to_width(*number, width)?)),
            (Self::Wide(width), Value::Integer(number)) => Some(to_width(*number, width)?.into()),
            (Self::PackedDate, Value::Date(time)) => Some(packed(&milliseconds(*time)?.to_be_bytes())),
            (Self::WideDate, Value::Date(time)) => Some(milliseconds(*time)?.to_be_bytes().to_vec().into()),
            (Self::PackedDouble, Value::Float(number)) => Some(packed(&number.to_be_bytes())),
            (Self::WideDouble, Value::Float(number)) => Some(number.to_be_bytes().to_vec().into()),
            (Self::Serialized(known), Value::Serialized { by, bytes }) if known == *by => Some(bytes.into()),
            _ => None,
        }
    }

    /// Returns whether clients support compression of this form.
    pub(crate) fn may_be_compressed(self) -> bool {
        matches!(self, Self::Bytes | Self::Octets | Self::Text | Self::Serialized(_))
    }
}

fn text(bytes: Bytes) -> Result<ByteString, ValueError> {
    ByteString::try_from(bytes).map_err(|error| ValueError::malformed("text", Reason::caused_by(error)))
}

/// Decodes an integer; one beyond 128 bits is kept as digits.
fn decimal(bytes: Bytes) -> Result<Value, ValueError> {
    match number::parse(&bytes) {
        Ok(number) => Ok(Value::Integer(number)),
        Err(error) => {
            let digits = text(bytes).ok().filter(|digits| number::is_decimal(digits));
            digits.map(Value::BigInteger).ok_or(error)
        }
    }
}

fn php_float(bytes: &[u8]) -> Result<f64, ValueError> {
    let malformed = |reason| ValueError::malformed("a floating-point number", reason);
    match std::str::from_utf8(bytes).map_err(|_| malformed("it is not UTF-8"))? {
        "Infinity" => Ok(f64::INFINITY),
        "-Infinity" => Ok(f64::NEG_INFINITY),
        "NaN" => Ok(f64::NAN),
        digits => digits.parse().map_err(|_| malformed("it is not a number")),
    }
}

fn php_digits(number: f64) -> String {
    match number {
        f64::INFINITY => "Infinity".to_owned(),
        f64::NEG_INFINITY => "-Infinity".to_owned(),
        _ if number.is_nan() => "NaN".to_owned(),
        _ => format!("{number:?}"),
    }
}

/// Removes the leading zeros of big-endian bytes.
fn packed(bytes: &[u8]) -> CowBytes<'static> {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.get(zeros..).unwrap_or_default().to_vec().into()
}

/// Decodes at most `width` big-endian bytes whose leading zeros may be omitted.
fn unsigned(bytes: &[u8], width: usize) -> Result<[u8; 8], ValueError> {
    if bytes.len() > width {
        let reason = format!("it has {} bytes, and {width} at most were expected", bytes.len());
        return Err(ValueError::malformed("a number in binary", reason));
    }
    Ok(last_bytes(bytes))
}

/// Returns the last `N` bytes, padded with leading zeros.
fn last_bytes<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut filled = [0; N];
    for (target, byte) in filled.iter_mut().rev().zip(bytes.iter().rev()) {
        *target = *byte;
    }
    filled
}

/// Parses a signed integer of `width` bytes, whose leading zeros may be omitted.
fn signed(bytes: &[u8], width: usize) -> Result<i64, ValueError> {
    let number = u64::from_be_bytes(unsigned(bytes, width)?);
    Ok(match width {
        1 => i64::from(u8::try_from(number).unwrap_or_default().cast_signed()),
        4 => i64::from(u32::try_from(number).unwrap_or_default().cast_signed()),
        _ => number.cast_signed(),
    })
}

/// Encodes an integer in `width` bytes, if it fits.
fn to_width(number: i128, width: usize) -> Option<Vec<u8>> {
    match width {
        4 => Some(i32::try_from(number).ok()?.to_be_bytes().to_vec()),
        _ => Some(i64::try_from(number).ok()?.to_be_bytes().to_vec()),
    }
}

fn date(milliseconds: i64) -> Result<SystemTime, ValueError> {
    let distance = Duration::from_millis(milliseconds.unsigned_abs());
    let time = match milliseconds {
        0.. => UNIX_EPOCH.checked_add(distance),
        _ => UNIX_EPOCH.checked_sub(distance),
    };
    time.ok_or_else(|| ValueError::malformed("a date", "this system has no such time"))
}

/// Returns the milliseconds since 1970, rounded down.
fn milliseconds(time: SystemTime) -> Option<i64> {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_millis()).ok(),
        Err(before) => i64::try_from(before.duration().as_nanos().div_ceil(1_000_000)).ok()?.checked_neg(),
    }
}

fn character(bytes: &[u8]) -> Result<ByteString, ValueError> {
    let code = u64::from_be_bytes(unsigned(bytes, 4)?);
    let character = u32::try_from(code).ok().and_then(char::from_u32);
    let malformed = || ValueError::malformed("a character", "it is not a valid code point");
    character.map(|character| character.to_string().into()).ok_or_else(malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(form: Encoding, bytes: &'static [u8], value: impl Into<Value>) {
        let value = value.into();
        assert_eq!(form.read(Bytes::from_static(bytes)), Ok(value.clone()), "{form:?} reads {bytes:x?}");
        let written = form.write(&value).map(CowBytes::into_bytes);
        assert_eq!(written.as_deref(), Some(bytes), "{form:?} writes {value:?}");
    }

    #[track_caller]
    fn check_refused(form: Encoding, bytes: &'static [u8]) {
        let result = form.read(Bytes::from_static(bytes));
        assert!(matches!(result, Err(ValueError::Malformed { .. })), "{form:?} of {bytes:x?}: {result:?}");
    }

    #[test]
    fn numbers_without_their_leading_zeros() {
        check(Encoding::Packed(4), b"", 0);
        check(Encoding::Packed(4), b"\x2a", 42);
        check(Encoding::Packed(4), b"\x80", 128);
        check(Encoding::Packed(4), b"\xff\xff\xff\xd6", -42);
        check(Encoding::Packed(4), b"\x80\0\0\0", i32::MIN);
        check(Encoding::Packed(8), b"\xff\xff\xff\xd6", 4_294_967_254_i64);
        check(Encoding::Packed(8), b"\xff\xff\xff\xff\xff\xff\xff\xd6", -42);
        check(Encoding::PackedDouble, b"", 0.0);
        check(Encoding::PackedDouble, b"\xbf\xb9\x99\x99\x99\x99\x99\x9a", -0.1);
        check_refused(Encoding::Packed(4), b"\0\0\0\0\x2a");
        check_refused(Encoding::Packed(8), b"123456789");
        assert!(Encoding::Packed(4).write(&Value::from(1_i64 << 31)).is_none(), "the next form has room for it");
        assert!(Encoding::Packed(8).write(&Value::from(1_i128 << 63)).is_none());
    }

    #[test]
    fn numbers_with_all_their_bytes() {
        check(Encoding::Wide(4), b"\0\0\0\x2a", 42);
        check(Encoding::Wide(8), b"\xff\xff\xff\xff\xff\xff\xff\xd6", -42);
        check(Encoding::WideDouble, b"\0\0\0\0\0\0\0\0", 0.0);
        assert_eq!(Encoding::WideFloat.read(Bytes::from_static(b"\x3f\xc0\0\0")), Ok(Value::Float(1.5)));
        assert_eq!(Encoding::Byte.read(Bytes::from_static(b"\xfd")), Ok(Value::Integer(-3)));
        assert_eq!(Encoding::Character.read(Bytes::from_static(b"\0\0\0\xeb")), Ok("ë".into()));
        check_refused(Encoding::Character, b"\0\0\xd8\0");
        check_refused(Encoding::Byte, b"12");
    }

    #[test]
    fn dates_are_milliseconds_in_either_direction() {
        let at = |milliseconds| UNIX_EPOCH + Duration::from_millis(milliseconds);
        check(Encoding::PackedDate, b"\x01\x8b\xcf\xe5\x68\x7b", at(1_700_000_000_123));
        check(Encoding::WideDate, b"\xff\xff\xff\xff\xff\xff\xff\xff", UNIX_EPOCH - Duration::from_millis(1));
        assert_eq!(milliseconds(UNIX_EPOCH - Duration::from_nanos(1)), Some(-1));
        assert_eq!(milliseconds(UNIX_EPOCH + Duration::from_nanos(1)), Some(0));
        for extreme in [i64::MIN, i64::MAX] {
            let _ = date(extreme);
        }
    }

    #[test]
    fn floats_as_php_writes_them() {
        check(Encoding::PhpFloat, b"1.5", 1.5);
        check(Encoding::PhpFloat, b"1e300", 1e300);
        check(Encoding::PhpFloat, b"Infinity", f64::INFINITY);
        check(Encoding::PhpFloat, b"-Infinity", f64::NEG_INFINITY);
        assert_eq!(Encoding::PhpFloat.read(Bytes::from_static(b".1")), Ok(Value::Float(0.1)));
        assert_eq!(Encoding::PhpFloat.read(Bytes::from_static(b"1.0e+300")), Ok(Value::Float(1e300)));
        assert!(
            matches!(Encoding::PhpFloat.read(Bytes::from_static(b"NaN")), Ok(Value::Float(number)) if number.is_nan())
        );
        check_refused(Encoding::PhpFloat, b"one");
        check_refused(Encoding::PhpFloat, b"\xff");
    }

    #[test]
    fn booleans() {
        check(Encoding::DigitBool, b"1", true);
        check(Encoding::ByteBool, b"\0", false);
        check(Encoding::PhpBool, b"", false);
        assert_eq!(Encoding::DigitBool.read(Bytes::from_static(b"42")), Ok(Value::Integer(42)));
        check_refused(Encoding::ByteBool, b"1");
        check_refused(Encoding::PhpBool, b"true");
    }

    #[test]
    fn integers_have_no_bound() {
        check(Encoding::Decimal, b"-42", -42);
        check(Encoding::Decimal, b"-170141183460469231731687303715884105728", i128::MIN);
        let digits = "170141183460469231731687303715884105728";
        check(Encoding::Decimal, digits.as_bytes(), Value::BigInteger(ByteString::from_static(digits)));
        assert!(Encoding::Decimal.write(&Value::BigInteger("1e5".into())).is_none());
        check_refused(Encoding::Decimal, b"1e5");
    }
}
