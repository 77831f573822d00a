//! What a migration reports, and to which of its clients' observers.

use std::sync::Arc;
use std::time::Duration;

use remcache::config::ProtocolSetting;
use remcache::migration::Migration;
use remcache::observe::{OperationName, Outcome};
use remcache::{Client, ErrorKind};
use remcache_testkit::Memcached;

use super::recorder::{Recorder, observed};
use crate::support::patient_config;

const MINUTE: Duration = Duration::from_secs(60);
const PROTOCOLS: [ProtocolSetting; 3] = [ProtocolSetting::Binary, ProtocolSetting::Meta, ProtocolSetting::Text];

#[tokio::test]
async fn operations_of_a_migration_are_reported_once() {
    for protocol in PROTOCOLS {
        let servers = [Memcached::start(&[]), Memcached::start(&[])];
        let config = || patient_config().protocol(protocol);
        let old = Client::with_config([servers[0].addr()], config()).unwrap();
        let keys = ["a", "b", "c", "d"];
        assert!(old.set_many(keys.map(|key| (key, "1"))).await.is_complete());
        let (new, recorder) = observed(&[servers[1].addr()], config());
        let cache = Migration::new(old, new);
        let (ok, hit, miss) = (Outcome::Ok, Outcome::Hit, Outcome::Miss);
        cache.get("a").await.unwrap();
        let moved = recorder.ended_as(OperationName::Get, hit);
        assert_eq!((moved.counts, moved.server.as_deref()), ((1, 0, 0), Some(&*servers[1].addr())));
        assert!(moved.attempts > 1, "{moved:?}");
        cache.get("absent").await.unwrap();
        recorder.ended_as(OperationName::Get, miss);
        cache.set("a", "2").await.unwrap();
        recorder.ended_as(OperationName::Set, ok);
        cache.increment("b", 1).await.unwrap();
        recorder.ended_as(OperationName::Increment, ok);
        cache.touch("c", MINUTE).await.unwrap();
        recorder.ended_as(OperationName::Touch, ok);
        cache.delete("c").await.unwrap();
        recorder.ended_as(OperationName::Delete, ok);
        assert!(cache.get_many(["a", "d", "absent"]).await.is_complete());
        assert_eq!(recorder.ended_as(OperationName::GetMany, ok).counts, (2, 1, 0));
        assert!(cache.set_many([("a", "3"), ("e", "3")]).await.is_complete());
        recorder.ended_as(OperationName::SetMany, ok);
        assert!(cache.delete_many(keys).await.is_complete());
        recorder.ended_as(OperationName::DeleteMany, ok);
        cache.get("k".repeat(300)).await.unwrap_err();
        recorder.ended_as(OperationName::Get, Outcome::Failed(ErrorKind::InvalidKey));
    }
}

/// One of the clients, and what it reports.
struct Side {
    client: Client,
    recorder: Arc<Recorder>,
}

impl Side {
    fn new(server: &Memcached, is_observed: bool) -> Self {
        let recorder = Arc::new(Recorder::default());
        let config = if is_observed { patient_config().observer(Arc::clone(&recorder)) } else { patient_config() };
        Self { client: Client::with_config([server.addr()], config).unwrap(), recorder }
    }
}

/// Without observers of the new client those of the old one receive the reports; never both.
#[tokio::test]
async fn the_new_clients_observers_receive_the_operations_of_a_migration() {
    for (old_is_observed, new_is_observed) in [(true, true), (false, true), (true, false)] {
        let servers = [Memcached::start(&[]), Memcached::start(&[])];
        let plain = Client::with_config([servers[0].addr()], patient_config()).unwrap();
        plain.set("moving", "1").await.unwrap();
        let (old, new) = (Side::new(&servers[0], old_is_observed), Side::new(&servers[1], new_is_observed));
        let cache = Migration::new(old.client.clone(), new.client.clone());
        cache.get("moving").await.unwrap().unwrap();
        cache.get("absent").await.unwrap();
        cache.set("moving", "2").await.unwrap();
        cache.delete("moving").await.unwrap();
        let (reporting, other) =
            if new_is_observed { (&new.recorder, &old.recorder) } else { (&old.recorder, &new.recorder) };
        let ends: Vec<_> = reporting.take().iter().map(|ended| (ended.operation, ended.outcome)).collect();
        let get = OperationName::Get;
        let expected = [
            (get, Outcome::Hit),
            (get, Outcome::Miss),
            (OperationName::Set, Outcome::Ok),
            (OperationName::Delete, Outcome::Ok),
        ];
        assert_eq!(ends, expected, "{old_is_observed} {new_is_observed}");
        assert!(other.take().is_empty() && other.started() == 0, "no operation is reported twice");
        for (side, is_observed) in [(&old, old_is_observed), (&new, new_is_observed)] {
            let expected: &[&str] = if is_observed { &["Connecting", "Connected"] } else { &[] };
            assert_eq!(side.recorder.connections(), expected, "connections are reported by their own client");
        }
    }
}

/// A copy is verified after its future was dropped; that is no second operation.
#[tokio::test]
async fn a_dropped_operation_of_a_migration_is_reported_once() {
    let servers = [Memcached::start(&[]), Memcached::start(&[])];
    let (old, new) = (Side::new(&servers[0], true), Side::new(&servers[1], true));
    old.client.set("moving", "1").await.unwrap();
    old.recorder.ended_as(OperationName::Set, Outcome::Ok);
    let cache = Migration::new(old.client.clone(), new.client.clone());
    servers[0].stop();
    tokio::time::timeout(Duration::from_millis(50), cache.get("moving")).await.unwrap_err();
    servers[0].cont();
    new.recorder.ended_as(OperationName::Get, Outcome::Cancelled);
    cache.get("moving").await.unwrap().unwrap();
    new.recorder.ended_as(OperationName::Get, Outcome::Hit);
    assert!(old.recorder.take().is_empty());
}
