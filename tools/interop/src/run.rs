//! One client after the other: all that it is held against.

use anyhow::Result;
use fastrand::Rng;
use remcache::distribution::Distribution;
use serde::Serialize;
use tokio::runtime::Runtime;

use crate::live::Meeting;
use crate::servers::{Servers, imaginary};
use crate::{Exchange, Location, Misses, Peer, Program, Setting, Setup, ValueOutcome, install, keys, routes};

/// How much is compared.
#[derive(Clone, Debug)]
pub struct Extent {
    /// Lists of real servers, by their lengths.
    pub lists: &'static [usize],
    /// Keys for each of them, in each direction.
    pub keys: usize,
    /// Random lists for routes.
    pub route_lists: usize,
    /// Keys for each of them.
    pub route_keys: usize,
}

impl Extent {
    /// What is worth saying about a release.
    pub const FULL: Self = Self { lists: &[1, 2, 3, 5, 25], keys: 2_000, route_lists: 20, route_keys: 10_000 };
    /// What fits in among the tests.
    pub const QUICK: Self = Self { lists: &[1, 3, 25], keys: 500, route_lists: 3, route_keys: 500 };

    /// How many servers it takes on the default port, and as many on others.
    #[must_use]
    pub fn servers(&self) -> usize {
        // Together more than the longest list, so that no two of that length are the same.
        self.lists.iter().max().map_or(0, |longest| longest / 2 + 3)
    }
}

/// What one client did in one of its ways.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// The client.
    pub client: String,
    /// Its version, as far as it got.
    pub version: String,
    /// How it places keys.
    pub setup: String,
    /// The lists of servers, all told.
    pub lists: usize,
    /// What the client stored.
    pub stored_by_client: Misses,
    /// What remcache stored.
    pub stored_by_remcache: Misses,
    /// The routes of the client.
    pub routes: Misses,
    /// Why there is nothing more to say.
    pub failure: Option<String>,
}

impl Outcome {
    /// An outcome without anything compared.
    #[must_use]
    pub fn empty(peer: &Peer, setup: &str) -> Self {
        Self {
            client: peer.name.to_owned(),
            version: String::new(),
            setup: setup.to_owned(),
            lists: 0,
            stored_by_client: Misses::default(),
            stored_by_remcache: Misses::default(),
            routes: Misses::default(),
            failure: None,
        }
    }

    /// All that did not agree.
    #[must_use]
    pub fn misses(&self) -> usize {
        self.parts().iter().map(|(_, part)| part.misses).sum()
    }

    /// What was compared, by name.
    #[must_use]
    pub fn parts(&self) -> [(&'static str, &Misses); 3] {
        [
            ("stored by the client", &self.stored_by_client),
            ("stored by remcache", &self.stored_by_remcache),
            ("routes", &self.routes),
        ]
    }
}

/// What all comparisons share.
#[derive(Debug)]
pub struct Run {
    runtime: Runtime,
    servers: Servers,
    extent: Extent,
    random: Rng,
}

impl Run {
    /// Starts the servers.
    ///
    /// # Errors
    /// When the runtime does not start.
    ///
    /// # Panics
    /// When memcached is missing or does not start.
    pub fn new(extent: Extent, mut random: Rng) -> Result<Self> {
        let servers = Servers::start(extent.servers(), &mut random);
        Ok(Self { runtime: Runtime::new()?, servers, extent, random })
    }

    /// One outcome for each of the peer's ways; a single one if it cannot be run.
    pub fn meet(&mut self, peer: &Peer) -> Vec<Outcome> {
        let program = install(peer).and_then(|installed| installed.start());
        match program {
            Ok(mut program) => peer.setups.iter().map(|setup| self.meet_setup(peer, setup, &mut program)).collect(),
            Err(failure) => vec![Outcome { failure: Some(format!("{failure:#}")), ..Outcome::empty(peer, "") }],
        }
    }

    fn meet_setup(&mut self, peer: &Peer, setup: &Setup, program: &mut Program) -> Outcome {
        let mut outcome = Outcome::empty(peer, &setup.to_string());
        let compared = self.live(setup, program, &mut outcome).and_then(|()| self.routes(setup, program, &mut outcome));
        outcome.failure = compared.err().map(|failure| format!("{failure:#}"));
        outcome
    }

    fn live(&mut self, setup: &Setup, program: &mut Program, outcome: &mut Outcome) -> Result<()> {
        for &length in self.extent.lists {
            let servers = self.servers.list(length, setup, &mut self.random);
            let keys = keys::random(setup.keys, self.extent.keys, &mut self.random);
            let setting = setting(setup, outcome.lists, &servers)?;
            let mut meeting = Meeting::new(&self.runtime, program, &setting)?;
            outcome.lists += 1;
            outcome.version.clone_from(&meeting.version);
            outcome.stored_by_client.merge(meeting.stored_by_client(&keys)?);
            outcome.stored_by_remcache.merge(meeting.stored_by_remcache(&keys)?);
        }
        Ok(())
    }

    /// Asks for routes, or learns them from where the items are if the client does not tell.
    fn routes(&mut self, setup: &Setup, program: &mut Program, outcome: &mut Outcome) -> Result<()> {
        for _ in 0..self.extent.route_lists {
            let length = self.random.usize(2..=LONGEST_LIST);
            let keys = keys::random(setup.keys, self.extent.route_keys, &mut self.random);
            let servers = imaginary(length, setup, &mut self.random);
            let setting = setting(setup, outcome.lists, &servers)?;
            let routes = match routes::compare(program, &setting, &keys)? {
                Some(routes) => routes,
                None => {
                    let servers = self.servers.list(length, setup, &mut self.random);
                    let setting = Setting { servers: &servers, ..setting };
                    Meeting::new(&self.runtime, program, &setting)?.stored_by_client(&keys)?
                }
            };
            outcome.lists += 1;
            outcome.routes.merge(routes);
        }
        Ok(())
    }
}

/// How the values of a client fared, in each of its ways.
///
/// # Errors
/// When the client is not installed or fails.
pub fn compare_values(peer: &Peer) -> Result<Vec<ValueOutcome>> {
    if peer.values.is_empty() {
        return Ok(Vec::new());
    }
    let mut exchange = Exchange::new(peer)?;
    peer.values.iter().map(|writing| exchange.compare(peer, writing)).collect()
}

/// What both are told for one list: of the hashes that a setup has, each list takes another.
fn setting<'a>(setup: &'a Setup, number: usize, servers: &'a [Location]) -> Result<Setting<'a>> {
    let hashes = match setup.hashes {
        true => setup.profile.parse::<Distribution>()?.hashes(),
        false => &[],
    };
    let hash = (!hashes.is_empty()).then(|| hashes[number % hashes.len()]);
    Ok(Setting { profile: setup.profile, options: setup.options, hash, servers })
}

const LONGEST_LIST: usize = 25;
