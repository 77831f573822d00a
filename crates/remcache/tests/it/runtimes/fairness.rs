//! Callers on one thread leave room for each other, and for the task of the connection.

use std::time::Duration;

use remcache::{Client, Config, Status};
use remcache_testkit::Memcached;

use tokio::runtime::Builder;

use super::{GENEROUS, connect_on, current_thread, get, millis};

/// A task that never waits for anything but its calls, which fail at once while the server is away.
#[test]
fn a_loop_of_calls_that_fail_at_once_lets_the_connection_heal() {
    let mut server = Memcached::start(&[]);
    let config = Config::new().timeout(Duration::from_secs(5)).reconnect_delay(millis(10), millis(100));
    let client = Client::with_config([server.addr()], config).unwrap();
    let runtime = current_thread();
    connect_on(&runtime, &client);
    server.kill();
    let address = server.addr().parse().unwrap();
    let restarted = std::thread::spawn(move || {
        std::thread::sleep(millis(300));
        Memcached::start_at(address, &[]).expect("the port is free")
    });
    let start = std::time::Instant::now();
    runtime.block_on(async {
        while !matches!(get(&client).await, Status::NoError | Status::KeyNotFound) {
            assert!(start.elapsed() < GENEROUS, "it does not reconnect");
        }
        let mut is_back = false;
        while !is_back {
            is_back = client.get_many(["a", "b"]).await.is_complete();
            assert!(start.elapsed() < GENEROUS, "it does not reconnect");
        }
    });
    drop(restarted.join().unwrap());
}

/// One request in flight at most, and callers that go away while they wait for their turn, or have it: the caller
/// stays gets its turn.
#[test]
fn a_turn_that_a_dropped_caller_was_offered_goes_to_the_next() {
    let server = Memcached::start(&[]);
    for workers in [0, 2] {
        let config = Config::new().timeout(GENEROUS).max_in_flight(1);
        let client = Client::with_config([server.addr()], config).unwrap();
        let runtime = match workers {
            0 => current_thread(),
            workers => Builder::new_multi_thread().worker_threads(workers).enable_all().build().unwrap(),
        };
        runtime.block_on(async {
            let mut callers = Vec::new();
            for number in 0..16_u64 {
                let client = client.clone();
                callers.push(tokio::spawn(async move {
                    let mut random = fastrand::Rng::with_seed(number);
                    let mut longest = Duration::ZERO;
                    for _ in 0..300 {
                        let extend_by = Duration::from_micros(random.u64(1..400));
                        let start = std::time::Instant::now();
                        match number {
                            0..2 => assert_eq!(get(&client).await, Status::KeyNotFound),
                            _ => _ = tokio::time::timeout(extend_by, get(&client)).await,
                        }
                        longest = longest.max(start.elapsed());
                    }
                    longest
                }));
            }
            for (number, caller) in callers.into_iter().enumerate() {
                let longest = caller.await.unwrap();
                if number < 2 {
                    println!("the longest of the calls of {number} took {longest:?}");
                }
            }
        });
        assert_eq!(client.servers()[0].waiting(), 0);
    }
}
