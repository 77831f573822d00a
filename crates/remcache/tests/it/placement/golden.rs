//! Keys are on the servers on which other clients place them, by vectors recorded from these clients.

use serde_json::{Value, json};

use super::*;

/// Returns each route of the vectors: the ring, the distribution, and the servers.
fn golden_routes() -> Vec<(&'static str, &'static str, Vec<Node>)> {
    let three = || ["10.0.1.1:11211", "10.0.1.2:11211", "10.0.1.3:11212"].map(tcp).to_vec();
    let java = |name: &str, port: u16, last: u8| Node::tcp(name, port).with_ip([10, 0, 1, last]);
    let names = || {
        vec![java("cache-a.example", 11211, 1), java("cache-b.example", 11211, 2), java("cache-c.example", 11212, 3)]
    };
    let weights = |weights: &[u32]| {
        weights
            .iter()
            .zip(1..)
            .map(|(&weight, number)| tcp(&format!("10.0.1.{number}:11211")).with_weight(weight))
            .collect()
    };
    let with_weights =
        |weights: [u32; 3]| three().into_iter().zip(weights).map(|(node, weight)| node.with_weight(weight)).collect();
    vec![
        ("libmemcached_consistent_unweighted_default_hash", "libmemcached-ketama", three()),
        ("libmemcached_consistent_unweighted_default_hash", "pylibmc-ketama", three()),
        ("libmemcached_consistent_unweighted_default_hash", "xmemcached-libmemcached", three()),
        ("libmemcached_ketama_weighted_equal", "ketama", three()),
        ("libmemcached_ketama_weighted_equal", "libmemcached-ketama-weighted", three()),
        ("libmemcached_ketama_weighted_equal", "php-memcached-ketama", three()),
        ("libmemcached_ketama_weighted", "ketama", weights(&[600, 300, 200, 350, 1000, 800, 950, 100])),
        ("libmemcached_ketama_spy_after_kw", "libmemcached-spy-weighted", three()),
        (
            "libmemcached_ketama_weighted_25_equal_156pts",
            "pylibmc-ketama-weighted",
            (0..25).map(|number| tcp(&format!("10.0.2.{number}:11211"))).collect(),
        ),
        ("spymemcached_ketama_SPYMEMCACHED_ip_literals", "spymemcached-ketama", three()),
        ("spymemcached_ketama_SPYMEMCACHED_ip_literals", "elasticache-ketama-1.1", three()),
        ("spymemcached_ketama_SPYMEMCACHED_ip_literals", "memcached-proxy-ketama", three()),
        ("spymemcached_ketama_SPYMEMCACHED_ip_literals", "libketama", three()),
        ("spymemcached_ketama_SPYMEMCACHED_ip_literals", "xmemcached-ketama-gwhalin", three()),
        ("spymemcached_ketama_SPYMEMCACHED_hostnames", "spymemcached-ketama", names()),
        ("spymemcached_ketama_SPYMEMCACHED_hostnames", "spymemcached-ketama-weighted", names()),
        ("spymemcached_ketama_SPYMEMCACHED_hostnames", "xmemcached-ketama", names()),
        ("spymemcached_ketama_LIBMEMCACHED_unweighted", "spymemcached-ketama-libmemcached", three()),
        ("spymemcached_ketama_LIBMEMCACHED_unweighted", "memcached-proxy-twemproxy", three()),
        ("spymemcached_ketama_LIBMEMCACHED_unweighted", "xmemcached-ketama-nginx", three()),
        ("dalli_ring_equal", "dalli", three()),
        ("dalli_ring_weighted", "dalli", with_weights([1, 3, 2])),
        (
            "pymemcache_rendezvous_str_keys",
            "pymemcache",
            vec![tcp("10.0.1.1:11211"), tcp("10.0.1.2:11211"), Node::unix("/tmp/sock")],
        ),
        ("gomemcache_crc32_mod3", "gomemcache", three()),
        ("folsom_murmur3_chain", "folsom", three().into_iter().chain([Node::tcp("::1", 11211)]).collect()),
        (
            "twemproxy_ketama_default_fnv1a_64",
            "twemproxy",
            vec![
                tcp("127.0.0.1:23701"),
                tcp("127.0.0.1:23702"),
                tcp("127.0.0.1:23703"),
                tcp("127.0.0.1:23704").with_ring_name("named4"),
            ],
        ),
        ("uhashring_default(meta-memcache-py)", "meta-memcache", three()),
        ("php_memcached_default", "php-memcached", three()),
        ("php_memcached_default", "pylibmc", three()),
        ("python_memcached_default", "python-memcached", three()),
        ("aws_elasticache_java_1.2+_ketama_SHA384_SPYMEMCACHED_ip_literals", "elasticache-ketama", three()),
    ]
}

#[test]
fn golden_keys_are_placed_as_by_other_clients() {
    let vectors = vectors();
    let mut checked = BTreeSet::new();
    for (golden, distribution, nodes) in golden_routes() {
        let ring = named(distribution).ring(&nodes).unwrap();
        let route: Vec<usize> = list(&vectors["keys"]).iter().map(|key| owner(&ring, text(key).as_bytes())).collect();
        assert_eq!(route.len(), 40);
        assert_eq!(json!(route), vectors["rings"][golden]["route"], "{golden} with {distribution}");
        checked.insert(golden);
    }
    let all: BTreeSet<&str> = vectors["rings"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(checked, all, "every ring of the vectors is checked");
}

/// For clients that are not available in tests, a second implementation in another language is the reference.
#[test]
fn the_second_implementation_places_every_key_on_the_same_server() {
    let definitions: Value = serde_json::from_str(include_str!("../../vectors/definitions.json")).unwrap();
    let node = |server: &Value| {
        let ip: std::net::IpAddr = text(&server[1]).parse().unwrap();
        Node::tcp(text(&server[0]), u16::try_from(server[2].as_u64().unwrap()).unwrap()).with_ip(ip)
    };
    let nodes: Vec<Node> = list(&definitions["servers"]).iter().map(node).collect();
    for (distribution, expected) in definitions["routes"].as_object().unwrap() {
        let ring = named(distribution).ring(&nodes).unwrap();
        let keys = list(&definitions["keys"]);
        assert_eq!(list(expected).len(), keys.len());
        for (key, expected) in keys.iter().zip(list(expected)) {
            assert_eq!(*expected, owner(&ring, text(key).as_bytes()), "{key} with {distribution}");
        }
    }
}

/// Every distribution of another client is compared with a reference that is not this code.
#[test]
fn every_placement_of_another_client_is_verified() {
    let definitions: Value = serde_json::from_str(include_str!("../../vectors/definitions.json")).unwrap();
    let golden = golden_routes().into_iter().map(|(_, name, _)| named(name).name());
    let written_twice = definitions["routes"].as_object().unwrap().keys().map(|name| named(name).name());
    // Two have their own vectors, and three are compared with the real clients: see docs/interop.md.
    let others = ["mcrouter", "remcached", "memjs", "node-memcached", "twemproxy-modula"];
    let witnessed: BTreeSet<&str> = golden.chain(written_twice).chain(others).collect();
    let own = BTreeSet::from(["rendezvous"]);
    let all: BTreeSet<&str> = Distribution::all().map(|it| it.name()).collect();
    assert_eq!(all.difference(&witnessed).copied().collect::<BTreeSet<_>>(), own);
}

#[test]
fn golden_keys_are_placed_as_by_mcrouter() {
    let vectors = vectors();
    for (key, places) in vectors["mcrouter_ch3_furc_hash"].as_object().unwrap() {
        for (servers, expected) in places.as_object().unwrap() {
            let ring = named("mcrouter").ring(&numbered(servers.parse().unwrap())).unwrap();
            assert_eq!(*expected, owner(&ring, key.as_bytes()), "{key} of {servers}");
            assert_eq!(
                *expected,
                owner(&ring, format!("/region/cluster/{key}|#|more").as_bytes()),
                "{key} of {servers}"
            );
        }
    }
}

#[test]
fn golden_keys_are_placed_as_by_remcached() {
    let vectors = vectors();
    let golden = vectors["remcached_hash"].as_object().unwrap();
    assert_eq!(golden.len(), 7);
    for (key, expected) in golden {
        for servers in [2, 3, 5] {
            let found = owner(&remcached(servers), key.as_bytes());
            assert_eq!(expected[format!("mod{servers}")], found, "{key} of {servers}");
        }
    }
}

#[test]
fn remcached_hashes_keys_of_any_length_completely() {
    // 256 is 1 modulo 3 and 5, so the number is congruent to the sum of its bytes.
    for len in 0..=250 {
        let key: Vec<u8> = (0..len).map(|i| (i * 37 + 200) as u8).collect();
        let sum: usize = key.iter().map(|&byte| usize::from(byte)).sum();
        for servers in [3, 5] {
            assert_eq!(owner(&remcached(servers), &key), sum % servers, "{len} bytes of {servers}");
        }
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a string")
}

fn vectors() -> Value {
    serde_json::from_str(include_str!("../../../../remcache-distribution/tests/vectors/placement.json"))
        .expect("the vectors are JSON")
}
