//! Builds the program of a client.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::{Peer, Program, Source};

/// A client whose program can be started.
#[derive(Debug)]
pub struct Installed {
    command_line: Vec<String>,
    log: PathBuf,
}

impl Installed {
    /// Starts the program.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(&self) -> Result<Program> {
        Program::start(&self.command_line, self.log.clone())
    }
}

/// Builds the program of a client in `target/interop`, unless it is there.
///
/// # Errors
/// If something is missing, with the command line that installs it.
pub fn install(peer: &Peer) -> Result<Installed> {
    let dir = build_dir().join(peer.name);
    fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
    let command_line = match peer.source {
        Source::Absent(reason) => bail!("{reason}"),
        _ => command_line(peer, &dir)
            .and_then(verify)
            .with_context(|| format!("{} is not installed: {}", peer.name, peer.needs()))?,
    };
    Ok(Installed { command_line, log: dir.join("log") })
}

/// Runs the program with empty input, which fails if something that it loads is missing.
fn verify(command_line: Vec<String>) -> Result<Vec<String>> {
    run(&command_line.iter().map(String::as_str).collect::<Vec<_>>(), &[])?;
    Ok(command_line)
}

fn command_line(peer: &Peer, dir: &Path) -> Result<Vec<String>> {
    let command_line = match peer.source {
        Source::Script(interpreter, script) => vec![interpreter.to_owned(), source(script)],
        Source::PyPi(package, version, script) => vec![environment(dir, package, version)?, source(script)],
        Source::Npm(package, version, script) => {
            vec!["node".to_owned(), source(script), npm_package(dir, package, version)?]
        }
        Source::C(file, library) => {
            let program = text(&dir.join("client"));
            run(&["cc", "-O2", "-o", &program, &source(file), library], &[])?;
            vec![program]
        }
        Source::Go(file) => {
            let program = text(&dir.join("client"));
            let version = format!("-X main.Version={}", debian_version(peer.packages[1])?);
            // Debian installs the sources of Go packages in this GOPATH.
            let env = [("GO111MODULE", "off"), ("GOPATH", "/usr/share/gocode")];
            run(&["go", "build", "-ldflags", &version, "-o", &program, &source(file)], &env)?;
            vec![program]
        }
        Source::Java(file, archive) => {
            let classes = text(dir);
            run(&["javac", "-cp", archive, "-d", &classes, &source(file)], &[])?;
            let version = format!("-Dclient.version={}", debian_version(peer.packages[1])?);
            vec!["java".to_owned(), version, "-cp".to_owned(), format!("{classes}:{archive}"), "Program".to_owned()]
        }
        Source::Absent(reason) => bail!("{reason}"),
    };
    Ok(command_line)
}

/// Returns the interpreter of a virtual environment with this package, which is created if it does not exist.
fn environment(parent: &Path, package: &str, version: &str) -> Result<String> {
    let dir = parent.join(format!("{package}-{version}"));
    let python = text(&dir.join("bin/python"));
    if !dir.join("complete").exists() {
        run(&["python3", "-m", "venv", "--clear", &text(&dir)], &[])?;
        run(&[&python, "-m", "pip", "install", "--quiet", &format!("{package}=={version}")], &[])?;
        fs::write(dir.join("complete"), "").context("marking the environment as complete")?;
    }
    Ok(python)
}

/// Returns the directory of this package, which is installed if it does not exist.
fn npm_package(parent: &Path, package: &str, version: &str) -> Result<String> {
    let dir = parent.join(format!("{package}-{version}"));
    if !dir.join("complete").exists() {
        let package = format!("{package}@{version}");
        run(&["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", &text(&dir), &package], &[])?;
        fs::write(dir.join("complete"), "").context("marking the package as complete")?;
    }
    Ok(text(&dir.join("node_modules").join(package)))
}

/// Returns the upstream version of an installed Debian package.
fn debian_version(package: &str) -> Result<String> {
    let output = Command::new("dpkg-query").args(["-W", "-f", "${Version}", package]).output()?;
    let version = String::from_utf8(output.stdout)?;
    let upstream = version.split(['-', '+']).next().unwrap_or_default();
    Ok(upstream.to_owned())
}

fn run(command_line: &[&str], env: &[(&str, &str)]) -> Result<()> {
    let output =
        Command::new(command_line[0]).args(&command_line[1..]).envs(env.iter().copied()).stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("cannot run {}", command_line[0]))?;
    if !output.status.success() {
        bail!("{}: {}", command_line.join(" "), String::from_utf8_lossy(&output.stderr).trim_end());
    }
    Ok(())
}

fn source(file: &str) -> String {
    text(&Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(file))
}

fn build_dir() -> PathBuf {
    root().join("target/interop")
}

fn root() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.ancestors().nth(2).unwrap_or(package)
}

fn text(path: &Path) -> String {
    path.display().to_string()
}
