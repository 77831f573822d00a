//! Callers, the connection's tasks and the watchdog on one link, with a scheduler that decides at every lock
//! which of them goes first: whatever it decides, each request has one outcome, its own, and no caller sleeps
//! for ever. Runtimes end and take the task with them, or stall until all callers have their outcome: then other
//! tasks take their place, and a runtime that goes on finds that its task has lost the connection.
//!
//! What runs here is the link itself, on a mutex of shuttle's. `REMCACHE_SCHEDULES` says how many
//! schedules are tried, half of them by each test; shuttle prints the one that fails, for `shuttle::replay`.

mod caller;
mod task;
mod watchdog;

use std::sync::{Arc, Mutex as Ledger, PoisonError};
use std::task::Waker;

use shuttle::rand::{RngCore, thread_rng};

use super::{ConnectionHandle, HealthMonitor, TaskHandle};
use crate::config::Config;
use crate::config::protocol::ProtocolSetting;
use crate::health::events;
use caller::Caller;

/// What all who take part in one schedule share.
#[derive(Clone)]
struct Scene {
    link: Arc<ConnectionHandle>,
    /// Keys that the server was asked for.
    asked: Arc<Ledger<Vec<String>>>,
    /// Keys that no byte was sent of, as the client said.
    not_sent: Arc<Ledger<Vec<String>>>,
    /// Whether tasks stall in this schedule.
    may_stall: bool,
    stalls: Arc<Ledger<Stalls>>,
}

/// Tasks whose runtime is not polled.
#[derive(Default)]
struct Stalls {
    are_over: bool,
    wakers: Vec<Waker>,
}

impl Scene {
    /// Room for three requests, so that callers also wait for some.
    fn new() -> Self {
        let mut config = Config::new().protocol(ProtocolSetting::Binary).max_in_flight(3);
        config.breaker = 2;
        let watch = Arc::new(HealthMonitor::new("server".into(), 1, 2, events::channel(), None));
        let link = Arc::new(ConnectionHandle::new(&config, u32::MAX - 2, 0, watch));
        Self {
            link,
            asked: Arc::default(),
            not_sent: Arc::default(),
            may_stall: random().bool(),
            stalls: Arc::default(),
        }
    }

    fn stalls(&self) -> std::sync::MutexGuard<'_, Stalls> {
        self.stalls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a task that stalls has to go on doing so; it is woken when it may go on.
    fn stalls_on(&self, waker: &Waker) -> bool {
        let mut stalls = self.stalls();
        if !stalls.are_over {
            stalls.wakers.push(waker.clone());
        }
        !stalls.are_over
    }

    fn end_stalls(&self) {
        let mut stalls = self.stalls();
        stalls.are_over = true;
        let wakers = std::mem::take(&mut stalls.wakers);
        drop(stalls);
        wakers.into_iter().for_each(Waker::wake);
    }

    fn note(ledger: &Ledger<Vec<String>>, key: String) {
        ledger.lock().unwrap_or_else(PoisonError::into_inner).push(key);
    }
}

/// A generator that the scheduler has seeded, so that a schedule is repeated with all its choices.
fn random() -> fastrand::Rng {
    fastrand::Rng::with_seed(thread_rng().next_u64())
}

async fn pause(random: &mut fastrand::Rng, most: usize) {
    for _ in 0..random.usize(..=most) {
        shuttle::future::yield_now().await;
    }
}

/// One schedule: three callers, the tasks that they start, and in half of the schedules the client is closed
/// while requests are in flight.
fn play() {
    shuttle::future::block_on(async {
        let scene = Scene::new();
        let mut random = random();
        let callers: Vec<_> = (0..3).map(|number| Caller::begin(&scene, number)).collect();
        if random.bool() {
            pause(&mut random, 12).await;
            scene.link.close();
        }
        for caller in callers {
            caller.await.expect("no caller is aborted");
        }
        scene.end_stalls();
        scene.link.close();
        scene.link.wait_for_task().await;
        assert_eq!(scene.link.load(), (0, 0), "requests in flight and slots");
        assert!(scene.link.lock().queue.is_empty(), "callers that wait for capacity");
        let asked = scene.asked.lock().expect("the lock is not poisoned").clone();
        let not_sent = scene.not_sent.lock().expect("the lock is not poisoned").clone();
        assert!(not_sent.iter().all(|key| !asked.contains(key)), "{not_sent:?} were asked for: {asked:?}");
    });
}

/// How many schedules each of the two tests tries.
fn schedules() -> usize {
    let text = std::env::var("REMCACHE_SCHEDULES").unwrap_or_default();
    let all = if text.is_empty() { 10_000 } else { text.parse().expect("REMCACHE_SCHEDULES is a number") };
    all / 2
}

#[test]
fn every_request_completes_in_any_thread_order() {
    shuttle::check_random(play, schedules());
}

/// Schedules that let one go on for long, and change their mind a few times only: they find what takes
/// a certain order of a few steps.
#[test]
fn every_request_completes_when_a_thread_is_delayed() {
    shuttle::check_pct(play, schedules(), 3);
}
