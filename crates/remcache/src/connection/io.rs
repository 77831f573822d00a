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
    use std::collections::VecDeque;
    use std::sync::Mutex;
    use std::sync::atomic::Ordering;

    use tokio::io::{AsyncRead, ReadBuf};
    use tokio::time::advance;

    use super::*;
    use crate::config::protocol::ProtocolSetting;
    use crate::connection::handshake::Negotiated;
    use crate::connection::shared::{ConnectionHandle, Flight, Submitted};
    use crate::connection::slot::Slot;
    use crate::connection::wait_queue::tests::WakeCounter;
    use crate::proto::binary::{Opcode, encode_reply};
    use crate::proto::{Deadline, Delivery, Operation, Protocol, Reply, Request, Status};

    /// The other end of a connection: what reads return, and what becomes of writes.
    #[derive(Default)]
    struct Server {
        reads: VecDeque<io::Result<Vec<u8>>>,
        /// The number of bytes that the socket accepts.
        capacity: usize,
        is_reset: bool,
        written: usize,
    }

    struct Socket(Arc<Mutex<Server>>);

    impl AsyncRead for Socket {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            match self.0.lock().unwrap().reads.pop_front() {
                Some(read) => Poll::Ready(read.map(|bytes| buffer.put_slice(&bytes))),
                None => Poll::Pending,
            }
        }
    }

    impl AsyncWrite for Socket {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            let mut server = self.0.lock().unwrap();
            let count = bytes.len().min(server.capacity);
            match count {
                _ if server.is_reset => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
                0 => return Poll::Pending,
                _ => {}
            }
            server.capacity -= count;
            server.written += count;
            Poll::Ready(Ok(count))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// The I/O loop of a connection on the binary protocol with a get in flight.
    struct Fixture {
        connection: Arc<ConnectionHandle>,
        server: Arc<Mutex<Server>>,
        io_loop: IoLoop,
        woken: Arc<WakeCounter>,
    }

    impl Fixture {
        fn new() -> Self {
            Self::with(&Config::new())
        }

        fn with(config: &Config) -> Self {
            let config = config.clone().protocol(ProtocolSetting::Binary);
            let connection = ConnectionHandle::for_test(&config, 0);
            submit(&connection, &Request::get("key"), 60_000);
            let task = connection.claim_task(0, None).expect("the connection has no task yet");
            task.connected(Negotiated::assumed(Protocol::Binary), None, None, Instant::now());
            let server = Arc::new(Mutex::new(Server { capacity: usize::MAX, ..Server::default() }));
            let socket = Box::new(Socket(Arc::clone(&server)));
            let io_loop = IoLoop::new("server".into(), socket, task, None, &config);
            Self { connection, server, io_loop, woken: Arc::default() }
        }

        fn server(&self) -> std::sync::MutexGuard<'_, Server> {
            self.server.lock().unwrap()
        }

        fn sends(&self, bytes: Vec<u8>) {
            self.server().reads.push_back(Ok(bytes));
        }

        fn poll(&mut self) -> Poll<CloseReason> {
            Pin::new(&mut self.io_loop).poll(&mut Context::from_waker(&Arc::clone(&self.woken).into()))
        }

        fn is_pending(&mut self) -> bool {
            self.poll().is_pending()
        }

        fn is_woken(&self) -> bool {
            self.woken.0.swap(0, Ordering::Relaxed) > 0
        }
    }

    fn submit(connection: &ConnectionHandle, request: &Request<'_>, timeout: u64) -> Flight {
        let now = Instant::now();
        let at = now.into_std() + Duration::from_millis(timeout);
        let slot = Slot::Waiting(Waker::noop().clone());
        match connection.submit(request, Deadline { at, extend_by: Duration::ZERO }, slot, now, None) {
            Submitted::InFlight { flight, .. } => flight,
            other => panic!("{other:?}"),
        }
    }

    fn reply(status: Status, opcode: Opcode, opaque: u32) -> Vec<u8> {
        let mut output = Output::new();
        encode_reply(&Reply::new(status), opcode, opaque, &mut output);
        output.small().to_vec()
    }

    #[tokio::test]
    async fn busy_polling_is_off_unless_configured() {
        for (busy_poll, polls_again) in [(Duration::ZERO, false), (Duration::from_micros(100), true)] {
            let mut fixture = Fixture::with(&Config::new().busy_poll(busy_poll));
            assert!(fixture.is_pending());
            tokio::task::yield_now().await;
            assert_eq!(fixture.is_woken(), polls_again);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_truncated_stream_is_a_closed_connection() {
        let mut fixture = Fixture::new();
        fixture.server().reads.push_back(Err(io::ErrorKind::UnexpectedEof.into()));
        assert!(matches!(fixture.poll(), Poll::Ready(CloseReason::Closed)));
        let mut fixture = Fixture::new();
        fixture.server().reads.push_back(Err(io::ErrorKind::ConnectionReset.into()));
        assert!(matches!(fixture.poll(), Poll::Ready(CloseReason::Io(_))));
    }

    /// Returns why the connection closed, if its first write fails and the next read returns this.
    fn reason_after_write_error(read: io::Result<Vec<u8>>) -> String {
        let mut fixture = Fixture::new();
        fixture.server().is_reset = true;
        fixture.server().reads.push_back(read);
        match fixture.poll() {
            Poll::Ready(reason) => reason.to_string(),
            Poll::Pending => panic!("there is data to read"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_error_is_replaced_by_the_servers_reason() {
        let write_error = io::Error::from(io::ErrorKind::BrokenPipe).to_string();
        assert_eq!(reason_after_write_error(Ok(Vec::new())), write_error);
        assert_eq!(reason_after_write_error(Err(io::ErrorKind::ConnectionReset.into())), write_error);
        let reason = reason_after_write_error(Ok(b"ERROR Too many open connections\r\n".to_vec()));
        assert!(reason.contains("too many open connections"), "{reason}");
    }

    #[cfg(feature = "tls")]
    #[tokio::test(start_paused = true)]
    async fn a_write_error_is_replaced_by_a_tls_alert() {
        use tokio_rustls::rustls::{AlertDescription, Error};
        let alert = Error::AlertReceived(AlertDescription::UnknownCA);
        let reason = reason_after_write_error(Err(io::Error::new(io::ErrorKind::InvalidData, alert.clone())));
        assert_eq!(reason, alert.to_string());
    }

    #[tokio::test(start_paused = true)]
    async fn the_servers_reason_is_awaited_for_a_moment() {
        let mut fixture = Fixture::new();
        fixture.server().is_reset = true;
        assert!(fixture.is_pending());
        advance(DRAIN_TIMEOUT - Duration::from_millis(1)).await;
        assert!(fixture.is_pending());
        advance(Duration::from_millis(2)).await;
        assert!(fixture.is_woken());
        assert!(matches!(fixture.poll(), Poll::Ready(CloseReason::Io(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_was_down_is_used_once_it_has_answered_the_probe() {
        let mut fixture = Fixture::new();
        let task = fixture.io_loop.handle.clone();
        task.set_state(ConnectionState::Down("lost".to_owned()));
        task.disconnect("lost");
        task.connected(Negotiated::assumed(Protocol::Binary), None, None, Instant::now());
        let until = Instant::now() + Duration::from_secs(1);
        task.probe(Deadline { at: until.into_std(), extend_by: Duration::ZERO }, Instant::now());
        fixture.io_loop.probe_deadline = Some(until);
        assert!(fixture.is_pending());
        let answer = reply(Status::NoError, Opcode::NOOP, 1);
        fixture.sends(answer[..20].to_vec());
        assert!(fixture.is_pending() && !fixture.connection.is_usable());
        fixture.sends(answer[20..].to_vec());
        assert!(fixture.is_pending() && fixture.connection.is_usable());
    }

    #[tokio::test(start_paused = true)]
    async fn the_timer_moves_to_an_earlier_deadline() {
        let mut fixture = Fixture::new();
        assert!(fixture.is_pending());
        let flight = submit(&fixture.connection, &Request::get("key"), 100);
        assert!(fixture.is_woken() && fixture.is_pending());
        assert!(!fixture.is_woken());
        advance(Duration::from_millis(101)).await;
        assert!(fixture.is_woken() && fixture.is_pending());
        let polled = fixture.connection.poll_reply(flight, Waker::noop(), &mut None, |reply, _| reply.status);
        assert_eq!(polled, Poll::Ready(Status::TimedOut(Delivery::MaybeSent)));
    }

    /// A time after which an idle connection releases its memory.
    const IDLE: Duration = Duration::from_secs(6);

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_releases_its_memory() {
        let mut fixture = Fixture::new();
        fixture.sends(reply(Status::NoError, Opcode::GET, 0));
        assert!(fixture.is_pending());
        assert!(fixture.io_loop.wakers.capacity() > 0);
        assert!(fixture.is_pending());
        advance(IDLE).await;
        assert!(fixture.is_pending());
        assert_eq!(fixture.io_loop.wakers.capacity(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_value_that_is_refused_before_it_was_sent_is_sent_nevertheless() {
        let mut fixture = Fixture::new();
        fixture.sends(reply(Status::NoError, Opcode::GET, 0));
        assert!(fixture.is_pending());
        (fixture.server().written, fixture.server().capacity) = (0, 100);
        submit(&fixture.connection, &Request::set("key", vec![b'x'; 5_000]), 60_000);
        fixture.sends(reply(Status::ValueTooLarge, Opcode::of(Operation::Set, false, false), 1));
        assert!(fixture.is_pending() && fixture.is_pending());
        assert_eq!((fixture.server().written, fixture.connection.load().in_flight), (100, 0));
        advance(IDLE).await;
        assert!(fixture.is_pending());
        fixture.server().capacity = usize::MAX;
        assert!(fixture.is_pending());
        let (set, noop) = (24 + 8 + 3 + 5_000, 24);
        assert_eq!(fixture.server().written, set + noop);
    }
}
