//! A server that is killed, and one that is stopped.

use std::time::{Duration, Instant};

use remcache_testkit::Memcached;
use remcache_tower_sessions::{MemcachedStore, OnUnavailable};
use tower_sessions_core::SessionStore;
use tower_sessions_core::session_store::Error;

use crate::client;
use crate::store::record;

async fn check_outage(interrupt: fn(&mut Memcached)) {
    let mut server = Memcached::start(&[]);
    let store = MemcachedStore::new(&client(&server));
    let mut session = record("ada", time::Duration::hours(1));
    while store.load(&session.id).await.expect("no error").is_none() {
        store.create(&mut session).await.expect("no error");
    }
    interrupt(&mut server);
    let started = Instant::now();
    for _ in 0..2 {
        assert_eq!(store.load(&session.id).await.expect("no error"), None, "logged out");
        store.save(&session).await.expect("no error");
        store.delete(&session.id).await.expect("no error");
        store.create(&mut session).await.expect("no error");
    }
    let fail_closed = store.on_unavailable(OnUnavailable::FailClosed);
    for result in [
        fail_closed.load(&session.id).await.map(|_| ()),
        fail_closed.save(&session).await,
        fail_closed.delete(&session.id).await,
        fail_closed.create(&mut session).await,
    ] {
        assert!(matches!(result, Err(Error::Backend(_))), "{result:?}");
    }
    // The client itself would wait for 300 s.
    assert!(started.elapsed() < Duration::from_secs(100), "took {:?}", started.elapsed());
}

#[tokio::test]
async fn a_killed_server_logs_visitors_out() {
    check_outage(Memcached::kill).await;
}

#[tokio::test]
async fn a_stopped_server_logs_visitors_out() {
    check_outage(|server| server.stop()).await;
}
