//! The error type.

use std::fmt;
use std::sync::Arc;

use crate::proto::{Delivery, InvalidKey, InvalidRequest, InvalidTtl, Reply, Status};
use crate::reason::Cause;

/// An error of the client, with its kind, its server, and a message that says what to do.
///
/// A server's *decision* is not an error: a miss, or an item that was not stored, is a value.
#[derive(Clone)]
pub struct Error(Box<Details>);

#[derive(Clone)]
struct Details {
    kind: ErrorKind,
    server: Option<Arc<str>>,
    message: String,
    source: Option<Cause>,
}

/// The kinds of [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The key is invalid, or the server's protocol cannot express it; nothing was sent.
    InvalidKey,
    /// An argument is invalid, as detected by the client or the server.
    InvalidArguments,
    /// The value exceeds the client's or the server's limit.
    ValueTooLarge,
    /// The stored value is not a number.
    NonNumericValue,
    /// The CAS value differs: the item was changed in the meantime.
    Conflict,
    /// The codec of a cache cannot encode the value; nothing was sent.
    Encode,
    /// The codec of a cache cannot decode the stored value.
    Decode,
    /// The server does not have enough memory for the item.
    OutOfMemory,
    /// The server requires authentication, or refused it; the request was not executed.
    Auth,
    /// The TLS handshake failed, for instance because the server's certificate is invalid; the request was not
    /// executed.
    Tls,
    /// The server or the protocol does not support the request.
    Unsupported,
    /// The server answered with another error.
    Server,
    /// The connection was lost, or the server is known to be down.
    Disconnected(Delivery),
    /// The deadline passed.
    TimedOut(Delivery),
    /// The connection's limits are reached.
    Overloaded,
    /// A server list, address, URL or setting is malformed, or the client is used without a Tokio runtime or on one
    /// without I/O or timers.
    Config,
    /// A source of server lists failed or returned an invalid list.
    Discovery,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Details { kind, server: None, message: message.into(), source: None }))
    }

    pub(crate) fn config(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Config, message)
    }

    /// Sets the cause, which the message includes.
    pub(crate) fn caused_by(self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.caused_by_shared(Arc::new(source))
    }

    /// Sets the cause, which the message includes or explains.
    pub(crate) fn caused_by_shared(mut self, source: Cause) -> Self {
        self.0.source = Some(source);
        self
    }

    /// Sets the server.
    pub(crate) fn at(mut self, server: &Arc<str>) -> Self {
        self.0.server = Some(Arc::clone(server));
        self
    }

    /// Returns the kind of the error.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Returns the server, as configured.
    pub fn server(&self) -> Option<&str> {
        self.0.server.as_deref()
    }

    /// Returns whether the request failed for lack of a connection: it was lost, the server is known to be down, or TLS
    /// failed.
    pub fn is_disconnected(&self) -> bool {
        matches!(self.0.kind, ErrorKind::Disconnected(_) | ErrorKind::Tls)
    }

    /// Returns whether the deadline passed.
    pub fn is_timeout(&self) -> bool {
        matches!(self.0.kind, ErrorKind::TimedOut(_))
    }

    /// Returns whether the cache is unavailable, so that the program should continue without it.
    ///
    /// Failed authentication and TLS count too, although they need a configuration change:
    /// [`Error::kind`] distinguishes them.
    pub fn is_unavailable(&self) -> bool {
        let unasked = matches!(self.0.kind, ErrorKind::Overloaded | ErrorKind::Auth);
        self.is_disconnected() || self.is_timeout() || unasked
    }

    /// Returns whether the request may have taken effect, which decides whether repeating it is safe.
    pub fn may_have_executed(&self) -> bool {
        use ErrorKind::{Disconnected, TimedOut};
        matches!(self.0.kind, Disconnected(Delivery::MaybeSent) | TimedOut(Delivery::MaybeSent))
    }
}

impl ErrorKind {
    pub(crate) fn of(status: Status) -> Self {
        match status {
            Status::InvalidArguments => Self::InvalidArguments,
            Status::InvalidKey => Self::InvalidKey,
            Status::ValueTooLarge => Self::ValueTooLarge,
            Status::NonNumericValue => Self::NonNumericValue,
            Status::KeyExists => Self::Conflict,
            Status::OutOfMemory => Self::OutOfMemory,
            Status::AuthError | Status::AuthContinue => Self::Auth,
            Status::UnknownCommand | Status::Unsupported => Self::Unsupported,
            Status::Disconnected(delivery) => Self::Disconnected(delivery),
            Status::TimedOut(delivery) => Self::TimedOut(delivery),
            Status::Overloaded => Self::Overloaded,
            Status::TlsError => Self::Tls,
            Status::Misconfigured => Self::Config,
            _ => Self::Server,
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::InvalidKey => "invalid key",
            Self::InvalidArguments => "invalid arguments",
            Self::ValueTooLarge => "value too large",
            Self::NonNumericValue => "the stored value is not a number",
            Self::Conflict => "the item exists or was changed in the meantime",
            Self::Encode => "the value cannot be encoded",
            Self::Decode => "the stored value cannot be decoded",
            Self::OutOfMemory => "the server is out of memory",
            Self::Auth => "authentication failed",
            Self::Tls => "TLS failed",
            Self::Unsupported => "not supported",
            Self::Server => "the server failed",
            Self::Disconnected(Delivery::NotSent) => "disconnected, the request was not sent",
            Self::Disconnected(Delivery::MaybeSent) => "disconnected, the request may have taken effect",
            Self::TimedOut(Delivery::NotSent) => "timed out, the request was not sent",
            Self::TimedOut(Delivery::MaybeSent) => "timed out, the request may have taken effect",
            Self::Overloaded => {
                "overloaded: too many requests or bytes wait on the connection; raise its limits, add connections, or ask less at a time"
            }
            Self::Config => "configuration",
            Self::Discovery => "discovery",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Details { kind, server, message, .. } = &*self.0;
        if let Some(server) = server {
            write!(f, "{server}: ")?;
        }
        match (kind, message.is_empty()) {
            (ErrorKind::Config | ErrorKind::Discovery | ErrorKind::InvalidKey, false) => f.write_str(message),
            (_, false) => write!(f, "{}: {message}", kind.text()),
            (_, true) => f.write_str(kind.text()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error({:?}: {self})", self.0.kind)
    }
}

impl std::error::Error for Error {
    /// Returns the underlying error, if there is one: an [`io::Error`](std::io::Error) or an error of rustls for a
    /// connection, a [`ValueError`](crate::value::ValueError) for a value, whose source is serde's error. The message
    /// includes or explains it.
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

/// Creates the error for a reply with an unexpected status.
impl From<&Reply> for Error {
    fn from(reply: &Reply) -> Self {
        let kind = ErrorKind::of(reply.status);
        let message = match kind {
            // For these the server's text adds nothing to our message.
            ErrorKind::TimedOut(_) | ErrorKind::Overloaded => String::new(),
            _ => reply.text().into_owned(),
        };
        Self::new(kind, message)
    }
}

impl From<InvalidKey> for Error {
    fn from(invalid: InvalidKey) -> Self {
        Self::new(ErrorKind::InvalidKey, invalid.to_string()).caused_by(invalid)
    }
}

impl From<InvalidTtl> for Error {
    fn from(invalid: InvalidTtl) -> Self {
        Self::new(ErrorKind::InvalidArguments, invalid.to_string()).caused_by(invalid)
    }
}

impl From<InvalidRequest> for Error {
    fn from(invalid: InvalidRequest) -> Self {
        let kind = match invalid {
            InvalidRequest::Key(_) => ErrorKind::InvalidKey,
            InvalidRequest::ValueTooLarge { .. } => ErrorKind::ValueTooLarge,
            InvalidRequest::Unsupported(_) => ErrorKind::Unsupported,
            _ => ErrorKind::InvalidArguments,
        };
        Self::new(kind, invalid.to_string()).caused_by(invalid)
    }
}
