//! A real memcached server, as a child process of the test.

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

/// A memcached on a loopback port or a Unix socket, killed when the value is dropped.
///
/// The program is `memcached` of the search path, or the one that `REMCACHE_MEMCACHED` names.
#[derive(Debug)]
pub struct Memcached {
    child: Child,
    launch: Launch,
}

impl Memcached {
    /// Starts a server on a free port of 127.0.0.1 with these arguments beside the usual ones
    /// (one thread, 64 MiB, no UDP), and waits until it listens.
    ///
    /// # Panics
    /// When the program is missing or does not start.
    #[must_use]
    pub fn start(args: &[&str]) -> Self {
        Self::start_on_a_port(args, Sasl::Off)
    }

    /// Starts a server on an address of the loopback network, which need not be 127.0.0.1; `None`
    /// if the address is taken.
    ///
    /// # Panics
    /// As [`Memcached::start`].
    #[must_use]
    pub fn start_at(address: SocketAddrV4, args: &[&str]) -> Option<Self> {
        let launch = Launch::new(args, Listen::At(address), Sasl::Off);
        match launch.run() {
            Ok(child) => Some(Self { child, launch }),
            Err(failure) if failure.contains(PORT_TAKEN) => None,
            Err(failure) => panic!("{failure}"),
        }
    }

    /// Starts a server that demands authentication (`-S`) and knows [`SASL_USER`].
    ///
    /// # Panics
    /// As [`Memcached::start`], and when `saslpasswd2` is missing.
    #[must_use]
    pub fn start_sasl(args: &[&str]) -> Self {
        Self::start_on_a_port(args, Sasl::On)
    }

    /// Starts a server that speaks TLS (`-Z`) with this certificate. It reads the certificate's files
    /// at each start.
    ///
    /// # Panics
    /// As [`Memcached::start`].
    #[must_use]
    pub fn start_tls(certificate: &Certificate, args: &[&str]) -> Self {
        let options = certificate.server_options();
        Self::start(&[&["-Z", "-o", &options], args].concat())
    }

    /// Starts a server on the Unix socket `path`; in a directory of [`scratch()`] it may make one.
    ///
    /// # Panics
    /// As [`Memcached::start`].
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
        panic!("memcached found {PORT_ATTEMPTS} ports taken");
    }

    /// Where the server listens: `127.0.0.1:PORT`, or the path of its socket.
    #[must_use]
    pub fn addr(&self) -> String {
        match &self.launch.listen {
            Listen::Port(port) => format!("127.0.0.1:{port}"),
            Listen::At(address) => address.to_string(),
            Listen::Socket(path) => path.display().to_string(),
        }
    }

    /// The port on which the server listens.
    ///
    /// # Panics
    /// When it listens on a Unix socket.
    #[must_use]
    pub fn port(&self) -> u16 {
        match self.launch.listen {
            Listen::Port(port) => port,
            Listen::At(address) => address.port(),
            Listen::Socket(_) => panic!("{} is not a port", self.addr()),
        }
    }

    /// The number of the process that runs now, or ran last.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills the server (SIGKILL) and waits until it is gone; a dead one stays dead.
    ///
    /// # Panics
    /// When the system does not let a process end its own child.
    pub fn kill(&mut self) {
        self.child.kill().expect("a process may kill its child");
        self.child.wait().expect("a process may wait for its child");
    }

    /// Stops the server (SIGSTOP): it accepts connections still, by its kernel, and is silent.
    ///
    /// # Panics
    /// When the server is dead.
    pub fn stop(&self) {
        self.signal(Signal::STOP);
        waitid(WaitId::Pid(self.rustix_pid()), WaitIdOptions::STOPPED).expect("a stopped child is reported");
    }

    /// Lets a stopped server go on (SIGCONT).
    ///
    /// # Panics
    /// When the server is dead.
    pub fn cont(&self) {
        self.signal(Signal::CONT);
    }

    /// Starts the server again, empty, where it listened and with the same arguments; kills it
    /// before if it lives.
    ///
    /// # Panics
    /// As [`Memcached::start`].
    pub fn restart(&mut self) {
        self.kill();
        self.child = self.launch.run().unwrap_or_else(|failure| panic!("{failure}"));
    }

    /// The version of the program, as three numbers.
    ///
    /// # Panics
    /// When the program is missing.
    #[must_use]
    pub fn version() -> (u32, u32, u32) {
        let output = Command::new(program()).arg("-V").output().unwrap_or_else(|error| panic!("{}", missing(&error)));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        parse_version(&text).unwrap_or_else(|| panic!("memcached -V said {text:?}"))
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.rustix_pid(), signal).expect("the server is alive");
    }

    fn rustix_pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Memcached {
    fn drop(&mut self) {
        // A kill ends a stopped process too.
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

/// All that is needed to start a server, and to start the same one again.
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

    /// Runs the server until it listens; what it said, if it does not get there.
    fn run(&self) -> Result<Child, String> {
        let _ = fs::remove_file(self.port_file());
        let mut child = self.command().spawn().unwrap_or_else(|error| panic!("{}", missing(&error)));
        let outcome = self.wait_until_it_listens(&mut child);
        if outcome.is_err() {
            let _ = child.kill();
            let _ = child.wait();
        }
        outcome.map(|()| child)
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
        let complaints = File::create(self.complaints()).expect("the directory is writable");
        command
            .args(&self.args)
            .env("LC_ALL", "C")
            .env("MEMCACHED_PORT_FILENAME", self.port_file())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(complaints);
        command
    }

    fn wait_until_it_listens(&self, child: &mut Child) -> Result<(), String> {
        let start = Instant::now();
        while !self.listens() {
            let ended = child.try_wait().expect("a process may wait for its child");
            if let Some(status) = ended {
                return Err(self.failure(&format!("ended with {status}")));
            }
            if start.elapsed() > START_LIMIT {
                return Err(self.failure("does not listen"));
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Whether this very process listens: it writes the port file after it does, so a stranger on
    /// the same port is not taken for it.
    fn listens(&self) -> bool {
        match &self.listen {
            Listen::Port(_) | Listen::At(_) => self.port_file().exists(),
            Listen::Socket(path) => UnixStream::connect(path).is_ok(),
        }
    }

    fn failure(&self, what: &str) -> String {
        let said = fs::read_to_string(self.complaints()).unwrap_or_default();
        format!("memcached {:?} {what}: {}", self.args, said.trim_end())
    }

    fn port_file(&self) -> PathBuf {
        self.dir.path().join("port")
    }

    fn complaints(&self) -> PathBuf {
        self.dir.path().join("stderr")
    }
}

fn program() -> String {
    std::env::var("REMCACHE_MEMCACHED").unwrap_or_else(|_| "memcached".to_owned())
}

fn missing(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "memcached is not installed: apt-get install -y memcached \
             libmemcached-tools libmemcached-dev"
            .to_owned(),
        _ => format!("{} does not run: {error}", program()),
    }
}

fn parse_version(text: &str) -> Option<(u32, u32, u32)> {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).filter(|digits| !digits.is_empty()).map(str::parse);
    let mut next = || numbers.next()?.ok();
    Some((next()?, next()?, next()?))
}

const PORT_TAKEN: &str = "Address already in use";
const PORT_ATTEMPTS: usize = 20;
// A generous limit: it is met only by a server that will never listen.
const START_LIMIT: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_three_numbers() {
        assert_eq!(parse_version("memcached 1.6.18\n"), Some((1, 6, 18)));
        assert_eq!(parse_version("memcached 1.6.45_2-g12"), Some((1, 6, 45)));
        assert_eq!(parse_version("memcached"), None);
    }
}
