//! Ports of the loopback interface on which nobody listens.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// A port of 127.0.0.1 on which nobody listens, never the same one twice in a process.
///
/// # Panics
/// When no such port is found.
#[must_use]
pub fn unused_port() -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    // A port that was marked as given before a panic is still given.
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    (0..ATTEMPTS)
        .map(|_| fastrand::u16(PORTS))
        .find(|&port| is_free(port) && given.insert(port))
        .expect("a port of 127.0.0.1 is free")
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

// Below the ranges from which Linux (32768), macOS and Windows (49152) take the ports of outgoing
// connections. From inside such a range a client that connects to a dead server's port now and
// then gets that very port for its own end, and is connected to itself.
const PORTS: Range<u16> = 10_240..32_768;
const ATTEMPTS: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    #[test]
    fn nobody_listens_on_an_unused_port() {
        let refused = TcpStream::connect((Ipv4Addr::LOCALHOST, unused_port()));
        assert_eq!(refused.map_err(|error| error.kind()).err(), Some(std::io::ErrorKind::ConnectionRefused));
    }

    #[test]
    fn no_port_is_given_twice() {
        let ports: BTreeSet<u16> = (0..200).map(|_| unused_port()).collect();
        assert_eq!(ports.len(), 200);
    }

    #[test]
    fn a_port_in_use_is_not_given() {
        let port = unused_port();
        let _listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port));
        assert!(!is_free(port));
    }
}
