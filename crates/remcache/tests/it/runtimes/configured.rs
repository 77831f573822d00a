//! Settings for the runtime of connections.

use remcache::{Client, Config, Delivery, ErrorKind, Status};
use remcache_testkit::Memcached;
use tokio::runtime::{Builder, Runtime};

use super::{GENEROUS, current_thread, ends, get, millis};

fn assert_survives_runtimes(client: &Client) {
    for _ in 0..3 {
        let runtime = current_thread();
        assert!(matches!(runtime.block_on(get(client)), Status::NoError | Status::KeyNotFound));
    }
    let metrics = client.servers()[0].metrics();
    assert_eq!((metrics.open, metrics.reconnects), (1, 0), "all runtimes use one connection");
}

#[test]
fn connections_run_on_a_configured_runtime() {
    let server = Memcached::start(&[]);
    let given = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let config = Config::new().timeout(GENEROUS).runtime(given.handle().clone());
    let client = Client::with_config([server.addr()], config).unwrap();
    assert_survives_runtimes(&client);
    drop(given);
    let error = current_thread().block_on(client.get("k")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    assert!(error.to_string().contains("shut down"), "{error}");
}

#[test]
fn connections_run_on_a_dedicated_thread() {
    let server = Memcached::start(&[]);
    let config = Config::new().timeout(GENEROUS).dedicated_thread();
    let client = Client::with_config([server.addr()], config.clone()).unwrap();
    assert_survives_runtimes(&client);
    let other = Client::with_config([server.addr()], config).unwrap();
    assert_survives_runtimes(&other);
    drop(client);
    assert_survives_runtimes(&other);
}

/// Connections need a runtime with I/O and time drivers; the error names the missing one.
#[test]
fn a_runtime_without_drivers_is_a_configuration_error() {
    fn check(runtime: &Runtime, server: &Memcached, missing: &str) {
        let client = Client::with_config([server.addr()], Config::new().timeout(GENEROUS)).unwrap();
        let error = runtime.block_on(client.get("k")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
        assert!(error.to_string().contains(missing) && error.to_string().contains("enable_all"), "{error}");
        let outcomes = runtime.block_on(async { client.get_many(["a", "b"]).await });
        assert!(outcomes.failed().all(|(_, error)| error.kind() == ErrorKind::Config), "{outcomes:?}");
        assert_eq!(outcomes.failed().count(), 2);
        let error = runtime.block_on(client.servers()[0].stats("").collect()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
        // The client works on another runtime.
        assert_eq!(current_thread().block_on(get(&client)), Status::KeyNotFound);
    }
    let server = Memcached::start(&[]);
    check(&Builder::new_current_thread().enable_io().build().unwrap(), &server, "timers");
    check(&Builder::new_current_thread().enable_time().build().unwrap(), &server, "I/O");
    check(&Builder::new_multi_thread().worker_threads(1).build().unwrap(), &server, "timers");
}

/// A runtime without drivers can use a client whose connections run on another runtime.
#[test]
fn a_runtime_without_drivers_can_use_connections_of_another() {
    let server = Memcached::start(&[]);
    let config = Config::new().timeout(GENEROUS).dedicated_thread();
    let client = Client::with_config([server.addr()], config).unwrap();
    let runtime = Builder::new_current_thread().build().unwrap();
    assert_eq!(runtime.block_on(get(&client)), Status::KeyNotFound);
}

#[test]
fn a_call_without_a_runtime_fails_with_advice() {
    use std::future::Future as _;
    use std::task::{Context, Poll, Waker};

    let server = Memcached::start(&[]);
    let client = Client::with_config([server.addr()], Config::new().timeout(GENEROUS)).unwrap();
    let poll = |client: &Client| {
        let call = std::pin::pin!(client.get("k"));
        call.poll(&mut Context::from_waker(Waker::noop()))
    };
    let Poll::Ready(Err(error)) = poll(&client) else { panic!("it waits") };
    assert_eq!(error.kind(), ErrorKind::Disconnected(Delivery::NotSent), "{error}");
    assert!(error.to_string().contains("dedicated_thread"), "{error}");
    assert!(!client.send_no_reply(remcache::Request::get("k")));
    assert_eq!(current_thread().block_on(get(&client)), Status::KeyNotFound);
}

/// A thread outside any runtime can wait for a call with its own executor.
#[test]
fn a_dedicated_thread_needs_no_runtime_of_the_caller() {
    let server = Memcached::start(&[]);
    let config = Config::new().timeout(GENEROUS).dedicated_thread();
    let client = Client::with_config([server.addr()], config).unwrap();
    let item = ends("a get", move || wait(client.get("k")));
    assert_eq!(item.unwrap(), None);
    fn wait<F: Future>(future: F) -> F::Output {
        use std::task::{Context, Poll, Waker};
        let mut future = std::pin::pin!(future);
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                return output;
            }
            std::thread::sleep(millis(1));
        }
    }
}
