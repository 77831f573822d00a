//! The properties that distinguish clients' placements, as data; the clients are in `spec_table.rs`.

use crate::Hash;
use crate::hash::Chars;
use crate::ketama::continuum::Lookup;
use crate::ketama::points::{PointCount, PointHash};
use crate::node_key::NodeKeyFormat;

/// The placement of one client.
#[derive(Debug)]
pub(crate) struct PlacementSpec {
    pub(crate) name: &'static str,
    /// Clients that place keys the same way, by name.
    pub(crate) aliases: &'static [&'static str],
    /// A description in one line.
    pub(crate) description: &'static str,
    pub(crate) rule: Rule,
    /// The default hash of keys.
    pub(crate) hash: Hash,
    pub(crate) chars: Chars,
    /// The hashes that the client offers; none if it has only one.
    pub(crate) hashes: &'static [Hash],
    pub(crate) part: KeyPart,
    /// The order of fallbacks, if it is not that of the [`Rule`].
    pub(crate) retry: Retry,
    /// Whether the client's namespace or prefix is hashed with the key.
    pub(crate) hashes_namespace: bool,
}

/// The algorithm that maps a hash to a server.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Rule {
    /// Points on a circle.
    Circle(Circle),
    /// The hash modulo the number of servers.
    Modulo,
    /// The hash modulo the total weight, each server in as many buckets as its weight.
    WeightedModulo(ListOrder),
    /// The highest score of server and key.
    Rendezvous(NodeKeyFormat, Score),
    /// Lamping and Veach's jump hash.
    Jump,
    /// mcrouter's `furc_hash`.
    Furc,
    /// The key as a number, modulo the connected servers.
    LiveModulo,
}

/// The order of the servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ListOrder {
    /// As it was configured.
    Configured,
    /// By the servers' texts, a shorter one first: twemproxy sorts its servers to find duplicates
    /// (`conf_validate_server`), and keeps that order.
    ByText(NodeKeyFormat),
}

/// A circle of points.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Circle {
    pub(crate) format: NodeKeyFormat,
    /// The separator between a server's text and the number of a point.
    pub(crate) separator: char,
    /// The points if all weights are 1.
    pub(crate) equal: PointSpec,
    /// The points if some weight is not 1.
    pub(crate) weighted: PointSpec,
    pub(crate) order: Order,
    pub(crate) lookup: Lookup,
    pub(crate) tie: Tie,
}

/// The number of a server's points, and their hash.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PointSpec {
    pub(crate) count: PointCount,
    pub(crate) hash: PointHash,
}

/// The type as which positions are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Numbers of 32 bits.
    Unsigned,
    /// Numbers of 32 bits, the upper half negative.
    Signed,
    /// Numbers of 128 bits.
    Wide,
}

/// The rule that decides which server has a position with several points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tie {
    /// All points are kept, in the order of the list.
    InOrder,
    /// The last server of the list.
    Last,
    /// The last server by name.
    LastByName,
    /// The server whose index among them, sorted by name, is the position modulo their number.
    ByPosition,
}

/// The score of rendezvous hashing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Score {
    /// pymemcache's: murmur3 of `server-key`, the key as Python prints it.
    Pymemcache(PythonKey),
    /// Weighted rendezvous over XXH3 of 64 bits.
    Rendezvous,
}

/// The type of keys in a Python program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PythonKey {
    /// A `str`: the lowest byte of each code point.
    Str,
    /// A `bytes`: `b'…'`, as `repr` prints it.
    Bytes,
}

/// The part of a key that is hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyPart {
    Whole,
    /// The first 256 bytes.
    First256,
    /// The part before `|#|`, without a routing prefix `/region/cluster/`.
    BeforeHashStop,
}

/// The rule that replaces a server that is down, before the distribution's own order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Retry {
    /// The rule's own order: the next point, bucket or score.
    Never,
    /// The hash plus that of the attempt's number and the key, seven attempts from 0: spymemcached's.
    Spymemcached,
    /// The same, as many attempts as servers, from 1: xmemcached's.
    Xmemcached,
    /// The hash of the attempt's number and the key, 19 times: Dalli's.
    Dalli,
    /// The hash of the hash, in digits, and the attempt's number, nine times: python-memcached's.
    Python,
    /// The hash mixed again, eight times.
    Mixed,
}
