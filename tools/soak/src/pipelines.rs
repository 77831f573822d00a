//! Long pipelines with real servers, in full: what stalls a client that writes all before it reads.

use std::time::Instant;

use remcache::config::ProtocolSetting;
use remcache::transport::Tls;
use remcache::{Client, Config};
use remcache_testkit::{Authority, Certificate, Dates, Memcached};

use crate::Order;
use crate::memory::Memory;

const PROTOCOLS: [ProtocolSetting; 3] = [ProtocolSetting::Binary, ProtocolSetting::Meta, ProtocolSetting::Text];
/// In one call, of which one in ten is there.
const KEYS: usize = 1_000_000;
/// Values of 100 kB that are fetched in one call, and how many of them differ.
const LARGE: usize = 10_000;
const DISTINCT: usize = 50;
/// The smallest buffers that a socket has: the system rounds them up.
const TINY: usize = 4096;

/// A server, with TLS or without, and whom to trust for it.
struct Setting {
    server: Memcached,
    tls: Option<(Authority, Certificate)>,
}

impl Setting {
    fn start(with_tls: bool) -> Self {
        let args = ["-m", "256"];
        if !with_tls {
            return Self { server: Memcached::start(&args), tls: None };
        }
        let authority = Authority::new("an authority of a soak");
        let certificate = authority.certify(&["127.0.0.1"], Dates::Now);
        Self { server: Memcached::start_tls(&certificate, &args), tls: Some((authority, certificate)) }
    }

    fn client(&self, order: Order, protocol: ProtocolSetting) -> Result<Client, String> {
        // ReplyStream move the deadline of a call with many keys; what takes longer than this hangs.
        let config = Config::new().protocol(protocol).timeout(order.timeout.max(PATIENCE)).connect_timeout(PATIENCE);
        let config = match &self.tls {
            None => config,
            Some((authority, _)) => config.tls(Tls::with_roots_file(authority.file())),
        };
        Client::with_config([self.server.addr()], config.socket_buffers(TINY).seed(order.seed))
            .map_err(|error| format!("no client: {error}"))
    }
}

const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

/// Runs every pipeline once, on each protocol, without TLS and with it, and tells what each took.
///
/// # Errors
/// The first thing that was wrong.
pub(crate) async fn run(order: Order, share: usize) -> Result<(), String> {
    let (keys, large) = (KEYS / share, LARGE / share);
    for with_tls in [false, true] {
        for protocol in PROTOCOLS {
            let setting = Setting::start(with_tls);
            let client = setting.client(order, protocol)?;
            let (name, way) = (protocol.to_string(), if with_tls { "TLS" } else { "plain" });
            let start = Instant::now();
            many_keys(&client, keys).await.map_err(|problem| format!("{protocol}, {way}: {problem}"))?;
            println!("{name:<7} {way:<5}  {keys} keys in one call: {}", told(start));
            let start = Instant::now();
            large_values(&client, large).await.map_err(|problem| format!("{protocol}, {way}: {problem}"))?;
            println!("{name:<7} {way:<5}  {large} values of 100 kB through buffers of {TINY} bytes: {}", told(start));
            let reconnects: u64 = client.servers().iter().map(|server| server.metrics().reconnects).sum();
            if reconnects > 0 {
                return Err(format!("{protocol}, {way}: {reconnects} reconnects"));
            }
        }
    }
    println!("wrong values:  0");
    println!("reconnects:    0");
    Ok(())
}

fn told(start: Instant) -> String {
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
        return Err(format!("{} outcomes for {count} keys", fetched.len()));
    }
    for (n, (key, item)) in fetched.into_iter().enumerate() {
        let item = item.map_err(|error| format!("{key}: {error}"))?;
        let is_right = match (&item, n % 10) {
            (Some(item), 0) => item.value == key.as_bytes(),
            (item, rest) => item.is_none() && rest != 0,
        };
        if !is_right {
            return Err(format!("a wrong value or a false miss: {key}"));
        }
    }
    Ok(())
}

/// A value that tells whose it is, throughout.
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
        let item = item.ok_or_else(|| format!("a false miss: {key}"))?;
        if values.get(n % DISTINCT).is_none_or(|value| item.value != value) {
            return Err(format!("a wrong value: {key}"));
        }
    }
    Ok(())
}
