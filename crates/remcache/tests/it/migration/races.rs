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

/// The keys, their histories and the counters that the tasks of a load share.
struct Load {
    cache: Migration,
    keys: Vec<String>,
    histories: Vec<History>,
    counters: Vec<String>,
}

impl Load {
    const KEYS: usize = 2000;
    const COUNTERS: usize = 50;
    const READERS: usize = 8;
    const WRITERS: usize = 4;

    /// Stores version 0 of each key, and the counters, in the old placement.
    async fn start(fixture: &Fixture) -> Arc<Self> {
        let keys: Vec<String> = (0..Self::KEYS).map(|n| format!("page:{n}")).collect();
        let counters: Vec<String> = (0..Self::COUNTERS).map(|n| format!("visits:{n}")).collect();
        let stored = fixture.old.set_many(keys.iter().map(|key| (key, format!("{key} 0")))).await;
        assert_eq!(stored.applied().count(), Self::KEYS);
        let stored = fixture.old.set_many(counters.iter().map(|key| (key, "1000"))).await;
        assert_eq!(stored.applied().count(), Self::COUNTERS);
        let histories = keys.iter().map(|_| History::default()).collect();
        Arc::new(Self { cache: fixture.cache.clone(), keys, histories, counters })
    }

    /// Reads random keys, one to five at a time.
    async fn read(self: Arc<Self>, mut rng: fastrand::Rng) {
        for round in 0..1500 {
            let chosen: Vec<usize> = (0..1 + round % 5).map(|_| rng.usize(..Self::KEYS)).collect();
            let oldest: Vec<u64> = chosen.iter().map(|&n| self.histories[n].completed.load(Ordering::SeqCst)).collect();
            let items = self.get(&chosen).await;
            for ((n, oldest), item) in chosen.into_iter().zip(oldest).zip(items) {
                self.check(n, oldest, item.as_ref());
            }
        }
    }

    async fn get(&self, chosen: &[usize]) -> Vec<Option<Item>> {
        match chosen {
            &[n] => vec![self.cache.get(&self.keys[n][..]).await.unwrap()],
            _ => {
                let items = self.cache.get_many(chosen.iter().map(|&n| &self.keys[n])).await;
                items.into_iter().map(|(_, item)| item.unwrap()).collect()
            }
        }
    }

    /// Checks that an item is the key's version `oldest` or a later one.
    fn check(&self, n: usize, oldest: u64, item: Option<&Item>) {
        let item = item.unwrap_or_else(|| panic!("{} is missing", self.keys[n]));
        let (key, version) = text(item).rsplit_once(' ').unwrap();
        let newest = self.histories[n].started.load(Ordering::SeqCst);
        assert_eq!(key, self.keys[n], "a value of another key");
        assert!(
            (oldest..=newest).contains(&version.parse().unwrap()),
            "{key}: version {version}, expected {oldest} to {newest}"
        );
    }

    /// Writes new versions. Each key has one writer, so that its versions are ordered.
    async fn write(self: Arc<Self>, writer: usize, mut rng: fastrand::Rng) {
        for _ in 0..1000 {
            let n = rng.usize(..Self::KEYS / Self::WRITERS) * Self::WRITERS + writer;
            let version = self.histories[n].started.fetch_add(1, Ordering::SeqCst) + 1;
            let value = format!("{} {version}", self.keys[n]);
            assert!(self.cache.set(&self.keys[n][..], value).await.unwrap().is_applied());
            self.histories[n].completed.store(version, Ordering::SeqCst);
        }
    }

    /// Increments each counter ten times.
    async fn increment(self: Arc<Self>) {
        for round in 0..10 * Self::COUNTERS {
            let key = &self.counters[round % Self::COUNTERS][..];
            let counter = self.cache.increment(key, 1).initial(0).await.unwrap();
            assert!(counter.unwrap().value > 1000, "the counter continues from its old value");
        }
    }

    /// Checks that the new placement alone has the latest version of each key, and the counters.
    async fn check_migrated(&self, new: &Client) {
        let items = new.get_many(self.keys.iter()).await;
        assert_eq!(items.found().count(), Self::KEYS);
        for ((key, item), history) in items.found().zip(&self.histories) {
            assert_eq!(text(item), format!("{key} {}", history.completed.load(Ordering::SeqCst)));
        }
        for counter in &self.counters {
            assert_eq!(value(new, counter).await.as_deref(), Some("1040"), "{counter}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cache_stays_warm_and_consistent_during_a_migration_under_load() {
    let seed = seed();
    let fixture = Fixture::start();
    let load = Load::start(&fixture).await;
    let rng = |number: u64| fastrand::Rng::with_seed(seed.value() ^ number);
    let mut tasks = Vec::new();
    for reader in 0..Load::READERS {
        tasks.push(tokio::spawn(Arc::clone(&load).read(rng(reader as u64))));
    }
    for writer in 0..Load::WRITERS {
        tasks.push(tokio::spawn(Arc::clone(&load).write(writer, rng(0xffff ^ writer as u64))));
        tasks.push(tokio::spawn(Arc::clone(&load).increment()));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let report = fixture.cache.report();
    assert!(report.from_old > 0 && report.backfilled > 0 && report.misses == 0, "{report:?}");

    let all = fixture.cache.get_many(load.keys.iter()).await;
    assert_eq!(all.found().count(), Load::KEYS);
    let before = fixture.cache.report();
    let _ = fixture.cache.get_many(load.keys.iter()).await;
    assert_eq!(fixture.cache.report().since(&before).old_hit_ratio(), 0.0);
    load.check_migrated(&fixture.new).await;
}
