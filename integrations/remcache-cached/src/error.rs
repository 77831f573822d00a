//! Errors of the store.

use std::fmt;
use std::time::Duration;

/// An error of the store: the cache is unavailable and the store fails closed, or a server rejects the request.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Error {
    /// The error of the memcached client, which names the server.
    Client(remcache::Error),
    /// The cache did not answer within the budget.
    BudgetExceeded(Duration),
}

impl Error {
    /// Returns whether the cache is unavailable.
    pub fn is_unavailable(&self) -> bool {
        match self {
            Self::Client(error) => error.is_unavailable(),
            Self::BudgetExceeded(_) => true,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(error) => error.fmt(f),
            Self::BudgetExceeded(budget) => write!(f, "memcached did not answer within the budget of {budget:?}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Client(error) => Some(error),
            Self::BudgetExceeded(_) => None,
        }
    }
}

impl From<remcache::Error> for Error {
    fn from(error: remcache::Error) -> Self {
        Self::Client(error)
    }
}
