//! Unit tests of the shared half of a connection, without a socket: bytes and most instants are passed in.

mod caller_side;
mod lifecycle;
mod state;
mod task_side;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Poll, Waker};
use std::time::Duration;

use tokio::time::Instant;

use super::{ConnectionHandle, Flight, Submitted, TaskHandle};
use crate::config::Config;
use crate::config::protocol::ProtocolSetting;
use crate::connection::handshake::Negotiated;
use crate::connection::slot::Slot;
use crate::connection::wait_queue::tests::WakeCounter;
use crate::proto::binary::{Opcode, encode_reply};
use crate::proto::{Deadline, Delivery, InputBuffer, Output, Protocol, Reply, Request, Status};

/// The process that the tests run in, as far as the connection knows.
const PROCESS: u32 = 1;

/// A connection on the binary protocol, and the start of the test. Instants are milliseconds after it.
struct Fixture {
    connection: Arc<ConnectionHandle>,
    start: Instant,
}

impl Fixture {
    fn new() -> Self {
        Self::with(Config::new())
    }

    fn with(config: Config) -> Self {
        let config = config.protocol(ProtocolSetting::Binary);
        Self { connection: ConnectionHandle::for_test(&config, 0), start: Instant::now() }
    }

    fn at(&self, millis: u64) -> Instant {
        self.start + Duration::from_millis(millis)
    }

    fn deadline(&self, millis: u64) -> Deadline {
        Deadline { at: self.at(millis).into_std(), extend_by: Duration::ZERO }
    }

    /// Submits a get at the start; returns whether the caller has to start a task or to notify the watchdog, too.
    fn submit(&self, deadline: u64) -> (Flight, bool) {
        self.submit_at(0, deadline)
    }

    fn submit_at(&self, millis: u64, deadline: u64) -> (Flight, bool) {
        let slot = Slot::Waiting(Waker::noop().clone());
        let now = self.at(millis);
        match self.connection.submit(&Request::get("key"), self.deadline(deadline), slot, now, None) {
            Submitted::InFlight { flight, needs_attention } => (flight, needs_attention),
            other => panic!("{other:?}"),
        }
    }

    /// Submits a get with a deadline in a minute.
    fn get(&self) -> Flight {
        self.submit(60_000).0
    }

    /// Returns the status of a request, if it is settled.
    fn status(&self, flight: Flight) -> Option<Status> {
        self.poll(flight).0
    }

    /// Polls for a reply; returns its status, or that of one that was interrupted because the task ended.
    fn poll(&self, flight: Flight) -> (Option<Status>, Option<Status>) {
        let mut interrupted = None;
        let polled = self.connection.poll_reply(flight, Waker::noop(), &mut interrupted, |reply, _| reply.status);
        let status = match polled {
            Poll::Ready(status) => Some(status),
            Poll::Pending => None,
        };
        (status, interrupted.map(|reply| reply.status))
    }

    /// Starts the task and opens its connection.
    fn connect(&self) -> TaskHandle {
        let task = self.start_task();
        task.connected(Negotiated::assumed(Protocol::Binary), None, None, self.start);
        task
    }

    /// Starts the task, opens its connection and writes the requests.
    fn connect_and_write(&self) -> TaskHandle {
        let task = self.connect();
        write(&task);
        task
    }

    /// Starts the task; a request must be in flight.
    fn start_task(&self) -> TaskHandle {
        self.connection.claim_task(PROCESS, None).expect("a request is in flight and there is no task")
    }

    /// Delivers replies to gets with these opaques at an instant.
    fn answer(&self, task: &TaskHandle, millis: u64, opaques: std::ops::Range<u32>) {
        let mut input = InputBuffer::new();
        opaques.for_each(|opaque| input.extend(&reply(Status::NoError, opaque)));
        task.handle_input(&mut input, self.at(millis), &mut Vec::new()).expect("the replies are valid");
    }
}

/// Encodes the reply to a get.
fn reply(status: Status, opaque: u32) -> Vec<u8> {
    let mut output = Output::new();
    encode_reply(&Reply::new(status), Opcode::GET, opaque, &mut output);
    output.small().to_vec()
}

/// Takes the pending output, and writes all of it.
fn write(task: &TaskHandle) {
    let mut output = Output::new();
    task.take_output(&mut output);
    task.handle_written(output.small().len());
}

fn counter() -> (Arc<WakeCounter>, Waker) {
    let counter = Arc::<WakeCounter>::default();
    (Arc::clone(&counter), Waker::from(counter))
}

fn woken(counter: &WakeCounter) -> usize {
    counter.0.load(Ordering::Relaxed)
}

const LOST: Option<Status> = Some(Status::Disconnected(Delivery::NotSent));
