//! Example programs as processes of a test.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::SystemTime;
use std::{env, fs};

use crate::{Memcached, http_get};

/// A process that serves HTTP on the address that it prints; killed when it is dropped.
#[derive(Debug)]
pub struct ServerProcess {
    child: Child,
    address: String,
}

impl ServerProcess {
    /// Starts a program, and waits until it prints its address: `host:port`, or the URL of its metrics.
    ///
    /// # Panics
    /// Panics if the program does not start, or prints nothing.
    #[must_use]
    pub fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut line = String::new();
        let stdout = child.stdout.take().expect("the output is piped");
        BufReader::new(stdout).read_line(&mut line).expect("the output is text");
        let address = line.trim().trim_start_matches("http://").trim_end_matches("/metrics").to_owned();
        assert!(!address.is_empty(), "{command:?} prints no address");
        Self { child, address }
    }

    /// Starts an example of a package, as [`example`] builds it, with the server's address as argument.
    ///
    /// # Panics
    /// Panics like [`example`] and [`ServerProcess::start`].
    #[must_use]
    pub fn start_example(package: &str, name: &str, memcached: &Memcached) -> Self {
        Self::start(Command::new(example(package, name)).arg(memcached.addr()))
    }

    /// Returns the address that the process listens on.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Returns the status and the body of `GET path`.
    ///
    /// # Panics
    /// Panics if there is no response.
    #[must_use]
    pub fn get(&self, path: &str) -> (u16, String) {
        http_get(&self.address, path).expect("a response")
    }

    /// Sends `GET /` with this cookie, and returns the response from its status line to its body.
    ///
    /// # Panics
    /// Panics if there is no response.
    #[must_use]
    pub fn get_with_cookie(&self, cookie: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).expect("the process listens");
        let request = format!("GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\nCookie: {cookie}\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("the process reads");
        let mut response = String::new();
        stream.read_to_string(&mut response).expect("a response");
        response
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs an example of a package to its end, with the server's address as argument, and returns what it prints.
///
/// # Panics
/// Panics if the example cannot be built, or fails.
#[must_use]
pub fn example_output(package: &str, name: &str, memcached: &Memcached) -> String {
    let output = Command::new(example(package, name)).arg(memcached.addr()).output().expect("the example runs");
    assert!(output.status.success(), "{name}: {output:?}");
    String::from_utf8(output.stdout).expect("the output is text")
}

/// Returns the path of an example's program, built from the current sources of its package.
///
/// `package` is the package's directory: `env!("CARGO_MANIFEST_DIR")`.
///
/// # Panics
/// Panics if the example cannot be built.
#[must_use]
pub fn example(package: &str, name: &str) -> PathBuf {
    let test = env::current_exe().expect("a running test has a path");
    let profile = test.parent().and_then(Path::parent).expect("tests are built in PROFILE/deps");
    let program = profile.join("examples").join(format!("{name}{}", env::consts::EXE_SUFFIX));
    let built = fs::metadata(&program).and_then(|file| file.modified()).ok();
    let sources = ["src", "examples"].map(|directory| Path::new(package).join(directory));
    let changed = sources.iter().filter_map(|directory| last_modified(directory)).max();
    if built.is_none() || built < changed {
        let mut cargo = Command::new(env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()));
        cargo.current_dir(package).args(["build", "--all-features", "--example", name]);
        cargo.arg("--target-dir").arg(profile.parent().expect("profiles are in the target directory"));
        cargo.args(profile.ends_with("release").then_some("--release"));
        let status = cargo.status().expect("cargo runs");
        assert!(status.success(), "{cargo:?}");
    }
    program
}

/// Returns when a file below the directory was last modified.
fn last_modified(directory: &Path) -> Option<SystemTime> {
    let entries = fs::read_dir(directory).ok()?.flatten().map(|entry| entry.path());
    entries
        .filter_map(|path| if path.is_dir() { last_modified(&path) } else { fs::metadata(path).ok()?.modified().ok() })
        .max()
}
