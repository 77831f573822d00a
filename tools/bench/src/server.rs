//! The memcached servers that all clients use, and their counters.

use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::str::FromStr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use remcache_testkit::{Authority, Certificate, Dates};
use rustix::process::{Resource, geteuid, getrlimit};

use crate::adapter::HOST;
use crate::cores::Cores;
use crate::preload;
use crate::scenario::Scenario;

/// The servers of a run. They are stopped when this is dropped, and killed when this process ends in any other way.
#[derive(Debug)]
pub(crate) struct Servers {
    plain: Vec<Server>,
    tls: Vec<Server>,
    /// The certificate authority of the servers with TLS.
    authority: Option<Authority>,
}

impl Servers {
    /// Starts the servers that the scenarios need.
    pub(crate) fn start(scenarios: &[&Scenario], cores: &Cores) -> Result<Self> {
        check_setpriv()?;
        let most =
            |tls: bool| scenarios.iter().filter(move |scenario| scenario.tls == tls).map(|scenario| scenario.servers);
        let plain = (0..most(false).max().unwrap_or_default()).map(|_| Server::start(cores, None));
        let plain = plain.collect::<Result<_>>()?;
        let Some(count) = most(true).max() else {
            return Ok(Self { plain, tls: Vec::new(), authority: None });
        };
        let authority = Authority::new("benchmark authority");
        let tls = (0..count).map(|_| Server::start(cores, Some(authority.certify(&[HOST], Dates::Now))));
        Ok(Self { plain, tls: tls.collect::<Result<_>>()?, authority: Some(authority) })
    }

    /// Returns the servers of a scenario.
    fn of(&self, scenario: &Scenario) -> impl Iterator<Item = &Server> {
        let servers = if scenario.tls { &self.tls } else { &self.plain };
        servers[..scenario.servers].iter()
    }

    /// Returns the ports that the clients of a scenario connect to.
    pub(crate) fn ports(&self, scenario: &Scenario) -> Vec<u16> {
        self.of(scenario).map(|server| server.port).collect()
    }

    /// Returns the file with the certificate authority of a scenario with TLS.
    pub(crate) fn authority(&self, scenario: &Scenario) -> Option<PathBuf> {
        self.authority.as_ref().filter(|_| scenario.tls).map(Authority::file)
    }

    /// Stores every item of a scenario on each of its servers, so that clients with different distributions find it.
    pub(crate) fn preload(&self, scenario: &Scenario) -> Result<()> {
        self.of(scenario).try_for_each(|server| preload::store(server.plain_port, scenario))
    }

    /// Returns the number of keys of a scenario that have lost their value.
    pub(crate) fn count_lost_values(&self, scenario: &Scenario) -> Result<u64> {
        self.of(scenario).map(|server| preload::count_lost_values(server.plain_port, scenario)).sum()
    }

    /// Returns the total work that the servers of a scenario have done.
    pub(crate) fn work(&self, scenario: &Scenario) -> Result<ServerWork> {
        let names = [scenario.verb.server_counter(), "rusage_user", "rusage_system"];
        self.of(scenario).try_fold(ServerWork { count: 0, cpu_micros: 0.0 }, |sum, server| {
            let [count, user, system]: [f64; 3] = counters(server.plain_port, names)?;
            Ok(ServerWork { count: sum.count + count as u64, cpu_micros: sum.cpu_micros + (user + system) * 1e6 })
        })
    }
}

/// The work that the servers of a scenario have done since they were started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ServerWork {
    /// The sum of the scenario's counter.
    pub(crate) count: u64,
    pub(crate) cpu_micros: f64,
}

#[derive(Debug)]
struct Server {
    process: Child,
    /// The port that clients connect to.
    port: u16,
    /// The port without TLS; the same port for a server without TLS.
    plain_port: u16,
    /// Keeps the certificate's files while the server runs.
    _certificate: Option<Certificate>,
}

impl Server {
    fn start(cores: &Cores, certificate: Option<Certificate>) -> Result<Self> {
        let port = free_port()?;
        let plain_port = if certificate.is_some() { free_port()? } else { port };
        let mut words = cores.server_prefix();
        words.extend(kill_with_parent().map(ToOwned::to_owned));
        words.push("memcached".to_owned());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        match &certificate {
            Some(certificate) => {
                let ports = format!("{HOST}:{port},notls:{HOST}:{plain_port}");
                command.args(["-l", &ports, "-Z", "-o", &certificate.server_options()]);
            }
            None => _ = command.args(["-l", HOST, "-p", &port.to_string()]),
        }
        command.args(["-U", "0", "-t", "1", "-m", "1024", "-I", "8m"]);
        command.args(["-b", "4096", "-c", &connections().to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().context(MEMCACHED_IS_MISSING)?;
        let mut server = Self { process, port, plain_port, _certificate: certificate };
        server.wait_until_listening()?;
        Ok(server)
    }

    fn wait_until_listening(&mut self) -> Result<()> {
        let start = Instant::now();
        while [self.port, self.plain_port].iter().any(|&port| TcpStream::connect((HOST, port)).is_err()) {
            if let Some(status) = self.process.try_wait()? {
                bail!("memcached exited with {status}: {MEMCACHED_IS_MISSING}");
            }
            if start.elapsed() > START_TIMEOUT {
                bail!("memcached did not accept connections on port {} within {START_TIMEOUT:?}", self.port);
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Fails only if the process has already exited.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// Returns a counter of the server on this port.
pub(crate) fn counter(port: u16, name: &str) -> Result<u64> {
    counters(port, [name]).map(|[count]| count)
}

/// Returns several counters of the server on this port, read at the same instant.
pub(crate) fn counters<T, const N: usize>(port: u16, names: [&str; N]) -> Result<[T; N]>
where
    T: Default + FromStr<Err: Error + Send + Sync + 'static>,
{
    let mut stream = TcpStream::connect((HOST, port)).context("connecting for stats")?;
    stream.write_all(b"stats\r\n")?;
    let mut counts = names.map(|_| None::<T>);
    for line in BufReader::new(stream).lines() {
        let line = line?;
        if line == "END" {
            break;
        }
        let Some((name, count)) = line.strip_prefix("STAT ").and_then(|stat| stat.split_once(' ')) else { continue };
        if let Some(index) = names.iter().position(|known| *known == name) {
            counts[index] = Some(count.trim().parse().with_context(|| format!("the counter {name}"))?);
        }
    }
    if let Some(index) = counts.iter().position(Option::is_none) {
        bail!("memcached has no counter {}", names[index]);
    }
    Ok(counts.map(Option::unwrap_or_default))
}

/// Returns the arguments that precede a server's command line, so that the kernel kills the server when this process ends.
///
/// The kernel drops this setting when a process changes its user, so `setpriv` drops root privileges instead of
/// memcached.
fn kill_with_parent() -> impl Iterator<Item = &'static str> {
    let as_unprivileged: &[&str] =
        if geteuid().is_root() { &["--reuid=65534", "--regid=65534", "--clear-groups"] } else { &[] };
    ["setpriv", "--pdeathsig=KILL"].into_iter().chain(as_unprivileged.iter().copied())
}

fn check_setpriv() -> Result<()> {
    let words: Vec<_> = kill_with_parent().chain(["true"]).collect();
    let output = Command::new(words[0]).args(&words[1..]).output().context(SETPRIV_IS_MISSING)?;
    ensure!(output.status.success(), "setpriv: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

/// Returns the output of `memcached -V`.
pub(crate) fn version() -> Result<String> {
    let output = Command::new("memcached").arg("-V").output().context(MEMCACHED_IS_MISSING)?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((HOST, 0)).context("no free port")?;
    Ok(listener.local_addr()?.port())
}

/// Returns the connection limit: memcached refuses one above the hard limit of open files, unless it runs as root.
fn connections() -> u64 {
    let limit = getrlimit(Resource::Nofile).maximum.unwrap_or(MAX_CONNECTIONS);
    limit.min(MAX_CONNECTIONS)
}

const MEMCACHED_IS_MISSING: &str = "memcached must be installed (apt-get install memcached)";
const SETPRIV_IS_MISSING: &str = "setpriv must be installed (apt-get install util-linux)";
const MAX_CONNECTIONS: u64 = 20_000;
const START_TIMEOUT: Duration = Duration::from_secs(10);
