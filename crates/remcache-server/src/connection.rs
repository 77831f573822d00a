//! The I/O loop of one connection: moves bytes between the stream and the protocol session, through the faults.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio::task::{coop, yield_now};
use tokio::time::{Instant, sleep_until};

use crate::buffers::Buffers;
use crate::fault::{Close, Fault};
use crate::fault_injector::{FaultInjector, SocketOp};
use crate::reply_buffer::ReplyBuffer;
use crate::request_buffer::RequestBuffer;
use crate::session::Session;
use crate::state::{ServerState, Traffic, add};
use crate::step::YieldReason;
use crate::stream::Stream;
use crate::watch::WatchStream;

/// The number of pending reply bytes at which reading stops, so that a client that does not read its replies cannot
/// fill the memory.
const MAX_PENDING: usize = 1 << 20;

/// One connection, until it is closed.
#[derive(Debug)]
pub(crate) struct Connection {
    state: Arc<ServerState>,
    number: u64,
    session: Session,
    input: RequestBuffer,
    /// Replies are added to one buffer while the other is written to its end, so neither grows without bound.
    filling: ReplyBuffer,
    writing: ReplyBuffer,
    /// Whether bytes were written that the stream may still buffer.
    unflushed: bool,
    faults: FaultInjector,
    fault_changes: watch::Receiver<()>,
    /// Operations that follow the two buffers, if there are faults.
    ops: VecDeque<SocketOp>,
    /// The number of bytes in `ops`.
    op_bytes: usize,
    /// Whether the input may hold a complete request although nothing new was read.
    has_more: bool,
    /// Whether the client has closed its sending side.
    read_closed: bool,
    /// Whether the connection is closed once everything pending is written.
    closing: bool,
    /// Whether requests were discarded without being executed.
    discarded: bool,
    /// The log lines that the client watches. It is sent nothing else then.
    watch_stream: Option<WatchStream>,
}

/// The next thing to do on the stream.
#[derive(Debug)]
enum Action {
    Write,
    WaitUntil(Instant),
    Yield,
    Close(Close),
    /// Everything is written.
    Idle,
}

/// The result of moving bytes between the stream and the buffers.
enum Transferred {
    /// The buffer was written and flushed.
    Written,
    /// This number of bytes was read; 0 is the end of the stream.
    Read(usize),
}

impl Connection {
    /// Creates a connection. Returns `None` if there are too many already.
    pub(crate) fn new(state: &Arc<ServerState>) -> Option<Self> {
        if !state.admit_connection() {
            return None;
        }
        let (own_faults, generation) = state.faults.take_for_connection();
        let number = state.next_connection();
        Some(Self {
            state: Arc::clone(state),
            session: Session::Undetermined(number),
            number,
            input: RequestBuffer::default(),
            filling: ReplyBuffer::default(),
            writing: ReplyBuffer::default(),
            unflushed: false,
            faults: FaultInjector::new(own_faults, generation),
            fault_changes: state.faults.subscribe(),
            ops: VecDeque::new(),
            op_bytes: 0,
            has_more: false,
            read_closed: false,
            closing: false,
            discarded: false,
            watch_stream: None,
        })
    }

    /// Serves the connection until it is closed.
    pub(crate) async fn serve(mut self, stream: Stream) {
        // A failed handshake closes the connection, as in memcached.
        #[cfg(feature = "tls")]
        let Ok(stream) = crate::tls::accept(stream, &self.state).await else { return };
        let mut stream = stream;
        self.state.peers().insert(self.number, stream.peer());
        self.update_faults();
        if let Some(response) = self.faults.canned_response() {
            self.closing = true;
            self.filling.put_value(response);
        }
        // An error means that the peer is gone, so there is nothing left to close in order.
        if let Ok(close) = self.run(&mut stream).await {
            stream.close(close).await;
        }
    }

    async fn run(&mut self, stream: &mut Stream) -> io::Result<Close> {
        loop {
            // A client whose socket is always ready must not starve other tasks.
            coop::consume_budget().await;
            self.update_faults();
            self.process_input();
            match self.next_action() {
                Action::Close(close) => return Ok(close),
                Action::Yield => yield_now().await,
                Action::Idle if self.closing => return Ok(Close::Fin),
                Action::Idle if self.has_more => {}
                Action::Idle if self.watch_stream.is_some() => self.forward_watch_line(stream).await?,
                Action::Idle | Action::Write => self.wait(stream, None).await?,
                Action::WaitUntil(time) => self.wait(stream, Some(time)).await?,
            }
        }
    }

    fn update_faults(&mut self) {
        if self.fault_changes.has_changed().unwrap_or_default() {
            self.fault_changes.mark_unchanged();
            self.state.faults.with_global(|global| self.faults.update(&global));
        }
        // After a black hole the client waits for replies that never come, so its connection is of no more use.
        self.closing |= self.discarded && !self.faults.is_black_hole();
    }

    /// Processes the input as far as there is room for replies.
    fn process_input(&mut self) {
        if self.faults.is_black_hole() {
            self.discarded |= self.input.len() > 0;
            self.input.clear();
        }
        let room = MAX_PENDING.saturating_sub(self.pending_bytes());
        if self.watch_stream.is_some() {
            // memcached ignores what a watcher sends.
            self.input.clear();
        }
        if self.closing || self.watch_stream.is_some() || room == 0 {
            return;
        }
        let reason = match self.has_faults() {
            _ if self.input.len() == 0 => YieldReason::NeedsInput,
            true => self.process_with_faults(room),
            false => {
                let limit = room + self.filling.len();
                self.session.process(Buffers { input: &mut self.input, replies: &mut self.filling, limit }, &self.state)
            }
        };
        self.has_more = reason == YieldReason::OutputFull;
        self.closing = reason == YieldReason::Close || (self.read_closed && reason == YieldReason::NeedsInput);
        self.watch_stream = self.session.take_watch_stream();
        add(&self.state.traffic.requests, self.session.take_request_count());
    }

    fn process_with_faults(&mut self, room: usize) -> YieldReason {
        let mut replies = ReplyBuffer::with_boundaries();
        let reason =
            self.session.process(Buffers { input: &mut self.input, replies: &mut replies, limit: room }, &self.state);
        let (now, before) = (Instant::now(), self.ops.len());
        for reply in replies.into_replies() {
            self.faults.apply(reply, self.state.faults.take_for_reply(), now, &mut self.ops);
        }
        self.op_bytes += self.ops.range(before..).map(write_length).sum::<usize>();
        reason
    }

    /// Returns whether replies go through the faults. Once some do, later ones must queue behind them.
    fn has_faults(&self) -> bool {
        self.faults.is_active() || !self.ops.is_empty() || self.state.faults.has_reply_faults()
    }

    /// Returns the number of bytes that wait to be written.
    fn pending_bytes(&self) -> usize {
        self.writing.len() + self.filling.len() + self.op_bytes
    }

    fn next_action(&mut self) -> Action {
        if self.writing.len() > 0 || self.unflushed {
            return Action::Write;
        }
        if self.filling.len() > 0 {
            std::mem::swap(&mut self.writing, &mut self.filling);
            return Action::Write;
        }
        let op = self.ops.pop_front();
        self.op_bytes -= op.as_ref().map_or(0, write_length);
        match op {
            None => Action::Idle,
            Some(SocketOp::Write(bytes)) => {
                self.writing.put_value(bytes);
                Action::Write
            }
            Some(SocketOp::WaitUntil(time)) => {
                if time > Instant::now() {
                    self.ops.push_front(SocketOp::WaitUntil(time));
                }
                Action::WaitUntil(time)
            }
            Some(SocketOp::Yield) => Action::Yield,
            Some(SocketOp::Close(close)) => Action::Close(close),
        }
    }

    /// Waits until bytes were written or read, or `until` has passed, or the faults have changed.
    async fn wait(&mut self, stream: &mut Stream, until: Option<Instant>) -> io::Result<()> {
        let stops_reading = self.faults.stops_reading();
        // While complete requests wait for room, reading more would only take memory.
        let may_read = !(self.closing || self.read_closed || self.has_more || stops_reading);
        let may_read = may_read && self.pending_bytes() < MAX_PENDING;
        let may_write = self.writing.len() > 0 || self.unflushed;
        // Without faults there is always something to transfer. Their changes are then noticed after it, which saves
        // watching for them on every wait.
        let watches_faults = until.is_some() || stops_reading || self.faults.is_black_hole();
        let Self { input, writing, unflushed, state, fault_changes, .. } = self;
        let traffic = &state.traffic;
        let transfer = poll_fn(|cx| {
            let input = may_read.then_some(&mut *input);
            poll_transfer(cx, stream, input, writing, unflushed, traffic)
        });
        let transferred = if watches_faults {
            tokio::select! {
                transferred = transfer, if may_read || may_write => transferred?,
                () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => return Ok(()),
                // The sender is part of the state that this connection holds, so this is never an error.
                _ = fault_changes.changed() => {
                    fault_changes.mark_changed();
                    return Ok(());
                }
            }
        } else {
            transfer.await?
        };
        self.read_closed |= matches!(transferred, Transferred::Read(0));
        Ok(())
    }

    /// Waits for a log line and queues it, or discards what the client sends.
    async fn forward_watch_line(&mut self, stream: &mut Stream) -> io::Result<()> {
        let Self { watch_stream: Some(lines), input, writing, unflushed, state, .. } = self else { return Ok(()) };
        let traffic = &state.traffic;
        let read = poll_fn(|cx| poll_transfer(cx, stream, Some(&mut *input), writing, unflushed, traffic));
        tokio::select! {
            line = lines.recv() => match line {
                Some(line) => self.filling.put(&line),
                None => self.closing = true,
            },
            transferred = read => {
                self.input.clear();
                self.read_closed = matches!(transferred?, Transferred::Read(0));
                self.closing = self.read_closed;
            }
        }
        Ok(())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.state.traffic.open.fetch_sub(1, Ordering::Relaxed);
        self.state.peers().remove(&self.number);
    }
}

/// Writes and flushes `output` if the stream accepts it; otherwise reads into `input`.
fn poll_transfer(
    cx: &mut Context<'_>,
    stream: &mut Stream,
    input: Option<&mut RequestBuffer>,
    output: &mut ReplyBuffer,
    unflushed: &mut bool,
    traffic: &Traffic,
) -> Poll<io::Result<Transferred>> {
    if (output.len() > 0 || *unflushed)
        && let Poll::Ready(result) = poll_write_all(cx, stream, output, unflushed, traffic)
    {
        return Poll::Ready(result.map(|()| Transferred::Written));
    }
    // The futures below keep no state between polls, so creating one for each poll loses nothing.
    let Some(input) = input else { return Poll::Pending };
    pin!(stream.read_buf(input.spare())).poll(cx).map_ok(|count| {
        add(&traffic.bytes_read, count);
        Transferred::Read(count)
    })
}

fn poll_write_all(
    cx: &mut Context<'_>,
    stream: &mut Stream,
    output: &mut ReplyBuffer,
    unflushed: &mut bool,
    traffic: &Traffic,
) -> Poll<io::Result<()>> {
    while output.len() > 0 {
        match std::task::ready!(pin!(stream.write_buf(output.output())).poll(cx))? {
            0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            count => add(&traffic.bytes_written, count),
        }
        *unflushed = true;
    }
    std::task::ready!(pin!(stream.flush()).poll(cx))?;
    *unflushed = false;
    Poll::Ready(Ok(()))
}

/// Sends the error line for a connection beyond the limit, as memcached does, and closes the connection.
pub(crate) async fn reject(mut stream: Stream) {
    // The send buffer of a new socket has room for one line, so this does not wait.
    if stream.write_all(Fault::TOO_MANY_CONNECTIONS).await.is_ok() {
        stream.close(Close::Fin).await;
    }
}

fn write_length(op: &SocketOp) -> usize {
    match op {
        SocketOp::Write(bytes) => bytes.len(),
        _ => 0,
    }
}
