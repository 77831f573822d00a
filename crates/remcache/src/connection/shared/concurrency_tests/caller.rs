//! A caller: submits requests, waits or drops them, and checks every result.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use shuttle::future::JoinHandle;
use tokio::time::Instant;

use super::task::{LINES, ModelTask, value};
use super::{Scene, pause, random};
use crate::connection::shared::{Flight, Queued, Submitted};
use crate::connection::slot::Slot;
use crate::proto::{Deadline, Delivery, Reply, Request, Status};
use crate::result::take_reply;

pub(crate) struct Caller {
    scene: Scene,
    number: usize,
    random: fastrand::Rng,
    /// Whether an earlier attempt may have reached the server.
    was_sent: bool,
}

impl Caller {
    pub(crate) fn begin(scene: &Scene, number: usize) -> JoinHandle<()> {
        let scene = scene.clone();
        shuttle::future::spawn(async move { Self { scene, number, random: random(), was_sent: false }.run().await })
    }

    async fn run(mut self) {
        for round in 0..2 {
            let key = format!("key-{}-{round}", self.number);
            match self.random.u8(..4) {
                0 => self.get_batch(&key).await,
                1 => self.stat(&key).await,
                _ => self.get(&key).await,
            }
            pause(&mut self.random, 2).await;
            self.was_sent = false;
        }
    }

    /// Decides whether the caller waits for the result; if not, the request has been in flight for some steps.
    async fn waits(&mut self) -> bool {
        let waits = self.random.u8(..3) > 0;
        if !waits {
            pause(&mut self.random, 6).await;
        }
        waits
    }

    async fn get(&mut self, key: &str) {
        // A future may be polled by one task first and by another later, whose waker must replace the first one.
        let waiting = match self.random.bool() {
            true => |waker: &Waker| Slot::Waiting(waker.clone()),
            false => |_: &Waker| Slot::Waiting(Waker::noop().clone()),
        };
        let connection = Arc::clone(&self.scene.connection);
        // A get whose connection ended with its runtime is sent again, even if the server may have executed it.
        while let Some(flight) = self.submit(key, &Request::get(key), waiting).await {
            if !self.waits().await {
                return connection.abandon(flight);
            }
            let outcome = poll_fn(|cx| {
                let mut interrupted = None;
                let reply = connection.poll_reply(flight, cx.waker(), &mut interrupted, |reply, _| take_reply(reply));
                match interrupted {
                    Some(reply) => Poll::Ready((true, reply)),
                    None => reply.map(|reply| (false, reply)),
                }
            });
            match outcome.await {
                (true, reply) => self.was_sent |= reply.status.may_have_executed(),
                (false, reply) => return self.check(key, &reply),
            }
        }
    }

    /// Reads replies until the last, which is empty or an error.
    async fn stat(&mut self, key: &str) {
        let many = |_: &Waker| Slot::Many(Box::default());
        let Some(flight) = self.submit(key, &Request::stat(key), many).await else { return };
        let connection = Arc::clone(&self.scene.connection);
        if !self.waits().await {
            return connection.abandon(flight);
        }
        let (mut lines, mut ends) = (0, 0);
        while let Some(reply) = poll_fn(|cx| connection.poll_next(flight.slot, cx.waker())).await {
            assert_eq!(ends, 0, "nothing comes after the last");
            match reply.status {
                Status::NoError if reply.key.is_empty() => ends = 1,
                Status::NoError => lines += 1,
                _ => ends = 2,
            }
            if reply.status != Status::NoError || !reply.key.is_empty() {
                self.check(key, &reply);
            }
        }
        assert!(ends == 2 && lines <= LINES || ends == 1 && lines == LINES, "{lines} lines, end {ends}");
    }

    /// Submits two requests whose replies share a slot.
    async fn get_batch(&mut self, key: &str) {
        let keys = [0, 1].map(|index| format!("{key}-{index}"));
        let connection = Arc::clone(&self.scene.connection);
        let now = Instant::now();
        let batch =
            connection.submit_batch(keys.len(), |index| Request::get(keys[index].as_str()), deadline(now), now, None);
        self.start_task_if(batch.needs_attention);
        let mut outcomes = [0, 0];
        let mut count = |this: &mut Self, replies: &mut Vec<(u32, Reply)>| {
            for (index, reply) in replies.drain(..) {
                outcomes[index as usize] += 1;
                this.check(&keys[index as usize], &reply);
            }
        };
        let mut replies = batch.refused;
        count(self, &mut replies);
        if let Some(slot) = batch.slot {
            if !self.waits().await {
                return connection.abandon_batch(slot);
            }
            while !poll_fn(|cx| connection.poll_batch(slot, &mut replies, cx.waker())).await {
                count(self, &mut replies);
            }
            count(self, &mut replies);
        }
        // Requests beyond the connection's capacity were not accepted and have no result.
        let expected = [0, 1].map(|index| u32::from(index < batch.processed));
        assert_eq!(outcomes, expected, "one result for each accepted request");
    }

    /// Submits as soon as there is capacity; `None` if the request was refused or the wait timed out.
    async fn submit(&self, key: &str, request: &Request<'_>, slot: fn(&Waker) -> Slot) -> Option<Flight> {
        let connection = Arc::clone(&self.scene.connection);
        let mut queued: Option<Queued> = None;
        loop {
            let (now, ticket) = (Instant::now(), queued.as_ref().map(Queued::ticket));
            let submit = |waker: &Waker| connection.submit(request, deadline(now), slot(waker), now, ticket);
            match poll_fn(|cx| Poll::Ready(submit(cx.waker()))).await {
                Submitted::InFlight { flight, needs_attention } => {
                    self.start_task_if(needs_attention);
                    return Some(flight);
                }
                Submitted::Refused(reply) => {
                    assert_ne!(reply.status, Status::NoError, "{reply:?}");
                    self.check(key, &reply);
                    return None;
                }
                Submitted::Full => {
                    if !self.wait_for_capacity(&mut queued).await {
                        return None;
                    }
                }
                Submitted::NoReply { .. } => panic!("this request has a caller"),
            }
        }
    }

    /// Waits for capacity; returns `false` after a timeout, which applies only in schedules with stalls.
    async fn wait_for_capacity(&self, queued: &mut Option<Queued>) -> bool {
        let mut polls = if self.scene.may_stall { 30 } else { usize::MAX };
        poll_fn(|cx| {
            let queued = queued.get_or_insert_with(|| self.scene.connection.queue(0, cx.waker()));
            if queued.poll(cx.waker(), Instant::now()) {
                return Poll::Ready(true);
            }
            if polls == 0 {
                return Poll::Ready(false);
            }
            if self.scene.may_stall {
                polls -= 1;
                cx.waker().wake_by_ref();
            }
            Poll::Pending
        })
        .await
    }

    /// Starts the connection's task and the watchdog's, as `Server` does.
    fn start_task_if(&self, needs_attention: bool) {
        if !needs_attention {
            return;
        }
        if self.scene.may_stall && random().bool() {
            self.scene.connection.give_up_stalled_task(None, Instant::now() + LONG);
        }
        if let Some(task) = self.scene.connection.claim_task(0, None) {
            ModelTask::begin(&self.scene, task);
        }
        if let Some(due) = self.scene.connection.claim_watch(Instant::now()) {
            self.scene.watch(due);
        }
    }

    /// Checks that the reply has this key's value, or an allowed error.
    fn check(&self, key: &str, reply: &Reply) {
        match reply.status {
            Status::NoError => assert_eq!(reply.value, value(key)),
            Status::Disconnected(delivery) | Status::TimedOut(delivery) => {
                if delivery == Delivery::NotSent && !self.was_sent {
                    Scene::note(&self.scene.not_sent, key.to_owned());
                }
            }
            other => assert_eq!(other, Status::AuthError, "{reply:?}"),
        }
    }
}

fn deadline(now: Instant) -> Deadline {
    Deadline { at: (now + TIMEOUT).into_std(), extend_by: Duration::ZERO }
}

/// Longer than any stall that is tolerated.
const LONG: Duration = Duration::from_secs(3600);
/// The timeout of requests; the task decides when it has passed.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(1);
