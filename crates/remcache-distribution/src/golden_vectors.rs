//! Compares rings point by point with golden vectors, which the named implementations computed.

use serde_json::{Value, json};

use crate::{Distribution, Node, circle_points, vectors};

/// The rings of the vectors, and their distributions.
const RINGS: [(&str, &str); 14] = [
    ("libmemcached_consistent_unweighted_default_hash", "libmemcached-ketama"),
    ("libmemcached_ketama_weighted_equal", "libmemcached-ketama-weighted"),
    ("libmemcached_ketama_weighted", "ketama"),
    ("libmemcached_ketama_spy_after_kw", "libmemcached-spy-weighted"),
    ("libmemcached_ketama_weighted_25_equal_156pts", "ketama"),
    ("spymemcached_ketama_SPYMEMCACHED_ip_literals", "spymemcached-ketama"),
    ("spymemcached_ketama_SPYMEMCACHED_hostnames", "spymemcached-ketama"),
    ("spymemcached_ketama_LIBMEMCACHED_unweighted", "spymemcached-ketama-libmemcached"),
    ("dalli_ring_equal", "dalli"),
    ("dalli_ring_weighted", "dalli"),
    ("folsom_murmur3_chain", "folsom"),
    ("twemproxy_ketama_default_fnv1a_64", "twemproxy"),
    ("aws_elasticache_java_1.2+_ketama_SHA384_SPYMEMCACHED_ip_literals", "elasticache-ketama"),
    ("libmemcached_ketama_weighted_equal", "ketama"),
];

#[test]
fn golden_rings() {
    for (ring, distribution) in RINGS {
        check(ring, distribution);
    }
}

fn check(name: &str, distribution: &str) {
    let golden = &vectors()["rings"][name];
    let nodes: Vec<Node> = golden["servers"].as_array().unwrap().iter().map(node).collect();
    let distribution: Distribution = distribution.parse().unwrap();
    let points = circle_points(&distribution.ring(&nodes).unwrap());

    let ring = &golden["ring"];
    assert_eq!(ring["n_points"], points.len(), "{name}");
    assert_eq!(ring["first5"], json!(points[..5]), "{name}");
    assert_eq!(ring["last2"], json!(points[points.len() - 2..]), "{name}");
    for server in 0..nodes.len() {
        let owned = points.iter().filter(|point| point.1 as usize == server).count();
        let counts = &golden["points_per_server"];
        let expected = counts.get(server).unwrap_or(counts);
        assert!(expected.is_null() || *expected == owned, "{name}: server {server}");
    }
}

/// Parses a server of the vectors: a list of name, port and weight, of address and weight, or an address; a name alone
/// is a ring name.
fn node(server: &Value) -> Node {
    if let Some(parts) = server.as_array().filter(|parts| parts.len() == 3) {
        let number = |at: usize| parts[at].as_u64().unwrap();
        return Node::tcp(parts[0].as_str().unwrap(), number(1) as u16).with_weight(number(2) as u32);
    }
    let (address, weight) = match server.as_array() {
        Some(parts) => (parts[0].as_str().unwrap(), parts[1].as_u64().unwrap()),
        None => (server.as_str().unwrap(), 1),
    };
    let Some((host, port)) = address.rsplit_once(':') else {
        return match address.parse::<std::net::IpAddr>() {
            Ok(_) => Node::tcp(address, 11211),
            Err(_) => Node::tcp("10.9.9.9", 11211).with_ring_name(address),
        };
    };
    let (host, ip) = host.split_once('/').map_or((host, None), |(host, ip)| (host, Some(ip)));
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let mut node = Node::tcp(host, port.parse().unwrap()).with_weight(weight as u32);
    node.ip = ip.map(|ip| ip.parse().unwrap());
    node
}
