//! Real memcached servers on addresses of the loopback network, and lists that are drawn from them.

use std::net::{Ipv4Addr, SocketAddrV4};

use fastrand::Rng;
use remcache_testkit::Memcached;

use crate::Location;

/// Servers, every other one on the default port.
#[derive(Debug)]
pub(crate) struct Servers(Vec<Memcached>);

impl Servers {
    /// Starts so many.
    ///
    /// # Panics
    /// When memcached is missing or does not start.
    #[must_use]
    pub(crate) fn start(count: usize, random: &mut Rng) -> Self {
        // Another run of the same seed may have the same addresses.
        let mut start =
            |number| std::iter::repeat_with(|| address(number, random)).find_map(|it| Memcached::start_at(it, &[]));
        Self((0..count).filter_map(|number| start(number)).collect())
    }

    /// A list of some of these servers, in any order.
    ///
    /// # Panics
    /// When there are fewer.
    #[must_use]
    pub(crate) fn list(&self, length: usize, weights: bool, random: &mut Rng) -> Vec<Location> {
        let addresses = self.0.iter().map(|server| server.addr().parse().expect("a server listens on an address"));
        let chosen = random.choose_multiple(addresses, length);
        assert_eq!(chosen.len(), length, "there are {} servers", self.0.len());
        chosen.into_iter().map(|address| weighed(address, weights, random)).collect()
    }
}

/// A list of servers that need not exist.
#[must_use]
pub(crate) fn imaginary(length: usize, weights: bool, random: &mut Rng) -> Vec<Location> {
    let mut list: Vec<Location> = Vec::new();
    while list.len() < length {
        let port = if random.bool() { DEFAULT_PORT } else { random.u16(1..) };
        let address = SocketAddrV4::new(loopback(random), port);
        if list.iter().all(|other| other.address != address) {
            list.push(weighed(address, weights, random));
        }
    }
    list
}

fn weighed(address: SocketAddrV4, weights: bool, random: &mut Rng) -> Location {
    Location { address, weight: if weights { random.u32(1..=10) } else { 1 } }
}

/// Clients leave the default port out of what they hash, or do not.
fn address(number: usize, random: &mut Rng) -> SocketAddrV4 {
    // None is 127.0.0.1: spymemcached looks its name up, and hashes that.
    SocketAddrV4::new(loopback(random), if number.is_multiple_of(2) { DEFAULT_PORT } else { random.u16(PORTS) })
}

/// An address that Linux routes to itself, but not one of those in everyday use.
fn loopback(random: &mut Rng) -> Ipv4Addr {
    Ipv4Addr::new(127, random.u8(1..=254), random.u8(..), random.u8(1..=254))
}

const DEFAULT_PORT: u16 = 11211;
// Below those that Linux gives to outgoing connections.
const PORTS: std::ops::Range<u16> = 10_240..32_768;
