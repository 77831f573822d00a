//! The alarm as a timer of the kernel that the runtime polls like a socket: a wake-up costs no other thread.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::unix::AsyncFd;

/// A timer that wakes a task.
#[derive(Debug)]
pub(in crate::load) struct Alarm {
    timer: AsyncFd<OwnedFd>,
}

impl Alarm {
    /// Creates the timer.
    pub(in crate::load) fn start() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        Ok(Self { timer: AsyncFd::new(timerfd_create(TimerfdClockId::Monotonic, flags)?)? })
    }

    /// Waits until about this time: it may be some microseconds late.
    pub(in crate::load) async fn wait_until(&self, time: Instant) {
        let left = time.saturating_duration_since(Instant::now());
        // Zero would switch the timer off.
        if left.is_zero() || self.set(left).is_err() {
            return;
        }
        if let Ok(mut ready) = self.timer.readable().await {
            // Setting the timer again takes back the expiration, so it need not be read.
            ready.clear_ready();
        }
    }

    fn set(&self, left: Duration) -> io::Result<()> {
        let it_value = Timespec { tv_sec: left.as_secs() as _, tv_nsec: left.subsec_nanos().into() };
        let it_interval = Timespec { tv_sec: 0, tv_nsec: 0 };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &Itimerspec { it_interval, it_value })?;
        Ok(())
    }
}
