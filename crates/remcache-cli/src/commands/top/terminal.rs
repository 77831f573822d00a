//! The terminal of `top`: taken as a whole, and given back as it was found, also after a panic or a signal.

use std::io;
use std::time::Duration;

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event};
use tokio::sync::mpsc;

/// Takes the terminal. A hook gives it back where the tool panics.
pub(super) fn take() -> io::Result<DefaultTerminal> {
    ratatui::try_init()
}

/// Gives the terminal back.
pub(super) fn give_back() -> io::Result<()> {
    ratatui::try_restore()
}

/// How soon the thread notices that nobody listens any more: what is typed then is somebody else's.
pub(crate) const NOTICE: Duration = Duration::from_millis(20);

/// The terminal's keys and resizes, read by a thread of its own.
pub(super) fn listen() -> io::Result<mpsc::Receiver<Event>> {
    let (sender, receiver) = mpsc::channel(16);
    std::thread::Builder::new().name("keys".into()).spawn(move || {
        while !sender.is_closed() {
            let event = match event::poll(NOTICE) {
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

/// Waits for a signal that asks a program to end, or says that the terminal has gone.
#[cfg(unix)]
pub(super) async fn ended() {
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

/// Elsewhere there are no such signals.
#[cfg(not(unix))]
pub(super) async fn ended() {
    std::future::pending().await
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs::File;
    use std::io::Read as _;
    use std::process::{Command, Stdio};

    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use rustix::termios::{Winsize, tcgetattr, tcsetwinsize};

    use super::take;

    /// The test runs itself as a program that panics with this in its environment.
    const PANICS: &str = "REMCACHE_TEST_PANICS_ON_A_TERMINAL";

    #[test]
    fn a_panic_gives_the_terminal_back() {
        if std::env::var_os(PANICS).is_some() {
            let _terminal = take().expect("a terminal");
            panic!("on purpose");
        }
        let screen = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("the system has pseudo-terminals");
        grantpt(&screen).and_then(|()| unlockpt(&screen)).expect("the terminal is ours");
        tcsetwinsize(&screen, Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 }).expect("it has a size");
        let name = ptsname(&screen, Vec::new()).expect("the terminal has a name");
        let name = name.to_str().expect("its name is ASCII");
        let terminal = File::options().read(true).write(true).open(name).expect("the terminal opens");
        let before = format!("{:?}", tcgetattr(&terminal));
        let end = || Stdio::from(terminal.try_clone().expect("a descriptor is free"));
        let mut child = Command::new(std::env::current_exe().expect("this program has a name"))
            .args(["--exact", "commands::top::terminal::tests::a_panic_gives_the_terminal_back", "--nocapture"])
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
        // A terminal whose last user has gone says so by an error.
        let _ = File::from(screen).read_to_end(&mut shown);
        let shown = String::from_utf8_lossy(&shown);
        let (_, after) = shown.split_once("\x1b[?1049h").expect("the screen was taken");
        let (_, after) = after.split_once("\x1b[?1049l").expect("the screen was given back");
        assert!(after.contains("on purpose"), "{after}");
    }
}
