//! Credentials: a user and a password, or a provider that is called on every connect.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::address::Endpoint;
use crate::connection_failure::Failure;
use crate::reason::Reason;

/// A user and a password.
///
/// `Debug`, errors and logs never show them. They are zeroized when the last clone is dropped.
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
    /// Creates credentials. Neither part may contain a zero byte, the user must not be empty, and together they have at
    /// most 1,024 bytes; this is checked when they are used.
    pub fn new(user: impl Into<Vec<u8>>, password: impl Into<Vec<u8>>) -> Self {
        let secret = Secret { user: Zeroizing::new(user.into()), password: Zeroizing::new(password.into()) };
        Self { secret: Arc::new(secret), optional: false }
    }

    /// Accepts servers that do not require a password, for example while servers are migrated to authentication.
    ///
    /// By default such a server is rejected, because it may not be the intended one.
    #[must_use]
    pub fn optional(self) -> Self {
        Self { optional: true, ..self }
    }

    pub(crate) fn is_optional(&self) -> bool {
        self.optional
    }

    /// Checks that the credentials can be sent; errors do not show them.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        let Secret { user, password } = &*self.secret;
        match user.len().saturating_add(password.len()) {
            _ if user.is_empty() => Err("the user is empty"),
            _ if user.contains(&0) || password.contains(&0) => Err("user or password has a zero byte"),
            ..=MAX_LEN => Ok(()),
            _ => Err("user and password have more than 1,024 bytes together"),
        }
    }

    /// Returns the message of SASL's PLAIN mechanism (RFC 4616): an empty authorization identity, user, password.
    pub(crate) fn sasl_plain_message(&self) -> Zeroizing<Vec<u8>> {
        self.joined(&[b"\0", &self.secret.user, b"\0", &self.secret.password])
    }

    /// Returns the value of the `set` that authenticates with a password file; `None` if the user contains a space,
    /// which would separate it from the password.
    pub(crate) fn token(&self) -> Option<Zeroizing<Vec<u8>>> {
        let Secret { user, password } = &*self.secret;
        (!user.contains(&b' ')).then(|| self.joined(&[user, b" ", password]))
    }

    fn joined(&self, parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
        let length = parts.iter().map(|part| part.len()).sum();
        // Allocated with its full length, because a growing vector leaves copies behind that are not zeroized.
        let mut joined = Zeroizing::new(Vec::with_capacity(length));
        parts.iter().for_each(|part| joined.extend_from_slice(part));
        joined
    }
}

const MAX_LEN: usize = 1024;

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("optional", &self.optional).finish_non_exhaustive()
    }
}

/// The future returned by [`CredentialsProvider::credentials`].
pub type CredentialsFuture<'a> = Pin<Box<dyn Future<Output = Result<Credentials, ProviderError>> + Send + 'a>>;

/// The error of a credentials provider. Its text is shown in errors and logs.
pub type ProviderError = Box<dyn std::error::Error + Send + Sync>;

/// Provides credentials on every connect, so that a new password does not require a restart.
///
/// It is implemented for closures without arguments that return a future:
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
    /// Returns the current credentials for a server. The call is part of connecting and subject to its timeout.
    ///
    /// # Errors
    /// Fails if no credentials are available at the moment; connecting is retried later.
    ///
    /// # Cancel safety
    /// Dropping the future aborts the attempt.
    fn credentials<'a>(&'a self, server: &'a Endpoint) -> CredentialsFuture<'a>;
}

impl<F, P> CredentialsProvider for F
where
    F: Fn() -> P + Send + Sync + 'static,
    P: Future<Output = Result<Credentials, ProviderError>> + Send + 'static,
{
    fn credentials<'a>(&'a self, _: &'a Endpoint) -> CredentialsFuture<'a> {
        Box::pin(self())
    }
}

/// The configured source of credentials.
#[derive(Clone)]
pub(crate) enum CredentialsSource {
    Fixed(Credentials),
    Provider(Arc<dyn CredentialsProvider>),
}

impl CredentialsSource {
    /// Returns the current credentials for a server.
    pub(crate) async fn get(&self, server: &Endpoint) -> Result<Credentials, Failure> {
        let credentials = match self {
            Self::Fixed(credentials) => credentials.clone(),
            Self::Provider(provider) => provider.credentials(server).await.map_err(|error| {
                let text = format!("the provider of credentials failed: {error}");
                Failure::Unreachable(Reason::with_cause(text, error.into()))
            })?,
        };
        credentials.check().map_err(|what| Failure::Auth(what.into()))?;
        Ok(credentials)
    }
}

impl fmt::Debug for CredentialsSource {
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
        let long = "x".repeat(MAX_LEN);
        for (user, password, word) in
            [("", "canary", "empty"), ("us\0er", "canary", "zero"), ("user", "cana\0ry", "zero"), ("u", &long, "1,024")]
        {
            let said = Credentials::new(user, password).check().unwrap_err();
            assert!(said.contains(word) && !said.contains("canary"), "{said}");
        }
        assert_eq!(Credentials::new("user", "").check(), Ok(()));
    }

    #[test]
    fn messages_have_the_format_of_servers() {
        let credentials = Credentials::new("bob", "a secret");
        assert_eq!(&credentials.sasl_plain_message()[..], b"\0bob\0a secret");
        assert_eq!(&credentials.token().unwrap()[..], b"bob a secret");
        assert!(Credentials::new("bob smith", "secret").token().is_none());
    }

    #[test]
    fn neither_user_nor_password_is_shown() {
        let credentials = Credentials::new("canary", "canary").optional();
        let shown = [format!("{credentials:?}"), format!("{:?}", CredentialsSource::Fixed(credentials))];
        assert!(shown.iter().all(|shown| !shown.contains("canary")), "{shown:?}");
    }
}
