//! Preferred servers for reads.

use std::fmt;
use std::sync::Arc;

use crate::address::Endpoint;

/// A predicate on servers.
#[derive(Clone)]
pub(crate) struct Preference(Arc<dyn Fn(&Endpoint) -> bool + Send + Sync>);

impl Preference {
    pub(crate) fn new(is_preferred: impl Fn(&Endpoint) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(is_preferred))
    }

    pub(crate) fn prefers(&self, server: &Endpoint) -> bool {
        (self.0)(server)
    }
}

impl fmt::Debug for Preference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Preference")
    }
}
