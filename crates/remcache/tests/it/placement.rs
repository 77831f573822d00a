//! Placement through the public API: server states, candidates, options, names, errors.

use std::collections::{BTreeSet, HashMap};

use remcache::distribution::{Distribution, Hash, Node, Ring, RingError};

mod golden;
mod shares;

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
            let next = owner(&named(name).ring(&rest).unwrap(), key.as_bytes());
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
        assert_eq!(owner(&ring, b"foo") as u64, expected % 5, "{hash}");
    }
}

#[test]
fn bytes_above_127_depend_on_the_sign_of_char() {
    let ring = |are_signed| Distribution::LIBMEMCACHED.signed_chars(are_signed).ring(&numbered(1000)).unwrap();
    assert_eq!(owner(&ring(true), "été".as_bytes()), 2_144_029_493 % 1000);
    assert_eq!(owner(&ring(false), "été".as_bytes()), 1_191_034_661 % 1000);
    assert_eq!(Distribution::LIBMEMCACHED.signed_chars(true), Distribution::LIBMEMCACHED);
}

#[test]
fn a_hash_tag_keeps_keys_together() {
    let nodes = numbered(100);
    let ring = Distribution::TWEMPROXY.hash_tag(*b"{}").ring(&nodes).unwrap();
    let plain = Distribution::TWEMPROXY.ring(&nodes).unwrap();
    for user in 0..100 {
        let home_of = |field: &str| owner(&ring, format!("user:{{{user}}}:{field}").as_bytes());
        assert_eq!(home_of("name"), home_of("mail"));
        assert_eq!(home_of("name"), owner(&plain, user.to_string().as_bytes()));
    }
    assert_eq!(owner(&ring, b"no{}tag"), owner(&plain, b"no{}tag"));
}

#[test]
fn str_and_bytes_keys_of_pymemcache_are_placed_differently() {
    let ring = |name| named(name).ring(&numbered(3)).unwrap();
    let (str, bytes) = (ring("pymemcache"), ring("pymemcache-bytes"));
    let apart = keys(1000).filter(|key| owner(&str, key.as_bytes()) != owner(&bytes, key.as_bytes())).count();
    assert!((550..780).contains(&apart), "{apart} of 1000");
    for key in keys(100) {
        assert_eq!(owner(&bytes, key.as_bytes()), owner(&str, format!("b'{key}'").as_bytes()));
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
            assert_eq!(owner(&ring, key), 0);
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
            assert!(owner(&ring, &key) < 9);
            assert_eq!(ring.explain(&key).unwrap().server, owner(&ring, &key));
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

fn owner(ring: &Ring, key: &[u8]) -> usize {
    ring.locate(key, |_| true).expect("the list is not empty")
}

/// Returns how many of 20,000 keys each server has.
fn shares(ring: &Ring) -> Vec<usize> {
    let mut held: HashMap<usize, usize> = HashMap::new();
    for key in keys(20_000) {
        *held.entry(owner(ring, key.as_bytes())).or_default() += 1;
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
