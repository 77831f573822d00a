//! One connection: bytes from the socket to the wire, replies and faults to the socket.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use remcache_proto::CowBytes;
use tokio::io::Interest;
use tokio::sync::watch;
use tokio::task::{coop, yield_now};
use tokio::time::{Instant, sleep_until};

use crate::conversation::{Conversation, Pause};
use crate::fault::{Close, Fault};
use crate::input::Input;
use crate::replies::Replies;
use crate::state::{State, add};
use crate::stream::Stream;
use crate::text::Watched;
use crate::wire::{Step, Wire};

/// How many bytes of replies may wait before nothing more is read: a client that does not read
/// must not fill the memory.
const WAITING_LIMIT: usize = 1 << 20;

/// One connection, until it is closed.
#[derive(Debug)]
pub(crate) struct Connection {
    state: Arc<State>,
    /// How many connections there were up to this one.
    number: u64,
    conversation: Conversation,
    input: Input,
    /// Replies that are produced, and those that are being written: whatever is written is written
    /// to its end before the other's turn comes, so neither grows without bound.
    filling: Replies,
    writing: Replies,
    wire: Wire,
    changes: watch::Receiver<()>,
    /// What is done after `writing` and `filling`, where there are faults.
    steps: VecDeque<Step>,
    /// The bytes in `steps`.
    stepped: usize,
    /// Whether the input may hold a request although nothing new was read.
    more: bool,
    /// Whether the client sends nothing more.
    at_end: bool,
    /// Whether nothing more is answered.
    ended: bool,
    /// Whether requests were thrown away.
    swallowed: bool,
    /// The lines that are told instead of answering.
    watched: Option<Watched>,
}

/// How far writing came.
#[derive(Debug)]
enum Written {
    All,
    Blocked,
    Until(Instant),
    Yield,
    Closed(Close),
}

impl Connection {
    pub(crate) fn new(state: &Arc<State>) -> Self {
        state.traffic.open.fetch_add(1, Ordering::Relaxed);
        let (own, clearings) = state.faults.of_connection();
        let number = state.numbers.fetch_add(1, Ordering::Relaxed) + 1;
        Self {
            state: Arc::clone(state),
            conversation: Conversation::Silent(number),
            number,
            input: Input::default(),
            filling: Replies::default(),
            writing: Replies::default(),
            wire: Wire::new(own, clearings),
            changes: state.faults.subscribe(),
            steps: VecDeque::new(),
            stepped: 0,
            more: false,
            at_end: false,
            ended: false,
            swallowed: false,
            watched: None,
        }
    }

    /// Serves the connection to its end.
    pub(crate) async fn serve(mut self, stream: Stream) {
        self.state.peers().insert(self.number, stream.peer());
        self.look_at_faults();
        let close = match self.wire.greeting() {
            Some(greeting) => self.greet(&stream, greeting).await,
            None => self.run(&stream).await,
        };
        // An error means that the peer is gone.
        if let Ok(close) = close {
            stream.close(close).await;
        }
    }

    async fn greet(&mut self, stream: &Stream, greeting: Bytes) -> io::Result<Close> {
        self.ended = true;
        self.filling.output().put_value(&CowBytes::Shared(greeting));
        self.run(stream).await
    }

    async fn run(&mut self, stream: &Stream) -> io::Result<Close> {
        loop {
            // A client that is always ready must not keep others from their turn.
            coop::consume_budget().await;
            self.look_at_faults();
            self.answer();
            match self.write(stream)? {
                Written::Closed(close) => return Ok(close),
                Written::Yield => yield_now().await,
                Written::All if self.ended => return Ok(Close::Fin),
                Written::All if self.more => {}
                Written::All if self.watched.is_some() => self.watch(stream).await?,
                Written::All => self.wait(stream, false, None).await?,
                Written::Blocked => self.wait(stream, true, None).await?,
                Written::Until(time) => self.wait(stream, false, Some(time)).await?,
            }
        }
    }

    fn look_at_faults(&mut self) {
        if self.changes.has_changed().unwrap_or_default() {
            self.changes.mark_unchanged();
            self.state.faults.with_everywhere(|everywhere| self.wire.update(&everywhere));
        }
        self.ended |= self.swallowed && !self.wire.never_answers();
    }

    /// Answers what was read, as far as there is room for replies.
    fn answer(&mut self) {
        if self.wire.never_answers() {
            self.swallowed |= self.input.len() > 0;
            self.input.clear();
        }
        let room = WAITING_LIMIT.saturating_sub(self.waiting());
        if self.watched.is_some() {
            self.input.clear();
        }
        if self.ended || self.watched.is_some() || room == 0 {
            return;
        }
        let pause = match self.is_faulty() {
            _ if self.input.len() == 0 => Pause::NeedsInput,
            true => self.answer_faultily(room),
            false => {
                let limit = room + self.filling.len();
                self.conversation.go_on(&mut self.input, &self.state, &mut self.filling, limit)
            }
        };
        self.more = pause == Pause::Full;
        self.ended = pause == Pause::Closed || (self.at_end && pause == Pause::NeedsInput);
        self.watched = self.conversation.take_watched();
        add(&self.state.traffic.requests, self.conversation.take_requests());
    }

    fn answer_faultily(&mut self, room: usize) -> Pause {
        let mut replies = Replies::divisible();
        let pause = self.conversation.go_on(&mut self.input, &self.state, &mut replies, room);
        let (now, before) = (Instant::now(), self.steps.len());
        for packet in replies.into_packets() {
            self.wire.apply(packet, self.state.faults.of_reply(), now, &mut self.steps);
        }
        self.stepped += self.steps.range(before..).map(length).sum::<usize>();
        pause
    }

    /// Whether replies go through the faults: once some do, others wait behind them.
    fn is_faulty(&self) -> bool {
        self.wire.has_faults() || !self.steps.is_empty() || self.state.faults.may_concern_replies()
    }

    /// How many bytes wait to be written.
    fn waiting(&self) -> usize {
        self.writing.len() + self.filling.len() + self.stepped
    }

    fn write(&mut self, stream: &Stream) -> io::Result<Written> {
        loop {
            if self.writing.len() == 0 {
                if let Some(written) = self.next_to_write() {
                    return Ok(written);
                }
                continue;
            }
            match stream.try_write(self.writing.output())? {
                Some(count) => add(&self.state.traffic.bytes_written, count),
                None => return Ok(Written::Blocked),
            }
        }
    }

    /// Takes what is written next; or tells why nothing is.
    fn next_to_write(&mut self) -> Option<Written> {
        if self.filling.len() > 0 {
            std::mem::swap(&mut self.writing, &mut self.filling);
            return None;
        }
        let step = self.steps.pop_front();
        self.stepped -= step.as_ref().map_or(0, length);
        match step {
            None => Some(Written::All),
            Some(Step::Write(bytes)) => {
                self.writing.output().put_value(&CowBytes::Shared(bytes));
                None
            }
            Some(Step::WaitUntil(time)) if time > Instant::now() => {
                self.steps.push_front(Step::WaitUntil(time));
                Some(Written::Until(time))
            }
            Some(Step::WaitUntil(_)) => None,
            Some(Step::Yield) => Some(Written::Yield),
            Some(Step::Close(close)) => Some(Written::Closed(close)),
        }
    }

    /// Waits until there is something to do, and reads what is there.
    async fn wait(&mut self, stream: &Stream, to_write: bool, until: Option<Instant>) -> io::Result<()> {
        let stopped = self.wire.stops_reading();
        // While whole requests wait for room, more of them would only take memory.
        let to_read = !(self.ended || self.at_end || self.more || stopped) && self.waiting() < WAITING_LIMIT;
        let interest = match (to_read, to_write) {
            (true, true) => Some(Interest::READABLE | Interest::WRITABLE),
            (true, false) => Some(Interest::READABLE),
            (false, true) => Some(Interest::WRITABLE),
            (false, false) => None,
        };
        let ready = match interest {
            Some(interest) if until.is_none() && !stopped && !self.wire.never_answers() => {
                stream.ready(interest).await?.is_readable()
            }
            _ => self.wait_among_faults(stream, interest, until).await?,
        };
        if to_read && ready { self.read(stream) } else { Ok(()) }
    }

    /// Tells what happens, line by line, to a client that said it wants to be told; whatever it says
    /// afterwards is thrown away.
    async fn watch(&mut self, stream: &Stream) -> io::Result<()> {
        let Some(watched) = &mut self.watched else { return Ok(()) };
        tokio::select! {
            line = watched.recv() => match line {
                Some(line) => self.filling.put(&line),
                None => self.ended = true,
            },
            ready = stream.ready(Interest::READABLE) => {
                ready?;
                self.read(stream)?;
                self.input.clear();
                self.ended = self.at_end;
            }
        }
        Ok(())
    }

    /// Waits for the socket, the time or a change of the faults; tells whether there is something
    /// to read.
    async fn wait_among_faults(
        &mut self,
        stream: &Stream,
        interest: Option<Interest>,
        until: Option<Instant>,
    ) -> io::Result<bool> {
        let time = until.unwrap_or_else(Instant::now);
        tokio::select! {
            ready = stream.ready(interest.unwrap_or(Interest::WRITABLE)), if interest.is_some() => Ok(ready?.is_readable()),
            () = sleep_until(time), if until.is_some() => Ok(false),
            // The sender lives as long as the state, which is kept here.
            _ = self.changes.changed() => {
                self.changes.mark_changed();
                Ok(false)
            }
        }
    }

    fn read(&mut self, stream: &Stream) -> io::Result<()> {
        match stream.try_read(self.input.spare())? {
            Some(0) => self.at_end = true,
            Some(count) => add(&self.state.traffic.bytes_read, count),
            None => {}
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

/// Tells a client, in text as memcached does, that there is no room for it.
pub(crate) async fn reject(stream: Stream) {
    let mut words = remcache_proto::Output::new();
    words.put(Fault::TOO_MANY_CONNECTIONS);
    // A fresh socket has room for one line.
    if stream.try_write(&mut words).is_ok() {
        stream.close(Close::Fin).await;
    }
}

fn length(step: &Step) -> usize {
    match step {
        Step::Write(bytes) => bytes.len(),
        _ => 0,
    }
}
