//! What one server's trouble costs: its own callers as little time as possible, the others nothing.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use remcache::config::Address;
use remcache::health::ConnectionState;
use remcache::transport::{Connect, Connecting, TransportSettings};
use remcache::{Client, Config, Delivery, Reply, Request, ServerHandle, Status};
use remcache_testkit::seed;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::faults::support::conduct::Conduct;
use crate::faults::support::net::Net;
use crate::faults::support::serve::World;
use crate::faults::support::store::truth;
use crate::support::Speech;

fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn one(conduct: Conduct, config: Config) -> (Arc<World>, Client) {
    let world = World::new(Speech::Binary, conduct);
    let net = Net::new([("server", Arc::clone(&world))]);
    (world, Client::with_config(["server"], Speech::Binary.config(config).connector(net)).unwrap())
}

async fn fetch_later(client: Client, delay: Duration) -> (Status, Instant) {
    sleep(delay).await;
    (client.call(Request::get("fixed:1")).await.status, Instant::now())
}

#[tokio::test(start_paused = true)]
async fn three_timeouts_in_a_row_open_the_breaker_and_say_so() {
    let (_, client) = one(Conduct::Silent, Config::new());
    let mut events = client.events();
    let start = Instant::now();
    let calls = [0, 100, 200, 900].map(|delay| tokio::spawn(fetch_later(client.clone(), millis(delay))));
    let mut outcomes = Vec::new();
    for call in calls {
        outcomes.push(call.await.unwrap());
    }
    let timed_out = Status::TimedOut(Delivery::MaybeSent);
    // The fourth was in flight when the third timed out.
    let expected = [
        (timed_out, 1_000),
        (timed_out, 1_100),
        (timed_out, 1_200),
        (Status::Disconnected(Delivery::MaybeSent), 1_200),
    ];
    for ((status, at), (expected, after)) in outcomes.into_iter().zip(expected) {
        let late = at - start - millis(after);
        assert!(status == expected && late <= millis(2), "{status} after {:?}", at - start);
    }
    let (status, at) = fetch_later(client.clone(), Duration::ZERO).await;
    assert_eq!(status, Status::Disconnected(Delivery::NotSent));
    assert!(at - start < millis(1_205));
    let conditions = [events.next().await, events.next().await, events.next().await].map(|event| event.unwrap().after);
    let down = ConnectionState::Down("3 requests in a row timed out".to_owned());
    assert_eq!(conditions, [ConnectionState::Connecting, ConnectionState::Connected, down]);
}

#[tokio::test(start_paused = true)]
async fn the_number_of_timeouts_is_a_setting() {
    let second = [
        (0, Status::TimedOut(Delivery::MaybeSent)),
        (1, Status::Disconnected(Delivery::MaybeSent)),
        (2, Status::TimedOut(Delivery::MaybeSent)),
    ];
    for (breaker, expected) in second {
        let (_, client) = one(Conduct::Silent, Config::new().breaker(breaker));
        let calls = [0, 500].map(|delay| tokio::spawn(fetch_later(client.clone(), millis(delay))));
        let [first, second] = calls;
        assert_eq!(first.await.unwrap().0, Status::TimedOut(Delivery::MaybeSent));
        assert_eq!(second.await.unwrap().0, expected, "breaker {breaker}");
        assert_eq!(client.is_usable(), breaker == 0);
    }
}

#[tokio::test(start_paused = true)]
async fn an_impatient_caller_opens_no_breaker() {
    let (world, client) = one(Conduct::Silent, Config::new());
    for _ in 0..50 {
        let reply: Reply = client.call(Request::get("fixed:1")).timeout(millis(10)).await;
        assert!(matches!(reply.status, Status::TimedOut(_)), "{}", reply.status);
    }
    assert!(client.is_usable() && world.accepted() == 1);
}

/// Row 24: of a thousand servers 300 come and go; the callers of the others notice nothing.
#[tokio::test(start_paused = true)]
async fn row_24_healthy_servers_of_a_flapping_fleet_always_answer() {
    const SERVERS: usize = 1_000;
    const FLAPPING: usize = 300;
    let seed = seed();
    let worlds: Vec<_> = (0..SERVERS).map(|_| World::new(Speech::Binary, Conduct::Honest)).collect();
    let names: Vec<&'static str> = (0..SERVERS).map(|n| &*format!("s{n:04}").leak()).collect();
    let net = Net::new(names.iter().copied().zip(worlds.iter().cloned()));
    let client =
        Client::with_config(&names, Speech::Binary.config(Config::new()).connector(net).seed(seed.value())).unwrap();
    let homes: Vec<_> =
        (0..1_000).map(|n| client.locate(format!("key{n}")).unwrap().unwrap().name().to_owned()).collect();
    let end = Instant::now() + Duration::from_secs(10);

    let mut flaps = JoinSet::new();
    for (number, world) in worlds.iter().take(FLAPPING).cloned().enumerate() {
        flaps.spawn(flap(world, seed.value().wrapping_add(number as u64), end));
    }
    let mut callers = JoinSet::new();
    for (number, server) in client.servers().into_iter().enumerate() {
        callers.spawn(keep_asking(server, number >= FLAPPING, end));
    }
    let (mut healthy, mut failed) = (0, 0);
    while let Some(outcome) = callers.join_next().await {
        let (answered, lost) = outcome.unwrap();
        healthy += answered;
        failed += lost;
    }
    let flaps: usize = flaps.join_all().await.into_iter().sum();
    assert!(healthy > 70 * SERVERS && failed > FLAPPING, "{healthy} answered, {failed} failed");
    let accepted: usize = worlds.iter().map(|world| world.accepted()).sum();
    assert!(accepted <= SERVERS + 20 * flaps, "{accepted} connections for {flaps} flaps");
    assert!(worlds.iter().skip(FLAPPING).all(|world| world.accepted() == 1));
    for (n, home) in homes.iter().enumerate() {
        assert_eq!(client.locate(format!("key{n}")).unwrap().unwrap().name(), home, "health moves no key");
    }
}

/// Comes and goes, each time for 100 to 600 ms; how often.
async fn flap(world: Arc<World>, seed: u64, end: Instant) -> usize {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut flaps = 0;
    while Instant::now() < end {
        let conduct = if rng.bool() { Conduct::Refuses } else { Conduct::Silent };
        world.change(conduct);
        world.crash();
        sleep(millis(rng.u64(100..600))).await;
        world.change(Conduct::Honest);
        world.crash();
        sleep(millis(rng.u64(100..600))).await;
        flaps += 1;
    }
    flaps
}

/// How many requests were answered, and how many were not; at a healthy server, all, and at once.
async fn keep_asking(server: ServerHandle, is_healthy: bool, end: Instant) -> (usize, usize) {
    let (mut answered, mut failed) = (0, 0);
    while Instant::now() < end {
        let start = Instant::now();
        let reply = server.call(Request::get("fixed:1")).await;
        match reply.is_ok() {
            true => {
                assert_eq!(reply.value, truth(b"fixed:1"));
                answered += 1;
            }
            false => {
                assert!(!is_healthy && !reply.status.is_answer(), "{}: {}", server.name(), reply.status);
                failed += 1;
            }
        }
        assert!(!is_healthy || start.elapsed() <= millis(2), "{}: {:?}", server.name(), start.elapsed());
        sleep(millis(100)).await;
    }
    (answered, failed)
}

/// A network in which names lead elsewhere from time to time.
#[derive(Clone, Debug)]
struct Moving(Arc<Mutex<Net>>);

impl Connect for Moving {
    fn connect<'a>(&'a self, address: &'a Address, settings: &'a TransportSettings) -> Connecting<'a> {
        let net = self.0.lock().unwrap().clone();
        Box::pin(async move { net.connect(address, settings).await })
    }
}

/// One of two clients of the same configuration, with a network of its own.
struct Twin {
    client: Client,
    moving: Moving,
    worlds: Vec<Arc<World>>,
}

const NAMES: [&str; 8] = ["one", "two", "three", "four", "five", "six", "seven", "eight"];

impl Twin {
    fn new(seed: u64) -> Self {
        let worlds: Vec<_> = NAMES.iter().map(|_| World::new(Speech::Binary, Conduct::Honest)).collect();
        let moving = Moving(Arc::new(Mutex::new(Net::new(NAMES.into_iter().zip(worlds.iter().cloned())))));
        let config = Speech::Binary.config(Config::new()).connector(moving.clone()).seed(seed);
        Self { client: Client::with_config(NAMES, config).unwrap(), moving, worlds }
    }

    /// Lives through something: servers fail and come back, names move, and requests notice it.
    async fn live(&self, rng: &mut fastrand::Rng) {
        let mut worlds = self.worlds.clone();
        rng.shuffle(&mut worlds);
        *self.moving.0.lock().unwrap() = Net::new(NAMES.into_iter().zip(worlds));
        for world in &self.worlds {
            let conducts = [Conduct::Honest, Conduct::Refuses, Conduct::Silent, Conduct::Unreachable];
            world.change(rng.choice(conducts).unwrap());
            if rng.bool() {
                world.crash();
            }
        }
        let calls = (0..rng.usize(..6)).map(|_| (self.client.clone(), format!("fixed:{}", rng.u8(..))));
        let calls: JoinSet<_> = calls.map(|(client, key)| async move { client.get(key).await.is_ok() }).collect();
        calls.join_all().await;
    }

    fn home(&self, key: &str) -> String {
        self.client.locate(key).unwrap().unwrap().name().to_owned()
    }
}

/// G11: whatever two clients live through, each for itself, they place every key alike, and as at first.
#[tokio::test(start_paused = true)]
async fn two_clients_agree_on_a_million_keys_through_a_thousand_histories() {
    let seed = seed();
    let mut rng = seed.rng();
    let fresh = Twin::new(rng.u64(..));
    let twins = [Twin::new(rng.u64(..)), Twin::new(rng.u64(..))];
    let mut failed = 0;
    for history in 0..1_000 {
        for twin in &twins {
            twin.live(&mut rng).await;
            failed += twin
                .client
                .servers()
                .iter()
                .filter(|server| server.state().condition != ConnectionState::Connected)
                .count();
        }
        for n in 0..1_000 {
            let key = format!("key {n} of {history}");
            let home = fresh.home(&key);
            assert_eq!(twins.each_ref().map(|twin| twin.home(&key)), [home.clone(), home], "{key}");
        }
    }
    assert!(failed > 1_000, "nothing has happened: {failed}");
}
