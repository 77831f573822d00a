//! Why a connection could not be opened, or was lost.

use std::sync::Arc;

use crate::error::Error;
use crate::proto::{Delivery, Reply, Status};
use crate::reason::{Cause, Reason};

/// Why a connection could not be opened, or was lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The server cannot be reached, or fails in a way that may be temporary.
    Unreachable(Reason),
    /// The server, or a proxy in front of it, closed the connection instead of replying. This may be temporary, or the
    /// server does not support the request.
    Closed(Reason),
    /// TLS could not be negotiated: a certificate or a setting has to be changed.
    #[cfg_attr(not(feature = "tls"), expect(dead_code, reason = "without the feature there is no TLS to fail"))]
    Tls(Reason),
    /// Client and server are configured for different kinds of authentication: a setting has to be changed.
    Auth(Reason),
    /// The server refused the credentials, or requires some: the same ones are not sent again.
    Refused(Reason),
}

impl Failure {
    /// Creates a failure that may be temporary, described by `text`, which includes the cause's text.
    pub(crate) fn unreachable(text: impl Into<String>, cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Unreachable(Reason::with_cause(text, Arc::new(cause)))
    }

    /// Returns the description.
    pub(crate) fn reason(&self) -> &str {
        self.details().text()
    }

    /// Returns the error that caused it.
    pub(crate) fn cause(&self) -> Option<&Cause> {
        self.details().cause()
    }

    fn details(&self) -> &Reason {
        match self {
            Self::Unreachable(reason)
            | Self::Closed(reason)
            | Self::Tls(reason)
            | Self::Auth(reason)
            | Self::Refused(reason) => reason,
        }
    }

    /// Returns the status of requests that fail because of it, unless that is `Disconnected`.
    pub(crate) fn status(&self) -> Option<Status> {
        match self {
            Self::Unreachable(_) | Self::Closed(_) => None,
            Self::Tls(_) => Some(Status::TlsError),
            Self::Auth(_) | Self::Refused(_) => Some(Status::AuthError),
        }
    }

    /// Returns the reply to a request that was not sent because of it.
    pub(crate) fn reply(&self) -> Reply {
        let reason = self.reason().to_owned();
        match self.status() {
            Some(status) => Reply::with_text(status, reason),
            None => Reply::disconnected(Delivery::NotSent, reason),
        }
    }

    /// Returns whether it lasts until a setting is changed, so that retrying soon is useless.
    pub(crate) fn lasts(&self) -> bool {
        !matches!(self, Self::Unreachable(_) | Self::Closed(_))
    }
}

/// The error of a connection that could not be opened.
impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        let error = Self::from(&failure.reply());
        match failure.cause() {
            Some(cause) => error.caused_by_shared(Arc::clone(cause)),
            None => error,
        }
    }
}
