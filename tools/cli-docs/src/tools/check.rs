//! Runs the check of a cell: on servers of its own, in a directory of its own.

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

use super::features::{Cell, Feature, Ground};

/// What came of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Yes,
    /// It cannot do it; the end of what was seen.
    No(String),
    /// The check itself failed, with this.
    Failed(String),
    /// The program is not installed.
    Absent,
}

impl Outcome {
    /// Its sign in the table.
    pub(crate) fn mark(&self) -> &'static str {
        match self {
            Self::Yes => "✓",
            Self::No(_) => "✗",
            Self::Failed(_) | Self::Absent => "?",
        }
    }
}

/// Where checks are run: a directory with the programs by their names.
pub(crate) struct Bench {
    /// The directory lasts as long as the checks.
    _programs: TempDir,
    path: String,
}

impl Bench {
    /// Gathers the programs; what is missing is told in its cells.
    pub(crate) fn prepare(tool: &Path, more: &Path) -> Result<Self> {
        let programs = tempfile::tempdir()?;
        symlink(tool, programs.path().join("remcache"))?;
        if Path::new(MEMCACHED_TOOL).exists() {
            symlink(MEMCACHED_TOOL, programs.path().join("memcached-tool"))?;
        }
        let more = fs::canonicalize(more).unwrap_or_else(|_| more.to_owned());
        let path = format!("{}:{}:/usr/bin:/bin:/usr/sbin", programs.path().display(), more.display());
        Ok(Self { _programs: programs, path })
    }

    /// Runs the check of a cell.
    pub(crate) fn check(&self, feature: &Feature, cell: &Cell) -> Result<Outcome> {
        if self.find(cell.program()).is_none() {
            return Ok(Outcome::Absent);
        }
        let stage = Stage::set(feature.ground)?;
        let scratch = tempfile::tempdir()?;
        let mut command = Command::new("sh");
        command.args(["-c", &format!("{PRELUDE}\n{}", cell.script)]).current_dir(scratch.path());
        command.env_clear().env("PATH", &self.path).env("HOME", scratch.path()).env("LANG", "C.UTF-8");
        command.env("SELF", std::env::current_exe()?).envs(stage.variables());
        let (code, said) = run(command, scratch.path())?;
        let seen = stage.anonymous(&said);
        Ok(match code {
            Some(0) => Outcome::Yes,
            Some(1) => Outcome::No(seen),
            code => Outcome::Failed(format!("{code:?} {seen}")),
        })
    }

    fn find(&self, program: &str) -> Option<PathBuf> {
        self.path.split(':').map(|dir| Path::new(dir).join(program)).find(|path| path.exists())
    }

    /// The programs with their versions.
    pub(crate) fn versions(&self) -> Vec<String> {
        let asked = [("remcache", "--version"), ("memcached", "-V"), ("memccat", "--version"), ("mc", "--version")];
        let told = asked.into_iter().filter_map(|(program, option)| {
            let output = Command::new(self.find(program)?).arg(option).output().ok()?;
            String::from_utf8_lossy(&output.stdout).lines().next().map(|line| line.trim().to_owned())
        });
        told.collect()
    }
}

/// Runs a command to its end, or until it has taken too long; what it said goes into files, for a child that it
/// leaves behind must not keep a pipe open.
fn run(mut command: Command, scratch: &Path) -> Result<(Option<i32>, String)> {
    let log = scratch.join(".said");
    let file = fs::File::create(&log)?;
    command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    let mut child = command.spawn().context("starting sh")?;
    let code = wait(&mut child)?;
    let mut said = Vec::new();
    fs::File::open(&log)?.take(1 << 20).read_to_end(&mut said)?;
    let said = String::from_utf8_lossy(&said).into_owned();
    Ok((code, if code.is_some() { said } else { format!("it does not end: {said}") }))
}

fn wait(child: &mut Child) -> Result<Option<i32>> {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        if let Some(status) = child.try_wait()? {
            return Ok(status.code());
        }
        thread::sleep(Duration::from_millis(10));
    }
    child.kill()?;
    child.wait()?;
    Ok(None)
}

/// Servers for one check.
struct Stage {
    live: String,
    other: String,
    server: Memcached,
    authority: Option<(Authority, Certificate)>,
    _second: Memcached,
    /// Where the socket is.
    _scratch: TempDir,
}

impl Stage {
    fn set(ground: Ground) -> Result<Self> {
        let second = Memcached::start(&[]);
        let scratch = remcache_testkit::scratch();
        let mut authority = None;
        let server = match ground {
            Ground::Empty => Memcached::start(&[]),
            Ground::Many => Memcached::start(&["-m", "256"]),
            Ground::Sasl => Memcached::start_sasl(&[]),
            Ground::Tls => {
                let issuer = Authority::new("tools");
                let certificate = issuer.certify(&["localhost", "127.0.0.1"], Dates::Now);
                let server = Memcached::start_tls(&certificate, &[]);
                authority = Some((issuer, certificate));
                server
            }
            Ground::Socket => Memcached::start_unix(scratch.path().join("tools.sock"), &[]),
        };
        if ground == Ground::Many {
            fill(server.port())?;
        }
        let live = if ground == Ground::Socket { server.addr() } else { format!("localhost:{}", server.port()) };
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

    /// The end of what was said, with names in place of what changes from run to run.
    fn anonymous(&self, said: &str) -> String {
        let said = plain(said);
        let line = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
        let line = line.replace(&self.live, "$LIVE").replace(&self.other, "$OTHER").replace("localhost:1", "$DEAD");
        // Addresses of memory and times are others in every run.
        let is_passing = |word: &str| word.starts_with("(0x") || (word.contains('T') && word.ends_with('Z'));
        let words: Vec<&str> = line.split_whitespace().filter(|word| !is_passing(word)).collect();
        let line = words.join(" ");
        line.chars().filter(|letter| !letter.is_control() && *letter != '`').take(MOST_SEEN).collect()
    }
}

/// A text without the codes of its colours.
fn plain(text: &str) -> String {
    let mut parts = text.split("\x1b[");
    let first = parts.next().unwrap_or_default().to_owned();
    let code = |letter: char| !letter.is_ascii_alphabetic();
    parts.fold(first, |plain, part| plain + part.trim_start_matches(code).get(1..).unwrap_or_default())
}

/// 200,001 keys: more than a server lists by its older command.
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

/// What every check may use: `screen` runs a program on a terminal for a while, and leaves what it shows in `out`.
const PRELUDE: &str = r#"screen() { "$SELF" screen "$1" --keys "$2" > out; }"#;
const MEMCACHED_TOOL: &str = "/usr/share/memcached/scripts/memcached-tool";
const PATIENCE: Duration = Duration::from_secs(90);
const MOST_SEEN: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::Tool;

    fn outcome(script: &'static str) -> Outcome {
        let scratch = tempfile::tempdir().unwrap();
        let tool = scratch.path().join("tool");
        fs::write(&tool, "").unwrap();
        let bench = Bench::prepare(&tool, scratch.path()).unwrap();
        let feature = Feature { title: "", ground: Ground::Empty, cells: &[] };
        bench.check(&feature, &Cell { tool: Tool::Libmemcached, program: "sh", script }).unwrap()
    }

    #[test]
    fn exit_codes_are_outcomes() {
        assert_eq!(outcome("true"), Outcome::Yes);
        assert_eq!(outcome("echo \"asked $LIVE\"; false"), Outcome::No("asked $LIVE".into()));
        assert!(matches!(outcome("no-such-program"), Outcome::Failed(_)));
    }

    #[test]
    fn colours_are_left_out() {
        assert_eq!(plain("\x1b[2mdim\x1b[0m and \x1b[1;31mred\x1b[0m"), "dim and red");
        assert_eq!(plain("plain"), "plain");
    }

    #[test]
    fn a_program_that_is_not_there_is_told() {
        let scratch = tempfile::tempdir().unwrap();
        let bench = Bench::prepare(Path::new("/bin/true"), scratch.path()).unwrap();
        let feature = Feature { title: "", ground: Ground::Empty, cells: &[] };
        let cell = Cell { tool: Tool::Libmemcached, program: "no-such-program", script: "true" };
        assert_eq!(bench.check(&feature, &cell).unwrap(), Outcome::Absent);
    }
}
