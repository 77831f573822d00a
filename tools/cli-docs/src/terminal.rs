//! A terminal without a window: a program runs on it, and its screen can be looked at.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::num::NonZero;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// What is run on a terminal.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// A line of shell
    line: String,
    /// The keys that end it
    #[arg(long)]
    keys: String,
    /// When the screen is looked at
    #[arg(long, default_value_t = 8)]
    seconds: u64,
}

/// Runs a program for a while, and prints its screen; then presses the keys that end it.
pub(crate) fn show(options: &Options) -> Result<()> {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("exec {}", options.line)]);
    let mut terminal = Terminal::start(command, 30, 120)?;
    thread::sleep(Duration::from_secs(options.seconds));
    println!("{}", terminal.screen().contents());
    // Whoever has ended takes no keys.
    let _ = terminal.press(&options.keys);
    thread::sleep(Duration::from_millis(300));
    Ok(())
}

/// A program at work on a terminal.
pub(crate) struct Terminal {
    child: Child,
    keyboard: File,
    screen: Arc<Mutex<vt100::Parser>>,
    reading: Option<JoinHandle<()>>,
}

impl Terminal {
    /// Starts a program on a terminal of this size.
    pub(crate) fn start(mut command: Command, rows: u16, columns: u16) -> Result<Self> {
        let (keyboard, terminal) = open().context("opening a pseudo-terminal")?;
        tcsetwinsize(&terminal, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 })?;
        let end = || terminal.try_clone().map(Stdio::from);
        command.env("TERM", "xterm-256color").stdin(end()?).stdout(end()?).stderr(end()?);
        let child = command.spawn().with_context(|| format!("starting {command:?}"))?;
        // The command holds ends of the terminal: the screen is read until the last one is closed.
        drop(command);
        drop(terminal);
        let size = |size| NonZero::new(size).context("a terminal has rows and columns");
        let screen = Arc::new(Mutex::new(vt100::Parser::new(size(rows)?, size(columns)?, 0)));
        let (seen, mut output) = (Arc::clone(&screen), keyboard.try_clone()?);
        let reading = thread::spawn(move || {
            let mut part = [0; 4096];
            // A terminal whose last user has gone says so by an error.
            while let Ok(length @ 1..) = output.read(&mut part) {
                seen.lock().unwrap_or_else(PoisonError::into_inner).process(&part[..length]);
            }
        });
        Ok(Self { child, keyboard, screen, reading: Some(reading) })
    }

    /// Presses keys.
    pub(crate) fn press(&mut self, keys: &str) -> Result<()> {
        self.keyboard.write_all(keys.as_bytes()).context("pressing keys")
    }

    /// What the screen shows now.
    pub(crate) fn screen(&self) -> vt100::Screen {
        self.screen.lock().unwrap_or_else(PoisonError::into_inner).screen().clone()
    }

    /// Waits until the program has ended.
    pub(crate) fn end(&mut self) -> Result<()> {
        let begun = Instant::now();
        while self.child.try_wait()?.is_none() {
            if begun.elapsed() > PATIENCE {
                bail!("it does not end:\n{}", self.screen().contents());
            }
            thread::sleep(Duration::from_millis(20));
        }
        if let Some(reading) = self.reading.take() {
            reading.join().ok().context("reading the screen")?;
        }
        Ok(())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // A program that has ended is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A terminal: what its screen shows can be read from the first, the second is for a program.
fn open() -> Result<(File, File)> {
    let screen = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
    grantpt(&screen)?;
    unlockpt(&screen)?;
    let name = ptsname(&screen, Vec::new())?;
    let terminal = File::options().read(true).write(true).open(name.to_str()?)?;
    Ok((File::from(screen), terminal))
}

/// How long a program may take to end.
const PATIENCE: Duration = Duration::from_secs(120);
