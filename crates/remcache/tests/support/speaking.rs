//! Clients of one wire.

use remcache::Config;
use remcache::client::Protocol;
use remcache::proto::Wire;

/// The settings with which a client speaks a wire, and no other; each get is a command of its own.
pub(crate) fn speaking(wire: Wire, config: Config) -> Config {
    let protocol = Protocol::ALL.into_iter().find(|protocol| protocol.wire() == Some(wire));
    config.protocol(protocol.expect("it has a name")).keys_in_line(1)
}
