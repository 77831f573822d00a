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
