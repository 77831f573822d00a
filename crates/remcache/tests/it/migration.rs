//! Migrations between placements on real servers: what moves, what is never wrong, what races leave behind.

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

/// Five servers: the old placement has pylibmc's modulo over three of them, the new one ketama over all.
struct Fleet {
    servers: Vec<Memcached>,
    old: Client,
    new: Client,
    cache: Migration,
}

impl Fleet {
    fn start() -> Self {
        Self::speaking(ProtocolSetting::Binary)
    }

    fn speaking(protocol: ProtocolSetting) -> Self {
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

    /// The first keys whose server differs in the new placement, or the same.
    fn keys(&self, moving: bool, count: usize) -> Vec<String> {
        let name = |client: &Client, key: &str| client.locate(key).unwrap().unwrap().name().to_owned();
        let keys = (0..).map(|n| format!("key{n}"));
        keys.filter(|key| (name(&self.old, key) != name(&self.new, key)) == moving).take(count).collect()
    }

    /// A key that moves.
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
async fn reading_brings_over_what_only_the_old_placement_has() {
    let fleet = Fleet::start();
    let cache = fleet.cache.clone().backfill_ttl(Duration::from_secs(1000));
    let key = fleet.key();
    fleet.old.set(&key[..], "warm").flags(7).await.unwrap();

    let item = cache.get(&key[..]).await.unwrap().expect("warm");
    assert_eq!((text(&item), item.flags), ("warm", 7));
    let home = fleet.new.locate(&key).unwrap().unwrap();
    let (flags, ttl) = flags_and_ttl(home.name(), &key).expect("it was copied");
    assert!(flags == 7 && (990..=1000).contains(&ttl), "flags {flags}, {ttl} s to live");
    let copy = fleet.new.get(&key[..]).await.unwrap().unwrap();
    assert_eq!(copy.cas, item.cas, "the CAS value is that of the copy");

    assert_eq!(cache.get(&key[..]).await.unwrap().unwrap(), copy);
    assert!(cache.get("absent").await.unwrap().is_none());
    let report = cache.report();
    assert_eq!((report.from_old, report.from_new, report.misses, report.backfilled), (1, 1, 1, 1), "{report:?}");
    assert_eq!(report.share_of_old(), 0.5);
}

/// The copy has the TTL that the old servers' protocol returns; what it does not is what was configured.
#[tokio::test]
async fn a_copy_lives_as_long_as_its_item_where_the_protocol_tells_it() {
    for protocol in ProtocolSetting::ALL {
        let fleet = Fleet::speaking(protocol);
        let cache = fleet.cache.clone().backfill_ttl(Duration::from_secs(1000));
        let keys = fleet.keys(true, 4);
        let ttls = [Ttl::Never, Duration::from_secs(500).into(), Ttl::Never, Duration::from_secs(90_000).into()];
        for (key, ttl) in keys.iter().zip(ttls) {
            fleet.old.set(&key[..], "warm").ttl(ttl).await.unwrap();
        }
        for key in &keys[..2] {
            assert!(cache.get(&key[..]).await.unwrap().is_some(), "{protocol}");
        }
        assert_eq!(cache.get_many(&keys[2..]).await.found().count(), 2, "{protocol}");
        assert_eq!(cache.report().backfilled, 4, "{protocol}");
        let lives = |key: &String| flags_and_ttl(fleet.new.locate(key).unwrap().unwrap().name(), key).unwrap().1;
        let lives: Vec<_> = keys.iter().map(lives).collect();
        match protocol {
            ProtocolSetting::Meta | ProtocolSetting::Auto => {
                assert_eq!((lives[0], lives[2]), (-1, -1), "{protocol}: for ever stays for ever");
                assert!(
                    (300..=500).contains(&lives[1]) && (89_000..=90_000).contains(&lives[3]),
                    "{protocol}: {lives:?}"
                );
            }
            _ => assert!(lives.iter().all(|seconds| (800..=1000).contains(seconds)), "{protocol}: {lives:?}"),
        }
    }
}

#[tokio::test]
async fn what_is_not_to_be_copied_is_not_whatever_the_protocol_tells() {
    let fleet = Fleet::speaking(ProtocolSetting::Meta);
    let cache = fleet.cache.clone().backfill_ttl(Ttl::Expired);
    let keys = fleet.keys(true, 2);
    for key in &keys {
        fleet.old.set(&key[..], "warm").ttl(Duration::from_secs(500)).await.unwrap();
        assert_eq!(text(&cache.get(&key[..]).await.unwrap().unwrap()), "warm");
        assert_eq!(value(&fleet.new, key).await, None);
    }
    // What the program says comes before the server's.
    let cache = fleet.cache.clone().ttl_source(|_: &[u8], _: &Item| Ttl::from(Duration::from_secs(7)));
    assert!(cache.get(&keys[0][..]).await.unwrap().is_some());
    let (_, seconds) = flags_and_ttl(fleet.new.locate(&keys[0]).unwrap().unwrap().name(), &keys[0]).unwrap();
    assert!((1..=7).contains(&seconds), "{seconds}");
}

#[tokio::test]
async fn the_program_may_say_how_long_copies_live() {
    let fleet = Fleet::start();
    let cache = fleet.cache.clone().ttl_source(|key: &[u8], item: &Item| match item.flags {
        1 => Ttl::Never,
        2 => Ttl::Expired,
        _ => panic!("{}", key.escape_ascii()),
    });
    let keys = fleet.keys(true, 2);
    fleet.old.set(&keys[0][..], "for ever").flags(1).await.unwrap();
    fleet.old.set(&keys[1][..], "not at all").flags(2).await.unwrap();
    for key in &keys {
        assert!(cache.get(&key[..]).await.unwrap().is_some());
    }
    let home = fleet.new.locate(&keys[0]).unwrap().unwrap();
    assert_eq!(flags_and_ttl(home.name(), &keys[0]), Some((1, -1)));
    assert_eq!(value(&fleet.new, &keys[1]).await, None);

    // What is not copied has a CAS value that matches nothing.
    let item = cache.get(&keys[1][..]).await.unwrap().unwrap();
    assert!(!cache.set(&keys[1][..], "x").cas(item.cas).await.unwrap().is_applied());
    assert!(cache.set(&keys[1][..], "x").await.unwrap().is_applied());
    assert_eq!(text(&cache.get(&keys[1][..]).await.unwrap().unwrap()), "x");
}

#[tokio::test]
async fn a_key_whose_server_is_the_same_is_one_item() {
    let fleet = Fleet::start();
    let key = fleet.keys(false, 1).remove(0);
    let cache = &fleet.cache;
    assert!(cache.set(&key[..], "1").await.unwrap().is_applied());
    assert_eq!(text(&cache.get(&key[..]).await.unwrap().unwrap()), "1", "a delete from the old would have removed it");
    assert_eq!(cache.increment(&key[..], 1).await.unwrap().unwrap().value, 2);
    assert!(cache.delete_many([&key]).await.is_complete());
    assert!(cache.get(&key[..]).await.unwrap().is_none());
    let report = cache.report();
    assert_eq!((report.from_new, report.from_old, report.misses, report.backfilled), (1, 0, 1, 0), "{report:?}");
}

// ---- Changing ----

#[tokio::test]
async fn a_change_goes_to_the_new_placement_and_leaves_nothing_in_the_old() {
    let fleet = Fleet::start();
    let cache = &fleet.cache;
    let keys = fleet.keys(true, 6);
    let [set, replace, append, prepend, increment, decrement] = [0, 1, 2, 3, 4, 5].map(|n| &keys[n][..]);
    for key in &keys {
        fleet.old.set(&key[..], "10").await.unwrap();
    }
    assert!(cache.set(set, "new").await.unwrap().is_applied());
    assert!(cache.replace(replace, "new").await.unwrap().is_applied());
    assert!(cache.append(append, "5").await.unwrap().is_applied());
    assert!(cache.prepend(prepend, "5").await.unwrap().is_applied());
    // A number to start from does not hide the one that is there.
    assert_eq!(cache.increment(increment, 5).initial(0).await.unwrap().unwrap().value, 15);
    assert_eq!(cache.decrement(decrement, 5).await.unwrap().unwrap().value, 5);
    for (key, now) in keys.iter().zip(["new", "new", "105", "510", "15", "5 "]) {
        assert_eq!(value(&fleet.new, key).await.as_deref(), Some(now), "{key}");
        assert_eq!(value(&fleet.old, key).await, None, "{key}");
    }
}

#[tokio::test]
async fn what_is_in_neither_placement_is_absent() {
    let fleet = Fleet::start();
    let (cache, key) = (&fleet.cache, &fleet.key()[..]);
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
async fn an_add_is_refused_where_either_placement_has_the_item() {
    let fleet = Fleet::start();
    let keys = fleet.keys(true, 3);
    fleet.old.set(&keys[0][..], "old").await.unwrap();
    fleet.new.set(&keys[1][..], "new").await.unwrap();
    for (key, change) in keys.iter().zip([false, false, true]) {
        assert_eq!(fleet.cache.add(&key[..], "added").await.unwrap().is_applied(), change, "{key}");
    }
    assert_eq!(value(&fleet.new, &keys[2]).await.as_deref(), Some("added"));
}

#[tokio::test]
async fn a_cas_value_is_a_condition_wherever_the_item_was() {
    let fleet = Fleet::start();
    let (cache, key) = (&fleet.cache, &fleet.key()[..]);
    fleet.old.set(key, "one").await.unwrap();
    let item = cache.get(key).await.unwrap().unwrap();
    assert!(cache.set(key, "two").cas(item.cas).await.unwrap().is_applied());
    assert_eq!(cache.set(key, "three").cas(item.cas).await.unwrap(), WriteOutcome::Exists);
    assert_eq!(cache.append(key, "three").cas(item.cas).await.unwrap(), WriteOutcome::Exists);
    assert_eq!(cache.delete(key).cas(item.cas).await.unwrap(), WriteOutcome::Exists);
    let item = cache.get(key).await.unwrap().unwrap();
    assert_eq!(text(&item), "two");
    assert!(cache.delete(key).cas(item.cas).await.unwrap().is_applied());
    assert_eq!(cache.delete(key).cas(item.cas).await.unwrap(), WriteOutcome::NotFound);

    // It was not read yet: no CAS value can be its own.
    fleet.old.set(key, "again").await.unwrap();
    assert_eq!(cache.set(key, "x").cas(u64::MAX - 1).await.unwrap(), WriteOutcome::Exists);
    assert_eq!(value(&fleet.new, key).await.as_deref(), Some("again"), "it was brought over to see");
}

#[tokio::test]
async fn a_new_time_to_live_holds_in_both_placements() {
    let fleet = Fleet::start();
    let keys = fleet.keys(true, 2);
    for key in &keys {
        fleet.old.set(&key[..], "warm").await.unwrap();
    }
    assert!(fleet.cache.touch(&keys[0][..], Duration::from_secs(500)).await.unwrap().is_applied());
    let item = fleet.cache.get_and_touch(&keys[1][..], Duration::from_secs(500)).await.unwrap();
    assert_eq!(text(&item.unwrap()), "warm");
    for key in &keys {
        for client in [&fleet.old, &fleet.new] {
            let home = client.locate(key).unwrap().unwrap();
            let (_, ttl) = flags_and_ttl(home.name(), key).unwrap();
            assert!((490..=500).contains(&ttl), "{key} on {}: {ttl} s", home.name());
        }
    }
    assert_eq!(fleet.cache.report().from_old, 1);
}

#[tokio::test]
async fn a_deleted_item_is_in_neither_placement() {
    let fleet = Fleet::start();
    let keys = fleet.keys(true, 3);
    fleet.old.set(&keys[0][..], "old").await.unwrap();
    fleet.new.set(&keys[1][..], "new").await.unwrap();
    fleet.old.set(&keys[2][..], "both").await.unwrap();
    fleet.new.set(&keys[2][..], "both").await.unwrap();
    for key in &keys {
        assert!(fleet.cache.delete(&key[..]).await.unwrap().is_applied(), "{key}");
        assert_eq!((value(&fleet.old, key).await, value(&fleet.new, key).await), (None, None), "{key}");
    }
}

#[tokio::test]
async fn a_set_that_is_refused_ends_the_old_value_as_on_one_server() {
    // The client does not compare a value of this length with the limit before it has met a refusal.
    let fleet = Fleet::with(&["-I", "64k", "-o", "slab_chunk_max=32768"]);
    let (cache, key) = (&fleet.cache, &fleet.key()[..]);
    fleet.old.set(key, "old").await.unwrap();
    let error = cache.set(key, vec![b'x'; 100_000]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ValueTooLarge);
    assert_eq!(cache.get(key).await.unwrap(), None);
}

#[tokio::test]
async fn a_set_that_is_refused_before_it_is_sent_leaves_the_old_value_as_on_one_server() {
    let fleet = Fleet::start();
    for limit in [1 << 20, 8 << 20] {
        let (old, new) = clients(&fleet.servers, patient_config().max_value_size(limit));
        let cache = Migration::new(old, new);
        for (key, client) in fleet.keys(true, 2).iter().zip([&fleet.old, &fleet.new]) {
            client.set(&key[..], "old").await.unwrap();
            let large = vec![b'x'; 2 << 20];
            let error = cache.set(&key[..], &large).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ValueTooLarge);
            assert_eq!(cache.set_many([(key, &large)]).await.failed().count(), 1);
            assert_eq!(cache.get(&key[..]).await.unwrap().unwrap().value, "old");
        }
    }
}

// ---- Many keys ----

#[tokio::test]
async fn many_keys_at_once() {
    let fleet = Fleet::start();
    let cache = &fleet.cache;
    let (moving, staying) = (fleet.keys(true, 1000), fleet.keys(false, 100));
    let all: Vec<&String> = moving.iter().chain(&staying).collect();
    let stored = fleet.old.set_many(all.iter().map(|&key| (key, key))).await;
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
    assert_eq!(fleet.old.get_many(&moving).await.found().count(), 0);
    let got = cache.get_many(&moving).await;
    assert!(got.found().all(|(_, item)| item.value == "changed" && item.flags == 3) && got.found().count() == 1000);

    fleet.old.set(&moving[0][..], "left").await.unwrap();
    let deleted = cache.delete_many(all.iter().map(|key| &key[..]).chain(["absent"])).await;
    assert_eq!((deleted.made().count(), deleted.refused().count()), (1100, 1));
    for client in [&fleet.old, &fleet.new] {
        assert_eq!(client.get_many(&all).await.missing().count(), 1100);
    }
    assert!(cache.get_many::<&str>([]).await.is_empty());
}

// ---- Servers that are away ----

#[tokio::test]
async fn an_old_server_that_is_away_is_no_miss() {
    let mut fleet = Fleet::start();
    let key = fleet.key();
    let at = fleet.old.locate(&key).unwrap().unwrap().name().to_owned();
    fleet.old.set(&key[..], "old").await.unwrap();
    let lone = Client::with_config([&at], patient_config()).unwrap();
    let cache = Migration::new(lone, fleet.new.clone());
    fleet.servers.iter_mut().find(|server| server.addr() == at).unwrap().kill();

    assert!(cache.get(&key[..]).await.unwrap_err().is_disconnected());
    assert!(cache.add(&key[..], "x").await.unwrap_err().is_disconnected());
    let many = cache.get_many([&key]).await;
    assert!(many.failed().next().unwrap().1.is_disconnected());
    // The old value could not be removed, so it may come back: no success, and not to be repeated blindly.
    for error in [
        cache.set(&key[..], "new").await.unwrap_err(),
        cache.set_many([(&key, "new")]).await.into_iter().next().unwrap().1.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Disconnected(Delivery::MaybeSent));
        assert!(error.to_string().contains("one placement only") && error.to_string().contains(&at), "{error}");
    }
    assert_eq!(value(&fleet.new, &key).await.as_deref(), Some("new"));
    assert!(cache.delete(&key[..]).await.unwrap_err().is_disconnected());
    assert_eq!(value(&fleet.new, &key).await.as_deref(), Some("new"), "the old is deleted first");
}

#[tokio::test]
async fn an_old_server_that_is_away_may_count_as_a_miss() {
    let mut fleet = Fleet::start();
    let key = fleet.key();
    let at = fleet.old.locate(&key).unwrap().unwrap().name().to_owned();
    let lone = Client::with_config([&at], patient_config()).unwrap();
    let cache = Migration::new(lone, fleet.new.clone()).when_old_is_away(OldUnavailable::Miss);
    fleet.servers.iter_mut().find(|server| server.addr() == at).unwrap().kill();

    assert_eq!(cache.get(&key[..]).await.unwrap(), None);
    assert!(cache.get_many([&key]).await.missing().next().is_some());
    assert!(cache.add(&key[..], "1").await.unwrap().is_applied());
    assert!(cache.set(&key[..], "2").await.unwrap().is_applied());
    assert_eq!(cache.increment(&key[..], 1).await.unwrap().unwrap().value, 3);
    assert!(cache.delete(&key[..]).await.unwrap().is_applied());
    assert!(cache.report().old_away >= 6, "{:?}", cache.report());
}

#[tokio::test]
async fn a_new_server_that_is_away_is_an_error_and_nothing_is_taken_from_the_old() {
    let mut fleet = Fleet::start();
    let key = fleet.key();
    fleet.old.set(&key[..], "old").await.unwrap();
    let at = fleet.new.locate(&key).unwrap().unwrap().name().to_owned();
    fleet.servers.iter_mut().find(|server| server.addr() == at).unwrap().kill();
    assert!(fleet.cache.get(&key[..]).await.unwrap_err().is_disconnected());
    let error = fleet.cache.set(&key[..], "new").await.unwrap_err();
    assert!(error.is_disconnected() && !error.may_have_executed(), "{error}");
    let old = fleet.old.get(&key[..]).await;
    assert!(matches!(old, Ok(Some(_)) | Err(_)), "{old:?}");
}

#[tokio::test]
async fn one_deadline_holds_for_all_steps() {
    let fleet = Fleet::start();
    let key = fleet.key();
    fleet.servers.iter().for_each(Memcached::stop);
    let start = std::time::Instant::now();
    let error = fleet.cache.get(&key[..]).timeout(Duration::from_millis(200)).await.unwrap_err();
    assert!(error.is_timeout(), "{error}");
    // Not a measurement: the clients' own deadline is 60 s.
    assert!(start.elapsed() < Duration::from_secs(20));
    fleet.servers.iter().for_each(Memcached::cont);
}

// ---- Races ----

/// Does something between the look at the old placement and the copy.
struct DuringLookup<F>(F);

impl<F, R> TtlSource for DuringLookup<F>
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
async fn a_delete_while_a_copy_is_made_leaves_nothing() {
    let fleet = Fleet::start();
    let (key, other) = (fleet.key(), fleet.cache.clone());
    fleet.old.set(&key[..], "old").await.unwrap();
    let reader = fleet.cache.clone().ttl_source(DuringLookup(move |key: String| {
        let other = other.clone();
        async move { assert!(other.delete(&key[..]).await.unwrap().is_applied()) }
    }));
    // Both began before the delete was done, so either may be what it reads.
    reader.get(&key[..]).await.unwrap();
    assert_eq!((value(&fleet.old, &key).await, value(&fleet.new, &key).await), (None, None));
    assert_eq!((reader.report().undone, reader.report().backfilled), (1, 0));
}

#[tokio::test]
async fn a_set_while_a_copy_is_made_is_not_overwritten() {
    let fleet = Fleet::start();
    let (key, other) = (fleet.key(), fleet.cache.clone());
    fleet.old.set(&key[..], "old").await.unwrap();
    let reader = fleet.cache.clone().ttl_source(DuringLookup(move |key: String| {
        let other = other.clone();
        async move { assert!(other.set(&key[..], "newer").await.unwrap().is_applied()) }
    }));
    assert_eq!(text(&reader.get(&key[..]).await.unwrap().unwrap()), "newer");
    assert_eq!(value(&fleet.new, &key).await.as_deref(), Some("newer"));
    assert_eq!((reader.report().overtaken, reader.report().undone), (1, 0));
}

#[tokio::test]
async fn a_program_that_still_writes_to_the_old_placement_undoes_a_copy() {
    let fleet = Fleet::start();
    let (key, old) = (fleet.key(), fleet.old.clone());
    old.set(&key[..], "old").await.unwrap();
    let reader = fleet.cache.clone().ttl_source(DuringLookup({
        let old = old.clone();
        move |key: String| {
            let old = old.clone();
            async move { assert!(old.set(&key[..], "newer").await.unwrap().is_applied()) }
        }
    }));
    reader.get(&key[..]).await.unwrap();
    assert_eq!(value(&fleet.new, &key).await, None, "the copy was of an older value");
    assert_eq!(text(&fleet.cache.get(&key[..]).await.unwrap().unwrap()), "newer");
}

#[tokio::test]
async fn a_dropped_fetch_is_checked_all_the_same() {
    let fleet = Fleet::start();
    let key = fleet.key();
    fleet.old.set(&key[..], "old").await.unwrap();
    let (reached, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let reader = fleet.cache.clone().ttl_source(DuringLookup({
        let (reached, go_on) = (Arc::clone(&reached), Arc::clone(&go_on));
        move |_| {
            let (reached, go_on) = (Arc::clone(&reached), Arc::clone(&go_on));
            async move {
                reached.notify_one();
                go_on.notified().await;
            }
        }
    }));
    tokio::select! {
        _ = async { reader.get(&key[..]).await } => panic!("it has to wait"),
        () = reached.notified() => {}
    }
    assert!(fleet.cache.delete(&key[..]).await.unwrap().is_applied());
    go_on.notify_one();
    wait_until("the copy is undone", async || reader.report().undone == 1).await;
    wait_until("nothing is left", async || value(&fleet.new, &key).await.is_none()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deletes_among_readers_leave_nothing_behind() {
    let fleet = Fleet::start();
    let keys = fleet.keys(true, 300);
    fleet.old.set_many(keys.iter().map(|key| (key, "old"))).await;
    let readers: Vec<_> = (0..8)
        .map(|_| {
            let (cache, keys) = (fleet.cache.clone(), keys.clone());
            tokio::spawn(async move {
                for key in &keys {
                    cache.get(&key[..]).await.unwrap();
                }
            })
        })
        .collect();
    for key in &keys {
        fleet.cache.delete(&key[..]).await.unwrap();
    }
    for reader in readers {
        reader.await.unwrap();
    }
    for client in [&fleet.old, &fleet.new] {
        assert_eq!(client.get_many(&keys).await.missing().count(), 300);
    }
}

/// What is known of a key while many read and one writes.
#[derive(Default)]
struct History {
    /// The version that was written last, and whose write is over.
    done: AtomicU64,
    /// The version whose write was begun last.
    begun: AtomicU64,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_warm_cache_stays_warm_and_right_while_it_moves_under_load() {
    const KEYS: usize = 2000;
    const READERS: usize = 8;
    let seed = seed();
    let fleet = Fleet::start();
    let keys: Arc<Vec<String>> = Arc::new((0..KEYS).map(|n| format!("page:{n}")).collect());
    let histories: Arc<Vec<History>> = Arc::new((0..KEYS).map(|_| History::default()).collect());
    let counters: Arc<Vec<String>> = Arc::new((0..50).map(|n| format!("visits:{n}")).collect());
    let warm = fleet.old.set_many(keys.iter().map(|key| (key, format!("{key} 0")))).await;
    assert_eq!(warm.made().count(), KEYS);
    assert_eq!(fleet.old.set_many(counters.iter().map(|key| (key, "1000"))).await.made().count(), 50);

    let mut tasks = Vec::new();
    for reader in 0..READERS {
        let (cache, keys, histories) = (fleet.cache.clone(), Arc::clone(&keys), Arc::clone(&histories));
        let mut random = fastrand::Rng::with_seed(seed.value() ^ reader as u64);
        tasks.push(tokio::spawn(async move {
            for round in 0..1500 {
                let places: Vec<usize> = (0..1 + round % 5).map(|_| random.usize(..KEYS)).collect();
                let least: Vec<u64> = places.iter().map(|&n| histories[n].done.load(Ordering::SeqCst)).collect();
                let items: Vec<Option<Item>> = match places[..] {
                    [place] => vec![cache.get(&keys[place][..]).await.unwrap()],
                    _ => cache
                        .get_many(places.iter().map(|&n| &keys[n]))
                        .await
                        .into_iter()
                        .map(|(_, r)| r.unwrap())
                        .collect(),
                };
                for ((place, least), item) in places.into_iter().zip(least).zip(items) {
                    let item = item.unwrap_or_else(|| panic!("{} was warm", keys[place]));
                    let (key, version) = text(&item).rsplit_once(' ').unwrap();
                    let most = histories[place].begun.load(Ordering::SeqCst);
                    assert_eq!(key, keys[place], "a value of another key");
                    assert!(
                        (least..=most).contains(&version.parse().unwrap()),
                        "{key}: {version}, not {least} to {most}"
                    );
                }
            }
        }));
    }
    for writer in 0..4 {
        let (cache, keys, histories) = (fleet.cache.clone(), Arc::clone(&keys), Arc::clone(&histories));
        let mut random = fastrand::Rng::with_seed(seed.value() ^ 0xffff ^ writer as u64);
        tasks.push(tokio::spawn(async move {
            for _ in 0..1000 {
                // Each key has one writer, so that its versions have one order.
                let place = random.usize(..KEYS / 4) * 4 + writer;
                let version = histories[place].begun.fetch_add(1, Ordering::SeqCst) + 1;
                let value = format!("{} {version}", keys[place]);
                assert!(cache.set(&keys[place][..], value).await.unwrap().is_applied());
                histories[place].done.store(version, Ordering::SeqCst);
            }
        }));
    }
    for _ in 0..4 {
        let (cache, counters) = (fleet.cache.clone(), Arc::clone(&counters));
        tasks.push(tokio::spawn(async move {
            for round in 0..500 {
                let counter = cache.increment(&counters[round % 50][..], 1).initial(0).await.unwrap();
                assert!(counter.unwrap().value > 1000, "it goes on from where it was");
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let report = fleet.cache.report();
    assert!(report.from_old > 0 && report.backfilled > 0 && report.misses == 0, "{report:?}");

    let all = fleet.cache.get_many(keys.iter()).await;
    assert_eq!(all.found().count(), KEYS);
    let before = fleet.cache.report();
    fleet.cache.get_many(keys.iter()).await;
    assert_eq!(fleet.cache.report().since(&before).share_of_old(), 0.0);
    // The new client alone has all of it.
    let alone = fleet.new.get_many(keys.iter()).await;
    for ((key, item), history) in alone.found().zip(histories.iter()) {
        assert_eq!(text(item), format!("{key} {}", history.done.load(Ordering::SeqCst)));
    }
    assert_eq!(alone.found().count(), KEYS);
    for counter in counters.iter() {
        assert_eq!(value(&fleet.new, counter).await.as_deref(), Some("1040"), "{counter}");
    }
}
