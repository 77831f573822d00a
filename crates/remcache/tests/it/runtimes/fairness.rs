//! Callers on one thread starve neither each other nor the I/O loop.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use remcache::{Client, Config, Reply, Request, Status};
use remcache_testkit::Memcached;
use tokio::runtime::Builder;

use crate::support::wait_until;

use super::{GENEROUS, connect_on, current_thread, get, millis};

/// A task that only makes calls, which fail immediately while the server is down.
#[test]
fn a_loop_of_immediately_failing_calls_does_not_prevent_reconnecting() {
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
            assert!(start.elapsed() < GENEROUS, "the client does not reconnect");
        }
        let mut is_back = false;
        while !is_back {
            is_back = client.get_many(["a", "b"]).await.is_complete();
            assert!(start.elapsed() < GENEROUS, "the client does not reconnect");
        }
    });
    drop(restarted.join().unwrap());
}

/// With a limit of one request in flight, callers are dropped while they wait for capacity or after they got it.
#[test]
fn callers_get_capacity_although_others_are_dropped() {
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
                    for _ in 0..300 {
                        let patience = Duration::from_micros(random.u64(1..400));
                        match number {
                            0..2 => assert_eq!(get(&client).await, Status::KeyNotFound),
                            _ => _ = tokio::time::timeout(patience, get(&client)).await,
                        }
                    }
                }));
            }
            for caller in callers {
                caller.await.unwrap();
            }
        });
        assert_eq!(client.servers()[0].waiting(), 0);
    }
}

/// A caller that polls its call manually, and records when it is woken.
struct Caller<'a> {
    call: Pin<Box<dyn Future<Output = Reply> + 'a>>,
    alarm: Arc<WakeFlag>,
}

#[derive(Default)]
struct WakeFlag(AtomicBool);

impl Wake for WakeFlag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl<'a> Caller<'a> {
    /// Makes a call and polls it once.
    fn begin(client: &'a Client) -> Self {
        let mut caller = Self { call: Box::pin(client.call(Request::get("k"))), alarm: Arc::default() };
        assert!(caller.poll().is_pending());
        caller
    }

    fn poll(&mut self) -> Poll<Reply> {
        self.call.as_mut().poll(&mut Context::from_waker(&Waker::from(Arc::clone(&self.alarm))))
    }

    fn is_woken(&self) -> bool {
        self.alarm.0.load(Ordering::Relaxed)
    }

    async fn wait_until_woken(&self) {
        wait_until("the caller is woken", async || self.is_woken()).await;
    }
}

/// The next caller is woken immediately, not by a timer.
#[test]
fn capacity_offered_to_a_dropped_caller_goes_to_the_next_immediately() {
    let server = Memcached::start(&[]);
    let config = Config::new().timeout(GENEROUS).max_in_flight(1);
    let client = Client::with_config([server.addr()], config).unwrap();
    let runtime = current_thread();
    connect_on(&runtime, &client);
    runtime.block_on(async {
        let mut first = Caller::begin(&client);
        let (second, mut third) = (Caller::begin(&client), Caller::begin(&client));
        assert_eq!(client.servers()[0].in_flight(), 1, "the others wait for capacity");
        first.wait_until_woken().await;
        assert!(first.poll().is_ready());
        second.wait_until_woken().await;
        third.alarm.0.store(false, Ordering::Relaxed);
        drop(second);
        assert!(third.is_woken(), "the capacity was lost with the dropped caller");
        assert!(third.poll().is_pending());
        assert_eq!(client.servers()[0].in_flight(), 1, "the third call is in flight");
        assert_eq!(third.call.await.status, Status::NoError);
    });
}
