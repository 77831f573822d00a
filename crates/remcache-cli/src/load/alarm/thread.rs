//! The alarm as a thread, for systems whose timers cannot be polled.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Instant;

use tokio::sync::Notify;

/// A thread that sleeps in place of a task, and wakes it.
#[derive(Debug)]
pub(in crate::load) struct Alarm {
    times: Sender<Instant>,
    wake: Arc<Notify>,
}

impl Alarm {
    /// Starts the thread, which ends when the value is dropped.
    pub(in crate::load) fn start() -> io::Result<Self> {
        let (times, received) = mpsc::channel();
        let wake = Arc::new(Notify::new());
        let waker = Arc::clone(&wake);
        thread::Builder::new().name("alarm".into()).spawn(move || sleep(&received, &waker))?;
        Ok(Self { times, wake })
    }

    /// Waits until about this time: it may be some microseconds early or late.
    pub(in crate::load) async fn wait_until(&self, time: Instant) {
        // The thread lives as long as this value.
        if self.times.send(time).is_ok() {
            self.wake.notified().await;
        }
    }
}

fn sleep(times: &Receiver<Instant>, wake: &Notify) {
    while let Ok(time) = times.recv() {
        thread::sleep(time.saturating_duration_since(Instant::now()));
        wake.notify_one();
    }
}
