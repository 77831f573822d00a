//! Real memcached servers as child processes of a test.

mod sasl;

pub use sasl::{SASL_PASSWORD, SASL_USER};

use crate::{Certificate, scratch, unused_port};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use std::fs::{self, File};
use std::io;
use std::net::SocketAddrV4;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A memcached process on a loopback port or a Unix socket. Dropping it kills the process.
///
/// The program is `memcached` in the search path, or the one that the environment variable `REMCACHE_MEMCACHED` names.
#[derive(Debug)]
pub struct Memcached {
    child: Child,
    launch: Launch,
}

impl Memcached {
    /// Starts a server on a free port of 127.0.0.1 and waits until it listens. `args` follow the default arguments: one
    /// thread, 64 MiB, no UDP.
    ///
    /// # Panics
    /// Panics if the program is missing or does not start.
    #[must_use]
    pub fn start(args: &[&str]) -> Self {
        Self::start_on_a_port(args, Sasl::Off)
    }

    /// Starts a server on any address of the loopback network. Returns `None` if the address is in use.
    ///
    /// # Panics
    /// Panics like [`Memcached::start`].
    #[must_use]
    pub fn start_at(address: SocketAddrV4, args: &[&str]) -> Option<Self> {
        let launch = Launch::new(args, Listen::At(address), Sasl::Off);
        match launch.run() {
            Ok(child) => Some(Self { child, launch }),
            Err(failure) if failure.contains(PORT_TAKEN) => None,
            Err(failure) => panic!("{failure}"),
        }
    }

    /// Starts a server that requires SASL authentication (`-S`) and has the user [`SASL_USER`].
    ///
    /// # Panics
    /// Panics like [`Memcached::start`], or if `saslpasswd2` is missing.
    #[must_use]
    pub fn start_sasl(args: &[&str]) -> Self {
        Self::start_on_a_port(args, Sasl::On)
    }

    /// Starts a server that speaks TLS (`-Z`) with this certificate. A restart reads the certificate's files again.
    ///
    /// # Panics
    /// Panics like [`Memcached::start`].
    #[must_use]
    pub fn start_tls(certificate: &Certificate, args: &[&str]) -> Self {
        let options = certificate.server_options();
        Self::start(&[&["-Z", "-o", &options], args].concat())
    }

    /// Starts a server on the Unix socket `path`. It has permission to create one in a directory of [`scratch()`].
    ///
    /// # Panics
    /// Panics like [`Memcached::start`].
    #[must_use]
    pub fn start_unix(path: impl AsRef<Path>, args: &[&str]) -> Self {
        let listen = Listen::Socket(path.as_ref().to_owned());
        let launch = Launch::new(args, listen, Sasl::Off);
        let child = launch.run().unwrap_or_else(|failure| panic!("{failure}"));
        Self { child, launch }
    }

    fn start_on_a_port(args: &[&str], sasl: Sasl) -> Self {
        for _ in 0..PORT_ATTEMPTS {
            let launch = Launch::new(args, Listen::Port(unused_port()), sasl);
            match launch.run() {
                Ok(child) => return Self { child, launch },
                Err(failure) if failure.contains(PORT_TAKEN) => {}
                Err(failure) => panic!("{failure}"),
            }
        }
        panic!("memcached found {PORT_ATTEMPTS} ports in use");
    }

    /// Returns the address that the server listens on: `127.0.0.1:PORT`, or the path of its socket.
    #[must_use]
    pub fn addr(&self) -> String {
        match &self.launch.listen {
            Listen::Port(port) => format!("127.0.0.1:{port}"),
            Listen::At(address) => address.to_string(),
            Listen::Socket(path) => path.display().to_string(),
        }
    }

    /// Returns the port that the server listens on.
    ///
    /// # Panics
    /// Panics if it listens on a Unix socket.
    #[must_use]
    pub fn port(&self) -> u16 {
        match self.launch.listen {
            Listen::Port(port) => port,
            Listen::At(address) => address.port(),
            Listen::Socket(_) => panic!("{} is not a port", self.addr()),
        }
    }

    /// Returns the ID of the current process, or of the last one.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills the server (SIGKILL) and waits until the process has ended. Does nothing if it has ended already.
    ///
    /// # Panics
    /// Panics if the process cannot be killed.
    pub fn kill(&mut self) {
        self.child.kill().expect("a process can kill its child");
        self.child.wait().expect("a process can wait for its child");
    }

    /// Stops the server (SIGSTOP). The kernel still accepts connections for it, but nothing is answered.
    ///
    /// # Panics
    /// Panics if the process has ended.
    pub fn stop(&self) {
        self.signal(Signal::STOP);
        waitid(WaitId::Pid(self.rustix_pid()), WaitIdOptions::STOPPED).expect("a stopped child is reported");
    }

    /// Resumes a stopped server (SIGCONT).
    ///
    /// # Panics
    /// Panics if the process has ended.
    pub fn cont(&self) {
        self.signal(Signal::CONT);
    }

    /// Kills the server if it runs, and starts it with the same arguments at the same address. It has no items then.
    ///
    /// # Panics
    /// Panics like [`Memcached::start`].
    pub fn restart(&mut self) {
        self.kill();
        self.child = self.launch.run().unwrap_or_else(|failure| panic!("{failure}"));
    }

    /// Returns the version of the program, as three numbers.
    ///
    /// # Panics
    /// Panics if the program is missing.
    #[must_use]
    pub fn version() -> (u32, u32, u32) {
        let output = Command::new(program()).arg("-V").output().unwrap_or_else(|error| panic!("{}", missing(&error)));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        parse_version(&text).unwrap_or_else(|| panic!("unexpected output of memcached -V: {text:?}"))
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.rustix_pid(), signal).expect("the server runs");
    }

    fn rustix_pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Memcached {
    fn drop(&mut self) {
        // SIGKILL ends a stopped process too.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[derive(Debug)]
enum Listen {
    Port(u16),
    At(SocketAddrV4),
    Socket(PathBuf),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Sasl {
    Off,
    On,
}

/// Everything that is needed to start a server and to restart it.
#[derive(Debug)]
struct Launch {
    args: Vec<String>,
    listen: Listen,
    sasl: Sasl,
    dir: TempDir,
}

impl Launch {
    fn new(args: &[&str], listen: Listen, sasl: Sasl) -> Self {
        let dir = scratch();
        if sasl == Sasl::On {
            sasl::write_database(dir.path());
        }
        Self { args: args.iter().map(|&arg| arg.to_owned()).collect(), listen, sasl, dir }
    }

    /// Starts the server and waits until it listens. Returns its output as an error if it does not.
    fn run(&self) -> Result<Child, String> {
        let _ = fs::remove_file(self.port_file());
        let mut child = self.command().spawn().unwrap_or_else(|error| panic!("{}", missing(&error)));
        let result = self.wait_until_it_listens(&mut child);
        if result.is_err() {
            let _ = child.kill();
            let _ = child.wait();
        }
        result.map(|()| child)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(program());
        command.args(["-t", "1", "-m", "64"]);
        match &self.listen {
            Listen::Port(port) => command.args(["-U", "0", "-l", "127.0.0.1", "-p"]).arg(port.to_string()),
            Listen::At(address) => {
                command.args(["-U", "0", "-l", &address.ip().to_string(), "-p", &address.port().to_string()])
            }
            Listen::Socket(path) => command.arg("-s").arg(path),
        };
        if rustix::process::geteuid().is_root() {
            command.args(["-u", "nobody"]);
        }
        if self.sasl == Sasl::On {
            command.arg("-S").env("SASL_CONF_PATH", self.dir.path());
        }
        let stderr = File::create(self.stderr_file()).expect("the directory is writable");
        command
            .args(&self.args)
            .env("LC_ALL", "C")
            .env("MEMCACHED_PORT_FILENAME", self.port_file())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr);
        command
    }

    fn wait_until_it_listens(&self, child: &mut Child) -> Result<(), String> {
        let start = Instant::now();
        while !self.listens() {
            let status = child.try_wait().expect("a process can wait for its child");
            if let Some(status) = status {
                return Err(self.failure(&format!("ended with {status}")));
            }
            if start.elapsed() > START_LIMIT {
                return Err(self.failure("does not listen in time"));
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Returns whether this process listens. A connection to the port could reach another process, so the port file
    /// decides, which memcached writes once it listens.
    fn listens(&self) -> bool {
        match &self.listen {
            Listen::Port(_) | Listen::At(_) => self.port_file().exists(),
            Listen::Socket(path) => UnixStream::connect(path).is_ok(),
        }
    }

    fn failure(&self, problem: &str) -> String {
        let output = fs::read_to_string(self.stderr_file()).unwrap_or_default();
        format!("memcached {:?} {problem}: {}", self.args, output.trim_end())
    }

    fn port_file(&self) -> PathBuf {
        self.dir.path().join("port")
    }

    fn stderr_file(&self) -> PathBuf {
        self.dir.path().join("stderr")
    }
}

fn program() -> String {
    std::env::var("REMCACHE_MEMCACHED").unwrap_or_else(|_| "memcached".to_owned())
}

fn missing(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "memcached is not installed; install it with `apt-get install memcached libmemcached-tools libmemcached-dev`"
            .to_owned(),
        _ => format!("cannot run {}: {error}", program()),
    }
}

fn parse_version(text: &str) -> Option<(u32, u32, u32)> {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).filter(|digits| !digits.is_empty()).map(str::parse);
    let mut next = || numbers.next()?.ok();
    Some((next()?, next()?, next()?))
}

const PORT_TAKEN: &str = "Address already in use";
const PORT_ATTEMPTS: usize = 20;
// Reached only if the server will never listen.
const START_LIMIT: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_have_three_numbers() {
        assert_eq!(parse_version("memcached 1.6.18\n"), Some((1, 6, 18)));
        assert_eq!(parse_version("memcached 1.6.45_2-g12"), Some((1, 6, 45)));
        assert_eq!(parse_version("memcached"), None);
    }
}
