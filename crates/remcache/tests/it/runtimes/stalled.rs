//! The runtime of a connection is not polled, or its thread is blocked: calls end by their deadline.

use std::future::Future;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use remcache::{Client, Config, Delivery, ErrorKind, Request, Status};
use remcache_testkit::Memcached;
use tokio::runtime::Runtime;

use crate::support::wait_until;

use super::{client_of, connect_on, current_thread, ends, get, millis};

/// A connection whose runtime is not polled.
struct Stalled {
    _server: Memcached,
    _owner: Runtime,
    client: Client,
}

impl Stalled {
    fn new() -> Self {
        let server = Memcached::start(&[]);
        let client = client_of(&server, millis(500));
        let owner = current_thread();
        connect_on(&owner, &client);
        Self { _server: server, _owner: owner, client }
    }

    /// Runs a future on another runtime.
    fn run_on_another_runtime<T, F>(&self, what: &str, work: impl FnOnce(Client) -> F + Send + 'static) -> T
    where
        T: Send + 'static,
        F: Future<Output = T>,
    {
        let client = self.client.clone();
        ends(what, move || current_thread().block_on(work(client)))
    }
}

#[test]
fn a_call_ends_by_its_deadline_and_not_before() {
    let stalled = Stalled::new();
    for round in 0..3 {
        let start = Instant::now();
        let status = stalled.run_on_another_runtime("a get", async |client| get(&client).await);
        assert_eq!(status, Status::TimedOut(Delivery::NotSent), "{round}");
        assert!(start.elapsed() >= millis(500), "{round}: {:?}", start.elapsed());
    }
}

#[test]
fn a_call_with_an_earlier_deadline_than_another_ends_by_its_own() {
    let stalled = Stalled::new();
    let client = stalled.client;
    ends("both calls", move || {
        current_thread().block_on(async {
            let slow = tokio::spawn({
                let client = client.clone();
                async move { client.get("k").timeout(Duration::from_secs(20)).await }
            });
            tokio::task::yield_now().await;
            let quick = client.get("k").timeout(millis(200)).await.unwrap_err();
            assert!(quick.is_timeout() && !slow.is_finished(), "{quick}");
            slow.abort();
        });
    });
}

#[test]
fn a_call_that_waits_for_the_connection_times_out() {
    let server = Memcached::start(&[]);
    let client = client_of(&server, millis(300));
    let owner = current_thread();
    // The task is spawned and never polled.
    let call = client.clone();
    drop(owner.spawn(async move { get(&call).await }));
    owner.block_on(tokio::task::yield_now());
    let status = ends("a get", move || current_thread().block_on(get(&client)));
    assert!(matches!(status, Status::TimedOut(_)), "{status}");
}

#[test]
fn multi_key_calls_time_out() {
    let stalled = Stalled::new();
    let outcomes = stalled.run_on_another_runtime("get_many", async |client| client.get_many(["a", "b", "c"]).await);
    assert!(outcomes.failed().all(|(_, error)| error.is_timeout()), "{outcomes:?}");
    assert_eq!(outcomes.failed().count(), 3);
    let outcomes =
        stalled.run_on_another_runtime("set_many", async |client| client.set_many([("a", "1"), ("b", "2")]).await);
    assert_eq!(outcomes.failed().count(), 2);
    let requests = || ["a", "b"].map(Request::get);
    let replies = stalled.run_on_another_runtime("call_many", async move |client| client.call_many(requests()).await);
    assert!(replies.iter().all(|reply| matches!(reply.status, Status::TimedOut(_))), "{replies:?}");
}

#[test]
fn streams_time_out() {
    let stalled = Stalled::new();
    let error = stalled
        .run_on_another_runtime("stats", async |client| client.servers()[0].stats("").collect().await.unwrap_err());
    assert!(error.is_timeout(), "{error}");
}

#[test]
fn recipes_time_out() {
    let stalled = Stalled::new();
    let minute = Duration::from_secs(60);
    let loaded = stalled.run_on_another_runtime("fetch", async move |client| {
        client.fetch_optional("page", minute, || async { Ok::<_, remcache::Error>(Some("loaded")) }).await
    });
    assert_eq!(loaded.unwrap(), Some(Bytes::from("loaded")), "without the cache");
    let lock = stalled.run_on_another_runtime("lock", async move |client| {
        client.lock("lock", minute).await.map(|lock| lock.is_acquired())
    });
    assert!(lock.unwrap_err().is_unavailable());
    let updated = stalled.run_on_another_runtime("update", async move |client| {
        client.update("k", minute, |_| Some(Bytes::from("new"))).await
    });
    assert!(updated.unwrap_err().is_unavailable());
}

#[test]
fn a_client_is_closed() {
    let stalled = Stalled::new();
    let client = stalled.client.clone();
    assert!(client.send_no_reply(Request::set("k", "cast")));
    stalled.run_on_another_runtime("close", async |client| client.close().await);
    let error = stalled.run_on_another_runtime("a get", async |client| client.get("k").await.unwrap_err());
    assert!(error.is_disconnected(), "{error}");
}

#[test]
fn calls_that_wait_for_capacity_time_out() {
    let server = Memcached::start(&[]);
    let config = Config::new().timeout(millis(300)).max_in_flight(2);
    let client = Client::with_config([server.addr()], config).unwrap();
    let owner = current_thread();
    connect_on(&owner, &client);
    ends("all calls", move || {
        current_thread().block_on(async {
            let calls: Vec<_> = (0..5)
                .map(|_| {
                    tokio::spawn({
                        let client = client.clone();
                        async move { client.get("k").await }
                    })
                })
                .collect();
            for call in calls {
                let error = call.await.unwrap().unwrap_err();
                assert!(error.is_timeout() || error.kind() == ErrorKind::Overloaded, "{error}");
            }
        });
    });
}

/// The thread of the connection's runtime is blocked for some time: only overdue requests fail.
#[test]
fn a_blocked_thread_delays_no_deadline() {
    let server = Memcached::start(&[]);
    let client = client_of(&server, millis(300));
    let (blocked, is_blocked) = mpsc::channel();
    let (go_on, goes_on) = mpsc::channel::<()>();
    let (asked, is_asked) = mpsc::channel::<()>();
    let owner = thread::spawn({
        let client = client.clone();
        move || {
            let runtime = current_thread();
            connect_on(&runtime, &client);
            blocked.send(()).unwrap();
            goes_on.recv().unwrap();
            runtime.block_on(async {
                wait_until("the connection works again", async || client.get("k").await.is_ok()).await;
                asked.send(()).unwrap();
                // From here on other runtimes use the connection.
                while client.is_usable() {
                    tokio::time::sleep(millis(5)).await;
                }
            });
        }
    });
    is_blocked.recv().unwrap();
    let status = ends("a get", {
        let client = client.clone();
        move || current_thread().block_on(get(&client))
    });
    assert_eq!(status, Status::TimedOut(Delivery::NotSent));
    go_on.send(()).unwrap();
    is_asked.recv().unwrap();
    let status = ends("a get", {
        let client = client.clone();
        move || current_thread().block_on(client.call(Request::get("k")).timeout(super::GENEROUS)).status
    });
    assert_eq!(status, Status::NoError);
    ends("close", move || current_thread().block_on(client.close()));
    owner.join().unwrap();
}

/// `block_on` from threads outside any runtime, while the owner of the connection is not polled.
#[test]
fn calls_of_threads_without_a_runtime_time_out() {
    let stalled = Stalled::new();
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let client = stalled.client.clone();
            thread::spawn(move || ends("a get", move || current_thread().block_on(get(&client))))
        })
        .collect();
    for thread in threads {
        assert!(matches!(thread.join().unwrap(), Status::TimedOut(_)));
    }
}
