//! The simulated network: the client's connector, and the injected faults.

use std::io;
use std::time::Duration;

use fastrand::Rng;
use remcache::config::Address;
use remcache::transport::{Connect, ConnectFuture, Stream, TransportSettings};
use turmoil::Sim;
use turmoil::net::TcpStream;

/// Connects through the simulated network.
#[derive(Debug)]
pub(crate) struct SimulatedConnector;

impl Connect for SimulatedConnector {
    fn connect<'a>(&'a self, address: &'a Address, _: &'a TransportSettings) -> ConnectFuture<'a> {
        Box::pin(async move {
            let Address::Tcp { host, port } = address else { return Err(io::ErrorKind::Unsupported.into()) };
            let stream = TcpStream::connect((host.as_str(), *port)).await?;
            Ok(Box::new(stream) as Box<dyn Stream>)
        })
    }
}

/// A fault between the client and a server.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// Messages in both directions are lost.
    Partition,
    /// Requests are lost.
    LostRequests,
    /// Replies are lost.
    LostReplies,
    /// Messages are delayed until the fault ends.
    Hold,
    /// The server's host is down.
    Crash,
    /// The server restarts immediately.
    Bounce,
}

const FAULTS: [Fault; 6] =
    [Fault::Partition, Fault::LostRequests, Fault::LostReplies, Fault::Hold, Fault::Crash, Fault::Bounce];

/// Injects the faults of one server, one after the other, as determined by a seed.
#[derive(Debug)]
pub(crate) struct FaultInjector {
    server: &'static str,
    rng: Rng,
    fault: Option<Fault>,
    /// When the next fault starts, or the current one ends.
    next: Duration,
}

impl FaultInjector {
    pub(crate) fn new(server: &'static str, seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let next = Duration::from_millis(rng.u64(..500));
        Self { server, rng, fault: None, next }
    }

    /// Starts or ends a fault if its time has come.
    pub(crate) fn advance(&mut self, sim: &mut Sim<'_>) {
        if sim.elapsed() < self.next {
            return;
        }
        match self.fault {
            Some(_) => self.end(sim),
            None => self.begin(sim),
        }
        self.next = sim.elapsed() + Duration::from_millis(self.rng.u64(1..1_200));
    }

    fn begin(&mut self, sim: &mut Sim<'_>) {
        let fault = *self.rng.choice(&FAULTS).expect("the list is not empty");
        match fault {
            Fault::Partition => sim.partition(CLIENT, self.server),
            Fault::LostRequests => sim.partition_oneway(CLIENT, self.server),
            Fault::LostReplies => sim.partition_oneway(self.server, CLIENT),
            Fault::Hold => sim.hold(CLIENT, self.server),
            Fault::Crash => sim.crash(self.server),
            Fault::Bounce => sim.bounce(self.server),
        }
        self.fault = Some(fault);
    }

    /// Ends the current fault.
    pub(crate) fn end(&mut self, sim: &mut Sim<'_>) {
        match self.fault.take() {
            Some(Fault::Crash) => sim.bounce(self.server),
            // Delayed messages are delivered. Lost ones are not, so their connection is out of step.
            Some(_) => sim.release(CLIENT, self.server),
            None => {}
        }
    }
}

/// The client's host.
pub(crate) const CLIENT: &str = "client";
