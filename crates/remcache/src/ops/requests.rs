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
    /// Asks, and gives the outcome as data, whatever it is. It cannot fail.
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
    ///     Status::Disconnected(delivery) => println!("away, {delivery}"),
    ///     other => println!("{other}"),
    /// }
    /// # assert_eq!(reply.status, Status::KeyNotFound);
    /// # Ok(()) }
    /// ```
    ///
    /// # Cancellation
    /// See [`Call`].
    #[inline]
    pub fn call<'a>(&'a self, request: Request<'a>) -> Call<'a> {
        Call::to_cluster(self, request)
    }

    /// Asks many things at once, each as it is, and gives a reply to each, whatever it is: every item of
    /// a list with flags and a time to live of its own, for instance.
    ///
    /// Only requests on items can be asked; the others are refused, as
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
    /// # Cancellation
    /// See [`CallMany`].
    pub fn call_many<'a>(&'a self, requests: impl IntoIterator<Item = Request<'a>>) -> CallMany<'a> {
        CallMany::to_cluster(self, requests)
    }

    /// Asks, and hands each reply to a callback, which is kept while it returns [`ControlFlow::Continue`].
    ///
    /// The callback runs in a task of its own: it may take its time, and a panic ends it alone. It
    /// is called at least once, whatever happens. Which servers are asked, and how often: see
    /// [`ReplyStream`].
    ///
    /// # Panics
    /// Outside of a tokio runtime.
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

    /// Asks, and gives the replies as a stream: for requests that have many, such as statistics.
    pub fn replies(&self, request: Request<'_>) -> ReplyStream {
        let request = request.into_owned().resolve_ttl(SystemTime::now);
        // A request without a key concerns one server; only such requests have many replies.
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

    /// Asks without waiting for the reply, which is read and thrown away.
    ///
    /// Returns whether the request was queued: it was not if it is invalid, the server is known to
    /// be down, or the connection's limits are reached.
    pub fn cast(&self, request: Request<'_>) -> bool {
        self.call(request).cast()
    }
}
