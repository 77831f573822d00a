//! A precise timer on systems without timers as file descriptors.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Instant;

use tokio::sync::Notify;

/// A thread that sleeps in place of a task, and wakes it.
#[derive(Debug)]
pub(in crate::load_generator) struct PreciseTimer {
    times: Sender<Instant>,
    fired: Arc<Notify>,
}

impl PreciseTimer {
    /// Starts the thread, which ends when the value is dropped.
    pub(in crate::load_generator) fn new() -> io::Result<Self> {
        let (times, received) = mpsc::channel();
        let fired = Arc::new(Notify::new());
        let notify = Arc::clone(&fired);
        thread::Builder::new().name("timer".into()).spawn(move || sleep(&received, &notify))?;
        Ok(Self { times, fired })
    }

    /// Waits until this time.
    pub(in crate::load_generator) async fn wait_until(&self, time: Instant) -> io::Result<()> {
        self.times.send(time).map_err(io::Error::other)?;
        self.fired.notified().await;
        Ok(())
    }
}

fn sleep(times: &Receiver<Instant>, fired: &Notify) {
    while let Ok(time) = times.recv() {
        thread::sleep(time.saturating_duration_since(Instant::now()));
        fired.notify_one();
    }
}
