//! Placement through the public API: golden routes, server states, stability, candidates, names, errors.

use std::collections::{BTreeSet, HashMap};

use remcache::distribution::{Distribution, Hash, Node, Ring, RingError};
use serde_json::{Value, json};

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
        let route: Vec<usize> = list(&vectors["keys"]).iter().map(|key| home(&ring, text(key).as_bytes())).collect();
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
    let definitions: Value = serde_json::from_str(include_str!("../vectors/definitions.json")).unwrap();
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
            assert_eq!(*expected, home(&ring, text(key).as_bytes()), "{key} with {distribution}");
        }
    }
}

/// Every distribution of another client is compared with a reference that is not this code.
#[test]
fn every_placement_of_another_client_is_verified() {
    let definitions: Value = serde_json::from_str(include_str!("../vectors/definitions.json")).unwrap();
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
            assert_eq!(*expected, home(&ring, key.as_bytes()), "{key} of {servers}");
            assert_eq!(
                *expected,
                home(&ring, format!("/region/cluster/{key}|#|more").as_bytes()),
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
            let found = home(&remcached(servers), key.as_bytes());
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
            assert_eq!(home(&remcached(servers), &key), sum % servers, "{len} bytes of {servers}");
        }
    }
}

#[test]
fn remcached_uses_only_servers_that_are_up_in_list_order() {
    let ring = remcached(6);
    for living in 0..1_u32 << 6 {
        let alive = |server: usize| living >> server & 1 == 1;
        let order: Vec<usize> = (0..6).filter(|&server| alive(server)).collect();
        for key in [&b"a"[..], b"ab", b"Hello", b"key-0", b"\xff\x00\xfe"] {
            let expected = remcached(order.len()).locate(key, |_| true).map(|position| order[position]);
            assert_eq!(ring.locate(key, alive), expected, "{key:?} among {order:?}");
        }
    }
}

/// Two clients of the same list agree on 1,000 keys in each of 1,000 histories of server failures.
#[test]
fn server_states_move_no_key() {
    let mut random = fastrand::Rng::with_seed(11);
    let fixed: Vec<Distribution> = Distribution::all().filter(|it| !it.needs_liveness()).collect();
    assert_eq!(fixed.len() + 1, Distribution::all().len(), "only remcached moves keys");
    for history in 0..1000 {
        let nodes = numbered(random.usize(1..40));
        let distribution = fixed[history % fixed.len()];
        let (one, other) = (distribution.ring(&nodes).unwrap(), distribution.ring(&nodes).unwrap());
        for _ in 0..1000 {
            let key = random.u64(..).to_be_bytes();
            let health = random.u64(..);
            let asked = |server: usize| health >> (server % 64) & 1 == 1;
            assert_eq!(one.locate(&key, asked), other.locate(&key, |_| true), "{distribution}, history {history}");
        }
    }
}

#[test]
fn only_remcached_depends_on_server_states() {
    let asked = |_: usize| -> bool { panic!("the ring depends on server states") };
    for distribution in Distribution::all().filter(|it| !it.needs_liveness()) {
        for servers in [1, 2, 25] {
            let ring = distribution.ring(&numbered(servers)).unwrap();
            assert!(!ring.needs_liveness());
            for key in keys(100) {
                assert!(ring.locate(key.as_bytes(), asked).unwrap() < servers);
            }
        }
    }
}

#[test]
fn candidates_are_all_servers_once_with_the_owner_first() {
    for distribution in Distribution::all() {
        for servers in [0, 1, 2, 3, 10, 33] {
            let ring = distribution.ring(&numbered(servers)).unwrap();
            for key in keys(50) {
                let order: Vec<usize> = ring.candidates(key.as_bytes()).collect();
                assert_eq!(order.first().copied(), ring.locate(key.as_bytes(), |_| true), "{distribution}");
                let distinct: BTreeSet<usize> = order.iter().copied().collect();
                assert!(
                    distinct.len() == order.len() && distinct.iter().copied().eq(0..servers),
                    "{distribution}: {order:?}"
                );
                assert_eq!(ring.candidates(key.as_bytes()).len(), servers);
            }
        }
    }
}

/// For distributions whose next server is the owner in a ring without the first one.
#[test]
fn the_second_candidate_is_the_owner_in_a_ring_without_the_first() {
    for name in ["ketama", "libmemcached-ketama", "rendezvous", "pymemcache", "folsom", "meta-memcache", "enyim"] {
        let nodes = numbered(6);
        let ring = named(name).ring(&nodes).unwrap();
        for key in keys(500) {
            let order: Vec<usize> = ring.candidates(key.as_bytes()).take(2).collect();
            let rest: Vec<Node> =
                nodes.iter().enumerate().filter(|(at, _)| *at != order[0]).map(|(_, node)| node.clone()).collect();
            let next = home(&named(name).ring(&rest).unwrap(), key.as_bytes());
            assert_eq!(rest[next], nodes[order[1]], "{key} with {name}");
        }
    }
}

#[test]
fn modulo_distributions_continue_with_the_next_server_of_the_list() {
    for name in ["spymemcached", "xmemcached", "libmemcached", "gomemcache", "mcrouter"] {
        let ring = named(name).ring(&numbered(5)).unwrap();
        for key in keys(20) {
            let order: Vec<usize> = ring.candidates(key.as_bytes()).collect();
            assert!(order.windows(2).all(|pair| pair[1] == (pair[0] + 1) % 5), "{name}: {order:?}");
        }
    }
}

#[test]
fn every_distribution_spreads_keys() {
    for distribution in Distribution::all() {
        let ring = distribution.ring(&numbered(7)).unwrap();
        let mut held = [0; 7];
        for key in keys(7000) {
            held[home(&ring, key.as_bytes())] += 1;
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
            let (home, mirrored) = (home(&one, key.as_bytes()), home(&other, key.as_bytes()));
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
            let (before, after) = (home(&ten, key.as_bytes()), home(&eleven, key.as_bytes()));
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
        // FNV-1a distributes keys that differ only in their last digits badly, so twemproxy is tested with another hash.
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
        let (before, after) = (home(&light, key.as_bytes()), home(&heavy, key.as_bytes()));
        assert!(after == before || after == 0, "{key} moved from {before} to {after}");
        held[before] += 1;
    }
    for (held, fifteenths) in held.into_iter().zip(1..) {
        let share = 4000 * fifteenths;
        assert!((share * 9 / 10..share * 11 / 10).contains(&held), "{held} for {fifteenths}/15");
    }
}

#[test]
fn only_hashes_that_the_client_supports_can_be_selected() {
    let nodes = numbered(5);
    for distribution in Distribution::all() {
        for hash in Hash::all() {
            let outcome = distribution.hash(hash).ring(&nodes);
            let is_offered = distribution.hashes().contains(&hash);
            assert_eq!(outcome.is_ok(), is_offered, "{distribution} with {hash}");
            let Err(error) = outcome else { continue };
            assert!(matches!(error, RingError::Hash { .. }) && error.to_string().contains(hash.name()), "{error}");
        }
        assert!(distribution.hashes().is_empty() || distribution.hashes().contains(&distribution.key_hash()));
    }
    // `foo` by the golden hashes, modulo 5.
    for (hash, expected) in
        [(Hash::OneAtATime, 596_015_325), (Hash::Murmur, 3_303_027_599), (Hash::Jenkins, 2_583_187_353_u64)]
    {
        let ring = Distribution::LIBMEMCACHED.hash(hash).ring(&nodes).unwrap();
        assert_eq!(home(&ring, b"foo") as u64, expected % 5, "{hash}");
    }
}

#[test]
fn bytes_above_127_depend_on_the_sign_of_char() {
    let ring = |are_signed| Distribution::LIBMEMCACHED.signed_chars(are_signed).ring(&numbered(1000)).unwrap();
    assert_eq!(home(&ring(true), "été".as_bytes()), 2_144_029_493 % 1000);
    assert_eq!(home(&ring(false), "été".as_bytes()), 1_191_034_661 % 1000);
    assert_eq!(Distribution::LIBMEMCACHED.signed_chars(true), Distribution::LIBMEMCACHED);
}

#[test]
fn a_hash_tag_keeps_keys_together() {
    let nodes = numbered(100);
    let ring = Distribution::TWEMPROXY.hash_tag(*b"{}").ring(&nodes).unwrap();
    let plain = Distribution::TWEMPROXY.ring(&nodes).unwrap();
    for user in 0..100 {
        let home_of = |field: &str| home(&ring, format!("user:{{{user}}}:{field}").as_bytes());
        assert_eq!(home_of("name"), home_of("mail"));
        assert_eq!(home_of("name"), home(&plain, user.to_string().as_bytes()));
    }
    assert_eq!(home(&ring, b"no{}tag"), home(&plain, b"no{}tag"));
}

#[test]
fn str_and_bytes_keys_of_pymemcache_are_placed_differently() {
    let ring = |name| named(name).ring(&numbered(3)).unwrap();
    let (str, bytes) = (ring("pymemcache"), ring("pymemcache-bytes"));
    let apart = keys(1000).filter(|key| home(&str, key.as_bytes()) != home(&bytes, key.as_bytes())).count();
    assert!((550..780).contains(&apart), "{apart} of 1000");
    for key in keys(100) {
        assert_eq!(home(&bytes, key.as_bytes()), home(&str, format!("b'{key}'").as_bytes()));
    }
}

#[test]
fn python_memcached_before_1_60_replaces_a_hash_of_zero() {
    let zero = (0..).map(|number| format!("key-{number}")).find(|key| explain("python-memcached", key) == "0").unwrap();
    assert_eq!(explain("python-memcached-1.59", &zero), "1");
    assert_eq!(explain("python-memcached-1.59", "foo"), explain("python-memcached", "foo"));
}

fn explain(name: &str, key: &str) -> String {
    let ring = named(name).ring(&numbered(3)).expect("a valid list");
    ring.explain(key.as_bytes()).expect("the list is not empty").value
}

#[test]
fn namespaces_are_hashed_as_by_other_clients() {
    let unhashed: Vec<&str> = Distribution::all().filter(|it| !it.hashes_namespace()).map(Distribution::name).collect();
    let of = |name: &&str| name.starts_with("libmemcached") || name.starts_with("pymemcache");
    assert!(unhashed.iter().all(of), "{unhashed:?}");
    assert_eq!(unhashed.len(), Distribution::all().filter(|it| of(&it.name())).count());
    assert!(Distribution::LIBMEMCACHED.hash_namespace(true).hashes_namespace());
}

#[test]
fn duplicate_servers_are_rejected_if_the_second_would_have_no_keys() {
    let nodes = [tcp("10.0.0.1:11211"), tcp("10.0.0.2:11211"), tcp("10.0.0.1:11211")];
    let accepted =
        ["jump", "libmemcached", "twemproxy-modula", "spymemcached", "gomemcache", "mcrouter", "mcrouter-crc32"];
    let others = ["xmemcached", "python-memcached", "python-memcached-1.59", "remcached", "memjs"];
    let accepted = accepted.into_iter().chain(others);
    let accepted: BTreeSet<&str> = accepted.collect();
    for distribution in Distribution::all() {
        match distribution.ring(&nodes) {
            Ok(ring) => {
                assert!(accepted.contains(distribution.name()), "{distribution}");
                assert!(shares(&ring)[2] > 0, "{distribution}: a duplicate counts as a server");
            }
            Err(error) => {
                assert!(!accepted.contains(distribution.name()), "{distribution}");
                assert!(matches!(error, RingError::Duplicate { first: 0, index: 2, .. }), "{error}");
                assert!(error.to_string().contains("10.0.0.1"), "{error}");
            }
        }
    }
}

#[test]
fn addresses_that_are_hashed_must_be_configured() {
    let nodes = [Node::tcp("cache-a", 11211), Node::tcp("cache-b", 11211)];
    for distribution in Distribution::all() {
        let outcome = distribution.ring(&nodes);
        assert_eq!(outcome.is_err(), distribution.needs_ip(), "{distribution}");
        if let Err(error) = outcome {
            assert!(
                error.to_string().contains("\"cache-a\"") && error.to_string().contains(distribution.name()),
                "{error}"
            );
        }
    }
}

#[test]
fn an_empty_list_has_no_server_for_a_key() {
    for distribution in Distribution::all() {
        let ring = distribution.ring(&[]).unwrap();
        assert_eq!(ring.locate(b"Hello", |_| true), None);
        assert_eq!(ring.candidates(b"Hello").next(), None);
        assert_eq!(ring.explain(b"Hello"), None);
        assert_eq!(ring.servers(), 0);
    }
}

#[test]
fn a_single_server_has_all_keys() {
    for distribution in Distribution::all() {
        let ring = distribution.ring(&numbered(1)).unwrap();
        for key in [&b""[..], b"a", b"Hello", &[0xff; 250]] {
            assert_eq!(home(&ring, key), 0);
        }
    }
    assert_eq!(remcached(1).locate(b"Hello", |_| false), None);
}

#[test]
fn any_key_is_placed() {
    let mut random = fastrand::Rng::with_seed(4);
    for distribution in Distribution::all() {
        let ring = distribution.hash_tag(*b"{}").ring(&numbered(9)).unwrap();
        for _ in 0..200 {
            let key: Vec<u8> = (0..random.usize(0..300)).map(|_| random.u8(..)).collect();
            assert!(home(&ring, &key) < 9);
            assert_eq!(ring.explain(&key).unwrap().server, home(&ring, &key));
        }
    }
}

#[test]
fn a_weight_of_0_is_rejected() {
    let nodes = [tcp("10.0.0.1:11211"), tcp("10.0.0.2:11211").with_weight(0)];
    for distribution in Distribution::all() {
        let refused = distribution.ring(&nodes).unwrap_err();
        assert!(matches!(&refused, RingError::ZeroWeight { index: 1, name, .. } if name == "10.0.0.2"), "{refused:?}");
        assert!(refused.to_string().contains("\"10.0.0.2\""), "{refused}");
    }
}

#[test]
fn jump_rejects_different_weights() {
    let nodes = [tcp("10.0.0.1:11211"), tcp("10.0.0.2:11211").with_weight(2)];
    let refused = Distribution::JUMP.ring(&nodes).unwrap_err();
    assert!(matches!(refused, RingError::Weights { index: 1, .. }), "{refused:?}");
    assert!(refused.to_string().contains("rendezvous"), "{refused}");
    let equal = nodes.map(|node| node.with_weight(7));
    assert!(Distribution::JUMP.ring(&equal).is_ok());
}

#[test]
fn the_largest_weights_do_not_overflow() {
    let nodes = [
        tcp("10.0.0.1:11211").with_weight(u32::MAX),
        tcp("10.0.0.2:11211").with_weight(u32::MAX),
        tcp("10.0.0.3:11211"),
    ];
    for distribution in Distribution::all().filter(|it| *it != Distribution::JUMP) {
        match distribution.ring(&nodes) {
            Ok(ring) => assert_eq!(shares(&ring).iter().sum::<usize>(), 20_000, "{distribution}"),
            Err(error) => assert!(matches!(error, RingError::TooManyPoints { .. }), "{distribution}: {error}"),
        }
    }
    let held = shares(&Distribution::KETAMA.ring(&nodes).unwrap());
    assert_eq!(held[2], 0, "a server with a negligible weight has no keys");
}

#[test]
fn a_server_without_a_point_is_the_last_candidate() {
    let nodes =
        [tcp("10.0.0.1:11211"), tcp("10.0.0.2:11211").with_weight(1000), tcp("10.0.0.3:11211").with_weight(1000)];
    let ring = Distribution::KETAMA.ring(&nodes).unwrap();
    for key in keys(100) {
        assert_eq!(ring.candidates(key.as_bytes()).last(), Some(0));
    }
}

#[test]
fn the_error_for_an_unknown_name_suggests_similar_ones() {
    let unknown = "ketma\n".parse::<Distribution>().unwrap_err();
    assert!(unknown.to_string().starts_with(r#"unknown distribution "ketma\n": did you mean ketama"#), "{unknown}");
    let far = "xyz".parse::<Distribution>().unwrap_err();
    let text =
        r#"unknown distribution "xyz": the default is ketama; docs/placement.md and Distribution::all list every name"#;
    assert_eq!(far.to_string(), text);
}

/// Documented names, which configurations rely on.
#[test]
fn documented_names_are_accepted() {
    let names = "libmemcached libmemcached-ketama libmemcached-ketama-weighted libmemcached-spy pylibmc pylibmc-ketama \
                 pylibmc-ketama-weighted php-memcached php-memcached-ketama php-memcached-consistent twemproxy \
                 twemproxy-modula dalli pymemcache pymemcache-bytes meta-memcache spymemcached spymemcached-ketama \
                 spymemcached-ketama-libmemcached evcache elasticache elasticache-ketama elasticache-ketama-1.1 \
                 memcached-proxy libketama gomemcache folsom mcrouter mcrouter-crc32 enyim enyim-default xmemcached \
                 python-memcached python-memcached-1.59 pior remcached ketama rendezvous jump";
    for name in names.split_whitespace() {
        assert!(name.parse::<Distribution>().is_ok(), "{name}");
    }
}

fn home(ring: &Ring, key: &[u8]) -> usize {
    ring.locate(key, |_| true).expect("the list is not empty")
}

/// Returns how many of 20,000 keys each server has.
fn shares(ring: &Ring) -> Vec<usize> {
    let mut held: HashMap<usize, usize> = HashMap::new();
    for key in keys(20_000) {
        *held.entry(home(ring, key.as_bytes())).or_default() += 1;
    }
    (0..ring.servers()).map(|server| held.get(&server).copied().unwrap_or(0)).collect()
}

fn named(name: &str) -> Distribution {
    name.parse().expect("the name is in the table")
}

fn remcached(servers: usize) -> Ring {
    Distribution::REMCACHED.ring(&numbered(servers)).expect("weights are positive")
}

fn numbered(servers: usize) -> Vec<Node> {
    (0..servers).map(|number| Node::tcp(format!("10.0.{}.{}", number / 256, number % 256), 11211)).collect()
}

fn tcp(address: &str) -> Node {
    let (host, port) = address.split_once(':').expect("a host and a port");
    Node::tcp(host, port.parse().expect("a port is a u16"))
}

fn keys(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|number| format!("key-{number}"))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a string")
}

fn vectors() -> Value {
    serde_json::from_str(include_str!("../../../remcache-distribution/tests/vectors/placement.json"))
        .expect("the vectors are JSON")
}

#[test]
fn the_document_has_the_table_of_all_distributions() {
    let row = |it: Distribution| {
        let quoted: Vec<String> = it.aliases().iter().map(|alias| format!("`{alias}`")).collect();
        let choose = if it.hashes().is_empty() { "" } else { ", choose" };
        format!("| `{it}` | {} | `{}`{choose} | {} |\n", quoted.join(" "), it.key_hash(), it.description())
    };
    let rows: String = Distribution::all().map(row).collect();
    let table = format!("| name | other names | hash | what it is |\n|---|---|---|---|\n{rows}");
    let document = include_str!("../../../../docs/placement.md");
    assert!(document.contains(&table), "docs/placement.md should have this table:\n{table}");
}
