//! Callers on one thread leave room for each other, and for the task of the connection.

use std::time::Duration;

use remcache::{Client, Config, Status};
use remcache_testkit::Memcached;

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
