//! Source backed by a stream of lists.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use futures_core::Stream;

use super::{Discover, DiscoverError};

/// Source backed by a stream of lists or results; created by [`stream`].
pub struct StreamSource<S> {
    name: String,
    stream: Pin<Box<S>>,
}

/// Creates a source from a stream; the name appears in logs and errors.
///
/// An item is a list, or a result whose error counts as a failed lookup. When the stream ends, the last
/// list stays in use.
///
/// ```
/// use remcache::{Client, discovery};
/// # use std::pin::Pin;
/// # use std::task::{Context, Poll};
/// # struct Watch(tokio::sync::mpsc::Receiver<Vec<String>>);
/// # impl futures_core::Stream for Watch {
/// #     type Item = Vec<String>;
/// #     fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Vec<String>>> {
/// #         self.0.poll_recv(cx)
/// #     }
/// # }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (sender, receiver) = tokio::sync::mpsc::channel(1);
/// # let watch = Watch(receiver);
/// let client = Client::new(["cache1"])?;
/// let following = discovery::follow(&client, discovery::stream("the registry", watch));
/// let mut events = following.events();
/// # sender.send(vec!["cache1".to_owned(), "cache2".to_owned()]).await?;
/// println!("{:?}", events.next().await); // Changed { …, added: ["cache2"], removed: [] }
/// assert_eq!(client.servers().len(), 2);
/// # Ok(()) }
/// ```
pub fn stream<S>(name: impl Into<String>, stream: S) -> StreamSource<S>
where
    S: Stream<Item: IntoServerList> + Send + 'static,
{
    StreamSource { name: name.into(), stream: Box::pin(stream) }
}

/// An item of a stream of lists.
pub trait IntoServerList: Send {
    /// Converts into a list of servers, or the error of a failed lookup.
    ///
    /// # Errors
    /// The stream's error.
    fn into_server_list(self) -> Result<Vec<String>, DiscoverError>;
}

impl IntoServerList for Vec<String> {
    fn into_server_list(self) -> Result<Vec<String>, DiscoverError> {
        Ok(self)
    }
}

impl<E: Into<DiscoverError> + Send> IntoServerList for Result<Vec<String>, E> {
    fn into_server_list(self) -> Result<Vec<String>, DiscoverError> {
        self.map_err(Into::into)
    }
}

impl<S> Discover for StreamSource<S>
where
    S: Stream<Item: IntoServerList> + Send + 'static,
{
    fn name(&self) -> String {
        self.name.clone()
    }

    fn interval(&self) -> Duration {
        Duration::ZERO
    }

    async fn fetch_servers(&mut self) -> Result<Option<Vec<String>>, DiscoverError> {
        let item = poll_fn(|cx| self.stream.as_mut().poll_next(cx)).await;
        item.map(IntoServerList::into_server_list).transpose()
    }
}

impl<S> fmt::Debug for StreamSource<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StreamSource").field(&self.name).finish()
    }
}
