//! Ctrl-C: commands that have something to print end by themselves, the others at once.

use std::io;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::runtime::Builder;
use tokio::sync::watch;

use crate::exit::Exit;

/// Whether the user wants the command to end.
#[derive(Clone, Debug)]
pub(crate) struct Interrupt {
    awaited: Arc<AtomicBool>,
    raised: watch::Receiver<bool>,
}

impl Interrupt {
    /// Listens for the signal, from a thread of its own: a command that is blocked in reading or
    /// writing must end too.
    pub(crate) fn listen() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_io().build()?;
        let awaited = Arc::new(AtomicBool::new(false));
        let (raise, raised) = watch::channel(false);
        let is_awaited = Arc::clone(&awaited);
        let mut signal = {
            let _entered = runtime.enter();
            Signal::new()?
        };
        std::thread::Builder::new().name("interrupt".into()).spawn(move || {
            runtime.block_on(async {
                while signal.next().await {
                    // The second signal, or one that nobody waits for, ends the process here.
                    if !is_awaited.load(Ordering::SeqCst) || raise.send_replace(true) {
                        process::exit(Exit::Interrupted.code().into());
                    }
                }
            });
        })?;
        Ok(Self { awaited, raised })
    }

    /// Announces that the command ends by itself: from now on the first signal only raises.
    pub(crate) fn expect(&self) -> Self {
        self.awaited.store(true, Ordering::SeqCst);
        self.clone()
    }

    /// Waits for the signal.
    pub(crate) async fn raised(&self) {
        let mut raised = self.raised.clone();
        if raised.wait_for(|&is| is).await.is_err() {
            // Nobody listens any more, so no signal comes.
            std::future::pending::<()>().await;
        }
    }

    /// The exit code of a command that ended by itself: this one, unless it was interrupted.
    pub(crate) fn unless_raised(&self, exit: Exit) -> Exit {
        if self.is_raised() { Exit::Interrupted } else { exit }
    }

    /// Whether the signal came.
    pub(crate) fn is_raised(&self) -> bool {
        *self.raised.borrow()
    }
}

#[cfg(unix)]
struct Signal(tokio::signal::unix::Signal);
#[cfg(unix)]
impl Signal {
    fn new() -> io::Result<Self> {
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt()).map(Self)
    }
    async fn next(&mut self) -> bool {
        self.0.recv().await.is_some()
    }
}

#[cfg(not(unix))]
struct Signal;
#[cfg(not(unix))]
impl Signal {
    fn new() -> io::Result<Self> {
        Ok(Self)
    }
    async fn next(&mut self) -> bool {
        tokio::signal::ctrl_c().await.is_ok()
    }
}
