//! A precise timer of the Linux kernel, which wakes the runtime as a socket does: no other thread is involved.
#![cfg(target_os = "linux")]

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A timer that is a file descriptor, readable after it fired.
#[derive(Debug)]
pub(in crate::load_generator) struct PreciseTimer(AsyncFd<OwnedFd>);

impl PreciseTimer {
    /// Creates the timer in the current runtime.
    #[expect(deprecated, reason = "its replacement is unsafe, for the sake of types other than an OwnedFd")]
    pub(in crate::load_generator) fn new() -> io::Result<Self> {
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        AsyncFd::with_interest(timer, Interest::READABLE).map(Self)
    }

    /// Waits until this time.
    pub(in crate::load_generator) async fn wait_until(&self, time: Instant) -> io::Result<()> {
        // A time of zero would stop the timer.
        let remaining = time.saturating_duration_since(Instant::now()).max(Duration::from_nanos(1));
        let value = Timespec::try_from(remaining).map_err(io::Error::other)?;
        let once = Itimerspec { it_interval: Timespec::default(), it_value: value };
        timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::empty(), &once)?;
        // Setting the timer again also resets its readability in the kernel, so nothing has to be read.
        self.0.readable().await?.clear_ready();
        Ok(())
    }
}
