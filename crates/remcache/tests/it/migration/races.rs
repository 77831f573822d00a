//! Races between the backfill of an item and changes to it.

use super::*;

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
    assert_eq!((reader.report().reverted, reader.report().backfilled), (1, 0));
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
    assert_eq!((reader.report().superseded, reader.report().reverted), (1, 0));
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
    assert_eq!(value(&fixture.new, &key).await, None, "an outdated backfill is reverted");
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
    wait_until("the backfill is reverted", async || reader.report().reverted == 1).await;
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
    assert_eq!(warm.applied().count(), KEYS);
    assert_eq!(fixture.old.set_many(counters.iter().map(|key| (key, "1000"))).await.applied().count(), 50);

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
    assert_eq!(fixture.cache.report().since(&before).old_hit_ratio(), 0.0);
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
