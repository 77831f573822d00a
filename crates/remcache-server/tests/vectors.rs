//! All vectors, replayed against the embedded server as 1.6.18 and as 1.6.45: byte for byte what
//! memcached answered, but for the differences in the tables.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use remcache_server::{BindingProtocol, Builder, ManualClock, Server};
use remcache_testkit::vectors::{
    After, Preparation, Replayed, Vector, fill_memory, replay, take_all_connections, vectors,
};
use tokio::runtime::{Handle, Runtime};

/// Where the server differs on purpose, and why.
const DIFFERENCES: &[(&str, &str)] = &[
    ("bin/stat_items_one_item", "tells only what means something without LRU segments"),
    ("bin/sasl_list", "offers PLAIN only"),
    ("bin/sasl_list_after_auth_deauthenticates", "offers PLAIN only"),
    ("bin/sasl_auth_cram_md5", "offers PLAIN only"),
];

/// Vectors on which 1.6.18 and 1.6.45 differ, and the server does as the newer one.
const AS_NEWER: &[(&str, &str)] = &[
    ("bin/stat_sizes_enable", "the older answers without an end, and clients hang"),
    ("text/stats_sizes_enable", "the older answers without an end, and clients hang"),
    ("bin/body_len_ffffffff_set", "bodies above 1 GiB are refused at once"),
    ("bin/body_len_80000000_set", "bodies above 1 GiB are refused at once"),
    ("bin/body_len_7fffffff_set", "bodies above 1 GiB are refused at once"),
    ("bin/body_len_40000001_set", "bodies above 1 GiB are refused at once"),
    ("bin/body_len_ffffffff_unknown", "bodies above 1 GiB are refused at once"),
    ("bin/body_len_80000000_unknown", "bodies above 1 GiB are refused at once"),
];

#[test]
fn vectors_hold_but_for_the_differences() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let runtime = Runtime::new().expect("a runtime");
    let all: Vec<&Vector> = vectors().iter().collect();
    let failures = in_parallel(&all, |vector| compare(vector, &replayed(vector, runtime.handle())).err());
    let differing: BTreeSet<&str> = failures.iter().map(|(name, _)| *name).collect();
    let expected: BTreeSet<&str> = DIFFERENCES.iter().map(|(name, _)| *name).collect();
    let unexpected: Vec<&String> =
        failures.iter().filter(|(name, _)| !expected.contains(name)).map(|(_, failure)| failure).collect();
    assert!(unexpected.is_empty(), "{} vectors differ:\n{unexpected:#?}", unexpected.len());
    let agreeing: Vec<&&str> = expected.difference(&differing).collect();
    assert!(agreeing.is_empty(), "these differ no longer, strike them from the table: {agreeing:?}");
    assert!(expected.len() * 50 <= all.len(), "at least 98 of 100 vectors must hold");
}

/// Where the server does not do as 1.6.45 although it says that it is that version.
const NOT_AS_NEWER: &[(&str, &str)] = &[
    ("meta/mn_bare_lf", "a bare line feed ends a line here whatever the version"),
    ("text/stats_prefix_r", "words of statistics are not taken by their beginnings"),
    ("text/stats_prefix_s", "words of statistics are not taken by their beginnings"),
];

#[test]
fn vectors_of_the_newer_version_hold_for_a_server_of_that_version() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let runtime = Runtime::new().expect("a runtime");
    let all: Vec<&Vector> = vectors().iter().collect();
    let newest = |vector: &Vector| order(vector).version("1.6.45");
    let differing = in_parallel(&all, |vector| {
        let replayed = replayed_by(newest(vector), vector, runtime.handle());
        as_newer(vector, &replayed).err()
    });
    let expected = || DIFFERENCES.iter().chain(NOT_AS_NEWER).map(|(name, _)| *name);
    let unexpected: Vec<_> = differing.iter().filter(|(name, _)| !expected().any(|known| known == *name)).collect();
    assert!(unexpected.is_empty(), "{} vectors differ:\n{unexpected:#?}", unexpected.len());
    let agreeing: Vec<_> = expected().filter(|known| !differing.iter().any(|(name, _)| name == known)).collect();
    assert!(agreeing.is_empty(), "these differ no longer, strike them from the table: {agreeing:?}");
}

/// The very bytes of 1.6.45, and the connection's state after them.
fn as_newer(vector: &Vector, replayed: &Replayed) -> Result<(), String> {
    let Some(newer) = &vector.newer else {
        vector.check(replayed)?;
        // What tells the version is told apart by nothing else.
        let tells_version = vector.reply.windows(6).any(|bytes| bytes == b"1.6.18");
        return if tells_version || vector.variable.is_some() { Ok(()) } else { compare(vector, replayed) };
    };
    // Where the older version may answer nothing at all, the replay looks no further.
    let state_fits = [newer.after, After::OutOfStep].contains(&replayed.after);
    if state_fits && (vector.variable.is_some() && vector.check(replayed).is_ok() || newer.reply == replayed.reply) {
        return Ok(());
    }
    Err(format!("wanted exactly {}, got {}", newer.reply.escape_ascii(), replayed.reply.escape_ascii()))
}

#[test]
fn where_the_newer_version_is_followed_it_does_something_else() {
    for (name, reason) in AS_NEWER {
        let vector = vectors().iter().find(|vector| vector.name == *name).expect(name);
        let newer = vector.newer.as_ref().expect("the newer version does something else");
        assert_ne!(newer.reply, vector.reply, "{name}: {reason}");
    }
}

/// Stricter than [`Vector::check`] where nothing varies: the very bytes, CAS numbers included, of
/// 1.6.18, or of the newer version where the table says so.
fn compare(vector: &Vector, replayed: &Replayed) -> Result<(), String> {
    vector.check(replayed)?;
    let newer = AS_NEWER.iter().any(|(name, _)| *name == vector.name).then_some(vector.newer.as_ref()).flatten();
    let expected = newer.map_or(&vector.reply, |outcome| &outcome.reply);
    if vector.variable.is_some() || replayed.reply == *expected {
        return Ok(());
    }
    let (wanted, got) = (expected.escape_ascii(), replayed.reply.escape_ascii());
    Err(format!("{}: wanted exactly {wanted}, got {got}", vector.name))
}

fn replayed(vector: &Vector, runtime: &Handle) -> Replayed {
    replayed_by(order(vector), vector, runtime)
}

fn replayed_by(order: Builder, vector: &Vector, runtime: &Handle) -> Replayed {
    // Where nothing waits for time it stands still: no second ends between two commands.
    let order = if vector.delay.is_zero() { order.clock(&ManualClock::new()) } else { order };
    let server = runtime.block_on(order.start()).expect("a loopback port");
    let _held = match vector.preparation() {
        Preparation::FullMemory => {
            fill_memory(server.address());
            Vec::new()
        }
        Preparation::NoConnectionLeft => take_all_connections(server.address()),
        _ => Vec::new(),
    };
    replay(vector, server.address())
}

/// The order that means what the vector's arguments mean to memcached.
fn order(vector: &Vector) -> Builder {
    let args: Vec<&str> = vector.server_args.iter().map(String::as_str).collect();
    let order = Server::builder();
    match args[..] {
        [] => order,
        ["-B", "binary"] => order.binding_protocol(BindingProtocol::Binary),
        ["-B", "ascii"] => order.binding_protocol(BindingProtocol::Text),
        ["-A"] => order.allow_shutdown(true),
        ["-W"] => order.allow_watch(false),
        ["-X"] => order.allow_dumps(false),
        ["-o", "track_sizes"] => order.track_sizes(true),
        ["-Y", _] => order.text_user("foo", "bar").text_user("user2", "p:w2").text_user("empty", ""),
        ["-S"] => order.sasl_user("testuser@memcached.realm", "testpass").sasl_user("bob", "secret"),
        ["-I", size, "-o", "slab_chunk_max=1024"] => order.item_size_max(size.parse().expect("a number")),
        ["-C"] => order.cas(false),
        ["-F"] => order.allow_flush(false),
        ["-M", "-m", "8"] => order.evictions(false).memory(8 << 20),
        // So many are left of 30 files with one thread.
        ["-c", "30"] => order.max_connections(18),
        _ => panic!("{}: unknown arguments {args:?}", vector.name),
    }
}

fn in_parallel<'v>(
    vectors: &[&'v Vector],
    work: impl Fn(&'v Vector) -> Option<String> + Sync,
) -> Vec<(&'v str, String)> {
    let next = AtomicUsize::new(0);
    let worker = || {
        let turns = std::iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed));
        let mine = turns.map_while(|turn| vectors.get(turn));
        mine.filter_map(|vector| Some((vector.name.as_str(), work(vector)?))).collect::<Vec<_>>()
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("its message is above")).collect()
    })
}

// Most of them wait for a silence.
const WORKERS: usize = 16;

/// Replays wait for silences, which a busy machine stretches: the tests take turns.
static TURN: Mutex<()> = Mutex::new(());
