//! Identification of servers for observers: a name, and a small number that can index tables.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

/// A configured server, as reported to observers.
#[derive(Clone)]
pub struct ServerId {
    name: Arc<str>,
    address: Arc<str>,
    port: Option<u16>,
    id: u16,
}

/// The indices assigned so far, by server name.
static KNOWN: LazyLock<Mutex<HashMap<Arc<str>, u16>>> = LazyLock::new(Mutex::default);

impl ServerId {
    /// The highest index, shared by all servers created after the lower ones are assigned.
    pub const MAX_INDEX: usize = 1024;

    /// Creates a server with this name, at a host and port, or at a path.
    pub(crate) fn new(name: Arc<str>, address: &str, port: Option<u16>) -> Self {
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        let id = match known.get(&name) {
            Some(id) => *id,
            None if known.len() < Self::MAX_INDEX => {
                let id = u16::try_from(known.len()).unwrap_or(Self::OTHER);
                known.insert(Arc::clone(&name), id);
                id
            }
            None => Self::OTHER,
        };
        let address = if *name == *address { Arc::clone(&name) } else { address.into() };
        Self { name, address, port, id }
    }

    const OTHER: u16 = Self::MAX_INDEX as u16;

    /// Returns the name as errors and lists show it: `host:port`, or a path.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the host, or the path of a Unix socket.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Returns the port; `None` for a Unix socket.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// Returns a number from 0 to [`MAX_INDEX`](Self::MAX_INDEX), the same for all clients of the process that have a
    /// server of this name.
    ///
    /// It can index tables of counters, which then need neither a lock nor a hash. Because the highest number may be
    /// shared, the number of labels is bounded.
    pub fn index(&self) -> usize {
        self.id.into()
    }

    /// Returns the address, and the port unless it is the default one; `other` for a server with the shared index.
    #[cfg(feature = "opentelemetry")]
    pub(super) fn bounded(&self) -> (&str, Option<u16>) {
        match self.id {
            Self::OTHER => (self.label(), None),
            _ => (&self.address, self.non_default_port()),
        }
    }

    /// Returns the port, unless it is the default one.
    #[cfg(any(feature = "spans", feature = "opentelemetry"))]
    pub(super) fn non_default_port(&self) -> Option<u16> {
        self.port.filter(|port| *port != DEFAULT_PORT)
    }

    /// Returns the name, or `other` for a server with the shared index: a label of bounded cardinality.
    pub fn label(&self) -> &str {
        if self.id == Self::OTHER { "other" } else { &self.name }
    }
}

/// The default port, which is omitted.
#[cfg(any(feature = "spans", feature = "opentelemetry"))]
const DEFAULT_PORT: u16 = 11211;

impl fmt::Debug for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_id_and_ids_are_bounded() {
        let server = |name: &str| ServerId::new(name.into(), name, None);
        let first = server("observed.example");
        assert_eq!(server("observed.example").index(), first.index());
        let ids: Vec<_> = (0..2 * ServerId::MAX_INDEX).map(|n| server(&format!("bounded{n}")).index()).collect();
        assert!(ids.iter().all(|id| *id <= ServerId::MAX_INDEX));
        assert_eq!(server("bounded2047").label(), "other");
        assert_eq!(server("observed.example").index(), first.index());
    }
}
