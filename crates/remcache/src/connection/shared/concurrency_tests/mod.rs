//! Concurrency tests with shuttle: callers, the connection's tasks and the watchdog share one connection, and the
//! scheduler decides at every lock who runs next. In every schedule each request resolves exactly once, with its own
//! result, and no caller sleeps forever. Runtimes end and drop the task, or stall until all callers have their
//! results: then other tasks take over, and a task that resumes finds that its handle no longer has an effect.
//!
//! The tests run the real [`ConnectionHandle`], on shuttle's mutex. `REMCACHE_SCHEDULES` is the number of schedules,
//! half of them for each test; shuttle prints a failing one for `shuttle::replay`.

mod caller;
mod task;
mod watchdog;

use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::task::Waker;

use shuttle::rand::{RngCore, thread_rng};

use super::{ConnectionHandle, Load, TaskHandle};
use crate::config::Config;
use crate::config::protocol::ProtocolSetting;
use caller::Caller;

/// The state shared by all tasks of one schedule.
#[derive(Clone)]
struct Scene {
    connection: Arc<ConnectionHandle>,
    /// Keys of the requests that the server received.
    asked: Arc<StdMutex<Vec<String>>>,
    /// Keys of the requests that the client reported as not sent.
    not_sent: Arc<StdMutex<Vec<String>>>,
    /// Whether tasks stall in this schedule.
    may_stall: bool,
    stalls: Arc<StdMutex<Stalls>>,
}

/// Tasks whose runtime is not polled.
#[derive(Default)]
struct Stalls {
    are_over: bool,
    wakers: Vec<Waker>,
}

impl Scene {
    /// Creates a connection with capacity for three requests, so that callers also have to wait for capacity.
    fn new() -> Self {
        let mut config = Config::new().protocol(ProtocolSetting::Binary).max_in_flight(3);
        config.breaker = 2;
        Self {
            connection: ConnectionHandle::for_test(&config, u32::MAX - 2),
            asked: Arc::default(),
            not_sent: Arc::default(),
            may_stall: random().bool(),
            stalls: Arc::default(),
        }
    }

    fn stalls(&self) -> std::sync::MutexGuard<'_, Stalls> {
        self.stalls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether a stalled task must keep stalling; registers its waker if so.
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

    fn note(keys: &StdMutex<Vec<String>>, key: String) {
        keys.lock().unwrap_or_else(PoisonError::into_inner).push(key);
    }
}

/// Returns a generator seeded by the scheduler, so that replaying a schedule repeats all choices.
fn random() -> fastrand::Rng {
    fastrand::Rng::with_seed(thread_rng().next_u64())
}

async fn pause(random: &mut fastrand::Rng, most: usize) {
    for _ in 0..random.usize(..=most) {
        shuttle::future::yield_now().await;
    }
}

/// Runs one schedule: three callers and the tasks that they start; in half of the schedules the client is closed
/// while requests are in flight.
fn play() {
    shuttle::future::block_on(async {
        let scene = Scene::new();
        let mut random = random();
        let callers: Vec<_> = (0..3).map(|number| Caller::begin(&scene, number)).collect();
        if random.bool() {
            pause(&mut random, 12).await;
            scene.connection.close();
        }
        for caller in callers {
            caller.await.expect("no caller is aborted");
        }
        scene.end_stalls();
        scene.connection.close();
        scene.connection.wait_for_task().await;
        assert_eq!(scene.connection.load(), Load { in_flight: 0, callers: 0 }, "requests in flight and slots");
        assert!(scene.connection.lock().queue.is_empty(), "callers that wait for capacity");
        let asked = scene.asked.lock().expect("the lock is not poisoned").clone();
        let not_sent = scene.not_sent.lock().expect("the lock is not poisoned").clone();
        assert!(not_sent.iter().all(|key| !asked.contains(key)), "{not_sent:?} were asked for: {asked:?}");
    });
}

/// Returns the number of schedules for each of the two tests.
fn schedules() -> usize {
    let text = std::env::var("REMCACHE_SCHEDULES").unwrap_or_default();
    let all = if text.is_empty() { 10_000 } else { text.parse().expect("REMCACHE_SCHEDULES is a number") };
    all / 2
}

#[test]
fn every_request_completes_in_any_thread_order() {
    shuttle::check_random(play, schedules());
}

/// Tries schedules with few preemptions (PCT), which find bugs that need a certain order of a few steps.
#[test]
fn every_request_completes_when_a_thread_is_delayed() {
    shuttle::check_pct(play, schedules(), 3);
}
