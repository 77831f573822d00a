//! A timer with a resolution of microseconds. That of the runtime has a resolution of milliseconds.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Instant;

use tokio::sync::Notify;

/// A thread that sleeps in place of a task, and wakes it.
#[derive(Debug)]
pub(super) struct Alarm {
    times: Sender<Instant>,
    wake: Arc<Notify>,
}

impl Alarm {
    /// Starts the thread, which ends when the value is dropped.
    pub(super) fn start() -> io::Result<Self> {
        let (times, received) = mpsc::channel();
        let wake = Arc::new(Notify::new());
        let waker = Arc::clone(&wake);
        thread::Builder::new().name("alarm".into()).spawn(move || sleep(&received, &waker))?;
        Ok(Self { times, wake })
    }

    /// Waits until about this time: it may be some microseconds early or late.
    pub(super) async fn wait_until(&self, time: Instant) {
        // The thread lives as long as this value.
        if self.times.send(time).is_ok() {
            self.wake.notified().await;
        }
    }
}

fn sleep(times: &Receiver<Instant>, wake: &Notify) {
    sleep_precisely();
    while let Ok(time) = times.recv() {
        thread::sleep(time.saturating_duration_since(Instant::now()));
        wake.notify_one();
    }
}

/// Lets the sleeps of this thread end on time: by default Linux delays them by up to 50 µs, to save wake-ups.
#[cfg(target_os = "linux")]
fn sleep_precisely() {
    // A kernel that refuses makes the sleeps less precise, and nothing else.
    let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
}

#[cfg(not(target_os = "linux"))]
fn sleep_precisely() {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn it_wakes_after_the_time_and_can_be_used_again() {
        let alarm = Alarm::start().unwrap();
        for _ in 0..3 {
            let time = Instant::now() + Duration::from_micros(200);
            alarm.wait_until(time).await;
            assert!(Instant::now() >= time);
        }
        // A time that has passed does not block.
        alarm.wait_until(Instant::now()).await;
    }
}
