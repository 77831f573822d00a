//! Every vector, replayed against the real memcached of this machine.

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
    let mut wanted: Vec<&Vector> = vectors().iter().filter(|vector| protocols.contains(&vector.protocol)).collect();
    // Those that wait go first, so that the others run meanwhile.
    wanted.sort_by_key(|vector| Reverse(vector.delay));
    let failures = in_parallel(&wanted, |vector| {
        let attempts = if races(vector) { 5 } else { 1 };
        let outcomes = (0..attempts).map(|_| vector.check(&replay_on_memcached(vector)));
        outcomes.reduce(Result::or)?.err()
    });
    assert!(failures.is_empty(), "{} of {} vectors differ:\n{}", failures.len(), wanted.len(), failures.join("\n"));
}

/// Whether a background thread of the server, which looks at the items when it likes, has a say in
/// the reply.
fn races(vector: &Vector) -> bool {
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
        finished.flat_map(|failures| failures.expect("a worker panicked; its message is above")).collect()
    })
}

// More than there are processors: most of them wait for a server to start, or for a pause.
const WORKERS: usize = 8;
