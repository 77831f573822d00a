//! The runtime of a connection ends: requests continue on another runtime if that is safe, and the next one reconnects.

use std::net::SocketAddrV4;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use remcache::config::Credentials;
use remcache::health::ConnectionState;
use remcache::{Client, Config, Delivery, Error, Request, Status};
use remcache_testkit::{Memcached, Proxy, unused_port};

use super::{GENEROUS, client_of, connect_on, current_thread, ends, get, millis};

#[test]
fn a_later_runtime_reconnects() {
    let server = Memcached::start(&[]);
    let client = client_of(&server, GENEROUS);
    for _ in 0..20 {
        let runtime = current_thread();
        assert!(matches!(runtime.block_on(get(&client)), Status::NoError | Status::KeyNotFound));
        drop(runtime);
        assert_eq!(client.servers()[0].status().state, ConnectionState::Idle);
    }
}

#[test]
fn a_server_that_was_down_when_the_runtime_ended_is_used_again() {
    let address = SocketAddrV4::new([127, 0, 0, 1].into(), unused_port());
    let client = Client::with_config([address.to_string()], Config::new().timeout(GENEROUS)).unwrap();
    let owner = current_thread();
    let status = owner.block_on(get(&client));
    assert!(matches!(status, Status::Disconnected(_)), "{status}");
    assert!(client.servers()[0].status().state.is_down());
    drop(owner);
    let _server = Memcached::start_at(address, &[]).expect("the port is free");
    assert_eq!(current_thread().block_on(get(&client)), Status::KeyNotFound);
}

/// Requests that were sent fail; the waiting runtime sends a read again.
#[test]
fn a_read_is_repeated_and_an_increment_is_ambiguous() {
    let server = Memcached::start(&[]);
    let client = client_of(&server, GENEROUS);
    let owner = current_thread();
    connect_on(&owner, &client);
    server.stop();
    let other = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let ask = |request: Request<'static>| {
        let client = client.clone();
        other.spawn(async move { client.call(request).await })
    };
    let counted = ask(Request::increment("n", 1));
    let read = ask(Request::get("k"));
    let many = other.spawn({
        let client = client.clone();
        async move { client.get_many(["k", "absent"]).await }
    });
    let stats = other.spawn({
        let client = client.clone();
        async move { client.servers()[0].stats("").collect().await }
    });
    while client.servers()[0].in_flight() < 5 {
        thread::sleep(millis(1));
    }
    // The requests are written and not answered.
    owner.block_on(async { tokio::time::sleep(millis(50)).await });
    let unsent = ask(Request::set("unsent", "x"));
    while client.servers()[0].in_flight() < 6 {
        thread::sleep(millis(1));
    }
    drop(owner);
    server.cont();
    ends("all requests", move || {
        other.block_on(async {
            assert_eq!(counted.await.unwrap().status, Status::Disconnected(Delivery::MaybeSent));
            assert_eq!(read.await.unwrap().status, Status::NoError);
            assert_eq!(unsent.await.unwrap().status, Status::NoError);
            let many = many.await.unwrap();
            assert_eq!((many.found().count(), many.missing().count()), (1, 1), "{many:?}");
            assert!(!stats.await.unwrap().unwrap().is_empty());
        });
    });
}

/// A request that is submitted while the runtime of the connection ends is taken over by another task.
#[test]
fn no_request_is_lost_while_a_runtime_ends() {
    let server = Memcached::start(&[]);
    let client = client_of(&server, GENEROUS);
    let asked = Arc::new(AtomicUsize::new(0));
    let callers: Vec<_> = (0..2)
        .map(|_| {
            let (client, asked) = (client.clone(), Arc::clone(&asked));
            thread::spawn(move || {
                current_thread().block_on(async {
                    for _ in 0..2_000 {
                        client.get("k").await?;
                        asked.fetch_add(1, Ordering::Relaxed);
                        // The owner of the connection changes from time to time.
                        tokio::task::yield_now().await;
                    }
                    Ok::<_, Error>(())
                })
            })
        })
        .collect();
    let start = Instant::now();
    while callers.iter().any(|caller| !caller.is_finished()) {
        let owner = current_thread();
        owner.block_on(async { client.get("k").await }).unwrap();
        drop(owner);
        assert!(start.elapsed() < GENEROUS, "after {} requests", asked.load(Ordering::Relaxed));
    }
    for caller in callers {
        caller.join().unwrap().unwrap();
    }
}

/// The state of a server outlives the runtime of its connection.
#[test]
fn refused_credentials_are_not_tried_again() {
    let server = Memcached::start_sasl(&[]);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let proxy = runtime.block_on(Proxy::start(server.addr()));
    let wrong = Credentials::new(remcache_testkit::SASL_USER, "wrong");
    let config = Config::new().timeout(GENEROUS).credentials(wrong);
    let client = Client::with_config([proxy.addr()], config).unwrap();
    for _ in 0..5 {
        let error = current_thread().block_on(client.get("k")).unwrap_err();
        assert_eq!(error.kind(), remcache::ErrorKind::Auth, "{error}");
    }
    assert!(proxy.accepted() <= 2, "{} connections", proxy.accepted());
}

#[test]
fn close_completes_after_the_runtime_has_ended() {
    let server = Memcached::start(&[]);
    let client = client_of(&server, Duration::from_secs(2));
    let owner = current_thread();
    connect_on(&owner, &client);
    drop(owner);
    ends("close", move || current_thread().block_on(client.close()));
}
