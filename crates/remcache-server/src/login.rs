//! Authentication: what SASL's PLAIN mechanism needs, as memcached answers it.

use bytes::Bytes;
use remcache_proto::{Reply, Status};

/// How far the authentication of a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Login {
    /// The server knows no users.
    NotNeeded,
    /// Nobody, or somebody who failed.
    Stranger,
    /// The mechanism was chosen, the data are still to come.
    Started,
    /// Somebody whom the server knows.
    Known,
}

/// A name and a password.
#[derive(Clone)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) password: String,
}

impl std::fmt::Debug for User {
    // Passwords stay out of logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The mechanisms that are offered.
const MECHANISMS: &str = "PLAIN";
const LONGEST_MECHANISM: usize = 32;

impl Login {
    pub(crate) fn new(users: &[User]) -> Self {
        if users.is_empty() { Self::NotNeeded } else { Self::Stranger }
    }

    /// Whether other requests than those of the authentication are executed.
    #[inline]
    pub(crate) fn is_complete(self) -> bool {
        matches!(self, Self::NotNeeded | Self::Known)
    }

    pub(crate) fn is_needed(self) -> bool {
        self != Self::NotNeeded
    }

    /// Lists the mechanisms; whoever asks again is a stranger again.
    pub(crate) fn list(&mut self) -> Reply {
        *self = Self::Stranger;
        Reply::with_text(Status::NoError, Bytes::from_static(MECHANISMS.as_bytes()))
    }

    pub(crate) fn start(&mut self, mechanism: &[u8], data: &[u8], users: &[User]) -> Reply {
        if mechanism.len() > LONGEST_MECHANISM {
            return Reply::new(Status::InvalidArguments);
        }
        let again = *self == Self::Known;
        *self = Self::Stranger;
        if again || !mechanism.eq_ignore_ascii_case(MECHANISMS.as_bytes()) {
            return Reply::new(Status::AuthError);
        }
        if data.is_empty() {
            *self = Self::Started;
            return Reply::new(Status::AuthContinue);
        }
        self.finish(data, users)
    }

    pub(crate) fn step(&mut self, data: &[u8], users: &[User]) -> Reply {
        match std::mem::replace(self, Self::Stranger) {
            Self::Started => self.finish(data, users),
            _ => Reply::new(Status::AuthError),
        }
    }

    fn finish(&mut self, data: &[u8], users: &[User]) -> Reply {
        if !is_of(data, users) {
            return Reply::new(Status::AuthError);
        }
        *self = Self::Known;
        Reply::with_text(Status::NoError, Bytes::from_static(b"Authenticated"))
    }
}

/// Whether PLAIN's data (whom to act as, name and password, divided by zero bytes) are a user's.
fn is_of(data: &[u8], users: &[User]) -> bool {
    let parts: Vec<&[u8]> = data.splitn(3, |byte| *byte == 0).collect();
    let [_, name, password] = parts[..] else { return false };
    users.iter().any(|user| user.name.as_bytes() == name && user.password.as_bytes() == password)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users() -> Vec<User> {
        vec![User { name: "bob".into(), password: "secret".into() }]
    }

    #[test]
    fn plain_data_are_three_parts() {
        let cases: &[(&[u8], bool)] = &[
            (b"\0bob\0secret", true),
            (b"bob\0bob\0secret", true),
            (b"\0bob\0wrong", false),
            (b"\0bob\0secret\0", false),
            (b"\0alice\0secret", false),
            (b"bob\0secret", false),
            (b"", false),
        ];
        for (data, expected) in cases {
            assert_eq!(is_of(data, &users()), *expected, "{}", data.escape_ascii());
        }
    }

    #[test]
    fn what_each_request_leads_to() {
        use Login::{Known, Started, Stranger};
        let good: &[u8] = b"\0bob\0secret";
        let start = |mut login: Login, mechanism: &str, data: &[u8]| {
            (login.start(mechanism.as_bytes(), data, &users()).status, login)
        };
        let step = |mut login: Login, data: &[u8]| (login.step(data, &users()).status, login);
        let cases = [
            (start(Stranger, "plain", good), (Status::NoError, Known)),
            (start(Stranger, "PLAIN", b"abc"), (Status::AuthError, Stranger)),
            (start(Stranger, "PLAIN", b""), (Status::AuthContinue, Started)),
            (start(Stranger, "CRAM-MD5", b""), (Status::AuthError, Stranger)),
            (start(Stranger, &"X".repeat(33), good), (Status::InvalidArguments, Stranger)),
            (start(Known, "PLAIN", good), (Status::AuthError, Stranger)),
            (step(Started, good), (Status::NoError, Known)),
            (step(Stranger, good), (Status::AuthError, Stranger)),
            (step(Known, good), (Status::AuthError, Stranger)),
        ];
        for (index, (found, expected)) in cases.into_iter().enumerate() {
            assert_eq!(found, expected, "case {index}");
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        assert!(!format!("{:?}", users()).contains("secret"));
    }
}
