//! Ctrl-C and SIGTERM: commands that print their results so far end by themselves, others at once.

use std::io;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::runtime::Builder;
use tokio::sync::watch;

use crate::exit::Exit;

/// Notifies a command that the user wants it to end.
#[derive(Clone, Debug)]
pub(crate) struct Interrupt {
    state: Arc<SignalState>,
    raised: watch::Receiver<u32>,
}

/// The state of the thread that receives the signals.
#[derive(Debug)]
struct SignalState {
    /// Whether the running command ends by itself.
    is_handled: AtomicBool,
    /// Whether the process continues after its commands.
    is_shell: AtomicBool,
    /// The number of signals.
    raise: watch::Sender<u32>,
}

impl SignalState {
    /// Counts a signal. The second one, or one that the command does not handle, ends the process.
    fn receive(&self) {
        self.raise.send_modify(|signals| *signals = signals.saturating_add(1));
        let is_handled_now = self.is_handled.load(Ordering::SeqCst) && *self.raise.borrow() == 1;
        if !is_handled_now && !self.is_shell.load(Ordering::SeqCst) {
            process::exit(Exit::Interrupted.code().into());
        }
    }
}

impl Interrupt {
    /// Listens for signals on a separate thread, so that a command that is blocked in reading or writing can be
    /// ended too.
    pub(crate) fn listen() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_io().build()?;
        let (raise, raised) = watch::channel(0);
        let state =
            Arc::new(SignalState { is_handled: AtomicBool::new(false), is_shell: AtomicBool::new(false), raise });
        let receiver = Arc::clone(&state);
        let mut signal = {
            let _entered = runtime.enter();
            Signal::new()?
        };
        std::thread::Builder::new().name("interrupt".into()).spawn(move || {
            runtime.block_on(async {
                while signal.next().await {
                    receiver.receive();
                }
            });
        })?;
        Ok(Self { state, raised })
    }

    /// Returns an interrupt without signals, and the function that raises it.
    #[cfg(test)]
    pub(crate) fn manual() -> (Self, impl Fn()) {
        let (raise, raised) = watch::channel(0);
        let state = Arc::new(SignalState { is_handled: AtomicBool::new(true), is_shell: AtomicBool::new(true), raise });
        let interrupt = Self { state: Arc::clone(&state), raised };
        (interrupt, move || state.receive())
    }

    /// Declares that the command ends by itself: from now on the first signal only notifies it.
    pub(crate) fn handled(&self) -> Self {
        self.state.is_handled.store(true, Ordering::SeqCst);
        self.clone()
    }

    /// Declares that the process runs many commands: from now on no signal ends the process.
    pub(crate) fn enter_shell(&self) {
        self.state.is_shell.store(true, Ordering::SeqCst);
    }

    /// Forgets the signals that the previous command received.
    pub(crate) fn renew(&self) {
        self.state.is_handled.store(false, Ordering::SeqCst);
        self.state.raise.send_replace(0);
    }

    /// Waits for a signal.
    pub(crate) async fn raised(&self) {
        self.wait_for(|signals| signals > 0).await;
    }

    /// Waits for a signal that must end the command: the first if it does not handle signals, else the second.
    pub(crate) async fn forced(&self) {
        self.wait_for(|signals| signals > u32::from(self.state.is_handled.load(Ordering::SeqCst))).await;
    }

    async fn wait_for(&self, is_enough: impl Fn(u32) -> bool) {
        let mut raised = self.raised.clone();
        if raised.wait_for(|&signals| is_enough(signals)).await.is_err() {
            // The thread that receives signals has ended.
            std::future::pending::<()>().await;
        }
    }

    /// Returns the exit code of a command that handles signals: this one, unless it was interrupted.
    pub(crate) fn unless_raised(&self, exit: Exit) -> Exit {
        if self.is_raised() { Exit::Interrupted } else { exit }
    }

    /// Returns whether a signal was received.
    pub(crate) fn is_raised(&self) -> bool {
        *self.raised.borrow() > 0
    }
}

/// SIGINT, and SIGTERM, which `timeout` and service managers send: their users want the results so far too.
#[cfg(unix)]
struct Signal([tokio::signal::unix::Signal; 2]);
#[cfg(unix)]
impl Signal {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};

        Ok(Self([signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?]))
    }
    async fn next(&mut self) -> bool {
        let [interrupt, terminate] = &mut self.0;
        tokio::select! {
            got = interrupt.recv() => got.is_some(),
            got = terminate.recv() => got.is_some(),
        }
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
