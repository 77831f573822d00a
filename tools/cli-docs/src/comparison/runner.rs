//! Runs the check of a cell, with new servers and in a new directory.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use remcache_testkit::{Authority, Certificate, Dates, Memcached, SASL_PASSWORD, SASL_USER, unused_port};
use tempfile::TempDir;

use super::features::{Cell, CheckServers, Feature};

/// The result of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CheckResult {
    Yes,
    /// The tool does not support the feature; the last line of the output.
    No(String),
    /// The check failed; the exit code and the last line of the output.
    Failed(String),
    /// The program is not installed.
    Absent,
}

impl CheckResult {
    /// Returns the mark in the table.
    pub(crate) fn mark(&self) -> &'static str {
        match self {
            Self::Yes => "✓",
            Self::No(_) => "✗",
            Self::Failed(_) | Self::Absent => "?",
        }
    }
}

/// Runs checks, with all compared programs in the search path.
pub(crate) struct Runner {
    /// Directory of the tool, removed when this is dropped.
    _programs: TempDir,
    path: String,
}

impl Runner {
    /// Creates a directory with the tool, and a search path with it and the other programs. Those that are not installed
    /// are marked in their cells.
    pub(crate) fn prepare(tool: &Path, additional_programs: &Path) -> Result<Self> {
        let programs = tempfile::tempdir()?;
        symlink(tool, programs.path().join("remcache"))?;
        if Path::new(MEMCACHED_TOOL).exists() {
            symlink(MEMCACHED_TOOL, programs.path().join("memcached-tool"))?;
        }
        let additional = fs::canonicalize(additional_programs).unwrap_or_else(|_| additional_programs.to_owned());
        let path = format!("{}:{}:/usr/bin:/bin:/usr/sbin", programs.path().display(), additional.display());
        Ok(Self { _programs: programs, path })
    }

    /// Runs the check of a cell.
    pub(crate) fn check(&self, feature: &Feature, cell: &Cell) -> Result<CheckResult> {
        if self.find(cell.program()).is_none() {
            return Ok(CheckResult::Absent);
        }
        let servers = RunningServers::start(feature.servers)?;
        let scratch = tempfile::tempdir()?;
        let mut command = Command::new("sh");
        command.args(["-c", &format!("{PRELUDE}\n{}", cell.script)]).current_dir(scratch.path());
        command.env_clear().env("PATH", &self.path).env("HOME", scratch.path()).env("LANG", "C.UTF-8");
        command.env("SELF", std::env::current_exe()?).envs(servers.variables());
        let (code, output) = run(command, scratch.path())?;
        let output = servers.normalize(&output);
        Ok(match code {
            Some(0) => CheckResult::Yes,
            Some(1) => CheckResult::No(output),
            code => CheckResult::Failed(format!("{code:?} {output}")),
        })
    }

    fn find(&self, program: &str) -> Option<PathBuf> {
        self.path.split(':').map(|dir| Path::new(dir).join(program)).find(|path| path.exists())
    }

    /// Returns the versions of the programs.
    pub(crate) fn versions(&self) -> Vec<String> {
        let programs = [("remcache", "--version"), ("memcached", "-V"), ("memccat", "--version"), ("mc", "--version")];
        let versions = programs.into_iter().filter_map(|(program, option)| {
            let output = Command::new(self.find(program)?).arg(option).output().ok()?;
            String::from_utf8_lossy(&output.stdout).lines().next().map(|line| line.trim().to_owned())
        });
        versions.collect()
    }
}

/// Runs a command, and returns its exit code, `None` after a timeout, and its output. The output is a file, because a
/// background process could keep a pipe open.
fn run(mut command: Command, scratch: &Path) -> Result<(Option<i32>, String)> {
    let log = scratch.join(".output");
    let file = fs::File::create(&log)?;
    command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    let mut child = command.spawn().context("starting sh")?;
    let code = wait(&mut child)?;
    let mut output = Vec::new();
    fs::File::open(&log)?.take(1 << 20).read_to_end(&mut output)?;
    let output = String::from_utf8_lossy(&output).into_owned();
    Ok((code, if code.is_some() { output } else { format!("it did not exit: {output}") }))
}

fn wait(child: &mut Child) -> Result<Option<i32>> {
    let start = Instant::now();
    while start.elapsed() < TIMEOUT {
        if let Some(status) = child.try_wait()? {
            return Ok(status.code());
        }
        thread::sleep(Duration::from_millis(10));
    }
    child.kill()?;
    child.wait()?;
    Ok(None)
}

/// The servers of one check.
struct RunningServers {
    live: String,
    other: String,
    server: Memcached,
    authority: Option<(Authority, Certificate)>,
    _second: Memcached,
    /// The directory of the socket.
    _scratch: TempDir,
}

impl RunningServers {
    fn start(servers: CheckServers) -> Result<Self> {
        let second = Memcached::start(&[]);
        let scratch = remcache_testkit::scratch();
        let mut authority = None;
        let server = match servers {
            CheckServers::Empty => Memcached::start(&[]),
            CheckServers::Many => Memcached::start(&["-m", "256"]),
            CheckServers::Sasl => Memcached::start_sasl(&[]),
            CheckServers::Tls => {
                let issuer = Authority::new("tools");
                let certificate = issuer.certify(&["localhost", "127.0.0.1"], Dates::Now);
                let server = Memcached::start_tls(&certificate, &[]);
                authority = Some((issuer, certificate));
                server
            }
            CheckServers::Socket => Memcached::start_unix(scratch.path().join("tools.sock"), &[]),
        };
        if servers == CheckServers::Many {
            fill(server.port())?;
        }
        let live = if servers == CheckServers::Socket { server.addr() } else { format!("localhost:{}", server.port()) };
        let other = format!("localhost:{}", second.port());
        Ok(Self { live, other, server, authority, _second: second, _scratch: scratch })
    }

    fn variables(&self) -> Vec<(&'static str, String)> {
        let dead = "localhost:1".to_owned();
        let mut variables = vec![
            ("REMCACHE_SERVERS", self.live.clone()),
            ("LIVE", self.live.clone()),
            ("OTHER", self.other.clone()),
            ("LIST", format!("{},{},{dead}", self.live, self.other)),
            ("DEAD", dead),
            ("PID", self.server.pid().to_string()),
            ("FREE", unused_port().to_string()),
            ("LOGIN", SASL_USER.to_owned()),
            ("PASSWORD", SASL_PASSWORD.to_owned()),
        ];
        variables.extend(self.authority.iter().map(|(issuer, _)| ("CA", issuer.file().display().to_string())));
        variables
    }

    /// Returns the last line of the output without what differs between runs: variables replace addresses.
    fn normalize(&self, output: &str) -> String {
        let output = without_escapes(output);
        let line = output.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
        let line = line.replace(&self.live, "$LIVE").replace(&self.other, "$OTHER").replace("localhost:1", "$DEAD");
        // Memory addresses and times.
        let is_volatile = |word: &str| word.starts_with("(0x") || (word.contains('T') && word.ends_with('Z'));
        let words: Vec<&str> = line.split_whitespace().filter(|word| !is_volatile(word)).collect();
        let line = words.join(" ");
        line.chars().filter(|letter| !letter.is_control() && *letter != '`').take(MAX_OUTPUT_LENGTH).collect()
    }
}

/// Removes the escape sequences of colours.
fn without_escapes(text: &str) -> String {
    let mut parts = text.split("\x1b[");
    let first = parts.next().unwrap_or_default().to_owned();
    let code = |letter: char| !letter.is_ascii_alphabetic();
    parts.fold(first, |text, part| text + part.trim_start_matches(code).get(1..).unwrap_or_default())
}

/// Stores 200,001 keys: more than `stats cachedump` lists.
fn fill(port: u16) -> Result<()> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).context("connecting to fill a server")?;
    let lines: String = (0..=200_000).map(|key| format!("set key-{key:06} 0 0 5 noreply\r\nvalue\r\n")).collect();
    stream.write_all(lines.as_bytes())?;
    stream.write_all(b"get key-200000\r\n")?;
    let mut reply = [0; 5];
    stream.read_exact(&mut reply)?;
    ensure!(&reply == b"VALUE", "the last key was not stored");
    Ok(())
}

/// Functions for all checks: `screen` runs a program on a terminal for a while, and writes its screen to `out`.
const PRELUDE: &str = r#"screen() { "$SELF" screen "$1" --keys "$2" > out; }"#;
const MEMCACHED_TOOL: &str = "/usr/share/memcached/scripts/memcached-tool";
const TIMEOUT: Duration = Duration::from_secs(90);
const MAX_OUTPUT_LENGTH: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::comparison::Tool;

    fn result(script: &'static str) -> CheckResult {
        let scratch = tempfile::tempdir().unwrap();
        let tool = scratch.path().join("tool");
        fs::write(&tool, "").unwrap();
        let runner = Runner::prepare(&tool, scratch.path()).unwrap();
        let feature = Feature { title: "", servers: CheckServers::Empty, cells: &[] };
        runner.check(&feature, &Cell { tool: Tool::Libmemcached, program: "sh", script }).unwrap()
    }

    #[test]
    fn exit_codes_are_results() {
        assert_eq!(result("true"), CheckResult::Yes);
        assert_eq!(result("echo \"server $LIVE\"; false"), CheckResult::No("server $LIVE".into()));
        assert!(matches!(result("no-such-program"), CheckResult::Failed(_)));
    }

    #[test]
    fn colours_are_left_out() {
        assert_eq!(without_escapes("\x1b[2mdim\x1b[0m and \x1b[1;31mred\x1b[0m"), "dim and red");
        assert_eq!(without_escapes("plain"), "plain");
    }

    #[test]
    fn a_missing_program_is_absent() {
        let scratch = tempfile::tempdir().unwrap();
        let runner = Runner::prepare(Path::new("/bin/true"), scratch.path()).unwrap();
        let feature = Feature { title: "", servers: CheckServers::Empty, cells: &[] };
        let cell = Cell { tool: Tool::Libmemcached, program: "no-such-program", script: "true" };
        assert_eq!(runner.check(&feature, &cell).unwrap(), CheckResult::Absent);
    }
}
