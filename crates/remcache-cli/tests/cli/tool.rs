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

/// A command line of the tool with its input and environment. The environment of the test is not inherited.
pub(crate) struct Tool {
    command: Command,
    input: Vec<u8>,
    /// The width of the terminal; 0 if it is unknown.
    columns: u16,
}

/// The result of a run.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) exit: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

/// Creates a command with these arguments. Its timeouts are longer than a busy machine needs.
pub(crate) fn remcache<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Tool {
    let mut command = Command::new(env!("CARGO_BIN_EXE_remcache"));
    command.args(args).env_clear().env("REMCACHE_TIMEOUT", "20s").env("REMCACHE_CONNECT_TIMEOUT", "20s");
    Tool { command, input: Vec::new(), columns: 0 }
}

/// Creates a command of another program, which inherits the environment of the test.
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

/// Returns the names of a command's subcommands, as its help lists them.
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

    /// Limits files to a length of 0, as on a full disk.
    pub(crate) fn with_full_disk(self) -> Self {
        let mut shell = Command::new("/bin/sh");
        shell.env_clear().args(["-c", r#"trap "" XFSZ; ulimit -f 0; exec "$0" "$@""#]);
        shell.arg(self.command.get_program()).args(self.command.get_args());
        let set = self.command.get_envs().filter_map(|(name, value)| Some((name, value?)));
        shell.envs(set);
        Self { command: shell, ..self }
    }

    /// Runs the command until it exits.
    pub(crate) fn run(mut self) -> Run {
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.command.spawn().expect("the tool is built");
        let mut stdin = child.stdin.take().expect("it is a pipe");
        // The tool may exit before it has read its input.
        let writing = thread::spawn(move || drop(stdin.write_all(&self.input)));
        let output = child.wait_with_output().expect("the tool ends");
        writing.join().expect("writing does not panic");
        let stderr = String::from_utf8(output.stderr).expect("messages are UTF-8");
        Run { exit: output.status.code(), stdout: output.stdout, stderr }
    }

    /// Runs the command until it exits, and returns its exit code and its peak memory in MiB.
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
            if let Some(exit) = child.try_wait().expect("a process can wait for its child") {
                break exit.code();
            }
            thread::sleep(Duration::from_millis(2));
        };
        writing.join().expect("writing does not panic");
        assert!(peak > 0, "the system reports how much memory a process used");
        (exit, peak)
    }

    /// Starts the command, and returns the process.
    pub(crate) fn spawn(mut self) -> Child {
        self.command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        self.command.spawn().expect("the tool is built")
    }

    /// Runs the command on a terminal, with `typed` as its keyboard input. The result's `stdout` is what the terminal
    /// receives, standard error included.
    pub(crate) fn run_on_terminal(mut self, typed: &str) -> Run {
        let (mut screen, terminal) = terminal();
        let size = Winsize { ws_row: 24, ws_col: self.columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&terminal, size).expect("a terminal has a size");
        screen.write_all(typed.as_bytes()).expect("the terminal takes input");
        let stream = || Stdio::from(terminal.try_clone().expect("a descriptor is free"));
        self.command.env("TERM", "xterm").stdin(stream()).stdout(stream()).stderr(stream());
        let mut child = self.command.spawn().expect("the tool is built");
        // The command holds copies of the terminal; the screen is read until the last copy is closed.
        drop(self);
        drop(terminal);
        let mut stdout = Vec::new();
        let mut buffer = [0; 4096];
        // Reading fails when the last program has closed the terminal.
        while let Ok(length @ 1..) = screen.read(&mut buffer) {
            stdout.extend_from_slice(&buffer[..length]);
        }
        let exit = child.wait().expect("the tool ends").code();
        Run { exit, stdout, stderr: String::new() }
    }
}

impl Run {
    /// Returns the standard output as text.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).expect("the output is UTF-8")
    }

    /// Returns the lines of the standard output.
    pub(crate) fn lines(&self) -> Vec<&str> {
        self.text().lines().collect()
    }

    /// Returns the standard output as a JSON document.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Checks the exit code.
    pub(crate) fn exits(self, exit: i32) -> Self {
        assert_eq!(self.exit, Some(exit), "{self:?}");
        self
    }

    /// Checks that the standard output is empty, and that the error message contains this text.
    pub(crate) fn reports_error(self, what: &str) -> Self {
        assert!(self.stdout.is_empty() && self.stderr.contains(what), "{what:?} in {self:?}");
        self
    }
}

/// A process that is killed when this is dropped.
pub(crate) struct KillOnDrop(pub(crate) Child);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The tool running on a terminal.
pub(crate) struct TerminalSession {
    child: KillOnDrop,
    keyboard: File,
    screen: Arc<Mutex<vt100::Parser>>,
    /// The settings of the terminal before the tool was started.
    settings: String,
    reader: Option<thread::JoinHandle<()>>,
}

impl Tool {
    /// Starts the command on a terminal of this size.
    pub(crate) fn start_on_terminal(mut self, rows: u16, columns: u16) -> TerminalSession {
        let (keyboard, terminal) = terminal();
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&terminal, size).expect("a terminal has a size");
        let settings = settings(&terminal);
        let stream = || Stdio::from(terminal.try_clone().expect("a descriptor is free"));
        self.command.env("TERM", "xterm-256color").stdin(stream()).stdout(stream()).stderr(stream());
        let child = KillOnDrop(self.command.spawn().expect("the tool is built"));
        let screen = Arc::new(Mutex::new(vt100::Parser::new(nonzero(rows), nonzero(columns), 0)));
        let reader = {
            let (screen, mut output) = (Arc::clone(&screen), keyboard.try_clone().expect("a descriptor is free"));
            thread::spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok(length @ 1..) = output.read(&mut buffer) {
                    screen.lock().expect("the lock is not poisoned").process(&buffer[..length]);
                }
            })
        };
        TerminalSession { child, keyboard, screen, settings, reader: Some(reader) }
    }
}

impl TerminalSession {
    /// Returns the current text of the screen.
    pub(crate) fn text(&self) -> String {
        self.screen.lock().expect("the lock is not poisoned").screen().contents()
    }

    /// Waits until the screen contains a text, and returns the screen.
    pub(crate) fn wait_for_text(&self, what: &str) -> String {
        self.wait_until(|text| text.contains(what), what)
    }

    /// Waits until the screen satisfies a condition, and returns the screen.
    pub(crate) fn wait_until(&self, is_shown: impl Fn(&str) -> bool, what: &str) -> String {
        let start = Instant::now();
        loop {
            let text = self.text();
            if is_shown(&text) {
                return text;
            }
            assert!(start.elapsed() < PATIENCE, "{what:?} does not appear:\n{text}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Presses keys.
    pub(crate) fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).expect("the terminal takes input");
    }

    /// Changes the size of the terminal.
    pub(crate) fn resize(&self, rows: u16, columns: u16) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        self.screen.lock().expect("the lock is not poisoned").screen_mut().set_size(nonzero(rows), nonzero(columns));
        tcsetwinsize(&self.keyboard, size).expect("a terminal has a size");
        // The kernel sends the signal only to the foreground process of a controlling terminal, which this is not.
        kill_process(self.pid(), Signal::WINCH).expect("the tool runs");
    }

    /// Waits until the screen contains a text at least `times` times, and returns the screen.
    pub(crate) fn wait_for_times(&self, what: &str, times: usize) -> String {
        self.wait_until(|text| text.matches(what).count() >= times, what)
    }

    /// Returns whether the terminal has the settings that it had before the tool was started.
    pub(crate) fn has_initial_settings(&self) -> bool {
        settings(&self.keyboard) == self.settings
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child.0)
    }

    /// Waits until the tool exits; returns its exit code, and whether the terminal was restored.
    pub(crate) fn wait_for_exit(mut self) -> (Option<i32>, bool) {
        let start = Instant::now();
        let exit = loop {
            match self.child.0.try_wait().expect("a process can wait for its child") {
                Some(status) => break status.code(),
                None => assert!(start.elapsed() < PATIENCE, "the tool does not end:\n{}", self.text()),
            }
            thread::sleep(Duration::from_millis(10));
        };
        self.reader.take().expect("it is joined once").join().expect("the reader does not panic");
        let screen = self.screen.lock().expect("the lock is not poisoned");
        let has_normal_screen = !screen.screen().alternate_screen() && !screen.screen().hide_cursor();
        (exit, has_normal_screen && settings(&self.keyboard) == self.settings)
    }
}

/// Waits until `count` connections watch the server.
pub(crate) fn wait_for_watchers(server: &Memcached, count: u64) {
    let start = Instant::now();
    loop {
        let stats = remcache(["stats", "-f", "ndjson"]).servers(server.addr()).run().exits(0).json();
        if stats["stats"]["log_watchers"] == count {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "not {count} watch: {stats}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Exceeded only if the tool hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// Returns the settings of a terminal: lines, signals and echo.
fn settings(terminal: &File) -> String {
    format!("{:?}", tcgetattr(terminal))
}

fn nonzero(size: u16) -> NonZero<u16> {
    NonZero::new(size).expect("a terminal has a size")
}

/// Opens a pseudo-terminal: the first file reads its output, the second is for a program.
fn terminal() -> (File, File) {
    let screen = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("the system has pseudo-terminals");
    // A program that inherited this end would keep its own terminal open.
    fcntl_setfd(&screen, FdFlags::CLOEXEC).expect("a descriptor has flags");
    grantpt(&screen).expect("the terminal is ours");
    unlockpt(&screen).expect("the terminal is ours");
    let name = ptsname(&screen, Vec::new()).expect("the terminal has a name");
    let path = name.to_str().expect("its name is ASCII");
    let terminal = File::options().read(true).write(true).open(path).expect("the terminal opens");
    (File::from(screen), terminal)
}
