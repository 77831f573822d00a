//! Replays all vectors against the installed memcached.

use remcache_testkit::vectors::{Protocol, Vector, replay_on_memcached, vectors};
use std::cmp::Reverse;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

#[test]
fn binary_vectors_hold_on_memcached() {
    check(&[Protocol::Binary]);
}

#[test]
fn text_vectors_hold_on_memcached() {
    check(&[Protocol::Meta, Protocol::Text, Protocol::TextAuth]);
}

fn check(protocols: &[Protocol]) {
    let mut selected: Vec<&Vector> = vectors().iter().filter(|vector| protocols.contains(&vector.protocol)).collect();
    // The ones with a delay go first, so that the others run in the meantime.
    selected.sort_by_key(|vector| Reverse(vector.delay));
    let failures = in_parallel(&selected, |vector| {
        let attempts = if is_racy(vector) { 5 } else { 1 };
        let results = (0..attempts).map(|_| vector.check(&replay_on_memcached(vector)));
        results.reduce(Result::or)?.err()
    });
    assert!(failures.is_empty(), "{} of {} vectors differ:\n{}", failures.len(), selected.len(), failures.join("\n"));
}

/// Returns whether the reply depends on when a background thread of the server visits the items.
fn is_racy(vector: &Vector) -> bool {
    ["text/lru_crawler_", "text/stats_cachedump"].iter().any(|name| vector.name.starts_with(name))
}

fn in_parallel(vectors: &[&Vector], work: impl Fn(&Vector) -> Option<String> + Sync) -> Vec<String> {
    let next = AtomicUsize::new(0);
    let worker = || {
        let turns = std::iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed));
        let mine = turns.map_while(|turn| vectors.get(turn));
        mine.filter_map(|vector| work(vector)).collect::<Vec<_>>()
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(worker)).collect();
        let finished = workers.into_iter().map(|worker| worker.join());
        finished.flat_map(|failures| failures.expect("the panic message is above")).collect()
    })
}

// More than processors, because most workers wait for a server to start or for a delay.
const WORKERS: usize = 8;
