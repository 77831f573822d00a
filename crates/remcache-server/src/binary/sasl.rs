//! SASL authentication with the PLAIN mechanism.

use bytes::Bytes;
use remcache_proto::{Reply, Status};

use crate::settings::User;

/// The authentication state of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SaslAuth {
    /// The server has no users.
    NotRequired,
    /// The client has not authenticated, or has failed to.
    Unauthenticated,
    /// The client has chosen the mechanism but not sent its credentials yet.
    Started,
    Authenticated,
}

/// The mechanisms that the server offers.
const MECHANISMS: &str = "PLAIN";
const MAX_MECHANISM_LEN: usize = 32;

impl SaslAuth {
    pub(super) fn new(users: &[User]) -> Self {
        if users.is_empty() { Self::NotRequired } else { Self::Unauthenticated }
    }

    /// Returns whether requests other than authentication are executed.
    #[inline]
    pub(super) fn is_authenticated(self) -> bool {
        matches!(self, Self::NotRequired | Self::Authenticated)
    }

    pub(super) fn is_required(self) -> bool {
        self != Self::NotRequired
    }

    /// Lists the mechanisms. As in memcached, this revokes an earlier authentication.
    pub(super) fn list(&mut self) -> Reply {
        *self = Self::Unauthenticated;
        Reply::with_text(Status::NoError, Bytes::from_static(MECHANISMS.as_bytes()))
    }

    pub(super) fn start(&mut self, mechanism: &[u8], data: &[u8], users: &[User]) -> Reply {
        if mechanism.len() > MAX_MECHANISM_LEN {
            return Reply::new(Status::InvalidArguments);
        }
        let repeated = *self == Self::Authenticated;
        *self = Self::Unauthenticated;
        if repeated || !mechanism.eq_ignore_ascii_case(MECHANISMS.as_bytes()) {
            return Reply::new(Status::AuthError);
        }
        if data.is_empty() {
            *self = Self::Started;
            return Reply::new(Status::AuthContinue);
        }
        self.finish(data, users)
    }

    pub(super) fn step(&mut self, data: &[u8], users: &[User]) -> Reply {
        match std::mem::replace(self, Self::Unauthenticated) {
            Self::Started => self.finish(data, users),
            _ => Reply::new(Status::AuthError),
        }
    }

    fn finish(&mut self, data: &[u8], users: &[User]) -> Reply {
        if !are_valid(data, users) {
            return Reply::new(Status::AuthError);
        }
        *self = Self::Authenticated;
        Reply::with_text(Status::NoError, Bytes::from_static(b"Authenticated"))
    }
}

/// Returns whether PLAIN credentials belong to a user. They are an authorization identity, a name and a password,
/// separated by zero bytes.
fn are_valid(credentials: &[u8], users: &[User]) -> bool {
    let parts: Vec<&[u8]> = credentials.splitn(3, |byte| *byte == 0).collect();
    let [_, name, password] = parts[..] else { return false };
    users.iter().any(|user| user.has_credentials(name, password))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users() -> Vec<User> {
        vec![User::new("bob", "secret")]
    }

    #[test]
    fn plain_credentials_have_three_parts() {
        let cases: &[(&[u8], bool)] = &[
            (b"\0bob\0secret", true),
            (b"bob\0bob\0secret", true),
            (b"\0bob\0wrong", false),
            (b"\0bob\0secret\0", false),
            (b"\0alice\0secret", false),
            (b"bob\0secret", false),
            (b"", false),
        ];
        for (credentials, expected) in cases {
            assert_eq!(are_valid(credentials, &users()), *expected, "{}", credentials.escape_ascii());
        }
    }

    #[test]
    fn state_transitions() {
        use SaslAuth::{Authenticated, Started, Unauthenticated};
        let good: &[u8] = b"\0bob\0secret";
        let start = |mut sasl: SaslAuth, mechanism: &str, data: &[u8]| {
            (sasl.start(mechanism.as_bytes(), data, &users()).status, sasl)
        };
        let step = |mut sasl: SaslAuth, data: &[u8]| (sasl.step(data, &users()).status, sasl);
        let cases = [
            (start(Unauthenticated, "plain", good), (Status::NoError, Authenticated)),
            (start(Unauthenticated, "PLAIN", b"abc"), (Status::AuthError, Unauthenticated)),
            (start(Unauthenticated, "PLAIN", b""), (Status::AuthContinue, Started)),
            (start(Unauthenticated, "CRAM-MD5", b""), (Status::AuthError, Unauthenticated)),
            (start(Unauthenticated, &"X".repeat(33), good), (Status::InvalidArguments, Unauthenticated)),
            (start(Authenticated, "PLAIN", good), (Status::AuthError, Unauthenticated)),
            (step(Started, good), (Status::NoError, Authenticated)),
            (step(Unauthenticated, good), (Status::AuthError, Unauthenticated)),
            (step(Authenticated, good), (Status::AuthError, Unauthenticated)),
        ];
        for (index, (found, expected)) in cases.into_iter().enumerate() {
            assert_eq!(found, expected, "case {index}");
        }
    }
}
