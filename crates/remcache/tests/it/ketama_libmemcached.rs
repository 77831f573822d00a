//! Compares the distributions of libmemcached with libmemcached itself: the same server for every key.
//!
//! A small C program (`c/libmemcached_reference.c`) calls the installed library. It is compiled here and communicates
//! over pipes.
//!
//! The weighted ring, which is the default, is compared for four families of server lists (equal or unequal weights, on
//! port 11211 or on several ports) of 1 to 100 servers each. The numbers of servers in [`EVERY_KEY`] are compared on
//! all 100,000 keys, the others on consecutive slices of 5,000 keys, so that the slices of a family cover all keys more
//! than four times. Other tests cover every other configuration with every hash, weights of every magnitude, sockets,
//! IPv6 addresses and duplicates.

use std::{
    fmt::Write as _,
    io::{BufReader, Read, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::OnceLock,
};

use remcache::distribution::{Distribution, Hash, Node};

/// Two servers, and three numbers of servers for which equal weights yield 156 points per server.
const EVERY_KEY: [usize; 4] = [2, 25, 47, 100];
const KEYS: usize = 100_000;
const SLICE: usize = 5_000;

#[test]
fn equal_weights_on_port_11211_are_placed_as_by_libmemcached() {
    compare_all_counts(on_port_11211);
}

#[test]
fn equal_weights_on_other_ports_are_placed_as_by_libmemcached() {
    compare_all_counts(on_other_ports);
}

#[test]
fn unequal_weights_on_port_11211_are_placed_as_by_libmemcached() {
    compare_all_counts(|number| on_port_11211(number).with_weight(weight(number)));
}

#[test]
fn unequal_weights_on_other_ports_are_placed_as_by_libmemcached() {
    compare_all_counts(|number| on_other_ports(number).with_weight(weight(number)));
}

#[test]
fn equal_weights_above_one_are_computed_like_any_other() {
    let mut reference = Reference::start();
    for servers in [7, 25, 47, 50, 55, 61, 71, 94, 100] {
        for weight in [3, 10, 1000, 16_777_217, u32::MAX] {
            let nodes: Vec<Node> = (0..servers).map(|number| on_port_11211(number).with_weight(weight)).collect();
            reference.compare(&nodes, 0..500);
        }
    }
}

#[test]
fn random_weights_of_every_magnitude() {
    let mut reference = Reference::start();
    let mut random = fastrand::Rng::with_seed(1);
    for _ in 0..300 {
        let nodes: Vec<Node> = (0..random.usize(2..40))
            .map(|number| {
                let magnitude = random.u32(1..32);
                on_port_11211(number).with_weight(random.u32(1..1 << magnitude))
            })
            .collect();
        reference.compare(&nodes, 0..200);
    }
}

#[test]
fn weights_for_which_single_precision_matters() {
    let mut reference = Reference::start();
    let mut random = fastrand::Rng::with_seed(2);
    let lists = std::iter::repeat_with(|| {
        let servers = random.usize(2..12);
        (0..servers).map(|_| random.u32(1..=100)).collect::<Vec<_>>()
    });
    for weights in lists.filter(|it| precision_matters(it)).take(20) {
        let nodes: Vec<Node> =
            weights.iter().enumerate().map(|(number, &weight)| on_port_11211(number).with_weight(weight)).collect();
        reference.compare(&nodes, 0..10_000);
    }
}

/// Returns whether the number of points of some server differs between `f64` and `f32` arithmetic.
fn precision_matters(weights: &[u32]) -> bool {
    let total: u32 = weights.iter().sum();
    let servers = weights.len();
    weights.iter().any(|&weight| {
        let single = weight as f32 / total as f32 * 160.0 / 4.0 * servers as f32 + 1e-10;
        let double = f64::from(weight) / f64::from(total) * 160.0 / 4.0 * servers as f64 + 1e-10;
        f64::from(single.floor()) != double.floor()
    })
}

#[test]
fn sockets_and_ipv6_addresses_are_placed_as_by_libmemcached() {
    let nodes = [
        Node::unix("/run/memcached/a.sock"),
        Node::unix("/run/memcached/b.sock").with_weight(3),
        Node::tcp("/run/memcached/c.sock", 11211),
        Node::tcp("::1", 11211),
        Node::tcp("::1", 11212),
        Node::tcp("[fe80::1]", 11211),
        Node::tcp("[fe80::1]", 11212).with_weight(2),
        Node::tcp("Cache.Example.com", 1),
        Node::tcp("cache.example.com", 65535),
    ];
    Reference::start().compare(&nodes, 0..20_000);
}

/// Every other configuration: each distribution with each hash, for lists of every kind, one of them with all keys.
#[test]
fn every_configuration_places_keys_as_libmemcached() {
    let mut reference = Reference::start();
    let distributions = [
        ("libmemcached", &[][..]),
        ("libmemcached-ketama", &[(DISTRIBUTION, CONSISTENT)]),
        ("libmemcached-ketama", &[(DISTRIBUTION, CONSISTENT_KETAMA)]),
        ("libmemcached-ketama", &[(KETAMA, 1)]),
        ("libmemcached-ketama-weighted", &[(KETAMA_WEIGHTED, 1)]),
        ("libmemcached-spy", &[(DISTRIBUTION, CONSISTENT_KETAMA_SPY)]),
        ("libmemcached-spy-weighted", &[(KETAMA_WEIGHTED, 1), (DISTRIBUTION, CONSISTENT_KETAMA_SPY)]),
    ];
    for (name, behaviors) in distributions {
        let distribution: Distribution = name.parse().expect("a known distribution");
        let default_hash = Configuration { distribution, behaviors: behaviors.to_vec() };
        let with_hash = HASHES.map(|(number, hash)| Configuration {
            distribution: distribution.hash(hash),
            behaviors: behaviors.iter().copied().chain([(HASH, number)]).collect(),
        });
        for configuration in std::iter::once(default_hash).chain(with_hash) {
            reference.configuration = configuration;
            for (servers, keys) in
                [(1, 0..100), (2, 0..20_000), (7, 0..KEYS), (25, 40_000..45_000), (100, 60_000..65_000)]
            {
                reference.compare(&(0..servers).map(on_other_ports).collect::<Vec<_>>(), keys);
            }
            let weighted = |number| on_port_11211(number).with_weight(weight(number));
            reference.compare(&(0..9).map(weighted).collect::<Vec<_>>(), 0..20_000);
            reference.compare(&[Node::unix("/run/a.sock"), Node::unix("/run/b.sock"), Node::tcp("::1", 1)], 0..5_000);
        }
    }
}

/// A modulo distribution counts a server twice; a ring rejects duplicates, because the second would have no keys.
#[test]
fn duplicate_servers_count_twice_or_are_rejected() {
    let nodes = ["a", "b", "a", "c", "b"].map(|name| Node::tcp(name, 11211));
    let mut reference = Reference::start();
    reference.configuration = Configuration { distribution: Distribution::LIBMEMCACHED, behaviors: Vec::new() };
    reference.compare(&nodes, 0..20_000);
    assert!(Distribution::KETAMA.ring(&nodes).is_err());
}

/// `memcached_behavior_t`, `memcached_server_distribution_t` and `memcached_hash_t` of libmemcached.
const HASH: u32 = 2;
const KETAMA: u32 = 3;
const DISTRIBUTION: u32 = 9;
const KETAMA_WEIGHTED: u32 = 16;
const CONSISTENT: usize = 1;
const CONSISTENT_KETAMA: usize = 2;
const CONSISTENT_KETAMA_SPY: usize = 4;
const HASHES: [(usize, Hash); 10] = [
    (0, Hash::OneAtATime),
    (1, Hash::Md5),
    (2, Hash::Crc32),
    (3, Hash::Fnv1_64),
    (4, Hash::Fnv1a64),
    (5, Hash::Fnv1_32),
    (6, Hash::Fnv1a32),
    (8, Hash::Murmur),
    (9, Hash::Jenkins),
    (10, Hash::Murmur3),
];

fn compare_all_counts(node: impl Fn(usize) -> Node) {
    let mut reference = Reference::start();
    let mut slice = 0;
    for servers in 1..=100 {
        let nodes: Vec<Node> = (0..servers).map(&node).collect();
        if EVERY_KEY.contains(&servers) {
            reference.compare(&nodes, 0..KEYS);
        } else {
            reference.compare(&nodes, slice..slice + SLICE);
            slice = (slice + SLICE) % KEYS;
        }
    }
}

fn on_port_11211(number: usize) -> Node {
    Node::tcp(host(number), 11211)
}

/// Returns one of five servers per host, whose names differ by the port only; one has the default port.
fn on_other_ports(number: usize) -> Node {
    let port = [11212, 11211, 1, 65535, 22122][number % 5];
    Node::tcp(host(number / 5), port)
}

fn host(number: usize) -> String {
    match number % 3 {
        0 => format!("10.0.{}.{number}", number % 7),
        1 => format!("cache{number}"),
        _ => format!("cache-{number}.example.com"),
    }
}

/// Returns a weight from 1 to 1000, so that some servers of a long list have one point or none.
fn weight(number: usize) -> u32 {
    [1, 2, 600, 7, 300, 1000, 33, 5, 250, 128, 64][number % 11]
}

/// Returns plain, short, long (more than one MD5 block) and binary keys in turn.
fn key(number: usize) -> Vec<u8> {
    match number % 8 {
        0 => format!("{number}").into_bytes(),
        1 => format!("user:{number}:profile:{}", "x".repeat(number % 200)).into_bytes(),
        2 => format!("été-{number}").into_bytes(),
        3 => number.to_be_bytes().to_vec(),
        _ => format!("key-{number}").into_bytes(),
    }
}

/// A distribution, and the libmemcached behaviours that select the same one.
struct Configuration {
    distribution: Distribution,
    /// Set in this order before servers are added.
    behaviors: Vec<(u32, usize)>,
}

/// The running C program, which has received all keys.
struct Reference {
    configuration: Configuration,
    child: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
    keys: Vec<Vec<u8>>,
}

impl Reference {
    fn start() -> Self {
        let mut child = Command::new(compiled())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program that was just compiled starts");
        let mut commands = child.stdin.take().expect("its input is piped");
        let answers = BufReader::new(child.stdout.take().expect("its output is piped"));
        let keys: Vec<Vec<u8>> = (0..KEYS).map(key).collect();
        let mut input = Vec::new();
        for key in &keys {
            input.extend_from_slice(format!("key {}\n", key.len()).as_bytes());
            input.extend_from_slice(key);
            input.push(b'\n');
        }
        commands.write_all(&input).expect("the reference program reads the keys");
        let configuration = Configuration { distribution: Distribution::KETAMA, behaviors: vec![(KETAMA_WEIGHTED, 1)] };
        Self { configuration, child, commands, answers, keys }
    }

    fn compare(&mut self, nodes: &[Node], range: std::ops::Range<usize>) {
        let ring = self.configuration.distribution.ring(nodes).expect("a valid list");
        let reference = self.locate(nodes, &range);
        for (key, &expected) in self.keys[range].iter().zip(&reference) {
            let found = ring.locate(key, |_| true);
            assert!(
                found == Some(usize::from(expected)),
                "{:?} with {:?}: {found:?} instead of {expected} (libmemcached), of {} servers: {nodes:?}",
                String::from_utf8_lossy(key),
                ring.distribution(),
                nodes.len(),
            );
        }
    }

    fn locate(&mut self, nodes: &[Node], range: &std::ops::Range<usize>) -> Vec<u8> {
        let mut command = String::from("begin\n");
        for (behavior, value) in &self.configuration.behaviors {
            writeln!(command, "set {behavior} {value}").expect("writing to a String succeeds");
        }
        for Node { name, port, weight, .. } in nodes {
            match port {
                Some(port) => writeln!(command, "tcp {name} {port} {weight}"),
                None => writeln!(command, "unix {name} {weight}"),
            }
            .expect("writing to a String succeeds");
        }
        writeln!(command, "locate {} {}", range.start, range.end).expect("writing to a String succeeds");
        self.commands.write_all(command.as_bytes()).expect("the reference program reads commands");

        let mut servers = vec![0; range.len()];
        self.answers.read_exact(&mut servers).expect("the reference program answers for every key");
        servers
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        // It exits at the end of its input, which this struct still holds open.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Returns the path of the program, which is compiled once for all tests of this file.
fn compiled() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/c/libmemcached_reference.c");
        let program =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("libmemcached_reference_{}", std::process::id()));
        let compiler = Command::new("cc").arg("-O2").arg("-o").arg(&program).arg(&source).arg("-lmemcached").output();
        match compiler {
            Ok(output) if output.status.success() => program,
            Ok(output) => panic!("{INSTALL}\n{}", String::from_utf8_lossy(&output.stderr)),
            Err(error) => panic!("{INSTALL}\ncc: {error}"),
        }
    })
}

const INSTALL: &str = "libmemcached and a C compiler are needed; install: apt-get install -y libmemcached-dev gcc";
