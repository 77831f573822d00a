//! Runs the tool as a user does: arguments and input go in; output, errors and exit code come out.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::num::NonZero;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use remcache_testkit::Memcached;
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcgetattr, tcsetwinsize};

/// One run of the tool that is being prepared. Nothing of the environment reaches it.
pub(crate) struct Tool {
    command: Command,
    input: Vec<u8>,
    /// The width of the terminal on which it runs; 0 if the terminal does not know it.
    columns: u16,
}

/// The result of a run.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) exit: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

/// Returns a run with these arguments.
pub(crate) fn remcache<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Tool {
    let mut command = Command::new(env!("CARGO_BIN_EXE_remcache"));
    command.args(args).env_clear();
    Tool { command, input: Vec::new(), columns: 0 }
}

/// Returns a run of another program, in the environment of the test.
pub(crate) fn program(name: &str, args: &[&str]) -> Tool {
    let mut command = Command::new(name);
    command.args(args);
    Tool { command, input: Vec::new(), columns: 0 }
}

/// Returns the names of all commands, as the help lists them.
pub(crate) fn commands() -> Vec<String> {
    let names = commands_of(&[]);
    assert!(names.len() > 30, "{names:?}");
    names
}

/// Returns the names of the commands that a command consists of, as its help lists them.
pub(crate) fn commands_of(command: &[&str]) -> Vec<String> {
    let help = remcache([&["help"], command].concat()).run().exits(0);
    let listed =
        help.text().lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    // Lines with more indentation continue a description.
    let names = listed.filter(|line| !line.starts_with("   ")).filter_map(|line| line.split_whitespace().next());
    names.map(str::to_owned).collect()
}

/// Returns the values that an argument can have, as the error for another value lists them.
pub(crate) fn values_of(args: &[&str]) -> Vec<String> {
    let run = remcache([args, &["none"]].concat()).run().exits(2);
    let listed = run.stderr.split("possible values: ").nth(1).expect("a list").split(']').next().expect("its end");
    listed.split(", ").map(str::to_owned).collect()
}

impl Tool {
    /// Adds an argument, which need not be UTF-8.
    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    /// Sets the servers.
    pub(crate) fn servers(self, servers: impl AsRef<str>) -> Self {
        self.env("REMCACHE_SERVERS", servers.as_ref())
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Sets the working directory.
    pub(crate) fn directory(mut self, directory: &Path) -> Self {
        self.command.current_dir(directory);
        self
    }

    /// Sets the standard input.
    pub(crate) fn input(self, input: impl Into<Vec<u8>>) -> Self {
        Self { input: input.into(), ..self }
    }

    /// Sets the width of the terminal.
    pub(crate) fn columns(self, columns: u16) -> Self {
        Self { columns, ..self }
    }

    /// Limits files to a length of 0, as on a disk that is full.
    pub(crate) fn without_room(self) -> Self {
        let mut shell = Command::new("/bin/sh");
        shell.env_clear().args(["-c", r#"trap "" XFSZ; ulimit -f 0; exec "$0" "$@""#]);
        shell.arg(self.command.get_program()).args(self.command.get_args());
        let set = self.command.get_envs().filter_map(|(name, value)| Some((name, value?)));
        shell.envs(set);
        Self { command: shell, ..self }
    }

    /// Runs it to its end.
    pub(crate) fn run(mut self) -> Run {
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.command.spawn().expect("the tool is built");
        let mut stdin = child.stdin.take().expect("it is a pipe");
        // The tool need not read its input: what it does not want is no failure.
        let writing = thread::spawn(move || drop(stdin.write_all(&self.input)));
        let output = child.wait_with_output().expect("the tool ends");
        writing.join().expect("writing does not panic");
        let stderr = String::from_utf8(output.stderr).expect("messages are UTF-8");
        Run { exit: output.status.code(), stdout: output.stdout, stderr }
    }

    /// Runs it to its end, whatever it prints, and gives its exit code and the most memory that it took,
    /// in MiB.
    pub(crate) fn peak_memory(mut self) -> (Option<i32>, u64) {
        self.command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = self.command.spawn().expect("the tool is built");
        let mut stdin = child.stdin.take().expect("it is a pipe");
        let writing = thread::spawn(move || drop(stdin.write_all(&self.input)));
        let status = format!("/proc/{}/status", child.id());
        let mut peak = 0;
        let exit = loop {
            let text = std::fs::read_to_string(&status).unwrap_or_default();
            let reported = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let kibibytes = reported.and_then(|reported| reported.trim().trim_end_matches(" kB").parse::<u64>().ok());
            peak = kibibytes.map_or(peak, |now| peak.max(now >> 10));
            if let Some(exit) = child.try_wait().expect("a process may wait for its child") {
                break exit.code();
            }
            thread::sleep(Duration::from_millis(2));
        };
        writing.join().expect("writing does not panic");
        assert!(peak > 0, "the system reports how much memory a process used");
        (exit, peak)
    }

    /// Begins it and leaves it to the test.
    pub(crate) fn spawn(mut self) -> Child {
        self.command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        self.command.spawn().expect("the tool is built")
    }

    /// Runs it on a terminal, whose keyboard says `typed`; standard output and errors are what the
    /// terminal shows.
    pub(crate) fn run_on_terminal(mut self, typed: &str) -> Run {
        let (mut screen, terminal) = terminal();
        let size = Winsize { ws_row: 24, ws_col: self.columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&terminal, size).expect("a terminal has a size");
        screen.write_all(typed.as_bytes()).expect("the terminal takes input");
        let end = || Stdio::from(terminal.try_clone().expect("a descriptor is free"));
        self.command.env("TERM", "xterm").stdin(end()).stdout(end()).stderr(end());
        let mut child = self.command.spawn().expect("the tool is built");
        // The command holds ends of the terminal: the screen is read until the last one is closed.
        drop(self);
        drop(terminal);
        let mut stdout = Vec::new();
        let mut part = [0; 4096];
        // A terminal whose last user has gone says so by an error.
        while let Ok(length @ 1..) = screen.read(&mut part) {
            stdout.extend_from_slice(&part[..length]);
        }
        let exit = child.wait().expect("the tool ends").code();
        Run { exit, stdout, stderr: String::new() }
    }
}

impl Run {
    /// Returns what it printed, as text.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).expect("the output is UTF-8")
    }

    /// Returns the lines that it printed.
    pub(crate) fn lines(&self) -> Vec<&str> {
        self.text().lines().collect()
    }

    /// Returns the JSON document that it printed.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Checks the exit code.
    pub(crate) fn exits(self, exit: i32) -> Self {
        assert_eq!(self.exit, Some(exit), "{self:?}");
        self
    }

    /// Checks that nothing was printed, and that the message names this.
    pub(crate) fn complains_of(self, what: &str) -> Self {
        assert!(self.stdout.is_empty() && self.stderr.contains(what), "{what:?} in {self:?}");
        self
    }
}

/// A process that ends with the test, also where that fails.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A run on a terminal whose screen is watched while it goes on.
pub(crate) struct Live {
    child: Running,
    keyboard: File,
    screen: Arc<Mutex<vt100::Parser>>,
    /// How the terminal was set before.
    settings: String,
    reading: Option<thread::JoinHandle<()>>,
}

impl Tool {
    /// Begins it on a terminal of this size.
    pub(crate) fn live(mut self, rows: u16, columns: u16) -> Live {
        let (keyboard, terminal) = terminal();
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&terminal, size).expect("a terminal has a size");
        let settings = settings(&terminal);
        let end = || Stdio::from(terminal.try_clone().expect("a descriptor is free"));
        self.command.env("TERM", "xterm-256color").stdin(end()).stdout(end()).stderr(end());
        let child = Running(self.command.spawn().expect("the tool is built"));
        let screen = Arc::new(Mutex::new(vt100::Parser::new(nonzero(rows), nonzero(columns), 0)));
        let reading = {
            let (screen, mut output) = (Arc::clone(&screen), keyboard.try_clone().expect("a descriptor is free"));
            thread::spawn(move || {
                let mut part = [0; 4096];
                while let Ok(length @ 1..) = output.read(&mut part) {
                    screen.lock().expect("the lock is not poisoned").process(&part[..length]);
                }
            })
        };
        Live { child, keyboard, screen, settings, reading: Some(reading) }
    }
}

impl Live {
    /// Returns what the screen shows now.
    pub(crate) fn text(&self) -> String {
        self.screen.lock().expect("the lock is not poisoned").screen().contents()
    }

    /// Waits until the screen shows this.
    pub(crate) fn shows(&self, what: &str) -> String {
        self.shows_what(|text| text.contains(what), what)
    }

    pub(crate) fn shows_what(&self, is_it: impl Fn(&str) -> bool, what: &str) -> String {
        let begun = Instant::now();
        loop {
            let text = self.text();
            if is_it(&text) {
                return text;
            }
            assert!(begun.elapsed() < PATIENCE, "{what:?} does not appear:\n{text}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Presses keys.
    pub(crate) fn types(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).expect("the terminal takes input");
    }

    /// Gives the terminal another size.
    pub(crate) fn resizes(&self, rows: u16, columns: u16) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        self.screen.lock().expect("the lock is not poisoned").screen_mut().set_size(nonzero(rows), nonzero(columns));
        tcsetwinsize(&self.keyboard, size).expect("a terminal has a size");
        // The signal goes to whom the terminal belongs, and a test has none to give.
        kill_process(self.pid(), Signal::WINCH).expect("the tool runs");
    }

    /// Waits until the screen shows this for the given number of times.
    pub(crate) fn shows_again(&self, what: &str, times: usize) -> String {
        self.shows_what(|text| text.matches(what).count() >= times, what)
    }

    /// Returns whether the terminal is set up now as it was before.
    pub(crate) fn is_as_before(&self) -> bool {
        settings(&self.keyboard) == self.settings
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child.0)
    }

    /// Waits for its end; the exit code, and whether the terminal is as it was.
    pub(crate) fn ends(mut self) -> (Option<i32>, bool) {
        let begun = Instant::now();
        let exit = loop {
            match self.child.0.try_wait().expect("a process may wait for its child") {
                Some(status) => break status.code(),
                None => assert!(begun.elapsed() < PATIENCE, "the tool does not end:\n{}", self.text()),
            }
            thread::sleep(Duration::from_millis(10));
        };
        self.reading.take().expect("it is joined once").join().expect("reading does not panic");
        let screen = self.screen.lock().expect("the lock is not poisoned");
        let is_shown = !screen.screen().alternate_screen() && !screen.screen().hide_cursor();
        (exit, is_shown && settings(&self.keyboard) == self.settings)
    }
}

/// Waits until `count` connections watch the server.
pub(crate) fn wait_for_watchers(server: &Memcached, count: u64) {
    let begun = Instant::now();
    loop {
        let stats = remcache(["stats", "-f", "ndjson"]).servers(server.addr()).run().exits(0).json();
        if stats["stats"]["log_watchers"] == count {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "not {count} watch: {stats}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// How long a test waits for what a busy machine may do late.
const PATIENCE: Duration = Duration::from_secs(60);

/// Returns the settings of a terminal: lines, signals and echo.
fn settings(terminal: &File) -> String {
    format!("{:?}", tcgetattr(terminal))
}

fn nonzero(size: u16) -> NonZero<u16> {
    NonZero::new(size).expect("a terminal has a size")
}

/// Returns a terminal: what its screen shows can be read from the first, the second is for a program.
fn terminal() -> (File, File) {
    let screen = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("the system has pseudo-terminals");
    // A program that holds the other end of its own terminal would never see it go.
    fcntl_setfd(&screen, FdFlags::CLOEXEC).expect("a descriptor has flags");
    grantpt(&screen).expect("the terminal is ours");
    unlockpt(&screen).expect("the terminal is ours");
    let name = ptsname(&screen, Vec::new()).expect("the terminal has a name");
    let path = name.to_str().expect("its name is ASCII");
    let terminal = File::options().read(true).write(true).open(path).expect("the terminal opens");
    (File::from(screen), terminal)
}
