//! The terminal of `top`: enters the full screen, and restores the terminal on exit, panic or signal.

use std::io;
use std::time::Duration;

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event};
use tokio::sync::mpsc;

/// Enters the full screen. A hook leaves it if the tool panics.
pub(super) fn enter() -> io::Result<DefaultTerminal> {
    ratatui::try_init()
}

/// Leaves the full screen.
pub(super) fn leave() -> io::Result<()> {
    ratatui::try_restore()
}

/// The time within which the reader thread notices that its receiver is gone, and takes no more keys.
pub(super) const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Starts a thread that reads keys and resizes of the terminal.
pub(super) fn read_events() -> io::Result<mpsc::Receiver<Event>> {
    let (sender, receiver) = mpsc::channel(16);
    std::thread::Builder::new().name("keys".into()).spawn(move || {
        while !sender.is_closed() {
            let event = match event::poll(POLL_INTERVAL) {
                Ok(false) => continue,
                Ok(true) => event::read(),
                Err(error) => Err(error),
            };
            if !event.is_ok_and(|event| sender.blocking_send(event).is_ok()) {
                break;
            }
        }
    })?;
    Ok(receiver)
}

/// Waits for a signal to terminate, or for the terminal to be closed.
#[cfg(unix)]
pub(super) async fn terminated() {
    use tokio::signal::unix::{SignalKind, signal};

    let kinds = [SignalKind::terminate(), SignalKind::hangup(), SignalKind::quit()];
    let [Ok(mut terminate), Ok(mut hangup), Ok(mut quit)] = kinds.map(signal) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
        _ = quit.recv() => {}
    }
}

/// Never returns, because other systems have no such signals.
#[cfg(not(unix))]
pub(super) async fn terminated() {
    std::future::pending().await
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs::File;
    use std::io::Read as _;
    use std::process::{Command, Stdio};

    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use rustix::termios::{Winsize, tcgetattr, tcsetwinsize};

    use super::enter;

    /// With this variable in the environment the test panics: it runs itself as a program.
    const PANICS: &str = "REMCACHE_TEST_PANICS_ON_A_TERMINAL";

    #[test]
    fn a_panic_leaves_the_full_screen() {
        if std::env::var_os(PANICS).is_some() {
            let _terminal = enter().expect("a terminal");
            panic!("on purpose");
        }
        let screen = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("the system has pseudo-terminals");
        grantpt(&screen).and_then(|()| unlockpt(&screen)).expect("the terminal can be unlocked");
        tcsetwinsize(&screen, Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 }).expect("it has a size");
        let name = ptsname(&screen, Vec::new()).expect("the terminal has a name");
        let name = name.to_str().expect("its name is ASCII");
        let terminal = File::options().read(true).write(true).open(name).expect("the terminal opens");
        let before = format!("{:?}", tcgetattr(&terminal));
        let end = || Stdio::from(terminal.try_clone().expect("a descriptor is free"));
        let mut child = Command::new(std::env::current_exe().expect("this program has a name"))
            .args(["--exact", "commands::top::terminal::tests::a_panic_leaves_the_full_screen", "--nocapture"])
            .env(PANICS, "1")
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .expect("this program starts");
        assert_eq!(child.wait().expect("it ends").code(), Some(101));
        assert_eq!(format!("{:?}", tcgetattr(&terminal)), before);
        drop(terminal);
        let mut shown = Vec::new();
        // Reading from a terminal that no process has open fails.
        let _ = File::from(screen).read_to_end(&mut shown);
        let shown = String::from_utf8_lossy(&shown);
        let (_, after) = shown.split_once("\x1b[?1049h").expect("the full screen was entered");
        let (_, after) = after.split_once("\x1b[?1049l").expect("the full screen was left");
        assert!(after.contains("on purpose"), "{after}");
    }
}
