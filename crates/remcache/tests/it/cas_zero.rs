//! Changes with a CAS value of 0, which no item has, are never applied.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use remcache::config::ProtocolSetting;
use remcache::migration::Migration;
use remcache::value::Codec;
use remcache::{Cache, Client, WriteOutcome};
use remcache_testkit::Memcached;

use crate::support::patient_config;

const PROTOCOLS: [ProtocolSetting; 3] = [ProtocolSetting::Binary, ProtocolSetting::Meta, ProtocolSetting::Text];
const LONG: Duration = Duration::from_secs(3600);

fn client_of(server: &Memcached, protocol: ProtocolSetting) -> Client {
    Client::with_config([server.addr()], patient_config().protocol(protocol)).unwrap()
}

#[tokio::test]
async fn client_changes_are_not_applied() {
    let server = Memcached::start(&[]);
    for protocol in PROTOCOLS {
        let client = client_of(&server, protocol);
        client.set("k", "old").await.unwrap();
        client.delete("absent").await.unwrap();
        for (key, outcome) in [("k", WriteOutcome::Exists), ("absent", WriteOutcome::NotFound)] {
            let changes = [
                client.compare_and_swap(key, "new", 0).await,
                client.set(key, "new").cas(0).await,
                client.set(key, "new").cas(7).cas(0).ttl(LONG).flags(3).await,
                client.replace(key, "new").cas(0).await,
                client.append(key, "new").cas(0).await,
                client.prepend(key, "new").cas(0).await,
                client.delete(key).cas(0).await,
                client.delete(key).cas(0).tombstone(LONG).await,
            ];
            for (number, change) in changes.into_iter().enumerate() {
                assert_eq!(change.unwrap(), outcome, "{protocol}, {key}, change {number}");
            }
        }
        assert_eq!(client.get("k").await.unwrap().unwrap().value, "old", "{protocol}");
        assert_eq!(client.get("absent").await.unwrap(), None, "{protocol}");
        let cas = client.get("k").await.unwrap().unwrap().cas;
        assert!(
            client.set("k", "new").cas(0).cas(cas).await.unwrap().is_applied(),
            "{protocol}: the last CAS value is used"
        );
    }
}

#[tokio::test]
async fn cache_and_migration_changes_are_not_applied() {
    let servers = [Memcached::start(&[]), Memcached::start(&[])];
    for protocol in PROTOCOLS {
        let [old, new] = servers.each_ref().map(|server| client_of(server, protocol));
        for cache in [Cache::new(&new, "c", Codec::text()), Cache::new(&new, "chunks", Codec::text()).chunked(2)] {
            cache.set("k", "older").await.unwrap();
            assert_eq!(cache.set_with_cas("k", "newer", 0).await.unwrap(), WriteOutcome::Exists, "{protocol}");
            assert_eq!(cache.set_with_cas("absent", "newer", 0).await.unwrap(), WriteOutcome::NotFound, "{protocol}");
            assert_eq!(cache.get("k").await.unwrap().as_deref(), Some("older"), "{protocol}");
        }
        let migration = Migration::new(old.clone(), new.clone());
        migration.set("k", "older").await.unwrap();
        assert_eq!(migration.set("k", "newer").cas(0).await.unwrap(), WriteOutcome::Exists, "{protocol}");
        assert_eq!(migration.append("k", "newer").cas(0).await.unwrap(), WriteOutcome::Exists, "{protocol}");
        assert_eq!(migration.delete("k").cas(0).await.unwrap(), WriteOutcome::Exists, "{protocol}");
        assert_eq!(migration.get("k").await.unwrap().unwrap().value, "older", "{protocol}");
    }
}
