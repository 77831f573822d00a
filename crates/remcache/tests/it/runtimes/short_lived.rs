//! Many short-lived runtimes share one client, as `#[tokio::test]` functions share one in a `static`.

use std::net::SocketAddrV4;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use remcache::{Client, Config, Status};
use remcache_testkit::{Memcached, unused_port};

use super::{GENEROUS, current_thread, get, millis};

static ADDRESS: LazyLock<SocketAddrV4> = LazyLock::new(|| SocketAddrV4::new([127, 0, 0, 1].into(), unused_port()));
static CLIENT: LazyLock<Client> = LazyLock::new(|| {
    let config = Config::new().timeout(GENEROUS).connect_timeout(Duration::from_secs(30));
    Client::with_config([ADDRESS.to_string()], config).unwrap()
});

/// Calls fail only if the server does, and end by their deadline.
#[test]
fn two_hundred_short_runtimes_share_one_client() {
    let server = Memcached::start_at(*ADDRESS, &[]).expect("the port is free");
    run(200, |status| assert!(matches!(status, Status::NoError | Status::KeyNotFound), "{status}"));
    // With a server that is stopped, killed and restarted, calls may fail, but end.
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let trouble = scope.spawn(|| {
            let mut server = server;
            while !is_over.load(Ordering::Relaxed) {
                server.stop();
                thread::sleep(millis(100));
                server.cont();
                thread::sleep(millis(100));
                server.kill();
                thread::sleep(millis(50));
                server = loop {
                    if let Some(server) = Memcached::start_at(*ADDRESS, &[]) {
                        break server;
                    }
                    thread::sleep(millis(10));
                };
                thread::sleep(millis(100));
            }
            server
        });
        run(200, |status| {
            let is_servers = matches!(status, Status::NoError | Status::KeyNotFound | Status::Disconnected(_));
            assert!(is_servers || matches!(status, Status::TimedOut(_)), "{status}");
        });
        is_over.store(true, Ordering::Relaxed);
        let _server = trouble.join().unwrap();
        // The client recovers when the server is back.
        let start = Instant::now();
        let works = || matches!(current_thread().block_on(get(&CLIENT)), Status::NoError | Status::KeyNotFound);
        while !works() {
            assert!(start.elapsed() < GENEROUS, "the client does not recover");
        }
    });
}

/// Runs many runtimes, eight at a time, each with some requests.
fn run(count: usize, check: impl Fn(Status) + Sync) {
    let left = AtomicUsize::new(count);
    let timeout = Duration::from_secs(5);
    let longest = std::sync::Mutex::new(Duration::ZERO);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
                    current_thread().block_on(async {
                        for _ in 0..20 {
                            let start = Instant::now();
                            let reply = CLIENT.call(remcache::Request::get("k")).timeout(timeout).await;
                            let mut longest = longest.lock().unwrap();
                            *longest = start.elapsed().max(*longest);
                            drop(longest);
                            check(reply.status);
                        }
                        let outcomes = CLIENT.get_many(["a", "b"]).timeout(timeout).await;
                        outcomes.iter().for_each(|(_, outcome)| {
                            check(outcome.map_or_else(
                                |_| Status::Disconnected(remcache::Delivery::NotSent),
                                |_| Status::NoError,
                            ))
                        });
                    });
                }
            });
        }
    });
    let longest = longest.into_inner().unwrap();
    println!("the longest of {} calls took {longest:?}, with a timeout of {timeout:?}", count * 20);
    assert!(longest < timeout + GENEROUS / 4, "{longest:?}");
}
