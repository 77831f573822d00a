//! A server that is killed, and one that is stopped.

use std::time::Instant;

use actix_session::storage::SessionStore;
use actix_web::cookie::time::Duration;
use remcache_actix_session::{MemcachedSessionStore, OnUnavailable};
use remcache_testkit::Memcached;

use crate::{client, patient_store, state};

async fn check_outage(interrupt: fn(&mut Memcached)) {
    let mut server = Memcached::start(&[]);
    let mut first = patient_store(&server).save(state("ada"), &Duration::HOUR).await.expect("no error");
    let second = patient_store(&server).save(state("ada"), &Duration::HOUR).await.expect("no error");
    let store = MemcachedSessionStore::new(&client(&server));
    interrupt(&mut server);
    let started = Instant::now();
    for _ in 0..2 {
        assert_eq!(store.load(&first).await.expect("no error"), None, "logged out");
        first = store.update(first, state("bob"), &Duration::HOUR).await.expect("no error");
        store.update_ttl(&first, &Duration::HOUR).await.expect("no error");
        store.delete(&first).await.expect("no error");
        store.save(state("ada"), &Duration::HOUR).await.expect("no error");
    }
    let fail_closed = store.on_unavailable(OnUnavailable::FailClosed);
    assert!(fail_closed.load(&first).await.is_err());
    assert!(fail_closed.update_ttl(&first, &Duration::HOUR).await.is_err());
    assert!(fail_closed.delete(&first).await.is_err());
    assert!(fail_closed.save(state("ada"), &Duration::HOUR).await.is_err());
    assert!(fail_closed.update(second, state("bob"), &Duration::HOUR).await.is_err());
    // The client itself would wait for 300 s.
    assert!(started.elapsed().as_secs() < 100, "took {:?}", started.elapsed());
}

#[tokio::test]
async fn a_killed_server_logs_visitors_out() {
    check_outage(Memcached::kill).await;
}

#[tokio::test]
async fn a_stopped_server_logs_visitors_out() {
    check_outage(|server| server.stop()).await;
}
