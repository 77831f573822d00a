//! Runs the comparisons of one client after the other.

use anyhow::Result;
use fastrand::Rng;
use remcache::distribution::Distribution;
use serde::Serialize;
use tokio::runtime::Runtime;

use crate::live::LiveComparison;
use crate::servers::{Servers, nonexistent_servers};
use crate::{
    ClientSettings, Misses, Peer, Placement, Program, ServerSpec, ValueComparison, ValueResult, install, keys, routes,
};

/// The number of compared lists and keys.
#[derive(Clone, Debug)]
pub struct Scale {
    /// The lengths of lists of real servers.
    pub lists: &'static [usize],
    /// Keys per list and direction.
    pub keys: usize,
    /// The number of random lists for routes.
    pub route_lists: usize,
    /// Keys per list for routes.
    pub route_keys: usize,
}

impl Scale {
    /// The comparison before a release.
    pub const FULL: Self = Self { lists: &[1, 2, 3, 5, 25], keys: 2_000, route_lists: 20, route_keys: 10_000 };
    /// The comparison of the tests.
    pub const QUICK: Self = Self { lists: &[1, 3, 25], keys: 500, route_lists: 3, route_keys: 500 };

    /// Returns the number of servers needed on the default port, and as many on other ports.
    #[must_use]
    pub fn servers(&self) -> usize {
        // In total more than the longest list, so that two lists of that length can differ.
        self.lists.iter().max().map_or(0, |longest| longest / 2 + 3)
    }
}

/// The results of one placement of a client.
#[derive(Clone, Debug, Serialize)]
pub struct PlacementResult {
    /// The name of the client.
    pub client: String,
    /// Its version; empty if it did not start.
    pub version: String,
    /// The placement.
    pub placement: String,
    /// The number of compared lists.
    pub lists: usize,
    /// Keys that the client stored.
    pub stored_by_client: Misses,
    /// Keys that remcache stored.
    pub stored_by_remcache: Misses,
    /// Routes.
    pub routes: Misses,
    /// The failure that ended the comparison.
    pub failure: Option<String>,
}

impl PlacementResult {
    /// Returns results without a comparison.
    #[must_use]
    pub fn empty(peer: &Peer, placement: &str) -> Self {
        Self {
            client: peer.name.to_owned(),
            version: String::new(),
            placement: placement.to_owned(),
            lists: 0,
            stored_by_client: Misses::default(),
            stored_by_remcache: Misses::default(),
            routes: Misses::default(),
            failure: None,
        }
    }

    /// Returns the number of all misses.
    #[must_use]
    pub fn misses(&self) -> usize {
        self.parts().iter().map(|(_, part)| part.misses).sum()
    }

    /// Returns the parts of the comparison, with their names.
    #[must_use]
    pub fn parts(&self) -> [(&'static str, &Misses); 3] {
        [
            ("stored by the client", &self.stored_by_client),
            ("stored by remcache", &self.stored_by_remcache),
            ("routes", &self.routes),
        ]
    }
}

/// The servers and the random numbers that all comparisons share.
#[derive(Debug)]
pub struct Runner {
    runtime: Runtime,
    servers: Servers,
    scale: Scale,
    random: Rng,
}

impl Runner {
    /// Starts the servers.
    ///
    /// # Errors
    /// If the runtime does not start.
    ///
    /// # Panics
    /// If memcached is missing or does not start.
    pub fn new(scale: Scale, mut random: Rng) -> Result<Self> {
        let servers = Servers::start(scale.servers(), &mut random);
        Ok(Self { runtime: Runtime::new()?, servers, scale, random })
    }

    /// Compares all placements of a client; returns a single result if the client cannot be run.
    pub fn compare(&mut self, peer: &Peer) -> Vec<PlacementResult> {
        let program = install(peer).and_then(|installed| installed.start());
        match program {
            Ok(mut program) => {
                peer.placements.iter().map(|placement| self.compare_placement(peer, placement, &mut program)).collect()
            }
            Err(failure) => {
                vec![PlacementResult { failure: Some(format!("{failure:#}")), ..PlacementResult::empty(peer, "") }]
            }
        }
    }

    fn compare_placement(&mut self, peer: &Peer, placement: &Placement, program: &mut Program) -> PlacementResult {
        let mut result = PlacementResult::empty(peer, &placement.to_string());
        let compared =
            self.live(placement, program, &mut result).and_then(|()| self.routes(placement, program, &mut result));
        result.failure = compared.err().map(|failure| format!("{failure:#}"));
        result
    }

    fn live(&mut self, placement: &Placement, program: &mut Program, result: &mut PlacementResult) -> Result<()> {
        for &length in self.scale.lists {
            let servers = self.servers.list(length, placement, &mut self.random);
            let keys = keys::random(placement.keys, self.scale.keys, &mut self.random);
            let settings = settings(placement, result.lists, &servers)?;
            let mut live = LiveComparison::new(&self.runtime, program, &settings)?;
            result.lists += 1;
            result.version.clone_from(&live.version);
            result.stored_by_client.merge(live.stored_by_client(&keys)?);
            result.stored_by_remcache.merge(live.stored_by_remcache(&keys)?);
        }
        Ok(())
    }

    /// Compares routes, or stores items if the client has no routing function.
    fn routes(&mut self, placement: &Placement, program: &mut Program, result: &mut PlacementResult) -> Result<()> {
        for _ in 0..self.scale.route_lists {
            let length = self.random.usize(2..=LONGEST_LIST);
            let keys = keys::random(placement.keys, self.scale.route_keys, &mut self.random);
            let servers = nonexistent_servers(length, placement, &mut self.random);
            let settings = settings(placement, result.lists, &servers)?;
            let routes = match routes::compare(program, &settings, &keys)? {
                Some(routes) => routes,
                None => {
                    let servers = self.servers.list(length, placement, &mut self.random);
                    let settings = ClientSettings { servers: &servers, ..settings };
                    LiveComparison::new(&self.runtime, program, &settings)?.stored_by_client(&keys)?
                }
            };
            result.lists += 1;
            result.routes.merge(routes);
        }
        Ok(())
    }
}

/// Compares all value encodings of a client.
///
/// # Errors
/// If the client is not installed or fails.
pub fn compare_values(peer: &Peer) -> Result<Vec<ValueResult>> {
    if peer.encodings.is_empty() {
        return Ok(Vec::new());
    }
    let mut comparison = ValueComparison::new(peer)?;
    peer.encodings.iter().map(|encoding| comparison.compare(peer, encoding)).collect()
}

/// Returns the configuration of both for one list. With several hash functions each list uses a different one.
fn settings<'a>(placement: &'a Placement, number: usize, servers: &'a [ServerSpec]) -> Result<ClientSettings<'a>> {
    let hashes = match placement.every_hash {
        true => placement.distribution.parse::<Distribution>()?.hashes(),
        false => &[],
    };
    let hash = (!hashes.is_empty()).then(|| hashes[number % hashes.len()]);
    Ok(ClientSettings { distribution: placement.distribution, options: placement.options, hash, servers })
}

const LONGEST_LIST: usize = 25;
