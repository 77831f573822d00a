//! Encoding of stored sessions.

use std::collections::HashMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use tower_sessions_core::session::{Id, Record};
use tower_sessions_core::session_store::Error;

/// A session without its ID.
#[derive(Deserialize, Serialize)]
struct Stored {
    /// Seconds since the Unix epoch.
    expires: i64,
    data: HashMap<String, Value>,
}

#[derive(Serialize)]
struct StoredRef<'a> {
    expires: i64,
    data: &'a HashMap<String, Value>,
}

/// Returns the value to store.
pub(crate) fn encode(record: &Record) -> Result<Vec<u8>, Error> {
    let stored = StoredRef { expires: record.expiry_date.unix_timestamp(), data: &record.data };
    serde_json::to_vec(&stored).map_err(|error| Error::Encode(error.to_string()))
}

/// Returns the session of a value; `None` if it has expired.
pub(crate) fn decode(id: Id, value: &[u8]) -> Result<Option<Record>, Error> {
    let invalid = |error: &dyn std::fmt::Display| Error::Decode(format!("not a session: {error}"));
    let Stored { expires, data } = serde_json::from_slice(value).map_err(|error| invalid(&error))?;
    let expiry_date = OffsetDateTime::from_unix_timestamp(expires).map_err(|error| invalid(&error))?;
    Ok((expiry_date > OffsetDateTime::now_utc()).then_some(Record { id, data, expiry_date }))
}

/// Returns the time until a session expires, at most a year; zero if it has expired.
pub(crate) fn remaining_time(record: &Record) -> Duration {
    let remaining = record.expiry_date - OffsetDateTime::now_utc();
    Duration::try_from(remaining).unwrap_or(Duration::ZERO).min(MAX_TTL)
}

/// Returns the key of a session.
pub(crate) fn key(prefix: &str, id: Id) -> String {
    format!("{prefix}{}", hex::encode(Sha256::digest(id.0.to_be_bytes())))
}

/// The maximum time for which a session is stored.
const MAX_TTL: Duration = Duration::from_secs(365 * 86_400);

#[cfg(test)]
mod tests {
    use super::*;

    fn record(seconds: i64) -> Record {
        let data = HashMap::from([("user".to_owned(), Value::from("ada")), ("n".to_owned(), Value::from(1.5))]);
        let now = OffsetDateTime::now_utc().replace_nanosecond(0).expect("zero is valid");
        Record { id: Id(-7), data, expiry_date: now + time::Duration::seconds(seconds) }
    }

    #[test]
    fn a_session_is_read_as_it_was_written_without_its_id() {
        let value = encode(&record(60)).unwrap();
        assert_eq!(decode(Id(-7), &value).unwrap(), Some(record(60)));
        assert!(!String::from_utf8(value).unwrap().contains(&Id(-7).to_string()));
        assert_eq!(decode(Id(-7), &encode(&record(-1)).unwrap()).unwrap(), None, "it has expired");
    }

    #[test]
    fn a_value_that_is_not_a_session_is_an_error() {
        for value in [&b""[..], b"{}", b"null", br#"{"expires":1}"#, br#"{"expires":9223372036854775807,"data":{}}"#] {
            assert!(matches!(decode(Id(1), value), Err(Error::Decode(_))), "{}", value.escape_ascii());
        }
    }

    #[test]
    fn the_remaining_time_is_between_zero_and_a_year() {
        assert_eq!(remaining_time(&record(-5)), Duration::ZERO);
        assert!(remaining_time(&record(90 * 86_400)) > Duration::from_secs(89 * 86_400));
        assert_eq!(remaining_time(&record(5000 * 86_400)), MAX_TTL);
    }

    #[test]
    fn a_key_does_not_contain_the_id() {
        let key_of = |id| key("session:", Id(id));
        assert_eq!(key_of(1).len(), 8 + 64);
        assert_ne!(key_of(1), key_of(2));
        assert!(!key_of(1).contains(&Id(1).to_string()));
    }
}
