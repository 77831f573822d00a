//! A server that is killed, and one that is stopped.

use std::time::{Duration, Instant};

use opendal_core::{ErrorKind, Operator};
use remcache_opendal::{Memcached, OnUnavailable};

use crate::operator;

async fn check(begin: fn(&mut remcache_testkit::Memcached)) {
    let mut server = remcache_testkit::Memcached::start(&[]);
    let service = Memcached::new().endpoint(server.addr()).timeout(Duration::from_millis(200));
    let [closed, open] = [OnUnavailable::FailClosed, OnUnavailable::FailOpen]
        .map(|on_unavailable| operator(service.clone().on_unavailable(on_unavailable)));
    begin(&mut server);
    let started = Instant::now();
    for _ in 0..3 {
        for error in failures(&closed).await {
            assert!(error.is_temporary(), "{error}");
        }
    }
    assert_eq!(open.read("file").await.expect_err("nothing").kind(), ErrorKind::NotFound);
    assert!(!open.exists("file").await.expect("no error"));
    open.write("file", "content").await.expect("no error");
    open.write("file", vec![0; 2_000_000]).await.expect("no error");
    open.write_with("file", "content").if_not_exists(true).await.expect("no error");
    open.delete("file").await.expect("no error");
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
    check(remcache_testkit::Memcached::kill).await;
}

#[tokio::test]
async fn operations_fail_in_time_if_the_server_is_stopped() {
    check(|server| server.stop()).await;
}
