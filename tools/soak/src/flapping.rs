//! A fleet of which three servers in ten come and go: what the others' callers notice of it.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use hdrhistogram::Histogram;
use remcache::config::ProtocolSetting;
use remcache::{Client, Config, Request, ServerHandle};
use remcache_server::{Fault, Server};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::Order;

/// Keys whose servers are looked up before and after.
const KEYS: usize = 1_000;
/// Above this latencies count as this: ten minutes, in microseconds.
const LONGEST: u64 = 600_000_000;

/// Runs half of the time in calm, and half of it with servers that come and go.
///
/// # Errors
/// What was not as it has to be.
pub(crate) async fn run(order: Order, count: usize, rest: Duration) -> Result<(), String> {
    allow_descriptors(count * 3 + 200)?;
    let mut servers = Vec::new();
    for _ in 0..count {
        servers.push(Arc::new(Server::start().await.map_err(|error| format!("no server: {error}"))?));
    }
    let config = Config::new().protocol(ProtocolSetting::Meta).timeout(order.timeout).seed(order.seed);
    let client = Client::with_config(servers.iter().map(|server| server.address()), config)
        .map_err(|error| format!("no client: {error}"))?;
    let fleet = Fleet { client, servers, flapping: count * 3 / 10, rest };
    fleet.store().await?;
    let homes = fleet.homes();
    let calm = fleet.ask_all(order.length / 2, None).await?;
    println!("calm:     {calm}");
    let shaken = fleet.ask_all(order.length / 2, Some(order.seed)).await?;
    println!("flapping: {shaken}");
    let ratio = shaken.healthy.value_at_quantile(0.99) as f64 / calm.healthy.value_at_quantile(0.99).max(1) as f64;
    println!("p99 of healthy servers, flapping to calm: {ratio:.2}");
    if fleet.homes() != homes {
        return Err("keys have moved".into());
    }
    println!("keys that moved: 0 of {KEYS}");
    fleet.check_connections(&shaken)
}

/// Lets this process have so many sockets.
fn allow_descriptors(wanted: usize) -> Result<(), String> {
    let limit = getrlimit(Resource::Nofile);
    let wanted = wanted as u64;
    if limit.current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum });
    raised.map_err(|error| format!("{wanted} sockets are needed ({error}): raise the limit with `ulimit -n {wanted}`"))
}

/// A client and its servers, of which the first ones flap.
struct Fleet {
    client: Client,
    servers: Vec<Arc<Server>>,
    flapping: usize,
    rest: Duration,
}

/// What callers saw.
struct Seen {
    /// The microseconds that requests to healthy servers took.
    healthy: Histogram<u64>,
    /// How many requests to the others were answered, and how many failed.
    answered: u64,
    failed: u64,
    /// How often each server came and went.
    flaps: Vec<u64>,
}

impl std::fmt::Display for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let at = |quantile| self.healthy.value_at_quantile(quantile);
        write!(
            f,
            "healthy {} answered, 0 failed, p50 {} µs, p99 {} µs; others {} answered, {} failed, {} flaps",
            self.healthy.len(),
            at(0.5),
            at(0.99),
            self.answered,
            self.failed,
            self.flaps.iter().sum::<u64>()
        )
    }
}

/// One caller's part of it.
struct Heard {
    latencies: Vec<u64>,
    answered: u64,
    failed: u64,
}

impl Fleet {
    async fn store(&self) -> Result<(), String> {
        for (n, server) in self.client.servers().into_iter().enumerate() {
            let reply = server.call(Request::set("key", value(n))).await;
            if !reply.is_ok() {
                return Err(format!("{}: {}", server.name(), reply.status));
            }
        }
        Ok(())
    }

    fn homes(&self) -> Vec<String> {
        let home = |n| self.client.locate(format!("key{n}")).ok().flatten().map(|server| server.name().to_owned());
        (0..KEYS).map(|n| home(n).unwrap_or_default()).collect()
    }

    /// Asks every server again and again; with a seed, some of them come and go meanwhile.
    async fn ask_all(&self, length: Duration, shaken: Option<u64>) -> Result<Seen, String> {
        let end = Instant::now() + length;
        let mut callers = JoinSet::new();
        for (n, server) in self.client.servers().into_iter().enumerate() {
            let is_shaken = n < self.flapping && shaken.is_some();
            callers.spawn(keep_asking(server, n, self.rest, is_shaken, end));
        }
        let mut flappers = JoinSet::new();
        for (n, server) in self.servers.iter().take(self.flapping).enumerate() {
            if let Some(seed) = shaken {
                let server = Arc::clone(server);
                let rng = Rng::with_seed(seed.wrapping_add(n as u64));
                flappers.spawn(async move { (n, flap(&server, rng, end).await) });
            }
        }
        let mut healthy = Histogram::new_with_bounds(1, LONGEST, 3).map_err(|error| error.to_string())?;
        let (mut answered, mut failed) = (0, 0);
        while let Some(heard) = callers.join_next().await {
            let heard = heard.map_err(|error| error.to_string())??;
            heard.latencies.into_iter().for_each(|micros| healthy.saturating_record(micros.max(1)));
            answered += heard.answered;
            failed += heard.failed;
        }
        let mut flaps = vec![0; self.servers.len()];
        while let Some(flapper) = flappers.join_next().await {
            let (n, outcome) = flapper.map_err(|error| error.to_string())?;
            flaps[n] = outcome?;
        }
        Ok(Seen { healthy, answered, failed, flaps })
    }

    /// A client connects again once for each time that its connection was taken from it.
    fn check_connections(&self, seen: &Seen) -> Result<(), String> {
        let accepted: Vec<u64> = self.servers.iter().map(|server| server.accepted()).collect();
        let (connects, flaps) = (accepted.iter().sum::<u64>(), seen.flaps.iter().sum::<u64>());
        println!("connections: {connects} for {} servers and {flaps} flaps", self.servers.len());
        let too_many = accepted.iter().zip(&seen.flaps).position(|(accepted, flaps)| *accepted > 1 + flaps);
        match too_many {
            Some(n) => Err(format!("server {n} had {} connections in {} flaps", accepted[n], seen.flaps[n])),
            None => Ok(()),
        }
    }
}

fn value(n: usize) -> String {
    format!("the value of server {n}")
}

async fn keep_asking(
    server: ServerHandle,
    n: usize,
    rest: Duration,
    is_shaken: bool,
    end: Instant,
) -> Result<Heard, String> {
    let mut heard = Heard { latencies: Vec::new(), answered: 0, failed: 0 };
    // All at the same moment would be a load of its own.
    sleep(rest.mul_f64(fastrand::f64())).await;
    while Instant::now() < end {
        let start = Instant::now();
        let reply = server.call(Request::get("key")).await;
        let micros = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
        match (reply.is_ok(), is_shaken) {
            (true, _) if reply.value != value(n) => return Err(format!("{}: a wrong value", server.name())),
            (true, true) => heard.answered += 1,
            (true, false) => heard.latencies.push(micros),
            (false, true) if !reply.status.is_answer() => heard.failed += 1,
            (false, _) => return Err(format!("{}, which is well: {}", server.name(), reply.status)),
        }
        sleep(rest).await;
    }
    Ok(heard)
}

/// Goes away and comes back, each time for 100 to 600 ms; how often.
async fn flap(server: &Server, mut rng: Rng, end: Instant) -> Result<u64, String> {
    let mut flaps = 0;
    while Instant::now() < end {
        let is_silent = rng.bool();
        match is_silent {
            true => server.inject(Fault::BlackHole),
            false => server.stop().await,
        }
        sleep(Duration::from_millis(rng.u64(100..600))).await;
        let back = if is_silent { server.clear_faults() } else { server.restart_with_items().await };
        back.map_err(|error| format!("a server does not come back: {error}"))?;
        sleep(Duration::from_millis(rng.u64(100..600))).await;
        flaps += 1;
    }
    Ok(flaps)
}
