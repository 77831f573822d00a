//! The simulated network: how the client connects through it, and what happens to it.

use std::io;
use std::time::Duration;

use fastrand::Rng;
use remcache::config::Address;
use remcache::transport::{Connect, Connecting, Stream, TransportSettings};
use turmoil::Sim;
use turmoil::net::TcpStream;

/// Connects through the simulated network.
#[derive(Debug)]
pub(crate) struct SimulatedConnector;

impl Connect for SimulatedConnector {
    fn connect<'a>(&'a self, address: &'a Address, _: &'a TransportSettings) -> Connecting<'a> {
        Box::pin(async move {
            let Address::Tcp { host, port } = address else { return Err(io::ErrorKind::Unsupported.into()) };
            let stream = TcpStream::connect((host.as_str(), *port)).await?;
            Ok(Box::new(stream) as Box<dyn Stream>)
        })
    }
}

/// What is wrong between the client and a server.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    /// Messages are lost both ways.
    Partition,
    /// Requests are lost.
    Deaf,
    /// Replies are lost.
    Mute,
    /// Messages wait, and arrive when the trouble ends.
    Hold,
    /// The server's host is down.
    Crash,
    /// The server restarts at once.
    Bounce,
}

const TROUBLES: [Trouble; 6] =
    [Trouble::Partition, Trouble::Deaf, Trouble::Mute, Trouble::Hold, Trouble::Crash, Trouble::Bounce];

/// The troubles of one server, one after the other, as a seed has them.
#[derive(Debug)]
pub(crate) struct Weather {
    server: &'static str,
    rng: Rng,
    trouble: Option<Trouble>,
    /// When the next trouble begins, or the one of now ends.
    next: Duration,
}

impl Weather {
    pub(crate) fn new(server: &'static str, seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let next = Duration::from_millis(rng.u64(..500));
        Self { server, rng, trouble: None, next }
    }

    /// Begins or ends a trouble when its time has come.
    pub(crate) fn change(&mut self, sim: &mut Sim<'_>) {
        if sim.elapsed() < self.next {
            return;
        }
        match self.trouble {
            Some(_) => self.clear(sim),
            None => self.begin(sim),
        }
        self.next = sim.elapsed() + Duration::from_millis(self.rng.u64(1..1_200));
    }

    fn begin(&mut self, sim: &mut Sim<'_>) {
        let trouble = *self.rng.choice(&TROUBLES).expect("there are troubles");
        match trouble {
            Trouble::Partition => sim.partition(CLIENT, self.server),
            Trouble::Deaf => sim.partition_oneway(CLIENT, self.server),
            Trouble::Mute => sim.partition_oneway(self.server, CLIENT),
            Trouble::Hold => sim.hold(CLIENT, self.server),
            Trouble::Crash => sim.crash(self.server),
            Trouble::Bounce => sim.bounce(self.server),
        }
        self.trouble = Some(trouble);
    }

    /// Ends the trouble of now.
    pub(crate) fn clear(&mut self, sim: &mut Sim<'_>) {
        match self.trouble.take() {
            Some(Trouble::Crash) => sim.bounce(self.server),
            // What waits is delivered, and what is lost stays lost: its connection is out of step.
            Some(_) => sim.release(CLIENT, self.server),
            None => {}
        }
    }
}

/// The host on which the client runs.
pub(crate) const CLIENT: &str = "client";
