//! What the clients write for values with a type: flags and bytes.

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use remcache::Client;
use remcache_testkit::Memcached;
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;

use crate::{Location, Peer, Setting, Value, Written, catalogue, install};

/// One value, and what a client wrote for it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Recorded {
    /// The client.
    pub client: String,
    /// Its version.
    pub version: String,
    /// What it was told, beside its defaults.
    pub options: String,
    /// The value.
    pub value: Value,
    /// The flags of the item.
    pub flags: u32,
    /// The bytes of the item, in base64.
    pub bytes: String,
    /// What the client itself reads again, if that is another value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read: Option<Value>,
}

impl Recorded {
    /// Whether it is worth a line in a file: what is stored long is stored as it is, which shorter values show.
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.bytes.len() <= 1400
    }
}

/// Lets a client write every value that it has, in each of its ways.
///
/// # Errors
/// When the client is not installed or fails.
pub fn record(peer: &Peer) -> Result<Vec<Recorded>> {
    let server = Memcached::start(&[]);
    let address: std::net::SocketAddrV4 = server.addr().parse()?;
    let servers = [Location { address, weight: 1 }];
    let runtime = Runtime::new()?;
    let client = {
        let _inside = runtime.enter();
        Client::new([server.addr()])?
    };
    let profile = peer.setups.first().context("a client has a profile")?.profile;
    let mut program = install(peer)?.start()?;
    let mut recorded = Vec::new();
    for options in peer.values {
        let version = program.configure(&Setting { profile, options, hash: None, servers: &servers })?;
        for (number, value) in catalogue().into_iter().enumerate() {
            let key = format!("value:{number}");
            runtime.block_on(client.delete(&key))?;
            if let Written::Refused(_) = program.write(&key, &value)? {
                continue;
            }
            let Some(item) = runtime.block_on(client.get(&key))? else { continue };
            let read = program.read(&key).ok().filter(|read| !read.is(&value));
            recorded.push(Recorded {
                client: peer.name.to_owned(),
                version: version.clone(),
                options: (*options).to_owned(),
                value,
                flags: item.flags,
                bytes: STANDARD.encode(&item.value),
                read,
            });
        }
    }
    Ok(recorded)
}
