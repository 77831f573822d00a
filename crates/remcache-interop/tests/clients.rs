//! The clients that Debian has, on real servers: each finds what the other has stored, in short.
//!
//! `cargo xtask interop` compares more of everything, and more clients.
//! Only Linux routes all of 127.0.0.0/8 to itself, where the servers listen.

#![cfg(target_os = "linux")]

use remcache_interop::{Extent, Outcome, Run, compare_values, find};
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

fn compare(client: &str) {
    let seed = seed();
    let peer = find(client).unwrap();
    let mut run = Run::new(Extent::QUICK, seed.rng()).unwrap();
    for outcome in run.meet(peer) {
        assert_eq!(outcome.failure, None, "{}", outcome.setup);
        assert_eq!(outcome.misses(), 0, "{outcome:#?}");
        let compared: Vec<usize> = outcome.parts().iter().map(|(_, part)| part.keys).collect();
        assert_eq!(compared, expected(&outcome), "{}", outcome.setup);
    }
    for outcome in compare_values(peer).unwrap() {
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
