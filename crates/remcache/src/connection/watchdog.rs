//! Enforces deadlines when a connection's own task cannot: its runtime is blocked, no longer polled, or gone.
//!
//! Every deadline has a timer in the connection's task, and normally that timer fires first. The watchdog
//! is the fallback: one thread for the whole process, which sleeps until a little after the earliest
//! deadline of the connections in use, and then resolves whatever the task should have resolved. It costs
//! each request one comparison; the thread is notified only when a deadline is earlier than the one it
//! already sleeps for. It starts with the first request and ends when no connection has been in use for a
//! while.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

/// What the watchdog watches: the shared half of a connection.
pub(crate) trait Watched: Send + Sync + 'static {
    /// Resolves every request whose deadline is before `now`; returns the next deadline to watch.
    ///
    /// `due` is the deadline that was registered. If the connection has registered a different one since,
    /// nothing happens.
    fn enforce(&self, due: Instant, now: Instant) -> Option<Instant>;
}

/// Registers a connection with the watchdog; `due` is its earliest deadline.
///
/// `due` is measured by the calling runtime's clock, which a test may have paused.
pub(crate) fn watch(watched: Weak<dyn Watched>, due: Instant) {
    let clock = Handle::try_current().ok();
    WATCHDOG.add(Watch { at: grace_after(due), due, clock, watched, postponed: false });
}

static WATCHDOG: Watchdog =
    Watchdog { state: Mutex::new(WatchdogState { queue: BinaryHeap::new(), process: None }), changed: Condvar::new() };

struct Watchdog {
    state: Mutex<WatchdogState>,
    /// Notified when a deadline is earlier than the one that the thread sleeps for.
    changed: Condvar,
}

struct WatchdogState {
    queue: BinaryHeap<Reverse<Watch>>,
    /// The process in which the thread runs; `None` if it does not run. A fork copies the memory but not
    /// the thread.
    process: Option<u32>,
}

/// A deadline and the connection it belongs to.
struct Watch {
    /// When to check.
    at: Instant,
    due: Instant,
    /// The runtime whose clock the deadline belongs to.
    clock: Option<Handle>,
    watched: Weak<dyn Watched>,
    /// Whether a second grace period was given.
    postponed: bool,
}

impl Watchdog {
    fn lock(&self) -> MutexGuard<'_, WatchdogState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&'static self, watch: Watch) {
        let mut state = self.lock();
        let is_earliest = state.queue.peek().is_none_or(|Reverse(first)| watch.at < first.at);
        state.queue.push(Reverse(watch));
        let process = process::id();
        if state.process != Some(process) {
            state.process = Some(process);
            let spawned = thread::Builder::new().name("remcache-watchdog".to_owned()).spawn(|| self.run());
            if let Err(error) = spawned {
                // The next deadline tries again.
                state.process = None;
                tracing::warn!(%error, "cannot start the thread that enforces deadlines");
            }
        }
        drop(state);
        if is_earliest {
            self.changed.notify_one();
        }
    }

    fn run(&self) {
        let mut state = self.lock();
        loop {
            let wait = state.queue.peek().map(|Reverse(first)| first.at.saturating_duration_since(Instant::now()));
            match wait {
                Some(Duration::ZERO) => {
                    let Some(Reverse(watch)) = state.queue.pop() else { continue };
                    drop(state);
                    // A caller's waker may panic. That must not end the thread, which serves all connections.
                    let next = catch_unwind(AssertUnwindSafe(|| watch.check())).ok().flatten();
                    state = self.lock();
                    state.queue.extend(next.map(Reverse));
                }
                _ => {
                    let waited = self.changed.wait_timeout(state, wait.unwrap_or(KEEP_ALIVE));
                    let (guard, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
                    state = guard;
                    if timeout.timed_out() && state.queue.is_empty() {
                        state.process = None;
                        state.queue.shrink_to_fit();
                        return;
                    }
                }
            }
        }
    }
}

impl Watch {
    /// Enforces the deadline unless the task has; returns the next check.
    fn check(self) -> Option<Self> {
        let watched = self.watched.upgrade()?;
        let real = Instant::now();
        let now = self.now();
        // A paused clock may be behind the real one.
        if let Some(ahead) = grace_after(self.due).checked_duration_since(now).filter(|ahead| !ahead.is_zero()) {
            return Some(Self { at: real + ahead.max(GRACE), ..self });
        }
        // If this thread is late as well, the whole process was stopped: replies may have arrived in the
        // meantime, so the task gets time to read them.
        if !self.postponed && real.saturating_duration_since(self.at) > GRACE {
            return Some(Self { at: real + GRACE, postponed: true, ..self });
        }
        let due = watched.enforce(self.due, now)?;
        Some(Self { at: grace_after(due), due, postponed: false, ..self })
    }

    /// Returns the time on the clock that the deadline belongs to.
    fn now(&self) -> Instant {
        let _entered = self.clock.as_ref().map(Handle::enter);
        tokio::time::Instant::now().into_std()
    }
}

/// Returns the instant by which the task should have acted on a deadline.
fn grace_after(due: Instant) -> Instant {
    due.checked_add(GRACE).unwrap_or(due)
}

impl Ord for Watch {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.at.cmp(&other.at)
    }
}

impl PartialOrd for Watch {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Watch {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Watch {}

/// How long after a deadline the watchdog acts in the task's place. Timers are up to a millisecond late,
/// and more on a busy machine.
const GRACE: Duration = Duration::from_millis(15);

/// How long the thread waits for another connection before it ends.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const HOUR: Duration = Duration::from_secs(3_600);

    /// A connection that reports each enforced deadline, and then has another.
    struct Fake {
        enforced: Sender<Instant>,
        next: Option<Instant>,
    }

    impl Watched for Fake {
        fn enforce(&self, due: Instant, _: Instant) -> Option<Instant> {
            self.enforced.send(due).unwrap();
            self.next
        }
    }

    fn fake(next: Option<Instant>) -> (Arc<dyn Watched>, Receiver<Instant>) {
        let (enforced, reports) = channel();
        (Arc::new(Fake { enforced, next }), reports)
    }

    fn watch(watched: &Arc<dyn Watched>, at: Instant, due: Instant) -> Watch {
        Watch { at, due, clock: None, watched: Arc::downgrade(watched), postponed: false }
    }

    #[test]
    fn a_deadline_is_enforced_and_the_next_one_is_watched() {
        let now = Instant::now();
        let (watched, reports) = fake(Some(now + HOUR));
        // The thread is not late, however slow the machine is.
        let next = watch(&watched, now + HOUR, now - SECOND).check().expect("another deadline");
        assert_eq!(reports.try_recv(), Ok(now - SECOND));
        assert_eq!((next.at, next.due, next.postponed), (now + HOUR + GRACE, now + HOUR, false));
        let (watched, _reports) = fake(None);
        assert!(watch(&watched, now + HOUR, now - SECOND).check().is_none());
    }

    #[test]
    fn a_deadline_that_a_paused_clock_has_not_reached_is_checked_again() {
        let now = Instant::now();
        let (watched, reports) = fake(None);
        let next = watch(&watched, now, now + HOUR).check().expect("the deadline has not passed");
        assert!(next.at > now + HOUR && next.due == now + HOUR);
        assert!(reports.try_recv().is_err());
    }

    #[test]
    fn a_process_that_was_stopped_gets_time_to_read_replies_once() {
        let now = Instant::now();
        let (watched, reports) = fake(Some(now + HOUR));
        let next = watch(&watched, now - SECOND, now - SECOND).check().expect("it is postponed");
        assert!(next.at >= now + GRACE && next.due == now - SECOND && next.postponed);
        assert!(reports.try_recv().is_err());
        let next = Watch { at: now - SECOND, ..next }.check().expect("another deadline");
        assert_eq!(reports.try_recv(), Ok(now - SECOND));
        assert!(!next.postponed);
    }

    #[test]
    fn the_earliest_check_comes_first() {
        let now = Instant::now();
        let (watched, _reports) = fake(None);
        let mut queue: BinaryHeap<_> =
            [2, 1, 3].map(|hours| Reverse(watch(&watched, now + hours * HOUR, now))).into_iter().collect();
        let order = std::iter::from_fn(|| queue.pop().map(|Reverse(watch)| watch.at)).collect::<Vec<_>>();
        assert_eq!(order, [1, 2, 3].map(|hours| now + hours * HOUR));
    }

    #[test]
    fn the_thread_sleeps_until_the_earliest_deadline() {
        let watchdog: &'static Watchdog = Box::leak(Box::new(Watchdog {
            state: Mutex::new(WatchdogState { queue: BinaryHeap::new(), process: None }),
            changed: Condvar::new(),
        }));
        let now = Instant::now();
        let (busy, busy_reports) = fake(Some(now + HOUR));
        watchdog.add(watch(&busy, now, now - SECOND));
        let received = |reports: &Receiver<Instant>| reports.recv_timeout(60 * SECOND).is_ok();
        assert!(received(&busy_reports));
        while watchdog.lock().queue.is_empty() {
            thread::yield_now();
        }
        for wait in [Duration::ZERO, 3 * GRACE] {
            let (watched, reports) = fake(None);
            watchdog.add(watch(&watched, Instant::now() + wait, now - SECOND));
            assert!(received(&reports), "an earlier deadline, after {wait:?}");
        }
    }
}
