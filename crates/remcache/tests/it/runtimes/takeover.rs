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
use tokio::runtime::Builder;

use super::{GENEROUS, client_of, connect_on, current_thread, ends, get, millis};

/// Repeats a get until it is answered. Returns how many calls failed before.
async fn ask_until_answered(client: &Client) -> u32 {
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
            runtime.block_on(ask_until_answered(&client));
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
        move || handle.block_on(ask_until_answered(&client))
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

/// Runtimes stall, continue, end and start in any order, on real threads: every call ends by its deadline, every value
/// belongs to its key, and requests reported as not sent were never executed.
#[test]
fn runtimes_stall_end_and_start_in_any_order() {
    let server = Memcached::start(&[]);
    let timeout = millis(150);
    let client = client_of(&server, timeout);
    let (is_over, calls, answers) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let longest = Mutex::new(Duration::ZERO);
    let seed = &remcache_testkit::seed();
    let unsent = Mutex::new(HashSet::new());
    thread::scope(|scope| {
        let threads: Vec<_> = (0..6_u64)
            .map(|number| {
                let (client, is_over, calls, answers) = (&client, &is_over, &calls, &answers);
                let (longest, unsent) = (&longest, &unsent);
                scope.spawn(move || {
                    let mut random = fastrand::Rng::with_seed(seed.value().wrapping_add(number));
                    let mut kept = Vec::new();
                    let mut round = 0;
                    while !is_over.load(Ordering::Relaxed) {
                        // Use a new runtime, or one that has stalled since its last use.
                        let runtime = match kept.len() {
                            0 => current_thread(),
                            count if random.bool() => kept.swap_remove(random.usize(..count)),
                            _ => current_thread(),
                        };
                        for _ in 0..random.u8(1..20) {
                            round += 1;
                            let key = format!("{number}-{round}");
                            let start = Instant::now();
                            let (stored, found) = runtime.block_on(async {
                                let stored = client.call(Request::set(key.as_str(), key.clone())).await.status;
                                (stored, client.call(Request::get(key.as_str())).await)
                            });
                            let mut longest = longest.lock().unwrap();
                            *longest = start.elapsed().max(*longest);
                            drop(longest);
                            calls.fetch_add(2, Ordering::Relaxed);
                            match stored {
                                Status::NoError => _ = answers.fetch_add(1, Ordering::Relaxed),
                                Status::TimedOut(delivery) | Status::Disconnected(delivery) => {
                                    if delivery == Delivery::NotSent {
                                        unsent.lock().unwrap().insert(key.clone());
                                    }
                                }
                                other => panic!("{other}"),
                            }
                            match found.status {
                                Status::NoError => assert_eq!(found.value, key),
                                Status::KeyNotFound => assert_ne!(stored, Status::NoError, "{key}: a false miss"),
                                Status::TimedOut(_) | Status::Disconnected(_) => {}
                                other => panic!("{other}"),
                            }
                        }
                        match random.u8(..4) {
                            0 => drop(runtime),
                            1 => thread::sleep(millis(random.u64(..400))),
                            _ => kept.push(runtime),
                        }
                        if kept.len() > 4 {
                            kept.remove(0);
                        }
                    }
                })
            })
            .collect();
        thread::sleep(Duration::from_secs(6));
        is_over.store(true, Ordering::Relaxed);
        for thread in threads {
            thread.join().unwrap();
        }
    });
    let (calls, answers) = (calls.into_inner(), answers.into_inner());
    let longest = longest.into_inner().unwrap();
    println!("{answers} sets were answered of {} in {calls} calls; the longest two took {longest:?}", calls / 2);
    assert!(answers > 0);
    assert!(longest < 2 * timeout + GENEROUS / 4, "{longest:?}");
    // After all runtimes have ended, no item of an unsent request exists.
    current_thread().block_on(async {
        for key in unsent.into_inner().unwrap() {
            assert_eq!(client.get(&key).timeout(GENEROUS).await.unwrap(), None, "{key} was sent");
        }
    });
}
