//! A connection's task that takes the same steps as the real one, with a simulated server and random faults.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Buf;
use tokio::time::Instant;

use super::caller::TIMEOUT;
use super::{Scene, TaskHandle, pause, random};
use crate::connection::handshake::Negotiated;
use crate::connection::shared::{ParkResult, TaskAction};
use crate::health::state::ConnectionState;
use crate::proto::binary::{Opcode, Packet, encode_reply};
use crate::proto::{Deadline, InputBuffer, Output, Protocol, Reply, ServerVersion, Status};

/// The number of replies to `stat` before the last.
pub(crate) const LINES: u32 = 2;

/// Returns the server's value for a key.
pub(crate) fn value(key: &str) -> String {
    format!("the value of {key}")
}

pub(crate) struct ModelTask {
    scene: Scene,
    handle: TaskHandle,
    random: fastrand::Rng,
    /// Remaining faults.
    faults: usize,
}

/// The result of one connection.
#[derive(Debug, PartialEq)]
enum ModelResult {
    Idle,
    Failed,
    Finished,
}

impl ModelTask {
    pub(crate) fn begin(scene: &Scene, handle: TaskHandle) {
        let scene = scene.clone();
        shuttle::future::spawn(async move { Self { scene, handle, random: random(), faults: 2 }.run().await });
    }

    async fn run(mut self) {
        let (scene, handle) = (self.scene.clone(), self.handle.clone());
        // The number of polls after which the runtime ends or stalls; in most schedules it does neither.
        let mut sometime = || if self.random.u8(..4) == 0 { self.random.usize(1..20) } else { usize::MAX };
        let (mut polls_to_end, mut polls_to_stall) = (sometime(), sometime());
        {
            let mut serving = pin!(self.serve(&handle));
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
        handle.end("the runtime ended");
    }

    async fn serve(&mut self, handle: &TaskHandle) {
        loop {
            handle.set_state(ConnectionState::Idle);
            if poll_fn(|cx| handle.poll_action(cx.waker())).await == TaskAction::Stop {
                return;
            }
            handle.set_state(ConnectionState::Connecting);
            let mut outcome = self.connect_and_run(handle, false).await;
            while outcome == ModelResult::Failed {
                pause(&mut self.random, 3).await;
                if handle.is_closed() {
                    return;
                }
                outcome = self.connect_and_run(handle, true).await;
            }
            if outcome == ModelResult::Finished {
                return;
            }
        }
    }

    fn is_fault(&mut self) -> bool {
        let is_fault = self.faults > 0 && self.random.u8(..4) == 0;
        self.faults -= usize::from(is_fault);
        is_fault
    }

    async fn connect_and_run(&mut self, handle: &TaskHandle, probe: bool) -> ModelResult {
        pause(&mut self.random, 2).await;
        let mut wakers = Vec::new();
        if self.is_fault() {
            // Deadlines pass while the connection is being opened.
            let _ = handle.expire(Instant::now() + TIMEOUT + LATE, &mut wakers);
            wakers.drain(..).for_each(Waker::wake);
        }
        if self.is_fault() {
            match self.random.bool() {
                true => _ = handle.refuse(Status::AuthError, "wrong password"),
                false => fail(handle),
            }
            return ModelResult::Failed;
        }
        let now = Instant::now();
        handle.connected(
            Negotiated { protocol: Protocol::Binary, server_version: ServerVersion::default(), may_be_proxy: false },
            None,
            None,
            now,
        );
        match probe {
            true => handle.probe(Deadline { at: (now + TIMEOUT).into_std(), extend_by: Duration::ZERO }, now),
            false => _ = handle.set_state(ConnectionState::Connected),
        }
        let outcome = Connection::new(self, probe).await;
        if outcome == ModelResult::Failed {
            fail(handle);
        }
        outcome
    }
}

fn fail(handle: &TaskHandle) {
    handle.set_state(ConnectionState::Down("the server went away".to_owned()));
    handle.disconnect("the server went away");
}

/// One connection with both of its ends.
struct Connection<'a> {
    task: &'a mut ModelTask,
    handle: TaskHandle,
    probe: bool,
    output: Output,
    requests: InputBuffer,
    replies: Vec<u8>,
    input: InputBuffer,
    wakers: Vec<Waker>,
}

impl<'a> Connection<'a> {
    fn new(task: &'a mut ModelTask, probe: bool) -> Self {
        let handle = task.handle.clone();
        Self {
            task,
            handle,
            probe,
            output: Output::new(),
            requests: InputBuffer::new(),
            replies: Vec::new(),
            input: InputBuffer::new(),
            wakers: Vec::new(),
        }
    }

    /// Writes all of the pending output, or a random part.
    fn write(&mut self) {
        if !self.output.has_remaining() {
            self.handle.take_output(&mut self.output);
        }
        let most = self.output.remaining();
        let count = if self.task.random.bool() { most } else { self.task.random.usize(..=most) };
        if count > 0 {
            self.requests.extend(&self.output.copy_to_bytes(count));
            self.handle.handle_written(count);
        }
    }

    /// Executes the received requests, as the server.
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

    /// Reads a part of the server's replies; returns whether there were any.
    fn read(&mut self) -> bool {
        if self.replies.is_empty() {
            return false;
        }
        let count = self.task.random.usize(1..=self.replies.len());
        self.input.extend(&self.replies[..count]);
        self.replies.drain(..count);
        self.handle.handle_input(&mut self.input, Instant::now(), &mut self.wakers).expect("the server is honest");
        self.wakers.drain(..).for_each(Waker::wake);
        if self.probe && self.handle.has_replied() {
            self.probe = false;
            self.handle.set_state(ConnectionState::Connected);
        }
        true
    }

    /// Closes the connection or lets time pass; returns the result if the connection ends.
    fn inject_fault(&mut self) -> Option<ModelResult> {
        match self.task.random.u8(..4) {
            0 => return Some(ModelResult::Failed),
            1 if self.handle.has_replied() && !self.handle.has_waiters() => {
                self.handle.disconnect("the server closed the idle connection");
                return Some(ModelResult::Idle);
            }
            2 => _ = self.handle.shrink(),
            _ => {}
        }
        let overdue = if self.task.random.bool() { LATE } else { 3 * TIMEOUT };
        let outcome = self.handle.handle_timeout(Instant::now() + TIMEOUT + overdue, &mut self.wakers);
        self.wakers.drain(..).for_each(Waker::wake);
        if matches!(outcome, Ok(None)) { None } else { Some(ModelResult::Failed) }
    }
}

impl Future for Connection<'_> {
    type Output = ModelResult;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<ModelResult> {
        let this = &mut *self;
        loop {
            this.write();
            this.answer();
            if this.task.is_fault()
                && let Some(outcome) = this.inject_fault()
            {
                return Poll::Ready(outcome);
            }
            if this.read() {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let can_write = !this.output.has_remaining();
            match this.handle.park(cx.waker(), can_write) {
                ParkResult::HasOutput => {}
                ParkResult::Finished => return Poll::Ready(ModelResult::Finished),
                // The socket accepts the rest later.
                ParkResult::Until(_) if !can_write => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                ParkResult::Until(_) => return Poll::Pending,
            }
        }
    }
}

/// How late a deadline is noticed.
const LATE: Duration = Duration::from_millis(10);
