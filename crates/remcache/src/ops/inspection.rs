//! Item metadata, and checks for existence.

use std::time::Duration;

use crate::client::Client;
use crate::observe::OperationName;
use crate::ops::builder::{Command, Inspect};
use crate::proto::{IntoCowBytes, ItemInfo, Reply, Request, Status, Ttl};
use crate::result::refusal;
use crate::sentinel::is_sentinel;

/// An item's metadata, as it was before this request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Inspection {
    /// The flags stored with the value.
    pub flags: u32,
    /// The CAS value.
    pub cas: u64,
    /// The remaining TTL.
    pub ttl: Option<Ttl>,
    /// The time since the last access, in whole seconds.
    pub last_access: Option<Duration>,
    /// Whether the item was ever fetched.
    pub fetched: Option<bool>,
    /// The length of the value in bytes.
    pub size: Option<u64>,
    /// Whether the item is marked as stale.
    pub stale: bool,
}

impl Inspection {
    /// Returns whether the item is a sentinel rather than a value: see
    /// [`Item::is_sentinel`](crate::result::Item::is_sentinel).
    pub fn is_sentinel(&self) -> bool {
        is_sentinel(self.flags)
    }
}

impl Client {
    /// Fetches an item's metadata, which does not count as an access; `None` is a miss.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = remcache_server::Server::start().await?;
    /// # let config = remcache::Config::new().protocol(remcache::config::ProtocolSetting::Meta);
    /// # let client = remcache::Client::with_config([server.address()], config)?;
    /// client.set("Hello", "World").await?;
    /// if let Some(inspection) = client.inspect("Hello").await? {
    ///     assert_eq!(inspection.size, Some(5));
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::error::ErrorKind::Unsupported) unless the connection uses the meta protocol
    /// (`protocol=meta`, or `auto` with memcached 1.6.18 or newer). See [`ErrorKind`](crate::error::ErrorKind).
    ///
    /// # Cancel safety
    /// The request changes nothing.
    pub fn inspect<'a>(&'a self, key: impl IntoCowBytes<'a>) -> Inspect<'a> {
        Command::new(self.call(Request::inspect(key))).named(OperationName::Inspect)
    }
}

pub(crate) fn inspection(reply: &mut Reply) -> Result<Option<Inspection>, Box<Reply>> {
    match reply.status {
        Status::NoError => {
            let (flags, cas) = (reply.flags, reply.cas);
            let ItemInfo { remaining_ttl, last_access, fetched, size, stale, .. } =
                *reply.info.take().unwrap_or_default();
            Ok(Some(Inspection { flags, cas, ttl: remaining_ttl, last_access, fetched, size, stale }))
        }
        Status::KeyNotFound => Ok(None),
        _ => Err(refusal(reply)),
    }
}

pub(crate) fn existence(reply: &mut Reply) -> Result<bool, Box<Reply>> {
    match reply.status {
        Status::NoError => Ok(!is_sentinel(reply.flags)),
        Status::KeyNotFound => Ok(false),
        _ => Err(refusal(reply)),
    }
}
