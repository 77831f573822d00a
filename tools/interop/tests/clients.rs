//! A short comparison with clients that are in Debian, on real servers.
//!
//! `cargo xtask interop` compares more keys and more clients.
//! The servers listen on addresses of 127.0.0.0/8, which only Linux routes to itself.

#![cfg(target_os = "linux")]

use remcache_interop::{
    KeyBytes, Peer, Placement, PlacementResult, Runner, Scale, Source, compare_values, find, install,
};
use remcache_testkit::seed;

#[test]
fn libmemcached() {
    compare("libmemcached");
}

#[test]
fn pylibmc() {
    compare("pylibmc");
}

#[test]
fn dalli() {
    compare("dalli");
}

#[test]
fn nutcracker() {
    compare("nutcracker");
}

/// The client uses another hash function than remcache.
#[test]
fn a_difference_is_counted_and_described() {
    const PLACEMENTS: &[Placement] = &[Placement {
        distribution: "libmemcached",
        options: "hash=md5",
        random_weights: false,
        every_hash: false,
        host_names: true,
        keys: KeyBytes::Ascii,
    }];
    let peer = Peer {
        name: "libmemcached-otherwise",
        source: Source::C("libmemcached/client.c", "-lmemcached"),
        packages: &["libmemcached-dev"],
        placements: PLACEMENTS,
        encodings: &[],
    };
    let seed = seed();
    let result = Runner::new(Scale::QUICK, seed.rng()).unwrap().compare(&peer).remove(0);
    assert_eq!(result.failure, None);
    for (part, misses) in result.parts() {
        assert!(misses.misses > misses.keys / 4, "{part}: {misses:?}");
        assert!(misses.descriptions[0].contains("remcache places it on "), "{part}: {misses:?}");
    }
}

#[test]
fn a_missing_client_is_reported_with_the_command_that_installs_it() {
    let peer = Peer {
        name: "missing",
        source: Source::Script("no-such-interpreter", "pylibmc/client.py"),
        packages: &["no-such-package"],
        placements: &[],
        encodings: &[],
    };
    let failure = install(&peer).unwrap_err();
    assert_eq!(failure.to_string(), "missing is not installed: apt-get install -y no-such-package");
}

fn compare(client: &str) {
    let seed = seed();
    let peer = find(client).expect("the client is in the table");
    let mut runner = Runner::new(Scale::QUICK, seed.rng()).expect("the runtime starts");
    for result in runner.compare(peer) {
        assert_eq!(result.failure, None, "{}", result.placement);
        assert_eq!(result.misses(), 0, "{result:#?}");
        let compared: Vec<usize> = result.parts().iter().map(|(_, part)| part.keys).collect();
        assert_eq!(compared, expected(&result), "{}", result.placement);
    }
    for result in compare_values(peer).expect("the client runs") {
        assert_eq!(result.misses(), 0, "{result:#?}");
        assert!(result.misread.keys > 30 && result.written.keys > 15, "{result:#?}");
    }
}

/// Returns the number of keys that each part must compare, so that a client without replies fails the test.
fn expected(result: &PlacementResult) -> [usize; 3] {
    let Scale { lists, keys, route_lists, route_keys } = Scale::QUICK;
    assert_eq!(result.lists, lists.len() + route_lists);
    [lists.len() * keys, lists.len() * keys, route_lists * route_keys]
}
