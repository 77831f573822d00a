//! Shares of the servers: keys are spread by weight, and few move when the list changes.

use super::*;

#[test]
fn every_distribution_spreads_keys() {
    for distribution in Distribution::all() {
        let ring = distribution.ring(&numbered(7)).unwrap();
        let mut held = [0; 7];
        for key in keys(7000) {
            held[owner(&ring, key.as_bytes())] += 1;
        }
        // A CRC of 15 bits leaves most of a ring empty; no client uses it there by default.
        assert!(held.iter().all(|&held| (500..1700).contains(&held)), "{distribution}: {held:?}");
    }
}

#[test]
fn distributions_that_hash_servers_ignore_the_order_of_the_list() {
    for name in
        ["ketama", "rendezvous", "dalli", "twemproxy", "pymemcache", "meta-memcache", "folsom", "spymemcached-ketama"]
    {
        let forward: Vec<Node> =
            numbered(30).into_iter().zip(1..).map(|(node, weight)| node.with_weight(weight)).collect();
        let backward: Vec<Node> = forward.iter().rev().cloned().collect();
        let (one, other) = (named(name).ring(&forward).unwrap(), named(name).ring(&backward).unwrap());
        for key in keys(5000) {
            let (home, mirrored) = (owner(&one, key.as_bytes()), owner(&other, key.as_bytes()));
            assert_eq!(forward[home], backward[mirrored], "{key} with {name}");
        }
    }
}

#[test]
fn an_added_server_moves_no_key_between_the_others() {
    // From 10 to 11 servers, each server keeps its points.
    for name in
        ["ketama", "rendezvous", "jump", "mcrouter", "dalli", "folsom", "pymemcache", "libmemcached-ketama", "evcache"]
    {
        let ring = |servers| named(name).ring(&numbered(servers)).unwrap();
        let (ten, eleven) = (ring(10), ring(11));
        let mut taken = 0;
        for key in keys(20_000) {
            let (before, after) = (owner(&ten, key.as_bytes()), owner(&eleven, key.as_bytes()));
            assert!(after == before || after == 10, "{key} with {name}");
            taken += usize::from(after == 10);
        }
        assert!((1000..3000).contains(&taken), "{taken} of 20000 moved with {name}");
    }
}

#[test]
fn shares_of_keys_follow_the_weights() {
    let heeded = [
        "ketama",
        "rendezvous",
        "libmemcached-ketama",
        "twemproxy",
        "twemproxy-modula",
        "dalli",
        "meta-memcache",
        "libketama",
        "spymemcached-ketama",
        "elasticache-ketama",
        "xmemcached-ketama",
        "python-memcached",
    ];
    let nodes = [tcp("10.0.0.1:11211"), tcp("10.0.0.2:11211").with_weight(3), tcp("10.0.0.3:11211").with_weight(6)];
    for name in heeded {
        // FNV-1a distributes keys that differ only in their last digits badly, so twemproxy is tested with another
        // hash.
        let distribution = if name == "twemproxy" { Distribution::TWEMPROXY.hash(Hash::Md5) } else { named(name) };
        let held = shares(&distribution.ring(&nodes).unwrap());
        for (held, tenths) in held.into_iter().zip([1, 3, 6]) {
            let share = 2000 * tenths;
            assert!((share * 7 / 10..share * 13 / 10).contains(&held), "{held} for {tenths}/10 with {name}");
        }
    }
    for name in [
        "libmemcached",
        "gomemcache",
        "mcrouter",
        "pymemcache",
        "folsom",
        "enyim",
        "evcache",
        "remcached",
        "spymemcached",
    ] {
        let unweighted: Vec<Node> = nodes.iter().map(|node| node.clone().with_weight(1)).collect();
        let [with, without] = [&nodes[..], &unweighted].map(|nodes| shares(&named(name).ring(nodes).unwrap()));
        assert_eq!(with, without, "{name} has no weights");
    }
}

#[test]
fn rendezvous_shares_match_the_weights_and_a_lower_weight_only_removes_keys() {
    let with = |weight: u32| {
        let nodes: Vec<Node> =
            numbered(5).into_iter().zip([weight, 2, 3, 4, 5]).map(|(node, weight)| node.with_weight(weight)).collect();
        Distribution::RENDEZVOUS.ring(&nodes).unwrap()
    };
    let (light, heavy) = (with(1), with(6));
    let mut held = [0; 5];
    for key in keys(60_000) {
        let (before, after) = (owner(&light, key.as_bytes()), owner(&heavy, key.as_bytes()));
        assert!(after == before || after == 0, "{key} moved from {before} to {after}");
        held[before] += 1;
    }
    for (held, fifteenths) in held.into_iter().zip(1..) {
        let share = 4000 * fifteenths;
        assert!((share * 9 / 10..share * 11 / 10).contains(&held), "{held} for {fifteenths}/15");
    }
}
