//! The operations on one server.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_core::Stream;

use crate::error::Error;
use crate::ops::builder::{Command, Flush, Noop, Version};
use crate::ops::call::Call;
use crate::ops::call_many::CallMany;
use crate::proto::{IntoCowBytes, Request};
use crate::server::handle::ServerHandle;
use crate::server::reply_stream::ReplyStream;

/// Operations on this server.
impl ServerHandle {
    /// Sends a request to this server and returns its reply as data, including errors.
    ///
    /// The key is sent unchanged: neither the ring nor the client's namespace apply. The request is sent once: neither
    /// retries nor failover apply.
    ///
    /// # Cancel safety
    /// See [`Call`].
    pub fn call<'a>(&self, request: Request<'a>) -> Call<'a> {
        Call::to_server(Arc::clone(self.server()), request, self.parent())
    }

    /// Sends many requests to this server and returns a reply to each: see [`Client::call_many`].
    ///
    /// Keys are sent unchanged, as with [`ServerHandle::call`].
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = remcache_server::Server::start().await?;
    /// # let client = remcache::Client::new([server.address()])?;
    /// use remcache::{Request, Status};
    ///
    /// let replies = client.servers()[0].call_many(["foo", "bar"].map(Request::get)).await;
    /// assert!(replies.iter().all(|reply| reply.status == Status::KeyNotFound));
    /// # Ok(()) }
    /// ```
    ///
    /// # Cancel safety
    /// See [`CallMany`].
    ///
    /// [`Client::call_many`]: crate::client::Client::call_many
    pub fn call_many<'a>(&self, requests: impl IntoIterator<Item = Request<'a>>) -> CallMany<'a> {
        CallMany::to_server(Arc::clone(self.server()), requests, self.parent())
    }

    /// Sends a request to this server and returns its replies as a stream.
    pub fn replies(&self, request: Request<'_>) -> ReplyStream {
        ReplyStream::of_server(Ok(Arc::clone(self.server())), request.into_owned(), self.parent())
    }

    /// Fetches the server's statistics: general ones for an empty group, or `items`, `slabs`, `settings`, `sizes`, ….
    pub fn stats<'a>(&self, group: impl IntoCowBytes<'a>) -> Stats {
        Stats { replies: self.replies(Request::stat(group)), failed: false }
    }

    /// Fetches the server's version.
    pub fn version(&self) -> Version {
        Command::new(self.call(Request::version()))
    }

    /// Sends a no-op, to check that the server replies.
    pub fn noop(&self) -> Noop {
        Command::new(self.call(Request::noop()))
    }

    /// Removes all items from this server, immediately or after a [delay](Command::after).
    pub fn flush(&self) -> Flush {
        Command::new(self.call(Request::flush()))
    }

    /// Sets the server's log level.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::error::ErrorKind::Unsupported) on the binary protocol, before anything
    /// is sent: memcached does not support it there, and the connection would lose synchronization.
    pub fn verbosity(&self, level: u32) -> Noop {
        Command::new(self.call(Request::verbosity(level)))
    }
}

/// A stream of a server's statistics: names and values.
///
/// # Cancel safety
/// Dropping it does not cancel the request: the remaining replies are read and discarded.
#[derive(Debug)]
#[must_use = "a stream does nothing unless it is polled"]
pub struct Stats {
    replies: ReplyStream,
    failed: bool,
}

/// A statistic: its name and its value.
pub type Stat = (Bytes, Bytes);

impl Stats {
    /// Returns the next statistic; `None` after the last.
    ///
    /// # Errors
    /// Fails if the server does not know the group or is unavailable; the stream then ends.
    ///
    /// # Cancel safety
    /// Dropping the future loses no statistic.
    pub async fn next(&mut self) -> Option<Result<Stat, Error>> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// Collects all statistics into a list.
    ///
    /// # Errors
    /// Same as [`Stats::next`].
    ///
    /// # Cancel safety
    /// The statistics received so far are lost; the request changes nothing.
    pub async fn collect(mut self) -> Result<Vec<Stat>, Error> {
        let mut all = Vec::new();
        while let Some(stat) = self.next().await {
            all.push(stat?);
        }
        Ok(all)
    }
}

impl Stream for Stats {
    type Item = Result<Stat, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.failed {
            return Poll::Ready(None);
        }
        let Some(reply) = ready!(Pin::new(&mut self.replies).poll_next(cx)) else { return Poll::Ready(None) };
        if !reply.is_ok() {
            self.failed = true;
            return Poll::Ready(Some(Err(self.replies.error(&reply))));
        }
        // The last reply has neither name nor value.
        match reply.key.is_empty() && reply.value.is_empty() {
            true => Poll::Ready(None),
            false => Poll::Ready(Some(Ok((reply.key, reply.value)))),
        }
    }
}
