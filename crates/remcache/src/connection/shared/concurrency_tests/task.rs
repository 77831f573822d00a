//! The connection's task in the steps of the real one, with a server of its own and troubles by chance.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Buf;
use tokio::time::Instant;

use super::caller::PATIENCE;
use super::{Scene, TaskHandle, pause, random};
use crate::connection::handshake::Negotiated;
use crate::connection::shared::{Demand, Parked};
use crate::health::state::ConnectionState;
use crate::proto::binary::{Opcode, Packet, encode_reply};
use crate::proto::{Deadline, InputBuffer, Output, Protocol, Reply, ServerVersion, Status};

/// How many replies statistics have before the last.
pub(crate) const LINES: u32 = 2;

/// What the server has under a key.
pub(crate) fn value(key: &str) -> String {
    format!("the value of {key}")
}

pub(crate) struct Task {
    scene: Scene,
    link: TaskHandle,
    random: fastrand::Rng,
    /// How many troubles are to come at most.
    troubles: usize,
}

/// How one connection went.
#[derive(Debug, PartialEq)]
enum Outcome {
    Idle,
    Failed,
    Finished,
}

impl Task {
    pub(crate) fn begin(scene: &Scene, link: TaskHandle) {
        let scene = scene.clone();
        shuttle::future::spawn(async move { Self { scene, link, random: random(), troubles: 2 }.run().await });
    }

    async fn run(mut self) {
        let (scene, link) = (self.scene.clone(), self.link.clone());
        // The number of polls after which the runtime ends or stalls; in most schedules it does neither.
        let mut sometime = || if self.random.u8(..4) == 0 { self.random.usize(1..20) } else { usize::MAX };
        let (mut polls_to_end, mut polls_to_stall) = (sometime(), sometime());
        {
            let mut serving = pin!(self.serve(&link));
            poll_fn(|cx| {
                if polls_to_end == 0 {
                    return Poll::Ready(());
                }
                if polls_to_stall == 0 && scene.may_stall && scene.stalls_on(cx.waker()) {
                    return Poll::Pending;
                }
                polls_to_end -= 1;
                polls_to_stall = polls_to_stall.saturating_sub(1);
                let outcome = serving.as_mut().poll(cx);
                if polls_to_end == 0 {
                    cx.waker().wake_by_ref();
                }
                outcome
            })
            .await;
        }
        link.end("the runtime ended");
    }

    async fn serve(&mut self, link: &TaskHandle) {
        loop {
            link.set(ConnectionState::Idle);
            if poll_fn(|cx| link.poll_demand(cx.waker())).await == Demand::End {
                return;
            }
            link.set(ConnectionState::Connecting);
            let mut outcome = self.connect_and_drive(link, false).await;
            while outcome == Outcome::Failed {
                pause(&mut self.random, 3).await;
                if link.is_closed() {
                    return;
                }
                outcome = self.connect_and_drive(link, true).await;
            }
            if outcome == Outcome::Finished {
                return;
            }
        }
    }

    fn is_trouble(&mut self) -> bool {
        let is_trouble = self.troubles > 0 && self.random.u8(..4) == 0;
        self.troubles -= usize::from(is_trouble);
        is_trouble
    }

    async fn connect_and_drive(&mut self, link: &TaskHandle, probe: bool) -> Outcome {
        pause(&mut self.random, 2).await;
        let mut wakers = Vec::new();
        if self.is_trouble() {
            // Deadlines pass while the connection is being opened.
            let _ = link.expire(Instant::now() + PATIENCE + LATE, &mut wakers);
            wakers.drain(..).for_each(Waker::wake);
        }
        if self.is_trouble() {
            match self.random.bool() {
                true => _ = link.refuse(Status::AuthError, "wrong password"),
                false => fail(link),
            }
            return Outcome::Failed;
        }
        let now = Instant::now();
        link.connected(
            Negotiated { protocol: Protocol::Binary, dialect: ServerVersion::default(), may_be_proxy: false },
            None,
            None,
            now,
        );
        match probe {
            true => link.probe(Deadline { at: (now + PATIENCE).into_std(), extend_by: Duration::ZERO }, now),
            false => _ = link.set(ConnectionState::Connected),
        }
        let outcome = Connection::new(self, probe).await;
        if outcome == Outcome::Failed {
            fail(link);
        }
        outcome
    }
}

fn fail(link: &TaskHandle) {
    link.set(ConnectionState::Down("the server went away".to_owned()));
    link.disconnect("the server went away");
}

/// One connection, whose other end is here as well.
struct Connection<'a> {
    task: &'a mut Task,
    link: TaskHandle,
    probe: bool,
    output: Output,
    requests: InputBuffer,
    replies: Vec<u8>,
    input: InputBuffer,
    wakers: Vec<Waker>,
}

impl<'a> Connection<'a> {
    fn new(task: &'a mut Task, probe: bool) -> Self {
        let link = task.link.clone();
        Self {
            task,
            link,
            probe,
            output: Output::new(),
            requests: InputBuffer::new(),
            replies: Vec::new(),
            input: InputBuffer::new(),
            wakers: Vec::new(),
        }
    }

    /// Writes a part of what is ready, now and then all of it.
    fn write(&mut self) {
        if !self.output.has_remaining() {
            self.link.take_output(&mut self.output);
        }
        let most = self.output.remaining();
        let count = if self.task.random.bool() { most } else { self.task.random.usize(..=most) };
        if count > 0 {
            self.requests.extend(&self.output.copy_to_bytes(count));
            self.link.handle_written(count);
        }
    }

    /// The server's part.
    fn answer(&mut self) {
        while let Some(packet) = Packet::decode(&mut self.requests, 1 << 20).expect("requests are whole") {
            let key = String::from_utf8(packet.key.to_vec()).expect("keys are text");
            let opcode = Opcode(packet.header.opcode);
            let value = value(&key);
            if !key.is_empty() {
                Scene::note(&self.task.scene.asked, key);
            }
            let mut put = |reply: &Reply| {
                let mut output = Output::new();
                encode_reply(reply, opcode, packet.header.opaque, &mut output);
                self.replies.extend_from_slice(output.small());
            };
            match opcode {
                Opcode::STAT => {
                    let mut line = Reply::with_text(Status::NoError, value);
                    line.key = "line".into();
                    (0..LINES).for_each(|_| put(&line));
                    put(&Reply::new(Status::NoError));
                }
                Opcode::NOOP => put(&Reply::new(Status::NoError)),
                _ => put(&Reply::with_text(Status::NoError, value)),
            }
        }
    }

    /// Reads a part of what the server said; whether anything came.
    fn read(&mut self) -> bool {
        if self.replies.is_empty() {
            return false;
        }
        let count = self.task.random.usize(1..=self.replies.len());
        self.input.extend(&self.replies[..count]);
        self.replies.drain(..count);
        self.link.settle(&mut self.input, Instant::now(), &mut self.wakers).expect("the server is honest");
        self.wakers.drain(..).for_each(Waker::wake);
        if self.probe && self.link.has_replied() {
            self.probe = false;
            self.link.set(ConnectionState::Connected);
        }
        true
    }

    /// Something goes wrong, or only takes too long; the connection may have to end.
    fn suffer(&mut self) -> Option<Outcome> {
        match self.task.random.u8(..4) {
            0 => return Some(Outcome::Failed),
            1 if self.link.has_replied() && self.link.is_quiet() => {
                self.link.disconnect("the server closed the idle connection");
                return Some(Outcome::Idle);
            }
            2 => _ = self.link.shrink(),
            _ => {}
        }
        let overdue = if self.task.random.bool() { LATE } else { 3 * PATIENCE };
        let outcome = self.link.handle_timeout(Instant::now() + PATIENCE + overdue, &mut self.wakers);
        self.wakers.drain(..).for_each(Waker::wake);
        if matches!(outcome, Ok(None)) { None } else { Some(Outcome::Failed) }
    }
}

impl Future for Connection<'_> {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let this = &mut *self;
        loop {
            this.write();
            this.answer();
            if this.task.is_trouble()
                && let Some(outcome) = this.suffer()
            {
                return Poll::Ready(outcome);
            }
            if this.read() {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let can_write = !this.output.has_remaining();
            match this.link.park(cx.waker(), can_write) {
                Parked::HasOutput => {}
                Parked::Finished => return Poll::Ready(Outcome::Finished),
                // The socket takes the rest by itself.
                Parked::Until(_) if !can_write => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Parked::Until(_) => return Poll::Pending,
            }
        }
    }
}

/// How late a due deadline is noticed.
const LATE: Duration = Duration::from_millis(10);
