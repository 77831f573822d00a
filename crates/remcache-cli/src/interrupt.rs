//! Ctrl-C and SIGTERM: commands that have something to print end by themselves, the others at once.

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
    state: Arc<SignalState>,
    raised: watch::Receiver<u32>,
}

/// What the thread that gets the signals looks at.
#[derive(Debug)]
struct SignalState {
    /// Whether the command that runs ends by itself.
    is_awaited: AtomicBool,
    /// Whether the process outlives its commands.
    is_shell: AtomicBool,
    /// How many signals came.
    raise: watch::Sender<u32>,
}

impl SignalState {
    /// Takes a signal. The second one, or one that nobody waits for, ends the process here.
    fn take(&self) {
        self.raise.send_modify(|signals| *signals = signals.saturating_add(1));
        let is_heeded = self.is_awaited.load(Ordering::SeqCst) && *self.raise.borrow() == 1;
        if !is_heeded && !self.is_shell.load(Ordering::SeqCst) {
            process::exit(Exit::Interrupted.code().into());
        }
    }
}

impl Interrupt {
    /// Listens for the signal, from a thread of its own: a command that is blocked in reading or
    /// writing must end too.
    pub(crate) fn listen() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_io().build()?;
        let (raise, raised) = watch::channel(0);
        let state =
            Arc::new(SignalState { is_awaited: AtomicBool::new(false), is_shell: AtomicBool::new(false), raise });
        let told = Arc::clone(&state);
        let mut signal = {
            let _entered = runtime.enter();
            Signal::new()?
        };
        std::thread::Builder::new().name("interrupt".into()).spawn(move || {
            runtime.block_on(async {
                while signal.next().await {
                    told.take();
                }
            });
        })?;
        Ok(Self { state, raised })
    }

    /// Announces that the command ends by itself: from now on the first signal only raises.
    pub(crate) fn expect(&self) -> Self {
        self.state.is_awaited.store(true, Ordering::SeqCst);
        self.clone()
    }

    /// Announces that commands come and go: no signal ends the process any more.
    pub(crate) fn outlive_commands(&self) {
        self.state.is_shell.store(true, Ordering::SeqCst);
    }

    /// Forgets the signals of the command before.
    pub(crate) fn renew(&self) {
        self.state.is_awaited.store(false, Ordering::SeqCst);
        self.state.raise.send_replace(0);
    }

    /// Waits for the signal.
    pub(crate) async fn raised(&self) {
        self.wait_for(|signals| signals > 0).await;
    }

    /// Waits for a signal that the command does not heed: the first, if it ends not by itself, or another.
    pub(crate) async fn insisted(&self) {
        self.wait_for(|signals| signals > u32::from(self.state.is_awaited.load(Ordering::SeqCst))).await;
    }

    async fn wait_for(&self, is_enough: impl Fn(u32) -> bool) {
        let mut raised = self.raised.clone();
        if raised.wait_for(|&signals| is_enough(signals)).await.is_err() {
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
        *self.raised.borrow() > 0
    }
}

/// Ctrl-C, and what `timeout` and service managers send: what there is is worth as much to them.
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
