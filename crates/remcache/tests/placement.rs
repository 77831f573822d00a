//! Placement through the public interface: golden routes, liveness, stability, names, errors.

#![cfg(feature = "client")]

use remcache::distribution::{Distribution, Node, Ring, RingError};
use serde_json::Value;

#[test]
fn ketama_routes_the_golden_keys() {
    let vectors = vectors();
    for name in [
        "libmemcached_ketama_weighted_equal",
        "libmemcached_ketama_weighted",
        "libmemcached_ketama_weighted_25_equal_156pts",
    ] {
        let golden = &vectors["rings"][name];
        let ring = ketama(&nodes(&golden["servers"]));
        let route: Vec<usize> =
            list(&vectors["keys"]).iter().map(|key| everyone_alive(&ring, text(key).as_bytes()).unwrap()).collect();
        assert_eq!(route.len(), 40);
        assert_eq!(serde_json::json!(route), golden["route"], "{name}");
    }
}

#[test]
fn remcached_places_the_golden_keys() {
    let vectors = vectors();
    let golden = vectors["remcached_hash"].as_object().unwrap();
    assert_eq!(golden.len(), 7);
    for (key, expected) in golden {
        for servers in [2, 3, 5] {
            let found = everyone_alive(&remcached(servers), key.as_bytes()).unwrap();
            assert_eq!(expected[format!("mod{servers}")], found, "{key} of {servers}");
        }
    }
}

#[test]
fn remcached_takes_the_whole_key_of_any_length() {
    // 256 is 1 modulo 3 and 5, so the number is congruent to the sum of its bytes.
    for len in 0..=250 {
        let key: Vec<u8> = (0..len).map(|i| (i * 37 + 200) as u8).collect();
        let sum: usize = key.iter().map(|&byte| usize::from(byte)).sum();
        for servers in [3, 5] {
            let found = everyone_alive(&remcached(servers), &key);
            assert_eq!(found, Some(sum % servers), "{len} bytes of {servers}");
        }
    }
}

#[test]
fn remcached_counts_only_the_living_in_their_order() {
    let ring = remcached(6);
    for living in 0..1_u32 << 6 {
        let alive = |server: usize| living >> server & 1 == 1;
        let order: Vec<usize> = (0..6).filter(|&server| alive(server)).collect();
        for key in [&b"a"[..], b"ab", b"Hello", b"key-0", b"\xff\x00\xfe"] {
            let expected = everyone_alive(&remcached(order.len()), key).map(|position| order[position]);
            assert_eq!(ring.locate(key, alive), expected, "{key:?} among {order:?}");
        }
    }
}

#[test]
fn ketama_never_asks_who_is_alive() {
    for servers in [1, 2, 25, 100] {
        let ring = ketama(&numbered(servers));
        assert!(!ring.needs_liveness());
        for key in keys(1000) {
            let asked = |_: usize| -> bool { panic!("a ketama ring asked for liveness") };
            assert!(ring.locate(key.as_bytes(), asked).unwrap() < servers);
        }
    }
}

#[test]
fn the_order_of_the_list_decides_no_ketama_home() {
    let forward: Vec<Node> = numbered(30).into_iter().zip(1..).map(|(node, weight)| node.with_weight(weight)).collect();
    let backward: Vec<Node> = forward.iter().rev().cloned().collect();
    let (one, other) = (ketama(&forward), ketama(&backward));
    for key in keys(20_000) {
        let home = everyone_alive(&one, key.as_bytes()).unwrap();
        let mirrored = everyone_alive(&other, key.as_bytes()).unwrap();
        assert_eq!(forward[home], backward[mirrored], "{key}");
    }
}

#[test]
fn a_server_more_takes_keys_and_moves_none_between_the_others() {
    // From 10 to 11 servers each keeps its 160 points.
    let (ten, eleven) = (ketama(&numbered(10)), ketama(&numbered(11)));
    let mut taken = 0;
    for key in keys(20_000) {
        let before = everyone_alive(&ten, key.as_bytes());
        let after = everyone_alive(&eleven, key.as_bytes());
        if after == Some(10) {
            taken += 1;
        } else {
            assert_eq!(before, after, "{key}");
        }
    }
    assert!((1000..3000).contains(&taken), "{taken} of 20000 moved");
}

#[test]
fn weights_share_out_the_keys() {
    let nodes = [Node::tcp("a", 11211), Node::tcp("b", 11211).with_weight(3), Node::unix("/run/c.sock").with_weight(6)];
    let ring = ketama(&nodes);
    let mut held = [0; 3];
    for key in keys(50_000) {
        held[everyone_alive(&ring, key.as_bytes()).unwrap()] += 1;
    }
    for (held, tenths) in held.into_iter().zip([1, 3, 6]) {
        let share = 5000 * tenths;
        assert!((share * 7 / 10..share * 13 / 10).contains(&held), "{held} for {tenths}/10");
    }
}

#[test]
fn a_duplicate_server_is_accepted() {
    let nodes = [Node::tcp("a", 11211), Node::tcp("b", 11211), Node::tcp("a", 11211)];
    let ring = ketama(&nodes);
    let mut held = [0; 3];
    for key in keys(1000) {
        held[everyone_alive(&ring, key.as_bytes()).unwrap()] += 1;
    }
    assert!(held[0] > 0 && held[1] > 0);
    assert_eq!(held[2], 0, "equal points belong to the first of the list");

    let gem = Distribution::Remcached.ring(&nodes).unwrap();
    assert_eq!(everyone_alive(&gem, &[2]), Some(2));
}

#[test]
fn a_list_without_servers_has_no_place_for_a_key() {
    for &distribution in Distribution::ALL {
        let ring = distribution.ring(&[]).unwrap();
        assert_eq!(everyone_alive(&ring, b"Hello"), None);
        assert_eq!(ring.servers(), 0);
    }
}

#[test]
fn one_server_holds_everything() {
    for &distribution in Distribution::ALL {
        let ring = distribution.ring(&numbered(1)).unwrap();
        for key in [&b""[..], b"a", b"Hello", &[0xff; 250]] {
            assert_eq!(everyone_alive(&ring, key), Some(0));
        }
    }
    assert_eq!(remcached(1).locate(b"Hello", |_| false), None);
}

#[test]
fn the_weight_0_is_refused_by_name() {
    let nodes = [Node::tcp("a", 11211), Node::tcp("cache2", 11211).with_weight(0)];
    for &distribution in Distribution::ALL {
        let refused = distribution.ring(&nodes).unwrap_err();
        assert!(matches!(&refused, RingError::ZeroWeight { index: 1, name, .. } if name == "cache2"), "{refused:?}");
        assert!(refused.to_string().contains("\"cache2\""), "{refused}");
    }
}

#[test]
fn the_greatest_weights_are_no_overflow() {
    let nodes = [
        Node::tcp("a", 11211).with_weight(u32::MAX),
        Node::tcp("b", 11211).with_weight(u32::MAX),
        Node::tcp("c", 11211),
    ];
    let ring = ketama(&nodes);
    for key in keys(1000) {
        let server = everyone_alive(&ring, key.as_bytes()).unwrap();
        assert_ne!(server, 2, "a negligible weight holds nothing");
    }
}

#[test]
fn an_unknown_name_is_answered_with_the_known_ones() {
    let unknown = "ketma\n".parse::<Distribution>().unwrap_err();
    assert_eq!(unknown.to_string(), r#"unknown distribution "ketma\n": did you mean ketama? known: ketama, remcached"#);
    let far = "rendezvous".parse::<Distribution>().unwrap_err();
    assert_eq!(far.to_string(), r#"unknown distribution "rendezvous": known: ketama, remcached"#);
}

fn everyone_alive(ring: &Ring, key: &[u8]) -> Option<usize> {
    ring.locate(key, |_| true)
}

fn ketama(nodes: &[Node]) -> Ring {
    Distribution::Ketama.ring(nodes).expect("weights are positive")
}

fn remcached(servers: usize) -> Ring {
    Distribution::Remcached.ring(&numbered(servers)).expect("weights are positive")
}

fn numbered(servers: usize) -> Vec<Node> {
    (0..servers).map(|number| Node::tcp(format!("10.0.0.{number}"), 11211)).collect()
}

fn keys(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|number| format!("key-{number}"))
}

fn nodes(servers: &Value) -> Vec<Node> {
    list(servers)
        .iter()
        .map(|server| {
            let port = number(&server[1]).try_into().expect("a port is a u16");
            let weight = number(&server[2]).try_into().expect("a weight is a u32");
            Node::tcp(text(&server[0]), port).with_weight(weight)
        })
        .collect()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("the vector has a list here")
}

fn number(value: &Value) -> u64 {
    value.as_u64().expect("the vector has a number here")
}

fn text(value: &Value) -> &str {
    value.as_str().expect("the vector has a text here")
}

fn vectors() -> Value {
    serde_json::from_str(include_str!("vectors/placement.json")).expect("the vectors are JSON")
}
