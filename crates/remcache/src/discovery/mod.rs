//! Service discovery: sources of server lists, and a task that applies them to a client.
//!
//! A [source](Discover) is polled or pushes updates; every valid list is applied with
//! [`Client::set_servers`](crate::client::Client::set_servers), so servers that stay keep their connections,
//! and requests on servers that leave complete normally.
//!
//! ```
//! use remcache::{Config, discovery};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let server = remcache_server::Server::start().await?;
//! # let directory = tempfile::tempdir()?;
//! # let path = directory.path().join("servers");
//! # std::fs::write(&path, format!("{}  # the first\n", server.address()))?;
//! let source = discovery::WatchedFile::new(&path); // one address per line
//! let (client, following) = discovery::connect(source, Config::new()).await?;
//! client.set("Hello", "World").await?;
//! assert_eq!(following.state().servers, [server.address()]);
//! # Ok(()) }
//! ```
//!
//! # Sources
//!
//! | source | a server's identity in the ring | looked up |
//! |---|---|---|
//! | `Dns` (feature `dns`) | `ip:port`, one for each A and AAAA record | when the records' TTL expires, within bounds |
//! | `Srv` (feature `dns`) | `target:port`, with the record's weight | the same |
//! | [`ElastiCache`] | `host:port` as the configuration endpoint lists it | every 60 s |
//! | [`WatchedFile`] | the address in the file | every second |
//! | [`stream`] | the address in the stream | with each item of the stream |
//!
//! A ring places keys by the *names* in the list, never by what they resolve to. With SRV records, a configuration
//! endpoint or a file of host names, a server that keeps its name keeps its keys when its address changes. With A and
//! AAAA records the address *is* the name: a server that comes back under another address is a different server, and
//! its share of the keys moves.
//!
//! # Common behaviour
//!
//! - **A failed lookup changes nothing.** The last valid list stays in use; the failure is reported in the
//!   [state](Subscription::state), in the [events](Subscription::events) and in the log.
//! - **An empty list is a failure**, and so is a list with an invalid address: the error names it, and no part of the
//!   list is used.
//! - **Duplicate addresses** count once; the state reports them.
//! - **Equal lists change nothing.** DNS answers are sorted, because name servers rotate them: placements by the index
//!   of servers (`remcached`, modulo) would move nearly all keys with each rotation. Other sources keep their order,
//!   which is part of the configuration.
//! - **Any valid list is applied, even if it drops most servers**: only the source can know whether that is a mistake.
//! - **Failures are retried with exponential backoff**, starting at 100 ms, up to the source's interval (at least a
//!   second), with jitter from a third of the delay up to it. Intervals have 10 % jitter, so that many programs do not
//!   poll at once.
//!
//! Sources cannot provide URL options: lists contain addresses only.
//!
//! # URLs
//!
//! [`connect_url`] takes a source as a URL, with the options of [`Config::from_url`]:
//!
//! | URL | source |
//! |---|---|
//! | `dns+memcached://cache.example:11211/` (feature `dns`) | `Dns`: the addresses of the name |
//! | `dnssrv+memcached://_memcache._tcp.example/` (feature `dns`) | `Srv`: the targets of the service |
//! | `elasticache+memcacheds://fleet.cfg.use1.cache.amazonaws.com:11211/?timeout=250ms` | [`ElastiCache`], here over TLS |
//!
//! The part after the `+` may also be an address alone: `dns+cache.example:11211`.
pub(crate) mod poll_backoff;
pub(crate) mod stream_source;
pub(crate) mod subscription;
pub(crate) mod watcher;

mod cluster_config;
#[cfg(feature = "dns")]
mod dns;
mod elasticache;
mod file;
mod list;
#[cfg(feature = "dns")]
mod resolver;
mod url;

use std::future::Future;
use std::time::Duration;

use tokio::time::{sleep, timeout};

pub use crate::discovery::stream_source::{IntoServerList, StreamSource, stream};
pub use crate::discovery::subscription::{Event, Events, State, Subscription};
#[cfg(feature = "dns")]
pub use dns::{Dns, Srv};
pub use elasticache::ElastiCache;
pub use file::WatchedFile;
pub use url::{UrlSource, connect_url, resolve_url};

use crate::client::Client;
use crate::config::Config;
use crate::discovery::poll_backoff::Pace;
use crate::discovery::watcher::{Watcher, fetch_list};
use crate::error::{Error, ErrorKind};
use list::List;

/// Error of a source; any error or text converts into it with `?` or `into`.
pub type DiscoverError = Box<dyn std::error::Error + Send + Sync>;

/// A source of server lists.
///
/// ```
/// use std::time::Duration;
/// use remcache::discovery::{Discover, DiscoverError};
///
/// /// Queries the operators' own inventory.
/// struct Inventory;
///
/// impl Discover for Inventory {
///     fn name(&self) -> String {
///         "the inventory".to_owned()
///     }
///     fn interval(&self) -> Duration {
///         Duration::from_secs(30)
///     }
///     async fn fetch_servers(&mut self) -> Result<Option<Vec<String>>, DiscoverError> {
///         Ok(Some(vec!["cache1:11211".to_owned(), "cache2:11211".to_owned()]))
///     }
/// }
/// ```
pub trait Discover: Send + 'static {
    /// Returns the name of this source in logs and errors.
    fn name(&self) -> String;

    /// Returns the delay between a successful lookup and the next one; zero if
    /// [`fetch_servers`](Discover::fetch_servers) itself waits for a change.
    fn interval(&self) -> Duration;

    /// Copies settings that the source shares with the client, such as TLS; called once, before the first lookup. The
    /// default does nothing.
    fn configure(&mut self, config: &Config) {
        let _ = config;
    }

    /// Fetches the list once: addresses in the syntax of [`Client::new`], but no comma-separated lists or URLs;
    /// `None` if there will be no further lists.
    ///
    /// Implementations must enforce their own time limit.
    ///
    /// # Errors
    /// Any failure; the lookup is retried with backoff.
    ///
    /// # Cancel safety
    /// The future is dropped when the subscription ends.
    fn fetch_servers(&mut self) -> impl Future<Output = Result<Option<Vec<String>>, DiscoverError>> + Send;
}

/// Connects a client to the servers of a source, and returns the subscription that keeps it up to date.
///
/// Waits up to 10 s for the first valid list: see [`connect_with_timeout`].
///
/// # Errors
/// [`ErrorKind::Discovery`] with the last failure if there is no valid list in time, and [`ErrorKind::Config`] if a
/// setting is invalid.
///
/// # Cancel safety
/// The lookup is cancelled, and no task remains.
pub async fn connect(source: impl Discover, config: Config) -> Result<(Client, Subscription), Error> {
    connect_with_timeout(source, config, FIRST_LIST).await
}

/// Connects like [`connect`], but waits for the first valid list for at most `limit`.
///
/// Servers in the settings are replaced by those of the source.
///
/// # Errors
/// Same as [`connect`].
///
/// # Cancel safety
/// Same as [`connect`].
pub async fn connect_with_timeout(
    mut source: impl Discover,
    mut config: Config,
    limit: Duration,
) -> Result<(Client, Subscription), Error> {
    let mut pace = Pace::new(config.seed);
    source.configure(&config);
    let first = first_list(&mut source, &mut pace, limit).await?;
    config.servers.clear();
    let client = Client::with_config(&first.addresses, config)?;
    let wait = pace.after_success(source.interval());
    let following = Watcher::start(client.clone(), source, pace, Some((first, wait)));
    Ok((client, following))
}

/// Applies the lists of a source to a client until the returned subscription is dropped.
///
/// The client's own list stays in use until the first valid one. A later change by [`Client::set_servers`] lasts until
/// the source reports another list.
///
/// # Panics
/// Panics outside of a Tokio runtime.
pub fn follow(client: &Client, mut source: impl Discover) -> Subscription {
    source.configure(client.config());
    let pace = Pace::new(client.config().seed);
    Watcher::start(client.clone(), source, pace, None)
}

async fn first_list(source: &mut impl Discover, pace: &mut Pace, limit: Duration) -> Result<List, Error> {
    let mut last = None;
    let look_until_good = async {
        loop {
            match fetch_list(source).await {
                Ok(Some(list)) => return Ok(list),
                Ok(None) => return Err(failed(source, "the source ended before its first list")),
                Err(error) => {
                    tracing::warn!(source = source.name(), %error, "no server list yet");
                    last = Some(error);
                }
            }
            sleep(pace.after_failure(source.interval())).await;
        }
    };
    match timeout(limit, look_until_good).await {
        Ok(ended) => ended,
        Err(_) => Err(last.unwrap_or_else(|| failed(source, &format!("no reply within {limit:?}")))),
    }
}

/// Returns the error of a source.
fn failed(source: &impl Discover, what: &str) -> Error {
    Error::new(ErrorKind::Discovery, format!("{}: {what}", source.name()))
}

/// Time that [`connect`] waits for the first valid list.
const FIRST_LIST: Duration = Duration::from_secs(10);
