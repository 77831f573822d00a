//! A description of an error, with its cause.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

/// A shared error.
pub(crate) type Cause = Arc<dyn Error + Send + Sync>;

/// The description of an error, and the error that caused it if there is one.
///
/// ```
/// use remcache::value::Reason;
///
/// let error = "many".parse::<u32>().unwrap_err();
/// let reason = Reason::caused_by(error.clone());
/// assert_eq!(reason.to_string(), error.to_string());
/// assert_eq!(reason, Reason::from("invalid digit found in string"));
/// ```
#[derive(Clone)]
pub struct Reason {
    text: String,
    cause: Option<Cause>,
}

impl Reason {
    /// Creates a reason from an error, with its text.
    pub fn caused_by(cause: impl Error + Send + Sync + 'static) -> Self {
        Self { text: cause.to_string(), cause: Some(Arc::new(cause)) }
    }

    /// Creates a reason with this text, which includes or explains the cause's text.
    pub(crate) fn with_cause(text: impl Into<String>, cause: Cause) -> Self {
        Self { text: text.into(), cause: Some(cause) }
    }

    /// Returns the text.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Returns the error that caused it.
    pub(crate) fn cause(&self) -> Option<&Cause> {
        self.cause.as_ref()
    }

    /// Returns the error that caused it, as [`Error::source`] does.
    pub(crate) fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as _)
    }
}

impl From<String> for Reason {
    fn from(text: String) -> Self {
        Self { text, cause: None }
    }
}

impl From<&str> for Reason {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

/// Reasons are equal if their texts are.
impl PartialEq for Reason {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Reason {}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}
