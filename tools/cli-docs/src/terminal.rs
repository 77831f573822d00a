//! A pseudo-terminal that a program runs on, and its screen.

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

/// The options of `screen`.
#[derive(Debug, clap::Args)]
pub(crate) struct ScreenOptions {
    /// A shell command
    command: String,
    /// The keys that end the command
    #[arg(long)]
    keys: String,
    /// Seconds before the screen is printed
    #[arg(long, default_value_t = 8)]
    seconds: u64,
}

/// Runs a program for some time, prints its screen, and then presses the keys that end it.
pub(crate) fn show(options: &ScreenOptions) -> Result<()> {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("exec {}", options.command)]);
    let mut terminal = Terminal::start(command, 30, 120)?;
    thread::sleep(Duration::from_secs(options.seconds));
    println!("{}", terminal.screen().contents());
    // Fails if the program has already exited.
    let _ = terminal.press(&options.keys);
    thread::sleep(Duration::from_millis(300));
    Ok(())
}

/// A program that runs on a pseudo-terminal.
pub(crate) struct Terminal {
    child: Child,
    keyboard: File,
    screen: Arc<Mutex<vt100::Parser>>,
    reader: Option<JoinHandle<()>>,
}

impl Terminal {
    /// Starts a program on a terminal of a given size.
    pub(crate) fn start(mut command: Command, rows: u16, columns: u16) -> Result<Self> {
        let (keyboard, terminal) = open().context("opening a pseudo-terminal")?;
        tcsetwinsize(&terminal, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 })?;
        let stream = || terminal.try_clone().map(Stdio::from);
        command.env("TERM", "xterm-256color").stdin(stream()?).stdout(stream()?).stderr(stream()?);
        let child = command.spawn().with_context(|| format!("starting {command:?}"))?;
        // The command holds copies of the terminal, which is read until the last copy is closed.
        drop(command);
        drop(terminal);
        let size = |size| NonZero::new(size).context("a terminal has rows and columns");
        let screen = Arc::new(Mutex::new(vt100::Parser::new(size(rows)?, size(columns)?, 0)));
        let (shared, mut output) = (Arc::clone(&screen), keyboard.try_clone()?);
        let reader = thread::spawn(move || {
            let mut buffer = [0; 4096];
            // After the last program has closed the terminal, reading fails.
            while let Ok(length @ 1..) = output.read(&mut buffer) {
                shared.lock().unwrap_or_else(PoisonError::into_inner).process(&buffer[..length]);
            }
        });
        Ok(Self { child, keyboard, screen, reader: Some(reader) })
    }

    /// Presses keys.
    pub(crate) fn press(&mut self, keys: &str) -> Result<()> {
        self.keyboard.write_all(keys.as_bytes()).context("pressing keys")
    }

    /// Returns the current screen.
    pub(crate) fn screen(&self) -> vt100::Screen {
        self.screen.lock().unwrap_or_else(PoisonError::into_inner).screen().clone()
    }

    /// Waits until the program exits.
    pub(crate) fn wait(&mut self) -> Result<()> {
        let start = Instant::now();
        while self.child.try_wait()?.is_none() {
            if start.elapsed() > EXIT_TIMEOUT {
                bail!("the program did not exit:\n{}", self.screen().contents());
            }
            thread::sleep(Duration::from_millis(20));
        }
        if let Some(reader) = self.reader.take() {
            reader.join().ok().context("reading the screen")?;
        }
        Ok(())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Fails if the program has already exited.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Opens a pseudo-terminal: the first file reads its output, the second is for the program.
fn open() -> Result<(File, File)> {
    let screen = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
    grantpt(&screen)?;
    unlockpt(&screen)?;
    let name = ptsname(&screen, Vec::new())?;
    let terminal = File::options().read(true).write(true).open(name.to_str()?)?;
    Ok((File::from(screen), terminal))
}

/// The longest time that a program may take to exit.
const EXIT_TIMEOUT: Duration = Duration::from_secs(120);
