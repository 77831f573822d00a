//! An item of a dump, and its JSON document.

use base64::engine::general_purpose::STANDARD;
use base64::{DecodeError, Engine as _};
use bytes::Bytes;
use remcache::Key;
use serde::Deserialize;
use serde_json::Value;

/// An item of a dump.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct DumpItem {
    pub(crate) key: Bytes,
    pub(crate) value: Bytes,
    pub(crate) flags: u32,
    /// In seconds of Unix time; `None` for never.
    pub(crate) expires: Option<u64>,
}

/// An item as its JSON document, with fields of any type: an error names the field. Unknown fields are errors: an item
/// without the time to live that a field `ttl` was meant to give would be stored for ever.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct JsonItem {
    key: Option<Value>,
    key_b64: Option<Value>,
    value: Option<Value>,
    value_b64: Option<Value>,
    flags: Option<Value>,
    expires: Option<Value>,
}

impl JsonItem {
    /// Checks the fields, and returns the item.
    pub(super) fn item(self) -> Result<DumpItem, String> {
        let key = bytes("key", self.key, self.key_b64)?;
        Key::new(&key).map_err(|invalid| invalid.to_string())?;
        let value = bytes("value", self.value, self.value_b64)?;
        let flags = match self.flags {
            Some(flags) => {
                number(&flags).ok_or_else(|| unexpected("flags", &flags, "a number from 0 to 4294967295"))?
            }
            None => 0,
        };
        let expires = match self.expires {
            // Protocols have 32 bits for a time, which end in 2106.
            Some(at) => Some(number(&at).filter(|&at| at != u32::MAX).ok_or_else(|| {
                unexpected(
                    "expires",
                    &at,
                    "a whole number of seconds of Unix time before 2106 (in jq: now + 3600 | floor)",
                )
            })?),
            None => None,
        };
        Ok(DumpItem { key, value, flags, expires: expires.map(u64::from) })
    }
}

/// Returns the bytes of a field, as text or in base64.
fn bytes(name: &str, plain: Option<Value>, base64: Option<Value>) -> Result<Bytes, String> {
    let encoded = format!("{name}_b64");
    match (plain, base64) {
        (Some(plain), None) => text(name, plain).map(Bytes::from),
        (None, Some(base64)) => match STANDARD.decode(text(&encoded, base64)?) {
            Ok(bytes) => Ok(bytes.into()),
            Err(DecodeError::InvalidByte(at, byte)) => {
                Err(format!("{encoded} is not base64: invalid character {:?} after {at} others", char::from(byte)))
            }
            Err(_) => Err(format!("{encoded} is not base64: it does not end as it should")),
        },
        (None, None) => Err(format!("an item needs {name} or {encoded}")),
        (Some(_), Some(_)) => Err(format!("an item has {name} or {encoded}, not both")),
    }
}

fn text(name: &str, value: Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text),
        value => Err(unexpected(name, &value, "a string")),
    }
}

fn number(value: &Value) -> Option<u32> {
    value.as_u64()?.try_into().ok()
}

/// Returns the message for a field of the wrong type.
fn unexpected(name: &str, value: &Value, expected: &str) -> String {
    let found = match value {
        Value::Null => "null".to_owned(),
        Value::Bool(truth) => truth.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(_) => "a string".to_owned(),
        Value::Array(_) => "an array".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    };
    format!("{name} is {found}, expected {expected}")
}
