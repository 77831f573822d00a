//! Read-modify-write operations: with replicas and failover they run on the primary or not at all.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use remcache::config::ProtocolSetting;
use remcache::{Item, Ttl};

use super::*;
use crate::support::text_query;

fn text_of(item: Option<&Item>) -> &str {
    item.map_or("nothing", |item| std::str::from_utf8(&item.value).unwrap())
}

fn append_text(item: Option<&Item>) -> Option<Bytes> {
    Some(format!("{} and more", text_of(item)).into())
}

/// The items on the primary and on the replica have the same CAS value, which can happen by chance.
#[tokio::test]
async fn the_cas_value_of_a_replica_is_not_used_on_the_primary() {
    for protocol in [ProtocolSetting::Binary, ProtocolSetting::Meta, ProtocolSetting::Text] {
        let servers = [Memcached::start(&[]), Memcached::start(&[])];
        let config = patient_config().protocol(protocol).replicas(2);
        let client = Client::with_config(servers.iter().map(Memcached::addr), config).unwrap();
        let key = key_of(&client, &servers[0].addr());
        client.set(&key, "first").await.unwrap();
        // The primary loses the item, and the replica changes its CAS value.
        assert_eq!(text_query(&servers[0].addr(), &format!("md {key}")), "HD");
        assert_eq!(text_query(&servers[1].addr(), &format!("ms {key} 4\r\ncopy")), "HD");
        let mut seen = Vec::new();
        let stored = client.update(&key, Ttl::Never, |item| {
            seen.push(text_of(item).to_owned());
            if seen.len() == 1 {
                // Another client stores on the primary and gets the same CAS value as the replica.
                assert_eq!(text_query(&servers[0].addr(), &format!("ms {key} 6\r\ntheirs")), "HD");
                let cas = |addr: String| text_query(&addr, &format!("mg {key} c"));
                assert_eq!(
                    cas(servers[0].addr()),
                    cas(servers[1].addr()),
                    "the CAS values must be equal for this test"
                );
            }
            append_text(item)
        });
        assert_eq!(text_of(stored.await.unwrap().as_ref()), "theirs and more", "{protocol}");
        assert_eq!(seen, ["nothing", "theirs"], "{protocol}: a value on the replica only is ignored");
        assert_eq!(
            stored_on(&client, &servers[0].addr(), &key).await.as_deref(),
            Some("theirs and more"),
            "{protocol}"
        );
        assert_eq!(
            stored_on(&client, &servers[1].addr(), &key).await,
            None,
            "{protocol}: the outdated replica is deleted"
        );
    }
}

#[tokio::test]
async fn take_deletes_every_replica() {
    let servers = embedded(2).await;
    let client = client_of(&servers, patient_config().replicas(2).namespace("shop:"));
    let key = key_of(&client, &servers[0].address());
    client.set(&key, "once").await.unwrap();
    assert_eq!(text_of(client.take(&key).await.unwrap().as_ref()), "once");
    for server in &servers {
        assert_eq!(stored_on(&client, &server.address(), &format!("shop:{key}")).await, None);
    }
    assert_eq!(client.take(&key).await.unwrap(), None);
    assert_eq!(client.update(&key, Ttl::Never, |_| None).await.unwrap(), None);
}

#[tokio::test]
async fn while_its_primary_is_down_a_key_can_be_neither_updated_nor_taken() {
    for config in [patient_config().replicas(2), patient_config().failover(Failover::next())] {
        let servers = embedded(2).await;
        let client = client_of(&servers, config);
        let (primary, other) = (servers[0].address(), servers[1].address());
        let key = key_of(&client, &primary);
        client.set(&key, "v").await.unwrap();
        servers[0].stop().await;
        wait_until_down(&client, &primary).await;
        client.set(&key, "fallback").await.unwrap();
        for error in
            [client.update(&key, Ttl::Never, append_text).await.unwrap_err(), client.take(&key).await.unwrap_err()]
        {
            assert_eq!(error.kind(), ErrorKind::Disconnected(Delivery::NotSent));
            assert_eq!(error.server(), Some(&*primary));
        }
        assert_eq!(stored_on(&client, &other, &key).await.as_deref(), Some("fallback"));
        servers[0].restart_with_items().await.unwrap();
        wait_until_up(&client, &primary).await;
        assert_eq!(text_of(client.take(&key).await.unwrap().as_ref()), "v", "the value from before the outage");
    }
}

/// Two clients increment a value while the primary flaps; each has its own view of the primary's health.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_update_is_lost_while_the_primary_flaps() {
    let servers = embedded(3).await;
    let config = || patient_config().replicas(2).failover(Failover::next()).reconnect_delay(millis(1), millis(5));
    let clients = [client_of(&servers, config()), client_of(&servers, config())];
    let key = key_of(&clients[0], &servers[0].address());
    let (made, unknown) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
    let mut counting = JoinSet::new();
    for client in clients.iter().chain(&clients) {
        let (client, key, made, unknown) = (client.clone(), key.clone(), Arc::clone(&made), Arc::clone(&unknown));
        counting.spawn(async move {
            for _ in 0..100 {
                let one_more = |item: Option<&Item>| {
                    let number: u64 = item.map_or(0, |item| std::str::from_utf8(&item.value).unwrap().parse().unwrap());
                    Some(Bytes::from((number + 1).to_string()))
                };
                match client.update(&key, Ttl::Never, one_more).await {
                    Ok(_) => made.fetch_add(1, Ordering::Relaxed),
                    Err(error) if error.may_have_executed() => unknown.fetch_add(1, Ordering::Relaxed),
                    Err(error) => {
                        assert!(error.is_disconnected() || error.kind() == ErrorKind::Conflict, "{error}");
                        tokio::time::sleep(millis(1)).await;
                        0
                    }
                };
            }
        });
    }
    for _ in 0..10 {
        tokio::time::sleep(millis(10)).await;
        servers[0].stop().await;
        tokio::time::sleep(millis(5)).await;
        servers[0].restart_with_items().await.unwrap();
    }
    counting.join_all().await;
    wait_until_up(&clients[0], &servers[0].address()).await;
    let (made, unknown) = (made.load(Ordering::Relaxed), unknown.load(Ordering::Relaxed));
    let count: u64 = stored_on(&clients[0], &servers[0].address(), &key).await.map_or(0, |text| text.parse().unwrap());
    assert!(
        made > 0 && (made..=made + unknown).contains(&count),
        "{count} updates, of which {made} were confirmed and {unknown} are unknown"
    );
}
