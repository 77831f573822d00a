//! Long pipelines on real servers, with which a client that writes everything before it reads would deadlock.

use std::time::Instant;

use remcache::config::ProtocolSetting;
use remcache::transport::Tls;
use remcache::{Client, Config};
use remcache_testkit::{Authority, Certificate, Dates, Memcached};

use crate::Settings;
use crate::memory::Memory;

const PROTOCOLS: [ProtocolSetting; 3] = [ProtocolSetting::Binary, ProtocolSetting::Meta, ProtocolSetting::Text];
/// The number of keys of one call; one in ten is stored.
const KEYS: usize = 1_000_000;
/// The number of values of 100 kB in one call.
const LARGE: usize = 10_000;
/// The number of different values among them.
const DISTINCT: usize = 50;
/// The size of the socket buffers; the system rounds it up to its minimum.
const BUFFER_SIZE: usize = 4096;

/// A server, and its certificate authority if it uses TLS.
struct Target {
    server: Memcached,
    tls: Option<(Authority, Certificate)>,
}

impl Target {
    fn start(with_tls: bool) -> Self {
        let args = ["-m", "256"];
        if !with_tls {
            return Self { server: Memcached::start(&args), tls: None };
        }
        let authority = Authority::new("soak test authority");
        let certificate = authority.certify(&["127.0.0.1"], Dates::Now);
        Self { server: Memcached::start_tls(&certificate, &args), tls: Some((authority, certificate)) }
    }

    fn client(&self, settings: Settings, protocol: ProtocolSetting) -> Result<Client, String> {
        // Each reply extends the deadline of a call with many keys, so a call without replies for this long hangs.
        let config = Config::new().protocol(protocol).timeout(settings.timeout.max(PATIENCE)).connect_timeout(PATIENCE);
        let config = match &self.tls {
            None => config,
            Some((authority, _)) => config.tls(Tls::with_roots_file(authority.file())),
        };
        Client::with_config([self.server.addr()], config.socket_buffers(BUFFER_SIZE).seed(settings.seed))
            .map_err(|error| format!("cannot create a client: {error}"))
    }
}

const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

/// Runs every pipeline once per protocol, with and without TLS, and prints the time of each.
///
/// # Errors
/// The first wrong result.
pub(crate) async fn run(settings: Settings, share: usize) -> Result<(), String> {
    let (keys, large) = (KEYS / share, LARGE / share);
    for with_tls in [false, true] {
        for protocol in PROTOCOLS {
            let target = Target::start(with_tls);
            let client = target.client(settings, protocol)?;
            let (name, security) = (protocol.to_string(), if with_tls { "TLS" } else { "plain" });
            let start = Instant::now();
            many_keys(&client, keys).await.map_err(|error| format!("{protocol}, {security}: {error}"))?;
            println!("{name:<7} {security:<5}  {keys} keys in one call: {}", elapsed(start));
            let start = Instant::now();
            large_values(&client, large).await.map_err(|error| format!("{protocol}, {security}: {error}"))?;
            println!(
                "{name:<7} {security:<5}  {large} values of 100 kB with buffers of {BUFFER_SIZE} bytes: {}",
                elapsed(start)
            );
            let reconnects: u64 = client.servers().iter().map(|server| server.metrics().reconnects).sum();
            if reconnects > 0 {
                return Err(format!("{protocol}, {security}: {reconnects} reconnects"));
            }
        }
    }
    println!("wrong values:  0");
    println!("reconnects:    0");
    Ok(())
}

/// Describes the time since an instant, and the memory of this process.
fn elapsed(start: Instant) -> String {
    let mut memory = Memory::default();
    memory.sample(0.0);
    let resident = memory.last().map_or(String::new(), |kib| format!(", {:.0} MiB resident", kib / 1024.0));
    format!("{:.1} s{resident}", start.elapsed().as_secs_f64())
}

fn key(n: usize) -> String {
    format!("key:{n}")
}

async fn many_keys(client: &Client, count: usize) -> Result<(), String> {
    let stored = client.set_many((0..count).step_by(10).map(|n| (key(n), key(n)))).await;
    if let Some((key, error)) = stored.failed().next() {
        return Err(format!("{key} was not stored: {error}"));
    }
    let fetched = client.get_many((0..count).map(key)).await;
    if fetched.len() != count {
        return Err(format!("{} results for {count} keys", fetched.len()));
    }
    for (n, (key, item)) in fetched.into_iter().enumerate() {
        let item = item.map_err(|error| format!("{key}: {error}"))?;
        let is_correct = match (&item, n % 10) {
            (Some(item), 0) => item.value == key.as_bytes(),
            (item, rest) => item.is_none() && rest != 0,
        };
        if !is_correct {
            return Err(format!("wrong value or false miss: {key}"));
        }
    }
    Ok(())
}

/// Returns a value of 100 kB that is different for every number.
fn large(n: usize) -> Vec<u8> {
    (n as u32).to_be_bytes().repeat(25_000)
}

async fn large_values(client: &Client, count: usize) -> Result<(), String> {
    let values: Vec<_> = (0..DISTINCT).map(large).collect();
    let stored = client.set_many(values.iter().enumerate().map(|(n, value)| (n.to_string(), value))).await;
    if let Some((key, error)) = stored.failed().next() {
        return Err(format!("{key} was not stored: {error}"));
    }
    let fetched = client.get_many((0..count).map(|n| (n % DISTINCT).to_string())).await;
    for (n, (key, item)) in fetched.into_iter().enumerate() {
        let item = item.map_err(|error| format!("{key}: {error}"))?;
        let item = item.ok_or_else(|| format!("false miss: {key}"))?;
        if values.get(n % DISTINCT).is_none_or(|value| item.value != value) {
            return Err(format!("wrong value: {key}"));
        }
    }
    Ok(())
}
