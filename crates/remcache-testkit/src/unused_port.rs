//! Unused ports of the loopback interface.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// Returns a port of 127.0.0.1 that is not in use, and never the same one twice in a process.
///
/// # Panics
/// Panics if no such port is found.
#[must_use]
pub fn unused_port() -> u16 {
    static RETURNED: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    // A panic cannot leave the set half changed, so a poisoned lock is safe to use.
    let mut returned = RETURNED.lock().unwrap_or_else(PoisonError::into_inner);
    (0..ATTEMPTS)
        .map(|_| fastrand::u16(PORTS))
        .find(|&port| is_free(port) && returned.insert(port))
        .expect("a port of 127.0.0.1 is free")
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

// Below the ephemeral ranges of Linux (from 32768), macOS and Windows (from 49152). In such a range, a client that
// connects to the port of a stopped server may be assigned that port as its own and connect to itself.
const PORTS: Range<u16> = 10_240..32_768;
const ATTEMPTS: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    #[test]
    fn an_unused_port_refuses_connections() {
        let refused = TcpStream::connect((Ipv4Addr::LOCALHOST, unused_port()));
        assert_eq!(refused.map_err(|error| error.kind()).err(), Some(std::io::ErrorKind::ConnectionRefused));
    }

    #[test]
    fn no_port_is_returned_twice() {
        let ports: BTreeSet<u16> = (0..200).map(|_| unused_port()).collect();
        assert_eq!(ports.len(), 200);
    }

    #[test]
    fn a_port_in_use_is_not_returned() {
        let port = unused_port();
        let _listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port));
        assert!(!is_free(port));
    }
}
