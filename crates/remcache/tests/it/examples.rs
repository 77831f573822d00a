//! Runs every example and compares its output with the comment at its top.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use remcache_testkit::{Authority, Certificate, Dates, Memcached, SASL_PASSWORD, SASL_USER, scratch};
use tempfile::TempDir;

macro_rules! examples {
    ($($name:ident)*) => {
        $(#[test] fn $name() { check(stringify!($name)); })*

        const NAMES: &[&str] = &[$(stringify!($name)),*];
    };
}

examples! {
    blocking
    callbacks
    counter
    discovery
    embedded_server
    failure
    fetch
    hello
    many
    migration
    proto_alone
    secure
    servers
    typed
}

#[test]
fn every_example_is_tested() {
    let files = fs::read_dir(package().join("examples")).unwrap().map(|entry| entry.unwrap().path());
    let mut names: Vec<_> = files.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    names.sort();
    assert_eq!(names, NAMES);
}

#[test]
fn expected_lines_match_the_output() {
    for (expected, line, is_match) in [
        ("a = 1", "a = 1", true),
        ("a = 1", "a = 2", false),
        ("… is unavailable", "127.0.0.1:4711 is unavailable", true),
        ("… is unavailable", " is unavailable", true),
        ("took … of … s", "took 3 of 4 s", true),
        ("took … of … s", "took 3 of 4 ms", false),
        ("took …", "had 3", false),
        ("…: the end", "x: the end, not", false),
    ] {
        assert_eq!(matches(expected, line), is_match, "{expected:?} and {line:?}");
    }
}

fn check(name: &str) {
    let source = package().join("examples").join(name).with_extension("rs");
    let expected = expected(&fs::read_to_string(&source).expect("the example's source"));
    assert!(!expected.is_empty(), "{name}: its first comment has no expected output");
    let output = run(&program(name), &Environment::of(name));
    let printed: Vec<&str> = output.lines().collect();
    let is_match = expected.len() == printed.len()
        && expected.iter().zip(&printed).all(|(expected, line)| matches(expected, line));
    assert!(is_match, "{name} should print\n\n{}\n\nand prints\n\n{output}", expected.join("\n"));
}

/// Returns the output that the first comment of an example documents.
fn expected(source: &str) -> Vec<String> {
    let comment = source.lines().map_while(|line| line.strip_prefix("//!"));
    let lines = comment.map(|line| line.strip_prefix(' ').unwrap_or(line).to_owned());
    lines.skip_while(|line| line != "```text").skip(1).take_while(|line| line != "```").collect()
}

/// Returns whether a line matches the expected one, in which `…` stands for any text.
fn matches(expected: &str, line: &str) -> bool {
    match expected.split_once('…') {
        None => expected == line,
        Some((before, after)) => {
            let Some(rest) = line.strip_prefix(before) else { return false };
            let ends = (0..=rest.len()).filter(|end| rest.is_char_boundary(*end));
            ends.into_iter().any(|end| matches(after, &rest[end..]))
        }
    }
}

/// Returns the path of an example's binary; builds it unless `cargo test` has already built it from the current
/// sources.
fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a running test has a path");
    let profile = test.parent().and_then(Path::parent).expect("tests are built in PROFILE/deps");
    let program = profile.join("examples").join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    let built = fs::metadata(&program).and_then(|file| file.modified()).ok();
    if built.is_none_or(|built| built < last_modified()) {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--package", "remcache", "--all-features", "--example", name]);
        cargo.arg("--target-dir").arg(profile.parent().expect("profiles are in the target directory"));
        let release = profile.ends_with("release");
        let status = cargo.args(release.then_some("--release")).status().expect("cargo runs");
        assert!(status.success(), "{cargo:?}");
    }
    program
}

/// Returns when a source of the examples was last modified.
fn last_modified() -> SystemTime {
    let server = package().with_file_name("remcache-server");
    let directories = [package().join("src"), package().join("examples"), server.join("src")];
    let files = directories.iter().flat_map(|directory| sources(directory));
    let changes = files.filter_map(|file| fs::metadata(file).and_then(|file| file.modified()).ok());
    changes.max().expect("there are sources")
}

fn sources(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("a directory of sources").flatten().map(|entry| entry.path());
    let (directories, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let below = directories.iter().flat_map(|directory| sources(directory));
    files.iter().cloned().chain(below).filter(|file| file.extension() == Some(OsStr::new("rs"))).collect()
}

/// The environment variables and servers that an example needs while it runs.
#[derive(Default)]
struct Environment {
    variables: Vec<(&'static str, String)>,
    _server: Option<(Memcached, Authority, Certificate, TempDir)>,
}

impl Environment {
    fn of(example: &str) -> Self {
        match example {
            "secure" => Self::secure(),
            _ => Self::default(),
        }
    }

    /// Starts a server with TLS and password authentication.
    fn secure() -> Self {
        let authority = Authority::new("example authority");
        let certificate = authority.certify(&["127.0.0.1"], Dates::Now);
        let server = Memcached::start_sasl(&["-Z", "-o", &certificate.server_options()]);
        let dir = scratch();
        let password_file = dir.path().join("password");
        fs::write(&password_file, SASL_PASSWORD).expect("the directory is writable");
        let variables = vec![
            ("SERVER", server.addr()),
            ("CA_FILE", authority.file().display().to_string()),
            ("USER", SASL_USER.to_owned()),
            ("PASSWORD_FILE", password_file.display().to_string()),
        ];
        Self { variables, _server: Some((server, authority, certificate, dir)) }
    }
}

fn run(program: &Path, environment: &Environment) -> String {
    let mut child = Command::new(program)
        .envs(environment.variables.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the example runs");
    let mut stdout = child.stdout.take().expect("the output is piped");
    let reader = thread::spawn(move || {
        let mut text = String::new();
        stdout.read_to_string(&mut text).map(|_| text)
    });
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("the example is a child") {
            break status;
        }
        if started.elapsed() > PATIENCE {
            child.kill().and_then(|()| child.wait()).expect("the example can be killed");
            panic!("{} did not end; it printed\n{}", program.display(), printed(reader));
        }
        thread::sleep(Duration::from_millis(10));
    };
    let output = printed(reader);
    assert!(status.success(), "{} ended with {status} and printed\n{output}", program.display());
    output
}

fn printed(reader: JoinHandle<io::Result<String>>) -> String {
    reader.join().expect("the reader does not panic").expect("the output is text")
}

fn package() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Examples end within a second or two on an idle machine.
const PATIENCE: Duration = Duration::from_secs(300);
