//! Replays all vectors against the embedded server as 1.6.18 and as 1.6.45. It must answer byte for byte like
//! memcached, except for the differences in the tables.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use remcache_server::{BindingProtocol, Builder, ManualClock, Server};
use remcache_testkit::vectors::{
    After, Preparation, Replayed, Vector, fill_memory, replay, take_all_connections, vectors,
};
use tokio::runtime::{Handle, Runtime};

/// Vectors on which the server differs on purpose, with the reason.
const DIFFERENCES: &[(&str, &str)] = &[
    ("bin/stat_items_one_item", "reports only what exists without LRU segments"),
    ("bin/sasl_list", "offers PLAIN only"),
    ("bin/sasl_list_after_auth_deauthenticates", "offers PLAIN only"),
    ("bin/sasl_auth_cram_md5", "offers PLAIN only"),
];

/// Vectors on which 1.6.18 and 1.6.45 differ and the server always behaves like the newer one.
const AS_NEWER: &[(&str, &str)] = &[
    ("bin/stat_sizes_enable", "the older version sends no end, so clients hang"),
    ("text/stats_sizes_enable", "the older version sends no end, so clients hang"),
    ("bin/body_len_ffffffff_set", "bodies above 1 GiB are refused before they are read"),
    ("bin/body_len_80000000_set", "bodies above 1 GiB are refused before they are read"),
    ("bin/body_len_7fffffff_set", "bodies above 1 GiB are refused before they are read"),
    ("bin/body_len_40000001_set", "bodies above 1 GiB are refused before they are read"),
    ("bin/body_len_ffffffff_unknown", "bodies above 1 GiB are refused before they are read"),
    ("bin/body_len_80000000_unknown", "bodies above 1 GiB are refused before they are read"),
];

#[test]
fn vectors_hold_except_for_the_differences() {
    let _guard = REPLAY_LOCK.lock().unwrap_or_else(PoisonError::into_inner);
    let runtime = Runtime::new().expect("a runtime");
    let all: Vec<&Vector> = vectors().iter().collect();
    let failures = in_parallel(&all, |vector| compare(vector, &replay_default(vector, runtime.handle())).err());
    let differing: BTreeSet<&str> = failures.iter().map(|(name, _)| *name).collect();
    let expected: BTreeSet<&str> = DIFFERENCES.iter().map(|(name, _)| *name).collect();
    let unexpected: Vec<&String> =
        failures.iter().filter(|(name, _)| !expected.contains(name)).map(|(_, failure)| failure).collect();
    assert!(unexpected.is_empty(), "{} vectors differ:\n{unexpected:#?}", unexpected.len());
    let agreeing: Vec<&&str> = expected.difference(&differing).collect();
    assert!(agreeing.is_empty(), "these no longer differ, remove them from the table: {agreeing:?}");
    assert!(expected.len() * 50 <= all.len(), "at least 98 % of the vectors must hold");
}

/// Vectors on which the server differs from 1.6.45 when it emulates that version.
const NOT_AS_NEWER: &[(&str, &str)] = &[
    ("meta/mn_bare_lf", "a bare line feed ends a line in every version here"),
    ("text/stats_prefix_r", "statistics groups are not matched by prefix here"),
    ("text/stats_prefix_s", "statistics groups are not matched by prefix here"),
];

#[test]
fn vectors_of_the_newer_version_hold_for_a_server_of_that_version() {
    let _guard = REPLAY_LOCK.lock().unwrap_or_else(PoisonError::into_inner);
    let runtime = Runtime::new().expect("a runtime");
    let all: Vec<&Vector> = vectors().iter().collect();
    let newest = |vector: &Vector| builder(vector).version("1.6.45");
    let differing = in_parallel(&all, |vector| {
        let replayed = replay_on(newest(vector), vector, runtime.handle());
        as_newer(vector, &replayed).err()
    });
    let expected = || DIFFERENCES.iter().chain(NOT_AS_NEWER).map(|(name, _)| *name);
    let unexpected: Vec<_> = differing.iter().filter(|(name, _)| !expected().any(|known| known == *name)).collect();
    assert!(unexpected.is_empty(), "{} vectors differ:\n{unexpected:#?}", unexpected.len());
    let agreeing: Vec<_> = expected().filter(|known| !differing.iter().any(|(name, _)| name == known)).collect();
    assert!(agreeing.is_empty(), "these no longer differ, remove them from the table: {agreeing:?}");
}

/// Compares with the exact bytes of 1.6.45 and the state of the connection after them.
fn as_newer(vector: &Vector, replayed: &Replayed) -> Result<(), String> {
    let Some(newer) = &vector.newer else {
        vector.check(replayed)?;
        // Replies that contain the version differ in nothing else.
        let has_version = vector.reply.windows(6).any(|bytes| bytes == b"1.6.18");
        return if has_version || vector.variable.is_some() { Ok(()) } else { compare(vector, replayed) };
    };
    // If the older version may send nothing, the replay does not check the connection afterwards.
    let state_fits = [newer.after, After::OutOfSync].contains(&replayed.after);
    if state_fits && (vector.variable.is_some() && vector.check(replayed).is_ok() || newer.reply == replayed.reply) {
        return Ok(());
    }
    Err(format!("expected exactly {}, got {}", newer.reply.escape_ascii(), replayed.reply.escape_ascii()))
}

#[test]
fn the_newer_version_answers_differently_where_it_is_followed() {
    for (name, reason) in AS_NEWER {
        let vector = vectors().iter().find(|vector| vector.name == *name).expect(name);
        let newer = vector.newer.as_ref().expect("the newer version answers differently");
        assert_ne!(newer.reply, vector.reply, "{name}: {reason}");
    }
}

/// Compares more strictly than [`Vector::check`]: if nothing in the reply varies, it must have the exact bytes,
/// including CAS values, of 1.6.18, or of the newer version where the table says so.
fn compare(vector: &Vector, replayed: &Replayed) -> Result<(), String> {
    vector.check(replayed)?;
    let newer = AS_NEWER.iter().any(|(name, _)| *name == vector.name).then_some(vector.newer.as_ref()).flatten();
    let expected = newer.map_or(&vector.reply, |outcome| &outcome.reply);
    if vector.variable.is_some() || replayed.reply == *expected {
        return Ok(());
    }
    let (expected, actual) = (expected.escape_ascii(), replayed.reply.escape_ascii());
    Err(format!("{}: expected exactly {expected}, got {actual}", vector.name))
}

fn replay_default(vector: &Vector, runtime: &Handle) -> Replayed {
    replay_on(builder(vector), vector, runtime)
}

fn replay_on(builder: Builder, vector: &Vector, runtime: &Handle) -> Replayed {
    // Unless the vector waits, stop the clock, so that no second ends between two commands.
    let builder = if vector.delay.is_zero() { builder.clock(&ManualClock::new()) } else { builder };
    let server = runtime.block_on(builder.start()).expect("a loopback port");
    let _held = match vector.preparation() {
        Preparation::FullMemory => {
            fill_memory(server.address());
            Vec::new()
        }
        Preparation::ConnectionsExhausted => take_all_connections(server.address()),
        _ => Vec::new(),
    };
    replay(vector, server.address())
}

/// Returns the builder that corresponds to the vector's memcached arguments.
fn builder(vector: &Vector) -> Builder {
    let args: Vec<&str> = vector.server_args.iter().map(String::as_str).collect();
    let builder = Server::builder();
    match args[..] {
        [] => builder,
        ["-B", "binary"] => builder.binding_protocol(BindingProtocol::Binary),
        ["-B", "ascii"] => builder.binding_protocol(BindingProtocol::Text),
        ["-A"] => builder.allow_shutdown(true),
        ["-W"] => builder.allow_watch(false),
        ["-X"] => builder.allow_dumps(false),
        ["-o", "track_sizes"] => builder.track_sizes(true),
        ["-Y", _] => builder.text_user("foo", "bar").text_user("user2", "p:w2").text_user("empty", ""),
        ["-S"] => builder.sasl_user("testuser@memcached.realm", "testpass").sasl_user("bob", "secret"),
        ["-I", size, "-o", "slab_chunk_max=1024"] => builder.item_size_max(size.parse().expect("a number")),
        ["-C"] => builder.cas(false),
        ["-F"] => builder.allow_flush(false),
        ["-M", "-m", "8"] => builder.evictions(false).memory(8 << 20),
        // memcached with one thread needs 12 of 30 file descriptors itself.
        ["-c", "30"] => builder.max_connections(18),
        _ => panic!("{}: unknown arguments {args:?}", vector.name),
    }
}

fn in_parallel<'v>(
    vectors: &[&'v Vector],
    work: impl Fn(&'v Vector) -> Option<String> + Sync,
) -> Vec<(&'v str, String)> {
    let next = AtomicUsize::new(0);
    let worker = || {
        let indices = std::iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed));
        let mine = indices.map_while(|index| vectors.get(index));
        mine.filter_map(|vector| Some((vector.name.as_str(), work(vector)?))).collect::<Vec<_>>()
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("the panic message is above")).collect()
    })
}

// More than processors, because most replays wait until the server is quiet.
const WORKERS: usize = 16;

/// Held while replaying: replays check that nothing more arrives, and running them all at once would slow them down.
static REPLAY_LOCK: Mutex<()> = Mutex::new(());
