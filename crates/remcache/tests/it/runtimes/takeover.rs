//! A connection whose runtime does not run is taken over by another.

use std::collections::HashSet;
use std::net::SocketAddrV4;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use remcache::health::ConnectionState;
use remcache::{Client, Config, Delivery, Request, Status};
use remcache_testkit::{Memcached, unused_port};
use tokio::runtime::{Builder, Runtime};

use super::{GENEROUS, client_of, connect_on, current_thread, ends, get, millis};

/// Repeats a get until it is answered. Returns how many calls failed before.
async fn get_until_answered(client: &Client) -> u32 {
    let start = Instant::now();
    let mut failed = 0;
    while get(client).await != Status::NoError {
        failed += 1;
        assert!(start.elapsed() < GENEROUS / 4, "{failed} calls failed");
    }
    failed
}

/// Returns the number of connections of the server.
async fn open_connections(client: &Client) -> usize {
    let stats = client.servers()[0].stats("conns").collect().await.unwrap();
    stats.iter().filter(|(name, value)| name.ends_with(b":state") && &value[..] != b"conn_listening").count()
}

#[test]
fn calls_succeed_again_although_the_owner_is_never_polled() {
    let server = Memcached::start(&[]);
    let client = client_of(&server, millis(200));
    let owner = current_thread();
    connect_on(&owner, &client);
    for _ in 0..2 {
        // Each runtime stalls too, and the next one takes the connection over.
        let client = client.clone();
        let runtime = ends("a get", move || {
            let runtime = current_thread();
            runtime.block_on(get_until_answered(&client));
            assert_eq!(runtime.block_on(get(&client)), Status::NoError, "the connection stays usable");
            runtime
        });
        std::mem::forget(runtime);
    }
    assert_eq!(client.servers()[0].metrics().reconnects, 2);
}

#[test]
fn many_calls_and_streams_succeed_again() {
    let server = Memcached::start(&[]);
    let client = client_of(&server, millis(200));
    let owner = current_thread();
    connect_on(&owner, &client);
    ends("all calls", move || {
        current_thread().block_on(async {
            let start = Instant::now();
            while !client.get_many(["k", "absent"]).await.is_complete() {
                assert!(start.elapsed() < GENEROUS / 4);
            }
            assert!(!client.servers()[0].stats("").collect().await.unwrap().is_empty());
        });
    });
}

/// When the owner runs again, its task ends and writes nothing more.
#[test]
fn an_owner_that_runs_again_uses_the_new_connection() {
    let server = Memcached::start(&[]);
    let client = client_of(&server, millis(200));
    let owner = current_thread();
    connect_on(&owner, &client);
    let other = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let unsent = ends("a set", {
        let (client, handle) = (client.clone(), other.handle().clone());
        move || handle.block_on(client.call(Request::set("k", "unsent"))).status
    });
    assert_eq!(unsent, Status::TimedOut(Delivery::NotSent));
    ends("a get", {
        let (client, handle) = (client.clone(), other.handle().clone());
        move || handle.block_on(get_until_answered(&client))
    });
    owner.block_on(async {
        tokio::time::sleep(millis(50)).await;
        assert_eq!(client.get("k").timeout(GENEROUS).await.unwrap().unwrap().value, "v");
    });
    drop(owner);
    let metrics = client.servers()[0].metrics();
    assert_eq!((metrics.status.state, metrics.reconnects), (ConnectionState::Connected, 1));
    // The old task closes the old socket when it runs.
    let start = Instant::now();
    while other.block_on(open_connections(&client)) > 1 {
        assert!(start.elapsed() < GENEROUS / 4, "the old socket stays open");
        thread::sleep(millis(10));
    }
    ends("close", move || other.block_on(client.close()));
}

/// While the server is down there are no pending requests whose deadlines could reveal that the owner does not run.
#[test]
fn a_server_that_was_down_is_used_again_although_the_owner_is_never_polled() {
    let address = SocketAddrV4::new([127, 0, 0, 1].into(), unused_port());
    let config = Config::new().timeout(millis(500)).reconnect_delay(millis(10), millis(100));
    let client = Client::with_config([address.to_string()], config).unwrap();
    let owner = current_thread();
    assert!(matches!(owner.block_on(get(&client)), Status::Disconnected(_)));
    let _server = Memcached::start_at(address, &[]).expect("the port is free");
    ends("a get", move || {
        current_thread().block_on(async {
            let start = Instant::now();
            while get(&client).await != Status::KeyNotFound {
                assert!(start.elapsed() < GENEROUS / 4, "{:?}", client.servers()[0].status());
                tokio::time::sleep(millis(10)).await;
            }
        });
    });
    drop(owner);
}

/// A blocked runtime keeps its connection if no other runtime needs it.
#[test]
fn a_runtime_that_was_blocked_keeps_its_own_connection() {
    let server = Memcached::start(&[]);
    let client = client_of(&server, millis(100));
    current_thread().block_on(async {
        // Blocking while it connects would end the attempt.
        assert!(client.get("k").timeout(GENEROUS).await.is_ok());
        for _ in 0..2 {
            let call = tokio::spawn({
                let client = client.clone();
                async move { get(&client).await }
            });
            tokio::task::yield_now().await;
            thread::sleep(millis(1500));
            let _ = call.await.unwrap();
            assert!(client.get("k").timeout(GENEROUS).await.is_ok());
        }
    });
    assert_eq!(client.servers()[0].metrics().reconnects, 0);
}

/// A client that several threads use on runtimes that stall, end and start, and what they observed.
struct SharedClient {
    client: Client,
    is_finished: AtomicBool,
    calls: AtomicU64,
    /// The number of sets that were answered.
    answered: AtomicU64,
    /// The longest duration of a set and a get.
    longest: Mutex<Duration>,
    /// Keys whose set was reported as not sent.
    unsent: Mutex<HashSet<String>>,
}

impl SharedClient {
    /// Makes calls until the test is finished, each time on a new runtime, or on one that has stalled in the meantime.
    fn use_on_random_runtimes(&self, thread: u64, mut random: fastrand::Rng) {
        let mut stalled = Vec::new();
        let mut round = 0;
        while !self.is_finished.load(Ordering::Relaxed) {
            let runtime = match stalled.len() {
                0 => current_thread(),
                count if random.bool() => stalled.swap_remove(random.usize(..count)),
                _ => current_thread(),
            };
            for _ in 0..random.u8(1..20) {
                round += 1;
                self.set_and_get(&runtime, &format!("{thread}-{round}"));
            }
            match random.u8(..4) {
                0 => drop(runtime),
                1 => thread::sleep(millis(random.u64(..400))),
                _ => stalled.push(runtime),
            }
            if stalled.len() > 4 {
                stalled.remove(0);
            }
        }
    }

    /// Stores a key with itself as value and reads it back.
    fn set_and_get(&self, runtime: &Runtime, key: &str) {
        let start = Instant::now();
        let (stored, found) = runtime.block_on(async {
            let stored = self.client.call(Request::set(key, key)).await.status;
            (stored, self.client.call(Request::get(key)).await)
        });
        let elapsed = start.elapsed();
        let mut longest = self.longest.lock().unwrap();
        *longest = elapsed.max(*longest);
        drop(longest);
        self.calls.fetch_add(2, Ordering::Relaxed);
        match stored {
            Status::NoError => _ = self.answered.fetch_add(1, Ordering::Relaxed),
            Status::TimedOut(Delivery::NotSent) | Status::Disconnected(Delivery::NotSent) => {
                self.unsent.lock().unwrap().insert(key.to_owned());
            }
            Status::TimedOut(_) | Status::Disconnected(_) => {}
            other => panic!("{other}"),
        }
        match found.status {
            Status::NoError => assert_eq!(found.value, key),
            Status::KeyNotFound => assert_ne!(stored, Status::NoError, "{key}: a false miss"),
            Status::TimedOut(_) | Status::Disconnected(_) => {}
            other => panic!("{other}"),
        }
    }
}

/// Runtimes stall, continue, end and start in any order, on real threads: every call ends by its deadline, every value
/// belongs to its key, and requests reported as not sent were never executed.
#[test]
fn runtimes_stall_end_and_start_in_any_order() {
    let server = Memcached::start(&[]);
    let timeout = millis(150);
    let shared = SharedClient {
        client: client_of(&server, timeout),
        is_finished: AtomicBool::new(false),
        calls: AtomicU64::new(0),
        answered: AtomicU64::new(0),
        longest: Mutex::default(),
        unsent: Mutex::default(),
    };
    let seed = remcache_testkit::seed();
    thread::scope(|scope| {
        for number in 0..6 {
            let (shared, random) = (&shared, fastrand::Rng::with_seed(seed.value().wrapping_add(number)));
            scope.spawn(move || shared.use_on_random_runtimes(number, random));
        }
        thread::sleep(Duration::from_secs(6));
        shared.is_finished.store(true, Ordering::Relaxed);
    });
    let SharedClient { client, calls, answered, longest, unsent, .. } = shared;
    let (calls, answered, longest) = (calls.into_inner(), answered.into_inner(), longest.into_inner().unwrap());
    println!("{answered} sets were answered of {} in {calls} calls; the longest two took {longest:?}", calls / 2);
    assert!(answered > 0);
    assert!(longest < 2 * timeout + GENEROUS / 4, "{longest:?}");
    // After all runtimes have ended, no item of an unsent request exists.
    current_thread().block_on(async {
        for key in unsent.into_inner().unwrap() {
            assert_eq!(client.get(&key).timeout(GENEROUS).await.unwrap(), None, "{key} was sent");
        }
    });
}
