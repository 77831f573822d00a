//! A caller: asks, waits or goes away, and holds every outcome against what it may be.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use shuttle::future::JoinHandle;
use tokio::time::Instant;

use super::task::{LINES, Task, value};
use super::{Scene, pause, random};
use crate::connection::shared::{Flight, Queued, Submitted};

use crate::connection::slot::Slot;
use crate::proto::{Deadline, Delivery, Reply, Request, Status};

pub(crate) struct Caller {
    scene: Scene,
    number: usize,
    random: fastrand::Rng,
    /// Whether the server may have had the request in an earlier attempt.
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
                0 => self.ask_for_a_run(&key).await,
                1 => self.ask_for_lines(&key).await,
                _ => self.ask_for_one(&key).await,
            }
            pause(&mut self.random, 2).await;
            self.was_sent = false;
        }
    }

    /// Whether this caller waits for its outcome; another goes away after a while.
    async fn stays(&mut self) -> bool {
        let stays = self.random.u8(..3) > 0;
        if !stays {
            pause(&mut self.random, 6).await;
        }
        stays
    }

    async fn ask_for_one(&mut self, key: &str) {
        // A future that was polled within one task may go on in another, whom it has to wake then.
        let waiting = match self.random.bool() {
            true => |waker: &Waker| Slot::Waiting(waker.clone()),
            false => |_: &Waker| Slot::Waiting(Waker::noop().clone()),
        };
        let link = Arc::clone(&self.scene.link);
        // A get whose connection ended with its runtime is sent again, even if the server had it.
        while let Some(flight) = self.submit(key, &Request::get(key), waiting).await {
            if !self.stays().await {
                return link.abandon(flight);
            }
            let outcome = poll_fn(|cx| {
                let mut interrupted = None;
                let reply = link.poll_reply(flight, cx.waker(), &mut interrupted, |reply, _| reply);
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

    /// ReplyStream until the last, which is empty or an error.
    async fn ask_for_lines(&mut self, key: &str) {
        let many = |_: &Waker| Slot::Many(Box::default());
        let Some(flight) = self.submit(key, &Request::stat(key), many).await else { return };
        let link = Arc::clone(&self.scene.link);
        if !self.stays().await {
            return link.abandon(flight);
        }
        let (mut lines, mut ends) = (0, 0);
        while let Some(reply) = poll_fn(|cx| link.poll_next(flight.slot, cx.waker())).await {
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

    /// Two requests whose replies come to one place.
    async fn ask_for_a_run(&mut self, key: &str) {
        let keys = [0, 1].map(|place| format!("{key}-{place}"));
        let link = Arc::clone(&self.scene.link);
        let now = Instant::now();
        let run = link.submit_run(keys.len(), |place| Request::get(keys[place].as_str()), deadline(now), now, None);
        self.attend(run.attend);
        let mut outcomes = [0, 0];
        let mut count = |this: &mut Self, replies: &mut Vec<(u32, Reply)>| {
            for (place, reply) in replies.drain(..) {
                outcomes[place as usize] += 1;
                this.check(&keys[place as usize], &reply);
            }
        };
        let mut replies = run.refused;
        count(self, &mut replies);
        if let Some(slot) = run.slot {
            if !self.stays().await {
                return link.abandon_run(slot);
            }
            while !poll_fn(|cx| link.poll_run(slot, &mut replies, cx.waker())).await {
                count(self, &mut replies);
            }
            count(self, &mut replies);
        }
        // What found no room was not taken, and has no outcome.
        let expected = [0, 1].map(|place| u32::from(place < run.taken));
        assert_eq!(outcomes, expected, "one outcome for each place that was taken");
    }

    /// Submits when there is room; nothing, if the outcome was known without asking.
    async fn submit(&self, key: &str, request: &Request<'_>, slot: fn(&Waker) -> Slot) -> Option<Flight> {
        let link = Arc::clone(&self.scene.link);
        let mut queued: Option<Queued> = None;
        loop {
            let (now, ticket) = (Instant::now(), queued.as_ref().map(Queued::ticket));
            let submit = |waker: &Waker| link.submit(request, deadline(now), slot(waker), now, ticket);
            match poll_fn(|cx| Poll::Ready(submit(cx.waker()))).await {
                Submitted::InFlight { flight, attend } => {
                    self.attend(attend);
                    return Some(flight);
                }
                Submitted::Refused(reply) => {
                    assert_ne!(reply.status, Status::NoError, "{reply:?}");
                    self.check(key, &reply);
                    return None;
                }
                Submitted::Full => {
                    if !self.wait_for_turn(&mut queued).await {
                        return None;
                    }
                }
                Submitted::Cast { .. } => panic!("this request has a caller"),
            }
        }
    }

    /// Waits for a turn; `false` if a deadline comes first, which there is only where runtimes stall.
    async fn wait_for_turn(&self, queued: &mut Option<Queued>) -> bool {
        let mut polls = if self.scene.may_stall { 30 } else { usize::MAX };
        poll_fn(|cx| {
            let queued = queued.get_or_insert_with(|| self.scene.link.queue(0, cx.waker()));
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

    /// Starts the connection's task and the watchdog's, as a server does.
    fn attend(&self, attend: bool) {
        if !attend {
            return;
        }
        if self.scene.may_stall && random().bool() {
            self.scene.link.give_up_stalled_task(None, Instant::now() + LONG);
        }
        if let Some(task) = self.scene.link.claim_task(0, None) {
            Task::begin(&self.scene, task);
        }
        if let Some(due) = self.scene.link.claim_watch(Instant::now()) {
            self.scene.watch(due);
        }
    }

    /// An outcome is the value of this key, or the reason why there is no value.
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
    Deadline { at: (now + PATIENCE).into_std(), extend_by: Duration::ZERO }
}

/// Longer than any stall that is tolerated.
const LONG: Duration = Duration::from_secs(3600);
/// How long requests have; the task says when that is over.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);
