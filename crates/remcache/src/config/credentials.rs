//! A user and a password, and where they come from at each connect.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::address::Endpoint;
use crate::failure::Failure;

/// A user and a password.
///
/// Neither is ever shown: not by `Debug`, not in errors, not in logs. Their memory is overwritten
/// when the last clone is dropped.
///
/// ```
/// use remcache::Config;
/// use remcache::config::Credentials;
///
/// let config = Config::new().credentials(Credentials::new("app", "secret"));
/// assert!(!format!("{config:?}").contains("secret"));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    secret: Arc<Secret>,
    optional: bool,
}

#[derive(PartialEq, Eq)]
struct Secret {
    user: Zeroizing<Vec<u8>>,
    password: Zeroizing<Vec<u8>>,
}

impl Credentials {
    /// A user and a password: neither has a zero byte, the user is not empty, and together they have
    /// at most 1,024 bytes. Anything else is refused where it is used.
    pub fn new(user: impl Into<Vec<u8>>, password: impl Into<Vec<u8>>) -> Self {
        let secret = Secret { user: Zeroizing::new(user.into()), password: Zeroizing::new(password.into()) };
        Self { secret: Arc::new(secret), optional: false }
    }

    /// Talks to servers that ask for no password too: for the time in which servers change over.
    ///
    /// Without this such a server is refused: it is not the one that was meant.
    #[must_use]
    pub fn optional(self) -> Self {
        Self { optional: true, ..self }
    }

    pub(crate) fn is_optional(&self) -> bool {
        self.optional
    }

    /// Refuses credentials that cannot be sent, without showing them.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        let Secret { user, password } = &*self.secret;
        match user.len().saturating_add(password.len()) {
            _ if user.is_empty() => Err("the user is empty"),
            _ if user.contains(&0) || password.contains(&0) => Err("user or password has a zero byte"),
            ..=LONGEST => Ok(()),
            _ => Err("user and password have more than 1,024 bytes together"),
        }
    }

    /// The message of SASL's PLAIN mechanism (RFC 4616): no authorization identity, user, password.
    pub(crate) fn plain(&self) -> Zeroizing<Vec<u8>> {
        self.joined(&[b"\0", &self.secret.user, b"\0", &self.secret.password])
    }

    /// What a server with a password file takes as the value of a `set`; a user with a space would
    /// differ there.
    pub(crate) fn token(&self) -> Option<Zeroizing<Vec<u8>>> {
        let Secret { user, password } = &*self.secret;
        (!user.contains(&b' ')).then(|| self.joined(&[user, b" ", password]))
    }

    fn joined(&self, parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
        let length = parts.iter().map(|part| part.len()).sum();
        // With its whole length from the start: what a growing vector leaves behind is not overwritten.
        let mut joined = Zeroizing::new(Vec::with_capacity(length));
        parts.iter().for_each(|part| joined.extend_from_slice(part));
        joined
    }
}

const LONGEST: usize = 1024;

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("optional", &self.optional).finish_non_exhaustive()
    }
}

/// The future of credentials that are being fetched.
pub type Providing<'a> = Pin<Box<dyn Future<Output = Result<Credentials, ProviderError>> + Send + 'a>>;

/// What a provider of credentials fails with. Its text is shown in errors and logs.
pub type ProviderError = Box<dyn std::error::Error + Send + Sync>;

/// Where credentials come from: asked at each connect, so that a new password needs no restart.
///
/// A closure without arguments that returns a future is one:
///
/// ```
/// use remcache::Config;
/// use remcache::config::Credentials;
///
/// let config = Config::new().credentials_provider(|| async {
///     let password = tokio::fs::read_to_string("/run/secrets/memcached").await?;
///     Ok(Credentials::new("app", password.trim_end()))
/// });
/// ```
pub trait CredentialsProvider: Send + Sync + 'static {
    /// The credentials for a server, now. The caller limits how long it may take: it is part of
    /// connecting.
    ///
    /// # Errors
    /// Whatever stands against it; the connection is tried again later.
    ///
    /// # Cancellation
    /// Dropping the future gives the attempt up.
    fn credentials<'a>(&'a self, server: &'a Endpoint) -> Providing<'a>;
}

impl<F, P> CredentialsProvider for F
where
    F: Fn() -> P + Send + Sync + 'static,
    P: Future<Output = Result<Credentials, ProviderError>> + Send + 'static,
{
    fn credentials<'a>(&'a self, _: &'a Endpoint) -> Providing<'a> {
        Box::pin(self())
    }
}

/// What the settings say of credentials.
#[derive(Clone)]
pub(crate) enum Source {
    Fixed(Credentials),
    Provider(Arc<dyn CredentialsProvider>),
}

impl Source {
    /// The credentials for a server, now.
    pub(crate) async fn ask(&self, server: &Endpoint) -> Result<Credentials, Failure> {
        let credentials = match self {
            Self::Fixed(credentials) => credentials.clone(),
            Self::Provider(provider) => provider
                .credentials(server)
                .await
                .map_err(|error| Failure::Unreachable(format!("the provider of credentials failed: {error}")))?,
        };
        credentials.check().map_err(|what| Failure::Auth(what.to_owned()))?;
        Ok(credentials)
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fixed(_) => "Fixed(..)",
            Self::Provider(_) => "Provider(..)",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inexpressible_credentials_are_refused_without_being_shown() {
        let long = "x".repeat(LONGEST);
        for (user, password, word) in
            [("", "canary", "empty"), ("us\0er", "canary", "zero"), ("user", "cana\0ry", "zero"), ("u", &long, "1,024")]
        {
            let said = Credentials::new(user, password).check().unwrap_err();
            assert!(said.contains(word) && !said.contains("canary"), "{said}");
        }
        assert_eq!(Credentials::new("user", "").check(), Ok(()));
    }

    #[test]
    fn messages_are_as_the_servers_want_them() {
        let credentials = Credentials::new("bob", "a secret");
        assert_eq!(&credentials.plain()[..], b"\0bob\0a secret");
        assert_eq!(&credentials.token().unwrap()[..], b"bob a secret");
        assert!(Credentials::new("bob smith", "secret").token().is_none());
    }

    #[test]
    fn neither_user_nor_password_is_shown() {
        let credentials = Credentials::new("canary", "canary").optional();
        let shown = [format!("{credentials:?}"), format!("{:?}", Source::Fixed(credentials))];
        assert!(shown.iter().all(|shown| !shown.contains("canary")), "{shown:?}");
    }
}
