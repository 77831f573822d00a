//! Typed values, in the notation of the line protocol.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// A value of a type that most languages have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Value {
    /// `text`, `bytes`, `int`, `bool`, `float`, `none`, `list` (always the numbers 1 and 3.0 with the text `two`
    /// between them); in Java also `long`, `byte`, `float32`, `date` (milliseconds since 1970).
    #[serde(rename = "type")]
    pub type_name: String,
    /// The number of repetitions of the content.
    #[serde(default = "once", skip_serializing_if = "is_once")]
    pub times: usize,
    /// The content: text as it is, bytes as hexadecimal, other types as literals.
    pub value: String,
}

impl Value {
    /// Creates a value.
    #[must_use]
    pub fn new(type_name: &str, times: usize, value: &str) -> Self {
        Self { type_name: type_name.to_owned(), times, value: value.to_owned() }
    }

    /// Returns whether both are the same value.
    ///
    /// Text equals its bytes, and integers of different sizes are equal: not every language distinguishes them.
    #[must_use]
    pub fn equals(&self, other: &Self) -> bool {
        match (self.type_class(), other.type_class()) {
            (TypeClass::Content, TypeClass::Content) => self.content() == other.content(),
            (TypeClass::Integer, TypeClass::Integer) => self.value == other.value,
            (TypeClass::Float, TypeClass::Float) => self.number() == other.number() || self.is_same_float32(other),
            (TypeClass::Other, TypeClass::Other) => self.type_name == other.type_name && self.value == other.value,
            _ => false,
        }
    }

    fn type_class(&self) -> TypeClass {
        match self.type_name.as_str() {
            "text" | "bytes" => TypeClass::Content,
            "int" | "long" | "byte" => TypeClass::Integer,
            "float" | "float32" => TypeClass::Float,
            _ => TypeClass::Other,
        }
    }

    /// Returns whether one of both is a `float32`, and both are equal as such.
    fn is_same_float32(&self, other: &Self) -> bool {
        let bits = |value: &Self| value.value.parse().ok().map(f32::to_bits);
        (self.type_name == "float32" || other.type_name == "float32")
            && bits(self).is_some()
            && bits(self) == bits(other)
    }

    /// Returns the bytes of text and of bytes.
    fn content(&self) -> Option<Vec<u8>> {
        match self.type_name.as_str() {
            "text" => Some(self.value.repeat(self.times).into_bytes()),
            "bytes" => hex::decode(self.value.repeat(self.times)).ok(),
            _ => None,
        }
    }

    /// Returns the bits of a number; NaN has one representation here.
    fn number(&self) -> Option<u64> {
        self.value.parse().ok().map(f64::to_bits)
    }
}

/// Types whose values can be equal.
enum TypeClass {
    Content,
    Integer,
    Float,
    Other,
}

/// Writes the value as three words of the line protocol.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let content = if self.type_name == "text" { hex::encode(&self.value) } else { self.value.clone() };
        let content = if content.is_empty() { "-" } else { &content };
        write!(f, "{} {} {content}", self.type_name, self.times)
    }
}

impl FromStr for Value {
    type Err = anyhow::Error;

    fn from_str(line: &str) -> Result<Self> {
        let mut words = line.split(' ');
        let mut word = || words.next().with_context(|| format!("invalid value: {line:?}"));
        let (type_name, times, content) = (word()?, word()?.parse()?, word()?);
        let content = if content == "-" { "" } else { content };
        let value = match type_name {
            "text" => String::from_utf8(hex::decode(content)?)?,
            _ => content.to_owned(),
        };
        Ok(Self { type_name: type_name.to_owned(), times, value })
    }
}

/// Returns the values that every client writes, as far as it supports them.
#[must_use]
pub fn test_values() -> Vec<Value> {
    TEST_VALUES.iter().map(|&(type_name, times, value)| Value::new(type_name, times, value)).collect()
}

fn once() -> usize {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_once(times: &usize) -> bool {
    *times == 1
}

/// 64 bytes that compression does not shorten.
const INCOMPRESSIBLE: &str = "9f2ac81d5be3076471d4f80a63bd12cee7489b30f5266c8d01b97e54aa3fd862\
                     17e0cb495a83d62f9c0471b83e6dfa25d1580c93eb467f2ab5198dc460e7327f";

const TEST_VALUES: &[(&str, usize, &str)] = &[
    ("text", 1, ""),
    ("text", 1, "Hello"),
    ("text", 1, "Grüße, 世界 🌍"),
    ("text", 1, "42"),
    ("text", 1, "{\"looks\": \"like JSON\"}"),
    // Longer than each compression threshold of the clients: 100, 128, 400, 2000, 4096 and 16384 bytes.
    ("text", 101, "a"),
    ("text", 129, "b"),
    ("text", 401, "c"),
    ("text", 300, "remcache "),
    ("text", 600, "remcache "),
    ("text", 2000, "Grüße 🌍 "),
    ("bytes", 1, ""),
    ("bytes", 1, "00ff80"),
    ("bytes", 1, "789c"),
    ("bytes", 1, INCOMPRESSIBLE),
    ("bytes", 5, INCOMPRESSIBLE),
    ("bytes", 1000, "00ff80"),
    ("bytes", 10_000, "0001"),
    ("int", 1, "0"),
    ("int", 1, "1"),
    ("int", 1, "-1"),
    ("int", 1, "255"),
    ("int", 1, "256"),
    ("int", 1, "2147483647"),
    ("int", 1, "-2147483648"),
    ("int", 1, "2147483648"),
    ("int", 1, "9223372036854775807"),
    ("int", 1, "-9223372036854775808"),
    ("int", 1, "18446744073709551615"),
    ("int", 1, "1267650600228229401496703205376"),
    ("bool", 1, "true"),
    ("bool", 1, "false"),
    ("float", 1, "0.0"),
    ("float", 1, "1.5"),
    ("float", 1, "-0.1"),
    ("float", 1, "1e300"),
    ("float", 1, "3.141592653589793"),
    ("float", 1, "inf"),
    ("float", 1, "nan"),
    ("long", 1, "0"),
    ("long", 1, "-1"),
    ("long", 1, "4294967296"),
    ("long", 1, "9223372036854775807"),
    ("byte", 1, "0"),
    ("byte", 1, "127"),
    ("byte", 1, "-128"),
    ("float32", 1, "1.5"),
    ("float32", 1, "-0.1"),
    ("date", 1, "0"),
    ("date", 1, "1735689600000"),
    ("none", 1, ""),
    ("list", 1, ""),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_survives_the_line_protocol() {
        for value in test_values() {
            assert_eq!(value.to_string().parse::<Value>().unwrap(), value);
        }
    }

    #[test]
    fn values_are_compared_by_type_and_content() {
        let is = |one: (&str, &str), other: (&str, &str)| {
            Value::new(one.0, 1, one.1).equals(&Value::new(other.0, 1, other.1))
        };
        assert!(is(("float", "1e300"), ("float", "1.0e+300")));
        assert!(is(("float", "nan"), ("float", "NaN")));
        assert!(!is(("float", "0.0"), ("float", "-0.0")));
        assert!(!is(("float", "1"), ("int", "1")));
        assert!(is(("float32", "-0.1"), ("float", "-0.10000000149011612")));
        assert!(!is(("float", "-0.1"), ("float", "-0.10000000149011612")));
        assert!(is(("byte", "1"), ("long", "1")));
        assert!(is(("text", "é"), ("bytes", "c3a9")));
        assert!(!is(("text", "1"), ("int", "1")));
        assert!(!is(("bool", "true"), ("bool", "false")));
    }

    #[test]
    fn the_catalogue_has_no_duplicates() {
        let lines: std::collections::HashSet<String> = test_values().iter().map(Value::to_string).collect();
        assert_eq!(lines.len(), TEST_VALUES.len());
    }
}
