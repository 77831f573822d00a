//! The terminal's modes, restored when the shell ends for any reason.

/// The modes that standard input had, if it is a terminal.
#[derive(Debug)]
pub(super) struct Modes(#[cfg(unix)] Option<rustix::termios::Termios>);

impl Modes {
    /// Returns the modes as they are now.
    pub(super) fn save() -> Self {
        Self(
            #[cfg(unix)]
            rustix::termios::tcgetattr(rustix::stdio::stdin()).ok(),
        )
    }
}

/// A line editor that waits for a key has changed them; a signal does not wait for it.
impl Drop for Modes {
    fn drop(&mut self) {
        #[cfg(unix)]
        if let Some(modes) = &self.0 {
            // A terminal that has gone has no modes.
            let _ = rustix::termios::tcsetattr(rustix::stdio::stdin(), rustix::termios::OptionalActions::Now, modes);
        }
    }
}

/// Waits for the signals that ask a program to end.
pub(super) async fn terminated() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let signals = (signal(SignalKind::terminate()), signal(SignalKind::hangup()));
        if let (Ok(mut terminate), Ok(mut hangup)) = signals {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
            }
            return;
        }
    }
    std::future::pending().await
}
