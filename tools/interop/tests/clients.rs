//! The clients that Debian has, on real servers: each finds what the other has stored, in short.
//!
//! `cargo xtask interop` compares more of everything, and more clients.
//! Only Linux routes all of 127.0.0.0/8 to itself, where the servers listen.

#![cfg(target_os = "linux")]

use remcache_interop::{Extent, Keys, Outcome, Peer, Run, Setup, Source, compare_values, find, install};
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

/// The program is told of a hash, and remcache is not.
#[test]
fn a_difference_is_counted_and_told() {
    const SETUPS: &[Setup] = &[Setup {
        profile: "libmemcached",
        options: "hash=md5",
        weights: false,
        hashes: false,
        names: true,
        keys: Keys::Ascii,
    }];
    let peer = Peer {
        name: "libmemcached-otherwise",
        source: Source::C("libmemcached/client.c", "-lmemcached"),
        packages: &["libmemcached-dev"],
        setups: SETUPS,
        values: &[],
    };
    let seed = seed();
    let outcome = Run::new(Extent::QUICK, seed.rng()).unwrap().meet(&peer).remove(0);
    assert_eq!(outcome.failure, None);
    for (part, misses) in outcome.parts() {
        assert!(misses.misses > misses.keys / 4, "{part}: {misses:?}");
        assert!(misses.first[0].contains("remcache places it on "), "{part}: {misses:?}");
    }
}

/// A client that is not installed is told with the line that installs it.
#[test]
fn what_is_missing_is_told_with_the_line_that_installs_it() {
    let peer = Peer {
        name: "missing",
        source: Source::Script("no-such-interpreter", "pylibmc/client.py"),
        packages: &["no-such-package"],
        setups: &[],
        values: &[],
    };
    let failure = install(&peer).unwrap_err();
    assert_eq!(failure.to_string(), "missing is not installed: apt-get install -y no-such-package");
}

fn compare(client: &str) {
    let seed = seed();
    let peer = find(client).expect("the table has the client");
    let mut run = Run::new(Extent::QUICK, seed.rng()).expect("the runtime starts");
    for outcome in run.meet(peer) {
        assert_eq!(outcome.failure, None, "{}", outcome.setup);
        assert_eq!(outcome.misses(), 0, "{outcome:#?}");
        let compared: Vec<usize> = outcome.parts().iter().map(|(_, part)| part.keys).collect();
        assert_eq!(compared, expected(&outcome), "{}", outcome.setup);
    }
    for outcome in compare_values(peer).expect("the client runs") {
        assert_eq!(outcome.misses(), 0, "{outcome:#?}");
        assert!(outcome.misread.keys > 30 && outcome.written.keys > 15, "{outcome:#?}");
    }
}

/// How many keys each part compares: a client that answers nothing does not pass.
fn expected(outcome: &Outcome) -> [usize; 3] {
    let Extent { lists, keys, route_lists, route_keys } = Extent::QUICK;
    assert_eq!(outcome.lists, lists.len() + route_lists);
    [lists.len() * keys, lists.len() * keys, route_lists * route_keys]
}
