//! The task's hands: moves bytes between one socket and one machine, and decides nothing.
//!
//! Each turn it writes what is ready, reads once, settles all that came, and lets the woken callers
//! run before its next turn. So requests that are ready together leave in one write, and with
//! thousands of callers the server works on one part while the client works on another. A turn that
//! finds nothing ends in sleep, unless something is known to be on its way: see [`BusyPoll`].

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
use crate::connection::busy_poll::{BusyPoll, ReadStats};
use crate::connection::shared::{Parked, TaskHandle};
use crate::connection::tls_records::RecordWriter;
use crate::health::state::ConnectionState;
use crate::policy::Tripped;
use crate::proto::{InputBuffer, Output, ProtocolError};
use crate::transport::Stream;
use crate::transport::tls;

/// Moves bytes until the connection ends; its output says why it did.
pub(crate) struct Driver {
    server: Arc<str>,
    stream: Box<dyn Stream>,
    link: TaskHandle,
    input: InputBuffer,
    output: Output,
    wakers: Vec<Waker>,
    busy_poll: BusyPoll,
    timer: Pin<Box<Sleep>>,
    /// The first reply must have come by then, before callers are let through.
    probe_until: Option<Instant>,
    records: Option<RecordWriter>,
    /// Why nothing can be written any more, and until when it is read what the server said of it.
    broken: Option<(End, Instant)>,
}

/// How far a turn's writing came.
pub(crate) struct Written {
    /// Whether any bytes have left.
    pub(crate) any: bool,
    /// Whether all have, and the socket takes more.
    pub(crate) all: bool,
}

/// Why a connection ended.
#[derive(Debug)]
pub(crate) enum End {
    /// The client wants no more of it.
    Finished,
    /// The server closed it, in order.
    Closed,
    /// The server did not answer the first request.
    NoAnswer,
    /// The server let too many requests time out.
    Tripped(Tripped),
    /// The socket failed.
    Io(io::Error),
    /// The server's bytes cannot be trusted.
    Protocol(ProtocolError),
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Finished => f.write_str("the client was closed"),
            Self::Closed => f.write_str("the server closed the connection"),
            Self::NoAnswer => f.write_str("the server accepts connections and does not answer"),
            Self::Tripped(tripped) => tripped.fmt(f),
            Self::Io(error) => error.fmt(f),
            Self::Protocol(error) => error.fmt(f),
        }
    }
}

impl Driver {
    pub(crate) fn new(
        server: Arc<str>,
        stream: Box<dyn Stream>,
        link: TaskHandle,
        probe_until: Option<Instant>,
        config: &Config,
    ) -> Self {
        Self {
            server,
            stream,
            link,
            input: InputBuffer::new(),
            output: Output::new(),
            wakers: Vec::new(),
            busy_poll: BusyPoll::new(config.busy_poll),
            timer: Box::pin(sleep_until(Instant::now())),
            probe_until,
            records: config.tls.is_some().then(RecordWriter::default),
            broken: None,
        }
    }

    /// Writes what is ready; whether the socket takes more.
    fn write(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        // Nothing is written late: if another task has the connection, what was left over has failed.
        if self.output.has_remaining() && !self.link.is_current() {
            return Err(End::Finished);
        }
        let written = match &mut self.records {
            None => self.write_at_once(cx),
            Some(records) => records.write(&mut self.stream, &mut self.output, &self.link, cx),
        }?;
        if written.any {
            self.busy_poll.expect();
        }
        Ok(written.all)
    }

    /// Writes all there is, in as few pieces as the socket allows.
    fn write_at_once(&mut self, cx: &mut Context<'_>) -> Result<Written, End> {
        let mut any = false;
        loop {
            if !self.output.has_remaining() {
                self.link.take_output(&mut self.output);
            }
            if !self.output.has_remaining() {
                return Ok(Written { any, all: true });
            }
            match poll_write(&mut self.stream, &self.output, cx) {
                Poll::Pending => return Ok(Written { any, all: false }),
                Poll::Ready(Ok(0)) => return Err(End::Io(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => {
                    self.output.advance(written);
                    self.link.handle_written(written);
                    any = true;
                }
                Poll::Ready(Err(error)) => return Err(End::Io(error)),
            }
        }
    }

    /// Reads once and settles what came; whether anything did.
    fn read(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        let read = {
            let future = self.stream.read_buf(self.input.spare());
            pin!(future).poll(cx)
        };
        match read {
            Poll::Pending => Ok(false),
            Poll::Ready(Ok(0)) => Err(End::Closed),
            // TLS closed without close_notify: replies carry their lengths, so truncation is detected.
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => Err(End::Closed),
            Poll::Ready(Err(error)) => Err(End::Io(error)),
            Poll::Ready(Ok(count)) => {
                self.input.filled(count);
                let settled = self.link.settle(&mut self.input, Instant::now(), &mut self.wakers);
                let woken = self.wakers.len();
                self.wake_callers();
                let (in_flight, callers) = settled.map_err(End::Protocol)?;
                self.busy_poll.on_read(ReadStats { woken, callers, in_flight });
                self.let_callers_through();
                Ok(true)
            }
        }
    }

    /// Takes down that writing failed. Before the first reply the server may have said why: a
    /// refusal in clear, or an alert of TLS. That it is there may not be known yet.
    fn broke(&mut self, end: End) -> Result<Parking, End> {
        if self.link.has_replied() {
            return Err(end);
        }
        self.broken = Some((end, Instant::now() + LAST_WORDS));
        Ok(Parking::Again)
    }

    /// Waits for the server's last words no longer than a moment.
    fn last_words(&mut self, cx: &mut Context<'_>) -> Result<Parking, End> {
        let read = self.read(cx);
        let Some((end, until)) = self.broken.take() else { return read.map(|_| Parking::Again) };
        match read {
            Err(End::Io(error)) if tls::failure(&error).is_none() => return Err(end),
            Err(End::Closed) => return Err(end),
            Err(words) => return Err(words),
            Ok(_) => {}
        }
        self.timer.as_mut().reset(until);
        if self.timer.as_mut().poll(cx).is_ready() {
            return Err(end);
        }
        if read.is_ok_and(|any| any) {
            cx.waker().wake_by_ref();
        }
        self.broken = Some((end, until));
        Ok(Parking::Asleep)
    }

    fn wake_callers(&mut self) {
        self.wakers.drain(..).for_each(Waker::wake);
    }

    /// Only a protocol reply shows that a server which was down is back.
    fn let_callers_through(&mut self) {
        if self.probe_until.is_some() && self.link.has_replied() {
            self.probe_until = None;
            self.link.set(ConnectionState::Connected);
            tracing::info!(server = %self.server, "memcached server is back");
        }
    }

    /// Sleeps, unless there is something to write or to give up.
    fn park(&mut self, cx: &mut Context<'_>, can_write: bool) -> Result<Parking, End> {
        let until = match self.link.park(cx.waker(), can_write) {
            Parked::HasOutput => return Ok(Parking::Again),
            Parked::Finished => return Err(End::Finished),
            Parked::Until(until) => [until, self.probe_until].into_iter().flatten().min(),
        };
        let Some(until) = until else { return Ok(Parking::Asleep) };
        // The timer may fire early: most deadlines are met, and moving it for each request is expensive.
        if self.timer.is_elapsed() || until < self.timer.deadline() {
            self.timer.as_mut().reset(until);
        }
        match self.timer.as_mut().poll(cx) {
            Poll::Pending => Ok(Parking::Asleep),
            Poll::Ready(()) => self.handle_timeout().map(|()| Parking::Again),
        }
    }

    fn handle_timeout(&mut self) -> Result<(), End> {
        let now = Instant::now();
        self.shrink_if_idle();
        let outcome = self.link.handle_timeout(now, &mut self.wakers);
        self.wake_callers();
        if let Some(tripped) = outcome.map_err(End::Protocol)? {
            return Err(End::Tripped(tripped));
        }
        if self.probe_until.is_some_and(|until| until <= now) {
            return Err(End::NoAnswer);
        }
        Ok(())
    }

    /// An idle connection keeps next to no memory.
    fn shrink_if_idle(&mut self) {
        if self.link.shrink() && !self.output.has_remaining() {
            self.input.release();
            self.output.clear(0);
            self.wakers.shrink_to_fit();
        }
    }
}

/// Lets all others that are ready run, and the reactor look at the sockets, before the next turn.
fn wake_after_reactor(cx: &mut Context<'_>) {
    // The runtime keeps the waker, and the future has nothing else to do.
    let _ = pin!(tokio::task::yield_now()).poll(cx);
}

/// Hands all pieces of the output to the socket at once.
fn poll_write(stream: &mut Box<dyn Stream>, output: &Output, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
    let stream = Pin::new(stream);
    if output.chunk().len() == output.remaining() {
        return stream.poll_write(cx, output.chunk());
    }
    let mut slices = [IoSlice::new(&[]); MOST_SLICES];
    let count = output.chunks_vectored(&mut slices);
    stream.poll_write_vectored(cx, slices.get(..count).unwrap_or_default())
}

impl Future for Driver {
    type Output = End;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<End> {
        let driver = &mut *self;
        let step = |driver: &mut Self, cx: &mut Context<'_>| -> Result<Parking, End> {
            if driver.broken.is_some() {
                return driver.last_words(cx);
            }
            let can_write = match driver.write(cx) {
                Err(end) => return driver.broke(end),
                Ok(can_write) => can_write,
            };
            if driver.busy_poll.pauses() || driver.read(cx)? {
                // The callers that were just woken run first, so that their requests leave together.
                cx.waker().wake_by_ref();
                return Ok(Parking::Asleep);
            }
            if driver.busy_poll.polls_again(std::time::Instant::now) {
                wake_after_reactor(cx);
                return Ok(Parking::Asleep);
            }
            driver.park(cx, can_write)
        };
        loop {
            match step(driver, cx) {
                Ok(Parking::Again) => {}
                Ok(Parking::Asleep) => return Poll::Pending,
                Err(end) => return Poll::Ready(end),
            }
        }
    }
}

enum Parking {
    Again,
    Asleep,
}

/// How many pieces one vectored write has at most.
const MOST_SLICES: usize = 64;
/// What a server said before it closed is there when writing fails, and known with the next event.
const LAST_WORDS: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::Wake;

    use super::*;
    use crate::config::protocol::ProtocolSetting;
    use crate::connection::shared::ConnectionHandle;
    use crate::health::events;
    use crate::health::events::HealthMonitor;
    use crate::proto::{Deadline, Request};

    /// Whether it was woken.
    #[derive(Debug, Default)]
    struct Alarm(AtomicBool);

    impl Wake for Alarm {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    /// Returns whether an I/O loop that has sent a get and has no reply yet schedules itself again.
    fn polls_for_a_reply(config: &Config) -> bool {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let _entered = runtime.enter();
        let watch = Arc::new(HealthMonitor::new("server".into(), 1, 2, events::channel(), None));
        let link = Arc::new(ConnectionHandle::new(config, 0, 0, watch));
        let now = Instant::now();
        let deadline = Deadline { at: now.into_std() + Duration::from_secs(1), extend_by: Duration::ZERO };
        link.cast(&Request::get("key"), deadline, now);
        let task = link.claim_task(0, None).expect("it has no task");
        let (client, _server) = tokio::io::duplex(1024);
        let mut driver = pin!(Driver::new("server".into(), Box::new(client), task, None, config));
        let alarm = Arc::new(Alarm::default());
        assert!(driver.as_mut().poll(&mut Context::from_waker(&Arc::clone(&alarm).into())).is_pending());
        alarm.0.load(Ordering::Relaxed)
    }

    #[test]
    fn busy_polling_is_off_unless_configured() {
        let config = Config::new().protocol(ProtocolSetting::Binary);
        assert!(!polls_for_a_reply(&config));
        assert!(polls_for_a_reply(&config.busy_poll(Duration::from_micros(100))));
    }
}
