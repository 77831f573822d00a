//! A flush of all servers, with one result per server.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::time::Duration;

use crate::client::Client;
use crate::error::Error;
use crate::observe::OperationName;
use crate::server::handle::ServerHandle;

/// A flush of all servers: await it to remove all items, optionally after a [delay](FlushAll::after).
///
/// # Cancel safety
/// Servers that have received the request still flush.
#[must_use = "a flush does nothing unless it is awaited"]
pub struct FlushAll<'a> {
    client: &'a Client,
    delay: Duration,
    timeout: Option<Duration>,
}

impl<'a> FlushAll<'a> {
    pub(crate) fn new(client: &'a Client) -> Self {
        Self { client, delay: Duration::ZERO, timeout: None }
    }

    /// Sets the delay after which the servers flush (default: none). Items stored until then are removed too, and
    /// another flush replaces a pending one.
    pub fn after(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }

    /// Sets the timeout for each server's reply, instead of the client's
    /// [`timeout`](crate::config::Config::timeout).
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout: Some(timeout), ..self }
    }
}

impl<'a> IntoFuture for FlushAll<'a> {
    type Output = ServerResults<()>;
    type IntoFuture = Pin<Box<dyn Future<Output = ServerResults<()>> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { client, delay, timeout } = self;
        let flush = move |server: &ServerHandle| {
            let flush = server.flush().after(delay);
            match timeout {
                Some(timeout) => flush.timeout(timeout),
                None => flush,
            }
        };
        Box::pin(async move { ServerResults(client.on_all_servers(OperationName::Flush, flush).await) })
    }
}

impl fmt::Debug for FlushAll<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FlushAll").field("delay", &self.delay).finish_non_exhaustive()
    }
}

/// The results of an operation on all servers: one per server.
#[derive(Debug)]
#[must_use = "some servers may have failed: check each result, or call `into_result`"]
pub struct ServerResults<T>(Vec<(ServerHandle, Result<T, Error>)>);

impl<T> ServerResults<T> {
    /// Converts into the values of all servers, in the order of the servers.
    ///
    /// # Errors
    /// The first error, which names its server.
    pub fn into_result(self) -> Result<Vec<T>, Error> {
        self.0.into_iter().map(|(_, result)| result).collect()
    }

    /// Returns the servers that failed, with their errors.
    pub fn failed(&self) -> impl Iterator<Item = (&ServerHandle, &Error)> {
        self.0.iter().filter_map(|(server, result)| result.as_ref().err().map(|error| (server, error)))
    }
}

impl<T> Deref for ServerResults<T> {
    type Target = Vec<(ServerHandle, Result<T, Error>)>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<T> DerefMut for ServerResults<T> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl<T> IntoIterator for ServerResults<T> {
    type Item = (ServerHandle, Result<T, Error>);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a, T> IntoIterator for &'a ServerResults<T> {
    type Item = &'a (ServerHandle, Result<T, Error>);
    type IntoIter = std::slice::Iter<'a, (ServerHandle, Result<T, Error>)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}
