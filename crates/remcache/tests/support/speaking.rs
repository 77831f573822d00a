//! Clients of one wire.

use remcache::Config;
use remcache::client::Protocol;
use remcache::proto::Wire;

/// The settings with which a client speaks a wire, and no other.
pub(crate) fn speaking(wire: Wire, config: Config) -> Config {
    config.protocol(Protocol::ALL.into_iter().find(|protocol| protocol.wire() == Some(wire)).expect("it has a name"))
}
