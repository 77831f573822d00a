//! Clients whose connections run on another runtime than their callers: one that is not polled, blocked or gone, or
//! one of many short-lived ones.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod configured;
mod fairness;
mod runtime_ends;
mod short_lived;
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

/// Returns a runtime that runs only during `block_on`.
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

/// A deadline that only a request that hangs exceeds.
const GENEROUS: Duration = Duration::from_secs(60);

/// Runs a function on a new thread, and returns its result.
///
/// # Panics
/// If the function panics or takes longer than half of [`GENEROUS`].
fn ends<T: Send + 'static>(what: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    let start = Instant::now();
    let thread = thread::spawn(work);
    while !thread.is_finished() {
        assert!(start.elapsed() < GENEROUS / 2, "{what} does not end");
        thread::sleep(millis(5));
    }
    thread.join().unwrap()
}

async fn get(client: &Client) -> Status {
    client.call(Request::get("k")).await.status
}
