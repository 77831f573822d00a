//! A server that is killed, and one that is stopped.

use std::time::{Duration, Instant};

use opendal_core::{ErrorKind, Operator};
use remcache_opendal::{Memcached, OnUnavailable};

use crate::operator;

async fn check_outage(interrupt: fn(&mut remcache_testkit::Memcached)) {
    let mut server = remcache_testkit::Memcached::start(&[]);
    let service = Memcached::new().endpoint(server.addr()).timeout(Duration::from_millis(200));
    let [fail_closed, fail_open] = [OnUnavailable::FailClosed, OnUnavailable::FailOpen]
        .map(|on_unavailable| operator(service.clone().on_unavailable(on_unavailable)));
    interrupt(&mut server);
    let started = Instant::now();
    for _ in 0..3 {
        for error in failures(&fail_closed).await {
            assert!(error.is_temporary(), "{error}");
        }
    }
    assert_eq!(fail_open.read("file").await.expect_err("nothing").kind(), ErrorKind::NotFound);
    assert!(!fail_open.exists("file").await.expect("no error"));
    fail_open.write("file", "content").await.expect("no error");
    fail_open.write("file", vec![0; 2_000_000]).await.expect("no error");
    fail_open.write_with("file", "content").if_not_exists(true).await.expect("no error");
    fail_open.delete("file").await.expect("no error");
    // Some operations take a few times the timeout.
    assert!(started.elapsed() < Duration::from_secs(100), "took {:?}", started.elapsed());
}

async fn failures(operator: &Operator) -> [opendal_core::Error; 4] {
    [
        operator.read("file").await.map(|_| ()).expect_err("it fails"),
        operator.stat("file").await.map(|_| ()).expect_err("it fails"),
        operator.write("file", "content").await.map(|_| ()).expect_err("it fails"),
        operator.delete("file").await.expect_err("it fails"),
    ]
}

#[tokio::test]
async fn operations_fail_in_time_if_the_server_is_killed() {
    check_outage(remcache_testkit::Memcached::kill).await;
}

#[tokio::test]
async fn operations_fail_in_time_if_the_server_is_stopped() {
    check_outage(|server| server.stop()).await;
}
