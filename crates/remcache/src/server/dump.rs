//! Dumps and logs: a server's items and its event log, streamed over an exclusive connection.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{sleep, timeout};

use crate::address::Address;
use crate::error::{Error, ErrorKind};
use crate::observe::OperationGuard;
use crate::observe::{Counts, OperationName, OperationStarted, Outcome, Parent};
use crate::proto::text::{self, MetadumpItem, TextReply};
use crate::proto::{Delivery, InputBuffer, Output, Reply, ReplyShape, Request, Status};
use crate::server::Server;
use crate::transport::Stream;

/// The entries of a dump or log of one server, read over an exclusive connection.
///
/// It is read only as fast as entries are requested, so nothing accumulates in memory.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let server = remcache_testkit::Memcached::start(&[]);
/// # let client = remcache::Client::new([server.addr()])?;
/// client.set("Hello", "World").await?;
/// let mut items = client.servers()[0].metadump();
/// while let Some(item) = items.next().await {
///     let item = item?;
///     println!("{} takes {} bytes", item.key.escape_ascii(), item.size);
/// }
/// # Ok(()) }
/// ```
///
/// Dropping it closes its connection.
#[must_use = "a dump does nothing unless its entries are read"]
pub struct ItemStream<T> {
    server: Arc<Server>,
    request: Request<'static>,
    entry: fn(Reply) -> Option<T>,
    /// How long the server may send nothing; `None` for a log, which is sent as events occur.
    silence: Option<Duration>,
    state: StreamState,
    operation: OperationGuard,
}

enum StreamState {
    Start,
    Reading { stream: Box<dyn Stream>, input: InputBuffer, expected: ReplyShape },
    Ended,
}

/// The result of a read.
enum ReadResult {
    Reply(TextReply),
    /// Another client's dump is in progress.
    Busy(Error),
}

impl<T> ItemStream<T> {
    fn new(server: Arc<Server>, request: Request<'static>, entry: fn(Reply) -> Option<T>) -> Self {
        let silence = Some(server.config().limits.keepalive_timeout);
        Self { server, request, entry, silence, state: StreamState::Start, operation: OperationGuard::default() }
    }

    /// Connects and waits until the server has accepted the request; [`next`](Self::next) does so if needed.
    ///
    /// # Errors
    /// Same as [`next`](Self::next); the stream then ends.
    ///
    /// # Cancel safety
    /// If the future is dropped, the server may or may not have accepted the request.
    pub async fn open(&mut self) -> Result<(), Error> {
        match self.state {
            StreamState::Start => match self.begin().await {
                Ok(()) => Ok(()),
                Err(error) => self.fail(error).map(drop),
            },
            StreamState::Reading { .. } | StreamState::Ended => Ok(()),
        }
    }

    /// Returns the next entry; `None` after the last.
    ///
    /// While the server is busy with another dump, the request is repeated for as long as the client tolerates an
    /// unresponsive server.
    ///
    /// # Errors
    /// Fails if the server is unavailable, does not support the text protocol or the request, or closes the connection
    /// before the end of the list; the stream then ends.
    ///
    /// # Cancel safety
    /// Dropping the future loses no entry.
    pub async fn next(&mut self) -> Option<Result<T, Error>> {
        loop {
            let next = match &mut self.state {
                StreamState::Ended => return None,
                StreamState::Start => self.begin().await.map(|()| None),
                StreamState::Reading { .. } => self.read().await.map(Some),
            };
            match next {
                Ok(None) => {}
                Ok(Some(ReadResult::Busy(error))) => return Some(self.fail(error)),
                Ok(Some(ReadResult::Reply(TextReply { last: true, .. }))) => {
                    self.state = StreamState::Ended;
                    std::mem::take(&mut self.operation).end(Outcome::Ok, Counts::default());
                    return None;
                }
                // A log begins with an empty reply, which is not an entry.
                Ok(Some(ReadResult::Reply(frame))) if frame.reply.key.is_empty() && frame.reply.value.is_empty() => {}
                Ok(Some(ReadResult::Reply(frame))) => match (self.entry)(frame.reply) {
                    Some(entry) => return Some(Ok(entry)),
                    None => {
                        let error =
                            Error::new(ErrorKind::Server, "the server sent a line that is not an entry of the list");
                        return Some(self.fail(error));
                    }
                },
                Err(error) => return Some(self.fail(error)),
            }
        }
    }

    fn fail(&mut self, error: Error) -> Result<T, Error> {
        self.state = StreamState::Ended;
        std::mem::take(&mut self.operation).end(Outcome::Failed(error.kind()), Counts::default());
        Err(error.at(&self.server.endpoint.name))
    }

    /// Requests the list, repeatedly while the server is busy.
    async fn begin(&mut self) -> Result<(), Error> {
        let name = OperationName::of(self.request.operation());
        let server = self.server.observed.as_ref();
        let event = OperationStarted { server, ..OperationStarted::new(name, 0, &[]) };
        self.operation = OperationGuard::begin(&self.server.config().observers, Parent::None, &event);
        let silence_limit = self.server.config().limits.keepalive_timeout;
        let trying = async {
            loop {
                self.state = ask(&self.server, &self.request).await?;
                match self.peek().await? {
                    Some(_) => sleep(BUSY_PAUSE).await,
                    None => return Ok(()),
                }
            }
        };
        timeout(silence_limit, trying).await.unwrap_or_else(|_| {
            let message =
                format!("the server did not start the list within {silence_limit:?}: is another dump in progress?");
            Err(Error::new(ErrorKind::TimedOut(Delivery::MaybeSent), message))
        })
    }

    /// Waits for the first line; returns the error if the server is busy.
    async fn peek(&mut self) -> Result<Option<Error>, Error> {
        let StreamState::Reading { stream, input, expected } = &mut self.state else { return Ok(None) };
        while !input.as_slice().contains(&b'\n') {
            fill(&mut **stream, input).await.map_err(|reason| lost(&before_first_line(&reason, &self.server)))?;
        }
        // Decoded from a copy, because any other line is read by `next`.
        let mut copy = InputBuffer::new();
        copy.extend(input.as_slice());
        match take(&mut copy, *expected)? {
            Some(ReadResult::Busy(error)) => Ok(Some(error)),
            _ => Ok(None),
        }
    }

    async fn read(&mut self) -> Result<ReadResult, Error> {
        let StreamState::Reading { stream, input, expected } = &mut self.state else {
            return Err(lost("the listing is over"));
        };
        loop {
            if let Some(read) = take(input, *expected)? {
                return Ok(read);
            }
            let filling = async { fill(&mut **stream, input).await.map_err(|reason| lost(&reason)) };
            match self.silence {
                None => filling.await?,
                Some(silence) => timeout(silence, filling).await.unwrap_or_else(|_| {
                    let message = format!("nothing came for {silence:?} in the middle of the list");
                    Err(Error::new(ErrorKind::TimedOut(Delivery::MaybeSent), message))
                })?,
            }
        }
    }
}

/// Opens a connection and requests the list on it. A free function, so that the future does not borrow the stream,
/// which is not `Sync`.
async fn ask(server: &Server, request: &Request<'static>) -> Result<StreamState, Error> {
    let mut stream = server.connect_text().await?;
    let mut output = Output::new();
    let expected = text::encode(request, &mut output)?;
    stream.write_all(output.small()).await.map_err(|error| lost(&error.to_string()))?;
    stream.flush().await.map_err(|error| lost(&error.to_string()))?;
    Ok(StreamState::Reading { stream, input: InputBuffer::new(), expected })
}

/// Decodes a reply from the front of the input.
fn take(input: &mut InputBuffer, expected: ReplyShape) -> Result<Option<ReadResult>, Error> {
    let frame = text::decode(input, expected, MAX_VALUE);
    let frame = frame.map_err(|error| Error::new(ErrorKind::Server, error.to_string()))?;
    match frame {
        None => Ok(None),
        Some(frame) if frame.reply.is_ok() => Ok(Some(ReadResult::Reply(frame))),
        Some(frame) if frame.reply.status == Status::Busy => Ok(Some(ReadResult::Busy(Error::from(&frame.reply)))),
        Some(frame) => Err(Error::from(&frame.reply)),
    }
}

/// Reads once; returns the reason if the connection is lost.
async fn fill(stream: &mut dyn Stream, input: &mut InputBuffer) -> Result<(), String> {
    match stream.read_buf(input.spare_capacity()).await {
        Ok(0) => Err("the server closed the connection".into()),
        Ok(count) => {
            input.record_read(count);
            Ok(())
        }
        Err(error) => Err(error.to_string()),
    }
}

/// Describes a connection that was lost before the first line.
fn before_first_line(reason: &str, server: &Server) -> String {
    let tls = match (&server.config().tls, &server.endpoint.address) {
        (None, Address::Tcp { .. }) => "; if it is a port for TLS, use memcacheds://",
        _ => "",
    };
    format!(
        "{reason}: a proxy or a server with the binary protocol only (-S, -B binary) can neither list keys nor report \
         events{tls}"
    )
}

fn lost(reason: &str) -> Error {
    Error::new(ErrorKind::Disconnected(Delivery::MaybeSent), reason)
}

/// The pause before a request to a busy server is repeated.
const BUSY_PAUSE: Duration = Duration::from_millis(100);

/// The limit for values: dumps have none.
const MAX_VALUE: usize = 0;

impl ItemStream<MetadumpItem> {
    /// Dumps the metadata of every item.
    pub(crate) fn metadump(server: Arc<Server>) -> Self {
        // Walking the hash table is twice as fast as walking the LRU, and does not miss items that move in it.
        Self::new(server, Request::metadump("hash"), |reply| MetadumpItem::parse(&reply.value))
    }
}

impl ItemStream<Bytes> {
    /// Dumps every key.
    pub(crate) fn keys(server: Arc<Server>) -> Self {
        Self::new(server, Request::mgdump("hash"), |reply| Some(reply.key))
    }

    /// Streams the server's log lines.
    pub(crate) fn watch(server: Arc<Server>, streams: &str) -> Self {
        let request = Request::watch(streams).into_owned();
        Self { silence: None, ..Self::new(server, request, |reply| Some(reply.value)) }
    }
}

impl<T> fmt::Debug for ItemStream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ItemStream").field("server", &self.server.endpoint.name).finish_non_exhaustive()
    }
}
