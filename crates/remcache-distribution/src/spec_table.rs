//! The placements of all clients, one row each.

use crate::Hash;
use crate::hash::Chars;
use crate::ketama::continuum::Lookup;
use crate::ketama::points::{PointCount, PointHash};
use crate::node_key::NodeKeyFormat;
use crate::spec::{Circle, KeyPart, ListOrder, Order, PlacementSpec, PointSpec, PythonKey, Retry, Rule, Score, Tie};

/// The rows, in the order in which they are listed. The first is the default.
pub(crate) const SPECS: &[PlacementSpec] = &[
    PlacementSpec {
        name: "ketama",
        description: "libmemcached's weighted MD5 ring, the namespace hashed with the key: the default",
        rule: Rule::Circle(KETAMA_WEIGHTED),
        hash: Hash::Md5,
        ..ROW
    },
    PlacementSpec {
        name: "rendezvous",
        description: "weighted rendezvous over XXH3, for new fleets: the least moves, any weights, up to some 100 servers",
        rule: Rule::Rendezvous(NodeKeyFormat::HostPort, Score::Rendezvous),
        hash: Hash::Xxh3,
        ..ROW
    },
    PlacementSpec {
        name: "jump",
        aliases: &["pior", "memcached-proxy"],
        description: "jump hash over XXH3, for new fleets that grow and shrink at the end of the list; memcached's proxy by default",
        rule: Rule::Jump,
        hash: Hash::Xxh3,
        retry: Retry::Mixed,
        ..ROW
    },
    PlacementSpec {
        name: "libmemcached",
        aliases: &["pylibmc", "php-memcached"],
        description: "the hash modulo the number of servers: what libmemcached and its users do by default",
        rule: Rule::Modulo,
        ..LIBMEMCACHED
    },
    PlacementSpec {
        name: "libmemcached-ketama",
        aliases: &["libmemcached-consistent", "pylibmc-ketama", "php-memcached-consistent"],
        description: "100 points a server by the hash of keys; with weights libmemcached's MD5 ring",
        rule: Rule::Circle(Circle { equal: OWN_100, ..KETAMA_WEIGHTED }),
        ..LIBMEMCACHED
    },
    PlacementSpec {
        name: "libmemcached-ketama-weighted",
        aliases: &["pylibmc-ketama-weighted", "php-memcached-ketama"],
        description: "libmemcached's weighted MD5 ring, 160 points a server: BEHAVIOR_KETAMA_WEIGHTED, OPT_LIBKETAMA_COMPATIBLE",
        rule: Rule::Circle(KETAMA_WEIGHTED),
        hash: Hash::Md5,
        ..LIBMEMCACHED
    },
    PlacementSpec {
        name: "libmemcached-spy",
        description: "DISTRIBUTION_CONSISTENT_KETAMA_SPY: 100 points of /host:port by the hash of keys; matches no spymemcached",
        rule: Rule::Circle(Circle { format: NodeKeyFormat::LibmemcachedSpy, equal: OWN_100, ..KETAMA_WEIGHTED }),
        ..LIBMEMCACHED
    },
    PlacementSpec {
        name: "libmemcached-spy-weighted",
        description: "the same after BEHAVIOR_KETAMA_WEIGHTED: 160 MD5 points of /host:port",
        rule: Rule::Circle(Circle { format: NodeKeyFormat::LibmemcachedSpy, ..KETAMA_WEIGHTED }),
        hash: Hash::Md5,
        ..LIBMEMCACHED
    },
    PlacementSpec {
        name: "twemproxy",
        aliases: &["twemproxy-ketama", "nutcracker"],
        description: "libmemcached's weighted points, keys by FNV-1a of 64 bits; hash tags",
        rule: Rule::Circle(Circle { format: NodeKeyFormat::Twemproxy, ..KETAMA_WEIGHTED }),
        ..TWEMPROXY
    },
    PlacementSpec {
        name: "twemproxy-modula",
        description: "the hash modulo the total weight, servers sorted as twemproxy sorts them; hash tags",
        rule: Rule::WeightedModulo(ListOrder::ByText(NodeKeyFormat::Twemproxy)),
        ..TWEMPROXY
    },
    PlacementSpec {
        name: "dalli",
        description: "Ruby's Dalli: points by SHA-1, keys by CRC-32, the last point at or before a key",
        rule: Rule::Circle(Circle {
            separator: ':',
            equal: PointSpec { count: PointCount::Double, hash: PointHash::Sha1 },
            weighted: PointSpec { count: PointCount::Double, hash: PointHash::Sha1 },
            lookup: Lookup::AtOrBefore,
            ..MD5_160
        }),
        hash: Hash::Crc32a,
        retry: Retry::Dalli,
        ..ROW
    },
    PlacementSpec {
        name: "pymemcache",
        description: "pymemcache's HashClient with keys that are str",
        rule: Rule::Rendezvous(NodeKeyFormat::HostPort, Score::Pymemcache(PythonKey::Str)),
        hash: Hash::Murmur3Unseeded,
        hashes_namespace: false,
        ..ROW
    },
    PlacementSpec {
        name: "pymemcache-bytes",
        description: "pymemcache's HashClient with keys that are bytes, which it places elsewhere",
        rule: Rule::Rendezvous(NodeKeyFormat::HostPort, Score::Pymemcache(PythonKey::Bytes)),
        hash: Hash::Murmur3Unseeded,
        hashes_namespace: false,
        ..ROW
    },
    PlacementSpec {
        name: "meta-memcache",
        aliases: &["uhashring"],
        description: "meta-memcache-py: 160 points a server on a circle of 2^128, the first after a key",
        rule: Rule::Circle(Circle {
            format: NodeKeyFormat::HostPortBrackets,
            equal: PointSpec { count: PointCount::Each(160), hash: PointHash::Md5Number },
            weighted: PointSpec { count: PointCount::Each(160), hash: PointHash::Md5Number },
            order: Order::Wide,
            lookup: Lookup::After,
            tie: Tie::LastByName,
            ..MD5_160
        }),
        hash: Hash::Md5Number,
        ..ROW
    },
    PlacementSpec {
        name: "memjs",
        description: "Node.js's memjs: String.hashCode without its sign, modulo the number of servers",
        rule: Rule::Modulo,
        hash: Hash::JavaMagnitude,
        ..ROW
    },
    PlacementSpec {
        name: "node-memcached",
        description: "Node.js's memcached: 160 MD5 points a server by hashring, port 11211 omitted",
        rule: Rule::Circle(Circle {
            format: NodeKeyFormat::HostUnlessDefault,
            equal: PointSpec { count: PointCount::DoubleInFours, hash: PointHash::Md5Words },
            weighted: PointSpec { count: PointCount::DoubleInFours, hash: PointHash::Md5Words },
            tie: Tie::InOrder,
            ..MD5_160
        }),
        ..ROW
    },
    PlacementSpec {
        name: "spymemcached",
        aliases: &["elasticache"],
        description: "spymemcached's and ElastiCache's default: String.hashCode modulo the number of servers",
        rule: Rule::Modulo,
        hash: Hash::Java,
        retry: Retry::Never,
        ..SPYMEMCACHED
    },
    PlacementSpec {
        name: "spymemcached-ketama",
        aliases: &["elasticache-ketama-1.1"],
        description: "spymemcached's ketama, servers as host/ip:port",
        rule: Rule::Circle(Circle { format: NodeKeyFormat::JavaAddress, ..SPY_CIRCLE }),
        ..SPYMEMCACHED
    },
    PlacementSpec {
        name: "spymemcached-ketama-weighted",
        description: "the same with a map of weights, also if all are 1",
        rule: Rule::Circle(Circle { format: NodeKeyFormat::JavaAddress, equal: SINGLE_160, ..SPY_CIRCLE }),
        ..SPYMEMCACHED
    },
    PlacementSpec {
        name: "spymemcached-ketama-libmemcached",
        aliases: &["elasticache-ketama-libmemcached-1.1"],
        description: "spymemcached's ketama with KetamaNodeKeyFormatter.Format.LIBMEMCACHED",
        rule: Rule::Circle(Circle { format: NodeKeyFormat::HostUnlessDefault, ..SPY_CIRCLE }),
        ..SPYMEMCACHED
    },
    PlacementSpec {
        name: "evcache",
        description: "Netflix's EVCache: MD5 points of host/ip:11211",
        rule: Rule::Circle(Circle { format: NodeKeyFormat::EvCache, ..MD5_160 }),
        hash: Hash::Md5,
        ..ROW
    },
    PlacementSpec {
        name: "elasticache-ketama",
        description: "ElastiCache's Java client since 1.2.0: ketama over SHA-384, servers as host/ip:port",
        rule: Rule::Circle(Circle { format: NodeKeyFormat::JavaAddress, ..SHA384_160 }),
        hash: Hash::Sha384,
        retry: Retry::Spymemcached,
        ..ROW
    },
    PlacementSpec {
        name: "elasticache-ketama-libmemcached",
        description: "the same with servers as libmemcached writes them",
        rule: Rule::Circle(Circle { format: NodeKeyFormat::HostUnlessDefault, ..SHA384_160 }),
        hash: Hash::Sha384,
        retry: Retry::Spymemcached,
        ..ROW
    },
    PlacementSpec {
        name: "memcached-proxy-ketama",
        description: "memcached's proxy, dist_ring_hash with omode ketama and its own hash",
        rule: Rule::Circle(Circle { tie: Tie::InOrder, ..MD5_160 }),
        ..PROXY
    },
    PlacementSpec {
        name: "memcached-proxy-twemproxy",
        description: "memcached's proxy, dist_ring_hash with omode twemproxy and its own hash",
        rule: Rule::Circle(Circle { format: NodeKeyFormat::HostUnlessDefault, tie: Tie::InOrder, ..MD5_160 }),
        ..PROXY
    },
    PlacementSpec {
        name: "memcached-proxy-evcache",
        description: "memcached's proxy, dist_ring_hash with omode evcache and its own hash",
        rule: Rule::Circle(Circle { format: NodeKeyFormat::ProxyEvCache, tie: Tie::InOrder, ..MD5_160 }),
        ..PROXY
    },
    PlacementSpec {
        name: "libketama",
        description: "the first ketama: MD5 points of ip:port, weights in megabytes",
        rule: Rule::Circle(Circle {
            equal: PointSpec { count: PointCount::SingleThenDouble, hash: PointHash::Md5Words },
            weighted: PointSpec { count: PointCount::SingleThenDouble, hash: PointHash::Md5Words },
            tie: Tie::InOrder,
            ..MD5_160
        }),
        hash: Hash::Md5,
        ..ROW
    },
    PlacementSpec {
        name: "gomemcache",
        description: "Go's gomemcache: CRC-32 modulo the number of servers",
        rule: Rule::Modulo,
        hash: Hash::Crc32a,
        part: KeyPart::First256,
        ..ROW
    },
    PlacementSpec {
        name: "folsom",
        description: "Spotify's folsom: 100 chained murmur3 points on a circle of signed numbers",
        rule: Rule::Circle(Circle {
            format: NodeKeyFormat::HostPortBrackets,
            equal: PointSpec { count: PointCount::Fixed(100), hash: PointHash::Murmur3Chain },
            weighted: PointSpec { count: PointCount::Fixed(100), hash: PointHash::Murmur3Chain },
            order: Order::Signed,
            ..MD5_160
        }),
        hash: Hash::Murmur3Unseeded,
        ..ROW
    },
    PlacementSpec {
        name: "mcrouter",
        aliases: &["mcrouter-ch3"],
        description: "mcrouter's default, Ch3; a key up to |#|, without its routing prefix",
        rule: Rule::Furc,
        hash: Hash::Murmur64a,
        part: KeyPart::BeforeHashStop,
        ..ROW
    },
    PlacementSpec {
        name: "mcrouter-crc32",
        description: "mcrouter's Crc32; a key up to |#|, without its routing prefix",
        rule: Rule::Modulo,
        hash: Hash::Crc32Of31Bits,
        part: KeyPart::BeforeHashStop,
        ..ROW
    },
    PlacementSpec {
        name: "enyim",
        aliases: &["enyim-ketama"],
        description: ".NET's Enyim with its ketama locator: keys before the first point are the last server's",
        rule: Rule::Circle(Circle { format: NodeKeyFormat::IpPort, lookup: Lookup::AtOrAfterOrLast, ..MD5_160 }),
        hash: Hash::Md5,
        ..ROW
    },
    PlacementSpec {
        name: "enyim-default",
        description: ".NET's Enyim with its default locator: 100 points by FNV-1a, keys before the first point are the last server's",
        rule: Rule::Circle(Circle {
            format: NodeKeyFormat::IpPort,
            equal: OWN_100,
            weighted: OWN_100,
            lookup: Lookup::AtOrAfterOrLast,
            ..MD5_160
        }),
        hash: Hash::Fnv1a32,
        chars: Chars::Unsigned,
        ..ROW
    },
    PlacementSpec {
        name: "xmemcached",
        description: "xmemcached's default: String.hashCode modulo the number of servers",
        rule: Rule::Modulo,
        hash: Hash::Java,
        ..XMEMCACHED
    },
    PlacementSpec {
        name: "xmemcached-ketama",
        description: "xmemcached's ketama locator: servers as host/ip:port or /ip:port",
        rule: Rule::Circle(Circle { format: NodeKeyFormat::JavaAddressSlash, ..XMEMCACHED_CIRCLE }),
        retry: Retry::Xmemcached,
        ..XMEMCACHED
    },
    PlacementSpec {
        name: "xmemcached-ketama-nginx",
        description: "the same, compatible with nginx's upstream consistent: servers as ip or ip:port",
        rule: Rule::Circle(Circle { format: NodeKeyFormat::IpUnlessDefault, ..XMEMCACHED_CIRCLE }),
        retry: Retry::Xmemcached,
        ..XMEMCACHED
    },
    PlacementSpec {
        name: "xmemcached-ketama-gwhalin",
        description: "the same, compatible with Whalin's client: servers as host:port",
        rule: Rule::Circle(XMEMCACHED_CIRCLE),
        retry: Retry::Xmemcached,
        ..XMEMCACHED
    },
    PlacementSpec {
        name: "xmemcached-libmemcached",
        description: "xmemcached's libmemcached locator: 100 points by one-at-a-time over unsigned bytes",
        rule: Rule::Circle(Circle {
            format: NodeKeyFormat::HostUnlessDefault,
            equal: OWN_100,
            weighted: OWN_100,
            ..XMEMCACHED_CIRCLE
        }),
        hash: Hash::OneAtATime,
        chars: Chars::Unsigned,
        retry: Retry::Xmemcached,
        ..ROW
    },
    PlacementSpec {
        name: "python-memcached",
        description: "python-memcached since 1.60: 15 bits of the CRC-32 modulo the total weight",
        rule: Rule::WeightedModulo(ListOrder::Configured),
        hash: Hash::Crc32,
        retry: Retry::Python,
        ..ROW
    },
    PlacementSpec {
        name: "python-memcached-1.59",
        description: "python-memcached before 1.60, where a hash of 0 counts as 1",
        rule: Rule::WeightedModulo(ListOrder::Configured),
        hash: Hash::Crc32NotZero,
        retry: Retry::Python,
        ..ROW
    },
    PlacementSpec {
        name: "remcached",
        description: "the Ruby gem remcached: the key as a number, modulo the servers that are connected",
        rule: Rule::LiveModulo,
        hash: Hash::Number,
        ..ROW
    },
];

/// The properties that most rows have in common.
const ROW: PlacementSpec = PlacementSpec {
    name: "",
    aliases: &[],
    description: "",
    rule: Rule::Modulo,
    hash: Hash::Md5,
    chars: Chars::Signed,
    hashes: &[],
    part: KeyPart::Whole,
    retry: Retry::Never,
    hashes_namespace: true,
};

const LIBMEMCACHED: PlacementSpec = PlacementSpec {
    hash: Hash::OneAtATime,
    hashes: &[
        Hash::OneAtATime,
        Hash::Md5,
        Hash::Crc32,
        Hash::Fnv1_64,
        Hash::Fnv1a64,
        Hash::Fnv1_32,
        Hash::Fnv1a32,
        Hash::Murmur,
        Hash::Murmur3,
        Hash::Jenkins,
    ],
    hashes_namespace: false,
    ..ROW
};

const TWEMPROXY: PlacementSpec = PlacementSpec {
    hash: Hash::Fnv1a64,
    hashes: &[
        Hash::OneAtATime,
        Hash::Md5,
        Hash::Crc16,
        Hash::Crc32,
        Hash::Crc32a,
        Hash::Fnv1_64,
        Hash::Fnv1a64,
        Hash::Fnv1_32,
        Hash::Fnv1a32,
        Hash::Murmur,
        Hash::Jenkins,
    ],
    ..ROW
};

const SPYMEMCACHED: PlacementSpec = PlacementSpec {
    hashes: &[Hash::Java, Hash::Crc32, Hash::Fnv1_64, Hash::Fnv1a64, Hash::Fnv1_32, Hash::Fnv1a32, Hash::Md5],
    chars: Chars::Utf16,
    retry: Retry::Spymemcached,
    ..ROW
};

const XMEMCACHED: PlacementSpec = PlacementSpec { retry: Retry::Never, ..SPYMEMCACHED };

const PROXY: PlacementSpec = PlacementSpec { hashes: &[Hash::Md5, Hash::Xxh3], ..ROW };

/// 160 MD5 points of `host:port`, the default of rings.
const MD5_160: Circle = Circle {
    format: NodeKeyFormat::HostPort,
    separator: '-',
    equal: FIXED_160,
    weighted: FIXED_160,
    order: Order::Unsigned,
    lookup: Lookup::AtOrAfter,
    tie: Tie::Last,
};

const KETAMA_WEIGHTED: Circle = Circle {
    format: NodeKeyFormat::Libmemcached,
    equal: SINGLE_160,
    weighted: SINGLE_160,
    tie: Tie::InOrder,
    ..MD5_160
};

/// Weights by libmemcached's formula if any are configured.
const SPY_CIRCLE: Circle = Circle { equal: KETAMA_160, weighted: SINGLE_160, ..MD5_160 };

const SHA384_160: Circle = Circle {
    equal: PointSpec { count: PointCount::Fixed(160), hash: PointHash::Sha384Words },
    weighted: PointSpec { count: PointCount::Single, hash: PointHash::Sha384Words },
    ..MD5_160
};

const XMEMCACHED_CIRCLE: Circle = Circle {
    equal: KETAMA_160,
    weighted: PointSpec { count: PointCount::Each(160), hash: PointHash::Ketama },
    tie: Tie::ByPosition,
    ..MD5_160
};

const FIXED_160: PointSpec = PointSpec { count: PointCount::Fixed(160), hash: PointHash::Md5Words };
const KETAMA_160: PointSpec = PointSpec { count: PointCount::Fixed(160), hash: PointHash::Ketama };
const SINGLE_160: PointSpec = PointSpec { count: PointCount::Single, hash: PointHash::Md5Words };
const OWN_100: PointSpec = PointSpec { count: PointCount::Fixed(100), hash: PointHash::KeyHash };
