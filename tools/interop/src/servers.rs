//! Real memcached servers on loopback addresses, and random lists of them.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::Range;

use fastrand::Rng;
use remcache_testkit::Memcached;

use crate::{Placement, ServerSpec};

/// Running servers, some of them on the default port, some with a host name.
#[derive(Debug)]
pub(crate) struct Servers(Vec<Server>);

#[derive(Debug)]
struct Server {
    host: String,
    port: u16,
    /// Keeps the server running.
    _process: Memcached,
}

impl Servers {
    /// Starts `count` servers on the default port, `count` on other ports, and half as many with a host name.
    ///
    /// # Panics
    /// If memcached is missing or does not start.
    #[must_use]
    pub(crate) fn start(count: usize, random: &mut Rng) -> Self {
        let kinds = [(ServerKind::DefaultPort, count), (ServerKind::OtherPort, count), (ServerKind::Named, count / 2)];
        let kinds = kinds.into_iter().flat_map(|(kind, count)| std::iter::repeat_n(kind, count));
        Self(kinds.map(|kind| Server::start(kind, random)).collect())
    }

    /// Returns a random list of these servers.
    ///
    /// # Panics
    /// If there are not enough servers.
    #[must_use]
    pub(crate) fn list(&self, length: usize, placement: &Placement, random: &mut Rng) -> Vec<ServerSpec> {
        let servers = self.0.iter().filter(|server| placement.host_names || server.host != NAME);
        let chosen = random.choose_multiple(servers, length);
        assert_eq!(chosen.len(), length, "there are {} servers", self.0.len());
        chosen.into_iter().map(|server| server_spec(server.host.clone(), server.port, placement, random)).collect()
    }
}

impl Server {
    fn start(kind: ServerKind, random: &mut Rng) -> Self {
        loop {
            let (host, address) = match kind {
                ServerKind::DefaultPort => by_address(SocketAddrV4::new(loopback(random), DEFAULT_PORT)),
                ServerKind::OtherPort => by_address(SocketAddrV4::new(loopback(random), random.u16(PORTS))),
                ServerKind::Named => (NAME.to_owned(), SocketAddrV4::new(Ipv4Addr::LOCALHOST, random.u16(PORTS))),
            };
            // Fails if the address is in use, for example by another run with the same seed.
            if let Some(process) = Memcached::start_at(address, &[]) {
                return Self { host, port: address.port(), _process: process };
            }
        }
    }
}

/// Returns a random list of servers that do not exist.
#[must_use]
pub(crate) fn nonexistent_servers(length: usize, placement: &Placement, random: &mut Rng) -> Vec<ServerSpec> {
    let mut list: Vec<ServerSpec> = Vec::new();
    while list.len() < length {
        let host = match placement.host_names && random.bool() {
            true => format!("Cache-{}.example.com", random.u16(..)),
            false => loopback(random).to_string(),
        };
        let port = if random.bool() { DEFAULT_PORT } else { random.u16(1..) };
        if list.iter().all(|other| other.host != host) {
            list.push(server_spec(host, port, placement, random));
        }
    }
    list
}

#[derive(Clone, Copy, Debug)]
enum ServerKind {
    DefaultPort,
    OtherPort,
    Named,
}

fn by_address(address: SocketAddrV4) -> (String, SocketAddrV4) {
    (address.ip().to_string(), address)
}

fn server_spec(host: String, port: u16, placement: &Placement, random: &mut Rng) -> ServerSpec {
    ServerSpec { host, port, weight: if placement.random_weights { random.u32(1..=10) } else { 1 } }
}

/// Returns a random loopback address. 127.0.0.1 is not among them, because spymemcached resolves and hashes its name.
fn loopback(random: &mut Rng) -> Ipv4Addr {
    Ipv4Addr::new(127, random.u8(1..=254), random.u8(..), random.u8(1..=254))
}

/// A name that every machine can resolve.
const NAME: &str = "localhost";
const DEFAULT_PORT: u16 = 11211;
// Below the ephemeral ports of Linux.
const PORTS: Range<u16> = 10_240..32_768;
