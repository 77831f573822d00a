//! Why a connection could not be had, or was lost.

use crate::proto::{Delivery, Reply, Status};

/// Why a connection could not be had, or was lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The server cannot be reached, or what is wrong may pass by itself.
    Unreachable(String),
    /// TLS could not be agreed on: somebody has to change a certificate or a setting.
    #[cfg_attr(not(feature = "tls"), expect(dead_code, reason = "without the feature there is no TLS to fail"))]
    Tls(String),
    /// Server and client do not agree on how to authenticate, or whether: somebody has to change a setting.
    Auth(String),
    /// The server refused these credentials, or that there are none: with the same it is not asked again.
    Refused(String),
}

impl Failure {
    /// What happened, in words.
    pub(crate) fn reason(&self) -> &str {
        match self {
            Self::Unreachable(reason) | Self::Tls(reason) | Self::Auth(reason) | Self::Refused(reason) => reason,
        }
    }

    /// The status of requests that meet it, where it is more than being disconnected.
    pub(crate) fn status(&self) -> Option<Status> {
        match self {
            Self::Unreachable(_) => None,
            Self::Tls(_) => Some(Status::TlsError),
            Self::Auth(_) | Self::Refused(_) => Some(Status::AuthError),
        }
    }

    /// The reply to a request that meets it, of which nothing was sent.
    pub(crate) fn reply(&self) -> Reply {
        let reason = self.reason().to_owned();
        match self.status() {
            Some(status) => Reply::with_text(status, reason),
            None => Reply::disconnected(Delivery::NotSent, reason),
        }
    }

    /// Whether it lasts until somebody changes something, so that trying again soon is of no use.
    pub(crate) fn lasts(&self) -> bool {
        !matches!(self, Self::Unreachable(_))
    }
}
