//! Many servers, three in ten of which fail and return: requests to the others must not be affected.

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

use crate::Settings;

/// The number of keys whose servers are compared before and after.
const KEYS: usize = 1_000;
/// In microseconds; longer latencies are recorded as this one.
const MAX_LATENCY: u64 = 600_000_000;

/// Runs one half of the time without faults, and the other half with servers that fail and return.
///
/// # Errors
/// The first failed check.
pub(crate) async fn run(settings: Settings, count: usize, pause: Duration) -> Result<(), String> {
    raise_open_files(count * 3 + 200)?;
    let mut servers = Vec::new();
    for _ in 0..count {
        servers.push(Arc::new(Server::start().await.map_err(|error| format!("cannot start a server: {error}"))?));
    }
    let config = Config::new().protocol(ProtocolSetting::Meta).timeout(settings.timeout).seed(settings.seed);
    let client = Client::with_config(servers.iter().map(|server| server.address()), config)
        .map_err(|error| format!("cannot create a client: {error}"))?;
    let cluster = Cluster { client, servers, flapping: count * 3 / 10, pause };
    cluster.store().await?;
    let placement = cluster.placement();
    let calm = cluster.run_phase(settings.duration / 2, None).await?;
    println!("calm:     {calm}");
    let flapping = cluster.run_phase(settings.duration / 2, Some(settings.seed)).await?;
    println!("flapping: {flapping}");
    let ratio = flapping.healthy.value_at_quantile(0.99) as f64 / calm.healthy.value_at_quantile(0.99).max(1) as f64;
    println!("p99 of healthy servers, flapping / calm: {ratio:.2}");
    if cluster.placement() != placement {
        return Err("keys moved to another server".into());
    }
    println!("keys that moved: 0 of {KEYS}");
    cluster.check_connections(&flapping)
}

/// Raises the limit of open files to this number if it is lower.
fn raise_open_files(wanted: usize) -> Result<(), String> {
    let limit = getrlimit(Resource::Nofile);
    let wanted = wanted as u64;
    if limit.current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum });
    raised.map_err(|error| format!("cannot open {wanted} sockets ({error}); raise the limit with `ulimit -n {wanted}`"))
}

/// A client and its servers, the first of which fail and return.
struct Cluster {
    client: Client,
    servers: Vec<Arc<Server>>,
    flapping: usize,
    pause: Duration,
}

/// The results of one phase.
struct PhaseResult {
    /// Latencies of requests to healthy servers, in microseconds.
    healthy: Histogram<u64>,
    /// Requests to the other servers that were answered.
    answered: u64,
    /// Requests to the other servers that failed.
    failed: u64,
    /// How many times each server failed and returned.
    flaps: Vec<u64>,
}

impl std::fmt::Display for PhaseResult {
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

/// The results of one caller.
struct CallerResult {
    latencies: Vec<u64>,
    answered: u64,
    failed: u64,
}

impl Cluster {
    async fn store(&self) -> Result<(), String> {
        for (n, server) in self.client.servers().into_iter().enumerate() {
            let reply = server.call(Request::set("key", value(n))).await;
            if !reply.is_ok() {
                return Err(format!("{}: {}", server.name(), reply.status));
            }
        }
        Ok(())
    }

    fn placement(&self) -> Vec<String> {
        let server_of = |n| self.client.locate(format!("key{n}")).ok().flatten().map(|server| server.name().to_owned());
        (0..KEYS).map(|n| server_of(n).unwrap_or_default()).collect()
    }

    /// Sends requests to every server for some time. With a seed, the first servers fail and return during that time.
    async fn run_phase(&self, length: Duration, faults: Option<u64>) -> Result<PhaseResult, String> {
        let end = Instant::now() + length;
        let mut callers = JoinSet::new();
        for (n, server) in self.client.servers().into_iter().enumerate() {
            let is_flapping = n < self.flapping && faults.is_some();
            callers.spawn(call_repeatedly(server, n, self.pause, is_flapping, end));
        }
        let mut flappers = JoinSet::new();
        for (n, server) in self.servers.iter().take(self.flapping).enumerate() {
            if let Some(seed) = faults {
                let server = Arc::clone(server);
                let rng = Rng::with_seed(seed.wrapping_add(n as u64));
                flappers.spawn(async move { (n, flap(&server, rng, end).await) });
            }
        }
        let mut healthy = Histogram::new_with_bounds(1, MAX_LATENCY, 3).map_err(|error| error.to_string())?;
        let (mut answered, mut failed) = (0, 0);
        while let Some(result) = callers.join_next().await {
            let result = result.map_err(|error| error.to_string())??;
            result.latencies.into_iter().for_each(|micros| healthy.saturating_record(micros.max(1)));
            answered += result.answered;
            failed += result.failed;
        }
        let mut flaps = vec![0; self.servers.len()];
        while let Some(flapper) = flappers.join_next().await {
            let (n, result) = flapper.map_err(|error| error.to_string())?;
            flaps[n] = result?;
        }
        Ok(PhaseResult { healthy, answered, failed, flaps })
    }

    /// Checks that the client connected only once per lost connection.
    fn check_connections(&self, phase: &PhaseResult) -> Result<(), String> {
        let accepted: Vec<u64> = self.servers.iter().map(|server| server.accepted()).collect();
        let (connects, flaps) = (accepted.iter().sum::<u64>(), phase.flaps.iter().sum::<u64>());
        println!("connections: {connects} for {} servers and {flaps} flaps", self.servers.len());
        let too_many = accepted.iter().zip(&phase.flaps).position(|(accepted, flaps)| *accepted > 1 + flaps);
        match too_many {
            Some(n) => Err(format!("server {n} had {} connections in {} flaps", accepted[n], phase.flaps[n])),
            None => Ok(()),
        }
    }
}

fn value(n: usize) -> String {
    format!("the value of server {n}")
}

async fn call_repeatedly(
    server: ServerHandle,
    n: usize,
    pause: Duration,
    is_flapping: bool,
    end: Instant,
) -> Result<CallerResult, String> {
    let mut result = CallerResult { latencies: Vec::new(), answered: 0, failed: 0 };
    // Spread over time: requests that all start at the same instant would be a load peak.
    sleep(pause.mul_f64(fastrand::f64())).await;
    while Instant::now() < end {
        let start = Instant::now();
        let reply = server.call(Request::get("key")).await;
        let micros = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
        match (reply.is_ok(), is_flapping) {
            (true, _) if reply.value != value(n) => return Err(format!("{}: wrong value", server.name())),
            (true, true) => result.answered += 1,
            (true, false) => result.latencies.push(micros),
            (false, true) if !reply.status.is_from_server() => result.failed += 1,
            (false, _) => return Err(format!("{}, a healthy server: {}", server.name(), reply.status)),
        }
        sleep(pause).await;
    }
    Ok(result)
}

/// Lets a server fail and return, each for 100 to 600 ms, and returns how many times.
async fn flap(server: &Server, mut rng: Rng, end: Instant) -> Result<u64, String> {
    let mut flaps = 0;
    while Instant::now() < end {
        let is_black_hole = rng.bool();
        match is_black_hole {
            true => server.inject(Fault::BlackHole),
            false => server.stop().await,
        }
        sleep(Duration::from_millis(rng.u64(100..600))).await;
        let restored = if is_black_hole { server.clear_faults() } else { server.restart_with_items().await };
        restored.map_err(|error| format!("cannot restart a server: {error}"))?;
        sleep(Duration::from_millis(rng.u64(100..600))).await;
        flaps += 1;
    }
    Ok(flaps)
}
