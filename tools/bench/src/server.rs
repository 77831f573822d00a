//! The memcached processes that every contestant meets, and what they say of the work done.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use remcache_testkit::{Authority, Certificate, Dates};
use rustix::process::{Resource, geteuid, getrlimit};

use crate::contestant::HOST;
use crate::cores::Cores;
use crate::preload;
use crate::scenario::Scenario;

/// The servers of a run; they end with it, and with this process however it ends.
#[derive(Debug)]
pub(crate) struct Servers {
    plain: Vec<Server>,
    tls: Vec<Server>,
    /// Who has signed the certificates of those that speak TLS.
    authority: Option<Authority>,
}

impl Servers {
    /// Starts as many as the scenarios need.
    pub(crate) fn start(scenarios: &[&Scenario], cores: &Cores) -> Result<Self> {
        ensure_tether()?;
        let most =
            |tls: bool| scenarios.iter().filter(move |scenario| scenario.tls == tls).map(|scenario| scenario.servers);
        let plain = (0..most(false).max().unwrap_or_default()).map(|_| Server::start(cores, None));
        let plain = plain.collect::<Result<_>>()?;
        let Some(count) = most(true).max() else {
            return Ok(Self { plain, tls: Vec::new(), authority: None });
        };
        let authority = Authority::new("the authority of a comparison");
        let tls = (0..count).map(|_| Server::start(cores, Some(authority.certify(&[HOST], Dates::Now))));
        Ok(Self { plain, tls: tls.collect::<Result<_>>()?, authority: Some(authority) })
    }

    /// The servers that a scenario uses.
    fn of(&self, scenario: &Scenario) -> impl Iterator<Item = &Server> {
        let servers = if scenario.tls { &self.tls } else { &self.plain };
        servers[..scenario.servers].iter()
    }

    /// The ports of the servers that a scenario uses, as its clients reach them.
    pub(crate) fn ports(&self, scenario: &Scenario) -> Vec<u16> {
        self.of(scenario).map(|server| server.port).collect()
    }

    /// The file with the authority to trust in a scenario over TLS.
    pub(crate) fn authority(&self, scenario: &Scenario) -> Option<PathBuf> {
        self.authority.as_ref().filter(|_| scenario.tls).map(Authority::file)
    }

    /// Puts every key of a scenario on each of its servers, so that each client finds it where it looks.
    pub(crate) fn preload(&self, scenario: &Scenario) -> Result<()> {
        self.of(scenario).try_for_each(|server| preload::store(server.plain_port, scenario))
    }

    /// How many keys of a scenario do not hold their value any more.
    pub(crate) fn spoilt(&self, scenario: &Scenario) -> Result<u64> {
        self.of(scenario).map(|server| preload::spoilt(server.plain_port, scenario)).sum()
    }

    /// What a counter says, over all servers of a scenario.
    pub(crate) fn counter(&self, scenario: &Scenario, name: &str) -> Result<u64> {
        self.of(scenario).map(|server| counter(server.plain_port, name)).sum()
    }
}

#[derive(Debug)]
struct Server {
    process: Child,
    /// Where clients connect.
    port: u16,
    /// Where it is asked in clear; the same port unless it speaks TLS.
    plain_port: u16,
    /// Its files are read at the start, and kept for as long as the server runs.
    _certificate: Option<Certificate>,
}

impl Server {
    fn start(cores: &Cores, certificate: Option<Certificate>) -> Result<Self> {
        let port = free_port()?;
        let plain_port = if certificate.is_some() { free_port()? } else { port };
        let mut words = cores.for_server();
        words.extend(tether().map(ToOwned::to_owned));
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
        server.await_listening()?;
        Ok(server)
    }

    fn await_listening(&mut self) -> Result<()> {
        let start = Instant::now();
        while [self.port, self.plain_port].iter().any(|&port| TcpStream::connect((HOST, port)).is_err()) {
            if let Some(status) = self.process.try_wait()? {
                bail!("memcached ended at once with {status}: {MEMCACHED_IS_MISSING}");
            }
            if start.elapsed() > TIME_TO_LISTEN {
                bail!("memcached does not listen on port {} after {TIME_TO_LISTEN:?}", self.port);
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A process that is gone already is what is wanted.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// What a counter of the server on that port says.
pub(crate) fn counter(port: u16, name: &str) -> Result<u64> {
    counters(port, [name]).map(|[count]| count)
}

/// What counters of the server on that port say, all at the same moment.
pub(crate) fn counters<const N: usize>(port: u16, names: [&str; N]) -> Result<[u64; N]> {
    let mut stream = TcpStream::connect((HOST, port)).context("connecting for stats")?;
    stream.write_all(b"stats\r\n")?;
    let mut counts = names.map(|_| None);
    for line in BufReader::new(stream).lines() {
        let line = line?;
        if line == "END" {
            break;
        }
        let Some((name, count)) = line.strip_prefix("STAT ").and_then(|stat| stat.split_once(' ')) else { continue };
        if let Some(place) = names.iter().position(|known| *known == name) {
            counts[place] = Some(count.trim().parse().with_context(|| format!("the counter {name}"))?);
        }
    }
    if let Some(place) = counts.iter().position(Option::is_none) {
        bail!("memcached has no counter {}", names[place]);
    }
    Ok(counts.map(Option::unwrap_or_default))
}

/// What to put before a server's command line, so that it is killed when the process that started it is gone.
///
/// The kernel forgets that wish when a process changes its user, so it cannot be memcached that gives up root.
fn tether() -> impl Iterator<Item = &'static str> {
    let as_nobody: &[&str] =
        if geteuid().is_root() { &["--reuid=65534", "--regid=65534", "--clear-groups"] } else { &[] };
    ["setpriv", "--pdeathsig=KILL"].into_iter().chain(as_nobody.iter().copied())
}

fn ensure_tether() -> Result<()> {
    let words: Vec<_> = tether().chain(["true"]).collect();
    let output = Command::new(words[0]).args(&words[1..]).output().context(SETPRIV_IS_MISSING)?;
    ensure!(output.status.success(), "setpriv: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

/// What `memcached -V` says.
pub(crate) fn version() -> Result<String> {
    let output = Command::new("memcached").arg("-V").output().context(MEMCACHED_IS_MISSING)?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((HOST, 0)).context("looking for a free port")?;
    Ok(listener.local_addr()?.port())
}

/// memcached refuses to start with more connections than the hard limit of open files, unless it is root.
fn connections() -> u64 {
    let limit = getrlimit(Resource::Nofile).maximum.unwrap_or(MAX_CONNECTIONS);
    limit.min(MAX_CONNECTIONS)
}

const MEMCACHED_IS_MISSING: &str = "memcached must be installed (apt-get install memcached)";
const SETPRIV_IS_MISSING: &str = "setpriv must be installed (apt-get install util-linux)";
const MAX_CONNECTIONS: u64 = 20_000;
const TIME_TO_LISTEN: Duration = Duration::from_secs(10);
