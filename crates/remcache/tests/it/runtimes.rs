//! Clients whose connections live on another runtime than their callers: one that is not polled, whose thread is
//! blocked, that has ended, or that many short ones take turns with.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod ends;
mod fairness;
mod places;
mod short;
mod stalled;
mod takeover;

use std::thread;
use std::time::{Duration, Instant};

use remcache::{Client, Config, Request, Status};
use remcache_testkit::Memcached;
use tokio::runtime::{Builder, Runtime};

fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// A runtime that runs only while a thread is within its `block_on`.
fn current_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn client_of(server: &Memcached, timeout: Duration) -> Client {
    Client::with_config([server.addr()], Config::new().timeout(timeout)).unwrap()
}

/// Makes the first request on a runtime, which owns the connection from then on.
fn connect_on(runtime: &Runtime, client: &Client) {
    let stored = runtime.block_on(client.set("k", "v").timeout(GENEROUS));
    assert!(stored.unwrap().is_applied());
}

/// A deadline that only a request meets which hangs.
const GENEROUS: Duration = Duration::from_secs(60);

/// Runs something on a thread of its own.
///
/// # Panics
/// Time after which a call counts as stuck.
fn ends<T: Send + 'static>(what: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    let start = Instant::now();
    let thread = thread::spawn(work);
    while !thread.is_finished() {
        assert!(start.elapsed() < GENEROUS / 2, "{what}: it does not end");
        thread::sleep(millis(5));
    }
    thread.join().unwrap()
}

async fn get(client: &Client) -> Status {
    client.call(Request::get("k")).await.status
}
