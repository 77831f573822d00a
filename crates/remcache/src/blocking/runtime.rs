//! Runs futures of the asynchronous client on the threads that wait for them; its connections run on another thread.

use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::process;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use tokio::runtime::Handle;

use crate::error::Error;

/// Runs futures of a client on the threads that wait for them.
pub(crate) struct Runner {
    client: crate::client::Client,
    /// The process that opened the connections.
    process: Mutex<u32>,
}

impl Runner {
    /// Starts the thread of the client's connections.
    pub(crate) fn start(client: crate::client::Client) -> Result<Self, Error> {
        let runner = Self { client, process: Mutex::new(process::id()) };
        runner.handle()?;
        Ok(runner)
    }

    /// Returns the runtime of the connections. A forked child gets its own connections, on a thread of its own.
    fn handle(&self) -> Result<Handle, Error> {
        let mut process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        if *process != process::id() {
            self.client.give_up_connections_of_parent();
            *process = process::id();
        }
        drop(process);
        self.client.config().runtime.handle().map_err(|reply| Error::from(&reply))
    }

    /// Calls a function that may spawn tasks, in the context of the connections' runtime.
    pub(crate) fn enter<T>(&self, work: impl FnOnce() -> T) -> T {
        let handle = self.handle();
        let _context = handle.as_ref().ok().map(Handle::enter);
        work()
    }

    /// Polls a future on this thread, which sleeps between polls.
    ///
    /// tokio's own `block_on` would panic on a thread of a runtime; this one only blocks it.
    pub(crate) fn wait<F: Future>(&self, future: F) -> F::Output {
        self.enter(|| {
            let waker = Waker::from(Arc::new(Unpark(thread::current())));
            let mut context = Context::from_waker(&waker);
            let mut future = pin!(future);
            loop {
                if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
                    return output;
                }
                // Returns immediately if the thread was already woken; a spurious wake-up only causes another poll.
                thread::park();
            }
        })
    }
}

impl fmt::Debug for Runner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runner").finish_non_exhaustive()
    }
}

/// Wakes a waiting thread.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}
