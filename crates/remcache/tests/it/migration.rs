//! Migrations between placements on real servers: reads, writes, failures and races.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod races;
mod unavailable;
mod writes;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use remcache::config::ProtocolSetting;
use remcache::distribution::Distribution;
use remcache::migration::{Migration, OldUnavailable, TtlSource};
use remcache::{Client, Config, Delivery, ErrorKind, Item, Ttl, WriteOutcome};
use remcache_testkit::{Memcached, seed};
use tokio::sync::Notify;

use crate::support::{flags_and_ttl, patient_config, wait_until};

/// Five servers: the old placement is the modulo distribution of pylibmc over three of them, the new one ketama over
/// all.
struct Fixture {
    servers: Vec<Memcached>,
    old: Client,
    new: Client,
    cache: Migration,
}

impl Fixture {
    fn start() -> Self {
        Self::with_protocol(ProtocolSetting::Binary)
    }

    fn with_protocol(protocol: ProtocolSetting) -> Self {
        Self::of(protocol, &[])
    }

    fn with(args: &[&str]) -> Self {
        Self::of(ProtocolSetting::Binary, args)
    }

    fn of(protocol: ProtocolSetting, args: &[&str]) -> Self {
        let servers: Vec<_> = (0..5).map(|_| Memcached::start(args)).collect();
        let (old, new) = clients(&servers, patient_config().protocol(protocol));
        Self { servers, cache: Migration::new(old.clone(), new.clone()), old, new }
    }

    /// Returns the first `count` keys whose server changes in the new placement, or stays the same.
    fn keys(&self, moving: bool, count: usize) -> Vec<String> {
        let name = |client: &Client, key: &str| client.locate(key).unwrap().unwrap().name().to_owned();
        let keys = (0..).map(|n| format!("key{n}"));
        keys.filter(|key| (name(&self.old, key) != name(&self.new, key)) == moving).take(count).collect()
    }

    /// Returns a key whose server changes.
    fn key(&self) -> String {
        self.keys(true, 1).remove(0)
    }
}

fn clients(servers: &[Memcached], config: Config) -> (Client, Client) {
    let of = |servers: &[Memcached], distribution| {
        Client::with_config(servers.iter().map(Memcached::addr), config.clone().distribution(distribution)).unwrap()
    };
    (of(&servers[..3], Distribution::LIBMEMCACHED), of(servers, Distribution::KETAMA))
}

async fn value(client: &Client, key: &str) -> Option<String> {
    let item = client.get(key).await.unwrap()?;
    Some(String::from_utf8(item.value.to_vec()).unwrap())
}

fn text(item: &Item) -> &str {
    std::str::from_utf8(&item.value).unwrap()
}

// ---- Reading ----

#[tokio::test]
async fn reading_backfills_items_that_only_the_old_placement_has() {
    let fixture = Fixture::start();
    let cache = fixture.cache.clone().backfill_ttl(Duration::from_secs(1000));
    let key = fixture.key();
    fixture.old.set(&key[..], "warm").flags(7).await.unwrap();

    let item = cache.get(&key[..]).await.unwrap().expect("warm");
    assert_eq!((text(&item), item.flags), ("warm", 7));
    let server = fixture.new.locate(&key).unwrap().unwrap();
    let (flags, ttl) = flags_and_ttl(server.name(), &key).expect("a backfilled item");
    assert!(flags == 7 && (900..=1000).contains(&ttl), "flags {flags}, TTL {ttl} s");
    let copy = fixture.new.get(&key[..]).await.unwrap().unwrap();
    assert_eq!(copy.cas, item.cas, "the CAS value is that of the backfilled item");

    assert_eq!(cache.get(&key[..]).await.unwrap().unwrap(), copy);
    assert!(cache.get("absent").await.unwrap().is_none());
    let report = cache.report();
    assert_eq!((report.from_old, report.from_new, report.misses, report.backfilled), (1, 1, 1, 1), "{report:?}");
    assert_eq!(report.old_hit_ratio(), 0.5);
}

/// The TTL is that of the old item if the protocol reports it, and the configured one otherwise.
#[tokio::test]
async fn a_backfilled_item_keeps_its_ttl_if_the_protocol_reports_it() {
    for protocol in ProtocolSetting::ALL {
        let fixture = Fixture::with_protocol(protocol);
        let cache = fixture.cache.clone().backfill_ttl(Duration::from_secs(1000));
        let keys = fixture.keys(true, 4);
        let ttls = [Ttl::Never, Duration::from_secs(500).into(), Ttl::Never, Duration::from_secs(90_000).into()];
        for (key, ttl) in keys.iter().zip(ttls) {
            fixture.old.set(&key[..], "warm").ttl(ttl).await.unwrap();
        }
        for key in &keys[..2] {
            assert!(cache.get(&key[..]).await.unwrap().is_some(), "{protocol}");
        }
        assert_eq!(cache.get_many(&keys[2..]).await.found().count(), 2, "{protocol}");
        assert_eq!(cache.report().backfilled, 4, "{protocol}");
        let ttls_of_copies =
            |key: &String| flags_and_ttl(fixture.new.locate(key).unwrap().unwrap().name(), key).unwrap().1;
        let ttls_of_copies: Vec<_> = keys.iter().map(ttls_of_copies).collect();
        match protocol {
            ProtocolSetting::Meta | ProtocolSetting::Auto => {
                assert_eq!((ttls_of_copies[0], ttls_of_copies[2]), (-1, -1), "{protocol}: items without TTL");
                assert!(
                    (300..=500).contains(&ttls_of_copies[1]) && (89_000..=90_000).contains(&ttls_of_copies[3]),
                    "{protocol}: {ttls_of_copies:?}"
                );
            }
            _ => assert!(
                ttls_of_copies.iter().all(|seconds| (800..=1000).contains(seconds)),
                "{protocol}: {ttls_of_copies:?}"
            ),
        }
    }
}

#[tokio::test]
async fn an_expired_backfill_ttl_prevents_backfilling() {
    let fixture = Fixture::with_protocol(ProtocolSetting::Meta);
    let cache = fixture.cache.clone().backfill_ttl(Ttl::Expired);
    let keys = fixture.keys(true, 2);
    for key in &keys {
        fixture.old.set(&key[..], "warm").ttl(Duration::from_secs(500)).await.unwrap();
        assert_eq!(text(&cache.get(&key[..]).await.unwrap().unwrap()), "warm");
        assert_eq!(value(&fixture.new, key).await, None);
    }
    // The TTL source overrides the TTL that the server reports.
    let cache = fixture.cache.clone().ttl_source(|_: &[u8], _: &Item| Ttl::from(Duration::from_secs(70)));
    assert!(cache.get(&keys[0][..]).await.unwrap().is_some());
    let (_, seconds) = flags_and_ttl(fixture.new.locate(&keys[0]).unwrap().unwrap().name(), &keys[0]).unwrap();
    assert!((1..=70).contains(&seconds), "{seconds}");
}

#[tokio::test]
async fn a_ttl_source_determines_the_ttl_of_backfilled_items() {
    let fixture = Fixture::start();
    let cache = fixture.cache.clone().ttl_source(|key: &[u8], item: &Item| match item.flags {
        1 => Ttl::Never,
        2 => Ttl::Expired,
        _ => panic!("{}", key.escape_ascii()),
    });
    let keys = fixture.keys(true, 2);
    fixture.old.set(&keys[0][..], "never expires").flags(1).await.unwrap();
    fixture.old.set(&keys[1][..], "expired").flags(2).await.unwrap();
    for key in &keys {
        assert!(cache.get(&key[..]).await.unwrap().is_some());
    }
    let server = fixture.new.locate(&keys[0]).unwrap().unwrap();
    assert_eq!(flags_and_ttl(server.name(), &keys[0]), Some((1, -1)));
    assert_eq!(value(&fixture.new, &keys[1]).await, None);

    // An item that is not backfilled has a CAS value that never matches.
    let item = cache.get(&keys[1][..]).await.unwrap().unwrap();
    assert!(!cache.set(&keys[1][..], "x").cas(item.cas).await.unwrap().is_applied());
    assert!(cache.set(&keys[1][..], "x").await.unwrap().is_applied());
    assert_eq!(text(&cache.get(&keys[1][..]).await.unwrap().unwrap()), "x");
}

#[tokio::test]
async fn a_key_that_does_not_move_is_one_item() {
    let fixture = Fixture::start();
    let key = fixture.keys(false, 1).remove(0);
    let cache = &fixture.cache;
    assert!(cache.set(&key[..], "1").await.unwrap().is_applied());
    assert_eq!(
        text(&cache.get(&key[..]).await.unwrap().unwrap()),
        "1",
        "the write did not delete it from the old placement"
    );
    assert_eq!(cache.increment(&key[..], 1).await.unwrap().unwrap().value, 2);
    assert!(cache.delete_many([&key]).await.is_complete());
    assert!(cache.get(&key[..]).await.unwrap().is_none());
    let report = cache.report();
    assert_eq!((report.from_new, report.from_old, report.misses, report.backfilled), (1, 0, 1, 0), "{report:?}");
}

// ---- Multi-key calls ----

#[tokio::test]
async fn multi_key_calls_use_both_placements() {
    let fixture = Fixture::start();
    let cache = &fixture.cache;
    let (moving, staying) = (fixture.keys(true, 1000), fixture.keys(false, 100));
    let all: Vec<&String> = moving.iter().chain(&staying).collect();
    let stored = fixture.old.set_many(all.iter().map(|&key| (key, key))).await;
    assert_eq!(stored.applied().count(), 1100);

    let got = cache.get_many(all.iter().map(|key| &key[..]).chain(["absent"])).await;
    assert!(got.found().all(|(key, item)| item.value == key.as_bytes()) && got.is_complete());
    assert_eq!((got.found().count(), got.missing().collect::<Vec<_>>()), (1100, vec![&"absent"]));
    let report = cache.report();
    assert_eq!((report.from_old, report.from_new, report.misses), (1000, 100, 1), "{report:?}");
    assert_eq!(report.backfilled, 1000);
    let got = cache.get_many(&all).await;
    assert_eq!(got.found().count(), 1100);
    assert_eq!(cache.report().since(&report).old_hit_ratio(), 0.0);

    let set = cache.set_many(moving.iter().map(|key| (key, "changed"))).flags(3).ttl(Duration::from_secs(100)).await;
    assert_eq!(set.applied().count(), 1000);
    assert_eq!(fixture.old.get_many(&moving).await.found().count(), 0);
    let got = cache.get_many(&moving).await;
    assert!(got.found().all(|(_, item)| item.value == "changed" && item.flags == 3) && got.found().count() == 1000);

    fixture.old.set(&moving[0][..], "left").await.unwrap();
    let deleted = cache.delete_many(all.iter().map(|key| &key[..]).chain(["absent"])).await;
    assert_eq!((deleted.applied().count(), deleted.not_applied().count()), (1100, 1));
    for client in [&fixture.old, &fixture.new] {
        assert_eq!(client.get_many(&all).await.missing().count(), 1100);
    }
    assert!(cache.get_many::<&str>([]).await.is_empty());
}
