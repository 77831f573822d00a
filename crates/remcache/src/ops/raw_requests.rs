//! Low-level requests: any [`Request`], its [`Reply`] as data.

use std::ops::ControlFlow;
use std::time::SystemTime;

use crate::client::Client;
use crate::observe::Parent;
use crate::ops::call::Call;
use crate::ops::call_many::CallMany;
use crate::proto::{Reply, Request};
use crate::server::reply_stream::ReplyStream;

/// Low-level requests.
impl Client {
    /// Sends a request and returns its reply as data, including errors.
    ///
    /// A request without a key goes to the first server; see [`Client::servers`] for the others.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = remcache_server::Server::start().await?;
    /// # let client = remcache::Client::new([server.address()])?;
    /// use remcache::{Request, Status};
    ///
    /// let reply = client.call(Request::get("Hello")).await;
    /// match reply.status {
    ///     Status::NoError => println!("{}", reply.text()),
    ///     Status::KeyNotFound => println!("a miss"),
    ///     Status::Disconnected(delivery) => println!("unavailable, {delivery}"),
    ///     other => println!("{other}"),
    /// }
    /// # assert_eq!(reply.status, Status::KeyNotFound);
    /// # Ok(()) }
    /// ```
    ///
    /// # Cancel safety
    /// See [`Call`].
    #[inline]
    pub fn call<'a>(&'a self, request: Request<'a>) -> Call<'a> {
        Call::to_cluster(self, request)
    }

    /// Sends many requests, each with its own options, and returns a reply to each, including errors; for example to
    /// store items with different flags and TTLs.
    ///
    /// Only requests with a key are sent; the others fail with
    /// [`InvalidArguments`](crate::Status::InvalidArguments).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = remcache_server::Server::start().await?;
    /// # let client = remcache::Client::new([server.address()])?;
    /// use std::time::Duration;
    /// use remcache::Request;
    ///
    /// let hour = Duration::from_secs(3600);
    /// let replies = client.call_many([Request::set("a", "1").flags(7), Request::set("b", "2").ttl(hour)]).await;
    /// assert!(replies.iter().all(|reply| reply.is_ok()));
    /// # Ok(()) }
    /// ```
    ///
    /// # Cancel safety
    /// See [`CallMany`].
    pub fn call_many<'a>(&'a self, requests: impl IntoIterator<Item = Request<'a>>) -> CallMany<'a> {
        CallMany::to_cluster(self, requests)
    }

    /// Sends a request and passes each reply to a callback, until that returns [`ControlFlow::Break`].
    ///
    /// The callback runs in its own task: it may take its time, and a panic affects only that task. It is called at
    /// least once. For retries and failover see [`ReplyStream`].
    ///
    /// # Panics
    /// Panics outside of a Tokio runtime.
    pub fn call_with(&self, request: Request<'_>, mut callback: impl FnMut(Reply) -> ControlFlow<()> + Send + 'static) {
        let mut replies = self.replies(request);
        tokio::spawn(async move {
            while let Some(reply) = replies.next().await {
                if callback(reply).is_break() {
                    break;
                }
            }
        });
    }

    /// Sends a request and returns its replies as a stream, for requests with several replies such as statistics.
    pub fn replies(&self, request: Request<'_>) -> ReplyStream {
        let request = request.into_owned().resolve_ttl(SystemTime::now);
        // A request without a key goes to one server; only such requests have several replies.
        let has_key = request.operation().has_key();
        if self.shared().is_routed && has_key {
            let (client, routed) = (self.clone(), request.clone());
            return ReplyStream::of_call(async move { client.call(routed).await }, request);
        }
        let namespace = &self.config().namespace;
        let request = request.prefix_key(namespace);
        let server = self.cluster().server_of(&request);
        let replies = ReplyStream::of_server(server, request, Parent::of(self.scope()));
        if has_key { replies.without_namespace(namespace.len()) } else { replies }
    }

    /// Sends a request without waiting for the reply, which is read and discarded.
    ///
    /// Returns whether the request was queued; `false` if it is invalid, the server is known to be down, or the
    /// connection's limits are reached.
    pub fn send_no_reply(&self, request: Request<'_>) -> bool {
        self.call(request).send_no_reply()
    }
}
