//! Connection I/O loop: moves bytes between the socket and the connection's state machine.
//!
//! Each iteration writes the pending output, reads once, delivers all complete replies, and yields to
//! the woken callers. Requests that are ready together therefore leave in one write, and with
//! thousands of callers the server works on one part while the client works on another. An iteration
//! without progress sleeps, unless busy polling expects a reply: see [`BusyPoll`].

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Buf;
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::config::Config;
use crate::connection::busy_poll::BusyPoll;
use crate::connection::shared::{ParkResult, TaskHandle};
use crate::connection::tls_records::RecordWriter;
use crate::health::state::ConnectionState;
use crate::policy::Tripped;
use crate::proto::{InputBuffer, Output, ProtocolError};
use crate::transport::Stream;
use crate::transport::tls;

/// The I/O loop of an open connection: a future that resolves to the reason why the connection closed.
pub(crate) struct IoLoop {
    server: Arc<str>,
    stream: Box<dyn Stream>,
    handle: TaskHandle,
    input: InputBuffer,
    output: Output,
    wakers: Vec<Waker>,
    busy_poll: BusyPoll,
    timer: Pin<Box<Sleep>>,
    /// The instant by which the server must answer the probe; `None` once requests are let through.
    probe_deadline: Option<Instant>,
    records: Option<RecordWriter>,
    /// The write error, and the instant until which the socket is still read for the server's own explanation.
    write_error: Option<(CloseReason, Instant)>,
}

/// The result of writing pending output.
pub(crate) struct Written {
    /// Whether any bytes were written.
    pub(crate) any: bool,
    /// Whether all output was written, so that the socket may accept more.
    pub(crate) all: bool,
}

/// Why a connection closed.
#[derive(Debug)]
pub(crate) enum CloseReason {
    /// The client closed the connection, or another task has taken it over.
    Finished,
    /// The server closed the connection.
    Closed,
    /// The server did not answer the probe in time.
    NoAnswer,
    /// The circuit breaker opened.
    Tripped(Tripped),
    /// The socket failed.
    Io(io::Error),
    /// The server violated the protocol.
    Protocol(ProtocolError),
}

impl std::fmt::Display for CloseReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Finished => f.write_str("the client was closed"),
            Self::Closed => f.write_str("the server closed the connection"),
            Self::NoAnswer => f.write_str("the server accepts connections but does not answer"),
            Self::Tripped(tripped) => tripped.fmt(f),
            Self::Io(error) => error.fmt(f),
            Self::Protocol(error) => error.fmt(f),
        }
    }
}

impl IoLoop {
    pub(crate) fn new(
        server: Arc<str>,
        stream: Box<dyn Stream>,
        handle: TaskHandle,
        probe_deadline: Option<Instant>,
        config: &Config,
    ) -> Self {
        Self {
            server,
            stream,
            handle,
            input: InputBuffer::new(),
            output: Output::new(),
            wakers: Vec::new(),
            busy_poll: BusyPoll::new(config.busy_poll),
            timer: Box::pin(sleep_until(Instant::now())),
            probe_deadline,
            records: config.tls.is_some().then(RecordWriter::default),
            write_error: None,
        }
    }

    /// Writes the pending output; returns whether the socket may accept more.
    fn write(&mut self, cx: &mut Context<'_>) -> Result<bool, CloseReason> {
        // If another task has taken the connection over, the requests of the remaining output have failed
        // already and must not be sent.
        if self.output.has_remaining() && !self.handle.is_current() {
            return Err(CloseReason::Finished);
        }
        let written = match &mut self.records {
            None => self.write_at_once(cx),
            Some(records) => records.write(&mut self.stream, &mut self.output, &self.handle, cx),
        }?;
        if written.any {
            self.busy_poll.expect();
        }
        Ok(written.all)
    }

    /// Writes until the output is empty or the socket is full.
    fn write_at_once(&mut self, cx: &mut Context<'_>) -> Result<Written, CloseReason> {
        let mut any = false;
        loop {
            if !self.output.has_remaining() {
                self.handle.take_output(&mut self.output);
            }
            if !self.output.has_remaining() {
                return Ok(Written { any, all: true });
            }
            match poll_write(&mut self.stream, &self.output, cx) {
                Poll::Pending => return Ok(Written { any, all: false }),
                Poll::Ready(Ok(0)) => return Err(CloseReason::Io(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => {
                    self.output.advance(written);
                    self.handle.handle_written(written);
                    any = true;
                }
                Poll::Ready(Err(error)) => return Err(CloseReason::Io(error)),
            }
        }
    }

    /// Reads once and delivers the complete replies; returns whether any bytes were read.
    fn read(&mut self, cx: &mut Context<'_>) -> Result<bool, CloseReason> {
        let read = {
            let future = self.stream.read_buf(self.input.spare_capacity());
            pin!(future).poll(cx)
        };
        match read {
            Poll::Pending => Ok(false),
            Poll::Ready(Ok(0)) => Err(CloseReason::Closed),
            // TLS closed without close_notify: replies carry their lengths, so truncation is detected.
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => Err(CloseReason::Closed),
            Poll::Ready(Err(error)) => Err(CloseReason::Io(error)),
            Poll::Ready(Ok(count)) => {
                self.input.record_read(count);
                let load = self.handle.handle_input(&mut self.input, Instant::now(), &mut self.wakers);
                self.wake_callers();
                self.busy_poll.on_read(load.map_err(CloseReason::Protocol)?);
                self.mark_usable();
                Ok(true)
            }
        }
    }

    /// Handles a write error.
    ///
    /// Before the first reply the server may have sent the reason, as an error line or a TLS alert, which
    /// may not be readable yet: the connection is drained for a moment.
    fn on_write_error(&mut self, reason: CloseReason) -> Result<Iteration, CloseReason> {
        if self.handle.has_replied() {
            return Err(reason);
        }
        self.write_error = Some((reason, Instant::now() + DRAIN_TIMEOUT));
        Ok(Iteration::Again)
    }

    /// Reads after a write error, until the server's reason arrives or [`DRAIN_TIMEOUT`] is over.
    fn drain_before_close(&mut self, cx: &mut Context<'_>) -> Result<Iteration, CloseReason> {
        let read = self.read(cx);
        let Some((reason, until)) = self.write_error.take() else { return read.map(|_| Iteration::Again) };
        match read {
            Err(CloseReason::Io(error)) if tls::failure(&error).is_none() => return Err(reason),
            Err(CloseReason::Closed) => return Err(reason),
            Err(explained) => return Err(explained),
            Ok(_) => {}
        }
        self.timer.as_mut().reset(until);
        if self.timer.as_mut().poll(cx).is_ready() {
            return Err(reason);
        }
        if read.is_ok_and(|any| any) {
            cx.waker().wake_by_ref();
        }
        self.write_error = Some((reason, until));
        Ok(Iteration::Pending)
    }

    fn wake_callers(&mut self) {
        self.wakers.drain(..).for_each(Waker::wake);
    }

    /// Lets requests through once a server that was down has answered the probe: an open connection is no proof.
    fn mark_usable(&mut self) {
        if self.probe_deadline.is_some() && self.handle.has_replied() {
            self.probe_deadline = None;
            self.handle.set_state(ConnectionState::Connected);
            tracing::info!(server = %self.server, "memcached server is back");
        }
    }

    /// Registers for the next submission or timeout, unless there is output to write or a timeout is due.
    fn park(&mut self, cx: &mut Context<'_>, can_write: bool) -> Result<Iteration, CloseReason> {
        let until = match self.handle.park(cx.waker(), can_write) {
            ParkResult::HasOutput => return Ok(Iteration::Again),
            ParkResult::Finished => return Err(CloseReason::Finished),
            ParkResult::Until(until) => [until, self.probe_deadline].into_iter().flatten().min(),
        };
        let Some(until) = until else { return Ok(Iteration::Pending) };
        // The timer may fire early: most deadlines are met, and moving it for each request is expensive.
        if self.timer.is_elapsed() || until < self.timer.deadline() {
            self.timer.as_mut().reset(until);
        }
        match self.timer.as_mut().poll(cx) {
            Poll::Pending => Ok(Iteration::Pending),
            Poll::Ready(()) => self.handle_timeout().map(|()| Iteration::Again),
        }
    }

    fn handle_timeout(&mut self) -> Result<(), CloseReason> {
        let now = Instant::now();
        self.shrink_if_idle();
        let outcome = self.handle.handle_timeout(now, &mut self.wakers);
        self.wake_callers();
        if let Some(tripped) = outcome.map_err(CloseReason::Protocol)? {
            return Err(CloseReason::Tripped(tripped));
        }
        if self.probe_deadline.is_some_and(|until| until <= now) {
            return Err(CloseReason::NoAnswer);
        }
        Ok(())
    }

    /// Releases the buffers of an idle connection.
    fn shrink_if_idle(&mut self) {
        if self.handle.shrink() && !self.output.has_remaining() {
            self.input.release();
            self.output.clear(0);
            self.wakers.shrink_to_fit();
        }
    }
}

/// Schedules the next iteration after all other ready tasks and the runtime's I/O driver have run.
fn wake_after_reactor(cx: &mut Context<'_>) {
    // The first poll registers the waker with the runtime; the future is not needed after that.
    let _ = pin!(tokio::task::yield_now()).poll(cx);
}

/// Writes the output's chunks with one system call.
fn poll_write(stream: &mut Box<dyn Stream>, output: &Output, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
    let stream = Pin::new(stream);
    if output.chunk().len() == output.remaining() {
        return stream.poll_write(cx, output.chunk());
    }
    let mut slices = [IoSlice::new(&[]); MAX_SLICES];
    let count = output.chunks_vectored(&mut slices);
    stream.poll_write_vectored(cx, slices.get(..count).unwrap_or_default())
}

impl Future for IoLoop {
    type Output = CloseReason;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<CloseReason> {
        let this = &mut *self;
        let step = |this: &mut Self, cx: &mut Context<'_>| -> Result<Iteration, CloseReason> {
            if this.write_error.is_some() {
                return this.drain_before_close(cx);
            }
            let can_write = match this.write(cx) {
                Err(reason) => return this.on_write_error(reason),
                Ok(can_write) => can_write,
            };
            if this.read(cx)? {
                // The callers that were just woken run first, so that their requests leave in one write.
                cx.waker().wake_by_ref();
                return Ok(Iteration::Pending);
            }
            if this.busy_poll.polls_again(std::time::Instant::now) {
                wake_after_reactor(cx);
                return Ok(Iteration::Pending);
            }
            this.park(cx, can_write)
        };
        loop {
            match step(this, cx) {
                Ok(Iteration::Again) => {}
                Ok(Iteration::Pending) => return Poll::Pending,
                Err(reason) => return Poll::Ready(reason),
            }
        }
    }
}

/// What follows an iteration.
enum Iteration {
    Again,
    Pending,
}

/// The maximum number of chunks in one vectored write.
const MAX_SLICES: usize = 64;
/// How long to read after a write error: what the server sent before it closed has arrived by then, but the runtime
/// learns of it only with the next readiness event.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::config::protocol::ProtocolSetting;
    use crate::connection::shared::ConnectionHandle;
    use crate::connection::wait_queue::tests::WakeCounter;
    use crate::proto::{Deadline, Request};

    /// Returns whether an I/O loop that has sent a get and has no reply yet schedules itself again.
    fn polls_for_a_reply(config: &Config) -> bool {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let _entered = runtime.enter();
        let connection = ConnectionHandle::for_test(config, 0);
        let now = Instant::now();
        let deadline = Deadline { at: now.into_std() + Duration::from_secs(1), extend_by: Duration::ZERO };
        connection.send_no_reply(&Request::get("key"), deadline, now);
        let task = connection.claim_task(0, None).expect("the connection has no task yet");
        let (client, _server) = tokio::io::duplex(1024);
        let mut io_loop = pin!(IoLoop::new("server".into(), Box::new(client), task, None, config));
        let woken = Arc::new(WakeCounter::default());
        assert!(io_loop.as_mut().poll(&mut Context::from_waker(&Arc::clone(&woken).into())).is_pending());
        woken.0.load(Ordering::Relaxed) > 0
    }

    #[test]
    fn busy_polling_is_off_unless_configured() {
        let config = Config::new().protocol(ProtocolSetting::Binary);
        assert!(!polls_for_a_reply(&config));
        assert!(polls_for_a_reply(&config.busy_poll(Duration::from_micros(100))));
    }
}
