//! Migrations between placements on real servers: reads, writes, failures and races.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

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

/// Five servers: the old placement is the modulo distribution of pylibmc over three of them, the new one ketama over all.
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
    assert_eq!(report.share_of_old(), 0.5);
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

// ---- Writing ----

#[tokio::test]
async fn a_write_goes_to_the_new_placement_and_deletes_from_the_old() {
    let fixture = Fixture::start();
    let cache = &fixture.cache;
    let keys = fixture.keys(true, 6);
    let [set, replace, append, prepend, increment, decrement] = [0, 1, 2, 3, 4, 5].map(|n| &keys[n][..]);
    for key in &keys {
        fixture.old.set(&key[..], "10").await.unwrap();
    }
    assert!(cache.set(set, "new").await.unwrap().is_applied());
    assert!(cache.replace(replace, "new").await.unwrap().is_applied());
    assert!(cache.append(append, "5").await.unwrap().is_applied());
    assert!(cache.prepend(prepend, "5").await.unwrap().is_applied());
    // An initial value is ignored if the old placement has the counter.
    assert_eq!(cache.increment(increment, 5).initial(0).await.unwrap().unwrap().value, 15);
    assert_eq!(cache.decrement(decrement, 5).await.unwrap().unwrap().value, 5);
    for (key, now) in keys.iter().zip(["new", "new", "105", "510", "15", "5 "]) {
        assert_eq!(value(&fixture.new, key).await.as_deref(), Some(now), "{key}");
        assert_eq!(value(&fixture.old, key).await, None, "{key}");
    }
}

#[tokio::test]
async fn an_item_in_neither_placement_is_absent() {
    let fixture = Fixture::start();
    let (cache, key) = (&fixture.cache, &fixture.key()[..]);
    assert_eq!(cache.replace(key, "x").await.unwrap(), WriteOutcome::NotFound);
    assert_eq!(cache.append(key, "x").await.unwrap(), WriteOutcome::NotStored);
    assert_eq!(cache.touch(key, Duration::from_secs(9)).await.unwrap(), WriteOutcome::NotFound);
    assert_eq!(cache.delete(key).await.unwrap(), WriteOutcome::NotFound);
    assert_eq!(cache.increment(key, 1).await.unwrap(), None);
    assert_eq!(cache.get_and_touch(key, Duration::from_secs(9)).await.unwrap(), None);
    assert_eq!(cache.increment(key, 1).initial(40).await.unwrap().unwrap().value, 40);
    assert_eq!(cache.increment(key, 2).initial(0).await.unwrap().unwrap().value, 42);
}

#[tokio::test]
async fn an_add_fails_if_either_placement_has_the_item() {
    let fixture = Fixture::start();
    let keys = fixture.keys(true, 3);
    fixture.old.set(&keys[0][..], "old").await.unwrap();
    fixture.new.set(&keys[1][..], "new").await.unwrap();
    for (key, change) in keys.iter().zip([false, false, true]) {
        assert_eq!(fixture.cache.add(&key[..], "added").await.unwrap().is_applied(), change, "{key}");
    }
    assert_eq!(value(&fixture.new, &keys[2]).await.as_deref(), Some("added"));
}

#[tokio::test]
async fn cas_values_work_wherever_the_item_was() {
    let fixture = Fixture::start();
    let (cache, key) = (&fixture.cache, &fixture.key()[..]);
    fixture.old.set(key, "one").await.unwrap();
    let item = cache.get(key).await.unwrap().unwrap();
    assert!(cache.set(key, "two").cas(item.cas).await.unwrap().is_applied());
    assert_eq!(cache.set(key, "three").cas(item.cas).await.unwrap(), WriteOutcome::Exists);
    assert_eq!(cache.append(key, "three").cas(item.cas).await.unwrap(), WriteOutcome::Exists);
    assert_eq!(cache.delete(key).cas(item.cas).await.unwrap(), WriteOutcome::Exists);
    let item = cache.get(key).await.unwrap().unwrap();
    assert_eq!(text(&item), "two");
    assert!(cache.delete(key).cas(item.cas).await.unwrap().is_applied());
    assert_eq!(cache.delete(key).cas(item.cas).await.unwrap(), WriteOutcome::NotFound);

    // The item was never read through the migration, so no CAS value can match.
    fixture.old.set(key, "again").await.unwrap();
    assert_eq!(cache.set(key, "x").cas(u64::MAX - 1).await.unwrap(), WriteOutcome::Exists);
    assert_eq!(value(&fixture.new, key).await.as_deref(), Some("again"), "the item was backfilled to compare");
}

#[tokio::test]
async fn a_touch_applies_to_both_placements() {
    let fixture = Fixture::start();
    let keys = fixture.keys(true, 2);
    for key in &keys {
        fixture.old.set(&key[..], "warm").await.unwrap();
    }
    assert!(fixture.cache.touch(&keys[0][..], Duration::from_secs(500)).await.unwrap().is_applied());
    let item = fixture.cache.get_and_touch(&keys[1][..], Duration::from_secs(500)).await.unwrap();
    assert_eq!(text(&item.unwrap()), "warm");
    for key in &keys {
        for client in [&fixture.old, &fixture.new] {
            let server = client.locate(key).unwrap().unwrap();
            let (_, ttl) = flags_and_ttl(server.name(), key).unwrap();
            assert!((400..=500).contains(&ttl), "{key} on {}: {ttl} s", server.name());
        }
    }
    assert_eq!(fixture.cache.report().from_old, 1);
}

#[tokio::test]
async fn a_deleted_item_is_in_neither_placement() {
    let fixture = Fixture::start();
    let keys = fixture.keys(true, 3);
    fixture.old.set(&keys[0][..], "old").await.unwrap();
    fixture.new.set(&keys[1][..], "new").await.unwrap();
    fixture.old.set(&keys[2][..], "both").await.unwrap();
    fixture.new.set(&keys[2][..], "both").await.unwrap();
    for key in &keys {
        assert!(fixture.cache.delete(&key[..]).await.unwrap().is_applied(), "{key}");
        assert_eq!((value(&fixture.old, key).await, value(&fixture.new, key).await), (None, None), "{key}");
    }
}

#[tokio::test]
async fn a_refused_set_deletes_the_old_value_as_on_one_server() {
    // The client compares values of this length with the limit only after the first refusal.
    let fixture = Fixture::with(&["-I", "64k", "-o", "slab_chunk_max=32768"]);
    let (cache, key) = (&fixture.cache, &fixture.key()[..]);
    fixture.old.set(key, "old").await.unwrap();
    let error = cache.set(key, vec![b'x'; 100_000]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ValueTooLarge);
    assert_eq!(cache.get(key).await.unwrap(), None);
}

#[tokio::test]
async fn a_set_that_is_refused_before_it_is_sent_leaves_the_old_value_as_on_one_server() {
    let fixture = Fixture::start();
    for limit in [1 << 20, 8 << 20] {
        let (old, new) = clients(&fixture.servers, patient_config().max_value_size(limit));
        let cache = Migration::new(old, new);
        for (key, client) in fixture.keys(true, 2).iter().zip([&fixture.old, &fixture.new]) {
            client.set(&key[..], "old").await.unwrap();
            let large = vec![b'x'; 2 << 20];
            let error = cache.set(&key[..], &large).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ValueTooLarge);
            assert_eq!(cache.set_many([(key, &large)]).await.failed().count(), 1);
            assert_eq!(cache.get(&key[..]).await.unwrap().unwrap().value, "old");
        }
    }
}

// ---- Multi-key calls ----

#[tokio::test]
async fn multi_key_calls() {
    let fixture = Fixture::start();
    let cache = &fixture.cache;
    let (moving, staying) = (fixture.keys(true, 1000), fixture.keys(false, 100));
    let all: Vec<&String> = moving.iter().chain(&staying).collect();
    let stored = fixture.old.set_many(all.iter().map(|&key| (key, key))).await;
    assert_eq!(stored.made().count(), 1100);

    let got = cache.get_many(all.iter().map(|key| &key[..]).chain(["absent"])).await;
    assert!(got.found().all(|(key, item)| item.value == key.as_bytes()) && got.is_complete());
    assert_eq!((got.found().count(), got.missing().collect::<Vec<_>>()), (1100, vec![&"absent"]));
    let report = cache.report();
    assert_eq!((report.from_old, report.from_new, report.misses), (1000, 100, 1), "{report:?}");
    assert_eq!(report.backfilled, 1000);
    let got = cache.get_many(&all).await;
    assert_eq!(got.found().count(), 1100);
    assert_eq!(cache.report().since(&report).share_of_old(), 0.0);

    let set = cache.set_many(moving.iter().map(|key| (key, "changed"))).flags(3).ttl(Duration::from_secs(100)).await;
    assert_eq!(set.made().count(), 1000);
    assert_eq!(fixture.old.get_many(&moving).await.found().count(), 0);
    let got = cache.get_many(&moving).await;
    assert!(got.found().all(|(_, item)| item.value == "changed" && item.flags == 3) && got.found().count() == 1000);

    fixture.old.set(&moving[0][..], "left").await.unwrap();
    let deleted = cache.delete_many(all.iter().map(|key| &key[..]).chain(["absent"])).await;
    assert_eq!((deleted.made().count(), deleted.refused().count()), (1100, 1));
    for client in [&fixture.old, &fixture.new] {
        assert_eq!(client.get_many(&all).await.missing().count(), 1100);
    }
    assert!(cache.get_many::<&str>([]).await.is_empty());
}

// ---- Servers that are down ----

#[tokio::test]
async fn an_old_server_that_is_down_is_not_a_miss() {
    let mut fixture = Fixture::start();
    let key = fixture.key();
    let at = fixture.old.locate(&key).unwrap().unwrap().name().to_owned();
    fixture.old.set(&key[..], "old").await.unwrap();
    let single = Client::with_config([&at], patient_config()).unwrap();
    let cache = Migration::new(single, fixture.new.clone());
    fixture.servers.iter_mut().find(|server| server.addr() == at).unwrap().kill();

    assert!(cache.get(&key[..]).await.unwrap_err().is_disconnected());
    assert!(cache.add(&key[..], "x").await.unwrap_err().is_disconnected());
    let many = cache.get_many([&key]).await;
    assert!(many.failed().next().unwrap().1.is_disconnected());
    // The old value could not be deleted and may become visible again: the set has failed, and may have executed.
    for error in [
        cache.set(&key[..], "new").await.unwrap_err(),
        cache.set_many([(&key, "new")]).await.into_iter().next().unwrap().1.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Disconnected(Delivery::MaybeSent));
        assert!(error.to_string().contains("one placement only") && error.to_string().contains(&at), "{error}");
    }
    assert_eq!(value(&fixture.new, &key).await.as_deref(), Some("new"));
    assert!(cache.delete(&key[..]).await.unwrap_err().is_disconnected());
    assert_eq!(value(&fixture.new, &key).await.as_deref(), Some("new"), "the old placement is deleted from first");
}

#[tokio::test]
async fn an_old_server_that_is_down_can_count_as_a_miss() {
    let mut fixture = Fixture::start();
    let key = fixture.key();
    let at = fixture.old.locate(&key).unwrap().unwrap().name().to_owned();
    let single = Client::with_config([&at], patient_config()).unwrap();
    let cache = Migration::new(single, fixture.new.clone()).when_old_is_away(OldUnavailable::Miss);
    fixture.servers.iter_mut().find(|server| server.addr() == at).unwrap().kill();

    assert_eq!(cache.get(&key[..]).await.unwrap(), None);
    assert!(cache.get_many([&key]).await.missing().next().is_some());
    assert!(cache.add(&key[..], "1").await.unwrap().is_applied());
    assert!(cache.set(&key[..], "2").await.unwrap().is_applied());
    assert_eq!(cache.increment(&key[..], 1).await.unwrap().unwrap().value, 3);
    assert!(cache.delete(&key[..]).await.unwrap().is_applied());
    assert!(cache.report().old_away >= 6, "{:?}", cache.report());
}

#[tokio::test]
async fn a_new_server_that_is_down_is_an_error_and_the_old_placement_is_unchanged() {
    let mut fixture = Fixture::start();
    let key = fixture.key();
    fixture.old.set(&key[..], "old").await.unwrap();
    let at = fixture.new.locate(&key).unwrap().unwrap().name().to_owned();
    fixture.servers.iter_mut().find(|server| server.addr() == at).unwrap().kill();
    assert!(fixture.cache.get(&key[..]).await.unwrap_err().is_disconnected());
    let error = fixture.cache.set(&key[..], "new").await.unwrap_err();
    assert!(error.is_disconnected() && !error.may_have_executed(), "{error}");
    let old = fixture.old.get(&key[..]).await;
    assert!(matches!(old, Ok(Some(_)) | Err(_)), "{old:?}");
}

#[tokio::test]
async fn one_deadline_applies_to_all_steps() {
    let fixture = Fixture::start();
    let key = fixture.key();
    fixture.servers.iter().for_each(Memcached::stop);
    let start = std::time::Instant::now();
    let error = fixture.cache.get(&key[..]).timeout(Duration::from_millis(200)).await.unwrap_err();
    assert!(error.is_timeout(), "{error}");
    // Not a measurement: the timeout of the clients is 300 s.
    assert!(start.elapsed() < Duration::from_secs(150));
    fixture.servers.iter().for_each(Memcached::cont);
}

// ---- Races ----

/// Runs a function between the read of the old placement and the backfill.
struct BeforeBackfill<F>(F);

impl<F, R> TtlSource for BeforeBackfill<F>
where
    F: Fn(String) -> R + Send + Sync + 'static,
    R: Future<Output = ()> + Send,
{
    fn ttl<'a>(&'a self, _: &'a Client, key: &'a [u8], _: &'a Item) -> Pin<Box<dyn Future<Output = Ttl> + Send + 'a>> {
        Box::pin(async {
            (self.0)(String::from_utf8(key.to_vec()).unwrap()).await;
            Ttl::Never
        })
    }
}

#[tokio::test]
async fn a_delete_during_a_backfill_leaves_nothing() {
    let fixture = Fixture::start();
    let (key, other) = (fixture.key(), fixture.cache.clone());
    fixture.old.set(&key[..], "old").await.unwrap();
    let reader = fixture.cache.clone().ttl_source(BeforeBackfill(move |key: String| {
        let other = other.clone();
        async move { assert!(other.delete(&key[..]).await.unwrap().is_applied()) }
    }));
    // The get started before the delete was complete, so it may return the value or a miss.
    reader.get(&key[..]).await.unwrap();
    assert_eq!((value(&fixture.old, &key).await, value(&fixture.new, &key).await), (None, None));
    assert_eq!((reader.report().undone, reader.report().backfilled), (1, 0));
}

#[tokio::test]
async fn a_set_during_a_backfill_is_not_overwritten() {
    let fixture = Fixture::start();
    let (key, other) = (fixture.key(), fixture.cache.clone());
    fixture.old.set(&key[..], "old").await.unwrap();
    let reader = fixture.cache.clone().ttl_source(BeforeBackfill(move |key: String| {
        let other = other.clone();
        async move { assert!(other.set(&key[..], "newer").await.unwrap().is_applied()) }
    }));
    assert_eq!(text(&reader.get(&key[..]).await.unwrap().unwrap()), "newer");
    assert_eq!(value(&fixture.new, &key).await.as_deref(), Some("newer"));
    assert_eq!((reader.report().overtaken, reader.report().undone), (1, 0));
}

#[tokio::test]
async fn a_write_to_the_old_placement_undoes_a_backfill() {
    let fixture = Fixture::start();
    let (key, old) = (fixture.key(), fixture.old.clone());
    old.set(&key[..], "old").await.unwrap();
    let reader = fixture.cache.clone().ttl_source(BeforeBackfill({
        let old = old.clone();
        move |key: String| {
            let old = old.clone();
            async move { assert!(old.set(&key[..], "newer").await.unwrap().is_applied()) }
        }
    }));
    reader.get(&key[..]).await.unwrap();
    assert_eq!(value(&fixture.new, &key).await, None, "an outdated backfill is undone");
    assert_eq!(text(&fixture.cache.get(&key[..]).await.unwrap().unwrap()), "newer");
}

#[tokio::test]
async fn a_dropped_get_is_verified_too() {
    let fixture = Fixture::start();
    let key = fixture.key();
    fixture.old.set(&key[..], "old").await.unwrap();
    let (reached, proceed) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let reader = fixture.cache.clone().ttl_source(BeforeBackfill({
        let (reached, proceed) = (Arc::clone(&reached), Arc::clone(&proceed));
        move |_| {
            let (reached, proceed) = (Arc::clone(&reached), Arc::clone(&proceed));
            async move {
                reached.notify_one();
                proceed.notified().await;
            }
        }
    }));
    tokio::select! {
        _ = async { reader.get(&key[..]).await } => panic!("the get completed"),
        () = reached.notified() => {}
    }
    assert!(fixture.cache.delete(&key[..]).await.unwrap().is_applied());
    proceed.notify_one();
    wait_until("the backfill is undone", async || reader.report().undone == 1).await;
    wait_until("no item is left", async || value(&fixture.new, &key).await.is_none()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deletes_among_readers_leave_no_item() {
    let fixture = Fixture::start();
    let keys = fixture.keys(true, 300);
    let _ = fixture.old.set_many(keys.iter().map(|key| (key, "old"))).await;
    let readers: Vec<_> = (0..8)
        .map(|_| {
            let (cache, keys) = (fixture.cache.clone(), keys.clone());
            tokio::spawn(async move {
                for key in &keys {
                    cache.get(&key[..]).await.unwrap();
                }
            })
        })
        .collect();
    for key in &keys {
        fixture.cache.delete(&key[..]).await.unwrap();
    }
    for reader in readers {
        reader.await.unwrap();
    }
    for client in [&fixture.old, &fixture.new] {
        assert_eq!(client.get_many(&keys).await.missing().count(), 300);
    }
}

/// The versions of a key with one writer and many readers.
#[derive(Default)]
struct History {
    /// The latest version whose write is complete.
    completed: AtomicU64,
    /// The latest version whose write has started.
    started: AtomicU64,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cache_stays_warm_and_consistent_during_a_migration_under_load() {
    const KEYS: usize = 2000;
    const READERS: usize = 8;
    let seed = seed();
    let fixture = Fixture::start();
    let keys: Arc<Vec<String>> = Arc::new((0..KEYS).map(|n| format!("page:{n}")).collect());
    let histories: Arc<Vec<History>> = Arc::new((0..KEYS).map(|_| History::default()).collect());
    let counters: Arc<Vec<String>> = Arc::new((0..50).map(|n| format!("visits:{n}")).collect());
    let warm = fixture.old.set_many(keys.iter().map(|key| (key, format!("{key} 0")))).await;
    assert_eq!(warm.made().count(), KEYS);
    assert_eq!(fixture.old.set_many(counters.iter().map(|key| (key, "1000"))).await.made().count(), 50);

    let mut tasks = Vec::new();
    for reader in 0..READERS {
        let (cache, keys, histories) = (fixture.cache.clone(), Arc::clone(&keys), Arc::clone(&histories));
        let mut rng = fastrand::Rng::with_seed(seed.value() ^ reader as u64);
        tasks.push(tokio::spawn(async move {
            for round in 0..1500 {
                let chosen: Vec<usize> = (0..1 + round % 5).map(|_| rng.usize(..KEYS)).collect();
                let oldest: Vec<u64> = chosen.iter().map(|&n| histories[n].completed.load(Ordering::SeqCst)).collect();
                let items: Vec<Option<Item>> = match chosen[..] {
                    [n] => vec![cache.get(&keys[n][..]).await.unwrap()],
                    _ => cache
                        .get_many(chosen.iter().map(|&n| &keys[n]))
                        .await
                        .into_iter()
                        .map(|(_, r)| r.unwrap())
                        .collect(),
                };
                for ((n, oldest), item) in chosen.into_iter().zip(oldest).zip(items) {
                    let item = item.unwrap_or_else(|| panic!("{} is missing", keys[n]));
                    let (key, version) = text(&item).rsplit_once(' ').unwrap();
                    let newest = histories[n].started.load(Ordering::SeqCst);
                    assert_eq!(key, keys[n], "a value of another key");
                    assert!(
                        (oldest..=newest).contains(&version.parse().unwrap()),
                        "{key}: version {version}, expected {oldest} to {newest}"
                    );
                }
            }
        }));
    }
    for writer in 0..4 {
        let (cache, keys, histories) = (fixture.cache.clone(), Arc::clone(&keys), Arc::clone(&histories));
        let mut rng = fastrand::Rng::with_seed(seed.value() ^ 0xffff ^ writer as u64);
        tasks.push(tokio::spawn(async move {
            for _ in 0..1000 {
                // Each key has one writer, so that its versions are ordered.
                let n = rng.usize(..KEYS / 4) * 4 + writer;
                let version = histories[n].started.fetch_add(1, Ordering::SeqCst) + 1;
                let value = format!("{} {version}", keys[n]);
                assert!(cache.set(&keys[n][..], value).await.unwrap().is_applied());
                histories[n].completed.store(version, Ordering::SeqCst);
            }
        }));
    }
    for _ in 0..4 {
        let (cache, counters) = (fixture.cache.clone(), Arc::clone(&counters));
        tasks.push(tokio::spawn(async move {
            for round in 0..500 {
                let counter = cache.increment(&counters[round % 50][..], 1).initial(0).await.unwrap();
                assert!(counter.unwrap().value > 1000, "the counter continues from its old value");
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let report = fixture.cache.report();
    assert!(report.from_old > 0 && report.backfilled > 0 && report.misses == 0, "{report:?}");

    let all = fixture.cache.get_many(keys.iter()).await;
    assert_eq!(all.found().count(), KEYS);
    let before = fixture.cache.report();
    let _ = fixture.cache.get_many(keys.iter()).await;
    assert_eq!(fixture.cache.report().since(&before).share_of_old(), 0.0);
    // The new placement alone has all items.
    let items = fixture.new.get_many(keys.iter()).await;
    for ((key, item), history) in items.found().zip(histories.iter()) {
        assert_eq!(text(item), format!("{key} {}", history.completed.load(Ordering::SeqCst)));
    }
    assert_eq!(items.found().count(), KEYS);
    for counter in counters.iter() {
        assert_eq!(value(&fixture.new, counter).await.as_deref(), Some("1040"), "{counter}");
    }
}
