//! The replies to one request as a stream.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Buf;
use futures_core::Stream;
use tokio::time::Instant;

use crate::config::Overload;
use crate::connection::capacity_wait::CapacityWait;
use crate::connection::shared::{Flight, Submitted};
use crate::connection::slot::{ReplyQueue, Slot};
use crate::connection::wait_queue::Ticket;
use crate::error::Error;
use crate::observe::Parent;
use crate::proto::{Deadline, Operation, Reply, Request, Status};
use crate::result::no_server;
use crate::server::Server;
use crate::server::call::check_sharing;
use crate::server::request_reports::StreamObservation;
use crate::time::fixed_deadline;

/// The stream of replies to one request, in the order of arrival and including the last.
///
/// A request with a key has one reply and is subject to the client's retries, replicas and failover, like
/// [`Client::call`](crate::client::Client::call). A request without a key is sent to one server and never repeated once
/// a reply has arrived, because another server's replies would not continue the first one's.
///
/// # Cancel safety
/// Dropping it does not cancel the request: the remaining replies are read and discarded.
#[must_use = "a stream does nothing unless it is polled"]
pub struct ReplyStream {
    pub(super) request: Request<'static>,
    pub(super) server: Result<Arc<Server>, Reply>,
    pub(super) conn: usize,
    deadline: Option<Deadline>,
    progress: StreamProgress,
    /// Whether a reply has arrived, after which the request cannot be sent again.
    has_replies: bool,
    /// The length of the namespace, which is removed from the keys of replies.
    namespace: usize,
    pub(super) parent: Parent,
    /// The report to observers.
    pub(super) observation: Option<Box<StreamObservation>>,
}

enum StreamProgress {
    Start,
    /// Another future produces the only reply.
    Call(Pin<Box<dyn Future<Output = Reply> + Send>>),
    WaitingForCapacity(CapacityWait),
    InFlight(Flight),
    Ended,
}

impl ReplyStream {
    /// Creates the stream of one server's replies.
    pub(crate) fn of_server(server: Result<Arc<Server>, Reply>, request: Request<'static>, parent: Parent) -> Self {
        let server = check_sharing(&request).and(server);
        Self {
            request,
            server,
            conn: 0,
            deadline: None,
            progress: StreamProgress::Start,
            has_replies: false,
            namespace: 0,
            parent,
            observation: None,
        }
    }

    /// Creates a stream of the one reply that `call` resolves to.
    pub(crate) fn of_call(call: impl Future<Output = Reply> + Send + 'static, request: Request<'static>) -> Self {
        let mut replies = Self::of_server(Err(no_server()), request, Parent::Internal);
        replies.progress = StreamProgress::Call(Box::pin(call));
        replies
    }

    /// Removes the namespace, of this many bytes, from the keys of replies.
    pub(crate) fn without_namespace(mut self, namespace: usize) -> Self {
        self.namespace = namespace;
        self
    }

    /// Returns the next reply; `None` after the last.
    ///
    /// # Cancel safety
    /// Dropping the future loses no reply.
    pub async fn next(&mut self) -> Option<Reply> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// Returns the error that a reply of the stream represents.
    #[cold]
    pub(crate) fn error(&self, reply: &Reply) -> Error {
        self.server.as_ref().map_or_else(|_| Error::from(reply), |server| server.error(reply))
    }

    /// Submits the request, with a ticket if it has waited for capacity; returns the reply that ends the stream if it
    /// cannot be submitted.
    fn submit(&mut self, ticket: Option<Ticket>, waker: &Waker) -> Option<Reply> {
        let server = match &self.server {
            Ok(server) => server,
            Err(reply) => return Some(reply.clone()),
        };
        let now = Instant::now();
        let extend_by = server.timeout();
        let deadline = *self.deadline.get_or_insert_with(|| Deadline { extend_by, ..fixed_deadline(now, extend_by) });
        let (connection, slot) = (server.connection(self.conn), Slot::Many(Box::<ReplyQueue>::default()));
        match connection.submit(&self.request, deadline, slot, now, ticket) {
            Submitted::InFlight { flight, needs_attention } => {
                if needs_attention && let Err(reply) = server.ensure_task(self.conn) {
                    connection.abandon(flight);
                    return Some(reply);
                }
                self.progress = StreamProgress::InFlight(flight);
                self.has_replies = false;
                None
            }
            Submitted::Refused(reply) => Some(reply),
            // Another caller was faster.
            Submitted::Full if ticket.is_some() => None,
            Submitted::Full if server.overload() == Overload::Wait => {
                let (length, until) = (self.request.value().len(), Instant::from_std(deadline.at));
                self.progress = StreamProgress::WaitingForCapacity(CapacityWait::new(connection, length, until, waker));
                None
            }
            Submitted::Full | Submitted::NoReply { .. } => Some(Reply::new(Status::Overloaded)),
        }
    }

    /// Returns whether the request may be sent again after the connection's runtime has ended.
    fn may_resume(&self, flight: Flight, reply: &Reply) -> bool {
        let Ok(server) = &self.server else { return false };
        let is_safe = !reply.status.may_have_executed() || is_read(self.request.operation());
        let in_time = self.deadline.is_some_and(|deadline| Instant::now().into_std() < deadline.at);
        !self.has_replies && is_safe && in_time && server.connection(self.conn).is_interrupted(flight.epoch, reply)
    }

    /// Returns this reply as the last.
    fn end_with(&mut self, reply: Reply) -> Poll<Option<Reply>> {
        self.progress = StreamProgress::Ended;
        self.observe_reply(Some(&reply));
        Poll::Ready(Some(reply))
    }
}

impl Stream for ReplyStream {
    type Item = Reply;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Reply>> {
        let replies = &mut *self;
        loop {
            let refused = match &mut replies.progress {
                StreamProgress::Start => {
                    replies.conn = replies.server.as_ref().map_or(0, |server| server.next_conn());
                    replies.observe_start();
                    replies.submit(None, cx.waker())
                }
                StreamProgress::Call(call) => Some(ready!(call.as_mut().poll(cx))),
                StreamProgress::WaitingForCapacity(wait) => match ready!(wait.poll(cx)) {
                    Some(ticket) => replies.submit(Some(ticket), cx.waker()),
                    None => Some(Reply::new(Status::Overloaded)),
                },
                StreamProgress::InFlight(flight) => {
                    let (Ok(server), flight) = (&replies.server, *flight) else { return Poll::Ready(None) };
                    let mut reply = ready!(server.connection(replies.conn).poll_next(flight.slot, cx.waker()));
                    if let Some(reply) = &reply
                        && replies.may_resume(flight, reply)
                    {
                        server.connection(replies.conn).abandon(flight);
                        replies.progress = StreamProgress::Start;
                        continue;
                    }
                    replies.has_replies = true;
                    replies.observe_reply(reply.as_ref());
                    match &mut reply {
                        Some(reply) => reply.key.advance(replies.namespace.min(reply.key.len())),
                        None => replies.progress = StreamProgress::Ended,
                    }
                    return Poll::Ready(reply);
                }
                StreamProgress::Ended => return Poll::Ready(None),
            };
            if let Some(reply) = refused {
                return replies.end_with(reply);
            }
        }
    }
}

/// Returns whether an operation with several replies only reads.
fn is_read(operation: Operation) -> bool {
    matches!(operation, Operation::Get | Operation::Stat | Operation::Version | Operation::NoOp)
}

impl Drop for ReplyStream {
    fn drop(&mut self) {
        if let (Ok(server), StreamProgress::InFlight(flight)) = (&self.server, &self.progress) {
            server.connection(self.conn).abandon(*flight);
        }
        self.observe_drop();
    }
}

impl fmt::Debug for ReplyStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplyStream").field("request", &self.request).finish_non_exhaustive()
    }
}
