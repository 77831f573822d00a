//! A faulty server delays its own callers as little as possible, and the callers of other servers not at all.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use remcache::config::Address;
use remcache::health::ConnectionState;
use remcache::transport::{Connect, ConnectFuture, TransportSettings};
use remcache::{Client, Config, Delivery, Reply, Request, ServerHandle, Status};
use remcache_testkit::seed;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::faults::support::fake_network::FakeNetwork;
use crate::faults::support::fake_server::FakeServer;
use crate::faults::support::server_fault::ServerFault;
use crate::faults::support::store::expected_value;
use crate::support::ProtocolMode;

fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn fake_and_client(fault: ServerFault, config: Config) -> (Arc<FakeServer>, Client) {
    let fake = FakeServer::new(ProtocolMode::Binary, fault);
    let network = FakeNetwork::new([("server", Arc::clone(&fake))]);
    (fake, Client::with_config(["server"], ProtocolMode::Binary.config(config).connector(network)).unwrap())
}

async fn get_after(client: Client, delay: Duration) -> (Status, Instant) {
    sleep(delay).await;
    (client.call(Request::get("fixed:1")).await.status, Instant::now())
}

#[tokio::test(start_paused = true)]
async fn three_consecutive_timeouts_open_the_breaker_and_are_reported() {
    let (_, client) = fake_and_client(ServerFault::NeverAnswer, Config::new());
    let mut events = client.events();
    let start = Instant::now();
    let calls = [0, 100, 200, 900].map(|delay| tokio::spawn(get_after(client.clone(), millis(delay))));
    let mut results = Vec::new();
    for call in calls {
        results.push(call.await.unwrap());
    }
    let timed_out = Status::TimedOut(Delivery::MaybeSent);
    // The fourth was in flight when the third timed out.
    let expected = [
        (timed_out, 1_000),
        (timed_out, 1_100),
        (timed_out, 1_200),
        (Status::Disconnected(Delivery::MaybeSent), 1_200),
    ];
    for ((status, at), (expected, after)) in results.into_iter().zip(expected) {
        let late = at - start - millis(after);
        assert!(status == expected && late <= millis(2), "{status} after {:?}", at - start);
    }
    let (status, at) = get_after(client.clone(), Duration::ZERO).await;
    assert_eq!(status, Status::Disconnected(Delivery::NotSent));
    assert!(at - start < millis(1_205));
    let conditions = [events.next().await, events.next().await, events.next().await].map(|event| event.unwrap().after);
    let down = ConnectionState::Down("3 requests in a row timed out".to_owned());
    assert_eq!(conditions, [ConnectionState::Connecting, ConnectionState::Connected, down]);
}

#[tokio::test(start_paused = true)]
async fn the_number_of_timeouts_is_configurable() {
    let second = [
        (0, Status::TimedOut(Delivery::MaybeSent)),
        (1, Status::Disconnected(Delivery::MaybeSent)),
        (2, Status::TimedOut(Delivery::MaybeSent)),
    ];
    for (breaker, expected) in second {
        let (_, client) = fake_and_client(ServerFault::NeverAnswer, Config::new().breaker(breaker));
        let calls = [0, 500].map(|delay| tokio::spawn(get_after(client.clone(), millis(delay))));
        let [first, second] = calls;
        assert_eq!(first.await.unwrap().0, Status::TimedOut(Delivery::MaybeSent));
        assert_eq!(second.await.unwrap().0, expected, "breaker {breaker}");
        assert_eq!(client.is_usable(), breaker == 0);
    }
}

#[tokio::test(start_paused = true)]
async fn timeouts_shorter_than_the_configured_one_do_not_open_the_breaker() {
    let (fake, client) = fake_and_client(ServerFault::NeverAnswer, Config::new());
    for _ in 0..50 {
        let reply: Reply = client.call(Request::get("fixed:1")).timeout(millis(10)).await;
        assert!(matches!(reply.status, Status::TimedOut(_)), "{}", reply.status);
    }
    assert!(client.is_usable() && fake.accepted() == 1);
}

/// Of a thousand servers 300 flap; the callers of the others are unaffected.
#[tokio::test(start_paused = true)]
async fn healthy_servers_always_answer_while_others_flap() {
    const SERVERS: usize = 1_000;
    const FLAPPING: usize = 300;
    let seed = seed();
    let fakes: Vec<_> = (0..SERVERS).map(|_| FakeServer::new(ProtocolMode::Binary, ServerFault::None)).collect();
    let names: Vec<&'static str> = (0..SERVERS).map(|n| &*format!("s{n:04}").leak()).collect();
    let network = FakeNetwork::new(names.iter().copied().zip(fakes.iter().cloned()));
    let client =
        Client::with_config(&names, ProtocolMode::Binary.config(Config::new()).connector(network).seed(seed.value()))
            .unwrap();
    let owners: Vec<_> =
        (0..1_000).map(|n| client.locate(format!("key{n}")).unwrap().unwrap().name().to_owned()).collect();
    let end = Instant::now() + Duration::from_secs(10);

    let mut flaps = JoinSet::new();
    for (number, fake) in fakes.iter().take(FLAPPING).cloned().enumerate() {
        flaps.spawn(flap(fake, seed.value().wrapping_add(number as u64), end));
    }
    let mut callers = JoinSet::new();
    for (number, server) in client.servers().into_iter().enumerate() {
        callers.spawn(send_requests(server, number >= FLAPPING, end));
    }
    let (mut healthy, mut failed) = (0, 0);
    while let Some(result) = callers.join_next().await {
        let (answered, lost) = result.unwrap();
        healthy += answered;
        failed += lost;
    }
    let flaps: usize = flaps.join_all().await.into_iter().sum();
    assert!(healthy > 70 * SERVERS && failed > FLAPPING, "{healthy} answered, {failed} failed");
    let accepted: usize = fakes.iter().map(|fake| fake.accepted()).sum();
    assert!(accepted <= SERVERS + 20 * flaps, "{accepted} connections for {flaps} flaps");
    assert!(fakes.iter().skip(FLAPPING).all(|fake| fake.accepted() == 1));
    for (n, owner) in owners.iter().enumerate() {
        assert_eq!(client.locate(format!("key{n}")).unwrap().unwrap().name(), owner, "health does not move keys");
    }
}

/// Fails and recovers repeatedly, each for 100 to 600 ms. Returns how often.
async fn flap(fake: Arc<FakeServer>, seed: u64, end: Instant) -> usize {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut flaps = 0;
    while Instant::now() < end {
        let fault = if rng.bool() { ServerFault::RefuseConnections } else { ServerFault::NeverAnswer };
        fake.set_fault(fault);
        fake.reset_connections();
        sleep(millis(rng.u64(100..600))).await;
        fake.set_fault(ServerFault::None);
        fake.reset_connections();
        sleep(millis(rng.u64(100..600))).await;
        flaps += 1;
    }
    flaps
}

/// Sends requests until `end` and returns how many succeeded and failed. A healthy server answers all, immediately.
async fn send_requests(server: ServerHandle, is_healthy: bool, end: Instant) -> (usize, usize) {
    let (mut answered, mut failed) = (0, 0);
    while Instant::now() < end {
        let start = Instant::now();
        let reply = server.call(Request::get("fixed:1")).await;
        match reply.is_ok() {
            true => {
                assert_eq!(reply.value, expected_value(b"fixed:1"));
                answered += 1;
            }
            false => {
                assert!(!is_healthy && !reply.status.is_from_server(), "{}: {}", server.name(), reply.status);
                failed += 1;
            }
        }
        assert!(!is_healthy || start.elapsed() <= millis(2), "{}: {:?}", server.name(), start.elapsed());
        sleep(millis(100)).await;
    }
    (answered, failed)
}

/// A network in which names can be pointed at other servers.
#[derive(Clone, Debug)]
struct Redirectable(Arc<Mutex<FakeNetwork>>);

impl Connect for Redirectable {
    fn connect<'a>(&'a self, address: &'a Address, settings: &'a TransportSettings) -> ConnectFuture<'a> {
        let network = self.0.lock().unwrap().clone();
        Box::pin(async move { network.connect(address, settings).await })
    }
}

/// One of several clients with the same configuration, each on its own network.
struct Twin {
    client: Client,
    network: Redirectable,
    fakes: Vec<Arc<FakeServer>>,
}

const NAMES: [&str; 8] = ["one", "two", "three", "four", "five", "six", "seven", "eight"];

impl Twin {
    fn new(seed: u64) -> Self {
        let fakes: Vec<_> = NAMES.iter().map(|_| FakeServer::new(ProtocolMode::Binary, ServerFault::None)).collect();
        let network =
            Redirectable(Arc::new(Mutex::new(FakeNetwork::new(NAMES.into_iter().zip(fakes.iter().cloned())))));
        let config = ProtocolMode::Binary.config(Config::new()).connector(network.clone()).seed(seed);
        Self { client: Client::with_config(NAMES, config).unwrap(), network, fakes }
    }

    /// Sends requests while servers fail and recover at random, and names change their server.
    async fn run_random_failures(&self, rng: &mut fastrand::Rng) {
        let mut fakes = self.fakes.clone();
        rng.shuffle(&mut fakes);
        *self.network.0.lock().unwrap() = FakeNetwork::new(NAMES.into_iter().zip(fakes));
        for fake in &self.fakes {
            let faults =
                [ServerFault::None, ServerFault::RefuseConnections, ServerFault::NeverAnswer, ServerFault::Unreachable];
            fake.set_fault(rng.choice(faults).unwrap());
            if rng.bool() {
                fake.reset_connections();
            }
        }
        let calls = (0..rng.usize(..6)).map(|_| (self.client.clone(), format!("fixed:{}", rng.u8(..))));
        let calls: JoinSet<_> = calls.map(|(client, key)| async move { client.get(key).await.is_ok() }).collect();
        calls.join_all().await;
    }

    fn owner(&self, key: &str) -> String {
        self.client.locate(key).unwrap().unwrap().name().to_owned()
    }
}

/// G11: whatever failures two clients experience, they place every key on the same server as a new client does.
#[tokio::test(start_paused = true)]
async fn two_clients_agree_on_a_million_keys_after_different_failures() {
    let seed = seed();
    let mut rng = seed.rng();
    let fresh = Twin::new(rng.u64(..));
    let twins = [Twin::new(rng.u64(..)), Twin::new(rng.u64(..))];
    let mut failed = 0;
    for round in 0..1_000 {
        for twin in &twins {
            twin.run_random_failures(&mut rng).await;
            failed += twin
                .client
                .servers()
                .iter()
                .filter(|server| server.status().state != ConnectionState::Connected)
                .count();
        }
        for n in 0..1_000 {
            let key = format!("key {n} of round {round}");
            let owner = fresh.owner(&key);
            assert_eq!(twins.each_ref().map(|twin| twin.owner(&key)), [owner.clone(), owner], "{key}");
        }
    }
    assert!(failed > 1_000, "too few failures: {failed}");
}
