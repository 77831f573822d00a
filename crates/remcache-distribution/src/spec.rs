//! What distinguishes one client's placement from another's, as data; the clients themselves are in `spec_table.rs`.

use crate::Hash;
use crate::hash::Chars;
use crate::ketama::continuum::Lookup;
use crate::ketama::points::{PointCount, PointHash};
use crate::node_key::NodeKeyFormat;

/// One way of placing keys.
#[derive(Debug)]
pub(crate) struct PlacementSpec {
    pub(crate) name: &'static str,
    /// Clients that place keys the same way, by name.
    pub(crate) aliases: &'static [&'static str],
    /// One line for people.
    pub(crate) about: &'static str,
    pub(crate) rule: Rule,
    /// What keys are hashed with, unless another hash is chosen.
    pub(crate) hash: Hash,
    pub(crate) chars: Chars,
    /// The hashes that the client lets its users choose from; none, if it has but one.
    pub(crate) hashes: &'static [Hash],
    pub(crate) part: KeyPart,
    /// Where keys go next if that is another rule than [`Rule`]'s own order.
    pub(crate) retry: Retry,
    /// Whether what the client calls a namespace or a prefix has part in the placement.
    pub(crate) hashes_namespace: bool,
}

/// How a hash becomes a server.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Rule {
    /// Points on a circle.
    Circle(Circle),
    /// The hash modulo the number of servers.
    Modulo,
    /// The hash modulo the total weight, each server in as many buckets as its weight.
    WeightedModulo(ListOrder),
    /// The greatest score of server and key together.
    Rendezvous(NodeKeyFormat, Score),
    /// Lamping and Veach's jump hash.
    Jump,
    /// mcrouter's `furc_hash`.
    Furc,
    /// The key as a number, modulo the servers that are connected.
    LiveModulo,
}

/// In which order a list is counted through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ListOrder {
    /// As it was configured.
    Configured,
    /// By the servers' texts, a shorter one first: twemproxy sorts its servers to find duplicates
    /// (`conf_validate_server`), and leaves them so.
    ByText(NodeKeyFormat),
}

/// A circle of points.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Circle {
    pub(crate) format: NodeKeyFormat,
    /// What stands between a server's text and the number of a point.
    pub(crate) separator: char,
    /// The points while all weights are 1.
    pub(crate) equal: PointSpec,
    /// The points if some weight is not 1.
    pub(crate) weighted: PointSpec,
    pub(crate) order: Order,
    pub(crate) lookup: Lookup,
    pub(crate) tie: Tie,
}

/// How many points a server has, and of what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PointSpec {
    pub(crate) count: PointCount,
    pub(crate) hash: PointHash,
}

/// What positions are compared as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Numbers of 32 bits.
    Unsigned,
    /// Numbers of 32 bits, the upper half negative.
    Signed,
    /// Numbers of 128 bits.
    Wide,
}

/// Who has a position on which several points fall.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tie {
    /// All stay, in the order of the list.
    InOrder,
    /// The last of the list, which overwrote the others.
    Last,
    /// The last by name, as the servers were sorted before.
    LastByName,
    /// The one whose place among them, sorted by name, is the position modulo their number.
    ByPosition,
}

/// What servers are scored by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Score {
    /// pymemcache's: murmur3 of `server-key`, the key as Python prints it.
    Pymemcache(PythonKey),
    /// Weighted rendezvous over XXH3 of 64 bits.
    Rendezvous,
}

/// What a key is in a Python program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PythonKey {
    /// A `str`: the lowest byte of each code point.
    Str,
    /// A `bytes`: `b'…'`, as `repr` prints it.
    Bytes,
}

/// What part of a key is hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyPart {
    Whole,
    /// The first 256 bytes.
    First256,
    /// What is before `|#|`, without a routing prefix `/region/cluster/`.
    BeforeHashStop,
}

/// Where keys go whose server is away, before the rule's own order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Retry {
    /// Nowhere else: the next point, bucket or score.
    Never,
    /// The hash plus that of the number of the try and the key, seven tries from 0: spymemcached's.
    Spymemcached,
    /// The same, as many tries as servers, from 1: xmemcached's.
    Xmemcached,
    /// The hash of the number of the try and the key, 19 times: Dalli's.
    Dalli,
    /// The hash of the hash, in digits, and the number of the try, nine times: python-memcached's.
    Python,
    /// The hash mixed again, eight times.
    Mixed,
}
